//! A run's log: to a file here, and in batches to the edge.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use doorstep_shared::protocol::{LOG_BYTES_MAX, RUN_LOG_BYTES_MAX, Report};

use crate::redact::Redactor;

/// Lines that wait for the next report.
pub struct RunLog {
    file: File,
    redactor: Redactor,
    lines: Vec<String>,
    bytes: usize,
    total: usize,
}

impl RunLog {
    /// Opens a run's log; what an earlier daemon wrote stays.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn open(state: &Path, project: &str, run: &str, redactor: Redactor) -> Result<Self> {
        let path = crate::logs::run_log(state, project, run);
        std::fs::create_dir_all(path.parent().unwrap_or(state))?;
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(Self { file, redactor, lines: Vec::new(), bytes: 0, total: 0 })
    }

    /// A text without the secrets of this project.
    pub fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }

    /// Adds a line.
    pub fn line(&mut self, line: &str) {
        let line = self.redactor.line(line);
        // The file is for people on the host; a full disk shows elsewhere.
        let _ = writeln!(self.file, "{line}");
        if self.total >= RUN_LOG_BYTES_MAX {
            return;
        }
        self.total += line.len() + 1;
        self.bytes += line.len() + 1;
        self.lines.push(line);
        if self.total >= RUN_LOG_BYTES_MAX {
            self.lines.push("… the log is longer than 1 MiB; the rest is on the host only".to_owned());
        }
    }

    /// Is there enough for a report of its own?
    pub fn is_full(&self) -> bool {
        self.bytes >= LOG_BYTES_MAX / 2
    }

    /// What waits, as reports.
    pub fn flush(&mut self, run: &str) -> Vec<Report> {
        self.bytes = 0;
        let mut reports: Vec<(usize, Vec<String>)> = Vec::new();
        for line in std::mem::take(&mut self.lines) {
            match reports.last_mut() {
                Some((bytes, lines)) if *bytes + line.len() < LOG_BYTES_MAX => {
                    *bytes += line.len() + 1;
                    lines.push(line);
                }
                _ => reports.push((line.len() + 1, vec![line])),
            }
        }
        reports.into_iter().map(|(_, lines)| Report::Log { run: run.to_owned(), lines }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_bounded_and_nothing_secret_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let mut log = RunLog::open(dir.path(), "shop", "r", redactor).unwrap();
        for _ in 0..3_000 {
            log.line(&format!("hunter22 {}", "x".repeat(600)));
        }
        let reports = log.flush("r");
        let mut all = 0;
        for report in &reports {
            let Report::Log { lines, .. } = report else { panic!() };
            let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
            assert!(bytes <= LOG_BYTES_MAX + 1, "{bytes}");
            assert!(lines.iter().all(|line| !line.contains("hunter22")));
            all += bytes;
        }
        assert!(all <= RUN_LOG_BYTES_MAX + 1_000);
        assert!(log.flush("r").is_empty());
    }
}
