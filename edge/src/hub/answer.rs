//! The Worker's calls, answered.

use doorstep_shared::text::clean_line;
use worker::{Response, Result};

use super::Hub;
use crate::call::{Call, Client, Envelope, LogQuery};
use crate::pages::{self, Viewer};
use crate::platform::now;
use crate::reply;
use crate::store::count_refusal;

impl Hub {
    /// Answers a call, unless it is for people and its session has ended.
    pub(super) async fn answer(&self, Envelope { by, call }: Envelope) -> Result<Response> {
        if !call.is_open() && !self.admits(&by)? {
            return reply::ended();
        }
        let (by, viewer) = (&by, Viewer { now: now(), form_token: &by.form_token });
        match call {
            Call::FleetPage { have } => reply::page(200, pages::home(&self.fleet()?, have.as_deref(), viewer)),
            Call::ProjectPage { host, project, before } => match self.project_page(&host, &project, before)? {
                Some(view) => reply::page(200, pages::project(&view, viewer)),
                None => missing_page("No host announced a project of this name."),
            },
            Call::RunPage { id, have } => match self.run_page(&id, |run, steps| pages::run_wants_log(run, steps, have.as_deref()))? {
                Some(view) => reply::page(200, pages::run(&view, have.as_deref(), viewer)),
                None => missing_page("No run of this number was reported here."),
            },
            Call::Usage => reply::json(200, &self.store()?.usage()),
            Call::DeliveriesPage(query) => reply::page(200, pages::deliveries(&self.deliveries_page(query)?, viewer)),
            Call::DeliveryPage { id } => match self.delivery_page(&id)? {
                Some(view) => reply::page(200, pages::delivery(&view, viewer)),
                None => missing_page("No delivery of this number is kept here."),
            },
            Call::ContainersPage => reply::page(200, pages::containers(&self.containers()?, viewer)),
            Call::Containers => reply::json(200, &self.containers()?),
            Call::Health => reply::json(200, &self.health()?),
            Call::Events(query) => {
                let (events, before) = self.events(&query)?;
                reply::json(200, &serde_json::json!({"events": events, "before": before}))
            }
            Call::BadQuery(client) => reply::refused(client, 400, "bad_query", "A part of the query is not what it should be."),
            Call::Event { id } => self.one_event(&id),
            Call::Replay { id, client: Client::Page } => match self.replay(&id, by).await? {
                Some(jobs) => self.replayed(&jobs, viewer),
                None => missing_page("No delivery of this number is kept here."),
            },
            Call::Replay { id, client: Client::Api } => match self.replay(&id, by).await? {
                Some(jobs) => reply::json(202, &serde_json::json!({"status": if jobs.is_empty() { "ignored" } else { "queued" }, "delivery_id": id, "jobs": jobs})),
                None => missing("no delivery has this id"),
            },
            Call::Hosts => reply::json(200, &serde_json::json!({"hosts": self.hosts()?})),
            Call::Projects => reply::json(200, &serde_json::json!({"projects": self.project_rows(None)?, "missed_last_day": self.missed_last_day()?})),
            Call::Runs(query) => reply::json(200, &serde_json::json!({"runs": self.runs(&query)?})),
            Call::Jobs(query) => reply::json(200, &self.jobs(&query)?),
            Call::Cancel { job, client } => self.cancel(job, by, client).await,
            Call::Revive { job, client } => self.revive(job, by, client).await,
            Call::Run { id } => match self.run(&id)? {
                Some((run, steps)) => reply::json(200, &serde_json::json!({"run": run, "steps": steps})),
                None => missing("no run has this id"),
            },
            Call::RunLog { id, query } => self.run_log(&id, &query),
            Call::Act { host, project, wanted, client, back } => self.act(by, &(host, project), wanted, (client, back)).await,
            Call::ActAll { host, action, client } => self.act_all(by, &host, action, client).await,
            Call::Enroll { origin, client } => self.enroll(by, &origin, client).await,
            Call::Revoke { host, client } => self.revoke(by, host, client).await,
            Call::AuditPage(query) => reply::page(200, pages::audit(&self.audit(&query)?, viewer)),
            Call::Audit(query) => reply::json(200, &self.audit(&query)?),
            Call::HostsPage => reply::page(200, pages::hosts(&self.hosts()?, viewer)),
            Call::SettingsPage => reply::page(200, pages::settings(&self.settings(by)?, viewer)),
            Call::Sessions => reply::json(200, &serde_json::json!({"sessions": self.sessions(by)?})),
            Call::SignIn(attempt) => self.sign_in(by, attempt).await,
            Call::SignOut => self.sign_out(by).await,
            Call::EndSession { handle, client } => self.end_session(by, &handle, client).await,
            Call::EndAllSessions => self.end_all_sessions(by).await,
            Call::Refused { code } => self.note_refused(&code).await,
        }
    }

    /// A run's log: in its colours for a page, else in words alone.
    fn run_log(&self, id: &str, query: &LogQuery) -> Result<Response> {
        let after = query.after.filter(|_| !query.is_text());
        let Some(mut part) = self.log_part(id, after.unwrap_or(u64::MAX))? else { return missing("no run has this id") };
        if query.is_html() {
            return reply::page(200, pages::log_part(&part));
        }
        if after.is_some() {
            part.lines = words(&part.lines);
            return reply::json(200, &part);
        }
        let lines = words(&self.log(id)?);
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

    async fn note_refused(&self, code: &str) -> Result<Response> {
        self.turn(|_, turn| {
            turn.write(count_refusal(turn.now, code));
            Ok(())
        })
        .await?;
        self.outdate_fares();
        Response::empty()
    }
}

fn words(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| clean_line(line)).collect()
}

fn missing(message: &str) -> Result<Response> {
    reply::error(404, "not_found", message)
}

fn missing_page(sentence: &str) -> Result<Response> {
    reply::page(404, pages::problem(404, "Not here", sentence))
}
