//! How much is kept of what one host reports, whatever it reports.
//!
//! Pure. A run's id, and so its age, is its host's word: what is removed for its
//! age cannot bound what a host that lies leaves behind. So each host has room
//! for so many runs and so much log, and what is too much is taken from its own
//! oldest runs. No host's runs are removed because of another's.

use doorstep_shared::protocol::RUN_LOG_BYTES_MAX;

/// Runs of one host that are kept: 22 a day for the 90 days of history.
pub const RUNS_MAX: u64 = 2_000;
/// Runs that are removed at once when there is no room, so that it is looked
/// for seldom.
pub const RUNS_REMOVED: u64 = 50;
/// Bytes of log of one host that are kept, in all its runs: 64 MiB, of the 10 GB
/// of an object.
pub const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a report of a log counts as at least, so that rows are bounded with
/// their bytes: 64 MiB / 128 = 524,288 rows of a host, 8,192 of a run.
pub const LOG_ROW_BYTES_MIN: u64 = 128;
/// Room for logs that a new run finds: its own and that of seven others beside it.
const ROOM_BYTES: u64 = 8 * RUN_LOG_BYTES_MAX as u64;

/// What a report of these lines counts as.
#[must_use]
pub fn log_cost(lines: &[String]) -> u64 {
    let bytes = lines.iter().fold(0, |sum: u64, line| sum.saturating_add(line.len() as u64).saturating_add(1));
    bytes.max(LOG_ROW_BYTES_MIN)
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

    /// Runs that begin first and log later find no room made for them.
    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut kept = Kept { runs: RUNS_MAX, log_bytes: LOG_BYTES_MAX - 10 };
        assert!(!kept.add_log(11));
        assert!(kept.add_log(10));
        assert_eq!(kept.log_bytes, LOG_BYTES_MAX);
    }
}
