//! Which requests mean what, and that none that changes something is open.

use super::*;
use crate::pages;

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
    ("GET", "/deliveries/g"),
    ("POST", "/deliveries/g/replay"),
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
