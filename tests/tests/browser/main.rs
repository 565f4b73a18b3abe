//! The dashboard in a real browser: what a person sees and does.
//!
//! Each story sets a world up and lets a script of `tests/browser` look at it
//! (`script.rs` has the words between them). A story without Chromium is left
//! out with a loud line. Absent: how pages are found, which is in
//! `tests/browser/selectors.mjs` alone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "stories fail by panicking")]

mod fleet;
mod guests;
mod script;
mod world;

use doorstep_tests::Edge;

use world::World;

#[tokio::test]
async fn a_person_signs_in_and_out_and_a_lost_session_leads_to_signing_in() {
    let Some(chromium) = script::chromium() else { return };
    World::serving("1").await.plays("signin", &chromium).await;
}

#[tokio::test]
async fn a_push_is_seen_arriving_without_a_reload() {
    let Some(chromium) = script::chromium() else { return };
    World::new().await.plays("push", &chromium).await;
}

#[tokio::test]
async fn every_button_shows_what_it_did_where_it_stands() {
    let Some(chromium) = script::chromium() else { return };
    let mut world = World::serving("1").await;
    let _guest = guests::media(&world.shop.edge).await;
    world.plays("actions", &chromium).await;
}

#[tokio::test]
async fn a_host_that_goes_away_and_comes_back_is_seen_to() {
    let Some(chromium) = script::chromium() else { return };
    World::serving("1").await.plays("away", &chromium).await;
}

#[tokio::test]
async fn a_log_of_a_hundred_thousand_lines_opens_and_scrolls() {
    let Some(chromium) = script::chromium() else { return };
    World::serving("1").await.plays("log", &chromium).await;
}

#[tokio::test]
async fn a_log_that_grows_is_fetched_by_the_page_that_shows_it_and_by_no_other() {
    let Some(chromium) = script::chromium() else { return };
    let mut world = World::serving("1").await;
    let _guest = guests::loud(&world.shop.edge).await;
    world.plays("loud", &chromium).await;
}

#[tokio::test]
async fn two_tabs_follow_and_the_back_button_leads_to_where_one_was() {
    let Some(chromium) = script::chromium() else { return };
    let mut world = World::serving("1").await;
    let _guests = guests::many(&world.shop.edge).await;
    world.plays("tabs", &chromium).await;
}

#[tokio::test]
async fn without_javascript_everything_can_be_read_and_done() {
    let Some(chromium) = script::chromium() else { return };
    World::serving("1").await.plays("noscript", &chromium).await;
}

#[tokio::test]
async fn every_page_is_in_order_in_both_sizes_and_both_colours() {
    let Some(chromium) = script::chromium() else { return };
    let (mut world, empty, with_fleet) = (World::serving("1").await, Edge::start().await, Edge::start().await);
    let _fleet = fleet::fleet(&with_fleet).await;
    let _guest = guests::media(&world.shop.edge).await;
    let environment = [("DOORSTEP_URL", world.shop.edge.url("")), ("DOORSTEP_EMPTY_URL", empty.url("")), ("DOORSTEP_FLEET_URL", with_fleet.url(""))];
    let said = script::run("pages", &chromium, &environment, async |words| world.act(words).await).await;
    let last = said[said.len().saturating_sub(3)..].join("\n");
    assert_eq!(last, "csp: 0 violations\naxe: 0 serious\nconsole: 0 errors");
}

#[tokio::test]
async fn hostile_words_are_shown_and_do_nothing() {
    let Some(chromium) = script::chromium() else { return };
    let mut world = World::serving("1").await;
    let _guest = guests::hostile(&mut world.shop).await;
    world.plays("hostile", &chromium).await;
}
