//! The one-time code of a new host.
//!
//! This page answers a POST and is shown once, so it must not fetch itself again.


use super::Viewer;
use super::html::Html;
use super::layout::{Frame, document};
use super::when;
use crate::view::EnrollmentView;

/// The code, and the command to type on the host.
#[must_use]
pub fn enrollment(view: &EnrollmentView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let mut html = Html::new();
    html.raw("<h1>Add a host</h1><div class=\"card\"><p>Type this on the host:</p><pre><code>");
    html.text(&view.command).raw("</code></pre><dl><div><dt>Code</dt><dd><code>").text(&view.code);
    html.raw("</code></dd></div><div><dt>Ends</dt><dd>").add(&when::until(view.expires_at, now));
    html.raw("</dd></div></dl><p>The code works once and is shown only now. If it is lost, make another.</p>");
    html.raw("<p>Then start it with <code>doorstep run</code>.</p>");
    html.raw("<p><a href=\"/\">To the projects</a>, where the host shows up.</p></div>");
    document("Add a host", &Frame::Still(viewer), &html)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn view(code: &str, command: &str) -> EnrollmentView {
        EnrollmentView { code: code.into(), expires_at: NOW.plus_ms(600_000), command: command.into() }
    }

    #[test]
    fn the_code_and_the_command() {
        let page = enrollment(&view("8F2K-QX7M", "doorstep join https://doorstep.example.workers.dev 8F2K-QX7M"), VIEWER);
        let text = seen(&page);
        assert!(text.contains("Type this on the host:\ndoorstep join https://doorstep.example.workers.dev 8F2K-QX7M\nCode\n8F2K-QX7M\nEnds\nin 10 min"), "{text}");
        assert!(!page.contains("<script"), "a page that is shown once must not fetch itself again");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        for hostile in HOSTILE {
            assert_eq!(
                skeleton(&enrollment(&view(hostile, hostile), VIEWER)),
                skeleton(&enrollment(&view("x", "x"), VIEWER))
            );
        }
    }
}
