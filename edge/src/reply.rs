//! Answers: JSON, pages, redirects, errors, with the headers each must carry.

use serde::Serialize;
use worker::{Headers, Response, Result};

use crate::call::Client;
use crate::pages;

/// Pages run our own script and style and nothing else.
const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Of what a page could ask a browser for, nothing.
const PERMISSIONS: &str = "accelerometer=(), browsing-topics=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()";
/// Browsers come by https alone for a year.
const HSTS: &str = "max-age=31536000";
/// On a refusal of the hub: the session that asked is not known, or has ended.
pub const ENDED_HEADER: &str = "x-session-ended";

/// A JSON answer.
pub fn json(status: u16, body: &impl Serialize) -> Result<Response> {
    json_text(status, serde_json::to_string(body)?)
}

/// A JSON answer that is text already.
pub fn json_text(status: u16, text: String) -> Result<Response> {
    with(status, "application/json", "no-store", text)
}

/// Plain text, which a browser shows and never reads as a page.
pub fn text(status: u16, text: String) -> Result<Response> {
    with(status, "text/plain; charset=utf-8", "no-store", text)
}

/// `{"error": code, "message": sentence}`.
pub fn error(status: u16, code: &str, message: &str) -> Result<Response> {
    json(status, &serde_json::json!({"error": code, "message": message}))
}

/// What the hub says of a session that is not known or has ended. The Worker
/// says it to the person.
pub fn ended() -> Result<Response> {
    let mut response = error(401, "not_signed_in", "sign in, or send a bearer")?;
    response.headers_mut().set(ENDED_HEADER, "1")?;
    Ok(response)
}

/// A refusal for whoever reads it.
pub fn refused(client: Client, status: u16, code: &str, message: &str) -> Result<Response> {
    match client {
        Client::Api => error(status, code, message),
        Client::Page => page(status, pages::problem(status, "That was not done", message)),
    }
}

/// 405 with the methods that are allowed.
pub fn wrong_method(allowed: &str) -> Result<Response> {
    let mut response = error(405, "wrong_method", &format!("this address takes {allowed}"))?;
    response.headers_mut().set("allow", allowed)?;
    Ok(response)
}

/// A page.
pub fn page(status: u16, html: String) -> Result<Response> {
    let mut response = with(status, "text/html; charset=utf-8", "no-store", html)?;
    let headers = response.headers_mut();
    headers.set("content-security-policy", CSP)?;
    headers.set("referrer-policy", "same-origin")?;
    headers.set("x-frame-options", "DENY")?;
    headers.set("cross-origin-opener-policy", "same-origin")?;
    headers.set("permissions-policy", PERMISSIONS)?;
    Ok(response)
}

/// Too many tries: the page, and when the next one is taken.
pub fn wait(seconds: u64, html: String) -> Result<Response> {
    let mut response = page(429, html)?;
    response.headers_mut().set("retry-after", &seconds.to_string())?;
    Ok(response)
}

/// The answer to somebody who came by https. A socket's is left as it is.
pub fn over_https(response: Response) -> Result<Response> {
    if response.status_code() == 101 {
        return Ok(response);
    }
    // The hub's own headers cannot be changed, a copy can.
    let headers = response.headers().clone();
    headers.set("strict-transport-security", HSTS)?;
    Ok(response.with_headers(headers))
}

/// The answer to somebody who takes gzip, on a machine where nobody in front
/// compresses. The runtime does it on the way out.
pub fn compressed(response: Response) -> Result<Response> {
    if response.status_code() != 200 {
        return Ok(response);
    }
    // The hub's own headers cannot be changed, a copy can.
    let headers = response.headers().clone();
    headers.set("content-encoding", "gzip")?;
    headers.set("vary", "accept-encoding")?;
    Ok(response.with_headers(headers))
}

/// 303 to a path of this site.
pub fn redirect(path: &str, cookie: Option<&str>) -> Result<Response> {
    let mut response = with(303, "text/plain; charset=utf-8", "no-store", String::new())?;
    response.headers_mut().set("location", path)?;
    if let Some(cookie) = cookie {
        response.headers_mut().set("set-cookie", cookie)?;
    }
    Ok(response)
}

/// A file of the dashboard.
pub fn asset(asset: &pages::Asset, is_hashed: bool) -> Result<Response> {
    let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
    with(200, asset.kind, cache, asset.text.to_owned())
}

fn with(status: u16, kind: &str, cache: &str, body: String) -> Result<Response> {
    let headers = Headers::new();
    headers.set("content-type", kind)?;
    headers.set("cache-control", cache)?;
    headers.set("x-content-type-options", "nosniff")?;
    Ok(Response::from_bytes(body.into_bytes())?.with_headers(headers).with_status(status))
}
