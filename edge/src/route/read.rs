//! From method and path to a [`Route`]. What names something is checked here.

use doorstep_shared::ids::{Action, JobId, Name};

use super::Route;
use crate::ask::takes_service;
use crate::asker::HANDLE_DIGITS;
use crate::pages;

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
        ["assets", name] => match pages::asset(name) {
            Some((asset, is_hashed)) => get(method, Route::Asset(asset, is_hashed)),
            None => Route::Unknown,
        },
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
        ["hosts"] => get(method, Route::Hosts),
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
