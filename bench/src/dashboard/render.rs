//! How long the first page takes, and where that time goes.
//!
//! By turns on one kept connection: `/healthz`, which the Worker answers alone;
//! the smallest call of the hub for somebody who is signed in; the projects as
//! JSON, whose rows are those of the page; and the page. Each less the one
//! before it is what that part adds.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{ENCODINGS, Effort, FIFTY, Fleet};
use crate::http::Connection;
use crate::machine::Cpu;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

const WARM_UP: usize = 20;
const BARE: &str = "/healthz";
const CALL: &str = "/api/usage";
const ROWS: &str = "/api/projects";
const PAGE: &str = "/";

/// One address.
struct Asked {
    what: &'static str,
    request: Vec<u8>,
    wall: Series,
    cpu: Series,
}

/// Measures fleets of one project, of fifty, and of many.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    let (mut least, mut most) = (None, None);
    for size in [(1, 1), FIFTY, effort.large] {
        let fleet = Fleet::of(size).await;
        let cpu = one(effort, &fleet, size == FIFTY, table)?;
        least.get_or_insert((fleet.count(), cpu));
        most = Some((fleet.count(), cpu));
    }
    let (Some(least), Some(most)) = (least, most) else { return Ok(()) };
    let each = (most.1 - least.1) * 1e3 / (most.0 - least.0) as f64;
    table.state(&format!("dashboard: processor time that each project adds ({} → {})", least.0, most.0), (format!("{} µs", figure(each)), each), None);
    Ok(())
}

/// Returns the processor time of a page, in milliseconds.
fn one(effort: &Effort, fleet: &Fleet, is_promised: bool, table: &mut Table) -> Result<f64> {
    let asked = |what, path: &str, more| Asked { what, request: fleet.request(path, more), wall: Series::default(), cpu: Series::default() };
    let mut all = [asked(BARE, BARE, ""), asked(CALL, CALL, ""), asked(ROWS, ROWS, ""), asked(PAGE, PAGE, ""), asked("/ for a browser", PAGE, ENCODINGS)];
    let mut connection = fleet.connect()?;
    for round in 0..WARM_UP + effort.rounds {
        for one in &mut all {
            let ms = timed(&mut connection, &one.request)?;
            if round >= WARM_UP {
                one.wall.push(ms);
            }
        }
    }
    processor(effort, fleet, &mut connection, &mut all)?;
    let [bare, call, rows, page, browser] = &all;
    let what = |text: &str| format!("dashboard, {} projects: {text}", fleet.count());
    let said = |one: &Asked| (format!("{} ms", one.wall.spread()), one.wall.median());
    table.compare(&what("the first page, against /healthz"), said(page), said(bare), None);
    let goal = is_promised.then_some(Goal::AtMost(10.0, "ms"));
    let more = |one: &Asked| {
        let ms = one.wall.median() - bare.wall.median();
        (format!("{} ms", figure(ms)), ms)
    };
    table.state(&what("the first page − /healthz, medians"), more(page), goal);
    let worst = page.wall.quantile(0.99) - bare.wall.quantile(0.99);
    table.state(&what("the same, 99th percentiles"), (format!("{} ms", figure(worst)), worst), None);
    table.state(&what("the first page − /healthz, for a browser that takes gzip"), more(browser), goal);
    let cpu = |one: &Asked| (format!("{} ms", figure(one.cpu.median())), one.cpu.median());
    table.compare(&what("processor time of workerd for the first page, against /healthz"), cpu(page), cpu(bare), None);
    let step = |one: &Asked, before: &Asked| figure(one.cpu.median() - before.cpu.median());
    let parts = format!("/healthz {}, the hub's call {}, its rows as JSON {}, as a page {}, gzip {} ms", figure(bare.cpu.median()), step(call, bare), step(rows, call), step(page, call), step(browser, page));
    table.state(&what("of it"), (parts, page.cpu.median()), None);
    Ok(page.cpu.median())
}

fn timed(connection: &mut Connection, request: &[u8]) -> Result<f64> {
    let begun = Instant::now();
    let answer = connection.exchange(request)?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    if answer.status != 200 {
        bail!("a page was answered with {}", answer.status);
    }
    Ok(ms)
}

/// Counts the processor time of blocks, by turns.
fn processor(effort: &Effort, fleet: &Fleet, connection: &mut Connection, all: &mut [Asked]) -> Result<()> {
    let workerd = fleet.edge.child().descendants("workerd").first().copied().context("no workerd runs below doorstep edge")?;
    for _ in 0..5 {
        for one in &mut *all {
            let before = Cpu::of(workerd)?;
            for _ in 0..effort.block {
                timed(connection, &one.request)?;
            }
            one.cpu.push(before.used_since()? / effort.block as f64);
        }
    }
    for one in all {
        eprintln!("    {}: {} ms of processor time", one.what, one.cpu.range());
    }
    Ok(())
}
