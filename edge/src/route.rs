//! Which request is meant: one match from method and path to a [`Route`].
//!
//! Pure. Invariant: a route says who may use it ([`Route::access`]); the
//! shell asks before it does anything, so a new route cannot forget to.

use doorstep_shared::ids::{Action, JobId, Name};

use crate::pages::Asset;

mod read;

pub use read::route;

/// Everything a request can mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A delivery from GitHub.
    Deliver,
    /// How deliveries fare.
    WebhookHealth,
    /// The history.
    Events,
    /// One delivery with its payload.
    Event(String),
    /// Run one delivery again, as JSON.
    ApiReplay(String),
    /// Run one delivery again, from a page's form.
    Replay(String),
    /// Is the Worker alive?
    Healthz,
    /// The sign-in page.
    LoginPage,
    /// Sign in.
    Login,
    /// Sign out.
    Logout,
    /// A file of the dashboard, and whether its name has its hash.
    Asset(&'static Asset, bool),
    /// The first page.
    Fleet,
    /// One project's page.
    Project(Name, Name),
    /// One run's page.
    Run(String),
    /// The deliveries' page.
    Deliveries,
    /// One delivery's page.
    Delivery(String),
    /// The page of all services.
    Containers,
    /// The page of what people did.
    Audit,
    /// The page of settings.
    Settings,
    /// The page of hosts.
    Hosts,
    /// End a session, from a page's form.
    EndSession(String),
    /// Sign out everywhere.
    EndAllSessions,
    /// Page updates.
    Live,
    /// The executor's socket.
    Executor,
    /// `/api/hosts`.
    ApiHosts,
    /// `/api/projects`.
    ApiProjects,
    /// `/api/containers`.
    ApiContainers,
    /// `/api/runs`.
    ApiRuns,
    /// `/api/runs/{id}`.
    ApiRun(String),
    /// `/api/runs/{id}/log`.
    ApiRunLog(String),
    /// `/api/jobs`.
    ApiJobs,
    /// Cancel a job, as JSON.
    ApiCancel(JobId),
    /// Try a dead job again, as JSON.
    ApiRevive(JobId),
    /// Cancel a job, from a page's form.
    Cancel(JobId),
    /// Try a dead job again, from a page's form.
    Revive(JobId),
    /// Ask a project for an action, as JSON.
    ApiAct(Name, Name, Action),
    /// Ask a project for an action, from a page's form.
    Act(Name, Name, Action),
    /// Ask every project with services of a host for an action, as JSON.
    ApiActAll(Name, Action),
    /// The same, from a page's form.
    ActAll(Name, Action),
    /// A one-time code, as JSON.
    ApiEnroll,
    /// A one-time code, from a page's form.
    Enroll,
    /// Revoke a host, as JSON.
    ApiRevoke(Name),
    /// Revoke a host, from a page's form.
    Revoke(Name),
    /// `/api/audit`.
    ApiAudit,
    /// `/api/sessions`.
    ApiSessions,
    /// End a session, as JSON.
    ApiEndSession(String),
    /// What the hub cost since it woke.
    ApiUsage,
    /// The path exists, the method does not; what is allowed.
    WrongMethod(&'static str),
    /// No such path.
    Unknown,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// A person who signed in.
    SignedIn,
    /// A person who signed in, or a bearer.
    SignedInOrBearer,
}

impl Route {
    /// Who may use it.
    #[must_use]
    pub fn access(&self) -> Access {
        match self {
            // The delivery's signature and the executor's challenge are checked behind these.
            Self::Deliver
            | Self::Executor
            | Self::WebhookHealth
            | Self::Healthz
            | Self::LoginPage
            | Self::Login
            | Self::Logout
            | Self::Asset(..)
            | Self::WrongMethod(_)
            | Self::Unknown => Access::Open,
            Self::Fleet
            | Self::Project(..)
            | Self::Run(_)
            | Self::Deliveries
            | Self::Delivery(_)
            | Self::Replay(_)
            | Self::Containers
            | Self::Audit
            | Self::Settings
            | Self::Hosts
            | Self::EndSession(_)
            | Self::EndAllSessions
            | Self::Revoke(_)
            | Self::Live
            | Self::Act(..)
            | Self::ActAll(..)
            | Self::Cancel(_)
            | Self::Revive(_)
            | Self::Enroll => Access::SignedIn,
            Self::Events
            | Self::Event(_)
            | Self::ApiReplay(_)
            | Self::ApiHosts
            | Self::ApiProjects
            | Self::ApiContainers
            | Self::ApiRuns
            | Self::ApiRun(_)
            | Self::ApiRunLog(_)
            | Self::ApiJobs
            | Self::ApiCancel(_)
            | Self::ApiRevive(_)
            | Self::ApiAct(..)
            | Self::ApiActAll(..)
            | Self::ApiEnroll
            | Self::ApiRevoke(_)
            | Self::ApiAudit
            | Self::ApiSessions
            | Self::ApiEndSession(_)
            | Self::ApiUsage => Access::SignedInOrBearer,
        }
    }

    /// Does it change something? Then a browser's origin is checked, and a
    /// session's form token but for signing in.
    #[must_use]
    pub fn changes(&self) -> bool {
        matches!(
            self,
            Self::Replay(_)
                | Self::ApiReplay(_)
                | Self::Login
                | Self::Logout
                | Self::ApiCancel(_)
                | Self::ApiRevive(_)
                | Self::Cancel(_)
                | Self::Revive(_)
                | Self::ApiAct(..)
                | Self::Act(..)
                | Self::ApiActAll(..)
                | Self::ActAll(..)
                | Self::ApiEnroll
                | Self::Enroll
                | Self::ApiRevoke(_)
                | Self::Revoke(_)
                | Self::EndSession(_)
                | Self::EndAllSessions
                | Self::ApiEndSession(_)
        )
    }

    /// May its answer be compressed where nobody in front does that? A page that
    /// repeats what its address says may not: its length would tell a stranger
    /// who makes up addresses, letter by letter, the form token in it.
    #[must_use]
    pub fn may_be_compressed(&self) -> bool {
        matches!(self, Self::Asset(..) | Self::Fleet | Self::Project(..) | Self::Run(_) | Self::Containers | Self::ApiRunLog(_))
    }

    /// Is the answer a page (and a person who is not signed in sent to sign in)?
    #[must_use]
    pub fn is_page(&self) -> bool {
        matches!(
            self,
            Self::Fleet
                | Self::Project(..)
                | Self::Run(_)
                | Self::Deliveries
                | Self::Delivery(_)
                | Self::Containers
                | Self::Audit
                | Self::Settings
                | Self::Hosts
        ) || self.takes_form()
    }

    /// Is it asked for with a page's form?
    #[must_use]
    pub fn takes_form(&self) -> bool {
        matches!(
            self,
            Self::Act(..)
                | Self::ActAll(..)
                | Self::Replay(_)
                | Self::Cancel(_)
                | Self::Revive(_)
                | Self::Enroll
                | Self::Revoke(_)
                | Self::EndSession(_)
                | Self::EndAllSessions
                | Self::Logout
        )
    }
}

#[cfg(test)]
mod tests;
