//! The dashboard's pages: views in, complete HTML documents out.
//!
//! Every function is pure and total: no clock, no IO, no decision, and no
//! panic whatever the view holds, because a panic here would take the whole
//! Worker down. What is shown was decided by whoever made the view.
//!
//! Pages are complete without JavaScript; `live.js` only keeps an open one true.
//! Text enters through [`html`], which escapes it. Absent on purpose: inline
//! styles and scripts, and anything from another origin, so that the content
//! security policy can forbid them.

mod asks;
mod assets;
mod audit;
mod bars;
mod behind;
mod changes;
mod containers;
mod deliveries;
mod delivery;
mod enrollment;
mod history;
mod home;
mod hosts;
mod html;
mod json;
mod layout;
mod log;
mod login;
mod parts;
mod project;
mod run;
mod services;
mod settings;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
mod used;
mod version;
mod when;

pub use assets::{Asset, find as asset};
pub use audit::audit;
pub use containers::{asked_all, containers};
pub use deliveries::deliveries;
pub use delivery::delivery;
pub use enrollment::enrollment;
pub use home::home;
pub use hosts::hosts;
pub use log::log_part;
pub use login::{login, not_over_http, notice, problem, stale_form};
pub use project::project;
pub use run::{run, run_wants_log};
pub use settings::settings;
pub use version::HAVE_MAX;

use doorstep_shared::time::Timestamp;

/// Who sees a page, and when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// When.
    pub now: Timestamp,
    /// What the forms of the person's session carry.
    pub form_token: &'a str,
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::view::{AuditView, ContainersView, DeliveriesView, DeliveryPage, EnrollmentView, FleetView, ProjectPage};

    /// Most that style and script may weigh together before compression, in bytes;
    /// it makes a third of that, and a first visit has 60 KB.
    const ASSETS_BYTES_MAX: usize = 42 * 1024;

    fn every_page() -> Vec<String> {
        let runs = ["running", "succeeded", "failed", "rolled_back", "refused"].map(|s| a_run(s, s)).to_vec();
        let steps = ["pending", "started", "succeeded", "failed", "undone"].map(|s| a_step(s, s, None, "")).to_vec();
        let mut pages = vec![
            login(None, "/"),
            login(Some("no"), "/"),
            not_over_http(),
            stale_form(),
            audit(&AuditView::default(), VIEWER),
            audit(&an_audit(), VIEWER),
            settings(&some_settings(), VIEWER),
            hosts(&[], VIEWER),
            hosts(&some_settings().hosts, VIEWER),
            problem(404, "No such page", "There is nothing here."),
            notice("Nothing follows from it", "No project follows it.", VIEWER),
            home(&FleetView::default(), None, VIEWER),
            home(&FleetView { hosts: vec![a_host("attic", false)], projects: vec![] }, None, VIEWER),
            home(&a_fleet(), None, VIEWER),
            project(&ProjectPage { project: a_project("attic", "shop"), runs: vec![], before: None, older: None, used: vec![] }, VIEWER),
            project(&ProjectPage { project: a_fleet().projects.remove(2), runs: runs.clone(), before: None, older: None, used: vec![] }, VIEWER),
            containers(&ContainersView::default(), VIEWER),
            containers(&some_containers(), VIEWER),
            asked_all(&an_ask_to_all(), VIEWER),
            deliveries(&DeliveriesView::default(), VIEWER),
            deliveries(&DeliveriesView { rows: vec![a_delivery("d", "accepted", 5)], missed_last_day: 2, older: Some(1), ..DeliveriesView::default() }, VIEWER),
            delivery(&DeliveryPage { row: a_delivery("d", "ignored", 5), jobs: vec![], payload: "{}".into() }, VIEWER),
            enrollment(&EnrollmentView { code: "c".into(), expires_at: NOW, command: "doorstep join".into() }, VIEWER),
        ];
        for row in runs {
            pages.push(run(&a_run_page(row, steps.clone(), &["line".into()]), None, VIEWER));
        }
        pages
    }

    #[test]
    fn every_page_is_a_whole_document_with_its_headings_in_order() {
        for page in every_page() {
            assert!(page.starts_with("<!doctype html><html lang=\"en\">") && page.ends_with("</html>"));
            assert_well_formed(&page);
            assert_eq!(page.matches("<h1>").count(), 1, "{page}");
            assert_eq!(page.matches("<main ").count(), 1);
            let levels: Vec<u32> = page.split("<h").filter_map(|rest| rest.chars().next()?.to_digit(10)).collect();
            assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
        }
    }

    #[test]
    fn every_form_that_changes_something_has_the_token() {
        for page in every_page() {
            let posts = page.matches("method=\"post\"").count();
            let sign_in = page.matches("action=\"/login\"").count();
            let with = page.matches(&format!("\"><input type=\"hidden\" name=\"form_token\" value=\"{}\">", VIEWER.form_token)).count();
            assert_eq!(posts - sign_in, with, "{page}");
            assert!(!page.contains('\0'));
        }
    }

    #[test]
    fn nothing_on_a_page_needs_a_looser_policy() {
        for page in every_page() {
            for tag in tags(&page) {
                for attribute in ["style", "on", "srcset"] {
                    assert!(!tag.contains(&format!(" {attribute}")), "{tag}");
                }
                assert!(!tag.starts_with("script") || tag == format!("script defer src=\"/assets/{}\"", assets::LIVE.name), "{tag}");
                assert!(!tag.contains("javascript:"), "{tag}");
            }
            assert!(!page.contains("<style"));
        }
        assert!(!assets::STYLE.text.contains("url(") && !assets::STYLE.text.contains("@import"));
        for word in ["eval(", "innerHTML", "outerHTML", "document.write", "insertAdjacentHTML"] {
            assert!(!assets::LIVE.text.contains(word), "{word}");
        }
    }

    #[test]
    fn ids_are_unique_on_a_page() {
        for page in every_page() {
            let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all);
        }
    }

    #[test]
    fn style_and_script_stay_small() {
        assert!(assets::STYLE.text.len() + assets::LIVE.text.len() <= ASSETS_BYTES_MAX, "{} + {}", assets::STYLE.text.len(), assets::LIVE.text.len());
    }
}
