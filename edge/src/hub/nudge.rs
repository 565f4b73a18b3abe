//! Open pages are told that something changed: the first change at once, what
//! follows at most each [`APART_MS`].
//!
//! A nudge says no more than where to look: `{"changed":["*"]}` for every page,
//! or the beginning of the paths that it is for. Of logs that grew it says which
//! and how far, as in `{"changed":["log"],"logs":{"<run>":<end>}}`. So a thousand
//! lines a second cost those pages a request that show this very log, a delivery
//! that nobody follows those of deliveries, and the others nothing. (A page that
//! was opened from an older version looks again whatever changed.) Invariant: each change is told to every page that was open then, or the
//! page's socket has ended. What waits to be told is only in memory: a hub that
//! forgets it has cut the sockets as well, and a page looks when it is back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use doorstep_shared::time::Timestamp;
use serde::Serialize;
use worker::{Delay, WebSocket, console_error};

use super::Hub;
use super::sockets::{PAGE, is_open};
use crate::platform::now;

/// Between two nudges: soon enough to seem at once, and ten a second for each
/// page at most, however many turns there are.
const APART_MS: u64 = 100;
/// Logs that one nudge names; when more grew, it is said that everything did.
/// An id of 64 bytes and a number each: 9 KB.
const LOGS_MAX: usize = 100;

/// What changed in a turn.
#[derive(Debug, Default)]
pub struct Change {
    /// Something that any page may show.
    pub all: bool,
    /// A delivery came.
    pub deliveries: bool,
    /// Runs whose log grew, and where it ends now.
    pub logs: BTreeMap<String, u64>,
}

impl Change {
    fn is_nothing(&self) -> bool {
        !self.all && !self.deliveries && self.logs.is_empty()
    }

    fn merge(&mut self, later: Self) {
        self.deliveries |= later.deliveries;
        self.logs.extend(later.logs);
        self.all |= later.all || self.logs.len() > LOGS_MAX;
        if self.all {
            self.logs.clear();
        }
    }

    /// Whoever looks at everything again finds the ends of logs, too.
    fn text(&self) -> String {
        #[derive(Serialize)]
        struct Told<'a> {
            changed: Vec<&'static str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            logs: &'a BTreeMap<String, u64>,
        }
        let parts = [("*", self.all), ("/deliveries", self.deliveries && !self.all), ("log", !self.logs.is_empty())];
        let changed = parts.into_iter().filter(|(_, is_so)| *is_so).map(|(part, _)| part).collect();
        serde_json::to_string(&Told { changed, logs: &self.logs }).unwrap_or_else(|fault| {
            console_error!("a nudge was not written: {fault}");
            r#"{"changed":["*"]}"#.to_owned()
        })
    }
}

/// What is to be told, and when something was told last.
#[derive(Default)]
pub(super) struct Nudges {
    change: Change,
    told: Timestamp,
    /// Who is told when the wait is over, while somebody waits.
    pages: Option<Vec<WebSocket>>,
}

impl Nudges {
    /// Tells these pages what there is to tell.
    fn tell(&mut self, pages: &[WebSocket], now: Timestamp) {
        let text = std::mem::take(&mut self.change).text();
        self.told = now;
        for page in pages.iter().filter(|page| is_open(page)) {
            let _ = page.send_with_str(&text);
        }
    }
}

impl Hub {
    /// Tells every open page, now or soon.
    pub(super) fn nudge(&self, change: Change) {
        if change.is_nothing() {
            return;
        }
        let mut nudges = self.nudges.borrow_mut();
        nudges.change.merge(change);
        if nudges.pages.is_some() {
            return;
        }
        let (now, pages) = (now(), self.state.get_websockets_with_tag(PAGE));
        // A clock that went back tells at once.
        let wait_ms = nudges.told.0.saturating_add(APART_MS).saturating_sub(now.0).min(APART_MS);
        if wait_ms == 0 || nudges.told > now {
            nudges.tell(&pages, now);
        } else {
            nudges.pages = Some(pages);
            self.state.wait_until(tell_after(Duration::from_millis(wait_ms), Rc::clone(&self.nudges)));
        }
    }

    /// A page was opened: what waits to be told is told to it as well.
    pub(super) fn nudge_too(&self, page: &WebSocket) {
        if let Some(pages) = &mut self.nudges.borrow_mut().pages {
            pages.push(page.clone());
        }
    }
}

async fn tell_after(wait: Duration, nudges: Rc<RefCell<Nudges>>) {
    Delay::from(wait).await;
    let mut nudges = nudges.borrow_mut();
    let pages = nudges.pages.take().unwrap_or_default();
    nudges.tell(&pages, now());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(ends: &[(&str, u64)]) -> Change {
        Change { logs: ends.iter().map(|(run, end)| ((*run).to_owned(), *end)).collect(), ..Change::default() }
    }

    #[test]
    fn what_comes_together_is_told_together_and_the_latest_counts() {
        let mut change = logs(&[("a", 10)]);
        change.merge(logs(&[("a", 20), ("b", 5)]));
        assert_eq!(change.text(), r#"{"changed":["log"],"logs":{"a":20,"b":5}}"#);
        change.merge(Change { deliveries: true, ..Change::default() });
        assert_eq!(change.text(), r#"{"changed":["/deliveries","log"],"logs":{"a":20,"b":5}}"#);
        change.merge(Change { all: true, ..Change::default() });
        change.merge(logs(&[("a", 30)]));
        assert_eq!(change.text(), r#"{"changed":["*"]}"#);
        assert!(Change::default().is_nothing() && !change.is_nothing());
        let many: Vec<String> = (0..=LOGS_MAX).map(|run| run.to_string()).collect();
        let mut change = Change::default();
        change.merge(logs(&many.iter().map(|run| (run.as_str(), 1)).collect::<Vec<_>>()));
        assert!(change.all && change.logs.is_empty());
    }
}
