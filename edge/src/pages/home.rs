//! The first page: what needs a look, then every host with its projects.
//!
//! Each host's head and each project is a part with a version, so that an open
//! page is sent no more than what differs, see [`version`](super::version).

mod attention;
mod card;
mod queue;
mod welcome;

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::Html;
use super::layout::{self, Frame};
use super::parts::{self, count_words};
use super::hosts;
use super::version::{self, Have};
use crate::view::{FleetView, HostView, ProjectRow};

pub use card::live;

/// Every host and every project, whole or what of them the reader does not
/// have; with nothing there yet, what to do next.
#[must_use]
pub fn home(view: &FleetView, have: Option<&[String]>, viewer: Viewer<'_>) -> String {
    let (have, now) = (Have(have), viewer.now);
    let looks = attention::of(view);
    let mut html = Html::new();
    html.raw("<h1>Projects</h1>");
    if view.hosts.is_empty() {
        html.add(&welcome::first_host());
    } else {
        html.raw("<p class=\"muted\" id=\"summary\">").text(&summary(view, looks.len())).raw("</p>");
    }
    html.add(&attention::section(&looks, have, now));
    let mut by_host: BTreeMap<&Name, Vec<&ProjectRow>> = BTreeMap::new();
    for project in &view.projects {
        by_host.entry(&project.host).or_default().push(project);
    }
    for host in &view.hosts {
        html.add(&host_section(host, &by_host.remove(&host.name).unwrap_or_default(), have, viewer));
    }
    // Nothing that is known is hidden, even if its host is not listed.
    for (host, projects) in by_host {
        html.add(&section_open(host.as_str())).raw("<h2 id=\"name/").text(host.as_str()).raw("\">").text(host.as_str()).raw("</h2>");
        html.add(&card::list(&projects, have, viewer)).raw("</section>");
    }
    if !view.hosts.is_empty() {
        let no_project = view.projects.is_empty();
        let version = version::of(&("next", viewer.form_token, no_project));
        html.add(&have.part("<div id=\"next\"", "</div>", &version, || welcome::next_steps(no_project)));
    }
    let frame = Frame::Live { menu: "/", viewer };
    if have.is_part() { layout::fragment("Projects", &frame, &html) } else { layout::document("Projects", &frame, &html) }
}

/// "4 projects on 2 hosts: all is well."
fn summary(view: &FleetView, looks: usize) -> String {
    let of = format!("{} on {}", count_words(view.projects.len(), "project"), count_words(view.hosts.len(), "host"));
    match looks {
        0 if view.projects.is_empty() => format!("{of}."),
        0 => format!("{of}: all is well."),
        1 => format!("{of}: one thing needs a look."),
        count => format!("{of}: {count} things need a look."),
    }
}

fn section_open(host: &str) -> Html {
    let mut html = Html::new();
    html.raw("<section id=\"host/").text(host).raw("\" aria-labelledby=\"name/").text(host).raw("\">");
    html
}

fn host_section(host: &HostView, projects: &[&ProjectRow], have: Have<'_>, viewer: Viewer<'_>) -> Html {
    let mut html = section_open(host.name.as_str());
    // What counts on by itself is no news; the script counts on with it.
    let shown = HostView { round_trip_ms: None, last_seen: host.last_seen.filter(|_| !host.online), ..host.clone() };
    html.raw("<div class=\"host\">").add(&have.part("<div class=\"line\"", "</div>", &version::of(&("host", shown)), || host_head(host, viewer.now)));
    html.raw("</div>").add(&card::list(projects, have, viewer)).raw("</section>");
    html
}

/// Its name, whether it is there, and how it is.
fn host_head(host: &HostView, now: Timestamp) -> Html {
    let name = host.name.as_str();
    let mut html = Html::new();
    html.raw("<h2 id=\"name/").text(name).raw("\">").text(name).raw("</h2>");
    html.add(&parts::host_badge(host.online)).raw(" <span class=\"muted\">").add(&hosts::presence(host, now)).raw("</span>");
    if !host.executor_version.is_empty() {
        html.raw(" <span class=\"muted end clamp\">executor ").add(&parts::quote(&host.executor_version)).raw("</span>");
    }
    if let Some(reason) = &host.parked {
        html.raw("<p class=\"parked\">").add(&parts::parked_badge(reason)).raw("</p>");
    }
    html
}

#[cfg(test)]
mod tests;
