//! The Worker's calls, answered.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::Refusal;
use doorstep_shared::queue::Input;
use worker::{Response, Result};

use super::Hub;
use crate::call::{Call, Client, LogQuery};
use crate::platform::{now, random};
use crate::store::{Statement, count_refusal, number, text};
use crate::view::EnrollmentView;
use crate::{enroll, pages, reply};

/// Wrong passwords from one client before it must wait.
const WRONG_PASSWORDS_MAX: u64 = 10;
/// How long it waits then: 5 minutes.
const WRONG_PASSWORDS_MS: u64 = 5 * 60 * 1_000;

impl Hub {
    pub(super) async fn answer(&self, call: Call) -> Result<Response> {
        match call {
            Call::FleetPage => reply::page(200, pages::projects(&self.fleet()?, now())),
            Call::ProjectPage { host, project } => match self.project_page(&host, &project)? {
                Some(view) => reply::page(200, pages::project(&view, now())),
                None => missing_page("No host announced a project of this name."),
            },
            Call::RunPage { id, have } => match self.run_page(&id, |run, steps| pages::run_wants_log(run, steps, have.as_deref()))? {
                Some(view) => reply::page(200, pages::run(&view, have.as_deref(), now())),
                None => missing_page("No run of this number was reported here."),
            },
            Call::Usage => reply::json(200, &self.store()?.usage()),
            Call::DeliveriesPage(query) => reply::page(200, pages::deliveries(&self.deliveries_page(query)?, now())),
            Call::DeliveryPage { id } => match self.delivery_page(&id)? {
                Some(view) => reply::page(200, pages::delivery(&view, now())),
                None => missing_page("No delivery of this number is kept here."),
            },
            Call::ContainersPage => reply::page(200, pages::containers(&self.containers()?, now())),
            Call::Containers => reply::json(200, &self.containers()?),
            Call::Health => reply::json(200, &self.health()?),
            Call::Events(query) => {
                let (events, before) = self.events(&query)?;
                reply::json(200, &serde_json::json!({"events": events, "before": before}))
            }
            Call::BadQuery => reply::error(400, "bad_query", "a part of the query is not what it should be"),
            Call::Event { id } => self.one_event(&id),
            Call::Replay { id, client: Client::Page } => match self.replay(&id).await? {
                Some(jobs) => self.replayed(&jobs),
                None => missing_page("No delivery of this number is kept here."),
            },
            Call::Replay { id, client: Client::Api } => match self.replay(&id).await? {
                Some(jobs) => reply::json(202, &serde_json::json!({"status": if jobs.is_empty() { "ignored" } else { "queued" }, "delivery_id": id, "jobs": jobs})),
                None => missing("no delivery has this id"),
            },
            Call::Hosts => reply::json(200, &serde_json::json!({"hosts": self.hosts()?})),
            Call::Projects => reply::json(200, &serde_json::json!({"projects": self.project_rows(None)?, "missed_last_day": self.missed_last_day()?})),
            Call::Runs(query) => reply::json(200, &serde_json::json!({"runs": self.runs(&query)?})),
            Call::Jobs(query) => reply::json(200, &self.jobs(&query)?),
            Call::Cancel { job, client } => self.cancel(job, client).await,
            Call::Revive { job, client } => self.revive(job, client).await,
            Call::Run { id } => match self.run(&id)? {
                Some((run, steps)) => reply::json(200, &serde_json::json!({"run": run, "steps": steps})),
                None => missing("no run has this id"),
            },
            Call::RunLog { id, query } => self.run_log(&id, &query),
            Call::Act { host, project, action, service, client, back } => self.act(&(host, project), action, service, (client, back)).await,
            Call::ActAll { host, action, client } => self.act_all(&host, action, client).await,
            Call::Enroll { origin, client } => self.enroll(&origin, client).await,
            Call::Revoke { host } => self.revoke(host).await,
            Call::Login { client, right } => self.login(&client, right).await,
            Call::Refused { code } => self.note_refused(&code).await,
        }
    }

    fn run_log(&self, id: &str, query: &LogQuery) -> Result<Response> {
        let after = query.after.filter(|_| !query.is_text());
        let Some(part) = self.log_part(id, after.unwrap_or(u64::MAX))? else { return missing("no run has this id") };
        if after.is_some() {
            return reply::json(200, &part);
        }
        let lines = self.log(id)?;
        if query.is_text() {
            return reply::text(200, lines.join("\n"));
        }
        reply::json(200, &serde_json::json!({"lines": lines}))
    }

    fn one_event(&self, id: &str) -> Result<Response> {
        let Some((row, payload)) = self.event(id)? else { return missing("no delivery has this id") };
        // The payload is JSON that we verified; it goes out as it came in, since a
        // value of ours cannot hold all of JSON (depth, large numbers, half surrogates).
        let row = serde_json::to_string(&row)?;
        let row = row.strip_suffix('}').unwrap_or(&row);
        reply::json_text(200, format!(r#"{row},"payload":{payload}}}"#))
    }

    async fn enroll(&self, origin: &str, client: Client) -> Result<Response> {
        let open = self.store()?.rows("SELECT count(*) FROM enrollments WHERE ends > ?", [number(now().0)])?;
        if open.first().is_some_and(|row| row.number(0) >= enroll::OPEN_CODES_MAX as u64) {
            return reply::error(429, "too_many_codes", "20 codes are open; use one or wait 10 minutes");
        }
        let code = enroll::code(random::<16>()?);
        let Some((handle, whole)) = enroll::split(&code) else {
            return reply::error(500, "internal", "a code came out wrong");
        };
        let expires_at = self
            .turn(|_, turn| {
                let ends = turn.now.plus_ms(enroll::CODE_MS);
                turn.write(Statement::new(
                    "INSERT OR REPLACE INTO enrollments (handle, hash, ends, tries) VALUES (?, ?, ?, 0)",
                    [text(handle), text(enroll::hash(&whole)), number(ends.0)],
                ));
                Ok(ends)
            })
            .await?;
        let command = format!("doorstep join {origin} {code}");
        let view = EnrollmentView { code, expires_at, command };
        match client {
            Client::Api => reply::json(201, &view),
            Client::Page => reply::page(200, pages::enrollment(&view, now())),
        }
    }

    async fn revoke(&self, host: Name) -> Result<Response> {
        let known = self.store()?.rows("SELECT 1 FROM hosts WHERE name = ? AND revoked = 0", [text(host.as_str())])?;
        if known.is_empty() {
            return missing("no host of this name is enrolled");
        }
        self.turn(|memory, turn| {
            turn.write(Statement::new("UPDATE hosts SET revoked = 1 WHERE name = ?", [text(host.as_str())]));
            turn.write(Statement::new("DELETE FROM projects WHERE host = ?", [text(host.as_str())]));
            memory.projects.remove_host(&host);
            turn.changed();
            turn.queue(memory, Input::Revoke { host: host.clone() });
            Ok(())
        })
        .await?;
        self.cut_host(&host, Refusal::NotAuthorised, "this host was revoked");
        reply::json(200, &serde_json::json!({"revoked": host}))
    }

    async fn login(&self, client: &str, right: bool) -> Result<Response> {
        let client = doorstep_shared::text::cut(client, 64).to_owned();
        let rows = self.store()?.rows("SELECT count FROM tries WHERE who = ? AND ends > ?", [text(&client), number(now().0)])?;
        let wrong = rows.first().map_or(0, |row| row.number(0));
        if wrong >= WRONG_PASSWORDS_MAX {
            return Ok(Response::empty()?.with_status(429));
        }
        if right {
            return Ok(Response::empty()?.with_status(204));
        }
        self.turn(|_, turn| {
            let ends = turn.now.plus_ms(WRONG_PASSWORDS_MS);
            turn.write(Statement::new(
                "INSERT OR REPLACE INTO tries (who, count, ends) VALUES (?, ?, ?)",
                [text(client), number(wrong.saturating_add(1)), number(ends.0)],
            ));
            Ok(())
        })
        .await?;
        Ok(Response::empty()?.with_status(401))
    }

    async fn note_refused(&self, code: &str) -> Result<Response> {
        self.turn(|_, turn| {
            turn.write(count_refusal(turn.now, code));
            Ok(())
        })
        .await?;
        Response::empty()
    }
}

fn missing(message: &str) -> Result<Response> {
    reply::error(404, "not_found", message)
}

fn missing_page(sentence: &str) -> Result<Response> {
    reply::page(404, pages::problem(404, "Not here", sentence))
}
