//! Deliveries that arrive together become one turn: group commit.
//!
//! The first arrival waits one round of the event loop; all that arrived by
//! then are decided and written in one transaction, with one fsync. Each is
//! answered only after that. Invariant: the same GUID, or the same body within
//! seven days, changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use doorstep_shared::ids::{Action, Cause, DeliveryState, JobId, Name};
use doorstep_shared::queue::{Input, NewJob};
use futures_channel::oneshot;
use worker::{Delay, Error, Request, Response, Result};

use super::{Hub, Memory, turn::Turn};
use crate::delivery::{self, Consequence, Disbelief, Event};
use crate::reply;
use crate::store::{self, Statement, json, number, text};
use crate::view::DeliveryRow;

/// A body seen within this time is a duplicate: 7 days, more than twice the 3
/// days that GitHub's redelivery reaches back.
const BODY_MEMORY_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Deliveries in one turn. At 1 MiB each this bounds one transaction.
const BATCH_MAX: usize = 64;
/// Deliveries that wait for their turn; further ones are told to come back.
const ARRIVALS_MAX: usize = 4_096;

/// A verified delivery that waits for its turn.
pub struct Arrival {
    guid: String,
    event_type: String,
    body: String,
    answer: oneshot::Sender<std::result::Result<Answer, String>>,
}

/// What GitHub is told.
#[derive(Debug)]
struct Answer {
    http: u16,
    body: serde_json::Value,
}

impl Hub {
    /// One delivery: waits for its turn and answers.
    pub(super) async fn deliver(&self, req: &mut Request) -> Result<Response> {
        let header = |name: &str| req.headers().get(name).map(Option::unwrap_or_default);
        let (event_type, guid) = (header("x-github-event")?, header("x-github-delivery")?);
        let Ok(body) = String::from_utf8(req.bytes().await?) else {
            return refuse(Disbelief::NotJson);
        };
        let (answer, answered) = oneshot::channel();
        let is_leader = {
            let mut arrivals = self.arrivals.borrow_mut();
            if arrivals.len() >= ARRIVALS_MAX {
                return reply::error(503, "busy", "too many deliveries at once; redeliver this one");
            }
            arrivals.push(Arrival { guid, event_type, body, answer });
            arrivals.len() == 1
        };
        if is_leader {
            Delay::from(Duration::ZERO).await;
            self.commit_arrivals().await;
        }
        match answered.await {
            Ok(Ok(answer)) => reply::json(answer.http, &answer.body),
            Ok(Err(fault)) => Err(Error::RustError(fault)),
            Err(_) => Err(Error::RustError("the delivery's turn was dropped".into())),
        }
    }

    async fn commit_arrivals(&self) {
        loop {
            let batch: Vec<Arrival> = {
                let mut arrivals = self.arrivals.borrow_mut();
                let count = arrivals.len().min(BATCH_MAX);
                arrivals.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let outcome = self.turn(|memory, turn| self.decide_batch(&batch, memory, turn)).await;
            match outcome {
                Ok(answers) => {
                    for (arrival, answer) in batch.into_iter().zip(answers) {
                        // A client that went away gets no answer; its row stays.
                        let _ = arrival.answer.send(Ok(answer));
                    }
                }
                Err(fault) => {
                    for arrival in batch {
                        let _ = arrival.answer.send(Err(fault.to_string()));
                    }
                }
            }
        }
    }

    fn decide_batch(&self, batch: &[Arrival], memory: &mut Memory, turn: &mut Turn) -> Result<Vec<Answer>> {
        let mut seen = BTreeSet::new();
        batch.iter().map(|arrival| self.decide(arrival, &mut seen, memory, turn)).collect()
    }

    fn decide(&self, arrival: &Arrival, seen: &mut BTreeSet<String>, memory: &mut Memory, turn: &mut Turn) -> Result<Answer> {
        let event = match delivery::derive(&arrival.event_type, &arrival.body, &memory.projects) {
            Ok(event) => event,
            Err(disbelief) => {
                // Its signature was right: this is GitHub's failure or ours.
                turn.write(store::count_refusal(turn.now, disbelief.code()));
                return Ok(disbelieved(disbelief));
            }
        };
        let hash = delivery::body_hash(arrival.body.as_bytes());
        let fresh = seen.insert(format!("guid {}", arrival.guid)) & seen.insert(format!("body {hash}"));
        if !fresh || self.is_known(&arrival.guid, &hash, turn)? {
            return Ok(told(DeliveryState::Duplicate, arrival, &[], Some("this delivery or its body was seen before")));
        }
        let id = memory.number(turn.now);
        let jobs = enqueue(&event, Cause::Push, memory, turn)?;
        let row = row_of(id, arrival, &event, &jobs, turn);
        turn.write(Statement::new(
            "INSERT INTO deliveries (guid, event) VALUES (?, ?)",
            [text(&arrival.guid), number(id)],
        ));
        turn.write(Statement::new(
            "INSERT INTO events (id, type, repo, body, payload) VALUES (?, ?, ?, ?, ?)",
            [number(id), text(&row.event_type), text(row.repo.clone().unwrap_or_default()), json(&row)?, text(&arrival.body)],
        ));
        turn.write(Statement::new("INSERT OR REPLACE INTO bodies (hash, event) VALUES (?, ?)", [text(hash), number(id)]));
        turn.changed();
        if event.consequence == Consequence::Pong {
            let body = serde_json::json!({"status": "pong", "event_type": "ping", "delivery_id": arrival.guid, "jobs": []});
            return Ok(Answer { http: 200, body });
        }
        Ok(told(row.status, arrival, &jobs, row.reason.as_deref()))
    }

    fn is_known(&self, guid: &str, hash: &str, turn: &Turn) -> Result<bool> {
        let store = self.store()?;
        if !store.rows("SELECT 1 FROM deliveries WHERE guid = ?", [text(guid)])?.is_empty() {
            return Ok(true);
        }
        let oldest = store::first_number(turn.now.0.saturating_sub(BODY_MEMORY_MS));
        let bodies = store.rows("SELECT event FROM bodies WHERE hash = ?", [text(hash)])?;
        Ok(bodies.iter().any(|row| row.number(0) >= oldest))
    }

    /// Runs a stored delivery again; `None` when there is none.
    pub(super) async fn replay(&self, guid: &str) -> Result<Option<Vec<JobId>>> {
        let rows = self.store()?.rows(
            "SELECT e.payload, e.type FROM deliveries d JOIN events e ON e.id = d.event WHERE d.guid = ?",
            [text(guid)],
        )?;
        let Some(row) = rows.first() else { return Ok(None) };
        let jobs = self.turn(|memory, turn| {
            let event = delivery::derive(row.text(1), row.text(0), &memory.projects)
                .map_err(|disbelief| Error::RustError(disbelief.to_string()))?;
            enqueue(&event, Cause::Replay, memory, turn)
        });
        jobs.await.map(Some)
    }
}

fn enqueue(event: &Event, cause: Cause, memory: &mut Memory, turn: &mut Turn) -> Result<Vec<JobId>> {
    let Consequence::Deploy(targets) = &event.consequence else { return Ok(Vec::new()) };
    let mut jobs = Vec::new();
    for (host, project) in targets {
        jobs.push(enqueue_one(host, project, Action::Deploy, cause, event.commit.clone(), memory, turn)?);
    }
    Ok(jobs)
}

/// Puts one job in the queue and returns its number.
pub(super) fn enqueue_one(
    host: &Name,
    project: &Name,
    action: Action,
    cause: Cause,
    hint_commit: Option<String>,
    memory: &mut Memory,
    turn: &mut Turn,
) -> Result<JobId> {
    let id = store::job_id(memory.number(turn.now));
    let new = NewJob { id, host: host.clone(), project: project.clone(), action, cause, hint_commit };
    turn.queue(memory, Input::Enqueue(new))?;
    Ok(id)
}

fn row_of(id: u64, arrival: &Arrival, event: &Event, jobs: &[JobId], turn: &Turn) -> DeliveryRow {
    let (status, reason) = match &event.consequence {
        Consequence::Deploy(_) | Consequence::Pong => (DeliveryState::Accepted, None),
        Consequence::Nothing(reason) => (DeliveryState::Ignored, Some(reason.clone())),
    };
    DeliveryRow {
        id,
        delivery_id: arrival.guid.clone(),
        event_type: event.event_type.clone(),
        status,
        reason,
        repo: event.repo.clone(),
        git_ref: event.git_ref.clone(),
        commit: event.commit.clone(),
        received_at: turn.now,
        jobs: jobs.to_vec(),
    }
}

fn told(state: DeliveryState, arrival: &Arrival, jobs: &[JobId], reason: Option<&str>) -> Answer {
    let status = match state {
        DeliveryState::Accepted => "queued",
        DeliveryState::Ignored => "ignored",
        DeliveryState::Duplicate => "duplicate",
        DeliveryState::Refused => "refused",
    };
    let mut body = serde_json::json!({
        "status": status, "event_type": arrival.event_type, "delivery_id": arrival.guid, "jobs": jobs,
    });
    if let (Some(reason), Some(object)) = (reason, body.as_object_mut()) {
        object.insert("reason".to_owned(), reason.into());
    }
    Answer { http: 202, body }
}

fn disbelieved(disbelief: Disbelief) -> Answer {
    let body = serde_json::json!({"error": disbelief.code(), "message": disbelief.to_string()});
    Answer { http: disbelief.status(), body }
}

fn refuse(disbelief: Disbelief) -> Result<Response> {
    reply::error(disbelief.status(), disbelief.code(), &disbelief.to_string())
}
