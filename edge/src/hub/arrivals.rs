//! Deliveries and reports that arrive together become one turn: group commit.
//!
//! The first arrival waits one round of the event loop; all that arrived by
//! then are decided in their order and written in one transaction, with one
//! fsync. Each is answered only after that. A transaction that fails is tried
//! again with one arrival at a time, so that only those fail which must. What
//! waits is bounded, in number and in bytes: past that, GitHub is told to come
//! back and a host to dial again, and neither loses anything.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::Report;
use futures_channel::oneshot;
use worker::{Delay, Error, Result, WebSocket, console_error};

use super::deliver::{Answer, Delivery};
use super::report::Told;
use super::{Hub, Memory, turn::Turn};

/// Arrivals in one turn. One that fails is followed by as many turns of one.
const BATCH_MAX: usize = 64;
/// Their bytes, after the first: they are held twice until they are written, so
/// this and one delivery of 1.9 MB are 12 MB at most.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Arrivals that wait for their turn.
const WAITING_MAX: usize = 4_096;
/// Their bytes: a quarter of what an isolate may hold.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What waits for its turn.
#[derive(Clone)]
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

type Sender = oneshot::Sender<std::result::Result<Option<Answer>, String>>;
type Waiting = (Arrival, Sender);

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
        let mut bytes = 0usize;
        let fits = |(arrival, _): &&Waiting| {
            bytes = bytes.saturating_add(arrival.bytes());
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(BATCH_MAX).take_while(fits).count().max(1).min(self.waiting.len());
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
            let alone = if batch.len() > 1 { batch.clone() } else { Vec::new() };
            match self.turn(|memory, turn| self.decide_batch(batch, memory, turn)).await {
                Ok(decided) => {
                    for (sender, answer) in answers.into_iter().zip(decided) {
                        // A client that went away gets no answer; its row stays.
                        let _ = sender.send(Ok(answer));
                    }
                }
                Err(fault) if alone.is_empty() => {
                    for sender in answers {
                        let _ = sender.send(Err(fault.to_string()));
                    }
                }
                Err(fault) => {
                    console_error!("{} arrivals were not stored together, each is tried alone: {fault}", alone.len());
                    self.commit_each(alone, answers).await;
                }
            }
        }
    }

    /// Stores each in a turn of its own, in their order.
    async fn commit_each(&self, batch: Vec<Arrival>, answers: Vec<Sender>) {
        for (arrival, sender) in batch.into_iter().zip(answers) {
            let decided = self.turn(|memory, turn| self.decide_batch(vec![arrival], memory, turn)).await;
            let _ = sender.send(decided.map(|answers| answers.into_iter().next().flatten()).map_err(|fault| fault.to_string()));
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
        self.outdate_recent(told.projects());
        told.finish(turn)?;
        Ok(answers)
    }
}
