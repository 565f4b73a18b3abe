//! The pages of a person who is not signed in yet, or whom we cannot help.

use super::Viewer;
use super::html::Html;
use super::layout::{Frame, document};

/// The form that asks for the password. `next` is where to go afterwards; the
/// caller has made sure that it is a path of ours.
#[must_use]
pub fn login(error: Option<&str>, next: &str) -> String {
    let mut html = Html::new();
    html.sign_in_form().raw("<h1>Sign in</h1>");
    if let Some(error) = error {
        html.raw("<p class=\"error\" role=\"alert\" id=\"error\">").text(error).raw("</p>");
    }
    html.raw("<input type=\"hidden\" name=\"next\" value=\"")
        .text(next)
        .raw("\"><label for=\"password\">Password</label>");
    html.raw("<input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required autofocus");
    if error.is_some() {
        html.raw(" aria-invalid=\"true\" aria-describedby=\"error\"");
    }
    html.raw("><button>Sign in</button></form>");
    document("Sign in", &Frame::Plain, &html)
}

/// A page that says what went wrong and how to go on.
#[must_use]
pub fn problem(status: u16, title: &str, sentence: &str) -> String {
    let mut error = Html::new();
    error.raw("<p class=\"muted\">Error ").number(status.into()).raw("</p>");
    card(&error, title, sentence)
}

/// The same for what is no error, to somebody who is signed in.
#[must_use]
pub fn notice(title: &str, sentence: &str, viewer: Viewer<'_>) -> String {
    document(title, &Frame::Still(viewer), &words(&Html::new(), title, sentence))
}

fn card(above: &Html, title: &str, sentence: &str) -> String {
    document(title, &Frame::Plain, &words(above, title, sentence))
}

fn words(above: &Html, title: &str, sentence: &str) -> Html {
    let mut html = Html::new();
    html.raw("<div class=\"card narrow\">").add(above).raw("<h1>").text(title);
    html.raw("</h1><p>").text(sentence).raw("</p><p><a href=\"/\">Back to the projects</a></p></div>");
    html
}

/// Why nobody signs in here, and what to do.
#[must_use]
pub fn not_over_http() -> String {
    let mut html = Html::new();
    html.raw("<div class=\"card narrow\"><h1>Not over plain http</h1>");
    html.raw("<p>Nobody can sign in at this address: the password, and the session after it, would cross the network where others can read them.</p>");
    html.raw("<p>Put https in front of this edge: a reverse proxy, or a tunnel. On a machine of your own the proxy must pass on <code>Host</code> and send <code>X-Forwarded-Proto: https</code>.</p>");
    html.raw("<p>Or come through a tunnel to this machine, and sign in at <code>http://localhost:8787</code>:</p>");
    html.raw("<pre><code>ssh -L 8787:127.0.0.1:8787 you@this-machine</code></pre></div>");
    document("Not over plain http", &Frame::Plain, &html)
}

/// A form that did not come from a page of this session.
#[must_use]
pub fn stale_form() -> String {
    problem(
        403,
        "That was not done",
        "The form did not come from a page of this session. Perhaps you signed in again after the page was opened: go back, load the page again, and press the button there.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOSTILE, seen, skeleton};
    use super::*;

    #[test]
    fn the_form_asks_for_one_thing_and_remembers_where_to_go() {
        let page = login(None, "/runs/1?a=b&c");
        assert_eq!(seen(&page), "Doorstep\n# Sign in\nPassword\n[Sign in]");
        assert!(page.contains("name=\"next\" value=\"/runs/1?a=b&amp;c\""));
        assert!(page.contains("name=\"password\" type=\"password\""));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_wrong_password_is_said_beside_the_form() {
        assert_eq!(
            seen(&login(Some("That is not the password."), "/")),
            "Doorstep\n# Sign in\nThat is not the password.\nPassword\n[Sign in]"
        );
    }

    #[test]
    fn a_problem_says_what_and_where_to_go() {
        assert_eq!(
            seen(&problem(404, "No such run", "It may have been forgotten: old runs are.")),
            "Doorstep\nError 404\n# No such run\nIt may have been forgotten: old runs are.\nBack to the projects"
        );
    }

    #[test]
    fn plain_http_says_why_and_what_to_do() {
        let text = seen(&not_over_http());
        assert!(text.starts_with("Doorstep\n# Not over plain http\nNobody can sign in at this address: the password"), "{text}");
        assert!(text.contains("X-Forwarded-Proto: https") && text.contains("ssh -L 8787:127.0.0.1:8787"));
        assert!(!not_over_http().contains("password\""), "no form that would send it");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        for hostile in HOSTILE {
            assert_eq!(skeleton(&login(Some(hostile), hostile)), skeleton(&login(Some("x"), "/")));
            assert_eq!(skeleton(&problem(500, hostile, hostile)), skeleton(&problem(500, "x", "x")));
        }
    }
}
