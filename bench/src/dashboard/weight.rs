//! How much a first view weighs on the wire: the page, its style, its script.

use anyhow::{Context, Result, bail};
use doorstep_tests::gzipped;

use super::{ENCODINGS, Fleet, kb};
use crate::table::{Goal, Table};

/// The promise: everything together, transferred.
const GOAL: Goal = Goal::AtMost(60.0, "KB");

/// The bytes of one answer.
#[derive(Default)]
struct Weight {
    /// To who takes no encoding: the body alone.
    body: usize,
    /// The same, compressed by `gzip`.
    gzipped: usize,
    /// What came over the wire for a browser, headers included.
    wire: usize,
}

/// Measures it.
pub async fn measure(fleet: &Fleet, table: &mut Table) -> Result<()> {
    let (page, text) = weigh(fleet, "/").await?;
    let style = weigh(fleet, asset(&text, "style")?).await?.0;
    let script = weigh(fleet, asset(&text, "live")?).await?.0;
    let what = |text: &str| format!("dashboard, {} projects: {text}", fleet.count());
    let all = [&page, &style, &script];
    let sum = |get: fn(&Weight) -> usize| all.iter().map(|weight| get(weight)).sum::<usize>();
    let said = |get: fn(&Weight) -> usize| {
        let [page, style, script] = all.map(|weight| kb(get(weight)).0);
        let (words, value) = kb(sum(get));
        (format!("{words} (page {page}, style {style}, script {script})"), value)
    };
    table.state(&what("first view, from workerd to a browser, with headers"), said(|weight| weight.wire), Some(GOAL));
    table.state(&what("first view, compressed by gzip, bodies"), said(|weight| weight.gzipped), Some(GOAL));
    table.state(&what("first view, not compressed, bodies"), said(|weight| weight.body), None);
    Ok(())
}

async fn weigh(fleet: &Fleet, path: &str) -> Result<(Weight, String)> {
    let answer = fleet.edge.request("GET", path, &[("cookie", &fleet.cookie), ("accept-encoding", "identity")], "").await;
    if answer.status != 200 {
        bail!("{path} was answered with {}", answer.status);
    }
    let wire = fleet.connect()?.exchange(&fleet.request(path, ENCODINGS))?.wire_bytes;
    Ok((Weight { body: answer.body.len(), gzipped: gzipped(&answer.body), wire }, answer.text()))
}

/// The path of the page's file that begins so.
fn asset<'a>(page: &'a str, stem: &str) -> Result<&'a str> {
    let begin = format!("/assets/{stem}.");
    page.split('"').find(|word| word.starts_with(&begin)).with_context(|| format!("the page has no {stem}"))
}
