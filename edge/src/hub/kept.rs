//! Room for a host's runs: what is kept of it, and its oldest runs that go.

use doorstep_shared::ids::Name;
use worker::Result;

use super::report::Told;
use super::{Hub, Memory, turn::Turn};
use crate::kept::{Kept, RUNS_REMOVED};
use crate::store::{Statement, number, text};

impl Hub {
    /// What is kept of this host; counted once while the hub is awake.
    pub(super) fn kept<'m>(&self, host: &Name, memory: &'m mut Memory) -> Result<&'m mut Kept> {
        if !memory.kept.contains_key(host) {
            let rows = self.store()?.rows("SELECT count(*), sum(log_bytes) FROM runs WHERE host = ?", [text(host.as_str())])?;
            let kept = rows.first().map_or_else(Kept::default, |row| Kept { runs: row.number(0), log_bytes: row.number(1) });
            memory.kept.insert(host.clone(), kept);
        }
        Ok(memory.kept.entry(host.clone()).or_default())
    }

    /// One more run of this host begins: if there is no room, its oldest ones go.
    pub(super) fn make_room(&self, host: &Name, told: &mut Told, memory: &mut Memory, turn: &mut Turn) -> Result<()> {
        let kept = self.kept(host, memory)?;
        if kept.is_full() {
            // Those that this turn knows are under way, or went a moment ago.
            let looked_at = RUNS_REMOVED.saturating_add(told.runs_known());
            let oldest = self.store()?.rows("SELECT id, log_bytes FROM runs WHERE host = ? ORDER BY id LIMIT ?", [text(host.as_str()), number(looked_at)])?;
            for run in oldest.iter().filter(|run| !told.knows_run(run.text(0))).take(RUNS_REMOVED as usize).collect::<Vec<_>>() {
                kept.remove(run.number(1));
                remove_run(run.text(0)).into_iter().for_each(|statement| turn.write(statement));
                told.run_is_gone(run.text(0));
            }
        }
        kept.runs = kept.runs.saturating_add(1);
        Ok(())
    }
}

/// The statements that remove a run with its steps and its log.
pub(super) fn remove_run(id: &str) -> [Statement; 3] {
    let of = |sql| Statement::new(sql, [text(id)]);
    [of("DELETE FROM logs WHERE run = ?"), of("DELETE FROM steps WHERE run = ?"), of("DELETE FROM runs WHERE id = ?")]
}
