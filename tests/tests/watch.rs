//! What an app prints, on a page of the dashboard that watches it.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::{App, Page, Shop, Terms, wait};
use serde_json::json;

const SECRET: &str = "hunter2-hunter2";
const ASK: &str = r#"{"watch":{"host":"attic","project":"shop","tail":true}}"#;

/// Says something as it begins, and whatever path it is asked for.
fn app(version: &str) -> App {
    App::bare(version).beginning(&format!("print('begins as {version} with {SECRET}', flush=True)\nHandler.do_HEAD = lambda self: (print('asked for', self.path, flush=True), self.send_response(200), self.end_headers())"))
}

/// The next lines that a page shows, and whether they replace all others.
async fn shown(page: &mut Page) -> (bool, Vec<String>) {
    let seen = async {
        loop {
            let told = page.hear().await;
            let printed = &told["printed"];
            if !printed.is_null() {
                assert_eq!((&printed["host"], &printed["project"]), (&json!("attic"), &json!("shop")));
                return (printed["first"] == true, serde_json::from_value(printed["lines"].clone()).unwrap());
            }
        }
    };
    wait::soon("what the app prints", seen).await
}

/// The same, until this line has come.
async fn shown_until(page: &mut Page, line: &str) -> Vec<String> {
    let mut all = Vec::new();
    while !all.iter().any(|seen: &String| seen.contains(line)) {
        let (is_first, lines) = shown(page).await;
        if is_first {
            all.clear();
        }
        all.extend(lines);
    }
    all
}

async fn ask(shop: &Shop, path: &str) {
    reqwest::Client::new().head(format!("http://{}{path}", shop.address())).send().await.unwrap();
}

#[tokio::test]
async fn a_page_shows_what_the_app_prints_and_goes_on_with_the_next_release() {
    let terms = Terms { head: "[policy]\nremote = [\"deploy\", \"logs\"]".to_owned(), environment: vec![("SHOP_TOKEN", SECRET.to_owned())], ..Terms::of(&app("")) };
    let mut shop = Shop::open_on(terms, &app("1")).await;
    ask(&shop, "/before").await;
    let cookie = shop.edge.session().await;
    let (mut page, mut other) = (Page::open(&shop.edge, &cookie).await, Page::open(&shop.edge, &cookie).await);
    for nonsense in ["{}", "[1]", r#"{"watch":{"host":"../x","project":"shop"}}"#, r#"{"watch":{"host":"attic","project":"none"}}"#, &"x".repeat(10_000)] {
        other.say(nonsense).await;
    }
    page.say(ASK).await;
    let past = shown_until(&mut page, "asked for /before").await;
    assert!(past.iter().any(|line| line == "begins as 1 with [secret]"), "{past:?}");
    ask(&shop, "/after").await;
    assert_eq!(shown_until(&mut page, "asked for").await[0], "asked for /after", "only what is new");

    shop.push(&app("2")).await;
    let next = shown_until(&mut page, "begins as 2").await;
    assert!(!next.iter().any(|line| line.contains("asked for /after")), "a release begins anew: {next:?}");
    // The link ends and comes again; a page that asks again sees on.
    shop.host.kill().await;
    shop.host.run_online(&shop.edge).await;
    page.say(ASK).await;
    shown_until(&mut page, "begins as 2").await;
    // One that watches something else was told that something changed, and no more.
    shop.push(&app("3")).await;
    shown_until(&mut page, "begins as 3").await;
    let told = other.heard().await;
    assert!(!told.is_empty() && told.iter().all(|told| told["printed"].is_null()), "{told:?}");
}

#[tokio::test]
async fn without_logs_in_the_hosts_file_nothing_leaves_the_host() {
    let mut shop = Shop::open(&app("1")).await;
    let mut page = Page::open(&shop.edge, &shop.edge.session().await).await;
    page.say(ASK).await;
    ask(&shop, "/secret").await;
    // A run is reported over the same link, after whatever the question brought.
    shop.push_and_see(&app("2")).await;
    shop.is_idle().await;
    let told = page.heard().await;
    assert!(!told.is_empty() && told.iter().all(|told| told["printed"].is_null()), "{told:?}");
}
