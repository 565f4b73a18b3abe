//! A page of the dashboard that is open in somebody's browser and keeps itself
//! true, as `live.js` does it: the same waits, the same requests.
//!
//! It looks for what it needs in the markup and shows nothing. Absent: what a
//! browser does besides, such as drawing, and trying again after a fault, which
//! ends this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use crate::{Edge, Page, wait};

// As in live.js.
const DEBOUNCE: Duration = Duration::from_millis(150);
const SPREAD_MS: u64 = 100;
const REST_MAX: Duration = Duration::from_secs(3);

/// What a tab took in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The lines of its run's log, those of the page's first sight among them.
    pub lines: Vec<String>,
    /// How often it was told that something changed.
    pub nudges: usize,
    /// How often it fetched its page again.
    pub pages: usize,
    /// How often it fetched what is new of a log.
    pub parts: usize,
    /// The bytes of the bodies of both.
    pub fetched_bytes: usize,
}

/// An open tab.
#[derive(Debug)]
pub struct Tab {
    socket: Page,
    client: reqwest::Client,
    cookie: String,
    url: String,
    path: String,
    /// Versions of the parts of the page, by their id.
    have: BTreeMap<String, String>,
    /// Up to where it has the log, and where the log ends.
    next: u64,
    end: u64,
    rested: Instant,
    page_due: Option<Instant>,
    log_rested: Instant,
    log_due: Option<Instant>,
    seen: Seen,
    count: Arc<AtomicUsize>,
}

impl Tab {
    /// Opens its socket and its page. As in a browser it looks once more then.
    pub async fn open(edge: &Edge, cookie: &str, path: &str) -> Self {
        let client = crate::http().timeout(wait::DEADLINE).build().unwrap();
        let mut tab = Self {
            socket: Page::open(edge, cookie).await,
            client,
            cookie: cookie.to_owned(),
            url: edge.url(""),
            path: path.to_owned(),
            have: BTreeMap::new(),
            next: 0,
            end: 0,
            rested: Instant::now(),
            page_due: None,
            log_rested: Instant::now(),
            log_due: None,
            seen: Seen::default(),
            count: Arc::default(),
        };
        let page = tab.get(path, &[]).await;
        tab.next = number_after(&page, " data-next=\"").unwrap_or(0);
        tab.read(&page);
        tab.take(lines_of(&page));
        tab.refresh();
        tab
    }

    /// How many lines of the log it has, as long as it lives.
    #[must_use]
    pub fn count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }

    /// Keeps the page true until it is over.
    pub async fn live(mut self, mut over: watch::Receiver<bool>) -> Seen {
        loop {
            let due = self.page_due.into_iter().chain(self.log_due).min();
            tokio::select! {
                () = is_so(&mut over) => return self.seen,
                told = self.socket.next_text() => self.hear(&told.unwrap_or_else(|| panic!("the socket of {} ended", self.path))),
                () = wait::at(due) => self.look_again().await,
            }
        }
    }

    fn hear(&mut self, text: &str) {
        self.seen.nudges += 1;
        let told: Value = serde_json::from_str(text).unwrap_or_default();
        if told["logs"].is_object() {
            let end = told["logs"][self.path.trim_start_matches("/runs/")].as_u64().unwrap_or(0);
            if end > self.end {
                self.end = end;
                self.read_soon(DEBOUNCE + spread());
            }
        }
        let concerns = |part: &Value| part.as_str().is_some_and(|part| part == "*" || self.path.starts_with(part));
        if told["changed"].as_array().is_some_and(|parts| parts.iter().any(concerns)) {
            self.refresh();
        }
    }

    fn read_soon(&mut self, wait: Duration) {
        self.log_due.get_or_insert_with(|| (Instant::now() + wait).max(self.log_rested));
    }

    async fn look_again(&mut self) {
        if self.page_due.is_some_and(|due| due <= Instant::now()) {
            self.fetch_page().await;
        }
        if self.log_due.is_some_and(|due| due <= Instant::now()) {
            self.read_on().await;
        }
    }

    fn refresh(&mut self) {
        self.page_due.get_or_insert_with(|| (Instant::now() + DEBOUNCE + spread()).max(self.rested));
    }

    async fn fetch_page(&mut self) {
        let began = Instant::now();
        self.page_due = None;
        let have = self.have.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        let headers = [("x-doorstep-have", have.as_str())];
        let page = self.get(&self.path.clone(), if have.is_empty() { &[] } else { &headers }).await;
        self.seen.pages += 1;
        self.seen.fetched_bytes += page.len();
        self.read(&page);
        self.rested = Instant::now() + REST_MAX.min(4 * began.elapsed());
        self.read_soon(Duration::ZERO);
    }

    async fn read_on(&mut self) {
        self.log_due = None;
        while self.end > self.next {
            let began = Instant::now();
            let path = format!("{}/log?after={}", self.path.replacen("/runs/", "/api/runs/", 1), self.next);
            let text = self.get(&path, &[]).await;
            self.seen.parts += 1;
            self.seen.fetched_bytes += text.len();
            let part: Value = serde_json::from_str(&text).unwrap();
            self.next = part["next"].as_u64().unwrap();
            if part["more"] == false {
                self.end = self.next;
                self.log_rested = Instant::now() + REST_MAX.min(4 * began.elapsed());
            }
            self.take(part["lines"].as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
    }

    fn take(&mut self, lines: Vec<String>) {
        self.seen.lines.extend(lines);
        self.count.store(self.seen.lines.len(), Ordering::Relaxed);
    }

    /// Which parts there are, each by its own id or by the one before it, and
    /// where the log ends.
    fn read(&mut self, page: &str) {
        let mut id = "";
        for tag in page.split('<').filter_map(|rest| rest.split('>').next()) {
            id = attribute(tag, " id=\"").unwrap_or(id);
            if let Some(version) = attribute(tag, " data-v=\"") {
                self.have.insert(id.to_owned(), version.to_owned());
            }
        }
        self.end = number_after(page, " data-end=\"").unwrap_or(self.end);
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let mut request = self.client.get(format!("{}{path}", self.url)).header("cookie", &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap_or_else(|fault| panic!("{path} was not answered: {fault:?}"));
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.text().await.unwrap()
    }
}

/// The lines of the log in a page.
fn lines_of(page: &str) -> Vec<String> {
    let lines = page.split("<li id=\"L").skip(1).filter_map(|rest| rest.split_once('>')?.1.split_once("\n</li>"));
    lines.map(|(line, _)| line.to_owned()).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split_once(name)?.1.split('"').next()
}

fn number_after(page: &str, name: &str) -> Option<u64> {
    attribute(page, name)?.parse().ok()
}

async fn is_so(over: &mut watch::Receiver<bool>) {
    // Who would say so is gone: that is over, too.
    drop(over.wait_for(|over| *over).await);
}

fn spread() -> Duration {
    let mut byte = [0u8];
    getrandom::fill(&mut byte).unwrap();
    Duration::from_millis(u64::from(byte[0]) * SPREAD_MS / 256)
}
