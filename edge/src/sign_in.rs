//! Signing in and out at the Worker.
//!
//! The hub compares, not the Worker: it is given a MAC of the right password and
//! one of the password that was typed, and looks at them only if this address may
//! try now. So waiting, comparing and counting are one turn, and a thousand tries
//! at once are no way around the wait. It learns the password from neither, nor
//! the new session's token, of which it is given the hash.

use worker::{Env, Request, Response, Result};

use crate::asker::Asker;
use crate::call::{Attempt, Call};
use crate::gate::header;
use crate::platform::{self, Settings, random};
use crate::site::Transport;
use crate::{pages, reply, session, throttle};

/// Longest body of the form.
const FORM_BYTES_MAX: u64 = 8 * 1024;

/// The page that asks for the password.
pub fn page(req: &Request, transport: Transport) -> Result<Response> {
    #[derive(serde::Deserialize)]
    struct Query {
        #[serde(default)]
        next: String,
    }
    if transport == Transport::Plain {
        return reply::page(403, pages::not_over_http());
    }
    let next = req.query::<Query>().map(|query| query.next).unwrap_or_default();
    reply::page(200, pages::login(None, session::local_path(&next)))
}

/// Answers the form.
pub async fn sign_in(mut req: Request, env: &Env, settings: &Settings, by: &Asker, transport: Transport) -> Result<Response> {
    if settings.dashboard_password.is_empty() || settings.session_key.is_empty() {
        let sentence = "Signing in needs DASHBOARD_PASSWORD and SESSION_KEY to be set for this edge.";
        return reply::page(503, pages::problem(503, "Not set up yet", sentence));
    }
    let token = session::token(random::<32>()?);
    let Some(cookie) = session::begins(&settings.session_key, &token, transport) else {
        return reply::page(403, pages::not_over_http());
    };
    let length = header(&req, "content-length").and_then(|text| text.parse().ok());
    let Some(body) = platform::read_capped(&mut req, length, FORM_BYTES_MAX).await? else {
        return reply::error(413, "body_too_large", "a sign-in form is smaller than this");
    };
    let (password, next) = platform::login_fields(&body);
    let next = session::local_path(&next).to_owned();
    let proof = |password: &str| session::proof(&settings.session_key, password);
    let attempt = Attempt { expected: proof(&settings.dashboard_password), given: proof(&password), session: session::hash(&token) };
    let verdict = Call::SignIn(attempt).ask(env, by).await?;
    match verdict.status_code() {
        204 => reply::redirect(&next, Some(&cookie)),
        401 => reply::page(401, pages::login(Some("That is not the password."), &next)),
        429 => {
            let seconds = verdict.headers().get("retry-after")?.and_then(|text| text.parse().ok()).unwrap_or(60);
            let sentence = format!("Too many wrong passwords. The next try is possible in {}.", throttle::words(seconds));
            reply::wait(seconds, pages::login(Some(&sentence), &next))
        }
        other => reply::error(500, "internal", &format!("the hub answered {other}")),
    }
}

/// Ends this session, or all of them, and takes the cookie away.
pub async fn sign_out(env: &Env, call: Call, by: &Asker, transport: Transport) -> Result<Response> {
    if by.session().is_some() {
        let answer = call.ask(env, by).await?;
        let has_ended = answer.status_code() == 204 || answer.headers().has(reply::ENDED_HEADER)?;
        if !has_ended {
            return Ok(answer);
        }
    }
    reply::redirect("/login", session::ends(transport).as_deref())
}
