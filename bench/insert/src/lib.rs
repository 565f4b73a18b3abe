//! The bare Durable Object insert: what any durable answer to a webhook on this
//! runtime costs at least.
//!
//! The Worker passes each request on to one object; the object inserts the body
//! as one row and answers 202. Nothing is parsed or compared, and nothing is
//! committed in groups: each POST is one storage transaction. `/verified` does
//! the same once the Worker has verified GitHub's signature over the body,
//! which is the least that a webhook's receiver has to do.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use worker::{
    DurableObject, Env, Method, Request, RequestInit, Response, Result, SqlStorageValue, State, Stub, durable_object, event,
};

#[event(fetch)]
async fn fetch(mut req: Request, env: Env, _ctx: worker::Context) -> Result<Response> {
    let rows = env.durable_object("ROWS")?.get_by_name("main")?;
    if req.path() == "/verified" { verified(&mut req, &env, rows).await } else { rows.fetch_with_request(req).await }
}

async fn verified(req: &mut Request, env: &Env, rows: Stub) -> Result<Response> {
    let signature = req.headers().get("x-hub-signature-256")?.unwrap_or_default();
    let digest = hex::decode(signature.trim_start_matches("sha256=")).unwrap_or_default();
    let body = req.bytes().await?;
    let secret = env.var("WEBHOOK_SECRET")?.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|fault| fault.to_string())?;
    mac.update(&body);
    if mac.verify_slice(&digest).is_err() {
        return Response::error("the signature does not match", 401);
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(js_sys::Uint8Array::from(body.as_slice()).into()));
    rows.fetch_with_request(Request::new_with_init("https://rows/", &init)?).await
}

/// The object.
#[durable_object]
pub struct Rows {
    state: State,
}

impl DurableObject for Rows {
    fn new(state: State, _env: Env) -> Self {
        // A constructor cannot fail; without the table every insert does.
        let _ = state.storage().sql().exec("CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, body TEXT NOT NULL)", None);
        Self { state }
    }

    async fn fetch(&self, mut req: Request) -> Result<Response> {
        let body = req.text().await?;
        self.state.storage().sql().exec("INSERT INTO bodies (body) VALUES (?)", vec![SqlStorageValue::String(body)])?;
        Ok(Response::empty()?.with_status(202))
    }
}
