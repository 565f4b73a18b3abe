//! How the live release stands to its branch: which commits wait, and which are
//! live that the branch does not have any more.
//!
//! Pure. The host counts; here is only said what it told. Absent on purpose: a
//! list of all of them, which is a look at the repository away.

use doorstep_shared::protocol::{BEHIND_COUNT_MAX, BehindView, CommitView};
use doorstep_shared::time::Timestamp;

use super::html::{Href, Html};
use super::{parts, when};
use crate::view::ProjectRow;

/// The section, or nothing when the live release is the head of its branch.
pub fn behind(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = Html::new();
    let Some(view) = project.behind.as_ref().filter(|view| view.behind > 0 || view.ahead > 0) else {
        if project.quarantined.is_some() {
            html.raw("<section class=\"card\" id=\"behind\"><h2>The newest commit is kept away</h2>").add(&kept_away(project)).raw("</section>");
        }
        return html;
    };
    html.raw("<section class=\"card\" id=\"behind\"><h2>").text(&words(view)).raw("</h2>").add(&kept_away(project));
    if view.ahead > 0 {
        html.raw("<p class=\"muted\">").text(&ahead_words(view.ahead)).raw(", as after a forced push.</p>");
    }
    if !view.commits.is_empty() {
        html.raw("<ol class=\"commits\">");
        for commit in &view.commits {
            html.raw("<li>").add(&one(commit, &project.repo, now)).raw("</li>");
        }
        html.raw("</ol>").add(&more(view));
    }
    html.raw("</section>");
    html
}

/// That the branch's head was found bad, and what brings it back.
fn kept_away(project: &ProjectRow) -> Html {
    let mut html = Html::new();
    if let Some(bad) = &project.quarantined {
        html.raw("<p id=\"kept-away\"><strong class=\"warn\"><span aria-hidden=\"true\">⊘</span> ").add(&commit_link(&bad.commit, &project.repo));
        html.raw(" was bad here</strong> as release ").number(bad.release).raw(", so it is not deployed again by itself. A newer commit is; <em>Deploy</em> brings this one back.</p>");
    }
    html
}

fn one(of: &CommitView, repo: &str, now: Timestamp) -> Html {
    let mut html = commit_link(&of.commit, repo);
    html.raw(" ").add(&parts::quote(&of.subject)).raw(" <span class=\"muted\">");
    if !of.author.is_empty() {
        html.add(&parts::quote(&of.author)).raw(", ");
    }
    html.add(&when::ago(of.at, now)).raw("</span>");
    html
}

fn more(view: &BehindView) -> Html {
    let listed = u32::try_from(view.commits.len()).unwrap_or(u32::MAX);
    let mut html = Html::new();
    let left = view.behind.saturating_sub(listed);
    if left > 0 {
        html.raw("<p class=\"muted\">and ").text(&counted(left, view.behind)).raw(" before</p>");
    }
    html
}

/// "3 commits are not live yet".
fn words(view: &BehindView) -> String {
    match view.behind {
        0 => "The branch is behind what is live".to_owned(),
        1 => "1 commit is not live yet".to_owned(),
        count => format!("{} commits are not live yet", counted(count, count)),
    }
}

/// The same where there is little room: "3 commits behind, 1 ahead".
pub fn short_words(view: &BehindView) -> String {
    let commits = |count: u32| format!("{} {}", counted(count, count), if count == 1 { "commit" } else { "commits" });
    match (view.behind, view.ahead) {
        (behind, 0) => format!("{} behind", commits(behind)),
        (0, ahead) => format!("{} ahead", commits(ahead)),
        (behind, ahead) => format!("{} behind, {} ahead", commits(behind), counted(ahead, ahead)),
    }
}

fn ahead_words(ahead: u32) -> String {
    match ahead {
        1 => "1 commit is live that the branch does not have".to_owned(),
        count => format!("{} commits are live that the branch does not have", counted(count, count)),
    }
}

/// A number of which all are known, or at least so many.
fn counted(count: u32, of: u32) -> String {
    if of >= BEHIND_COUNT_MAX { format!("{count} or more") } else { count.to_string() }
}

/// The first seven digits of a commit, leading to its page where there is one.
pub fn commit_link(commit: &str, repo: &str) -> Html {
    let Some(href) = commit_href(commit, repo) else { return parts::commit(commit) };
    let mut html = Html::new();
    html.raw("<a rel=\"noreferrer\" href=\"").href(&href).raw("\">").add(&parts::commit(commit)).raw("</a>");
    html
}

/// The commit's page, when the repository is one of github.com.
fn commit_href(commit: &str, repo: &str) -> Option<Href> {
    let is_commit = matches!(commit.len(), 7..=64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let path = ["https://github.com/", "ssh://git@github.com/", "git@github.com:"].iter().find_map(|start| repo.strip_prefix(start))?;
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let (owner, name) = path.split_once('/')?;
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_commit || !plain(owner) || !plain(name) {
        return None;
    }
    Href::web(&format!("https://github.com/{owner}/{name}/commit/{commit}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const COMMIT: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";

    fn commit(subject: &str) -> CommitView {
        CommitView { commit: COMMIT.into(), subject: subject.into(), author: "Ann".into(), at: Timestamp(NOW.0 - 300_000) }
    }

    fn section(behind: u32, ahead: u32, commits: Vec<CommitView>) -> String {
        let view = BehindView { behind, ahead, commits };
        super::behind(&ProjectRow { behind: Some(view), ..a_project("attic", "shop") }, NOW).into_string()
    }

    fn words_of(html: &str) -> String {
        seen(&format!("Skip to content</a>{html}"))
    }

    #[test]
    fn what_waits_is_listed_with_who_wrote_it() {
        let html = section(3, 0, vec![commit("Add the cart"), commit("Fix the till")]);
        assert_well_formed(&html);
        let text = "## 3 commits are not live yet\na1b2c3d Add the cart Ann, 5 min ago\na1b2c3d Fix the till Ann, 5 min ago\nand 1 before";
        assert_eq!(words_of(&html), text);
        assert!(html.contains("href=\"https://github.com/me/shop/commit/a1b2c3d4"), "{html}");
    }

    #[test]
    fn rewritten_history_and_large_numbers_are_said() {
        let text = words_of(&section(1, 2, vec![commit("Add the cart")]));
        assert!(text.starts_with("## 1 commit is not live yet\n2 commits are live that the branch does not have, as after a forced push."), "{text}");
        assert!(words_of(&section(BEHIND_COUNT_MAX, 0, vec![])).contains("## 999 or more commits are not live yet"));
        assert!(words_of(&section(0, 1, vec![])).contains("## The branch is behind what is live\n1 commit is live that"));
        assert!(section(0, 0, vec![]).is_empty());
        assert!(super::behind(&a_project("attic", "shop"), NOW).is_empty());
    }

    #[test]
    fn a_head_that_was_bad_is_said_to_be_kept_away() {
        let bad = doorstep_shared::protocol::LiveView { release: 183, commit: COMMIT.into(), ..a_project("attic", "shop").live.unwrap() };
        let mut shop = ProjectRow { quarantined: Some(bad), ..a_project("attic", "shop") };
        let said = "⊘ a1b2c3d was bad here as release 183, so it is not deployed again by itself.";
        let text = words_of(&super::behind(&shop, NOW).into_string());
        assert!(text.starts_with("## The newest commit is kept away") && text.contains(said), "{text}");
        shop.behind = Some(BehindView { behind: 1, ahead: 0, commits: vec![commit("Add the cart")] });
        let text = words_of(&super::behind(&shop, NOW).into_string());
        assert!(text.starts_with("## 1 commit is not live yet") && text.contains(said), "{text}");
    }

    #[test]
    fn only_a_commit_of_github_is_a_link() {
        let href = |repo: &str| commit_link(COMMIT, repo).into_string();
        for repo in ["https://github.com/me/shop.git", "https://github.com/me/shop/", "git@github.com:me/shop.git", "ssh://git@github.com/me/shop"] {
            assert!(href(repo).contains(&format!("href=\"https://github.com/me/shop/commit/{COMMIT}\"")), "{repo}");
        }
        for repo in ["/srv/shop.git", "https://example.org/me/shop", "https://github.com/me", "https://github.com/me/shop/x", "https://github.com/me/..%2f", "https://github.com.evil/a/b"] {
            assert!(!href(repo).contains("<a"), "{repo}");
        }
        assert!(!commit_link("no commit", "https://github.com/me/shop").into_string().contains("<a"));
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| skeleton(&super::behind(&hostile_project(word), NOW).into_string());
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
