//! Variables in the paths of compose files, as far as they can be judged before
//! Compose fills them in.
//!
//! `$$`, `$NAME`, `${NAME}`, `${NAME-text}` and `${NAME:-text}` are filled in as
//! Compose would. All else is an error, also what Compose would read: its
//! grammar is a regular expression with surprises.

/// What variables are.
pub(super) struct Variables<'a> {
    /// The value of a variable.
    pub value: &'a dyn Fn(&str) -> Option<String>,
    /// That a variable without a value has none. Else an environment file that
    /// was not looked at may give it one.
    pub is_complete: bool,
}

/// Fills in. The error is the end of a sentence.
pub(super) fn fill_in(text: &str, variables: &Variables<'_>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    // Compose ignores case in names, by Unicode: some letters are more than they look.
    if text.contains('$') && !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("it mixes a $ with letters that are not plain".to_owned());
    }
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let (value, after) = expand(after, variables)?;
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Reads what follows a `$`: the value, and what comes after.
fn expand<'t>(text: &'t str, variables: &Variables<'_>) -> Result<(String, &'t str), String> {
    if let Some(rest) = text.strip_prefix('$') {
        return Ok(("$".to_owned(), rest));
    }
    if let Some(braced) = text.strip_prefix('{') {
        let (inner, rest) = braced.split_once('}').ok_or("a ${ is not closed")?;
        return Ok((braces(inner, variables)?, rest));
    }
    let (name, rest) = name(text).ok_or("a $ stands alone")?;
    Ok((variable(name, None, false, variables)?, rest))
}

fn braces(inner: &str, variables: &Variables<'_>) -> Result<String, String> {
    let unknown = || format!("${{{inner}}} is not understood before Compose reads it");
    let (name, operator) = name(inner).ok_or_else(unknown)?;
    if inner.contains(['$', '{']) {
        return Err(unknown());
    }
    match (operator, operator.strip_prefix(":-"), operator.strip_prefix('-')) {
        ("", ..) => variable(name, None, false, variables),
        (_, Some(default), _) => variable(name, Some(default), true, variables),
        (_, None, Some(default)) => variable(name, Some(default), false, variables),
        (_, None, None) => Err(unknown()),
    }
}

/// The value of a variable, or its default where it has none (or an empty one,
/// with `:-`).
fn variable(name: &str, default: Option<&str>, empty_is_none: bool, variables: &Variables<'_>) -> Result<String, String> {
    match ((variables.value)(name), default) {
        (Some(value), Some(default)) if value.is_empty() && empty_is_none => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, None) => Err(format!("{name} is not set")),
        (None, Some(default)) if variables.is_complete => Ok(default.to_owned()),
        (None, Some(_)) => Err(format!("{name} is not set, and an environment file may set it")),
    }
}

/// The name at the beginning, and what comes after.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    is_name.then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, is_complete: bool) -> Option<String> {
        let value = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        fill_in(text, &Variables { value: &value, is_complete }).ok()
    }

    #[test]
    fn variables_are_filled_in_as_compose_would() {
        for (text, expected) in [
            ("x/y", Some("x/y")),
            ("$A/${A}x$A", Some("a/axa")),
            ("$$A", Some("$A")),
            ("${A:-b}${A-b}", Some("aa")),
            ("${B:-b}/${B-c-d}", Some("b/c-d")),
            ("${EMPTY:-b}${EMPTY-b}", Some("b")),
            ("${B:-}", Some("")),
            ("ä/x", Some("ä/x")),
            ("$B", None),
            ("${B}", None),
            ("$", None),
            ("$/x", None),
            ("$1", None),
            ("${", None),
            ("${A", None),
            ("${}", None),
            ("${A:?no}", None),
            ("${A?no}", None),
            ("${A:+yes}", None),
            ("${A+yes}", None),
            ("${A:-$A}", None),
            ("${A:-${A}}", None),
            ("${A b}", None),
            ("$A\u{212a}", None),
            ("$A\n", None),
        ] {
            assert_eq!(filled(text, true).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_default_counts_only_where_no_file_may_set_the_variable() {
        assert_eq!(filled("${B:-b}", false), None);
        assert_eq!(filled("${A:-b}", false).as_deref(), Some("a"));
    }
}
