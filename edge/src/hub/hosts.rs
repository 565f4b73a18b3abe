//! Hosts as people add and remove them: codes made, hosts revoked.
//!
//! Invariant: a code is kept as a hash, and is told once. What a host does with
//! it is [`greet`](super::greet)'s.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::Refusal;
use doorstep_shared::queue::Input;
use worker::{Response, Result};

use super::Hub;
use crate::asker::Asker;
use crate::audit::Deed;
use crate::call::Client;
use crate::pages::{self, Viewer};
use crate::platform::{now, random};
use crate::store::{Statement, number, text};
use crate::view::EnrollmentView;
use crate::{enroll, reply};

impl Hub {
    /// Makes a one-time code for a new host.
    pub(super) async fn enroll(&self, by: &Asker, origin: &str, client: Client) -> Result<Response> {
        let open = self.store()?.rows("SELECT count(*) FROM enrollments WHERE ends > ?", [number(now().0)])?;
        if open.first().is_some_and(|row| row.number(0) >= enroll::OPEN_CODES_MAX as u64) {
            let no = (429, "too_many_codes", "20 codes are open; use one or wait 10 minutes".to_owned());
            return self.refuse(by, &Deed::new("enroll", ""), client, no).await;
        }
        let code = enroll::code(random::<16>()?);
        let Some((handle, whole)) = enroll::split(&code) else {
            return reply::error(500, "internal", "a code came out wrong");
        };
        let expires_at = self
            .turn(|memory, turn| {
                let ends = turn.now.plus_ms(enroll::CODE_MS);
                turn.write(Statement::new(
                    "INSERT OR REPLACE INTO enrollments (handle, hash, ends, tries) VALUES (?, ?, ?, 0)",
                    [text(&handle), text(enroll::hash(&whole)), number(ends.0)],
                ));
                // The handle names the code and is no part of its secret.
                turn.audit(memory, by, &Deed::new("enroll", &format!("code {handle}")), "code made");
                Ok(ends)
            })
            .await?;
        let command = format!("doorstep join {origin} {code}");
        let view = EnrollmentView { code, expires_at, command };
        match client {
            Client::Api => reply::json(201, &view),
            Client::Page => reply::page(200, pages::enrollment(&view, Viewer { now: now(), form_token: &by.form_token })),
        }
    }

    /// Revokes a host: its key is good no more, and its connection is cut.
    pub(super) async fn revoke(&self, by: &Asker, host: Name, client: Client) -> Result<Response> {
        let deed = Deed::new("revoke", host.as_str());
        let known = self.store()?.rows("SELECT 1 FROM hosts WHERE name = ? AND revoked = 0", [text(host.as_str())])?;
        if known.is_empty() {
            let no = (404, "not_found", "no host of this name is enrolled".to_owned());
            return self.refuse(by, &deed, client, no).await;
        }
        self.turn(|memory, turn| {
            turn.write(Statement::new("UPDATE hosts SET revoked = 1 WHERE name = ?", [text(host.as_str())]));
            turn.write(Statement::new("DELETE FROM projects WHERE host = ?", [text(host.as_str())]));
            memory.projects.remove_host(&host);
            turn.audit(memory, by, &deed, "revoked");
            turn.changed();
            turn.queue(memory, Input::Revoke { host: host.clone() });
            Ok(())
        })
        .await?;
        self.cut_host(&host, Refusal::NotAuthorised, "this host was revoked");
        match client {
            Client::Api => reply::json(200, &serde_json::json!({"revoked": host})),
            Client::Page => reply::redirect("/hosts", None),
        }
    }
}
