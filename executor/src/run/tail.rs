//! The last lines of a log that is too long to be told whole.

use std::collections::VecDeque;

/// Most text of them, in bytes: some 800 lines of a compiler.
pub(super) const TAIL_BYTES_MAX: usize = 64 * 1024;

/// The last of many lines.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines before them.
    passed: u64,
}

impl Tail {
    /// One more line; the oldest ones give way.
    pub fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > TAIL_BYTES_MAX
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len() + 1;
            self.passed += 1;
        }
    }

    /// How many lines gave way, and those that did not.
    pub fn into_parts(self) -> (u64, VecDeque<String>) {
        (self.passed, self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay_and_the_others_are_counted() {
        let mut tail = Tail::default();
        for number in 0..100_000u64 {
            tail.push(format!("line {number}"));
            assert!(tail.bytes <= TAIL_BYTES_MAX);
        }
        let (passed, lines) = tail.into_parts();
        assert_eq!(passed + lines.len() as u64, 100_000);
        assert_eq!(lines.front(), Some(&format!("line {passed}")));
        assert_eq!(lines.back().map(String::as_str), Some("line 99999"));
        assert!(lines.iter().map(|line| line.len() + 1).sum::<usize>() > TAIL_BYTES_MAX - 100);
    }
}
