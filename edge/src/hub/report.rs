//! What executors report, stored once and in order.
//!
//! A report's number counts within its host's journal. One that was stored
//! before is acknowledged again and changes nothing; one that leaves a gap ends
//! its socket, so the executor sends what is missing. The first after a hello
//! may leave one: this edge was put back to an older state, and what is
//! between is lost with it.

use std::collections::BTreeMap;

use doorstep_shared::colour::coloured_line;
use doorstep_shared::ids::{FailureKind, JobId, Name, RunState, ServiceName};
use doorstep_shared::protocol::{Failure, Holding, MESSAGE_BYTES_MAX, RUN_LOG_BYTES_MAX, Report, ToExecutor};
use doorstep_shared::queue::{Input, Verdict};
use doorstep_shared::run_log::log_cost;
use doorstep_shared::text::{clean_line, cut};
use worker::{Result, WebSocket};

use super::sockets::{attachment, is_open};
use super::{Hub, Memory, turn::Turn};
use crate::followed::Key;
use crate::kept::{Kept, that_fit};
use crate::store::{Statement, json, number, text};
use crate::view::{RunRow, StepRow};

/// Steps of one run that are kept.
const STEPS_MAX: u16 = 100;
/// Longest name of a commit, in bytes.
const COMMIT_BYTES_MAX: usize = 64;
/// Longest id of a run, in bytes.
const RUN_ID_BYTES_MAX: usize = 64;

/// What the reports of one turn change: each row is read once and written once.
#[derive(Default)]
pub(super) struct Told {
    /// The highest number stored of each host, and whether this turn raised it.
    hosts: BTreeMap<Name, (u64, bool)>,
    /// Runs by their number; none where there is no such run.
    runs: BTreeMap<String, Option<Run>>,
    /// Something came besides lines of a log.
    is_more_than_log: bool,
}

/// A run's row.
struct Run {
    row: RunRow,
    log_bytes: u64,
    is_changed: bool,
    has_more_log: bool,
}

impl Run {
    /// A step names its commit: nearly always the one that is known already, and
    /// then the row is not written for it.
    fn is_about(&mut self, commit: Option<String>) {
        let commit = commit.map(|commit| line(&commit, COMMIT_BYTES_MAX));
        if commit.is_some() && commit != self.row.commit {
            (self.row.commit, self.is_changed) = (commit, true);
        }
    }
}

impl Told {
    /// How many runs this turn looked at.
    pub(super) fn runs_known(&self) -> u64 {
        self.runs.len() as u64
    }

    /// Did this turn look at this run?
    pub(super) fn knows_run(&self, id: &str) -> bool {
        self.runs.contains_key(id)
    }

    /// This turn removes this run.
    pub(super) fn run_is_gone(&mut self, id: &str) {
        self.runs.insert(id.to_owned(), None);
    }

    /// The projects whose runs this turn changes; `None` when it removes some.
    pub(super) fn projects(&self) -> Option<Vec<Key>> {
        let runs: Option<Vec<&Run>> = self.runs.values().map(Option::as_ref).collect();
        let changed = runs?.into_iter().filter(|run| run.is_changed);
        Some(changed.map(|run| (run.row.host.clone(), run.row.project.clone())).collect())
    }

    /// Writes the rows and acknowledges, once for each host.
    ///
    /// # Errors
    ///
    /// When a row cannot be written as JSON.
    pub(super) fn finish(self, turn: &mut Turn) -> Result<()> {
        for (id, run) in &self.runs {
            let Some(run) = run.as_ref().filter(|run| run.is_changed) else { continue };
            turn.write(Statement::new(
                "INSERT INTO runs (id, host, project, body, log_bytes) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body, log_bytes = excluded.log_bytes",
                [text(id), text(run.row.host.as_str()), text(run.row.project.as_str()), json(&run.row)?, number(run.log_bytes)],
            ));
            if run.has_more_log {
                turn.log_grew(id, run.log_bytes);
            }
        }
        if self.is_more_than_log {
            turn.changed();
        }
        for (host, (seq, is_raised)) in self.hosts {
            if is_raised {
                turn.write(Statement::new("UPDATE hosts SET acknowledged = ? WHERE name = ?", [number(seq), text(host.as_str())]));
            }
            turn.send(&host, ToExecutor::Acknowledge { seq });
        }
        Ok(())
    }
}

impl Hub {
    /// Decides one report; what is known of the turn's earlier ones is in `told`.
    pub(super) fn report(
        &self,
        ws: &WebSocket,
        host: &Name,
        (seq, report): (u64, Report),
        told: &mut Told,
        memory: &mut Memory,
        turn: &mut Turn,
    ) -> Result<()> {
        // Cut while it waited: the host sends it again on its next connection.
        let Some(attachment) = attachment(ws).filter(|_| is_open(ws)) else { return Ok(()) };
        let (acknowledged, is_raised) = self.acknowledged(host, told)?;
        let is_fresh = attachment.is_fresh && !is_raised;
        if seq <= acknowledged {
            return Ok(());
        }
        if seq != acknowledged.saturating_add(1) && !is_fresh {
            // Sent again in order on the next connection.
            let _ = ws.close(Some(1011), Some("a report is missing"));
            return Ok(());
        }
        if is_fresh {
            turn.begin(ws.clone());
        }
        told.hosts.insert(host.clone(), (seq, true));
        told.is_more_than_log |= !matches!(report, Report::Log { .. });
        if is_run_id(report_run(&report)) { self.store_report(host, report, told, memory, turn) } else { Ok(()) }
    }

    /// The highest number stored of a host, and whether this turn raised it.
    fn acknowledged(&self, host: &Name, told: &mut Told) -> Result<(u64, bool)> {
        if let Some(known) = told.hosts.get(host) {
            return Ok(*known);
        }
        let rows = self.store()?.rows("SELECT acknowledged FROM hosts WHERE name = ?", [text(host.as_str())])?;
        let seq = rows.first().map_or(0, |row| row.number(0));
        told.hosts.insert(host.clone(), (seq, false));
        Ok((seq, false))
    }

    fn store_report(&self, host: &Name, report: Report, told: &mut Told, memory: &mut Memory, turn: &mut Turn) -> Result<()> {
        match report {
            Report::Started { run, job, attempt, project, action, cause, service, at } => {
                let (state, ended, commit, failure) = (RunState::Running, None, None, None);
                let service = service.or_else(|| service_of(job, host, memory));
                let row = RunRow { id: run, host: host.clone(), project, job, attempt, action, service, cause, state, started: at, ended, commit, failure };
                self.begin_run(row, told, memory, turn)
            }
            Report::Step { run, index, name, state, at, duration_ms, detail, commit } => {
                let Some(of) = self.run_of(host, &run, told)? else { return Ok(()) };
                of.is_about(commit);
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
            Report::Log { run, lines } => match self.run_of(host, &run, told)? {
                Some(of) => store_log(of, &lines, self.kept(host, memory)?, turn),
                None => Ok(()),
            },
            Report::Outcome { run, job, attempt, state, failure, commit, at } => {
                let failure = failure.map(|failure| Failure {
                    kind: failure.kind,
                    step: line(&failure.step, 64),
                    message: line(&failure.message, MESSAGE_BYTES_MAX),
                });
                if let Some(run) = self.run_of(host, &run, told)? {
                    run.row.state = state;
                    run.row.ended = Some(at);
                    run.row.commit = commit.map(|commit| line(&commit, COMMIT_BYTES_MAX));
                    run.row.failure.clone_from(&failure);
                    run.is_changed = true;
                }
                let Some(job) = job else { return Ok(()) };
                let settle = Input::Settle { host: host.clone(), holding: Holding { job, attempt }, verdict: verdict(state, failure) };
                turn.queue(memory, settle);
                Ok(())
            }
        }
    }

    /// The run of this number, if it is this host's.
    fn run_of<'t>(&self, host: &Name, run: &str, told: &'t mut Told) -> Result<Option<&'t mut Run>> {
        self.load_run(run, told)?;
        Ok(told.runs.get_mut(run).and_then(Option::as_mut).filter(|run| run.row.host == *host))
    }

    fn load_run(&self, run: &str, told: &mut Told) -> Result<()> {
        if told.runs.contains_key(run) {
            return Ok(());
        }
        let rows = self.store()?.rows("SELECT body, log_bytes FROM runs WHERE id = ?", [text(run)])?;
        let read = rows.first().and_then(|row| Some(Run { row: row.json(0)?, log_bytes: row.number(1), is_changed: false, has_more_log: false }));
        told.runs.insert(run.to_owned(), read);
        Ok(())
    }

    /// A run begins, or is told of again; another host's run of that number stays.
    fn begin_run(&self, row: RunRow, told: &mut Told, memory: &mut Memory, turn: &mut Turn) -> Result<()> {
        self.load_run(&row.id, told)?;
        match told.runs.get_mut(&row.id).and_then(Option::as_mut) {
            Some(run) if run.row.host != row.host => {}
            // Its job may have ended since it was told first.
            Some(run) => {
                let service = row.service.clone().or_else(|| run.row.service.take());
                (run.row, run.is_changed) = (RunRow { service, ..row }, true);
            }
            None => {
                self.make_room(&row.host, told, memory, turn)?;
                told.runs.insert(row.id.clone(), Some(Run { row, log_bytes: 0, is_changed: true, has_more_log: false }));
            }
        }
        Ok(())
    }
}

fn store_log(run: &mut Run, lines: &[String], kept: &mut Kept, turn: &mut Turn) -> Result<()> {
    let room = (RUN_LOG_BYTES_MAX as u64).saturating_sub(run.log_bytes);
    if room == 0 {
        return Ok(());
    }
    // In the form that pages read, whatever the host calls clean.
    let lines: Vec<String> = lines.iter().map(|text| coloured_line(text)).collect();
    let lines = that_fit(lines, room, run.row.project.as_str(), &run.row.id);
    let bytes = log_cost(&lines);
    if !kept.add_log(bytes) {
        return Ok(());
    }
    // `log_bytes` rises with each report, so it orders them too.
    turn.write(Statement::new(
        "INSERT OR REPLACE INTO logs (run, seq, body) VALUES (?, ?, ?)",
        [text(&run.row.id), number(run.log_bytes), json(&lines)?],
    ));
    run.log_bytes = run.log_bytes.saturating_add(bytes);
    (run.is_changed, run.has_more_log) = (true, true);
    Ok(())
}

/// The service that a job of this host means, while the job lives.
fn service_of(job: Option<JobId>, host: &Name, memory: &Memory) -> Option<ServiceName> {
    let job = job?;
    memory.queue.jobs().find(|known| known.id == job && &known.host == host)?.service.clone()
}

fn verdict(state: RunState, failure: Option<Failure>) -> Verdict {
    match (state, failure) {
        (RunState::Succeeded, _) => Verdict::Done,
        (_, Some(failure)) => {
            Verdict::Failed { kind: failure.kind, reason: line(&format!("{}: {}", failure.step, failure.message), 2_048) }
        }
        (other, None) => Verdict::Failed { kind: FailureKind::Host, reason: format!("the run ended as {other}") },
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
