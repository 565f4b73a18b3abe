//! Who is signed in: how a session begins, is used and ends, and what proves
//! that a request is its person's.

use doorstep_tests::{Answer, Edge, PASSWORD, Page, Raw, project};
use serde_json::Value;

use crate::audit::{audit, entry};
use crate::shared_edge;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const DAY_MS: u64 = 24 * 3_600 * 1_000;

async fn status(edge: &Edge, cookie: &str) -> u16 {
    edge.request("GET", "/api/hosts", &[("cookie", cookie)], "").await.status
}

/// The sessions, as `/api/sessions` tells them to the person of this cookie.
async fn sessions(edge: &Edge, cookie: &str) -> Vec<Value> {
    let answer = edge.request("GET", "/api/sessions", &[("cookie", cookie)], "").await;
    answer.json()["sessions"].as_array().unwrap().clone()
}

pub async fn own_handle(edge: &Edge, cookie: &str) -> String {
    let own = sessions(edge, cookie).await.into_iter().find(|session| session["is_this"] == true).unwrap();
    own["handle"].as_str().unwrap().to_owned()
}

async fn sign_in_with(edge: &Edge, headers: &[(&str, &str)]) -> Answer {
    let password = PASSWORD.replace(' ', "+");
    edge.request("POST", "/login", &[&[FORM], headers].concat(), format!("password={password}")).await
}

/// The `Cookie` header of what a `Set-Cookie` sets.
fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn each_sign_in_has_a_session_of_its_own() {
    let edge = Edge::start().await;
    let first = edge.fresh_session().await;
    // Nobody can choose the token of somebody else's session.
    let answer = sign_in_with(&edge, &[("cookie", &first)]).await;
    let second = cookie_of(&answer);
    assert_ne!(first, second);
    assert_eq!((status(&edge, &first).await, status(&edge, &second).await), (401, 200), "the browser's earlier one has ended");
    for chosen in ["doorstep_session=0123", &format!("doorstep_session={}.{}", "0".repeat(64), "0".repeat(64))] {
        let given = cookie_of(&sign_in_with(&edge, &[("cookie", chosen)]).await);
        assert_ne!(given, chosen);
        assert_eq!(status(&edge, chosen).await, 401);
    }
    let kept = edge.hub("SELECT hash || agent || address FROM sessions");
    let token = second.split_once('=').unwrap().1.split_once('.').unwrap().0.to_owned();
    assert!(!kept.is_empty() && kept.iter().all(|row| !row.contains(&token)), "the hub knows the token's hash, not the token");
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_after_a_month() {
    let edge = Edge::start().await;
    let cookie = edge.fresh_session().await;
    let by = |ms: u64, column: &str| edge.meddle(&format!("UPDATE sessions SET {column} = {column} - {ms}"));
    by(6 * DAY_MS, "seen");
    assert_eq!(status(&edge, &cookie).await, 200);
    by(6 * DAY_MS, "seen");
    assert_eq!(status(&edge, &cookie).await, 200, "it was used in between");
    by(7 * DAY_MS, "seen");
    assert_eq!(status(&edge, &cookie).await, 401);
    let page = edge.request("GET", "/audit?search=a", &[("cookie", &cookie)], "").await;
    assert_eq!((page.status, page.header("location")), (303, Some("/login?next=%2Faudit%3Fsearch%3Da")));

    let cookie = edge.fresh_session().await;
    by(30 * DAY_MS, "ends");
    assert_eq!(status(&edge, &cookie).await, 401, "used or not");
}

#[tokio::test]
async fn that_a_session_is_used_costs_one_row_an_hour() {
    let edge = Edge::start().await;
    let cookie = edge.fresh_session().await;
    let written = async || edge.get("/api/usage").await["rows_written"].as_u64().unwrap();
    let before = written().await;
    for _ in 0..20 {
        assert_eq!(status(&edge, &cookie).await, 200);
    }
    assert_eq!(written().await - before, 0);
    edge.meddle("UPDATE sessions SET seen = seen - 3600000");
    for _ in 0..20 {
        assert_eq!(status(&edge, &cookie).await, 200);
    }
    assert_eq!(written().await - before, 1);
}

#[tokio::test]
async fn fifty_are_signed_in_and_the_oldest_gives_way() {
    let edge = Edge::start().await;
    let first = edge.fresh_session().await;
    edge.meddle("UPDATE sessions SET created = created - 1000");
    edge.meddle("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 49) INSERT INTO sessions SELECT printf('%064x', i), created + 1, seen, ends, '', '' FROM n, sessions");
    assert_eq!(sessions(&edge, &first).await.len(), 50);
    let newest = edge.fresh_session().await;
    assert_eq!(status(&edge, &first).await, 401);
    assert_eq!(sessions(&edge, &newest).await.len(), 50);
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_and_closes_their_pages() {
    let edge = Edge::start().await;
    let (one, other) = (edge.fresh_session().await, edge.fresh_session().await);
    let (mut page_of_one, mut page_of_other) = (Page::open(&edge, &one).await, Page::open(&edge, &other).await);
    // One is ended from the other.
    let handle = own_handle(&edge, &one).await;
    let answer = edge.press(&other, &format!("/settings/sessions/{handle}/end"), "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/settings")), "{}", answer.text());
    assert_eq!(page_of_one.closes().await, 4001);
    assert_eq!((status(&edge, &one).await, status(&edge, &other).await), (401, 200));
    let gone = edge.press(&other, &format!("/settings/sessions/{handle}/end"), "").await;
    assert_eq!(gone.status, 404);

    // A program with the bearer may do the same.
    let ended = edge.fresh_session().await;
    let path = format!("/api/sessions/{}", own_handle(&edge, &ended).await);
    assert_eq!(edge.api("DELETE", &path).await.status, 200);
    assert_eq!((status(&edge, &ended).await, edge.api("DELETE", &path).await.status), (401, 404));

    let third = edge.fresh_session().await;
    let answer = edge.press(&third, "/settings/sessions/end-all", "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/login")));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(page_of_other.closes().await, 4001);
    for cookie in [&one, &other, &third] {
        assert_eq!(status(&edge, cookie).await, 401);
    }
    assert_eq!(audit(&edge, "?search=everywhere").await, [entry("sign_out_everywhere", "", "signed out")]);
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_does_nothing() {
    let edge = shared_edge().await;
    let mut host = edge.enrolled("forms").await.connect(&[project("forms", "forms/shop")]).await;
    let (cookie, stranger, own) = (edge.session().await, edge.fresh_session().await, edge.url(""));
    let (token, of_stranger) = (edge.form_token(&cookie).await, edge.form_token(&stranger).await);
    assert_eq!(edge.form_token(&cookie).await, token, "it stays, so that an open page may be fetched again");
    let path = "/projects/forms/forms/deploy";
    let headers = [("cookie", cookie.as_str()), ("origin", &own), FORM];
    let own_digits = cookie.split_once('.').unwrap().1;
    for form in [String::new(), "form_token=".into(), format!("form_token={of_stranger}"), format!("form_token={own_digits}"), format!("form_token=x&form_token={token}")] {
        let answer = edge.request("POST", path, &headers, form.clone()).await;
        assert_eq!(answer.status, 403, "{form}");
        assert!(answer.text().contains("The form did not come from a page of this session."), "{}", answer.text());
    }
    // A header is for programs, and a program's for the API.
    assert_eq!(edge.request("POST", path, &[&headers[..], &[("x-form-token", &token)]].concat(), "").await.status, 403);
    let api = format!("/api{path}");
    for given in ["", of_stranger.as_str()] {
        let answer = edge.request("POST", &api, &[("cookie", &cookie), ("origin", &own), ("x-form-token", given)], "").await;
        assert_eq!((answer.status, answer.error().as_str()), (403, "form_token"));
    }
    assert_eq!(edge.request("POST", &api, &[("cookie", &cookie), ("origin", &own), ("x-form-token", &token)], "").await.status, 202);
    host.grant().await;
    assert_eq!(edge.press(&cookie, path, "").await.status, 303);
    assert_eq!(edge.api("POST", &api).await.status, 202, "a bearer needs none");
}

#[tokio::test]
async fn another_site_opens_no_socket_with_a_persons_session() {
    let edge = shared_edge().await;
    let (cookie, host) = (edge.session().await, edge.address().to_string());
    let live = |origin: &str, site: &str| {
        Raw::new("GET", "/live")
            .with("Host", &host)
            .with("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Cookie", &cookie)
            .header("Origin", origin)
            .header("Sec-Fetch-Site", site)
            .hangs_up()
    };
    for (origin, site) in [("https://evil.example", "cross-site"), ("null", "cross-site"), ("http://127.0.0.1:1", "same-site"), ("https://evil.example", "same-origin")] {
        let answer = edge.raw(&live(origin, site)).await;
        assert_eq!((answer.status, answer.error().as_str()), (403, "other_site"), "{origin} {site}");
    }
}

#[tokio::test]
async fn a_password_does_not_cross_a_network_in_the_clear() {
    let edge = shared_edge().await;
    let body = format!("password={}", PASSWORD.replace(' ', "+"));
    let post = |host: &str| Raw::new("POST", "/login").with("Host", host).header(FORM.0, FORM.1).body(body.clone());
    for host in ["192.168.1.2:8787", "edge.example", "127.0.0.1.evil.example"] {
        for request in [post(host), Raw::new("GET", "/login").with("Host", host)] {
            let answer = edge.raw(&request).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{host}");
            assert!(answer.text().contains("Not over plain http") && !answer.text().contains("<form"), "{}", answer.text());
        }
    }
    for host in ["localhost:8787", "127.0.0.1", "[::1]:8787"] {
        let answer = edge.raw(&post(host)).await;
        assert_eq!(answer.status, 303, "{host}");
        assert!(answer.header("set-cookie").unwrap().starts_with("doorstep_session="), "{host}");
    }
}

#[tokio::test]
async fn over_https_the_cookie_is_this_hosts_alone() {
    let edge = shared_edge().await;
    let forwarded = [("host", "edge.example"), ("x-forwarded-proto", "https"), ("origin", "https://edge.example")];
    let answer = sign_in_with(&edge, &forwarded).await;
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-doorstep=") && set.contains("; Secure") && set.contains("; Path=/") && !set.contains("Domain"), "{set}");
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));
    let cookie = cookie_of(&answer);
    let page = edge.request("GET", "/settings", &[&forwarded[..2], &[("cookie", &cookie)]].concat(), "").await;
    assert_eq!((page.status, page.header("strict-transport-security")), (200, Some("max-age=31536000")), "on the hub's answers too");
    assert_eq!(edge.request("GET", "/", &[("cookie", &cookie)], "").await.status, 303, "it is no cookie of plain http");
    let plain = cookie.replacen("__Host-doorstep", "doorstep_session", 1);
    assert_eq!(edge.request("GET", "/", &[&forwarded[..2], &[("cookie", &plain)]].concat(), "").await.status, 303, "nor the other way round");
}
