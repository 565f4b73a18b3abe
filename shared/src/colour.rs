//! Colours of a log: what is kept of how a terminal would show a line.
//!
//! Kept are bold, dim, italic and underlined text and a foreground of sixteen
//! colours, in one normal form; other colours become the nearest of these. Each
//! line stands for itself: what one leaves switched on is over at its end. What
//! is absent: backgrounds, reversed and blinking text, and every sequence that
//! does more than say how text looks.
//!
//! Invariant: without its colours a coloured line is the plain line. Whoever
//! wants words ([`clean_line`]) finds the same in both.

use crate::text::{LINE_BYTES_MAX, Token, clean_line, tokens};

/// What text may be beside coloured, by its number in a sequence less one: bold,
/// dim, italic, underlined.
pub const MARKS: usize = 4;

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its colour, 0 to 15: black, red, green, yellow, blue, magenta, cyan, white,
    /// and the same in bright.
    pub colour: Option<u8>,
    /// Bold, dim, italic, underlined.
    pub marks: [bool; MARKS],
}

/// One line with its colours in their normal form, and nothing else that steers a
/// terminal, at most [`LINE_BYTES_MAX`] bytes. One whose colours do not fit has
/// none: its words are worth more, and no colour is left switched on by a cut.
#[must_use]
pub fn coloured_line(line: &str) -> String {
    if !line.contains('\u{1b}') {
        return clean_line(line);
    }
    let (mut out, mut before) = (String::with_capacity(line.len().min(LINE_BYTES_MAX)), Look::default());
    for (look, text) in pieces(line) {
        look.follow(before, &mut out);
        out.push_str(&text);
        before = look;
    }
    Look::default().follow(before, &mut out);
    if out.len() > LINE_BYTES_MAX { clean_line(line) } else { out }
}

/// What a line shows, cut where its look changes. No piece is empty, and no two
/// that stand together look the same.
#[must_use]
pub fn pieces(line: &str) -> Vec<(Look, String)> {
    let mut pieces: Vec<(Look, String)> = Vec::new();
    let mut now = Look::default();
    for token in tokens(line) {
        match token {
            Token::Look(codes) => now.change(codes),
            Token::Shown(c) => match pieces.last_mut() {
                Some((look, text)) if *look == now => text.push(c),
                _ => pieces.push((now, c.to_string())),
            },
        }
    }
    pieces
}

impl Look {
    /// Reads a sequence's numbers; what is not kept is passed over. One with other
    /// characters than digits and `;` is none of ours.
    fn change(&mut self, codes: &str) {
        if codes.contains(|c: char| !c.is_ascii_digit() && c != ';') {
            return;
        }
        // A number that is left out is 0, and one that is too large is nothing.
        let mut codes = codes.split(';').map(|code| if code.is_empty() { 0 } else { code.parse().unwrap_or(u8::MAX) });
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1..=4 => self.mark(code - 1, true),
                22 => {
                    self.mark(0, false);
                    self.mark(1, false);
                }
                23 | 24 => self.mark(code - 21, false),
                30..=37 => self.colour = Some(code - 30),
                38 => self.colour = further(&mut codes).or(self.colour),
                39 => self.colour = None,
                // A background's numbers are no codes of their own.
                48 | 58 => {
                    further(&mut codes);
                }
                90..=97 => self.colour = Some(code - 82),
                _ => {}
            }
        }
    }

    fn mark(&mut self, at: u8, is_on: bool) {
        if let Some(mark) = self.marks.get_mut(usize::from(at)) {
            *mark = is_on;
        }
    }

    /// Writes what leads here from another look: nothing, or one sequence that
    /// says all of it, after a 0 where anything was switched on.
    fn follow(self, before: Self, out: &mut String) {
        if self == before {
            return;
        }
        let reset = (before != Self::default() || self == Self::default()).then_some(0);
        let marks = (1..).zip(self.marks).filter_map(|(code, is_on)| is_on.then_some(code));
        let colour = self.colour.map(|colour| if colour < 8 { 30 + colour } else { 82 + colour });
        let codes: Vec<String> = reset.into_iter().chain(marks).chain(colour).map(|code: u8| code.to_string()).collect();
        out.push_str("\u{1b}[");
        out.push_str(&codes.join(";"));
        out.push('m');
    }
}

/// The nearest of our colours to what follows 38: `5;n` of 256 colours, or
/// `2;red;green;blue`.
fn further(codes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    match codes.next()? {
        5 => match codes.next()? {
            colour @ 0..16 => Some(colour),
            colour @ 16..232 => {
                // A cube of six steps each, of which the second is a large one.
                let step = |by: u8| match (colour - 16) / by % 6 {
                    0 => 0,
                    step => 55 + 40 * step,
                };
                Some(nearest([step(36), step(6), step(1)]))
            }
            grey @ 232.. => Some(nearest([8 + 10 * (grey - 232); 3])),
        },
        2 => Some(nearest([codes.next()?, codes.next()?, codes.next()?])),
        _ => None,
    }
}

/// The sixteen colours as xterm has them.
const PALETTE: [[u8; 3]; 16] = [
    [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
    [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
];

fn nearest(rgb: [u8; 3]) -> u8 {
    let distance = |of: &[u8; 3]| of.iter().zip(rgb).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
    (0..).zip(&PALETTE).min_by_key(|(_, of)| distance(of)).map_or(7, |(colour, _)| colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::plain;
    use proptest::prelude::*;

    /// With `^` for ESC.
    fn of(line: &str) -> String {
        coloured_line(&line.replace('^', "\u{1b}")).replace('\u{1b}', "^")
    }

    #[test]
    fn colours_stay_in_one_form_and_everything_else_goes() {
        assert_eq!(of("plain\ttext"), "plain\ttext");
        assert_eq!(of("^[31mred^[0m and ^[m^[1;92mbright^[0m"), "^[31mred^[0m and ^[1;92mbright^[0m");
        assert_eq!(of("^[31m^[32m^[1mx"), "^[1;32mx^[0m");
        assert_eq!(of("^[1;31ma^[22mb^[39mc"), "^[1;31ma^[0;31mb^[0mc");
        assert_eq!(of("^[2;3;4mx^[23;24my"), "^[2;3;4mx^[0;2my^[0m");
        assert_eq!(of("^[;31mx"), "^[31mx^[0m");
        assert_eq!(of("a^[31m^[2K^[0mb^]0;title\u{7}^[?25lc^(Bd\r\u{202e}"), "abcd");
        assert_eq!(of("^[7;5;41;101;8mx^[999mx^[31"), "xx");
        assert_eq!(of("^[>4;1mx^[38:5:1mx^[1 mx"), "xxx");
    }

    #[test]
    fn other_colours_become_the_nearest_of_sixteen() {
        assert_eq!(of("^[38;5;1ma^[38;5;12mb"), "^[31ma^[0;94mb^[0m");
        assert_eq!(of("^[38;5;160ma"), "^[31ma^[0m");
        assert_eq!(of("^[38;5;196ma^[38;5;232mb^[38;5;244mc^[38;5;255md"), "^[91ma^[0;30mb^[0;90mc^[0;37md^[0m");
        assert_eq!(of("^[38;2;250;5;5;1ma"), "^[1;91ma^[0m");
        // A background takes its numbers with it, and what is cut short nothing.
        assert_eq!(of("^[48;5;1ma^[48;2;1;3;4mb^[58;5;4mc^[38;5md^[38me^[38;2;1;1mf"), "abcdef");
    }

    #[test]
    fn a_line_is_bounded_with_its_colours_and_leaves_none_switched_on() {
        let fits = "x".repeat(LINE_BYTES_MAX - 9);
        assert_eq!(of(&format!("^[31m{fits}")), format!("^[31m{fits}^[0m"));
        assert_eq!(of(&format!("^[31m{fits}x")), format!("{fits}x"));
        let many = "^[31mx^[32mx".repeat(1_000);
        assert_eq!(of(&many), "x".repeat(2_000));
        assert!(of(&format!("^[31m{}", "x".repeat(5_000))).ends_with("x …"));
    }

    proptest! {
        #[test]
        fn a_coloured_line_is_the_plain_line_in_colours(line in "(\\PC|\u{1b}\\[[0-9;:?]{0,9}[mKh]|[\\x00-\\x7f]){0,60}") {
            let out = coloured_line(&line);
            prop_assert_eq!(coloured_line(&out), out.clone(), "twice");
            prop_assert_eq!(plain(&out), clean_line(&line));
            prop_assert_eq!(pieces(&out), pieces(&line));
            prop_assert!(out.len() <= LINE_BYTES_MAX);
        }
    }
}
