//! Which pushes touch a project: glob patterns over the paths a push names.
//!
//! Invariant: when in doubt, the answer is "it matches". GitHub cuts long
//! pushes, and a needless fetch is cheaper than a deploy that never came.

use crate::text::{clean_line, cut};

/// Longest pattern, in bytes; longer ones are refused where they are read.
pub const PATTERN_BYTES_MAX: usize = 512;

/// Bytes of a pattern that a message repeats: enough to recognise it.
const SHOWN_BYTES_MAX: usize = 80;

/// Most groups of alternatives in one pattern.
pub const BRACES_MAX: usize = 3;
/// Most `*` in one pattern.
pub const STARS_MAX: usize = 10;

/// Checks one pattern of `paths`.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub fn validate(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("a path pattern is empty".to_owned());
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a path pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    if pattern.chars().any(char::is_control) {
        return Err("a path pattern holds a control character".to_owned());
    }
    if pattern.starts_with('/') {
        return Err(format!("`{}` begins with `/`; patterns are relative to the repository", shown(pattern)));
    }
    // Alternatives and wildcards multiply: each path of a push is tried with
    // every combination of them.
    if pattern.matches('{').count() > BRACES_MAX || pattern.matches('*').count() > STARS_MAX {
        return Err(format!("`{}` has more than {BRACES_MAX} `{{` or {STARS_MAX} `*`", shown(pattern)));
    }
    balanced(pattern)
}

fn balanced(pattern: &str) -> Result<(), String> {
    let (mut braces, mut class, mut escaped) = (0usize, false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' => class = false,
            '{' if !class => braces += 1,
            '}' if !class => {
                braces = braces.checked_sub(1).ok_or_else(|| format!("`{}` closes a `{{` that is not open", shown(pattern)))?;
            }
            _ => {}
        }
    }
    if class || braces > 0 || escaped {
        return Err(format!("`{}` has an unclosed `[`, `{{` or `\\`", shown(pattern)));
    }
    Ok(())
}

/// A message ends on a terminal, and the pattern may come from anybody.
fn shown(pattern: &str) -> String {
    cut(&clean_line(pattern), SHOWN_BYTES_MAX).to_owned()
}

/// Does any changed path match any pattern? No patterns match everything.
#[must_use]
pub fn any_match<'a>(patterns: &[String], changed: impl IntoIterator<Item = &'a str>) -> bool {
    patterns.is_empty()
        || changed.into_iter().any(|path| patterns.iter().any(|pattern| fast_glob::glob_match(pattern, path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_bidi_control;

    fn hit(pattern: &str, path: &str) -> bool {
        any_match(&[pattern.to_owned()], [path])
    }

    #[test]
    fn patterns_mean_what_people_expect() {
        assert!(hit("apps/shop/**", "apps/shop/a/b.py"));
        assert!(hit("apps/shop/**", "apps/shop/a.py"));
        assert!(!hit("apps/shop/**", "apps/shopping/a.py"));
        assert!(hit("**/*.py", "a.py"));
        assert!(hit("*.toml", "uv.toml"));
        assert!(!hit("*.toml", "a/uv.toml"));
        assert!(hit("{a,b}/**", "b/c"));
        assert!(any_match(&[], []));
        assert!(!any_match(&["a".to_owned()], []));
    }

    #[test]
    fn patterns_that_multiply_are_refused() {
        assert!(validate(&"{*,*,*,*,*,*}".repeat(10)).is_err());
        assert!(validate(&"{a,b}".repeat(4)).is_err());
        let worst = format!("{}z", "{*a*,*b*}".repeat(2));
        validate(&worst).unwrap();
        assert!(!any_match(&[worst], ["aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbb/aaaaaaaaaaaaaaaaaaaaaaaaaaa"]));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for bad in ["", "/abs", "a[", "a{b", "a}", "a\\", "a\nb", &"x".repeat(513)] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
        assert!(validate("apps/{a,b}/**/*.[pc]y").is_ok());
    }

    /// Found by fuzzing.
    #[test]
    fn messages_steer_no_terminal() {
        for bad in ["/\u{1b}[2J", "/\u{202e}x", "{\u{202e}", "}\u{2066}", &format!("{}\u{61c}", "*".repeat(11))] {
            let message = validate(bad).unwrap_err();
            assert!(!message.contains(|c: char| c.is_control() || is_bidi_control(c)), "{message:?}");
        }
        assert!(validate(&format!("/{}", "x".repeat(500))).unwrap_err().len() < 200);
    }
}
