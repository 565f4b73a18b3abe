//! How much is kept of what one host reports, whatever it reports.
//!
//! Pure. A run's id, and so its age, is its host's word: what is removed for its
//! age cannot bound what a host that lies leaves behind. So each host has room
//! for so many runs and so much log, and what is too much is taken from its own
//! oldest runs. No host's runs are removed because of another's.

use doorstep_shared::protocol::RUN_LOG_BYTES_MAX;
use doorstep_shared::run_log::{log_cost, shown_by};

/// Runs of one host that are kept: 22 a day for the 90 days of history.
pub const RUNS_MAX: u64 = 2_000;
/// Runs that are removed at once when there is no room, so that it is looked
/// for seldom.
pub const RUNS_REMOVED: u64 = 50;
/// Bytes of log of one host that are kept, in all its runs: 64 MiB, of the 10 GB
/// of an object. A report counts as 128 at least: 524,288 rows of a host, 8,192
/// of a run.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Room for logs that a new run finds: its own and that of seven others beside it.
const ROOM_BYTES: u64 = 8 * RUN_LOG_BYTES_MAX as u64;

/// The lines of a report that are kept, where a run's log has room for so many
/// bytes; where it is full then, the last one says where the rest is. A host of
/// today sends no more than fits.
#[must_use]
pub fn that_fit(mut lines: Vec<String>, room: u64, project: &str, run: &str) -> Vec<String> {
    let mut bytes: u64 = 0;
    let fit = lines.iter().take_while(|line| {
        let fits = bytes < room;
        bytes = bytes.saturating_add(line.len() as u64).saturating_add(1);
        fits
    });
    let fit = fit.count();
    lines.truncate(fit);
    if log_cost(&lines) >= room {
        lines.push(format!("… the edge keeps no more of this log; on the host `{}` shows the rest", shown_by(project, run)));
    }
    lines
}

/// What is kept of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Runs.
    pub runs: u64,
    /// Bytes of their logs, as they count.
    pub log_bytes: u64,
}

impl Kept {
    /// Must older runs go before one more begins?
    #[must_use]
    pub fn is_full(self) -> bool {
        self.runs >= RUNS_MAX || self.log_bytes > LOG_BYTES_MAX - ROOM_BYTES
    }

    /// Takes so many bytes of log in, if there is room.
    pub fn add_log(&mut self, bytes: u64) -> bool {
        let all = self.log_bytes.saturating_add(bytes);
        let fits = all <= LOG_BYTES_MAX;
        if fits {
            self.log_bytes = all;
        }
        fits
    }

    /// A run with so many bytes of log was removed.
    pub fn remove(&mut self, log_bytes: u64) {
        self.runs = self.runs.saturating_sub(1);
        self.log_bytes = self.log_bytes.saturating_sub(log_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorstep_shared::run_log::LOG_ROW_BYTES_MIN;

    /// Runs begin and log as much as they may, and the oldest give way.
    #[test]
    fn whatever_a_host_reports_its_rows_are_bounded() {
        for log_bytes in [0, LOG_ROW_BYTES_MIN, 30_000, RUN_LOG_BYTES_MAX as u64] {
            let (mut kept, mut runs) = (Kept::default(), std::collections::VecDeque::new());
            for _ in 0..3 * RUNS_MAX {
                while kept.is_full() {
                    kept.remove(runs.pop_front().unwrap_or_default());
                }
                kept.runs += 1;
                assert!(kept.add_log(log_bytes), "a new run finds room for its log");
                runs.push_back(log_bytes);
                assert_eq!((kept.runs, kept.log_bytes), (runs.len() as u64, runs.iter().sum()));
                assert!(kept.runs <= RUNS_MAX && kept.log_bytes <= LOG_BYTES_MAX);
            }
        }
    }

    /// A log that is told in reports of so many lines, as it is kept.
    fn kept_log(lines: &[String], of: usize) -> Vec<String> {
        let (mut log, mut bytes) = (Vec::new(), 0);
        for report in lines.chunks(of) {
            let room = (RUN_LOG_BYTES_MAX as u64).saturating_sub(bytes);
            if room > 0 {
                let fit = that_fit(report.to_vec(), room, "shop", "r1");
                bytes += log_cost(&fit);
                log.extend(fit);
            }
        }
        assert!(bytes < RUN_LOG_BYTES_MAX as u64 + 5_000, "{bytes}");
        log
    }

    #[test]
    fn a_log_that_is_too_long_ends_with_where_the_rest_is() {
        let lines: Vec<String> = (0..600).map(|number| format!("{number} {}", "x".repeat(4_000))).collect();
        for of in [1, 8, 600] {
            let log = kept_log(&lines, of);
            let (last, before) = log.split_last().unwrap();
            assert!(last.contains("`doorstep logs shop --run r1`"), "{last}");
            assert_eq!(before, &lines[..before.len()]);
            assert_eq!(log.iter().filter(|line| line.starts_with('…')).count(), 1);
        }
        assert_eq!(kept_log(&lines[..200], 8), lines[..200]);
        let short = vec![String::new(); 10_000];
        assert!(kept_log(&short, 1).last().unwrap().starts_with('…'), "rows are bounded too");
    }

    /// Runs that begin first and log later find no room made for them.
    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut kept = Kept { runs: RUNS_MAX, log_bytes: LOG_BYTES_MAX - 10 };
        assert!(!kept.add_log(11));
        assert!(kept.add_log(10));
        assert_eq!(kept.log_bytes, LOG_BYTES_MAX);
    }
}
