//! Lines of a log: nothing in them steers a terminal, no secret is left, and
//! cleaning what is clean changes nothing. In its colours a line has the same words.
//!
//! The input is a line of secrets with a tab between two, and the line.

use doorstep_shared::colour::{coloured_line, pieces};
use doorstep_shared::text::{LINE_BYTES_MAX, clean_line, cut, plain};

use crate::redact::{MARK, Redactor, SECRET_BYTES_MIN};
use crate::{halves, steers};

/// Cleans one line.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (secrets, line) = halves(&text, "\n");
    let mut redactor = Redactor::default();
    let (mut planted, mut is_in_mark) = (Vec::new(), false);
    for secret in secrets.split('\t') {
        redactor.add(secret);
        let shown = plain(secret).trim().to_owned();
        // One that is a part of the mark stands in each mark, also in one that is
        // cut where a line is too long.
        let is_part = secret.lines().any(|line| line.trim().len() >= SECRET_BYTES_MIN && MARK.contains(plain(line).trim()));
        is_in_mark |= is_part;
        // A secret with the mark's own letters around is only replaced once.
        if shown.len() >= SECRET_BYTES_MIN && !shown.contains(['[', ']', '…']) && !is_part {
            planted.push(shown);
        }
    }
    text_is_clean(line);
    in_colours(line, &coloured_line(line), &clean_line(line));

    let out = redactor.line(line);
    in_colours(line, &redactor.coloured_line(line), &out);
    fit(&out);
    for part in out.split(MARK) {
        let left = planted.iter().find(|secret| part.contains(secret.as_str()));
        assert_eq!(left, None, "left in {out:?}");
    }
    no_userinfo(&out);
    if !secrets.contains(['[', ']', '…']) && !is_in_mark {
        assert_eq!(redactor.line(&out), out, "cleaned twice");
    }
    if planted.is_empty() && secrets.trim().is_empty() && !plain(line).contains("://") {
        assert_eq!(out, clean_line(line), "without a secret it is only cleaned");
    }
    hidden(&planted, line);
}

fn text_is_clean(line: &str) {
    let clean = clean_line(line);
    fit(&clean);
    assert_eq!(clean_line(&clean), clean, "cleaned twice");
    let whole = plain(line);
    assert!(whole.len() <= line.len(), "cleaning only takes away");
    if whole.len() <= LINE_BYTES_MAX {
        assert_eq!(whole, clean, "what fits is not cut");
    }
    if !line.contains(|c: char| c.is_control() || !c.is_ascii()) {
        assert_eq!(whole, line, "an ordinary line stays");
    }
    let max = line.len() / 2;
    let short = cut(line, max);
    assert!(line.starts_with(short) && short.len() <= max && max - short.len() < 4, "cut at {max} to {}", short.len());
}

/// Does `out` have these words, and beside them colours in their normal form and
/// nothing else?
fn in_colours(line: &str, out: &str, words: &str) {
    assert!(out.len() <= LINE_BYTES_MAX, "{} bytes", out.len());
    assert_eq!(plain(out), words, "the words of {line:?}");
    assert_eq!(coloured_line(out), out, "coloured twice");
    let all: String = pieces(out).into_iter().map(|(_, text)| text).collect();
    assert_eq!(all, words, "the pieces of {out:?}");
    let mut last = "0";
    for (at, part) in out.split('\u{1b}').enumerate() {
        let text = if at == 0 {
            part
        } else {
            let (codes, text) = part.strip_prefix('[').and_then(|rest| rest.split_once('m')).unwrap_or_default();
            let is_kept = |code: &str| code.parse::<u8>().is_ok_and(|code| matches!(code, 0..=4 | 30..=37 | 90..=97));
            assert!(codes.split(';').all(is_kept) && codes.len() <= "0;1;2;3;4;97".len(), "{codes:?} in {out:?}");
            last = codes;
            text
        };
        assert_eq!(text.chars().find(|c| steers(*c) && *c != '\t'), None, "left in {out:?}");
    }
    assert_eq!(last, "0", "left switched on in {out:?}");
}

/// No control character but the tab, nothing that turns the reading direction,
/// within the bound.
fn fit(out: &str) {
    assert!(out.len() <= LINE_BYTES_MAX, "{} bytes", out.len());
    let bad = out.chars().find(|c| steers(*c) && *c != '\t');
    assert_eq!(bad, None, "left in {out:?}");
}

fn no_userinfo(out: &str) {
    for after in out.split("://").skip(1) {
        let authority = after.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
        if let Some((user, _)) = authority.rsplit_once('@') {
            assert_eq!(user, MARK, "left in {out:?}");
        }
    }
}

/// A secret is found behind colours, and none of it is left before the cut.
fn hidden(planted: &[String], line: &str) {
    let Some(secret) = planted.first() else { return };
    let mut redactor = Redactor::default();
    redactor.add(secret);
    let half = cut(secret, secret.len() / 2);
    let rest = secret.get(half.len()..).unwrap_or_default();
    let split = format!("{line}\u{1b}\\{half}\u{1b}[1m{rest} end");
    let out = redactor.line(&split);
    in_colours(&split, &redactor.coloured_line(&split), &out);
    assert!(!out.split(MARK).any(|part| part.contains(secret.as_str())), "left in {out:?}");

    let front = "x".repeat(LINE_BYTES_MAX.saturating_sub(half.len() + 4));
    let out = redactor.line(&format!("{front}{secret} end"));
    let shown = out.trim_start_matches('x');
    assert!(half.is_empty() || half.starts_with('x') || !shown.starts_with(half), "half of it is left before the cut: {shown:?}");
}
