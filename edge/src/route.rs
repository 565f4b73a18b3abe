//! Which request is meant: one match from method and path to a [`Route`].
//!
//! Pure. Invariant: a route says who may use it ([`Route::access`]); the
//! shell asks before it does anything, so a new route cannot forget to.

use doorstep_shared::ids::{Action, JobId, Name};

use crate::ask::takes_service;

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
    /// A file of the dashboard.
    Asset(&'static str),
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
    /// Revoke a host.
    ApiRevoke(Name),
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
            | Self::Asset(_)
            | Self::WrongMethod(_)
            | Self::Unknown => Access::Open,
            Self::Fleet
            | Self::Project(..)
            | Self::Run(_)
            | Self::Deliveries
            | Self::Delivery(_)
            | Self::Replay(_)
            | Self::Containers
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
            | Self::ApiUsage => Access::SignedInOrBearer,
        }
    }

    /// Does it change something? Then a browser's origin is checked.
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
                | Self::Delivery(_)
                | Self::Replay(_)
                | Self::Containers
                | Self::Act(..)
                | Self::ActAll(..)
                | Self::Cancel(_)
                | Self::Revive(_)
                | Self::Enroll
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
        ["webhooks", "github", "events", id, "replay"] => only(method, "POST", id_route(id, Route::ApiReplay)),
        ["healthz"] => get(method, Route::Healthz),
        ["login"] => match method {
            "POST" => Route::Login,
            other => either(other, Route::LoginPage, "GET, HEAD, POST"),
        },
        ["logout"] => only(method, "POST", Route::Logout),
        ["assets", "style.css"] => get(method, Route::Asset("style.css")),
        ["assets", "live.js"] => get(method, Route::Asset("live.js")),
        [""] => get(method, Route::Fleet),
        ["deliveries"] => get(method, Route::Deliveries),
        ["deliveries", id] => get(method, id_route(id, Route::Delivery)),
        ["deliveries", id, "replay"] => only(method, "POST", id_route(id, Route::Replay)),
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
        assert_eq!(route("GET", "/deliveries/a-1"), Route::Delivery("a-1".to_owned()));
        assert_eq!(route("POST", "/deliveries/a-1"), Route::WrongMethod("GET, HEAD"));
        assert_eq!(route("POST", "/deliveries/a-1/replay"), Route::Replay("a-1".to_owned()));
        assert_eq!(route("GET", "/deliveries/a-1/replay"), Route::WrongMethod("POST"));
        assert_eq!(route("GET", "/deliveries/a b"), Route::Unknown);
        assert!(matches!(route("DELETE", "/api/hosts/attic"), Route::ApiRevoke(_)));
        assert_eq!(route("POST", "/api/jobs/7/revive"), Route::ApiRevive(JobId(7)));
        assert_eq!(route("GET", "/jobs/7/cancel"), Route::WrongMethod("POST"));
        for bad in ["", "+7", "-1", "7x", "99999999999999999"] {
            assert_eq!(route("POST", &format!("/api/jobs/{bad}/cancel")), Route::Unknown, "{bad}");
        }
    }

    #[test]
    fn what_changes_something_is_never_open_but_login_and_logout() {
        let routes = [
            route("POST", "/api/projects/a/b/deploy"),
            route("POST", "/projects/a/b/deploy"),
            route("POST", "/containers/a/stop"),
            route("POST", "/api/containers/a/stop"),
            route("POST", "/hosts/enrollments"),
            route("POST", "/api/hosts/enrollments"),
            route("DELETE", "/api/hosts/a"),
            route("POST", "/webhooks/github/events/g/replay"),
            route("POST", "/deliveries/g/replay"),
            route("POST", "/api/jobs/7/cancel"),
            route("POST", "/api/jobs/7/revive"),
            route("POST", "/jobs/7/cancel"),
            route("POST", "/jobs/7/revive"),
        ];
        for r in routes {
            assert!(r.changes() && r.access() != Access::Open, "{r:?}");
        }
    }
}
