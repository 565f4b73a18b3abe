//! Pieces that several pages share: states as badges, tables, commits, facts.
//!
//! A state is always said three times: in its word, in a sign of its own shape
//! and in a colour, so that none of them is needed alone.

use doorstep_shared::ids::{Action, Cause, ContainerHealth, DeliveryState, JobState, ProjectState, RunState, ServiceName, ServiceState, StepState};
use doorstep_shared::protocol::ServiceView;
use doorstep_shared::time::Timestamp;

use super::html::{Href, Html};
use super::when;
use crate::lasting::was_cancelled;
use crate::view::{JobRow, RunRow};

/// A state: colour class, sign, word.
fn badge(tone: &'static str, sign: &'static str, word: &str) -> Html {
    let mut html = Html::new();
    html.raw("<span class=\"badge ").raw(tone).raw("\"><span aria-hidden=\"true\">").raw(sign).raw("</span> ");
    html.text(&word.replace('_', " ")).raw("</span>");
    html
}

/// Is the host's socket up?
pub fn host_badge(online: bool) -> Html {
    if online { badge("ok", "●", "online") } else { badge("idle", "○", "offline") }
}

/// A host that takes no jobs now, and why.
pub fn parked_badge(reason: &str) -> Html {
    let mut html = badge("warn", "▲", "takes no jobs");
    html.raw(": ").add(&quote(reason));
    html
}

/// A project's state; only the last known one while its host is offline.
pub fn project_badge(state: ProjectState, online: bool) -> Html {
    let (tone, sign) = match state {
        ProjectState::Running => ("ok", "●"),
        ProjectState::Stopped => ("idle", "■"),
        ProjectState::Failing => ("bad", "✕"),
        ProjectState::Degraded => ("warn", "▲"),
    };
    known_badge(tone, sign, state.as_str(), online)
}

/// A service's state; only the last known one when it is not known now.
pub fn service_badge(service: &ServiceView, is_known: bool) -> Html {
    if service.rests() {
        return known_badge("idle", "■", "stopped", is_known);
    }
    let ended_well = service.exit_code.is_none_or(|code| code == 0);
    let (tone, sign) = match service.state {
        ServiceState::Running => ("ok", "●"),
        ServiceState::Created | ServiceState::Absent => ("idle", "○"),
        ServiceState::Restarting => ("warn", "↻"),
        ServiceState::Paused => ("warn", "‖"),
        ServiceState::Exited if ended_well => ("idle", "■"),
        ServiceState::Exited | ServiceState::Dead => ("bad", "✕"),
    };
    known_badge(tone, sign, service.state.as_str(), is_known)
}

/// What a container's health check says.
pub fn health_badge(health: ContainerHealth, online: bool) -> Html {
    let (tone, sign) = match health {
        ContainerHealth::Starting => ("busy", "◐"),
        ContainerHealth::Healthy => ("ok", "✓"),
        ContainerHealth::Unhealthy => ("bad", "✕"),
    };
    // It stands behind the service's state, which says that it is the last known one.
    badge(if online { tone } else { "idle" }, sign, health.as_str())
}

fn known_badge(tone: &'static str, sign: &'static str, word: &str, online: bool) -> Html {
    if online { badge(tone, sign, word) } else { badge("idle", sign, &format!("last known: {word}")) }
}

/// What needs a look, in somebody's words.
pub fn problem_badge(why: &str, online: bool) -> Html {
    let mut html = Html::new();
    html.raw(if online { "<span class=\"bad" } else { "<span class=\"muted" }).raw("\"><span aria-hidden=\"true\">✕</span> ");
    html.raw(if online { "" } else { "last known: " }).add(&quote(why)).raw("</span>");
    html
}

/// Where a job stands.
pub fn job_badge(state: JobState) -> Html {
    let (tone, sign) = match state {
        JobState::Waiting => ("idle", "○"),
        JobState::Leased => ("busy", "◐"),
        JobState::Done => ("ok", "✓"),
        JobState::Dead => ("bad", "✕"),
        JobState::Superseded => ("idle", "→"),
    };
    badge(tone, sign, state.as_str())
}

/// Where a run stands.
pub fn run_badge(run: &RunRow) -> Html {
    let (tone, sign) = match run.state {
        _ if was_cancelled(run) => ("idle", "⊘"),
        RunState::Running => ("busy", "◐"),
        RunState::Succeeded => ("ok", "✓"),
        RunState::Failed => ("bad", "✕"),
        RunState::RolledBack => ("warn", "↺"),
        RunState::Refused => ("warn", "⊘"),
    };
    badge(tone, sign, run_word(run))
}

/// The same as a word. What a person ended has not failed.
pub fn run_word(run: &RunRow) -> &'static str {
    match run.state {
        _ if was_cancelled(run) => "cancelled",
        RunState::RolledBack => "rolled back",
        RunState::Running | RunState::Succeeded | RunState::Failed | RunState::Refused => run.state.as_str(),
    }
}

/// Where a step stands.
pub fn step_badge(state: StepState) -> Html {
    let (tone, sign) = match state {
        StepState::Pending => ("idle", "○"),
        StepState::Started => ("busy", "◐"),
        StepState::Succeeded => ("ok", "✓"),
        StepState::Failed => ("bad", "✕"),
        StepState::Undone => ("warn", "↺"),
    };
    badge(tone, sign, state.as_str())
}

/// What became of a delivery.
pub fn delivery_badge(state: DeliveryState) -> Html {
    let (tone, sign) = match state {
        DeliveryState::Accepted => ("ok", "✓"),
        DeliveryState::Ignored => ("idle", "○"),
        DeliveryState::Duplicate => ("idle", "="),
        DeliveryState::Refused => ("bad", "⊘"),
    };
    badge(tone, sign, state.as_str())
}

/// Why a job or a run exists, in words.
pub fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Push => "a push",
        Cause::Dashboard => "a person at the dashboard or through the API",
        Cause::Manual => "a person on the host",
        Cause::Reconcile => "the branch and what was live differed",
        Cause::Replay => "a delivery that was run again",
    }
}

/// "1 deploy", "2 fetches".
pub fn count_words(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, noun) => format!("1 {noun}"),
        (count, noun) if noun.ends_with("ch") => format!("{count} {noun}es"),
        (count, noun) => format!("{count} {noun}s"),
    }
}

/// The first seven digits of a commit.
pub fn commit(commit: &str) -> Html {
    let mut html = Html::new();
    html.raw("<code title=\"").text(commit).raw("\">").text(short(commit)).raw("</code>");
    html
}

/// The first seven digits of a commit.
pub fn short(commit: &str) -> &str {
    commit.char_indices().nth(7).map_or(commit, |(end, _)| commit.get(..end).unwrap_or(commit))
}

/// Somebody's text inside ours, kept from changing the direction of ours.
pub fn quote(text: &str) -> Html {
    let mut html = Html::new();
    html.raw("<bdi>").text(text).raw("</bdi>");
    html
}

/// An address of the web as a link without its scheme, anything else as text.
pub fn address(address: &str) -> Html {
    let mut html = Html::new();
    match Href::web(address) {
        Some(href) => {
            let short = address.trim_start_matches("https://").trim_end_matches(".git").trim_end_matches('/');
            html.raw("<a rel=\"noreferrer\" href=\"").href(&href).raw("\"><bdi>").text(short).raw("</bdi></a>");
        }
        None => {
            html.add(&quote(address));
        }
    }
    html
}

/// How long a run took, or how long it has been under way.
pub fn run_took(run: &RunRow, now: Timestamp) -> Html {
    match (run.state, run.ended) {
        (RunState::Running, _) => when::since(run.started, now),
        (_, Some(ended)) => Html::of(&when::took_words(ended.ms_since(run.started))),
        (_, None) => Html::of("unknown"),
    }
}

/// Where a run is shown.
pub fn run_href(run: &RunRow) -> Href {
    Href::local(&["runs", &run.id])
}

/// Where a project is shown.
pub fn project_href(host: &str, project: &str) -> Href {
    Href::local(&["projects", host, project])
}

/// What a job or a run does: "deploy", "restart web".
pub fn job_words(action: Action, service: Option<&ServiceName>) -> String {
    match service {
        Some(service) => format!("{action} {service}"),
        None => action.to_string(),
    }
}

/// What can be done about a job: a dead one is tried again, a live one cancelled.
pub fn job_button(job: &JobRow) -> Html {
    let (word, path) = match job.state {
        JobState::Dead => ("Try again", "revive"),
        JobState::Waiting | JobState::Leased => ("Cancel", "cancel"),
        JobState::Done | JobState::Superseded => return Html::new(),
    };
    let mut html = Html::new();
    html.form(&Href::local(&["jobs", &job.id.to_string(), path]));
    html.raw("<button class=\"small\">").raw(word).raw("<span class=\"vh\">: ").text(&job_words(job.action, job.service.as_ref()));
    html.raw(if job.service.is_some() { " of " } else { " " }).text(job.project.as_str()).raw(" on ").text(job.host.as_str()).raw("</span></button></form>");
    html
}

/// Why a job waits, when its host or its last failure keeps it waiting; nothing
/// for the others.
pub fn job_waits(job: &JobRow, last_seen: Option<Timestamp>, now: Timestamp) -> Html {
    let mut html = Html::new();
    if let Some(until) = job.waits_until {
        html.raw("its host is away");
        if let Some(at) = last_seen {
            html.raw(", last heard ").add(&when::ago(at, now));
        }
        html.raw("; the job is kept until ").add(&when::on(until)).raw(" (14 days)");
    } else if let Some(reason) = &job.parked {
        html.raw("its host takes no jobs: ").add(&quote(reason));
    } else if let Some(at) = job.again.filter(|at| *at > now) {
        html.raw("it failed and is tried again ").add(&when::until(at, now));
        if let Some(reason) = &job.reason {
            html.raw("; ").add(&quote(reason));
        }
    }
    html
}

/// The button that makes an enrolment code.
pub fn enroll_button() -> Html {
    let mut html = Html::new();
    html.form(&Href::local(&["hosts", "enrollments"])).raw("<button>Add a host</button></form>");
    html
}

/// A list of facts, each with its name.
#[derive(Default)]
pub struct Facts(Html);

impl Facts {
    /// One fact; an empty one is left out.
    pub fn fact(&mut self, name: &'static str, value: &Html) -> &mut Self {
        if !value.is_empty() {
            self.0.raw("<div><dt>").raw(name).raw("</dt><dd>").add(value).raw("</dd></div>");
        }
        self
    }

    /// The list, or nothing.
    pub fn html(&self) -> Html {
        let mut html = Html::new();
        if !self.0.is_empty() {
            html.raw("<dl>").add(&self.0).raw("</dl>");
        }
        html
    }
}

/// A table whose rows become cards on a narrow screen.
///
/// The roles are spelled out because a table that is styled as blocks loses
/// them in some browsers.
pub struct Table {
    columns: &'static [&'static str],
    html: Html,
}

impl Table {
    /// A table without rows. The first column names the row.
    pub fn new(label: &'static str, columns: &'static [&'static str]) -> Self {
        let mut html = Html::new();
        html.raw("<table role=\"table\" aria-label=\"").raw(label).raw("\"><thead role=\"rowgroup\"><tr role=\"row\">");
        for column in columns {
            html.raw("<th scope=\"col\" role=\"columnheader\">").raw(column).raw("</th>");
        }
        html.raw("</tr></thead><tbody role=\"rowgroup\">");
        Self { columns, html }
    }

    /// The same for a reader who has its head.
    pub fn without_head(label: &'static str, columns: &'static [&'static str]) -> Self {
        let mut html = Html::new();
        html.raw("<table role=\"table\" aria-label=\"").raw(label).raw("\"><thead data-same></thead><tbody role=\"rowgroup\">");
        Self { columns, html }
    }

    /// One row. The id tells `live.js` which row is which when rows are added.
    pub fn row(&mut self, id: &str, cells: &[Html]) {
        self.html.raw("<tr role=\"row\" id=\"").text(id).raw("\">");
        self.cells(cells);
    }

    /// A row with the version of what it shows, see [`version`](super::version).
    pub fn version_row(&mut self, id: &str, version: &str, cells: &[Html]) {
        self.html.raw("<tr role=\"row\" id=\"").text(id).raw("\" data-v=\"").text(version).raw("\">");
        self.cells(cells);
    }

    /// A row that the reader has.
    pub fn same(&mut self, id: &str) {
        self.html.raw("<tr role=\"row\" id=\"").text(id).raw("\" data-same></tr>");
    }

    fn cells(&mut self, cells: &[Html]) {
        for (place, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let (open, close) = match place {
                0 => ("<th scope=\"row\" role=\"rowheader\" data-label=\"", "</th>"),
                _ => ("<td role=\"cell\" data-label=\"", "</td>"),
            };
            self.html.raw(open).raw(column).raw("\"><div>").add(cell).raw("</div>").raw(close);
        }
        self.html.raw("</tr>");
    }

    /// The finished table.
    pub fn html(mut self) -> Html {
        self.html.raw("</tbody></table>");
        self.html
    }
}
