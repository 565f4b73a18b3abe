//! Requests to the webhook that must be refused, and that must leave nothing:
//! no row in the history, no job, and no memory that would make the proper
//! delivery a duplicate afterwards.

use doorstep_tests::{Answer, Delivery, Edge, GitHub, Push, Raw, Secrets, WEBHOOK_SECRET, project, signature};

/// The cap that these edges are started with.
const CAP: usize = 16 * 1024;
const PATH: &str = "/webhooks/github";

struct Case {
    name: &'static str,
    request: Raw,
    status: u16,
    /// `error` of the answer; `-` when workerd itself answers.
    code: &'static str,
}

fn case(name: &'static str, request: Raw, status: u16, code: &'static str) -> Case {
    Case { name, request, status, code }
}

/// The delivery as GitHub sends it.
fn post(delivery: &Delivery) -> Raw {
    let raw = Raw::new("POST", PATH);
    delivery.headers().iter().fold(raw, |raw, (name, value)| raw.header(name, value)).body(delivery.body.clone())
}

/// The delivery with another body, properly signed.
fn signed(delivery: &Delivery, body: impl Into<Vec<u8>>) -> Raw {
    let body = body.into();
    post(delivery).with("X-Hub-Signature-256", signature(WEBHOOK_SECRET, &body)).body(body)
}

/// The delivery's body after so many spaces that it is this long.
fn padded(delivery: &Delivery, bytes: usize) -> Vec<u8> {
    let text = String::from_utf8(delivery.body.clone()).unwrap();
    let padding = " ".repeat(bytes - text.len());
    format!("{padding}{text}").into_bytes()
}

fn wrong_signatures(push: &Delivery) -> Vec<Case> {
    let good = &push.signature;
    let digest = good.strip_prefix("sha256=").unwrap();
    let header = |value: &str| post(push).with("X-Hub-Signature-256", value);
    let last = digest.chars().last().unwrap().to_digit(16).unwrap();
    let one_bit_off = format!("sha256={}{:x}", &digest[..63], last ^ 1);
    let reserialised: serde_json::Value = serde_json::from_slice(&push.body).unwrap();
    let pretty = serde_json::to_vec_pretty(&reserialised).unwrap();
    vec![
        case("no signature", post(push).without("X-Hub-Signature-256"), 401, "signature_missing"),
        case(
            "the old SHA-1 header alone",
            post(push).without("X-Hub-Signature-256").header("X-Hub-Signature", format!("sha1={}", &digest[..40])),
            401,
            "signature_missing",
        ),
        case("an empty signature", header(""), 401, "signature_wrong"),
        case("a bare prefix", header("sha256="), 401, "signature_wrong"),
        case("a digest without prefix", header(digest), 401, "signature_wrong"),
        case("another prefix", header(&good.replacen("sha256", "sha1", 1)), 401, "signature_wrong"),
        case("the prefix in capitals", header(&good.replacen("sha256", "SHA256", 1)), 401, "signature_wrong"),
        case("a space after the prefix", header(&good.replacen('=', "= ", 1)), 401, "signature_wrong"),
        case("another secret's digest", header(&signature("another secret", &push.body)), 401, "signature_wrong"),
        case("an empty secret's digest", header(&signature("", &push.body)), 401, "signature_wrong"),
        case("one bit off", header(&one_bit_off), 401, "signature_wrong"),
        case("a digest cut in half", header(&good[..7 + 32]), 401, "signature_wrong"),
        case("a digest with a byte too many", header(&format!("{good}00")), 401, "signature_wrong"),
        case("half a byte too many", header(&format!("{good}0")), 401, "signature_wrong"),
        case("letters that are not hex", header(&format!("sha256={}", "zx".repeat(32))), 401, "signature_wrong"),
        case("bytes that are not text", post(push).with("X-Hub-Signature-256", b"sha256=\xff\xfe"), 401, "signature_wrong"),
        case("the right and a wrong one", header(good).header("X-Hub-Signature-256", &one_bit_off), 401, "signature_wrong"),
        case("a wrong and the right one", header(&one_bit_off).header("X-Hub-Signature-256", good), 401, "signature_wrong"),
        case("the right one twice", header(good).header("X-Hub-Signature-256", good), 401, "signature_wrong"),
        case("the digest of the same JSON, written differently", header(&signature(WEBHOOK_SECRET, &pretty)), 401, "signature_wrong"),
        case("a byte added to the body", post(push).body([push.body.as_slice(), b"\n"].concat()), 401, "signature_wrong"),
        case("an empty body, unsigned", post(push).without("X-Hub-Signature-256").body(""), 401, "signature_missing"),
        case("an empty body under the push's signature", post(push).body(""), 401, "signature_wrong"),
    ]
}

fn wrong_bodies(push: &Delivery, github: &mut GitHub) -> Vec<Case> {
    let issue = github.issue("me/shop", "It is broken");
    let ping = github.ping("me/shop");
    let without = |key: &str| {
        let mut body: serde_json::Value = serde_json::from_slice(&push.body).unwrap();
        body.as_object_mut().unwrap().remove(key).unwrap();
        signed(push, body.to_string())
    };
    let text = String::from_utf8(push.body.clone()).unwrap();
    let form = format!("payload={}", text.replace('"', "%22"));
    let form = signed(push, form).with("Content-Type", "application/x-www-form-urlencoded");
    let nested = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
    let binary = [push.body.as_slice(), b" \xff\xfe"].concat();
    vec![
        case("an empty body, signed", signed(push, ""), 400, "not_json"),
        case("not JSON", signed(push, "hello"), 400, "not_json"),
        case("JSON cut short", signed(push, &push.body[..push.body.len() - 1]), 400, "not_json"),
        case("two JSON values", signed(push, format!("{text}{text}")), 400, "not_json"),
        case("a byte order mark before it", signed(push, format!("\u{feff}{text}")), 400, "not_json"),
        case("bytes that are not UTF-8", signed(push, binary), 400, "not_json"),
        case("8,000 lists, one in another", signed(push, nested), 400, "wrong_shape"),
        case("a form, as GitHub's other content type sends it", form, 400, "not_json_but_form"),
        case("a list", signed(push, "[]"), 400, "wrong_shape"),
        case("a list of the push's members", signed(push, r#"[{"full_name":"me/shop"},"refs/heads/main"]"#), 400, "wrong_shape"),
        case("null", signed(push, "null"), 400, "wrong_shape"),
        case("a number", signed(push, "42"), 400, "wrong_shape"),
        case("a text", signed(push, "\"push\""), 400, "wrong_shape"),
        case("an empty object", signed(push, "{}"), 400, "wrong_shape"),
        case("a push without a ref", without("ref"), 400, "wrong_shape"),
        case("a push without a repository", without("repository"), 400, "wrong_shape"),
        case("a push without its end", without("after"), 400, "wrong_shape"),
        case("a push whose ref is a number", signed(push, text.replacen("\"refs/heads/main\"", "7", 1)), 400, "wrong_shape"),
        case("an issue under the name of a push", signed(push, issue.body.clone()), 400, "wrong_shape"),
        case("a ping under the name of a push", signed(push, ping.body.clone()), 400, "wrong_shape"),
        case("a push under the name of a ping", post(push).with("X-GitHub-Event", "ping"), 400, "wrong_shape"),
        case("a push under the name of an issue", post(push).with("X-GitHub-Event", "issues"), 400, "wrong_shape"),
        case("a push under a name in capitals", post(push).with("X-GitHub-Event", "Push"), 400, "wrong_shape"),
    ]
}

fn wrong_headers(push: &Delivery) -> Vec<Case> {
    let event = |value: &str| post(push).with("X-GitHub-Event", value);
    let guid = |value: &str| post(push).with("X-GitHub-Delivery", value);
    vec![
        case("no event", post(push).without("X-GitHub-Event"), 400, "event_missing"),
        case("an empty event", event(""), 400, "event_missing"),
        case("an event with a space", event("push me"), 400, "event_missing"),
        case("an event with slashes", event("../push"), 400, "event_missing"),
        case("an event of 65 letters", event(&"p".repeat(65)), 400, "event_missing"),
        case("two events", event("push").header("X-GitHub-Event", "push"), 400, "event_missing"),
        case("no delivery id", post(push).without("X-GitHub-Delivery"), 400, "delivery_missing"),
        case("an empty delivery id", guid(""), 400, "delivery_missing"),
        case("a delivery id of 10 KB", guid(&"d".repeat(10_000)), 400, "delivery_missing"),
        case("a delivery id that quotes", guid("x'; DROP TABLE deliveries;--"), 400, "delivery_missing"),
        case("two delivery ids", guid("a").header("X-GitHub-Delivery", "b"), 400, "delivery_missing"),
        case("a header hidden in a value by line ends", event("push\r\nX-GitHub-Delivery: other"), 400, "delivery_missing"),
        case("a header hidden in a value by a bare line feed", event("pu\nsh: x"), 400, "wrong_shape"),
        case("a zero byte in a value", event("push\0"), 400, "-"),
        case("a header without a name", post(push).header("", "x"), 400, "-"),
        case("a name with a space", post(push).header("X GitHub", "x"), 400, "-"),
    ]
}

fn wrong_lengths(push: &Delivery) -> Vec<Case> {
    let over = padded(push, CAP + 1);
    vec![
        case("a body one byte over the cap", signed(push, over.clone()), 413, "body_too_large"),
        case("the same, unsigned", signed(push, over.clone()).without("X-Hub-Signature-256"), 413, "body_too_large"),
        case("the same in chunks", signed(push, over.clone()).chunked(), 413, "body_too_large"),
        case("in chunks and unsigned, which is not read", signed(push, over).chunked().without("X-Hub-Signature-256"), 401, "signature_missing"),
        case("a length far over the cap and no body", post(push).body("").declares("99999999999"), 413, "body_too_large"),
        case("a length that is smaller than the body", post(push).declares("10"), 401, "signature_wrong"),
        case("a length of 0 before a body", post(push).declares("0"), 401, "signature_wrong"),
        case("a negative length", post(push).declares("-1"), 400, "-"),
        case("a length in words", post(push).declares("many"), 400, "-"),
        case("a length in hex", post(push).declares("0x10"), 400, "-"),
        case("a length beyond 64 bits", post(push).declares("99999999999999999999999"), 400, "-"),
        case("an empty length", post(push).declares(""), 400, "-"),
        case("two lengths", post(push).header("Content-Length", "10"), 400, "-"),
        case("an unknown transfer encoding", post(push).header("Transfer-Encoding", "gzip"), 400, "-"),
        case("chunks of a size in words", post(push).without("Content-Length").header("Transfer-Encoding", "chunked"), 400, "body_cut"),
    ]
}

fn wrong_methods(push: &Delivery) -> Vec<Case> {
    let with = |method: &str| post(push).method(method);
    vec![
        case("GET", with("GET").body(""), 405, "wrong_method"),
        case("PUT", with("PUT"), 405, "wrong_method"),
        case("DELETE", with("DELETE"), 405, "wrong_method"),
        case("PATCH", with("PATCH"), 405, "wrong_method"),
        case("OPTIONS", with("OPTIONS"), 405, "wrong_method"),
    ]
}

/// An edge where the push, if it were believed, would make a job that stays.
async fn edge_with_a_follower() -> Edge {
    let edge = Edge::start_with(Secrets { body_bytes_max: Some(CAP), ..Secrets::default() }).await;
    let session = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    drop(session);
    edge.sees_host("attic", false).await;
    edge
}

/// Sends every case, and the push itself at the end.
async fn all_refused(make: impl FnOnce(&Delivery, &mut GitHub) -> Vec<Case>) {
    let edge = edge_with_a_follower().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let push = github.push("me/shop", Push::to("main"));
    let mut wrong = Vec::new();
    for case in make(&push, &mut github) {
        let answer = edge.raw(&case.request).await;
        if let Some(fault) = fault(&case, &answer) {
            wrong.push(fault);
        }
        let (events, jobs) = (edge.events().await, edge.jobs().await);
        if !events.is_empty() || !jobs.is_empty() {
            wrong.push(format!("{}: something was stored: {events:?} {jobs:?}", case.name));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let answer = edge.deliver(&push).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("queued")), "{}", answer.text());
    assert_eq!(edge.jobs().await.len(), 1);
}

fn fault(case: &Case, answer: &Answer) -> Option<String> {
    let code = if case.code == "-" { "-".to_owned() } else { answer.error() };
    let json = answer.json();
    let is_whole = case.code == "-" || json["message"].as_str().is_some_and(|message| !message.is_empty());
    let says_allowed = case.status != 405 || answer.header("allow") == Some("POST");
    let fits = answer.status == case.status && code == case.code && is_whole && says_allowed;
    (!fits).then(|| format!("{}: expected {} {}, got {} {:?}", case.name, case.status, case.code, answer.status, answer.text()))
}

#[tokio::test]
async fn signatures_that_do_not_fit_are_refused() {
    all_refused(|push, _| wrong_signatures(push)).await;
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_refused() {
    all_refused(wrong_bodies).await;
}

#[tokio::test]
async fn headers_that_name_nothing_are_refused() {
    all_refused(|push, _| wrong_headers(push)).await;
}

#[tokio::test]
async fn lengths_over_the_cap_or_untrue_are_refused() {
    all_refused(|push, _| wrong_lengths(push)).await;
}

#[tokio::test]
async fn other_methods_are_refused_with_the_one_that_is_allowed() {
    all_refused(|push, _| wrong_methods(push)).await;
}

#[tokio::test]
async fn a_body_shorter_than_its_length_is_never_believed() {
    let edge = edge_with_a_follower().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let push = github.push("me/shop", Push::to("main"));
    let short = post(&push).declares((push.body.len() + 1).to_string()).hangs_up();
    // There is nobody left to answer; what counts is that nothing follows.
    let answer = short.send(edge.address()).await;
    assert!(answer.as_ref().is_none_or(|answer| answer.status >= 400), "{answer:?}");
    assert_eq!(edge.events().await.len(), 0);
    assert_eq!(edge.deliver(&push).await.json()["status"], "queued");
}

#[tokio::test]
async fn without_a_secret_nothing_can_be_verified() {
    for webhook in [None, Some(String::new())] {
        let edge = Edge::start_with(Secrets { webhook, ..Secrets::default() }).await;
        let mut github = GitHub::new("");
        let push = github.push("me/shop", Push::to("main"));
        for request in [post(&push), post(&push).without("X-Hub-Signature-256"), post(&push).body("")] {
            let answer = edge.raw(&request).await;
            assert_eq!((answer.status, answer.error().as_str()), (503, "secret_not_set"));
        }
        assert_eq!(edge.events().await.len(), 0);
    }
}

#[tokio::test]
async fn the_edges_of_what_is_accepted() {
    let edge = edge_with_a_follower().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut accepted = 0;
    let mut make = |name: &'static str, change: &dyn Fn(&Delivery) -> Raw| {
        let push = github.push("me/shop", Push::to("main").saying(name));
        (name, change(&push))
    };
    let unread = |member: &str| {
        let member = member.to_owned();
        move |push: &Delivery| {
            let text = String::from_utf8(push.body.clone()).unwrap();
            signed(push, text.replacen('{', &format!("{{\"unread\":{member},"), 1))
        }
    };
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases = [
        make("a body of exactly the cap", &|push| signed(push, padded(push, CAP))),
        make("the same in chunks", &|push| signed(push, padded(push, CAP)).chunked()),
        make("a body in chunks, of no length that anybody told", &|push| post(push).chunked()),
        // The chunks count, as HTTP says; the length is not believed.
        make("a body in chunks and a length that is not true", &|push| post(push).chunked().header("Content-Length", "10")),
        make("a digest in capitals, which is the same number", &|push| {
            let capitals = push.signature.to_uppercase().replacen("SHA256", "sha256", 1);
            post(push).with("X-Hub-Signature-256", capitals)
        }),
        make("names of headers in capitals", &|push| post(push).without("X-GitHub-Event").header("X-GITHUB-EVENT", "push")),
        make("no content type", &|push| post(push).without("Content-Type")),
        make("text beyond the basic plane: 🚪 and ünïcödé", &|push| post(push)),
        make("a member that nobody reads, 5,000 lists deep", &unread(&deep)),
        make("a member that nobody reads, with half a surrogate pair", &unread(r#""\ud800""#)),
        make("a member that nobody reads, too large for a number", &unread("1e999")),
    ];
    for (name, request) in cases {
        let answer = edge.raw(&request).await;
        assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("queued")), "{name}: {}", answer.text());
        accepted += 1;
        let events = edge.events().await;
        assert_eq!(events.len(), accepted, "{name}");
        let one = edge.api("GET", &format!("/webhooks/github/events/{}", events[0]["delivery_id"].as_str().unwrap())).await;
        assert_eq!(one.status, 200, "{name}: the stored delivery is shown: {}", one.text());
        assert!(one.text().contains("refs/heads/main"), "{name}: with its payload");
    }
}

#[tokio::test]
async fn the_cap_is_one_mebibyte_unless_it_is_set() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let push = github.push("me/shop", Push::to("main"));
    let over = edge.raw(&signed(&push, padded(&push, 1024 * 1024 + 1))).await;
    assert_eq!((over.status, over.error().as_str()), (413, "body_too_large"));
    let most = edge.raw(&signed(&push, padded(&push, 1024 * 1024))).await;
    assert_eq!(most.status, 202, "{}", most.text());
}
