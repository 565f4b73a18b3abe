//! What people did, as it is kept and shown; the page of settings.

use doorstep_tests::{Edge, Socket, project, wait};
use serde_json::Value;

use crate::sessions::own_handle;
use crate::shared_edge;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What people did: action, target and result, the newest first.
pub async fn audit(edge: &Edge, query: &str) -> Vec<(String, String, String)> {
    let told = edge.get(&format!("/api/audit{query}")).await;
    let word = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    told["rows"].as_array().unwrap().iter().map(|row| (word(row, "action"), word(row, "target"), word(row, "result"))).collect()
}

pub fn entry(action: &str, target: &str, result: &str) -> (String, String, String) {
    (action.to_owned(), target.to_owned(), result.to_owned())
}

/// Puts so many entries beside the hub's own.
fn insert(edge: &Edge, from: u64, count: u64, action: &str, result: &str) {
    let last = from + count - 1;
    edge.meddle(&format!("WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) INSERT INTO audit SELECT i, 'nobody', '', '{action}', '', '', '', '{result}' FROM n"));
}

#[tokio::test]
async fn what_people_do_is_written_with_who_and_from_where() {
    let edge = Edge::start().await;
    let mut host = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    let cookie = edge.session().await;
    let handle = own_handle(&edge, &cookie).await;
    edge.press(&cookie, "/projects/attic/shop/deploy", "").await;
    let job = host.grant().await.job;
    edge.press(&cookie, &format!("/jobs/{job}/cancel"), "").await;
    edge.api("POST", "/api/projects/attic/nothing/deploy").await;
    edge.api("POST", "/api/projects/attic/nothing/deploy").await;
    edge.press(&cookie, "/hosts/attic/revoke", "").await;
    edge.request("POST", "/login", &[FORM], "password=wrong").await;
    edge.request("POST", "/login", &[FORM], "password=wrong").await;
    edge.press(&cookie, "/logout", "").await;

    let of_job = format!("job {job}, shop on attic");
    let mut told = audit(&edge, "").await;
    let code = told.pop().unwrap();
    assert_eq!((code.0.as_str(), code.2.as_str()), ("enroll", "code made"));
    assert!(code.1.starts_with("code ") && code.1.len() == 9, "the handle, not the secret: {}", code.1);
    let expected = [
        entry("sign_out", "", "signed out"),
        entry("sign_in", "", "refused: wrong_password"),
        entry("revoke", "attic", "revoked"),
        entry("deploy", "nothing on attic", "refused: not_found"),
        entry("cancel", &of_job, "cancelled"),
        entry("deploy", "shop on attic", &format!("queued job {job}")),
        entry("sign_in", "", "signed in"),
    ];
    assert_eq!(told, expected);
    let said = edge.get("/api/audit?search=deploy").await;
    assert_eq!((&said["jobs"][0]["id"], &said["jobs"][0]["state"]), (&Value::from(job.0), &Value::from("dead")), "what became of it: {said:#}");
    let rows = said["rows"].clone();
    assert_eq!((&rows[0]["who"], &rows[1]["who"]), (&Value::from("bearer"), &Value::from(handle)));
    assert_eq!(rows[1]["address"], "127.0.0.1", "the socket's address is known");
    assert_eq!((&rows[1]["host"], &rows[1]["project"]), (&Value::from("attic"), &Value::from("shop")));
    let page = edge.request("GET", "/audit?search=queued", &[("cookie", &edge.fresh_session().await)], "").await.text();
    assert!(page.contains("<a href=\"/projects/attic/shop\">"), "{page}");
}

#[tokio::test]
async fn a_long_audit_is_read_page_by_page() {
    let edge = Edge::start().await;
    let cookie = edge.session().await;
    insert(&edge, 1_000, 250, "restart", "queued job 1");
    let (mut before, mut pages) = (String::new(), vec![]);
    loop {
        let told = edge.get(&format!("/api/audit?search=restart{before}")).await;
        pages.push(told["rows"].as_array().unwrap().len());
        let Some(next) = told["before"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(pages, [100, 100, 50]);
    let page = edge.request("GET", "/audit?search=restart", &[("cookie", &cookie)], "").await.text();
    assert!(page.contains("search=restart\">Older entries</a>"), "{page}");
    for bad in ["?before=x", "?before=-1"] {
        assert_eq!(edge.api("GET", &format!("/api/audit{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn the_settings_show_hosts_and_what_the_day_cost() {
    let edge = Edge::start().await;
    let _host = edge.enrolled("attic").await.connect(&[]).await;
    let cookie = edge.session().await;
    let page = edge.request("GET", "/settings", &[("cookie", &cookie)], "").await.text();
    for part in [" this one", "action=\"/hosts/attic/revoke\"", "action=\"/hosts/enrollments\"", "Rows written", "These are approximate", "100,000"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(edge.hub("SELECT count(*) FROM days"), ["1"]);
    assert!(edge.hub("SELECT requests FROM days")[0].parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn files_of_the_dashboard_are_asked_for_once() {
    let edge = shared_edge().await;
    let page = edge.request("GET", "/login", &[], "").await.text();
    let (_, rest) = page.split_once("href=\"/assets/").unwrap();
    let name = rest.split('"').next().unwrap();
    let hashed = edge.request("GET", &format!("/assets/{name}"), &[], "").await;
    assert_eq!((hashed.status, hashed.header("cache-control")), (200, Some("public, max-age=31536000, immutable")));
    let plain = edge.request("GET", "/assets/style.css", &[], "").await;
    assert_eq!((plain.status, plain.header("cache-control")), (200, Some("public, max-age=300")));
    assert_eq!((&plain.body, plain.header("x-content-type-options")), (&hashed.body, Some("nosniff")));
    assert_eq!(edge.request("GET", &format!("/assets/{}", name.replace("style.", "style.0")), &[], "").await.status, 404);
}

#[tokio::test]
async fn what_is_too_much_goes_and_a_guesser_pushes_out_nobody_elses() {
    let edge = Edge::start().await;
    let cookie = edge.session().await;
    let day: u64 = edge.hub("SELECT max(id) FROM audit")[0].parse::<u64>().unwrap() - 24 * 3_600_000 * 1_024;
    insert(&edge, 1, 10, "restart", "older than 90 days");
    insert(&edge, day, 9_500, "restart", "queued job 1");
    insert(&edge, day + 20_000, 3_000, "sign_in", "refused: wrong_password");
    edge.meddle("INSERT INTO sessions SELECT 'ended', created, 0, ends, '', '' FROM sessions");
    // The alarm that looks for strangers cleans up too.
    Socket::dial(&edge).await;
    let counts = async || edge.hub("SELECT count(*) FROM audit GROUP BY action, result ORDER BY count(*)");
    let expected = ["1", "1000", "8999"].map(str::to_owned);
    wait::until("the audit to be cleaned", counts, |counts| *counts == expected).await;
    assert_eq!(edge.hub("SELECT count(*) FROM sessions WHERE hash = 'ended'"), ["0"]);
    assert_eq!(edge.request("GET", "/", &[("cookie", &cookie)], "").await.status, 200, "who is signed in stays so");
}
