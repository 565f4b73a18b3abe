//! Figure 4: what the executor takes while nothing happens, and how fast it is
//! there. The daemon and its proxy are two processes of one binary; the goals
//! are about the daemon, which is what other agents are.

use std::time::Instant;

use anyhow::{Context, Result};
use doorstep_tests::machine::{Memory, memory, processes_running};
use doorstep_tests::{Page, Shop, Tools, wait};
use rustix::process::Pid;

use crate::Effort;
use crate::machine::Cpu;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

/// Measures it.
pub async fn measure(effort: &Effort, shop: &mut Shop, table: &mut Table) -> Result<()> {
    shop.is_idle().await;
    let daemon = shop.host.daemon().pid();
    let proxy = processes_running("doorstep", &shop.host.state()).into_iter().filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?)).find(|pid| *pid != daemon);
    let proxy = proxy.context("the proxy does not run")?;
    let pids = [daemon, proxy];
    let after = pids.map(of);
    let alone = async || pids.map(|pid| Cpu::of(pid).map_or(0, |cpu| cpu.threads()));
    wait::until("the threads of the last deploy to end", alone, |threads| *threads == [1, 1]).await;
    let before = [Cpu::of(daemon)?, Cpu::of(proxy)?];
    tokio::time::sleep(effort.idle).await;
    let used = [before[0].used_since()?, before[1].used_since()?];
    let seconds = effort.idle.as_secs();
    let resident = Some(Goal::AtMost(12.0, "MiB"));
    table.state("executor: memory after a deploy, daemon", said(after[0]), resident);
    table.state(&format!("executor: memory after {seconds} s idle, daemon"), said(of(daemon)), resident);
    table.state(&format!("executor: memory after {seconds} s idle, proxy"), said(of(proxy)), None);
    // 5 ms a minute.
    let goal = Goal::AtMost(5.0 * effort.idle.as_secs_f64() / 60.0, "ms");
    table.state(&format!("executor: processor time in {seconds} s idle, daemon"), (format!("{} ms", figure(used[0])), used[0]), Some(goal));
    table.state(&format!("executor: processor time in {seconds} s idle, proxy"), (format!("{} ms", figure(used[1])), used[1]), None);
    starts(effort, shop, table).await?;
    let bytes = std::fs::metadata(Tools::find().doorstep)?.len();
    #[expect(clippy::cast_precision_loss, reason = "a size far below 2^52")]
    let megabytes = bytes as f64 / 1e6;
    table.state("executor: size of the binary", (format!("{megabytes:.1} MB"), megabytes), Some(Goal::AtMost(12.0, "MB")));
    Ok(())
}

/// Starts the daemon beside its running app, until the edge believes it.
async fn starts(effort: &Effort, shop: &mut Shop, table: &mut Table) -> Result<()> {
    let cookie = shop.edge.session().await;
    let mut series = Series::default();
    for _ in 0..effort.starts {
        shop.host.stop().await;
        shop.edge.sees_host(shop.host.name(), false).await;
        // A page is told at once that the host is there.
        let mut page = Page::open(&shop.edge, &cookie).await;
        let begun = Instant::now();
        shop.host.run();
        page.hear().await;
        series.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    table.state("executor: start → the edge has believed its hello", (format!("{} ms", series.range()), series.median()), Some(Goal::AtMost(15.0, "ms")));
    Ok(())
}

fn of(pid: Pid) -> Memory {
    memory(pid.as_raw_nonzero().get().unsigned_abs())
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn said(memory: Memory) -> (String, f64) {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let [rss, pss, anon] = [memory.rss, memory.pss, memory.anonymous].map(|kib| figure(mib(kib)));
    (format!("RSS {rss}, PSS {pss}, anonymous {anon} MiB"), mib(memory.rss))
}
