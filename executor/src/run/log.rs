//! A run's log: to a file here, in words alone, and in batches to the edge.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use doorstep_shared::protocol::{LOG_BYTES_MAX, RUN_LOG_BYTES_MAX, Report};

use doorstep_shared::text::{clean_line, plain};

use crate::redact::Redactor;

/// Lines that wait for the next report.
pub struct RunLog {
    run: String,
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
        Ok(Self { run: run.to_owned(), file, redactor, lines: Vec::new(), bytes: 0, total: 0 })
    }

    /// A text without the secrets of this project. What steers a terminal goes
    /// first, line by line: it could cut a secret in two.
    pub fn clean(&self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| self.redactor.clean(&plain(line))).collect();
        lines.join("\n")
    }

    /// Adds a line, without colours.
    pub fn line(&mut self, line: &str) {
        self.add(self.redactor.line(line));
    }

    /// Adds a line in its colours.
    pub fn coloured_line(&mut self, line: &str) {
        self.add(self.redactor.coloured_line(line));
    }

    fn add(&mut self, line: String) {
        // The file is for people on the host; a full disk shows elsewhere.
        let _ = writeln!(self.file, "{}", clean_line(&line));
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
    pub fn flush(&mut self) -> Vec<Report> {
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
        reports.into_iter().map(|(_, lines)| Report::Log { run: self.run.clone(), lines }).collect()
    }
}

/// The same report with no colours in its lines.
pub(super) fn without_colours(report: Report) -> Report {
    match report {
        Report::Log { run, lines } => Report::Log { run, lines: lines.iter().map(|line| clean_line(line)).collect() },
        other @ (Report::Started { .. } | Report::Step { .. } | Report::Outcome { .. }) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_told_and_words_are_kept_here() {
        let dir = tempfile::tempdir().unwrap();
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let mut log = RunLog::open(dir.path(), "shop", "r", redactor).unwrap();
        log.coloured_line("\u{1b}[31mred\u{1b}[K");
        log.coloured_line("\u{1b}[31mhun\u{1b}[1mter22");
        log.line("\u{1b}[31mours");
        assert_eq!(log.clean("a\nhun\u{1b}[1mter22 \u{7}b"), "a\n[secret] b");
        let told = Report::Log { run: "r".into(), lines: vec!["\u{1b}[31mred\u{1b}[0m".into(), "[secret]".into(), "ours".into()] };
        assert_eq!(log.flush(), std::slice::from_ref(&told));
        let words = "red\n[secret]\nours\n";
        assert_eq!(std::fs::read_to_string(crate::logs::run_log(dir.path(), "shop", "r")).unwrap(), words);
        assert_eq!(without_colours(told), Report::Log { run: "r".into(), lines: words.lines().map(str::to_owned).collect() });
    }

    #[test]
    fn reports_are_bounded_and_nothing_secret_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let mut log = RunLog::open(dir.path(), "shop", "r", redactor).unwrap();
        for _ in 0..3_000 {
            log.line(&format!("hunter22 {}", "x".repeat(600)));
        }
        let reports = log.flush();
        let mut all = 0;
        for report in &reports {
            let Report::Log { lines, .. } = report else { panic!() };
            let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
            assert!(bytes <= LOG_BYTES_MAX + 1, "{bytes}");
            assert!(lines.iter().all(|line| !line.contains("hunter22")));
            all += bytes;
        }
        assert!(all <= RUN_LOG_BYTES_MAX + 1_000);
        assert!(log.flush().is_empty());
    }
}
