//! Text from children and from outside, made fit for logs and pages.
//!
//! Invariant: what comes out holds no control character but tab, and no
//! escape sequence, so that a build's output cannot steer a terminal. The
//! colours of a run's log are the one exception, and [`colour`](crate::colour)
//! alone keeps them.

use std::str::Chars;

/// Longest line of a log, in bytes; a longer one is cut and says so.
pub const LINE_BYTES_MAX: usize = 4_096;

/// One line without escape sequences and control characters, at most
/// [`LINE_BYTES_MAX`] bytes.
#[must_use]
pub fn clean_line(line: &str) -> String {
    short(strip(line, LINE_BYTES_MAX))
}

/// The same of any length, for who must see the whole before it is cut.
#[must_use]
pub fn plain(line: &str) -> String {
    strip(line, usize::MAX)
}

/// A line of at most [`LINE_BYTES_MAX`] bytes; one that was cut says so.
#[must_use]
pub fn short(mut line: String) -> String {
    const CUT: &str = " …";
    if line.len() > LINE_BYTES_MAX {
        line.truncate(cut(&line, LINE_BYTES_MAX - CUT.len()).len());
        line.push_str(CUT);
    }
    line
}

/// Reads on until the output is longer than `enough` bytes.
fn strip(line: &str, enough: usize) -> String {
    let mut out = String::with_capacity(line.len().min(LINE_BYTES_MAX));
    for token in tokens(line) {
        match token {
            Token::Shown(c) => out.push(c),
            Token::Look(_) => {}
        }
        if out.len() > enough {
            break;
        }
    }
    out
}

/// What is left of a line for whoever looks at it.
pub(crate) enum Token<'a> {
    /// A character that is shown.
    Shown(char),
    /// How what follows looks: what stands between `ESC [` and `m`.
    Look(&'a str),
}

/// A line read as a terminal would; what steers one in another way is passed over.
pub(crate) fn tokens(line: &str) -> impl Iterator<Item = Token<'_>> {
    let mut chars = line.chars();
    std::iter::from_fn(move || {
        loop {
            match chars.next()? {
                '\u{1b}' => {
                    if let Some(look) = escape(&mut chars) {
                        return Some(Token::Look(look));
                    }
                }
                '\t' => return Some(Token::Shown('\t')),
                c if c.is_control() || is_bidi_control(c) => {}
                c => return Some(Token::Shown(c)),
            }
        }
    })
}

/// Characters that reorder what a reader sees (Trojan Source, CVE-2021-42574):
/// those with Unicode's property `Bidi_Control`.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Eats one ECMA-48 sequence after ESC: CSI, OSC and the other strings with
/// their end, a choice of character set, or two characters. Of one that says how
/// text looks (SGR), what it says.
fn escape<'a>(chars: &mut Chars<'a>) -> Option<&'a str> {
    match chars.next()? {
        '[' => {
            let inner = skip(chars, |c| !('\u{40}'..='\u{7e}').contains(&c));
            return (chars.next() == Some('m')).then_some(inner);
        }
        ' '..='/' => {
            skip(chars, |c| (' '..='/').contains(&c));
            chars.next();
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            skip(chars, |c| !matches!(c, '\u{7}' | '\u{1b}'));
            if chars.next() == Some('\u{1b}') && chars.as_str().starts_with('\\') {
                chars.next();
            }
        }
        _ => {}
    }
    None
}

/// Eats what `is_part`, and returns it.
fn skip<'a>(chars: &mut Chars<'a>, is_part: impl Fn(char) -> bool) -> &'a str {
    let before = chars.as_str();
    let after = before.trim_start_matches(is_part);
    *chars = after.chars();
    before.strip_suffix(after).unwrap_or_default()
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_and_controls_go_and_words_stay() {
        assert_eq!(clean_line("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}ok\r\u{8}"), "red ok");
        assert_eq!(clean_line("a\tb"), "a\tb");
        assert_eq!(clean_line("\u{202e}evil"), "evil");
        assert_eq!(clean_line("a\u{61c}b"), "ab");
        assert_eq!(clean_line("\u{1b}]8;;http://h\u{1b}\\link\u{1b}]8;;\u{1b}\\ \u{1b}(Bok"), "link ok");
        assert_eq!(clean_line(&"x".repeat(LINE_BYTES_MAX)), "x".repeat(LINE_BYTES_MAX));
        assert!(clean_line(&"x".repeat(LINE_BYTES_MAX + 1)).ends_with("x …"));
        assert_eq!(clean_line("\u{1b}"), "");
    }

    proptest! {
        #[test]
        fn nothing_steers_a_terminal(line in "\\PC*|[\\x00-\\x7f]{0,200}") {
            let out = clean_line(&line);
            prop_assert!(out.chars().all(|c| c == '\t' || !c.is_control()));
            prop_assert!(out.len() <= LINE_BYTES_MAX);
        }

        #[test]
        fn a_cut_is_a_prefix(text in "\\PC*", n in 0usize..64) {
            let out = cut(&text, n);
            prop_assert!(text.starts_with(out) && out.len() <= n);
        }
    }
}
