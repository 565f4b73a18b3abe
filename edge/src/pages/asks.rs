//! Buttons that ask for an action, and what is said where one is missing.
//!
//! Invariant: a button stands only for what the host's file allows; for what it
//! does not, the page says which line would.

use doorstep_shared::ids::{Action, ProjectState, ServiceName};
use doorstep_shared::protocol::BackView;

use super::html::{Href, Html};
use super::parts;
use crate::ask::{Back, policy};
use crate::view::{ContainersProject, ProjectRow};

/// Whom buttons ask, and what the host's file allows of it.
pub struct Asks<'a> {
    /// The host.
    pub host: &'a str,
    /// The project.
    pub project: &'a str,
    /// What may be asked from here.
    pub remote: &'a [Action],
    /// May what the app prints be shown here?
    pub shows_logs: bool,
    /// What a rollback can go back to, where its host says that.
    pub releases: Option<&'a BackView>,
    /// Where the buttons lead back to.
    pub back: Back,
}

impl<'a> Asks<'a> {
    /// Buttons of a project.
    pub fn of(project: &'a ProjectRow, back: Back) -> Self {
        let ProjectRow { host, name, remote, shows_logs, back: releases, .. } = project;
        Self { host: host.as_str(), project: name.as_str(), remote, shows_logs: *shows_logs, releases: releases.as_ref(), back }
    }

    /// Buttons of a project on the page of all services.
    pub fn of_services(host: &'a str, project: &'a ContainersProject) -> Self {
        let ContainersProject { name, remote, shows_logs, .. } = project;
        Self { host, project: name.as_str(), remote, shows_logs: *shows_logs, releases: None, back: Back::Containers }
    }

    /// The button for a deploy, the first thing that anybody wants.
    pub fn deploy(&self) -> Html {
        let mut html = Html::new();
        if self.remote.contains(&Action::Deploy) {
            html.form(&self.to(Action::Deploy)).add(&self.fields(None)).raw("<button>Deploy<span class=\"vh\"> ");
            html.text(self.project).raw(" on ").text(self.host).raw("</span></button></form>");
        }
        html
    }

    /// The buttons for what is `offered` and allowed, in that order, for one
    /// service or for the project; empty when nothing is allowed.
    pub fn buttons(&self, service: Option<&ServiceName>, offered: &[(Action, &'static str)]) -> Html {
        let mut html = Html::new();
        for (action, words) in offered.iter().filter(|(action, _)| self.remote.contains(action) && self.makes_sense(*action)) {
            html.form(&self.to(*action));
            html.add(&self.fields(service)).raw("<button class=\"small\">").raw(words);
            if let Some(commit) = self.releases.filter(|_| *action == Action::Rollback).and_then(|releases| releases.to.as_ref()) {
                html.raw(" to ").text(parts::short(commit));
            }
            html.raw("<span class=\"vh\">: ");
            if let Some(service) = service {
                html.text(service.as_str()).raw(" of ");
            }
            html.text(self.project).raw(" on ").text(self.host).raw("</span></button></form>");
        }
        html
    }

    /// Where nothing can be gone back to, that is not offered.
    fn makes_sense(&self, action: Action) -> bool {
        action != Action::Rollback || self.releases.is_none_or(|releases| releases.to.is_some())
    }

    /// The button that makes the release of this commit live again.
    pub fn go_back_to(&self, commit: &str) -> Html {
        let mut html = Html::new();
        let is_kept = self.releases.is_none_or(|releases| releases.kept.iter().any(|kept| kept == commit));
        if is_kept && self.remote.contains(&Action::Rollback) {
            html.form(&self.to(Action::Rollback)).add(&self.fields(None)).raw("<input type=\"hidden\" name=\"commit\" value=\"").text(commit);
            html.raw("\"><button class=\"small\">Roll back to here<span class=\"vh\">: ").text(self.project).raw(" on ").text(self.host).raw("</span></button></form>");
        }
        html
    }

    /// The same beside each other.
    pub fn line(&self, service: Option<&ServiceName>, offered: &[(Action, &'static str)]) -> Html {
        let (buttons, mut html) = (self.buttons(service, offered), Html::new());
        if !buttons.is_empty() {
            html.raw("<div class=\"line\">").add(&buttons).raw("</div>");
        }
        html
    }

    /// Which of these the host's file does not allow, and the line that would;
    /// nothing when it allows them all.
    pub fn not_allowed(&self, wanted: &[Action]) -> Html {
        let missing: Vec<Action> = wanted.iter().copied().filter(|action| !self.remote.contains(action)).collect();
        let mut html = Html::new();
        if missing.is_empty() {
            return html;
        }
        let words: Vec<&str> = missing.iter().map(|action| action.as_str()).collect();
        html.raw("<details class=\"not-allowed\" id=\"not-allowed/").text(self.host).raw("/").text(self.project);
        html.raw("\"><summary class=\"muted\">Not allowed from here: ").text(&words.join(", ")).raw("</summary><p>The <code>doorstep.toml</code> of ");
        html.text(self.host).raw(" decides. This would allow it:</p><pre><code>").text(&policy(self.project, self.remote, self.shows_logs, &missing));
        html.raw("</code></pre></details>");
        html
    }

    fn to(&self, action: Action) -> Href {
        Href::local(&["projects", self.host, self.project, action.as_str()])
    }

    fn fields(&self, service: Option<&ServiceName>) -> Html {
        let mut html = Html::new();
        if let Some(service) = service {
            html.raw("<input type=\"hidden\" name=\"service\" value=\"").text(service.as_str()).raw("\">");
        }
        if self.back != Back::Project {
            html.raw("<input type=\"hidden\" name=\"back\" value=\"").text(self.back.as_str()).raw("\">");
        }
        html
    }
}

/// What else than a deploy can be asked for, as things stood last: of what is
/// stopped it makes no sense to stop it.
pub fn offered(project: &ProjectRow) -> &'static [(Action, &'static str)] {
    match (&project.live, project.state) {
        (None, _) => &[(Action::Fetch, "Fetch")],
        (Some(_), ProjectState::Stopped) => {
            &[(Action::Start, "Start"), (Action::Fetch, "Fetch"), (Action::Rollback, "Roll back"), (Action::Rebuild, "Rebuild")]
        }
        (Some(_), ProjectState::Running | ProjectState::Failing | ProjectState::Degraded) => &[
            (Action::Restart, "Restart"),
            (Action::Stop, "Stop"),
            (Action::Fetch, "Fetch"),
            (Action::Rollback, "Roll back"),
            (Action::Rebuild, "Rebuild"),
        ],
    }
}
