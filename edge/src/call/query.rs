//! What lists are asked for: pure, as the rows that they are made of.

use doorstep_shared::ids::{DeliveryState, JobState};
use serde::{Deserialize, Serialize};

/// Query of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Only events of this name.
    #[serde(default, rename = "type")]
    pub event_type: Option<String>,
    /// Only of this `owner/name`.
    #[serde(default)]
    pub repo: Option<String>,
    /// Only those of which this became.
    #[serde(default)]
    pub status: Option<String>,
    /// Only those with this text in event, repository, ref, commit or id.
    #[serde(default)]
    pub search: Option<String>,
    /// Only older than this `id`.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most this many, up to 200.
    #[serde(default)]
    pub limit: Option<u64>,
}

impl EventsQuery {
    /// Is the status one that there is?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status.as_deref().is_none_or(|status| status.is_empty() || status.parse::<DeliveryState>().is_ok())
    }
}

/// Query of the runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunsQuery {
    /// Only of this host.
    #[serde(default)]
    pub host: Option<String>,
    /// Only of this project.
    #[serde(default)]
    pub project: Option<String>,
    /// Only older than the run of this id.
    #[serde(default)]
    pub before: Option<String>,
    /// At most this many, up to 200.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// Query of a run's log; without a field all of it, as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LogQuery {
    /// Only what comes after this `next` of an earlier part; 0 is the beginning.
    #[serde(default)]
    pub after: Option<u64>,
    /// `text` for all of it as plain text; `html`, with `after`, for a part as a
    /// page has it, in its colours.
    #[serde(default)]
    pub format: Option<String>,
}

impl LogQuery {
    /// Is the format one that there is?
    #[must_use]
    pub fn is_good(&self) -> bool {
        (self.after.is_some() || !self.is_html()) && self.format.as_deref().is_none_or(|format| matches!(format, "json" | "text" | "html"))
    }

    /// Is it all of it, as plain text?
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.format.as_deref() == Some("text")
    }

    /// Is it a part, as a page has it?
    #[must_use]
    pub fn is_html(&self) -> bool {
        self.format.as_deref() == Some("html")
    }
}

/// Query of the jobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobsQuery {
    /// Only those that stand here.
    #[serde(default)]
    pub state: Option<String>,
    /// Only of this host.
    #[serde(default)]
    pub host: Option<String>,
    /// Only of this project.
    #[serde(default)]
    pub project: Option<String>,
    /// Only older than this `id`.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most this many, up to 200.
    #[serde(default)]
    pub limit: Option<u64>,
}

impl JobsQuery {
    /// Is the state one that there is?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.state.as_deref().is_none_or(|state| state.is_empty() || state.parse::<JobState>().is_ok())
    }
}

/// Query of what people did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only what holds this word.
    #[serde(default)]
    pub search: Option<String>,
    /// Only older than this `id`.
    #[serde(default)]
    pub before: Option<u64>,
}
