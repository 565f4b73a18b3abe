//! What people did: written in the turn that does it, read by pages and `/api`.
//!
//! Invariant: what was done and its entry are in one transaction. Refusals have
//! a turn of their own, at most [`REFUSED_MAX`] in a minute and one for the same
//! thing, since who is refused may ask again and again. What is absent: taking
//! an entry away before its time.

use doorstep_shared::ids::JobId;
use doorstep_shared::time::Timestamp;
use worker::{Response, Result};

use super::{Hub, Memory, jobs::No, turn::Turn};
use crate::asker::Asker;
use crate::audit::{Deed, ENTRIES_MAX, KEPT_MS, REFUSED_AGAIN_MS, REFUSED_MAX, REFUSED_SIGN_INS_MAX, job_of, queued, refused, search_word};
use crate::call::{AuditQuery, Client};
use crate::platform::now;
use crate::reply;
use crate::store::{Row, Statement, first_number, number, text};
use crate::view::{AuditRow, AuditView};

/// Rows of one page.
const PAGE_ROWS: u64 = 100;

impl Turn {
    /// Writes what somebody does in this turn.
    pub fn audit(&mut self, memory: &mut Memory, by: &Asker, deed: &Deed, result: &str) {
        let (host, project) = deed.project.as_ref().map_or(("", ""), |(host, name)| (host.as_str(), name.as_str()));
        self.write(Statement::new(
            "INSERT INTO audit (id, who, address, action, target, host, project, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                number(memory.number(self.now)),
                text(by.name()),
                text(&by.address),
                text(&deed.action),
                text(&deed.target),
                text(host),
                text(project),
                text(result),
            ],
        ));
    }

    /// The same for one job, that the queue may have turned away.
    pub fn audit_job(&mut self, memory: &mut Memory, by: &Asker, deed: &Deed, job: JobId) {
        let result = if self.was_turned_away(job) { refused("busy") } else { queued(&[job]) };
        self.audit(memory, by, deed, &result);
    }
}

impl Hub {
    /// Refuses what somebody asked for, and writes that.
    pub(super) async fn refuse(&self, by: &Asker, deed: &Deed, client: Client, (status, code, message): No) -> Result<Response> {
        self.note_refusal(by, deed, code).await?;
        reply::refused(client, status, code, &message)
    }

    /// Writes that something was refused, unless it was a moment ago.
    pub(super) async fn note_refusal(&self, by: &Asker, deed: &Deed, code: &str) -> Result<()> {
        if self.was_refused_lately(by, deed)? {
            return Ok(());
        }
        self.turn(|memory, turn| {
            turn.audit(memory, by, deed, &refused(code));
            Ok(())
        })
        .await
    }

    /// Was the same refused to this address a moment ago, or too much to all?
    pub(super) fn was_refused_lately(&self, by: &Asker, deed: &Deed) -> Result<bool> {
        let since = first_number(now().0.saturating_sub(REFUSED_AGAIN_MS));
        let rows = self.store()?.rows(
            "SELECT count(*), coalesce(sum(address = ?2 AND action = ?3 AND target = ?4), 0) FROM audit WHERE id >= ?1 AND result LIKE 'refused: %'",
            [number(since), text(&by.address), text(&deed.action), text(&deed.target)],
        )?;
        Ok(rows.first().is_some_and(|row| row.number(0) >= REFUSED_MAX || row.number(1) > 0))
    }

    /// What people did, newest first.
    pub(super) fn audit(&self, query: &AuditQuery) -> Result<AuditView> {
        let search = search_word(query.search.as_deref().unwrap_or_default());
        let rows = self.store()?.rows(
            "SELECT id, who, address, action, target, result, host, project FROM audit
             WHERE id < ?1 AND (?2 = '' OR instr(lower(who || ' ' || address || ' ' || action || ' ' || replace(action, '_', ' ') || ' ' || target || ' ' || result), ?2) > 0)
             ORDER BY id DESC LIMIT ?3",
            [number(query.before.unwrap_or(u64::MAX)), text(&search), number(PAGE_ROWS)],
        )?;
        let is_full = rows.len() as u64 == PAGE_ROWS;
        let before = rows.last().filter(|_| is_full).map(|row| row.number(0));
        let rows: Vec<AuditRow> = rows.iter().map(shown).collect();
        let jobs: Vec<JobId> = rows.iter().filter_map(|row| job_of(&row.result)).collect();
        Ok(AuditView { jobs: self.followed_jobs(&jobs)?, rows, search, before })
    }

    /// Removes what is too old or too much. Reading the whole table for that, once
    /// an hour, is 240,000 rows a day at most.
    pub(super) fn clean_audit(&self) -> Result<()> {
        let oldest = first_number(now().0.saturating_sub(KEPT_MS));
        self.store()?.commit(vec![
            Statement::new("DELETE FROM audit WHERE id < ?", [number(oldest)]),
            Statement::new(
                "DELETE FROM audit WHERE action = 'sign_in' AND result LIKE 'refused: %' AND id <= (SELECT id FROM audit WHERE action = 'sign_in' AND result LIKE 'refused: %' ORDER BY id DESC LIMIT 1 OFFSET ?)",
                [number(REFUSED_SIGN_INS_MAX)],
            ),
            Statement::new("DELETE FROM audit WHERE id <= (SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?)", [number(ENTRIES_MAX)]),
        ])
    }
}

fn shown(row: &Row) -> AuditRow {
    AuditRow {
        id: row.number(0),
        at: Timestamp(row.number(0) / 1024),
        who: row.text(1).to_owned(),
        address: row.text(2).to_owned(),
        action: row.text(3).to_owned(),
        target: row.text(4).to_owned(),
        result: row.text(5).to_owned(),
        host: row.text(6).parse().ok(),
        project: row.text(7).parse().ok(),
    }
}
