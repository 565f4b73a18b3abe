//! What people did, where they are signed in, what it costs.

use doorstep_shared::ids::Name;
use doorstep_shared::time::Timestamp;
use serde::Serialize;

use super::{FollowedJob, HostView};
use crate::quota::Counts;

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its number; what to ask with for older ones.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who: a session's handle, `bearer` or `nobody`.
    pub who: String,
    /// From which address.
    pub address: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// What became of it.
    pub result: String,
    /// The host of the project that it is about.
    pub host: Option<Name>,
    /// That project.
    pub project: Option<Name>,
}

/// The page of what people did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// Newest first.
    pub rows: Vec<AuditRow>,
    /// What became of the jobs that they made.
    pub jobs: Vec<FollowedJob>,
    /// Only those that hold this word, if there is one.
    pub search: String,
    /// What to ask with for older ones, if there may be more.
    pub before: Option<u64>,
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// Its name, which opens nothing.
    pub handle: String,
    /// When the person signed in.
    pub created: Timestamp,
    /// When it was used, to within the hour.
    pub seen: Timestamp,
    /// When it ends at the latest.
    pub ends: Timestamp,
    /// The address it was used from then.
    pub address: String,
    /// What the browser called itself then.
    pub agent: String,
    /// Is it the one that asks?
    pub is_this: bool,
}

/// The page of settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingsView {
    /// Everybody who is signed in, the newest first.
    pub sessions: Vec<SessionRow>,
    /// Every host that is not revoked.
    pub hosts: Vec<HostView>,
    /// What this day cost, as far as it was counted.
    pub today: Counts,
    /// And the day before.
    pub yesterday: Counts,
    /// The edge's version.
    pub version: &'static str,
    /// The oldest and the newest version of the wire that it speaks.
    pub wire: (u16, u16),
}
