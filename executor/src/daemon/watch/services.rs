//! What the services of a compose project print, while somebody watches.
//!
//! The engine's own stream is followed by a task of its own, which is ended with
//! this value; lines wait in a queue with a limit, and what comes faster is
//! passed over and said. When the containers are others than before it begins
//! anew, with their last lines.

use std::cell::Cell;
use std::rc::Rc;

use doorstep_shared::protocol::{LOG_BYTES_MAX, WATCH_TAIL_LINES};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::compose::Engine;
use crate::compose::printed::{Shown, show};
use crate::redact::Redactor;

/// Lines that wait for the next look, a quarter of a second away, and their bytes.
const LINES_MAX: usize = 2_000;
const BYTES_MAX: usize = 256 * 1024;

/// The followed services of one project.
pub(super) struct Services {
    /// The containers that are followed, each with when it was started.
    ids: Vec<String>,
    lines: mpsc::Receiver<String>,
    /// Bytes of the lines that wait.
    waiting: Rc<Cell<usize>>,
    /// Lines that found no room.
    passed_over: Rc<Cell<usize>>,
    task: AbortHandle,
    is_first: bool,
}

impl Drop for Services {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Services {
    /// Follows these containers, which are all of a project's.
    pub(super) fn follow(engine: Rc<Engine>, project: String, ids: Vec<String>) -> Self {
        let (into, lines) = mpsc::channel(LINES_MAX);
        let passed_over = Rc::new(Cell::new(0));
        let waiting = Rc::new(Cell::new(0_usize));
        let (count, bytes) = (Rc::clone(&passed_over), Rc::clone(&waiting));
        let task = tokio::task::spawn_local(async move {
            let shown = Shown { lines: WATCH_TAIL_LINES, follow: true, ..Shown::default() };
            let print = |line: &str| {
                let fits = bytes.get() + line.len() <= BYTES_MAX;
                if fits && into.try_send(line.to_owned()).is_ok() {
                    bytes.set(bytes.get() + line.len());
                } else {
                    count.set(count.get() + 1);
                }
                Ok(())
            };
            // An engine that went away: its page says so, and it begins anew.
            let _ = show(&engine, &project, &shown, print).await;
        });
        Self { ids, lines, waiting, passed_over, task: task.abort_handle(), is_first: true }
    }

    /// Are these the containers that are followed?
    pub(super) fn are_of(&self, ids: &[String]) -> bool {
        self.ids == ids
    }

    /// New lines, and whether they are the first ones.
    pub(super) fn look(&mut self, redactor: &Redactor) -> Option<(bool, Vec<String>)> {
        let (mut lines, mut budget) = (Vec::new(), LOG_BYTES_MAX);
        let passed_over = self.passed_over.replace(0);
        self.waiting.set(0);
        while let Ok(line) = self.lines.try_recv() {
            let line = redactor.line(&line);
            let Some(left) = budget.checked_sub(line.len() + 1) else {
                self.passed_over.set(self.passed_over.get() + 1);
                continue;
            };
            budget = left;
            lines.push(line);
        }
        if passed_over > 0 {
            lines.push(format!("… {passed_over} lines came too fast to be shown; the host has them"));
        }
        let is_new = !lines.is_empty();
        is_new.then(|| (std::mem::replace(&mut self.is_first, false), lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_fast_is_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (into, lines) = mpsc::channel(LINES_MAX);
            let task = tokio::task::spawn_local(std::future::pending::<()>()).abort_handle();
            let mut services = Services { ids: vec!["a".into()], lines, waiting: Rc::default(), passed_over: Rc::default(), task, is_first: true };
            let mut redactor = Redactor::default();
            redactor.add("hunter2hunter2");
            assert_eq!(services.look(&redactor), None);
            into.try_send("web | the word is hunter2hunter2".to_owned()).unwrap();
            assert_eq!(services.look(&redactor), Some((true, vec!["web | the word is [secret]".to_owned()])));
            for _ in 0..40 {
                into.try_send("x".repeat(1_000)).unwrap();
            }
            let (first, lines) = services.look(&redactor).unwrap();
            assert!(!first && lines.len() == 32, "{}", lines.len());
            assert_eq!(services.look(&redactor), Some((false, vec!["… 8 lines came too fast to be shown; the host has them".to_owned()])));
            assert!(services.are_of(&["a".to_owned()]) && !services.are_of(&[]));
        });
    }
}
