//! What every page has around its content.
//!
//! Nothing is inline but the icon: no style attribute, no script, so that the
//! content security policy can forbid both.

use super::Viewer;
use super::assets;
use super::html::{Href, Html};

/// The pages of the menu.
const MENU: &[(&str, &str)] = &[("/", "Projects"), ("/containers", "Containers"), ("/hosts", "Hosts"), ("/deliveries", "Deliveries"), ("/audit", "Audit"), ("/settings", "Settings")];

/// A door that stands open.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
%3Crect width='16' height='16' rx='3' fill='%230b57a8'/%3E%3Cpath d='M4 14V3h5v11zM11 5v9' fill='none' stroke='%23fff' stroke-width='1.5'/%3E%3C/svg%3E";

/// Who sees the page, and whether it keeps itself true.
pub enum Frame<'a> {
    /// Signed in; `live.js` fetches it again when something changed.
    Live {
        /// Path of the menu's entry it belongs to.
        menu: &'static str,
        /// Who sees it, and when.
        viewer: Viewer<'a>,
    },
    /// Signed in; shown once.
    Still(Viewer<'a>),
    /// Anybody.
    Plain,
}

/// The complete document.
pub fn document(title: &str, frame: &Frame<'_>, content: &Html) -> String {
    let mut html = Html::new();
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(title);
    html.raw(" · Doorstep</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    // `no-referrer` would turn the Origin of our own forms into `null`.
    html.raw("<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"referrer\" content=\"same-origin\">");
    html.raw("<meta name=\"robots\" content=\"noindex\"><link rel=\"icon\" href=\"").raw(ICON);
    html.raw("\"><link rel=\"stylesheet\" href=\"").href(&assets::href(&assets::STYLE)).raw("\">");
    if matches!(frame, Frame::Live { .. }) {
        html.raw("<script defer src=\"").href(&assets::href(&assets::LIVE)).raw("\"></script>");
    }
    html.raw("</head><body><a class=\"skip\" href=\"#main\">Skip to content</a>").add(&header(frame));
    html.add(&main(frame, content)).raw("</body></html>");
    html.into_page(form_token(frame))
}

/// What of a document changes while it is open: its title and its content.
pub fn fragment(title: &str, frame: &Frame<'_>, content: &Html) -> String {
    let mut html = Html::new();
    html.raw("<title>").text(title).raw(" · Doorstep</title>").add(&main(frame, content));
    html.into_page(form_token(frame))
}

/// What the forms of who sees it carry.
fn form_token<'a>(frame: &Frame<'a>) -> &'a str {
    match frame {
        Frame::Live { viewer, .. } | Frame::Still(viewer) => viewer.form_token,
        Frame::Plain => "",
    }
}

fn main(frame: &Frame<'_>, content: &Html) -> Html {
    let mut html = Html::new();
    html.raw("<main id=\"main\" tabindex=\"-1\"");
    if let Frame::Live { viewer, .. } = frame {
        html.raw(" data-now=\"").number(viewer.now.0).raw("\"");
    }
    html.raw(">").add(content).raw("</main>");
    html
}

fn header(frame: &Frame<'_>) -> Html {
    let mut html = Html::new();
    html.raw("<header><a class=\"brand\" href=\"/\">Doorstep</a>");
    let current = match frame {
        Frame::Plain => {
            html.raw("</header>");
            return html;
        }
        Frame::Still(_) => None,
        Frame::Live { menu, .. } => Some(*menu),
    };
    html.raw("<nav aria-label=\"Main\"><ul>");
    for (path, name) in MENU {
        html.raw("<li><a href=\"").raw(path);
        html.raw(if current == Some(*path) { "\" aria-current=\"page\">" } else { "\">" }).raw(name).raw("</a></li>");
    }
    html.raw("</ul></nav><span id=\"live\" role=\"status\" aria-live=\"polite\"></span>");
    html.form(&Href::local(&["logout"])).raw("<button class=\"quiet\">Sign out</button></form></header>");
    html
}
