//! What the demo prints: aligned lines, coloured only on a terminal, with a
//! passing line for what is under way.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
/// Time between two passing lines: 20 a second read as motion.
const PASSING_INTERVAL: Duration = Duration::from_millis(50);
/// Longest text of a line, in characters.
const TEXT_CHARS_MAX: usize = 88;

/// Standard output.
#[derive(Debug)]
pub struct Terminal {
    is_terminal: bool,
    has_colours: bool,
    begun: Instant,
    /// When the passing line was printed that stands there now.
    passing: Option<Instant>,
}

impl Terminal {
    /// Standard output as it is.
    pub fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_terminal, has_colours: is_terminal && !unwanted, begun: Instant::now(), passing: None }
    }

    /// Begins a scene; times count from here.
    pub fn scene(&mut self, title: &str) {
        self.begun = Instant::now();
        let title = self.painted(BOLD, title);
        self.line(&format!("\n{title}"));
    }

    /// Times count from here again.
    pub fn restart_clock(&mut self) {
        self.begun = Instant::now();
    }

    /// Something happened: when, what, how long it took, and a word about it.
    pub fn event(&mut self, name: &str, took: Option<Duration>, text: &str) {
        let row = self.row(name, took, text);
        self.line(&row);
    }

    /// Something good happened that was waited for.
    pub fn seen(&mut self, name: &str, text: &str) {
        let row = self.row(name, None, text);
        let row = self.painted(GREEN, &row);
        self.line(&row);
    }

    /// Something failed, as it should or not.
    pub fn failed(&mut self, name: &str, took: Option<Duration>, text: &str) {
        let row = self.row(name, took, text);
        let row = self.painted(RED, &row);
        self.line(&row);
    }

    /// What is under way; the next line takes its place. Nothing where no
    /// terminal is.
    pub fn passing(&mut self, name: &str, text: &str) {
        let is_due = self.passing.is_none_or(|printed| printed.elapsed() >= PASSING_INTERVAL);
        if self.is_terminal && is_due {
            let row = self.row(name, None, text);
            let row = self.painted(DIM, &row);
            print!("\r\x1b[K{row}");
            let _ = std::io::stdout().flush();
            self.passing = Some(Instant::now());
        }
    }

    /// A plain line, or several.
    pub fn say(&mut self, text: &str) {
        self.line(text);
    }

    /// A verdict.
    pub fn good(&mut self, text: &str) {
        let text = self.painted(GREEN, text);
        self.line(&text);
    }

    /// The other verdict.
    pub fn bad(&mut self, text: &str) {
        let text = self.painted(RED, text);
        self.line(&text);
    }

    /// A heading within the last part.
    pub fn heading(&mut self, text: &str) {
        let text = self.painted(BOLD, text);
        self.line(&text);
    }

    fn row(&self, name: &str, took: Option<Duration>, text: &str) -> String {
        let took = took.map_or_else(String::new, milliseconds);
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        format!("{:>10}  {name:<10} {took:>9}  {text}", milliseconds(self.begun.elapsed()))
    }

    fn line(&mut self, text: &str) {
        if self.passing.take().is_some() {
            print!("\r\x1b[K");
        }
        println!("{}", text.trim_end());
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `12,345 ms`.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", grouped(time.as_millis()))
}

/// A number with its thousands apart.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
