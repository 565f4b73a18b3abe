//! What of a run is in no row yet, and how soon its log is told.
//!
//! Reports go with the run's next row. Lines of its log do not wait that long:
//! while a step goes on, [`Untold::tell_lines`] has them written in transactions
//! of their own. Invariant: what is told is told in its order, so lines wait
//! where reports before them wait for a row. What is absent: how the run stands,
//! which only a row of its own says.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use doorstep_shared::protocol::Report;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::log::RunLog;
use crate::journal::Told;

/// How long a line waits for others, so that what is printed at once is one
/// report. A step that ends sooner tells its lines with its end, as it would
/// without any of this.
const GATHER: Duration = Duration::from_millis(500);
/// Most time between two tellings of lines that come without a pause.
const REST_MAX: Duration = Duration::from_secs(5);
/// Until then, this part of the step's time.
const REST_SHARE: u32 = 20;

/// How soon the lines of a step are told.
///
/// A telling is a transaction here (4 ms) and three rows at the edge, of the
/// 100,000 a day that are free. A line that comes after a pause is told after
/// [`GATHER`]: with the way to a page, within a second. A step that prints
/// without a pause is told each [`GATHER`] for ten seconds, then each twentieth
/// of the time it took so far, so that nobody waits much longer for a line than
/// they did already, and each [`REST_MAX`] from 100 s on. In half an hour that is
/// 20 + 20 × ln 10 + 1,700 / 5 = 406 tellings, where [`GATHER`] alone would
/// make 3,600.
#[derive(Debug)]
struct Pace {
    /// When the step began.
    begun: Instant,
    /// When lines of it were told last.
    told: Option<Instant>,
    /// Since when a line waits.
    waits: Option<Instant>,
}

impl Pace {
    fn new(begun: Instant) -> Self {
        Self { begun, told: None, waits: None }
    }

    /// When what waits is to be told.
    fn due(&self) -> Option<Instant> {
        let gathered = self.waits? + GATHER;
        let rested = self.told.map(|told| told + (told.saturating_duration_since(self.begun) / REST_SHARE).clamp(GATHER, REST_MAX));
        Some(rested.map_or(gathered, |rested| rested.max(gathered)))
    }
}

/// What of a run is in no row yet.
pub(super) struct Untold {
    inner: RefCell<Inner>,
    /// The first line waits.
    said: Notify,
}

struct Inner {
    log: RunLog,
    /// Reports that are written with the next row, and lines before them.
    reports: Vec<Report>,
    pace: Pace,
}

impl Untold {
    pub fn new(log: RunLog) -> Self {
        let inner = Inner { log, reports: Vec::new(), pace: Pace::new(Instant::now()) };
        Self { inner: RefCell::new(inner), said: Notify::new() }
    }

    /// A step begins.
    pub fn begin_step(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.pace = Pace { waits: inner.pace.waits, ..Pace::new(Instant::now()) };
    }

    /// A text without the secrets of this project, and without what steers a
    /// terminal.
    pub fn clean(&self, text: &str) -> String {
        self.inner.borrow().log.clean(text)
    }

    /// A line of our own. Is there enough now for a report at once?
    pub fn say(&self, line: &str) -> bool {
        self.add(|log| log.line(line))
    }

    /// A line that a program printed, in its colours; the answer is that of
    /// [`Untold::say`].
    pub fn hear(&self, line: &str) -> bool {
        self.add(|log| log.coloured_line(line))
    }

    fn add(&self, add: impl FnOnce(&mut RunLog)) -> bool {
        let mut inner = self.inner.borrow_mut();
        add(&mut inner.log);
        if inner.pace.waits.is_none() {
            inner.pace.waits = Some(Instant::now());
            self.said.notify_one();
        }
        inner.log.is_full()
    }

    /// This report goes with the next row, after all lines so far.
    pub fn hold(&self, report: Report) {
        let mut reports = self.take();
        reports.push(report);
        self.put_back(reports);
    }

    /// All of it, to be written now.
    pub fn take(&self) -> Vec<Report> {
        let mut inner = self.inner.borrow_mut();
        let mut all = std::mem::take(&mut inner.reports);
        all.append(&mut inner.log.flush());
        inner.pace.told = inner.pace.waits.take().map(|_| Instant::now()).or(inner.pace.told);
        all
    }

    /// The same with the end of a log of which only the beginning was told. Nothing
    /// is said after this.
    pub fn finish(&self) -> Vec<Report> {
        self.inner.borrow_mut().log.end();
        self.take()
    }

    /// What of the log is told once all that was taken is written.
    pub fn told(&self) -> Told {
        self.inner.borrow().log.told()
    }

    /// This could not be written yet, and is before all that was said since.
    pub fn put_back(&self, mut before: Vec<Report>) {
        let mut inner = self.inner.borrow_mut();
        before.append(&mut inner.reports);
        inner.reports = before;
    }

    /// Has lines written as they become due, for ever. Lines that `write` does
    /// not take wait for the run's next row, whose fault then is said.
    pub async fn tell_lines(&self, write: impl Fn(&[Report]) -> bool) -> Infallible {
        loop {
            let Some(due) = self.due() else {
                self.said.notified().await;
                continue;
            };
            tokio::time::sleep_until(due).await;
            // Meanwhile a row may have taken them, or a report come before them.
            if self.due().is_some_and(|due| due <= Instant::now()) {
                let lines = self.take();
                // Of a long log nothing is told before its end.
                if !lines.is_empty() && !write(&lines) {
                    self.put_back(lines);
                }
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let inner = self.inner.borrow();
        if inner.reports.is_empty() { inner.pace.due() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;
    use doorstep_shared::ids::StepState;
    use doorstep_shared::time::Timestamp;

    const MS: Duration = Duration::from_millis(1);

    /// What was told by itself: after how many milliseconds, and how many lines.
    type Told = Vec<(u128, usize)>;

    fn untold(dir: &tempfile::TempDir) -> Untold {
        Untold::new(RunLog::open(dir.path(), "shop", "r", Redactor::default(), crate::journal::Told::default()).unwrap())
    }

    fn a_step_ended() -> Report {
        Report::Step { run: "r".into(), index: 0, name: "sync".into(), state: StepState::Succeeded, at: Timestamp(1), duration_ms: Some(1), detail: String::new(), commit: None }
    }

    /// The lines of these reports, and `|` for every other report.
    fn words(reports: &[Report]) -> Vec<String> {
        let of = |report: &Report| match report {
            Report::Log { lines, .. } => lines.clone(),
            Report::Started { .. } | Report::Step { .. } | Report::Outcome { .. } => vec!["|".to_owned()],
        };
        reports.iter().flat_map(of).collect()
    }

    /// Carries a step out, beside it what tells its lines.
    async fn telling(untold: &Untold, step: impl Future<Output = ()>) -> Told {
        let (begun, told) = (Instant::now(), RefCell::new(Told::new()));
        let write = |lines: &[Report]| {
            told.borrow_mut().push((begun.elapsed().as_millis(), words(lines).len()));
            true
        };
        tokio::select! {
            () = step => {}
            never = untold.tell_lines(write) => match never {},
        }
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_line_before_a_silence_is_told_too() {
        let dir = tempfile::tempdir().unwrap();
        let untold = untold(&dir);
        let told = telling(&untold, async {
            untold.say("one");
            tokio::time::sleep(300 * MS).await;
            untold.hear("two");
            tokio::time::sleep(600_000 * MS).await;
            untold.hear("three");
            tokio::time::sleep(60_000 * MS).await;
        });
        assert_eq!(told.await, [(500, 2), (600_800, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_ends_soon_tells_its_lines_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let untold = untold(&dir);
        let told = telling(&untold, async {
            untold.say("one");
            tokio::time::sleep(499 * MS).await;
            untold.hold(a_step_ended());
            // What is said before the next row does not overtake it.
            untold.say("two");
            tokio::time::sleep(60_000 * MS).await;
        });
        assert_eq!(told.await, []);
        assert_eq!(words(&untold.take()), ["one", "|", "two"]);
        assert_eq!(untold.take(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chatty_step_is_told_ever_more_seldom_and_never_too_late() {
        let dir = tempfile::tempdir().unwrap();
        let untold = untold(&dir);
        untold.begin_step();
        let told = telling(&untold, async {
            for _ in 0..18_000 {
                untold.hear("a line");
                tokio::time::sleep(100 * MS).await;
            }
        });
        let told = told.await;
        assert!((380..=406).contains(&told.len()), "{} in half an hour", told.len());
        assert!(told.iter().filter(|(at, _)| *at <= 20_000).all(|(_, lines)| *lines <= 11), "within a second: {told:?}");
        assert!(told.iter().all(|(_, lines)| *lines <= 51), "within five seconds: {told:?}");
        // The next step begins anew; what the last one left may be told at once, and
        // its own last lines as it ends.
        untold.begin_step();
        let told = telling(&untold, async {
            for _ in 0..20 {
                untold.hear("a line");
                tokio::time::sleep(100 * MS).await;
            }
        });
        let told = told.await;
        assert!((3..=5).contains(&told.len()), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_cannot_be_written_wait_for_the_next_row() {
        let dir = tempfile::tempdir().unwrap();
        let untold = untold(&dir);
        let tries = std::cell::Cell::new(0);
        let write = |_: &[Report]| {
            tries.set(tries.get() + 1);
            false
        };
        tokio::select! {
            never = untold.tell_lines(write) => match never {},
            () = async {
                untold.say("one");
                tokio::time::sleep(60_000 * MS).await;
                untold.say("two");
                tokio::time::sleep(60_000 * MS).await;
            } => {}
        }
        assert_eq!(tries.get(), 1, "a journal that takes nothing is left alone");
        assert_eq!(words(&untold.take()), ["one", "two"]);
    }
}
