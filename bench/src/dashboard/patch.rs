//! How much one step of a run weighs for one tab: the frame that says so, and
//! what the tab fetches then.

use anyhow::{Result, bail};
use doorstep_shared::ids::{Action, Cause, StepState};
use doorstep_shared::protocol::Report;
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Page, project};

use super::{ENCODINGS, Fleet, kb};
use crate::table::{Goal, Table};

const STEPS: [&str; 6] = ["fetch", "verify", "build", "sync", "start", "check"];
/// The promise: all of it.
const GOAL: Goal = Goal::AtMost(2.0, "KB");
const RUN: &str = "bench-1";

/// Measures it, with a log of 500 lines that the tab has.
pub async fn measure(fleet: &Fleet, table: &mut Table) -> Result<()> {
    let edge = &fleet.edge;
    let mut session = edge.enrolled("bench").await.connect(&[project("shop", "bench/shop")]).await;
    let named = "shop".parse()?;
    session.report(Report::Started { run: RUN.to_owned(), job: None, attempt: 0, project: named, action: Action::Deploy, cause: Cause::Push, service: None, at: Timestamp(1) }).await;
    for (index, name) in (0u16..).zip(STEPS) {
        session.report(step(index, name)).await;
    }
    session.report(Report::Log { run: RUN.to_owned(), lines: vec!["a line of the log".to_owned(); 500] }).await;
    let (path, mut tab) = (format!("/runs/{RUN}"), Page::open(edge, &fleet.cookie).await);
    let whole = fetch(fleet, &path, "")?;
    let (have, have_of_home) = (versions(&whole), versions(&fetch(fleet, "/", "")?));
    tab.heard().await;
    session.report(step(6, "switch")).await;
    // Nudges may come later than what they are about.
    let frames = tab.told("a nudge", |told| told["changed"].is_array()).await.to_string().len();
    let more = format!("x-doorstep-have: {have}\r\n{ENCODINGS}");
    let part = fetch(fleet, &path, &more)?.len();
    let wire = fleet.connect()?.exchange(&fleet.request(&path, &more))?.wire_bytes;
    let said = |fetched: usize| {
        let (words, value) = kb(frames + fetched);
        (format!("{words} ({frames} bytes of frames, {fetched} fetched)"), value)
    };
    table.state("dashboard: one step, to a tab on its run's page, bodies", said(part), Some(GOAL));
    table.state("dashboard: the same, with the answer's headers", said(wire), Some(GOAL));
    table.state("dashboard: the run's page as a whole, for comparison", kb(whole.len()), None);
    let more = format!("x-doorstep-have: {have_of_home}\r\n{ENCODINGS}");
    let home = fleet.connect()?.exchange(&fleet.request("/", &more))?.wire_bytes;
    table.state(&format!("dashboard: the same step, to a tab on the first page of {} projects, with headers", fleet.count()), said(home), Some(GOAL));
    Ok(())
}

/// The versions of the parts that a page has, as the header of who has them.
fn versions(page: &str) -> String {
    page.split(" data-v=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>().join(" ")
}

fn step(index: u16, name: &str) -> Report {
    let detail = "3f2a91c Ask for the address once (31 objects, 12.4 KB)".to_owned();
    Report::Step { run: RUN.to_owned(), index, name: name.to_owned(), state: StepState::Succeeded, at: Timestamp(1), duration_ms: Some(12), detail, commit: None }
}

/// The body.
fn fetch(fleet: &Fleet, path: &str, more: &str) -> Result<String> {
    let answer = fleet.connect()?.exchange(&fleet.request(path, more))?;
    if answer.status != 200 {
        bail!("{path} was answered with {}", answer.status);
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
