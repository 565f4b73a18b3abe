//! The name of a git branch, by the rules of `git check-ref-format --branch`.
//!
//! The name ends in a refspec and on git's command line, so nothing that git
//! would read as an option, a range, a reflog or a full reference gets through.

/// Longest branch name: git keeps a branch as a file, and a file name ends at
/// 255 bytes.
const BRANCH_BYTES_MAX: usize = 255;

/// Checks a branch name and hands it back.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("not a branch name: {why}"));
    if text.is_empty() || text == "@" || text == "HEAD" {
        return wrong("write a branch such as \"main\"");
    }
    if text.len() > BRANCH_BYTES_MAX {
        return wrong("it is longer than 255 bytes");
    }
    if text.starts_with("refs/") {
        return wrong("write the branch alone, such as \"main\", without refs/heads/");
    }
    if text.starts_with(['-', '/']) || text.ends_with(['/', '.']) {
        return wrong("it starts with `-` or `/`, or ends with `/` or `.`");
    }
    if text
        .chars()
        .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
    {
        return wrong("it holds a space, a control character or one of ~^:?*[\\");
    }
    if ["..", "@{", "//"].iter().any(|part| text.contains(part)) {
        return wrong("it holds `..`, `@{` or `//`");
    }
    let part = |part: &str| part.starts_with('.') || part.strip_suffix(".lock").is_some();
    if text.split('/').any(part) {
        return wrong("a part of it starts with `.` or ends with `.lock`");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_takes() {
        for name in [
            "main",
            "release/1.2",
            "a-b_c",
            "ümlaut",
            "v1.0",
            "a@b",
            "x/refs/y",
        ] {
            assert_eq!(parse(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn names_that_git_refuses_or_reads_as_something_else() {
        let long = "x".repeat(256);
        for name in [
            "",
            "@",
            "HEAD",
            "-x",
            "--upload-pack=x",
            "/x",
            "x/",
            "x.",
            "a..b",
            "a//b",
            ".x",
            "a/.b",
            "x.lock",
            "a.lock/b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a\tb",
            "a\0b",
            "a\u{7f}",
            "a@{1}",
            "refs/heads/main",
            long.as_str(),
        ] {
            assert!(parse(name).is_err(), "{name:?}");
        }
    }
}
