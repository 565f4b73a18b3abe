//! The project's figures, measured in one run on this machine.
//!
//! Each part measures ours and what it is compared with in turns, round by
//! round, so that what else the machine does hits both; the ratio is what
//! counts, the absolute figure is this machine's. Everything is on the
//! loopback, bounded in time and count, and ends with this process. `bench/run`
//! builds what is measured and names it in the environment. What each figure
//! means stands in `README.md`. Absent: figures that were not measured in this
//! very run.

mod ack;
mod compose;
mod dashboard;
mod delivery;
mod deploy;
mod git;
mod hook;
mod http;
mod idle;
mod insert;
mod load;
mod machine;
mod probe;
mod push;
mod script;
mod smee;
mod stats;
mod table;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use deploy::Weight;
use table::Table;

/// How much is measured.
struct Effort {
    /// Rounds of every series; ours and the baseline take turns in each.
    rounds: usize,
    /// Requests of one round on one connection.
    singles: usize,
    /// Requests of one round on several connections.
    floods: usize,
    /// Pushes whose way to the executor is measured.
    deliveries: usize,
    /// Deploys of the light app.
    light: deploy::Effort,
    /// Deploys of the heavy one.
    heavy: deploy::Effort,
    /// Starts of the daemon.
    starts: usize,
    /// How long the daemon idles.
    idle: Duration,
    /// Requests while an app is deployed.
    traffic: traffic::Effort,
    /// Repositories of which one commit is fetched, and how often from each.
    git: git::Effort,
    /// How long to wait for a machine that has nothing else to do, in all.
    patience: Duration,
}

const WHOLE: Effort = Effort {
    rounds: 10,
    singles: 150,
    floods: 1_500,
    deliveries: 300,
    light: deploy::Effort { rounds: 10, cold: 2 },
    heavy: deploy::Effort { rounds: 6, cold: 2 },
    starts: 10,
    idle: Duration::from_secs(30),
    traffic: traffic::WHOLE,
    git: git::WHOLE,
    patience: Duration::from_secs(180),
};

const QUICK: Effort = Effort {
    rounds: 4,
    singles: 100,
    floods: 1_000,
    deliveries: 100,
    light: deploy::Effort { rounds: 4, cold: 1 },
    heavy: deploy::Effort { rounds: 3, cold: 1 },
    starts: 4,
    idle: Duration::from_secs(30),
    traffic: traffic::QUICK,
    git: git::QUICK,
    patience: Duration::from_secs(30),
};

/// What is measured when nothing is named.
const PARTS: [&str; 4] = ["ack", "delivery", "deploy", "idle"];
/// What is measured only when it is named: each takes as long as all the others.
const NAMED: [&str; 3] = ["deploy-heavy", "git", "traffic"];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = words.split_first()
        && first == "load"
    {
        return runtime()?.block_on(load::run(rest));
    }
    if let Some((first, rest)) = words.split_first()
        && first == "dashboard"
    {
        return runtime()?.block_on(dashboard::run(rest));
    }
    if let Some((first, rest)) = words.split_first()
        && first == "compose"
    {
        // Of one thread: it moves into another network.
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(compose::run(rest));
    }
    let (mut effort, mut parts) = (WHOLE, Vec::new());
    for word in words {
        match word.as_str() {
            "--quick" => effort = QUICK,
            part if NAMED.contains(&part) || PARTS.contains(&part) => parts.push(part.to_owned()),
            other => bail!("{other} is neither --quick nor one of load, compose, dashboard, {}, {}", NAMED.join(", "), PARTS.join(", ")),
        }
    }
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).to_vec();
    }
    runtime()?.block_on(measure(&effort, &parts))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

async fn measure(effort: &Effort, parts: &[String]) -> Result<()> {
    let begun = Instant::now();
    let mut patience = machine::Patience::new(effort.patience);
    let (mut table, mut loads) = (Table::default(), Vec::new());
    let wants = |part: &str| parts.iter().any(|wanted| wanted == part);
    for part in ["ack", "delivery"].into_iter().filter(|part| wants(part)) {
        loads.push(format!("{part} {}", patience.wait(part)));
        match part {
            "ack" => ack::measure(effort, &mut table).await?,
            _ => delivery::measure(effort, &mut table).await?,
        }
    }
    if wants("deploy") || wants("idle") {
        loads.push(format!("deploy {}", patience.wait("deploy")));
        let changes = if wants("deploy") { effort.light.rounds + 1 } else { 0 };
        let versions = deploy::Versions::lock(Weight::Light, changes)?;
        let mut shop = deploy::open_shop(&versions).await;
        if wants("deploy") {
            deploy::measure(&effort.light, Weight::Light, &versions, &mut shop, &mut table).await?;
        }
        if wants("idle") {
            idle::measure(effort, &mut shop, &mut table).await?;
        }
    }
    for part in NAMED.into_iter().filter(|part| wants(part)) {
        loads.push(format!("{part} {}", patience.wait(part)));
        match part {
            "deploy-heavy" => heavy(&effort.heavy, &mut table).await?,
            "git" => git::measure(&effort.git, &mut table).await?,
            _ => traffic::measure(&effort.traffic, &mut table).await?,
        }
    }
    println!("\n{}", machine::class());
    println!("Load before each part: {}. Measured in {:.0} s.\n", loads.join("; "), begun.elapsed().as_secs_f64());
    print!("{}", table.text());
    Ok(())
}

async fn heavy(effort: &deploy::Effort, table: &mut Table) -> Result<()> {
    let versions = deploy::Versions::lock(Weight::Heavy, effort.rounds + 1)?;
    let mut shop = deploy::open_shop(&versions).await;
    deploy::measure(effort, Weight::Heavy, &versions, &mut shop, table).await
}
