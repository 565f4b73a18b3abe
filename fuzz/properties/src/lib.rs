//! What must hold for any input at the rims of Doorstep.
//!
//! Each module has one `check(data)`, which panics when a property is broken.
//! The fuzz targets call it with what libFuzzer makes up, the test
//! `tests/corpus.rs` with every file of `fuzz/corpus`, so both see the same.
//!
//! Invariant: no clock, no randomness, no IO; the same bytes always give the
//! same answer. What is absent: the parts of the product that need a platform.

pub mod config;
pub mod log_line;
pub mod queue;
pub mod webhook;
pub mod wire;

// The executor is a program without a library; these two modules of it are pure
// and stand alone, so they are compiled here as well. What is unused differs
// between the builds of this crate, hence no `expect`.
#[allow(dead_code, unused_imports, reason = "the rest of the executor uses what is not used here")]
#[path = "../../../executor/src/config/mod.rs"]
mod host_file;
#[allow(dead_code, reason = "the rest of the executor uses what is not used here")]
#[path = "../../../executor/src/redact.rs"]
mod redact;

/// One target: its name, which is that of its corpus, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("config", config::check),
    ("log_line", log_line::check),
    ("queue", queue::check),
    ("webhook", webhook::check),
    ("wire", wire::check),
];

/// Cuts a text at the first `mark`; without one the second part is empty.
fn halves<'a>(text: &'a str, mark: &str) -> (&'a str, &'a str) {
    text.split_once(mark).unwrap_or((text, ""))
}

/// Does it steer a terminal or the reading direction? A list of its own, so that
/// one that is missing in the product is noticed.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
