//! Who sees what: pages, the API, sessions, and other sites.

use doorstep_tests::{API_TOKEN, Answer, Edge, GitHub, PASSWORD, Page, Push, Raw, Secrets, WEBHOOK_SECRET};

use crate::shared_edge;

const PAGES: [&str; 7] = ["/", "/deliveries", "/containers", "/audit", "/settings", "/runs/r1", "/projects/attic/shop"];
const API: [&str; 11] =
    ["/api/audit", "/api/sessions", "/api/hosts", "/api/containers", "/api/jobs", "/api/projects", "/api/runs", "/api/runs/r1", "/api/runs/r1/log", "/api/usage", "/webhooks/github/events"];

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn upgrade(path: &str) -> Raw {
    Raw::new("GET", path)
        .with("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_stranger_is_sent_to_sign_in_or_told_so() {
    let edge = shared_edge().await;
    for path in PAGES {
        let answer = edge.request("GET", path, &[], "").await;
        let next: String = format!("/login?next={}", path.replace('/', "%2F"));
        assert_eq!((answer.status, answer.header("location")), (303, Some(next.as_str())), "{path}");
    }
    let forged = "doorstep_session=9999999999999.00; other=1";
    let bearer = format!("Bearer {API_TOKEN}");
    let wrong: [&[(&str, &str)]; 7] = [
        &[],
        &[("cookie", forged)],
        &[("cookie", "doorstep_session=")],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", API_TOKEN)],
        &[("authorization", &bearer[..bearer.len() - 1])],
    ];
    for path in API {
        for headers in wrong {
            let answer = edge.request("GET", path, headers, "").await;
            assert_eq!((answer.status, answer.error().as_str()), (401, "not_signed_in"), "{path} with {headers:?}");
        }
    }
    for (method, path) in [
        ("POST", "/api/projects/attic/shop/deploy"),
        ("POST", "/api/containers/attic/stop"),
        ("POST", "/api/hosts/enrollments"),
        ("DELETE", "/api/hosts/attic"),
        ("POST", "/webhooks/github/events/some/replay"),
        ("POST", "/api/jobs/7/cancel"),
        ("POST", "/api/jobs/7/revive"),
        ("DELETE", "/api/sessions/0123abcd"),
    ] {
        assert_eq!(edge.request(method, path, &[], "").await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_bearer_is_for_programs_and_not_for_pages() {
    let edge = shared_edge().await;
    for path in ["/api/hosts", "/api/projects", "/api/runs", "/webhooks/github/events"] {
        assert_eq!(edge.api("GET", path).await.status, 200, "{path}");
    }
    for path in PAGES {
        assert_eq!(edge.api("GET", path).await.status, 303, "{path}");
    }
    assert_eq!(edge.api("POST", "/hosts/enrollments").await.status, 303);
    let without = Edge::start_with(Secrets { api_token: None, ..Secrets::default() }).await;
    for bearer in ["Bearer ", "Bearer undefined", "Bearer null", "Bearer"] {
        let answer = without.request("GET", "/api/hosts", &[("authorization", bearer)], "").await;
        assert_eq!(answer.status, 401, "{bearer}");
    }
}

#[tokio::test]
async fn the_right_password_opens_the_pages() {
    let edge = shared_edge().await;
    let page = edge.request("GET", "/login", &[], "").await;
    assert_eq!(page.status, 200);
    assert_page(&page);
    let answer = edge.sign_in(PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP a browser would drop it: {cookie}");
    let cookie = edge.fresh_session().await;
    let headers = [("cookie", cookie.as_str())];
    for path in ["/", "/deliveries", "/containers", "/audit", "/settings"] {
        let page = edge.request("GET", path, &headers, "").await;
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert_page(&page);
    }
    assert_eq!(edge.request("GET", "/api/hosts", &headers, "").await.status, 200);
    let out = edge.press(&cookie, "/logout", "").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(edge.request("GET", "/", &headers, "").await.status, 303, "the session has ended, not only its cookie");
    let changed = format!("{}0", edge.session().await);
    assert_eq!(edge.request("GET", "/", &[("cookie", &changed)], "").await.status, 303);
}

/// A page runs nothing but our own files and is not shown in a frame.
fn assert_page(page: &Answer) {
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap_or_default();
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
    assert!(page.header("permissions-policy").unwrap().contains("camera=()"));
    assert_eq!(page.header("strict-transport-security"), None, "not over plain http");
}

#[tokio::test]
async fn signing_in_leads_nowhere_else() {
    let edge = shared_edge().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let password = PASSWORD.replace(' ', "+");
    for (next, leads_to) in [
        ("%2Fruns%2Fr1", "/runs/r1"),
        ("%2F%2Fevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("%2F%0D%0ASet-Cookie%3A%20a%3Db", "/"),
        // A browser takes a tab out of an address before it reads it.
        ("%2F%09%2Fevil.example", "/"),
        ("%09%2F%2Fevil.example", "/"),
        ("", "/"),
    ] {
        let answer = edge.request("POST", "/login", &form, format!("password={password}&next={next}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(leads_to)), "{next}");
    }
}

#[tokio::test]
async fn an_edge_without_a_password_lets_nobody_in() {
    for password in [None, Some(String::new())] {
        let edge = Edge::start_with(Secrets { password, ..Secrets::default() }).await;
        for word in ["", "null", "undefined"] {
            let answer = edge.sign_in(word).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (503, None), "{word:?}");
        }
        assert_eq!(edge.request("GET", "/", &[], "").await.status, 303);
    }
}

#[tokio::test]
async fn other_sites_cannot_use_a_persons_session() {
    let edge = shared_edge().await;
    let cookie = edge.fresh_session().await;
    let own = edge.url("");
    let token = edge.form_token(&cookie).await;
    let foreign = ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example"];
    for (method, path) in [
        ("POST", "/api/projects/attic/shop/deploy"),
        ("POST", "/api/containers/attic/stop"),
        ("POST", "/projects/attic/shop/deploy"),
        ("POST", "/containers/attic/stop"),
        ("POST", "/api/hosts/enrollments"),
        ("POST", "/hosts/enrollments"),
        ("DELETE", "/api/hosts/attic"),
        ("POST", "/webhooks/github/events/some/replay"),
        ("POST", "/api/jobs/7/cancel"),
        ("POST", "/jobs/7/revive"),
        ("POST", "/hosts/nobody/revoke"),
        ("DELETE", "/api/sessions/0123abcd"),
        ("POST", "/settings/sessions/0123abcd/end"),
        ("POST", "/login"),
        ("POST", "/logout"),
        ("POST", "/settings/sessions/end-all"),
    ] {
        for origin in foreign {
            let headers = [("cookie", cookie.as_str()), ("origin", origin), ("x-form-token", &token), FORM];
            let answer = edge.request(method, path, &headers, format!("form_token={token}")).await;
            assert_eq!((answer.status, answer.error().as_str()), (403, "other_site"), "{method} {path} from {origin}");
        }
        for site in ["cross-site", "same-site"] {
            let headers = [("cookie", cookie.as_str()), ("origin", &own), ("sec-fetch-site", site), ("x-form-token", &token), FORM];
            let answer = edge.request(method, path, &headers, format!("form_token={token}")).await;
            assert_eq!((answer.status, answer.error().as_str()), (403, "other_site"), "{method} {path} from {site}");
        }
        if ["/login", "/logout", "/settings/sessions/end-all"].contains(&path) {
            continue;
        }
        let headers = [("cookie", cookie.as_str()), ("origin", &own), ("sec-fetch-site", "same-origin"), ("x-form-token", &token), FORM];
        let answer = edge.request(method, path, &headers, format!("form_token={token}")).await;
        assert!(![401, 403].contains(&answer.status), "{method} {path}: {}", answer.text());
    }
    let bearer = format!("Bearer {API_TOKEN}");
    let by_bearer = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
    assert_eq!(edge.request("DELETE", "/api/hosts/nobody", &by_bearer, "").await.status, 404, "no site can lend a bearer");
}

#[tokio::test]
async fn page_updates_are_for_the_same_site_and_for_people_who_signed_in() {
    let edge = shared_edge().await;
    let (cookie, own, host) = (edge.session().await, edge.url(""), edge.address().to_string());
    let live = || upgrade("/live").with("Host", &host);
    let status = async |request: Raw| {
        let answer = edge.raw(&request.hangs_up()).await;
        (answer.status, answer.error())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(status(live().header("Cookie", &cookie).header("Origin", "https://evil.example")).await, refused(403, "other_site"));
    assert_eq!(status(live().header("Cookie", &cookie).header("Origin", "null")).await, refused(403, "other_site"));
    assert_eq!(status(live().header("Cookie", &cookie)).await, refused(403, "other_site"));
    assert_eq!(status(live().header("Origin", &own)).await, refused(401, "not_signed_in"));
    let bearer = format!("Bearer {API_TOKEN}");
    assert_eq!(status(live().header("Origin", &own).header("Authorization", &bearer)).await, refused(401, "not_signed_in"));
    let open = live().header("Cookie", &cookie).header("Origin", &own);
    assert_eq!(status(open.without("Upgrade")).await, refused(426, "upgrade_required"));
    assert_eq!(status(Raw::new("GET", "/executor")).await, refused(426, "upgrade_required"));
}

#[tokio::test]
async fn an_open_page_hears_that_something_changed() {
    let edge = shared_edge().await;
    let mut page = Page::open(&edge, &edge.session().await).await;
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("live/shop", Push::to("main"))).await;
    assert!(page.hear().await["changed"].is_array());
    // What a page says is not listened to.
    page.say(r#"{"type":"renew","holding":[]}"#).await;
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("live/shop", Push::to("main"))).await;
    assert!(page.hear().await["changed"].is_array());
}

#[tokio::test]
async fn unknown_addresses_are_not_there() {
    let edge = shared_edge().await;
    for path in ["/nothing", "/api", "/api/nothing", "/webhooks", "/webhooks/github/", "/runs", "/assets/../lib.rs", "/.env"] {
        let answer = edge.raw(&Raw::new("GET", path)).await;
        assert_eq!((answer.status, answer.error().as_str()), (404, "not_found"), "{path}");
    }
    let page = edge.request("GET", "/nothing", &[("accept", "text/html")], "").await;
    assert_eq!(page.status, 404);
    assert_page(&page);
}
