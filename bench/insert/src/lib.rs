//! The bare Durable Object insert: what any durable answer to a webhook on this
//! runtime costs at least.
//!
//! The Worker passes each request on to one object; the object inserts the body
//! as one row and answers 202. Nothing is verified, parsed or compared, and
//! nothing is committed in groups: each POST is one storage transaction.

use worker::{DurableObject, Env, Request, Response, Result, SqlStorageValue, State, durable_object, event};

#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: worker::Context) -> Result<Response> {
    env.durable_object("ROWS")?.get_by_name("main")?.fetch_with_request(req).await
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
