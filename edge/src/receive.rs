//! Deliveries at the Worker: read under a cap, believed or refused, passed on.
//!
//! Invariant: nothing of a body is parsed before its signature was verified,
//! and what was refused costs the hub a note a second at most.

use std::cell::Cell;

use doorstep_shared::time::Timestamp;
use worker::{Env, Request, Response, Result, console_error};

use crate::asker::Asker;
use crate::call::{self, Believed, Call};
use crate::delivery::{self, Disbelief, Headers};
use crate::platform::{self, Settings, now};
use crate::{health, reply};

/// Notes of refused deliveries that reach the hub: at most one in this time
/// from one isolate, so that a flood of them writes at most 3,600 rows an hour.
/// Strangers' notes are counted apart: they crowd out no signed delivery's.
const REFUSAL_NOTE_MS: u64 = 1_000;

thread_local! {
    static LAST_REFUSAL_NOTE: [Cell<u64>; 2] = const { [Cell::new(0), Cell::new(0)] };
}

/// Answers one delivery.
pub async fn deliver(req: Request, env: &Env, settings: &Settings) -> Result<Response> {
    match believe(req, settings).await? {
        Ok(delivery) => call::deliver(env, &delivery).await,
        Err(disbelief) => {
            note_refusal(env, disbelief).await;
            reply::error(disbelief.status(), disbelief.code(), &disbelief.to_string())
        }
    }
}

async fn believe(mut req: Request, settings: &Settings) -> Result<std::result::Result<Believed, Disbelief>> {
    let header = |req: &Request, name: &str| req.headers().get(name).ok().flatten();
    if settings.webhook_secret.is_empty() {
        return Ok(Err(Disbelief::SecretNotSet));
    }
    let signature = header(&req, "x-hub-signature-256");
    let length = header(&req, "content-length").and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|bytes| bytes > settings.body_bytes_max) {
        return Ok(Err(Disbelief::TooLarge));
    }
    if signature.is_none() {
        return Ok(Err(Disbelief::SignatureMissing));
    }
    let body = match platform::read_capped(&mut req, length, settings.body_bytes_max).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Err(Disbelief::TooLarge)),
        Err(_) => return Ok(Err(Disbelief::BodyCut)),
    };
    let signature = match delivery::verify(&settings.webhook_secret, signature.as_deref(), &body) {
        Ok(signature) => signature,
        Err(disbelief) => return Ok(Err(disbelief)),
    };
    let headers = Headers::check(header(&req, "x-github-event"), header(&req, "x-github-delivery"));
    Ok(headers.map(|headers| Believed { headers, signature, body }))
}

async fn note_refusal(env: &Env, disbelief: Disbelief) {
    let due = LAST_REFUSAL_NOTE.with(|[strangers, others]| {
        let last = if health::is_unproven(disbelief.code()) { strangers } else { others };
        let due = now().ms_since(Timestamp(last.get())) >= REFUSAL_NOTE_MS;
        if due {
            last.set(now().0);
        }
        due
    });
    if due && let Err(fault) = (Call::Refused { code: disbelief.code().to_owned() }).ask(env, &Asker::default()).await {
        console_error!("a refused delivery was not noted: {fault}");
    }
}
