//! Which request is meant: one match from method and path to a [`Route`].
//!
//! Pure. Invariant: a route says who may use it ([`Route::access`]); the
//! shell asks before it does anything, so a new route cannot forget to.

use doorstep_shared::ids::{Action, JobId, Name};

use crate::ask::takes_service;
use crate::asker::HANDLE_DIGITS;
use crate::pages::{self, Asset};

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
    /// Run one delivery again.
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
    /// The page of all services.
    Containers,
    /// The page of what people did.
    Audit,
    /// The page of settings.
    Settings,
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
            | Self::Containers
            | Self::Audit
            | Self::Settings
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
            | Self::Replay(_)
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

    /// Is the answer a page (and a person who is not signed in sent to sign in)?
    #[must_use]
    pub fn is_page(&self) -> bool {
        matches!(
            self,
            Self::Fleet
                | Self::Project(..)
                | Self::Run(_)
                | Self::Deliveries
                | Self::Containers
                | Self::Audit
                | Self::Settings
        ) || self.takes_form()
    }

    /// Is it asked for with a page's form?
    #[must_use]
    pub fn takes_form(&self) -> bool {
        matches!(
            self,
            Self::Act(..)
                | Self::ActAll(..)
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

/// Reads method and path.
#[must_use]
pub fn route(method: &str, path: &str) -> Route {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["webhooks", "github"] | ["webhook"] | ["integrations", "github", "webhook"] => only(method, "POST", Route::Deliver),
        ["webhooks", "github", "health"] => get(method, Route::WebhookHealth),
        ["webhooks", "github", "events"] => get(method, Route::Events),
        ["webhooks", "github", "events", id] => get(method, id_route(id, Route::Event)),
        ["webhooks", "github", "events", id, "replay"] => only(method, "POST", id_route(id, Route::Replay)),
        ["healthz"] => get(method, Route::Healthz),
        ["login"] => match method {
            "POST" => Route::Login,
            other => either(other, Route::LoginPage, "GET, HEAD, POST"),
        },
        ["logout"] => only(method, "POST", Route::Logout),
        ["assets", name] => match pages::asset(name) {
            Some((asset, is_hashed)) => get(method, Route::Asset(asset, is_hashed)),
            None => Route::Unknown,
        },
        [""] => get(method, Route::Fleet),
        ["deliveries"] => get(method, Route::Deliveries),
        ["containers"] => get(method, Route::Containers),
        ["containers", host, action] => only(method, "POST", act_all(host, action, Route::ActAll)),
        ["runs", id] => get(method, id_route(id, Route::Run)),
        ["projects", host, project] => match (host.parse(), project.parse()) {
            (Ok(host), Ok(project)) => get(method, Route::Project(host, project)),
            _ => Route::Unknown,
        },
        ["projects", host, project, action] => only(method, "POST", act(host, project, action, Route::Act)),
        ["jobs", id, "cancel"] => only(method, "POST", job_route(id, Route::Cancel)),
        ["jobs", id, "revive"] => only(method, "POST", job_route(id, Route::Revive)),
        ["hosts", "enrollments"] => only(method, "POST", Route::Enroll),
        ["hosts", host, "revoke"] => host.parse().map_or(Route::Unknown, |host| only(method, "POST", Route::Revoke(host))),
        ["audit"] => get(method, Route::Audit),
        ["settings"] => get(method, Route::Settings),
        ["settings", "sessions", "end-all"] => only(method, "POST", Route::EndAllSessions),
        ["settings", "sessions", handle, "end"] => only(method, "POST", session_route(handle, Route::EndSession)),
        ["live"] => get(method, Route::Live),
        ["executor"] => get(method, Route::Executor),
        ["api", rest @ ..] => api(method, rest),
        _ => Route::Unknown,
    }
}

fn api(method: &str, parts: &[&str]) -> Route {
    match parts {
        ["hosts"] => get(method, Route::ApiHosts),
        ["hosts", "enrollments"] => only(method, "POST", Route::ApiEnroll),
        ["hosts", host] => host.parse().map_or(Route::Unknown, |host| only(method, "DELETE", Route::ApiRevoke(host))),
        ["projects"] => get(method, Route::ApiProjects),
        ["usage"] => get(method, Route::ApiUsage),
        ["audit"] => get(method, Route::ApiAudit),
        ["sessions"] => get(method, Route::ApiSessions),
        ["sessions", handle] => only(method, "DELETE", session_route(handle, Route::ApiEndSession)),
        ["containers"] => get(method, Route::ApiContainers),
        ["containers", host, action] => only(method, "POST", act_all(host, action, Route::ApiActAll)),
        ["projects", host, project, action] => only(method, "POST", act(host, project, action, Route::ApiAct)),
        ["jobs"] => get(method, Route::ApiJobs),
        ["jobs", id, "cancel"] => only(method, "POST", job_route(id, Route::ApiCancel)),
        ["jobs", id, "revive"] => only(method, "POST", job_route(id, Route::ApiRevive)),
        ["runs"] => get(method, Route::ApiRuns),
        ["runs", id] => get(method, id_route(id, Route::ApiRun)),
        ["runs", id, "log"] => get(method, id_route(id, Route::ApiRunLog)),
        _ => Route::Unknown,
    }
}

fn act(host: &str, project: &str, action: &str, make: fn(Name, Name, Action) -> Route) -> Route {
    match (host.parse(), project.parse(), action.parse()) {
        (Ok(host), Ok(project), Ok(action)) => make(host, project, action),
        _ => Route::Unknown,
    }
}

/// Only what can be asked of services can be asked of all that a host has.
fn act_all(host: &str, action: &str, make: fn(Name, Action) -> Route) -> Route {
    match (host.parse(), action.parse()) {
        (Ok(host), Ok(action)) if takes_service(action) => make(host, action),
        _ => Route::Unknown,
    }
}

fn id_route(id: &str, make: fn(String) -> Route) -> Route {
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { make(id.to_owned()) } else { Route::Unknown }
}

fn session_route(handle: &str, make: fn(String) -> Route) -> Route {
    let is_one = handle.len() == HANDLE_DIGITS && handle.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_one { make(handle.to_owned()) } else { Route::Unknown }
}

/// A job's number is below 2^53, so it has at most 16 digits.
fn job_route(id: &str, make: fn(JobId) -> Route) -> Route {
    let digits = (1..=16).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    match id.parse() {
        Ok(number) if digits => make(JobId(number)),
        _ => Route::Unknown,
    }
}

fn get(method: &str, route: Route) -> Route {
    either(method, route, "GET, HEAD")
}

fn either(method: &str, route: Route, allowed: &'static str) -> Route {
    match (method, &route) {
        (_, Route::Unknown) | ("GET" | "HEAD", _) => route,
        _ => Route::WrongMethod(allowed),
    }
}

fn only(method: &str, allowed: &'static str, route: Route) -> Route {
    if route == Route::Unknown || method == allowed { route } else { Route::WrongMethod(allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_paths_take_deliveries() {
        for path in ["/webhooks/github", "/webhook", "/integrations/github/webhook"] {
            assert_eq!(route("POST", path), Route::Deliver);
            assert_eq!(route("GET", path), Route::WrongMethod("POST"));
            assert_eq!(route("PUT", path), Route::WrongMethod("POST"));
        }
    }

    #[test]
    fn names_are_checked_here() {
        assert!(matches!(route("GET", "/projects/attic/shop"), Route::Project(..)));
        assert_eq!(route("GET", "/projects/attic/.."), Route::Unknown);
        assert_eq!(route("POST", "/api/projects/attic/shop/format-disk"), Route::Unknown);
        assert!(matches!(route("POST", "/api/projects/attic/shop/deploy"), Route::ApiAct(..)));
        assert_eq!(route("GET", "/api/projects/attic/shop/deploy"), Route::WrongMethod("POST"));
        assert_eq!(route("GET", "/runs/a%2fb"), Route::Unknown);
        assert!(matches!(route("POST", "/containers/attic/restart"), Route::ActAll(_, Action::Restart)));
        assert!(matches!(route("POST", "/api/containers/attic/stop"), Route::ApiActAll(_, Action::Stop)));
        assert_eq!(route("GET", "/containers/attic/restart"), Route::WrongMethod("POST"));
        for not_of_services in ["deploy", "fetch", "rollback", "format-disk"] {
            assert_eq!(route("POST", &format!("/api/containers/attic/{not_of_services}")), Route::Unknown);
        }
        assert!(matches!(route("DELETE", "/api/hosts/attic"), Route::ApiRevoke(_)));
        assert_eq!(route("POST", "/api/jobs/7/revive"), Route::ApiRevive(JobId(7)));
        assert_eq!(route("GET", "/jobs/7/cancel"), Route::WrongMethod("POST"));
        for bad in ["", "+7", "-1", "7x", "99999999999999999"] {
            assert_eq!(route("POST", &format!("/api/jobs/{bad}/cancel")), Route::Unknown, "{bad}");
        }
    }

    /// Every address that there is, with its method.
    const EVERY: &[(&str, &str)] = &[
        ("POST", "/webhooks/github"),
        ("GET", "/webhooks/github/health"),
        ("GET", "/webhooks/github/events"),
        ("GET", "/webhooks/github/events/g"),
        ("POST", "/webhooks/github/events/g/replay"),
        ("GET", "/healthz"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("POST", "/logout"),
        ("GET", "/assets/style.css"),
        ("GET", "/"),
        ("GET", "/projects/a/b"),
        ("GET", "/runs/r"),
        ("GET", "/deliveries"),
        ("GET", "/containers"),
        ("GET", "/audit"),
        ("GET", "/settings"),
        ("GET", "/live"),
        ("GET", "/executor"),
        ("POST", "/projects/a/b/deploy"),
        ("POST", "/containers/a/stop"),
        ("POST", "/jobs/7/cancel"),
        ("POST", "/jobs/7/revive"),
        ("POST", "/hosts/enrollments"),
        ("POST", "/hosts/a/revoke"),
        ("POST", "/settings/sessions/0123abcd/end"),
        ("POST", "/settings/sessions/end-all"),
        ("GET", "/api/hosts"),
        ("GET", "/api/projects"),
        ("GET", "/api/containers"),
        ("GET", "/api/runs"),
        ("GET", "/api/runs/r"),
        ("GET", "/api/runs/r/log"),
        ("GET", "/api/jobs"),
        ("GET", "/api/usage"),
        ("GET", "/api/audit"),
        ("GET", "/api/sessions"),
        ("POST", "/api/projects/a/b/deploy"),
        ("POST", "/api/containers/a/stop"),
        ("POST", "/api/jobs/7/cancel"),
        ("POST", "/api/jobs/7/revive"),
        ("POST", "/api/hosts/enrollments"),
        ("DELETE", "/api/hosts/a"),
        ("DELETE", "/api/sessions/0123abcd"),
    ];

    #[test]
    fn what_changes_something_is_never_open_but_login_and_logout() {
        for (method, path) in EVERY {
            let r = route(method, path);
            assert!(!matches!(r, Route::Unknown | Route::WrongMethod(_)), "{method} {path}");
            // GitHub's signature is its own proof.
            let changes = *method != "GET" && r != Route::Deliver;
            assert_eq!(r.changes(), changes, "{method} {path}");
            let is_open = matches!(r, Route::Login | Route::Logout);
            assert!(!changes || is_open == (r.access() == Access::Open), "{method} {path}");
        }
    }

    #[test]
    fn what_a_form_asks_for_is_not_for_bearers_and_what_the_api_changes_takes_no_form() {
        for (method, path) in EVERY {
            let r = route(method, path);
            assert!(!r.takes_form() || (r.changes() && r.access() != Access::SignedInOrBearer), "{method} {path}");
            assert_eq!(r.takes_form(), r.changes() && r.access() != Access::SignedInOrBearer && r != Route::Login, "{method} {path}");
        }
    }

    #[test]
    fn sessions_are_named_by_their_handle() {
        assert_eq!(route("POST", "/settings/sessions/0123abcd/end"), Route::EndSession("0123abcd".into()));
        for bad in ["", "0123abc", "0123abcde", "0123ABCD", "0123abc_"] {
            assert_eq!(route("DELETE", &format!("/api/sessions/{bad}")), Route::Unknown, "{bad}");
        }
        assert_eq!(route("GET", "/settings/sessions/end-all"), Route::WrongMethod("POST"));
    }

    #[test]
    fn files_are_found_under_both_names() {
        assert!(matches!(route("GET", "/assets/live.js"), Route::Asset(_, false)));
        assert!(matches!(route("GET", &format!("/assets/{}", pages::asset("style.css").unwrap().0.name)), Route::Asset(_, true)));
        assert_eq!(route("GET", "/assets/nothing.css"), Route::Unknown);
    }
}
