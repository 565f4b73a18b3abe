//! A run's log: to a file here, in words alone, and in batches to the edge.
//!
//! The file has all of it. The edge has the beginning, and once that is
//! [`HEAD_BYTES_MAX`] nothing more until the run has ended; then how many lines
//! are in the file only, and the last ones. Invariants: an edge keeps all that
//! it is told; a line is told once at most, also by a daemon that takes a run
//! up, which reads from the file what another one kept for the end.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use doorstep_shared::protocol::{LOG_BYTES_MAX, RUN_LOG_BYTES_MAX, Report};
use doorstep_shared::run_log::{log_cost, shown_by};
use doorstep_shared::text::{LINE_BYTES_MAX, clean_line, plain};

use super::tail::{TAIL_BYTES_MAX, Tail};
use crate::journal::Told;
use crate::redact::Redactor;

/// What an edge counts of the beginning that is told. The rest of what it keeps is
/// for the end, and for two lines of ours and what a short report counts as more.
const HEAD_BYTES_MAX: u64 = (RUN_LOG_BYTES_MAX - TAIL_BYTES_MAX - 4 * LINE_BYTES_MAX) as u64;
/// What the beginning ends with.
const GOES_ON: &str = "… the log is long: from here on the edge has its last lines only, once the run has ended";

/// Lines that wait for the next report.
pub struct RunLog {
    project: String,
    run: String,
    file: File,
    redactor: Redactor,
    lines: Vec<String>,
    bytes: usize,
    /// What was told, and as far as its lines go what waits.
    told: Told,
    /// What is kept for the end, once the beginning is long enough.
    tail: Option<Tail>,
}

impl RunLog {
    /// Opens a run's log; what an earlier daemon wrote stays, and so much of it
    /// was told.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn open(state: &Path, project: &str, run: &str, redactor: Redactor, told: Told) -> Result<Self> {
        let path = crate::logs::run_log(state, project, run);
        std::fs::create_dir_all(path.parent().unwrap_or(state))?;
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        let (project, run) = (project.to_owned(), run.to_owned());
        let mut log = Self { project, run, file, redactor, lines: Vec::new(), bytes: 0, told, tail: None };
        log.take_up(BufReader::new(File::open(&path)?));
        Ok(log)
    }

    /// What another daemon wrote and did not tell is what it kept for the end, or
    /// lines that died with it.
    fn take_up(&mut self, written: impl BufRead) {
        let written = written.split(b'\n').map_while(Result::ok);
        if self.told.bytes < HEAD_BYTES_MAX {
            self.told.lines = written.count() as u64;
            return;
        }
        let mut tail = Tail::default();
        for line in written.skip(usize::try_from(self.told.lines).unwrap_or(usize::MAX)) {
            tail.push(clean_line(&String::from_utf8_lossy(&line)));
        }
        self.tail = Some(tail);
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
        if let Some(tail) = &mut self.tail {
            return tail.push(line);
        }
        self.told.lines += 1;
        self.put(line);
        if self.told.bytes + self.bytes as u64 >= HEAD_BYTES_MAX {
            self.put(GOES_ON.to_owned());
            self.tail = Some(Tail::default());
        }
    }

    /// Adds a line to what waits.
    fn put(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push(line);
    }

    /// Nothing more is said: what was kept for the end is told next.
    pub fn end(&mut self) {
        let Some(tail) = self.tail.take() else { return };
        let (passed, lines) = tail.into_parts();
        if passed > 0 {
            let are = if passed == 1 { "line is" } else { "lines are" };
            self.put(format!("… {passed} {are} on the host only, where `{}` shows all of them", shown_by(&self.project, &self.run)));
        }
        lines.into_iter().for_each(|line| self.put(line));
    }

    /// Is there enough for a report of its own? The end of the beginning is: what
    /// follows it is kept across a crash only once it is told.
    pub fn is_full(&self) -> bool {
        self.bytes >= LOG_BYTES_MAX / 2 || self.tail.is_some() && self.bytes > 0
    }

    /// What was told, once nothing waits.
    pub fn told(&self) -> Told {
        self.told
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
        self.told.bytes += reports.iter().map(|(_, lines)| log_cost(lines)).sum::<u64>();
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
        let mut log = RunLog::open(dir.path(), "shop", "r", redactor, Told::default()).unwrap();
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

    /// A long log, in lines of so many bytes and more, that a crash interrupts
    /// after so many of them and all reports before; what the edge was told, and
    /// how much of that was the first daemon's.
    fn told_of(lines: usize, bytes: usize, per_report: usize, crash: Option<usize>) -> (Vec<String>, Vec<Report>) {
        let dir = tempfile::tempdir().unwrap();
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        let open = |told| RunLog::open(dir.path(), "shop", "r", redactor.clone(), told).unwrap();
        let (mut log, mut reports) = (open(Told::default()), Vec::new());
        for number in 0..lines {
            log.line(&format!("{number} hunter22 {}", "x".repeat(bytes)));
            if number % per_report == 0 {
                reports.append(&mut log.flush());
            }
            if crash == Some(number) {
                reports.append(&mut log.flush());
                log = open(log.told());
            }
        }
        log.end();
        reports.append(&mut log.flush());
        assert_eq!(log.flush(), []);
        let file = std::fs::read_to_string(crate::logs::run_log(dir.path(), "shop", "r")).unwrap();
        (file.lines().map(str::to_owned).collect(), reports)
    }

    fn lines_of(reports: &[Report]) -> Vec<String> {
        let of = |report: &Report| if let Report::Log { lines, .. } = report { lines.clone() } else { panic!("{report:?}") };
        reports.iter().flat_map(of).collect()
    }

    fn cost(reports: &[Report]) -> u64 {
        reports.iter().map(|report| log_cost(&lines_of(std::slice::from_ref(report)))).sum()
    }

    #[test]
    fn of_a_long_log_the_edge_has_the_beginning_and_the_end() {
        // Lines as they are, short ones in reports of their own, long ones, empty
        // ones; and a crash early, while lines are kept, and after the last one.
        for (lines, bytes, per_report) in [(20_000, 60, 100), (20_000, 10, 1), (1_000, 4_000, 7), (90_000, 0, 5_000)] {
            for crash in [None, Some(lines / 100), Some(lines * 9 / 10), Some(lines - 1)] {
                let (file, reports) = told_of(lines, bytes, per_report, crash);
                let (told, of) = (lines_of(&reports), format!("{lines} lines of {bytes}, crash at {crash:?}"));
                assert_eq!(file.len(), lines);
                assert!(cost(&reports) <= RUN_LOG_BYTES_MAX as u64, "{of}");
                assert!(told.iter().all(|line| !line.contains("hunter22")), "{of}");
                let ours: Vec<usize> = (0..told.len()).filter(|at| told[*at].starts_with('…')).collect();
                let [end, gap] = ours[..] else { panic!("{of}: {ours:?}") };
                let (head, tail) = (&told[..end], &told[gap + 1..]);
                assert_eq!((told[end].as_str(), gap), (GOES_ON, end + 1), "{of}");
                assert_eq!((head, tail), (&file[..head.len()], &file[lines - tail.len()..]), "{of}");
                let missing = lines - head.len() - tail.len();
                assert_eq!(told[gap], format!("… {missing} lines are on the host only, where `doorstep logs shop --run r` shows all of them"), "{of}");
                assert!(tail.len() > 10, "{of}");
            }
        }
    }

    #[test]
    fn a_log_that_nearly_fits_is_told_whole() {
        for lines in [10, 15_000, 15_300] {
            let (file, reports) = told_of(lines, 50, 50, None);
            let told: Vec<String> = lines_of(&reports).into_iter().filter(|line| line != GOES_ON).collect();
            assert_eq!(told, file);
            assert!(cost(&reports) <= RUN_LOG_BYTES_MAX as u64);
        }
    }

    #[test]
    fn reports_are_bounded() {
        for report in &told_of(3_000, 600, 100, None).1 {
            let bytes: usize = lines_of(std::slice::from_ref(report)).iter().map(|line| line.len() + 1).sum();
            assert!(bytes <= LOG_BYTES_MAX + 1, "{bytes}");
        }
    }
}
