//! A run that logs at a steady pace.

use std::time::{Duration, Instant};

use doorstep_shared::link::WINDOW;
use doorstep_shared::protocol::{Report, ToExecutor};

use crate::{Heard, Session, wait};

/// How much a run logs, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Chatter {
    /// Lines in all; each has its number and some words, 60 bytes or so.
    pub lines: usize,
    /// Lines of one report.
    pub each: usize,
    /// Lines of one second.
    pub per_second: u32,
}

impl Chatter {
    /// A line by its number, from 0.
    #[must_use]
    pub fn line(number: usize) -> String {
        format!("{number:06} resolving what the application needs to be built")
    }

    /// Every line.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        (0..self.lines).map(Self::line).collect()
    }

    /// Tells all of it, each report at its time, as an executor does: no more
    /// under way than its window. Returns how long each report took to be
    /// acknowledged, counted from when its last line was due.
    pub async fn tell(&self, session: &mut Session, run: &str) -> Vec<Duration> {
        let (begun, first) = (Instant::now(), session.acknowledged + 1);
        let starts: Vec<usize> = (0..self.lines).step_by(self.each).collect();
        let due: Vec<Instant> = starts.iter().map(|start| begun + self.time_of((start + self.each).min(self.lines))).collect();
        let (mut sent, mut took) = (0, Vec::with_capacity(due.len()));
        while took.len() < due.len() {
            let next = due.get(sent).filter(|_| sent - took.len() < WINDOW).copied();
            tokio::select! {
                () = wait::at(next) => {
                    let lines = (starts[sent]..(starts[sent] + self.each).min(self.lines)).map(Self::line).collect();
                    session.tell(first + sent as u64, Report::Log { run: run.to_owned(), lines }).await;
                    sent += 1;
                }
                heard = session.socket.hear() => if let Heard::Frame(ToExecutor::Acknowledge { seq }) = heard {
                    session.acknowledged = seq;
                    while took.len() < due.len() && first + took.len() as u64 <= seq {
                        took.push(due[took.len()].elapsed());
                    }
                } else {
                    panic!("expected an acknowledgement, not {heard:?}");
                },
            }
        }
        took
    }

    fn time_of(&self, lines: usize) -> Duration {
        Duration::from_secs_f64(lines as f64 / f64::from(self.per_second))
    }
}
