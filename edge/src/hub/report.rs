//! What executors report, stored once and in order.
//!
//! A report's number counts within its host's journal. One that was stored
//! before is acknowledged again and changes nothing; one that leaves a gap ends
//! its socket, so the executor sends what is missing. The first after a hello
//! may leave one: this edge was put back to an older state, and what is
//! between is lost with it.

use doorstep_shared::ids::{FailureKind, Name, RunState};
use doorstep_shared::protocol::{Failure, Holding, MESSAGE_BYTES_MAX, RUN_LOG_BYTES_MAX, Report, ToExecutor};
use doorstep_shared::queue::{Input, Verdict};
use doorstep_shared::text::{clean_line, cut};
use worker::{Result, WebSocket};

use super::sockets::{Attachment, attach, frame};
use super::{Hub, Memory, turn::Turn};
use crate::store::{Statement, json, number, text};
use crate::view::{RunRow, StepRow};

/// Steps of one run that are kept.
const STEPS_MAX: u16 = 100;
/// Longest id of a run, in bytes.
const RUN_ID_BYTES_MAX: usize = 64;

impl Hub {
    pub(super) async fn report(&self, ws: &WebSocket, mut attachment: Attachment, host: &Name, seq: u64, report: Report) -> Result<()> {
        let rows = self.store()?.rows("SELECT acknowledged FROM hosts WHERE name = ?", [text(host.as_str())])?;
        let acknowledged = rows.first().map_or(0, |row| row.number(0));
        if seq <= acknowledged {
            frame(ws, &ToExecutor::Acknowledge { seq: acknowledged });
            return Ok(());
        }
        if seq != acknowledged.saturating_add(1) && !attachment.is_fresh {
            // Sent again in order on the next connection.
            let _ = ws.close(Some(1011), Some("a report is missing"));
            return Ok(());
        }
        if attachment.is_fresh {
            attachment.is_fresh = false;
            attach(ws, &attachment)?;
        }
        self.turn(|memory, turn| {
            turn.write(Statement::new("UPDATE hosts SET acknowledged = ? WHERE name = ?", [number(seq), text(host.as_str())]));
            turn.changed();
            self.store_report(host, report, memory, turn)
        })
        .await?;
        frame(ws, &ToExecutor::Acknowledge { seq });
        Ok(())
    }

    fn store_report(&self, host: &Name, report: Report, memory: &mut Memory, turn: &mut Turn) -> Result<()> {
        if !is_run_id(report_run(&report)) {
            return Ok(());
        }
        match report {
            Report::Started { run, job, attempt, project, action, cause, at } => {
                let row = RunRow {
                    id: run,
                    host: host.clone(),
                    project,
                    job,
                    attempt,
                    action,
                    cause,
                    state: RunState::Running,
                    started: at,
                    ended: None,
                    commit: None,
                    failure: None,
                };
                turn.write(Statement::new(
                    "INSERT INTO runs (id, host, project, body) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body WHERE host = excluded.host",
                    [text(&row.id), text(host.as_str()), text(row.project.as_str()), json(&row)?],
                ));
                Ok(())
            }
            Report::Step { run, index, name, state, at, duration_ms, detail } => {
                let Some(_) = self.run_of(host, &run)? else { return Ok(()) };
                if index >= STEPS_MAX {
                    return Ok(());
                }
                let row = StepRow { name: line(&name, 64), state, at, duration_ms, detail: line(&detail, 1_024) };
                turn.write(Statement::new(
                    "INSERT OR REPLACE INTO steps (run, position, body) VALUES (?, ?, ?)",
                    [text(run), number(u64::from(index)), json(&row)?],
                ));
                Ok(())
            }
            Report::Log { run, lines } => self.store_log(host, &run, &lines, turn),
            Report::Outcome { run, job, attempt, state, failure, commit, at } => {
                let failure = failure.map(|failure| Failure {
                    kind: failure.kind,
                    step: line(&failure.step, 64),
                    message: line(&failure.message, MESSAGE_BYTES_MAX),
                });
                if let Some(mut row) = self.run_of(host, &run)? {
                    row.state = state;
                    row.ended = Some(at);
                    row.commit = commit.map(|commit| line(&commit, 64));
                    row.failure.clone_from(&failure);
                    turn.write(Statement::new("UPDATE runs SET body = ? WHERE id = ?", [json(&row)?, text(&run)]));
                }
                let Some(job) = job else { return Ok(()) };
                let verdict = match (state, failure) {
                    (RunState::Succeeded, _) => Verdict::Done,
                    (_, Some(failure)) => {
                        Verdict::Failed { kind: failure.kind, reason: line(&format!("{}: {}", failure.step, failure.message), 2_048) }
                    }
                    (other, None) => Verdict::Failed { kind: FailureKind::Host, reason: format!("the run ended as {other}") },
                };
                let settle = Input::Settle { host: host.clone(), holding: Holding { job, attempt }, verdict };
                turn.queue(memory, settle)
            }
        }
    }

    fn run_of(&self, host: &Name, run: &str) -> Result<Option<RunRow>> {
        let rows = self.store()?.rows("SELECT body FROM runs WHERE id = ? AND host = ?", [text(run), text(host.as_str())])?;
        Ok(rows.first().and_then(|row| row.json(0)))
    }

    fn store_log(&self, host: &Name, run: &str, lines: &[String], turn: &mut Turn) -> Result<()> {
        let rows = self.store()?.rows("SELECT log_bytes FROM runs WHERE id = ? AND host = ?", [text(run), text(host.as_str())])?;
        let Some(stored) = rows.first().map(|row| row.number(0)) else { return Ok(()) };
        if stored >= RUN_LOG_BYTES_MAX as u64 {
            return Ok(());
        }
        let lines: Vec<String> = lines.iter().map(|text| clean_line(text)).collect();
        let bytes: usize = lines.iter().map(|text| text.len().saturating_add(1)).sum();
        // `log_bytes` rises with each report, so it orders them too.
        turn.write(Statement::new("INSERT OR REPLACE INTO logs (run, seq, body) VALUES (?, ?, ?)", [text(run), number(stored), json(&lines)?]));
        turn.write(Statement::new(
            "UPDATE runs SET log_bytes = ? WHERE id = ?",
            [number(stored.saturating_add(bytes.max(1) as u64)), text(run)],
        ));
        Ok(())
    }
}

fn report_run(report: &Report) -> &str {
    match report {
        Report::Started { run, .. } | Report::Step { run, .. } | Report::Log { run, .. } | Report::Outcome { run, .. } => run,
    }
}

fn is_run_id(run: &str) -> bool {
    !run.is_empty() && run.len() <= RUN_ID_BYTES_MAX && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Lines from a host, cleaned again: a page must not trust its host.
fn line(value: &str, bytes_max: usize) -> String {
    let lines: Vec<String> = value.lines().map(clean_line).collect();
    cut(&lines.join("\n"), bytes_max).to_owned()
}
