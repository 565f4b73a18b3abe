//! Deliveries: what one means, what is written of it, what GitHub is told.
//!
//! Invariant: the same GUID, or the same body within seven days, changes
//! nothing. That several are decided in one turn is [`arrivals`](super::arrivals)'.

use std::collections::BTreeSet;

use doorstep_shared::ids::{Action, Cause, DeliveryState, JobId, Name, ServiceName};
use doorstep_shared::queue::{Input, NewJob};
use worker::{Error, Request, Response, Result};

use super::arrivals::{Arrival, Missed};
use super::{Hub, Memory, turn::Turn};
use crate::asker::Asker;
use crate::audit::{self, Deed};
use crate::call::SIGNATURE_HEADER;
use crate::delivery::{self, Consequence, Disbelief, Event};
use crate::reply;
use crate::store::{self, Statement, json, number, text};
use crate::view::DeliveryRow;

/// A body seen within this time is a duplicate: 7 days, more than twice the 3
/// days that GitHub's redelivery reaches back.
const BODY_MEMORY_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// A verified delivery.
#[derive(Clone)]
pub(super) struct Delivery {
    guid: String,
    event_type: String,
    /// The verified signature: no other body has it.
    signature: String,
    pub body: String,
}

/// What GitHub is told.
#[derive(Debug)]
pub(super) struct Answer {
    http: u16,
    body: serde_json::Value,
}

impl Hub {
    /// One delivery: waits for its turn and answers.
    pub(super) async fn deliver(&self, req: &mut Request) -> Result<Response> {
        let header = |name: &str| req.headers().get(name).map(Option::unwrap_or_default);
        let (event_type, guid, signature) = (header("x-github-event")?, header("x-github-delivery")?, header(SIGNATURE_HEADER)?);
        let Ok(body) = String::from_utf8(req.bytes().await?) else {
            return refuse(Disbelief::NotJson);
        };
        match self.arrive(Arrival::Delivery(Delivery { guid, event_type, signature, body })).await {
            Ok(Some(answer)) => reply::json(answer.http, &answer.body),
            Ok(None) => Err(Error::RustError("a delivery was not decided".into())),
            Err(Missed::Busy) => reply::error(503, "busy", "too many deliveries at once; redeliver this one"),
            Err(Missed::Fault(fault)) => Err(fault),
        }
    }

    /// Decides one delivery; what is known of the turn's earlier ones is in `seen`.
    pub(super) fn decide(&self, mut posted: Delivery, seen: &mut BTreeSet<String>, memory: &mut Memory, turn: &mut Turn) -> Result<Answer> {
        self.outdate_health();
        self.outdate_fares();
        let event = match delivery::derive(&posted.event_type, &posted.body, &memory.projects) {
            Ok(event) => event,
            Err(disbelief) => {
                // Its signature was right: this is GitHub's failure or ours.
                turn.write(store::count_refusal(turn.now, disbelief.code()));
                return Ok(disbelieved(disbelief));
            }
        };
        let fresh = seen.insert(format!("guid {}", posted.guid)) & seen.insert(format!("body {}", posted.signature));
        if !fresh || self.is_known(&posted, turn)? {
            return Ok(told(DeliveryState::Duplicate, &posted, &[], Some("this delivery or its body was seen before")));
        }
        let id = memory.number(turn.now);
        let jobs = enqueue(&event, Cause::Push, memory, turn);
        let row = row_of(id, &posted, &event, &jobs, turn);
        turn.write(Statement::new(
            "INSERT INTO deliveries (guid, event) VALUES (?, ?)",
            [text(&posted.guid), number(id)],
        ));
        turn.write(Statement::new(
            "INSERT INTO events (id, type, repo, body, payload) VALUES (?, ?, ?, ?, ?)",
            [number(id), text(&row.event_type), text(row.repo.clone().unwrap_or_default()), json(&row)?, text(std::mem::take(&mut posted.body))],
        ));
        turn.write(Statement::new("INSERT OR REPLACE INTO bodies (hash, event) VALUES (?, ?)", [text(&posted.signature), number(id)]));
        self.arrived(&row, turn)?;
        // What else it changed, the queue says.
        turn.delivered();
        if event.consequence == Consequence::Pong {
            let body = serde_json::json!({"status": "pong", "event_type": "ping", "delivery_id": posted.guid, "jobs": []});
            return Ok(Answer { http: 200, body });
        }
        Ok(told(row.status, &posted, &jobs, row.reason.as_deref()))
    }

    /// Was this GUID seen before, or this body lately?
    fn is_known(&self, posted: &Delivery, turn: &Turn) -> Result<bool> {
        let oldest = store::first_number(turn.now.0.saturating_sub(BODY_MEMORY_MS));
        let known = self.store()?.rows(
            "SELECT 1 FROM deliveries WHERE guid = ? UNION ALL SELECT 1 FROM bodies WHERE hash = ? AND event >= ?",
            [text(&posted.guid), text(&posted.signature), number(oldest)],
        )?;
        Ok(!known.is_empty())
    }

    /// Runs a stored delivery again; `None` when there is none.
    pub(super) async fn replay(&self, guid: &str, by: &Asker) -> Result<Option<Vec<JobId>>> {
        let rows = self.store()?.rows(
            "SELECT e.payload, e.type FROM deliveries d JOIN events e ON e.id = d.event WHERE d.guid = ?",
            [text(guid)],
        )?;
        let deed = Deed::new("replay", &format!("delivery {guid}"));
        let Some(row) = rows.first() else {
            self.note_refusal(by, &deed, "not_found").await?;
            return Ok(None);
        };
        let jobs = self.turn(|memory, turn| {
            let event = delivery::derive(row.text(1), row.text(0), &memory.projects)
                .map_err(|disbelief| Error::RustError(disbelief.to_string()))?;
            let jobs = enqueue(&event, Cause::Replay, memory, turn);
            turn.audit(memory, by, &deed, &audit::queued(&jobs));
            Ok(jobs)
        });
        jobs.await.map(Some)
    }
}

fn enqueue(event: &Event, cause: Cause, memory: &mut Memory, turn: &mut Turn) -> Vec<JobId> {
    let Consequence::Deploy(targets) = &event.consequence else { return Vec::new() };
    let mut enqueue = |of: &(Name, Name)| enqueue_one(of, Wanted::deploy(cause, event.commit.clone()), memory, turn);
    targets.iter().map(&mut enqueue).collect()
}

/// What a job is to do.
pub(super) struct Wanted {
    pub action: Action,
    pub cause: Cause,
    pub hint_commit: Option<String>,
    pub service: Option<ServiceName>,
}

impl Wanted {
    /// The newest commit of the branch, live.
    pub(super) fn deploy(cause: Cause, hint_commit: Option<String>) -> Self {
        Self { action: Action::Deploy, cause, hint_commit, service: None }
    }
}

/// Puts one job of a project in the queue and returns its number.
pub(super) fn enqueue_one((host, project): &(Name, Name), wanted: Wanted, memory: &mut Memory, turn: &mut Turn) -> JobId {
    let id = store::job_id(memory.number(turn.now));
    let Wanted { action, cause, hint_commit, service } = wanted;
    let new = NewJob { id, host: host.clone(), project: project.clone(), action, cause, hint_commit, service };
    turn.queue(memory, Input::Enqueue(new));
    id
}

fn row_of(id: u64, posted: &Delivery, event: &Event, jobs: &[JobId], turn: &Turn) -> DeliveryRow {
    let (status, reason) = match &event.consequence {
        Consequence::Deploy(_) | Consequence::Pong => (DeliveryState::Accepted, None),
        Consequence::Nothing(reason) => (DeliveryState::Ignored, Some(reason.clone())),
    };
    DeliveryRow {
        id,
        delivery_id: posted.guid.clone(),
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

fn told(state: DeliveryState, posted: &Delivery, jobs: &[JobId], reason: Option<&str>) -> Answer {
    let status = match state {
        DeliveryState::Accepted => "queued",
        DeliveryState::Ignored => "ignored",
        DeliveryState::Duplicate => "duplicate",
        DeliveryState::Refused => "refused",
    };
    let mut body = serde_json::json!({
        "status": status, "event_type": posted.event_type, "delivery_id": posted.guid, "jobs": jobs,
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
