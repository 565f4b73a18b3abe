//! The `.env` beside the host's file: `KEY=VALUE`, quotes, comments, `export`.
//!
//! Single quotes keep everything as it is; double quotes know `\n`, `\t`, `\"`,
//! `\\` and `\$`; without quotes a value ends before ` #`. A value is one line.
//! Nothing is expanded: `$HOME` stays `$HOME`, because a secret may hold a
//! dollar sign. Faults never repeat the line; it may hold a secret.

use super::fault::{RawFault, Spot};

/// Reads the pairs in the order of the file, and what could not be read.
pub(super) fn parse(text: &str) -> (Vec<(String, String)>, Vec<RawFault>) {
    let mut pairs = Vec::new();
    let mut faults = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches('\u{feff}').trim();
        if !content.is_empty() && !content.starts_with('#') {
            let indent = line.find(content).unwrap_or(0);
            match pair(content) {
                Ok(pair) => pairs.push(pair),
                Err(why) => faults.push(RawFault::new(Spot::Byte(offset + indent), why)),
            }
        }
        offset += line.len();
    }
    (pairs, faults)
}

fn pair(line: &str) -> Result<(String, String), String> {
    let (name, rest) = line.split_once('=').ok_or("expected KEY=VALUE")?;
    let name = name.trim();
    let name = match name.split_once(char::is_whitespace) {
        Some(("export", name)) => name.trim_start(),
        Some(_) | None => name,
    };
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        return Err("the name before `=` is made of letters, digits and `_`".to_owned());
    }
    let value = value(rest.trim_start())?;
    if value.contains('\0') {
        return Err("a value holds no NUL character".to_owned());
    }
    Ok((name.to_owned(), value))
}

fn value(text: &str) -> Result<String, String> {
    let (value, after) = match text.chars().next() {
        Some('\'') => single_quoted(&text[1..])?,
        Some('"') => double_quoted(&text[1..])?,
        Some('#') | None => (String::new(), ""),
        Some(_) => (unquoted(text).to_owned(), ""),
    };
    let after = after.trim_start();
    if !after.is_empty() && !after.starts_with('#') {
        return Err("only a comment may follow the closing quote".to_owned());
    }
    Ok(value)
}

fn unquoted(text: &str) -> &str {
    let comment = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| text[..*at].ends_with(char::is_whitespace));
    text[..comment.unwrap_or(text.len())].trim_end()
}

fn single_quoted(text: &str) -> Result<(String, &str), String> {
    let (value, after) = text.split_once('\'').ok_or(UNCLOSED)?;
    Ok((value.to_owned(), after))
}

fn double_quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, escaped @ ('"' | '\\' | '$'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => return Err(UNCLOSED.to_owned()),
            },
            other => value.push(other),
        }
    }
    Err(UNCLOSED.to_owned())
}

const UNCLOSED: &str = "the quote is not closed on its line";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_every_dress() {
        for (line, expected) in [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("export\tA = 1 ", "1"),
            ("  A=1 # why", "1"),
            ("A=a#b", "a#b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=\"x # y\" # z", "x # y"),
            (r#"A="a\n\t\"\\\$\q""#, "a\n\t\"\\$\\q"),
            (r"A='a\n$B'", r"a\n$B"),
            ("A=$HOME=x", "$HOME=x"),
            ("A=it's", "it's"),
            ("\u{feff}A=1\r\n", "1"),
            ("A=ü ü", "ü ü"),
        ] {
            let (pairs, faults) = parse(line);
            assert_eq!(faults, [], "{line}");
            assert_eq!(pairs, [("A".to_owned(), expected.to_owned())], "{line}");
        }
    }

    #[test]
    fn faults_have_their_place_and_no_content() {
        let text = "# c\n\nA=1\n  hunter2\nB='hunter2\n=hunter2\nB C=hunter2\nC=\"a\" hunter2\nD=\"a\\\nE=a\0b\n";
        let (pairs, faults) = parse(text);
        assert_eq!(pairs.len(), 1);
        let report = super::super::fault::locate(faults, text, ".env").to_string();
        assert!(!report.contains("hunter2"));
        let places: Vec<&str> = report
            .lines()
            .map(|line| line.split(": ").next().unwrap_or_default())
            .collect();
        let expected = [
            ".env:4:3",
            ".env:5:1",
            ".env:6:1",
            ".env:7:1",
            ".env:8:1",
            ".env:9:1",
            ".env:10:1",
        ];
        assert_eq!(places, expected);
    }
}
