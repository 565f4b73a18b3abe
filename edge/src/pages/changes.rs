//! What a run brought: files and packages that differ from what was live.
//!
//! Pure. The host writes one line of each into the log, `+ path`, `~ path`,
//! `- path`, and says in the step's detail how many there are of each kind. Both
//! must agree, so that a build which prints lines of that look is not taken for
//! it. Where they do not, nothing is shown here; the log has the lines anyhow.

use super::html::Html;
use super::version::Have;
use crate::view::StepRow;

/// What changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Files, as the host listed them.
    pub files: Vec<Change<'a>>,
    /// Packages, each with its version.
    pub packages: Vec<Change<'a>>,
}

/// One line of it: `+`, `~` or `-`, and the rest.
pub type Change<'a> = (char, &'a str);

/// Reads the steps' details and the log.
pub fn of<'a>(steps: &[StepRow], log: &'a [String]) -> Changes<'a> {
    let detail = |name: &str| steps.iter().find(|step| step.name == name).map_or("", |step| step.detail.as_str());
    let files = counts(detail("verify"), ["added", "modified", "removed"]).and_then(|counts| found(log, counts));
    let packages = detail("sync").split_once("packages: ").and_then(|(_, words)| counts(words, ["new", "changed", "removed"]));
    let packages = packages.and_then(|counts| found(log, counts));
    Changes { files: files.unwrap_or_default(), packages: packages.unwrap_or_default() }
}

/// "3 added, 1 modified, 0 removed" as numbers.
fn counts(words: &str, kinds: [&str; 3]) -> Option<[usize; 3]> {
    let mut counts = [0; 3];
    let mut parts = words.split(", ");
    for (count, kind) in counts.iter_mut().zip(kinds) {
        let (number, rest) = parts.next()?.split_once(' ')?;
        *count = number.parse().ok().filter(|_| rest.split(' ').next() == Some(kind))?;
    }
    Some(counts)
}

/// The first lines in a row that are changes, so many of each kind.
fn found(log: &[String], counts: [usize; 3]) -> Option<Vec<Change<'_>>> {
    let wanted: usize = counts.iter().sum();
    let is_change = |line: &String| change(line).is_some();
    let mut blocks = log.chunk_by(|a, b| is_change(a) == is_change(b));
    let block = blocks.find(|block| block.len() == wanted && block.first().is_some_and(is_change) && counted(block) == counts)?;
    Some(block.iter().filter_map(|line| change(line)).collect())
}

fn counted(block: &[String]) -> [usize; 3] {
    ['+', '~', '-'].map(|kind| block.iter().filter(|line| line.starts_with(kind)).count())
}

fn change(line: &str) -> Option<Change<'_>> {
    let (sign, rest) = line.split_once(' ')?;
    let sign = sign.chars().next().filter(|c| sign.len() == 1 && matches!(c, '+' | '~' | '-'))?;
    // What has colours was printed by a program.
    (!rest.is_empty() && !rest.starts_with(' ') && !rest.contains('\u{1b}')).then_some((sign, rest))
}

/// The section, with what the reader does not have.
pub fn section(changes: &Changes<'_>, version: &str, have: Have<'_>) -> Html {
    have.part("<section id=\"changed\"", "</section>", version, || {
        let mut html = list("files", "Changed files", &changes.files);
        html.add(&list("packages", "Changed packages", &changes.packages));
        if !html.is_empty() {
            let mut whole = Html::new();
            whole.raw("<h2>Changes</h2>").add(&html);
            html = whole;
        }
        html
    })
}

fn list(id: &'static str, name: &'static str, changes: &[Change<'_>]) -> Html {
    let mut html = Html::new();
    if changes.is_empty() {
        return html;
    }
    html.raw("<details class=\"card\" id=\"").raw(id).raw("\"><summary>").raw(name).raw(" (").number(changes.len() as u64).raw(")</summary><ul class=\"changes\">");
    for (sign, what) in changes {
        let (tone, sign, word) = match sign {
            '+' => ("ok", "+", "added: "),
            '-' => ("bad", "−", "removed: "),
            _ => ("busy", "~", "changed: "),
        };
        html.raw("<li><b class=\"").raw(tone).raw("\" aria-hidden=\"true\">").raw(sign).raw("</b> <span class=\"vh\">").raw(word).raw("</span>");
        html.add(&super::parts::quote(what)).raw("</li>");
    }
    html.raw("</ul></details>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn steps() -> Vec<StepRow> {
        vec![
            a_step("verify", "succeeded", Some(3), "1 added, 2 modified, 1 removed"),
            a_step("sync", "succeeded", Some(9), "kept; packages: 1 new, 1 changed, 0 removed"),
        ]
    }

    #[test]
    fn files_and_packages_are_found_where_the_host_wrote_them() {
        let log = lines("note: a link\n+ new file.py\n~ app.py\n~ b/c.py\n- old.py\n$ uv sync\n+ six==1.0\n+ idna 3.20\n~ six 1.16 -> 1.17\ndone");
        let seen = of(&steps(), &log);
        assert_eq!(seen.files, [('+', "new file.py"), ('~', "app.py"), ('~', "b/c.py"), ('-', "old.py")]);
        // A build's line of that look, right beside: then nothing is claimed.
        assert!(seen.packages.is_empty());
        let log = lines("+ a\n~ b\n~ c\n- \u{1b}[31md\u{1b}[0m");
        assert!(of(&steps(), &log).files.is_empty(), "a program's, for its colours");
        let log = lines("+ a\n~ b\n~ c\n- d\n$ uv sync\n + six==1.0\n+ idna 3.20\n~ six 1.16 -> 1.17\ndone");
        assert_eq!(of(&steps(), &log).packages, [('+', "idna 3.20"), ('~', "six 1.16 -> 1.17")]);
    }

    #[test]
    fn what_does_not_agree_is_not_shown() {
        let log = lines("+ a\n~ b\n- c");
        assert_eq!(of(&steps(), &log), Changes::default());
        assert_eq!(of(&[], &log), Changes::default());
        assert_eq!(of(&[a_step("verify", "succeeded", None, "12 entries")], &log), Changes::default());
        assert_eq!(of(&[a_step("verify", "succeeded", None, "0 added, 0 modified, 0 removed")], &log), Changes::default());
    }

    #[test]
    fn more_than_are_listed_is_read_too() {
        let steps = [a_step("verify", "succeeded", None, "1 added, 0 modified, 0 removed or more")];
        assert_eq!(of(&steps, &lines("+ a")).files, [('+', "a")]);
    }

    #[test]
    fn any_log_can_be_read() {
        for word in HOSTILE {
            let log = vec![(*word).to_owned(), format!("+ {word}"), "~".into(), "+  x".into()];
            let steps = [a_step("verify", "succeeded", None, word), a_step("sync", "succeeded", None, word)];
            assert_eq!(of(&steps, &log), Changes::default());
        }
    }

    #[test]
    fn they_are_said_without_colour_too() {
        let log = lines("+ a\n~ b\n~ c\n- <d>");
        let html = section(&of(&steps(), &log), "v", Have::default()).into_string();
        assert_well_formed(&html);
        let text = seen(&format!("Skip to content</a>{html}"));
        assert!(text.contains("Changed files (4)") && text.contains("added: a") && text.contains("removed: <d>"), "{text}");
        assert!(!text.contains("packages"));
        assert_eq!(section(&Changes::default(), "v", Have::default()).into_string(), "<section id=\"changed\" data-v=\"v\"></section>");
    }
}
