//! Figure 1: how long GitHub waits, against the bare insert of the same body.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doorstep_tests::{Edge, project};
use rustix::process::Pid;

use crate::Effort;
use crate::http::Connection;
use crate::insert::Insert;
use crate::machine;
use crate::push::Pushes;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

const CONNECTIONS: [usize; 2] = [8, 32];
/// Requests before anything is measured: code is compiled, the object wakes.
const WARM_UP: usize = 200;

/// What the three sides are asked, in turns.
struct Sides {
    unmatched: Pushes,
    matched: Pushes,
    edge: SocketAddr,
    insert: SocketAddr,
}

/// Measures it.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    let (edge, insert) = (Edge::start().await, Insert::start().await?);
    // The host is away: a push is stored and its job waits, replacing the one before.
    drop(edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await);
    let mut sides = Sides { unmatched: Pushes::to("me/other", 1), matched: Pushes::to("me/shop", 2), edge: edge.address(), insert: insert.address };
    check(&mut sides)?;
    single(effort, &mut sides, table)?;
    for connections in CONNECTIONS {
        several(effort, connections, &mut sides, table)?;
    }
    let workerd = edge.child().descendants("workerd").first().copied().context("no workerd runs below doorstep edge")?;
    let said = |pid: Pid| -> Result<(String, f64)> {
        let (now, peak) = machine::resident(pid)?;
        Ok((format!("{now:.0} (peak {peak:.0}) MiB"), now))
    };
    table.compare("ack: resident memory of workerd afterwards", said(workerd)?, said(insert.pid())?, None);
    Ok(())
}

/// Does each side do what it is said to do?
fn check(sides: &mut Sides) -> Result<()> {
    let answer = |address, request: &[u8]| -> Result<serde_json::Value> {
        let answer = Connection::open(address)?.exchange(request)?;
        if answer.status != 202 {
            bail!("{address} answered {}", answer.status);
        }
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    };
    let (unmatched, matched) = (sides.unmatched.next(), sides.matched.next());
    let said = [answer(sides.edge, &unmatched)?, answer(sides.edge, &matched)?].map(|json| json["status"].to_string());
    if said != [r#""ignored""#, r#""queued""#] {
        bail!("the edge said {said:?} to a push that matches nothing and one that matches a project");
    }
    answer(sides.insert, &matched)?;
    for address in [sides.edge, sides.insert] {
        one_by_one(address, &sides.unmatched.take(WARM_UP))?;
    }
    Ok(())
}

fn single(effort: &Effort, sides: &mut Sides, table: &mut Table) -> Result<()> {
    let [mut unmatched, mut matched, mut bare] = [(); 3].map(|()| Series::default());
    for _ in 0..effort.rounds {
        let requests = [sides.unmatched.take(effort.singles), sides.matched.take(effort.singles)];
        unmatched.extend(&one_by_one(sides.edge, &requests[0])?);
        bare.extend(&one_by_one(sides.insert, &requests[0])?);
        matched.extend(&one_by_one(sides.edge, &requests[1])?);
    }
    let said = |series: &Series| (format!("{} ms", series.spread()), series.median());
    let goal = Some(Goal::RatioAtMost(1.25));
    table.compare("ack: 1 connection, push that matches nothing", said(&unmatched), said(&bare), goal);
    table.compare("ack: 1 connection, push that enqueues a job", said(&matched), said(&bare), goal);
    Ok(())
}

/// Sends them one after the other on one connection; milliseconds each.
fn one_by_one(address: SocketAddr, requests: &[Vec<u8>]) -> Result<Series> {
    let (mut connection, mut series) = (Connection::open(address)?, Series::default());
    for request in requests {
        let begun = Instant::now();
        let answer = connection.exchange(request)?;
        series.push(begun.elapsed().as_secs_f64() * 1e3);
        if answer.status != 202 {
            bail!("{address} answered {}", answer.status);
        }
    }
    Ok(series)
}

fn several(effort: &Effort, connections: usize, sides: &mut Sides, table: &mut Table) -> Result<()> {
    let [mut unmatched, mut matched, mut bare] = [(); 3].map(|()| (Series::default(), Series::default()));
    for _ in 0..effort.rounds.div_ceil(2) {
        let requests = [sides.unmatched.take(effort.floods), sides.matched.take(effort.floods)];
        flood(sides.edge, connections, &requests[0], &mut unmatched)?;
        flood(sides.insert, connections, &requests[0], &mut bare)?;
        flood(sides.edge, connections, &requests[1], &mut matched)?;
    }
    let said = |(rates, times): &(Series, Series)| {
        (format!("{} a second; {} ms", figure(rates.median()), times.spread()), rates.median())
    };
    let goal = Some(Goal::RatioAtLeast(1.2));
    table.compare(&format!("ack: {connections} connections, matches nothing"), said(&unmatched), said(&bare), goal);
    table.compare(&format!("ack: {connections} connections, enqueues a job"), said(&matched), said(&bare), goal);
    Ok(())
}

/// Sends them over several connections; adds the rate of the round and the
/// milliseconds of each.
fn flood(address: SocketAddr, connections: usize, requests: &[Vec<u8>], into: &mut (Series, Series)) -> Result<()> {
    let barrier = Barrier::new(connections + 1);
    let (times, took) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|first| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let connection = Connection::open(address);
                    barrier.wait();
                    let (mut connection, mut times) = (connection?, Series::default());
                    for request in requests.iter().skip(first).step_by(connections) {
                        let begun = Instant::now();
                        let answer = connection.exchange(request)?;
                        times.push(begun.elapsed().as_secs_f64() * 1e3);
                        if answer.status != 202 {
                            bail!("{address} answered {} under load", answer.status);
                        }
                    }
                    Ok(times)
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        let times: Vec<Result<Series>> = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect();
        (times, begun.elapsed())
    });
    for series in times {
        into.1.extend(&series?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    into.0.push(requests.len() as f64 / took.as_secs_f64());
    Ok(())
}
