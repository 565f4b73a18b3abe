//! JSON with one value on each line, for people.
//!
//! Pure, and works on the text: a payload may hold what no value of ours can
//! (depth, large numbers, half surrogates), and is shown as it came. What is not
//! JSON comes out with other white space, and does no harm.

/// Deeper than this nothing is indented further, so that brackets alone cannot
/// make a page large.
const DEPTH_MAX: usize = 32;

/// The text with line breaks, at most some `bytes_max` bytes of it; and whether
/// that is all.
pub fn pretty(json: &str, bytes_max: usize) -> (String, bool) {
    let mut out = String::with_capacity(json.len().min(bytes_max));
    let mut depth = 0_usize;
    let (mut in_string, mut is_escaped) = (false, false);
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() >= bytes_max {
            return (out, false);
        }
        if in_string {
            out.push(c);
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth = depth.saturating_add(1);
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                out.push(c);
                in_string = c == '"';
            }
        }
    }
    (out, true)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    (0..depth.min(DEPTH_MAX)).for_each(|_| out.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_value_on_each_line() {
        let (text, is_all) = pretty(r#"{"a":[1,{"b":"x, \"y\": {"}],"c":{}, "d": [ ] , "e":-1.5e9}"#, 1_000);
        let wanted = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x, \\\"y\\\": {\"\n    }\n  ],\n  \"c\": {},\n  \"d\": [],\n  \"e\": -1.5e9\n}";
        assert_eq!((text.as_str(), is_all), (wanted, true));
    }

    #[test]
    fn depth_and_length_have_a_limit() {
        let (text, is_all) = pretty(&"[".repeat(100_000), 10_000);
        assert!(!is_all && text.len() < 10_100);
        assert_eq!(pretty("\"ü\\", 1_000), ("\"ü\\".to_owned(), true));
    }

    proptest! {
        #[test]
        fn a_value_stays_what_it_is(text in "[\\[\\]{}:, a1\"\\\\]{0,60}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&pretty(&text, 10_000).0).ok(), Some(value));
            }
        }
    }
}
