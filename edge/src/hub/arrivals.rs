//! Deliveries and reports that arrive together become one turn: group commit.
//!
//! The first arrival waits one round of the event loop; all that arrived by
//! then are decided in their order and written in one transaction, with one
//! fsync. Each is answered only after that. What waits is bounded, in number
//! and in bytes: past that, GitHub is told to come back and a host to dial
//! again, and neither loses anything.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::Report;
use futures_channel::oneshot;
use worker::{Delay, Error, Result, WebSocket};

use super::deliver::{Answer, Delivery};
use super::report::Told;
use super::{Hub, Memory, turn::Turn};

/// Arrivals in one turn. At 1 MiB each this bounds one transaction.
const BATCH_MAX: usize = 64;
/// Arrivals that wait for their turn.
const WAITING_MAX: usize = 4_096;
/// Their bytes: a quarter of what an isolate may hold.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What waits for its turn.
pub(super) enum Arrival {
    /// A verified delivery.
    Delivery(Delivery),
    /// A report from a host's believed socket.
    Report {
        /// The socket.
        ws: WebSocket,
        /// Whose it is.
        host: Name,
        /// The report's number.
        seq: u64,
        /// The report.
        report: Report,
        /// The frame's length.
        bytes: usize,
    },
}

impl Arrival {
    fn bytes(&self) -> usize {
        match self {
            Self::Delivery(delivery) => delivery.body.len(),
            Self::Report { bytes, .. } => *bytes,
        }
    }
}

/// Why an arrival was not stored.
pub(super) enum Missed {
    /// Too much waits already.
    Busy,
    /// The turn failed; nothing of it was written.
    Fault(Error),
}

type Waiting = (Arrival, oneshot::Sender<std::result::Result<Option<Answer>, String>>);

/// What waits.
#[derive(Default)]
pub(super) struct Arrivals {
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl Arrivals {
    /// Takes one in; says whether it is the first.
    fn push(&mut self, arrival: Waiting) -> Option<bool> {
        let bytes = self.bytes.saturating_add(arrival.0.bytes());
        if self.waiting.len() >= WAITING_MAX || (bytes > WAITING_BYTES_MAX && !self.waiting.is_empty()) {
            return None;
        }
        self.bytes = bytes;
        self.waiting.push(arrival);
        Some(self.waiting.len() == 1)
    }

    fn next_batch(&mut self) -> Vec<Waiting> {
        let count = self.waiting.len().min(BATCH_MAX);
        let batch: Vec<Waiting> = self.waiting.drain(..count).collect();
        let bytes: usize = batch.iter().map(|(arrival, _)| arrival.bytes()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        batch
    }
}

impl Hub {
    /// Waits until this is stored; a delivery is answered.
    pub(super) async fn arrive(&self, arrival: Arrival) -> std::result::Result<Option<Answer>, Missed> {
        let (answer, answered) = oneshot::channel();
        let Some(is_leader) = self.arrivals.borrow_mut().push((arrival, answer)) else { return Err(Missed::Busy) };
        if is_leader {
            Delay::from(Duration::ZERO).await;
            self.commit_arrivals().await;
        }
        match answered.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(Missed::Fault(Error::RustError(fault))),
            Err(_) => Err(Missed::Fault(Error::RustError("the turn was dropped".into()))),
        }
    }

    /// Stores all that waits, now: what is handled next came after it.
    pub(super) async fn commit_arrivals(&self) {
        loop {
            let batch = self.arrivals.borrow_mut().next_batch();
            if batch.is_empty() {
                return;
            }
            let (batch, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            match self.turn(|memory, turn| self.decide_batch(batch, memory, turn)).await {
                Ok(decided) => {
                    for (sender, answer) in answers.into_iter().zip(decided) {
                        // A client that went away gets no answer; its row stays.
                        let _ = sender.send(Ok(answer));
                    }
                }
                Err(fault) => {
                    for sender in answers {
                        let _ = sender.send(Err(fault.to_string()));
                    }
                }
            }
        }
    }

    fn decide_batch(&self, batch: Vec<Arrival>, memory: &mut Memory, turn: &mut Turn) -> Result<Vec<Option<Answer>>> {
        let (mut seen, mut told) = (BTreeSet::new(), Told::default());
        let mut answers = Vec::with_capacity(batch.len());
        for arrival in batch {
            answers.push(match arrival {
                Arrival::Delivery(delivery) => Some(self.decide(delivery, &mut seen, memory, turn)?),
                Arrival::Report { ws, host, seq, report, .. } => {
                    self.report(&ws, &host, (seq, report), &mut told, memory, turn)?;
                    None
                }
            });
        }
        told.finish(turn)?;
        Ok(answers)
    }
}
