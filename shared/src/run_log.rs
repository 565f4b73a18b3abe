//! How much of a run's log an edge keeps, as both ends count it.
//!
//! Pure. A host sends the beginning of a long log and its end, so that all of
//! both fits; an edge counts the same, since a host may be older, or lie.

/// What a report of a log counts as at least, so that rows are bounded with
/// their bytes.
pub const LOG_ROW_BYTES_MIN: u64 = 128;

/// What a report of these lines counts as.
#[must_use]
pub fn log_cost(lines: &[String]) -> u64 {
    let bytes = lines.iter().fold(0, |sum: u64, line| sum.saturating_add(line.len() as u64).saturating_add(1));
    bytes.max(LOG_ROW_BYTES_MIN)
}

/// What shows a whole log on the host of the run.
#[must_use]
pub fn shown_by(project: &str, run: &str) -> String {
    format!("doorstep logs {project} --run {run}")
}
