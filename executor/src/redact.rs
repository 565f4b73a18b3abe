//! Secrets out of log lines. Pure.
//!
//! Two nets: the values that this host knows to be secret, and whatever stands
//! between `://` and `@`. What neither catches is not known here.
//!
//! Invariant: no whole secret is left, whatever overlaps with what, and a line
//! is cut only after its secrets are gone, so that no part of one stays.

use std::cmp::Reverse;
use std::ops::Range;

use doorstep_shared::colour::coloured_line;
use doorstep_shared::text::{plain, short};

/// What stands where a secret stood.
pub const MARK: &str = "[secret]";
/// Shorter values are not replaced: they would eat ordinary words.
pub const SECRET_BYTES_MIN: usize = 6;
/// Endings of variable names whose values are secret.
const SECRET_ENDINGS: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "_KEY", "CREDENTIALS"];

/// The secrets of one project.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// A redactor for these values, whatever they are called. Of a secret in
    /// several lines, such as a key, each line is one: so a log shows them.
    pub fn add(&mut self, secret: &str) {
        for line in secret.lines() {
            self.add_line(line.trim());
            self.add_line(plain(line).trim());
        }
    }

    fn add_line(&mut self, secret: &str) {
        if secret.len() >= SECRET_BYTES_MIN && !self.secrets.iter().any(|known| known == secret) {
            self.secrets.push(secret.to_owned());
        }
    }

    /// Adds the value of a variable whose name says that it is secret.
    pub fn add_variable(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_uppercase();
        if SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            self.add(value);
        }
    }

    /// The text without them.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        without_userinfo(&self.without_secrets(text))
    }

    /// A line of a log: without them, without what steers a terminal, and not
    /// longer than `LINE_BYTES_MAX`.
    #[must_use]
    pub fn line(&self, line: &str) -> String {
        short(self.clean(&plain(line)))
    }

    /// The same in its colours. What was found in the words may have colours in
    /// its middle, so a line of which anything was taken out loses all of them.
    #[must_use]
    pub fn coloured_line(&self, line: &str) -> String {
        let words = plain(line);
        let clean = self.clean(&words);
        if clean == words { coloured_line(line) } else { short(clean) }
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut found: Vec<Range<usize>> = self.secrets.iter().flat_map(|secret| places(text, secret)).collect();
        if found.is_empty() {
            return text.to_owned();
        }
        // A mark is no secret, whatever the secrets are.
        found.extend(places(text, MARK));
        found.sort_unstable_by_key(|place| (place.start, Reverse(place.end)));
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for place in found {
            // Those that overlap are one.
            if place.start >= end {
                out.push_str(&text[end..place.start]);
                out.push_str(MARK);
            }
            end = end.max(place.end);
        }
        out.push_str(&text[end..]);
        out
    }
}

/// Where `secret` stands, also over itself.
fn places(text: &str, secret: &str) -> impl Iterator<Item = Range<usize>> {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(secret)?;
        from = start + step;
        Some(start..start + secret.len())
    })
}

fn without_userinfo(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        // Without a user part it may be the beginning of another address.
        rest = after;
        if let Some((user, _)) = after[..authority].rsplit_once('@') {
            out.push_str(MARK);
            rest = &after[user.len()..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorstep_shared::text::LINE_BYTES_MAX;

    #[test]
    fn secrets_and_userinfo_go() {
        let mut redactor = Redactor::default();
        redactor.add("ghp_abcdef");
        redactor.add_variable("DB_PASSWORD", "hunter22");
        redactor.add_variable("COLOUR", "turquoise");
        redactor.add("ab");
        let clean = redactor.clean("get https://x:ghp_abcdef@h/p?t=ghp_abcdef hunter22 turquoise ab see http://a/b@c");
        assert_eq!(clean, "get https://[secret]@h/p?t=[secret] [secret] turquoise ab see http://a/b@c");
    }

    #[test]
    fn secrets_that_overlap_go_whole() {
        let mut redactor = Redactor::default();
        for secret in ["abcdefgh", "fghijklm", "secret", "https://me:pw@host/x"] {
            redactor.add(secret);
        }
        assert_eq!(redactor.clean("1 abcdefghijklm 2"), "1 [secret] 2");
        assert_eq!(redactor.clean("a secret https://me:pw@host/x"), "a [secret] [secret]");
        assert_eq!(redactor.clean("[secret]@ ://[secret]@h"), "[secret]@ ://[secret]@h");
    }

    /// Found by fuzzing.
    #[test]
    fn an_address_behind_a_scheme_is_an_address() {
        let clean = Redactor::default().clean("http://http://me:pw@h/ a://b://c@d@e ://@");
        assert_eq!(clean, "http://http://[secret]@h/ a://b://[secret]@e ://[secret]@");
    }

    #[test]
    fn each_line_of_a_key_is_a_secret() {
        let mut redactor = Redactor::default();
        redactor.add("-----BEGIN KEY-----\r\n  MIIEvQIBADAN\nab\n");
        assert_eq!(redactor.line("key: MIIEvQIBADAN ab"), "key: [secret] ab");
    }

    #[test]
    fn colours_and_the_cut_uncover_nothing() {
        let mut redactor = Redactor::default();
        redactor.add("hunter22");
        assert_eq!(redactor.line("a hun\u{1b}[1mter22\u{7}"), "a [secret]");
        assert_eq!(redactor.coloured_line("\u{1b}[32ma\u{1b}[0m hun\u{1b}[31mter22 \u{1b}[1mb"), "a [secret] b");
        assert_eq!(redactor.coloured_line("\u{1b}[32mhttp://me:pw\u{1b}[m@h/"), "http://[secret]@h/");
        assert_eq!(redactor.coloured_line("\u{1b}[32mhun\u{1b}[K ter22"), "\u{1b}[32mhun ter22\u{1b}[0m");
        let out = redactor.line(&format!("{}hunter22 end", "x".repeat(LINE_BYTES_MAX - 10)));
        assert!(!out.contains("hu") && out.len() <= LINE_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn no_secret_gets_through(before in "\\PC{0,20}", secret in "[a-z0-9]{6,20}", after in "\\PC{0,20}") {
            let mut redactor = Redactor::default();
            redactor.add(&secret);
            let clean = redactor.clean(&format!("{before}{secret}{after}"));
            proptest::prop_assert!(!clean.replace("[secret]", "").contains(&secret));
        }
    }
}
