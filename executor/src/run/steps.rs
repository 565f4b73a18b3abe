//! Steps: begun and ended in the journal, with how long they took.

use std::time::Instant;

use doorstep_shared::ids::StepState;
use doorstep_shared::protocol::Report;
use doorstep_shared::text::cut;

use super::{Fault, Runner, first_line};
use crate::clock;
use crate::journal::Point;

/// Longest detail of a step, in bytes.
const DETAIL_BYTES_MAX: usize = 500;

/// The step under way.
pub struct Open {
    index: u16,
    name: &'static str,
    begun: Instant,
}

/// What went wrong in a step, before the step's name is added.
pub(super) struct Wrong {
    pub kind: doorstep_shared::ids::FailureKind,
    pub message: String,
}

impl Wrong {
    /// A fault of this host.
    pub fn host(fault: impl std::fmt::Display) -> Self {
        Self { kind: doorstep_shared::ids::FailureKind::Host, message: format!("{fault:#}") }
    }
}

/// Words that end what Compose says of work that goes on, or was given up for
/// another's fault.
const PROGRESS: [&str; 12] = ["Pulling", "Pulled", "Building", "Built", "Creating", "Created", "Starting", "Started", "Waiting", "Recreate", "Interrupted", "Running"];

/// A program's end as a reason: the sentence ends with the most telling of its
/// last lines, since a page, a log and a history show one line; the others follow.
pub(super) fn told(how: &str, lines: &[String]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    let Some(at) = lines.iter().rposition(|line| is_telling(line)).or_else(|| lines.iter().rposition(|line| !line.is_empty())) else { return how.to_owned() };
    let others: String = lines.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, line)| format!("\n{line}")).collect();
    format!("{how}: {}{}", lines[at].trim_start(), others.trim_end())
}

/// Is this more than a frame, a hint, or progress?
fn is_telling(line: &str) -> bool {
    let line = line.trim();
    let is_words = line.chars().any(char::is_alphanumeric);
    let is_step = line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_progress = line.split_whitespace().count() <= 4 && line.split_whitespace().last().is_some_and(|word| PROGRESS.contains(&word));
    is_words && !is_step && !is_progress && !line.starts_with("View build details") && !line.starts_with("hint:")
}

impl Runner {
    /// Begins a step: its row, which says how far the run has come, is written
    /// before its effect.
    pub(super) fn begin(&mut self, point: Point, name: &'static str) -> Result<(), Fault> {
        if self.cancel.is_cancelled() {
            return Err(self.cancelled(name));
        }
        self.begin_anyway(point, name)
    }

    /// Begins a step that a cancel does not stop: one that puts things right.
    pub(super) fn begin_anyway(&mut self, point: Point, name: &'static str) -> Result<(), Fault> {
        self.record.point = point;
        // What a crash left open has not ended, and gives its place to this one.
        let open = Open { index: self.record.steps, name, begun: Instant::now() };
        let report = self.step_report(&open, StepState::Started, None, "");
        self.step = Some(open);
        self.untold.begin_step();
        self.advance(vec![report])
    }

    /// Ends the step under way with what came of it and a line about it.
    pub(super) fn end<T>(&mut self, outcome: Result<(T, String), Wrong>) -> Result<T, Fault> {
        let name = self.step.as_ref().map_or("run", |open| open.name);
        match outcome {
            Ok((value, detail)) => {
                // Written with what comes next, which is the next step's row.
                self.close(StepState::Succeeded, &detail);
                Ok(value)
            }
            Err(wrong) => {
                let fault = Fault { kind: wrong.kind, step: name.to_owned(), message: wrong.message };
                for line in fault.message.lines() {
                    self.untold.say(line);
                }
                let first = first_line(&fault.message).to_owned();
                self.close(StepState::Failed, &first);
                self.advance(Vec::new())?;
                Err(fault)
            }
        }
    }

    fn close(&mut self, state: StepState, detail: &str) {
        let Some(open) = self.step.take() else { return };
        let ms = u64::try_from(open.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let report = self.step_report(&open, state, Some(ms), detail);
        self.record.steps = self.record.steps.saturating_add(1);
        self.untold.hold(report);
    }

    fn step_report(&self, open: &Open, state: StepState, duration_ms: Option<u64>, detail: &str) -> Report {
        Report::Step {
            run: self.record.id.clone(),
            index: open.index,
            name: open.name.to_owned(),
            state,
            at: clock::wall(),
            duration_ms,
            detail: cut(&self.untold.clean(detail), DETAIL_BYTES_MAX).to_owned(),
            commit: self.record.commit.clone(),
        }
    }

    /// Adds a line of our own to the log, and reports what is there when it is much.
    pub(super) fn say(&mut self, line: &str) {
        if self.untold.say(line) {
            // A fault comes back at the step's end.
            let _ = self.advance(Vec::new());
        }
    }

    /// The same with a line that a program printed, in its colours.
    pub(super) fn hear(&mut self, line: &str) {
        if self.untold.hear(line) {
            let _ = self.advance(Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_reason_is_the_one_that_tells() {
        let of = |text: &str| told("`docker compose build` exited with 17", &text.lines().map(str::to_owned).collect::<Vec<_>>());
        let build = of(" > [web 2/2] RUN exit 17:\n------\n   2 | >>> RUN exit 17\n--------------------\ntarget web: failed to solve: exit code: 17\n\nView build details: x\n#9 DONE 0.1s\n web Interrupted \n");
        let (first, rest) = build.split_once('\n').unwrap();
        assert_eq!(first, "`docker compose build` exited with 17: target web: failed to solve: exit code: 17");
        assert!(rest.starts_with(" > [web 2/2] RUN exit 17:\n------") && !rest.contains("failed to solve"), "{rest}");
        assert_eq!(of(""), "`docker compose build` exited with 17");
        assert_eq!(of("\n#9 only progress\n"), "`docker compose build` exited with 17: #9 only progress");
    }
}
