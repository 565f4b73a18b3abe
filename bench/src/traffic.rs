//! No dropped request: an app under steady load is deployed again and again,
//! behind uvicorn and behind gunicorn, and every answer is counted.
//!
//! The load is open: each request has its time, and is late if the one before
//! it was; its latency counts from that time. Every second request comes on a
//! connection of its own, the others on kept ones, and none is tried twice.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use doorstep_tests::{App, Shop, Terms};

use crate::http::{self, Connection};
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

/// Between the times of two requests: 500 a second.
const EVERY: Duration = Duration::from_millis(2);
/// Connections at once; with answers of some milliseconds a few are busy.
const SENDERS: usize = 16;
/// Failures that are kept as text.
const SHOWN_MAX: usize = 5;
/// Exchanges of one turn when the proxy is compared with the app itself.
const TURN: usize = 100;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Requests of each server while it is deployed, at least.
    pub requests: usize,
    /// Deploys of each server.
    pub deploys: usize,
    /// Requests of each server while nothing else happens.
    pub steady: usize,
    /// Turns through the proxy and past it.
    pub turns: usize,
}

/// 100,000 requests over 40 deploys.
pub const WHOLE: Effort = Effort { requests: 50_000, deploys: 20, steady: 10_000, turns: 20 };
/// A tenth of that.
pub const QUICK: Effort = Effort { requests: 5_000, deploys: 4, steady: 2_500, turns: 5 };

const WSGI: &str = r#"import json

VERSION = "@VERSION@"

def app(environ, start_response):
    body = json.dumps({"version": VERSION, "status": 200}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"#;

/// A server that people run.
#[derive(Clone, Copy, Debug)]
enum Server {
    Uvicorn,
    Gunicorn,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Uvicorn => "uvicorn",
            Self::Gunicorn => "gunicorn",
        }
    }

    fn app(self) -> App {
        match self {
            Self::Uvicorn => App::fastapi("0").locked(),
            Self::Gunicorn => {
                let mut app = App::plain("0").depending("\"gunicorn\"").file("app.py", &WSGI.replace("@VERSION@", "0"));
                app.command = r#"["gunicorn", "app:app", "--bind", "127.0.0.1:{port}", "--workers", "2", "--threads", "8"]"#;
                app.locked()
            }
        }
    }
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Sent {
    latency_ms: Series,
    failed: usize,
    shown: Vec<String>,
}

/// Senders at work, until they are stopped.
struct Load {
    is_over: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
    senders: Vec<std::thread::JoinHandle<Sent>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (is_over, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let start = Instant::now();
        let sender = |_| {
            let (is_over, begun) = (Arc::clone(&is_over), Arc::clone(&begun));
            std::thread::spawn(move || send(address, start, &is_over, &begun))
        };
        let senders = (0..SENDERS).map(sender).collect();
        Self { is_over, begun, senders }
    }

    /// Waits until so many requests were begun.
    fn reach(&self, requests: usize) {
        while self.begun.load(Ordering::Relaxed) < requests {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) -> Sent {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        for sender in self.senders {
            let Ok(sent) = sender.join() else {
                all.failed += 1;
                continue;
            };
            all.latency_ms.extend(&sent.latency_ms);
            all.failed += sent.failed;
            all.shown.extend(sent.shown);
        }
        all.shown.truncate(SHOWN_MAX);
        all
    }
}

fn send(address: SocketAddr, start: Instant, is_over: &AtomicBool, begun: &AtomicUsize) -> Sent {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (mut sent, mut kept) = (Sent::default(), None::<Connection>);
    // By turns for each sender: one that only ever drew even numbers would
    // leave its kept connection idle until nobody keeps it.
    let mut is_kept = false;
    while !is_over.load(Ordering::Relaxed) {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        is_kept = !is_kept;
        let due = start + EVERY.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = if is_kept { exchange(address, &mut kept, request.as_bytes()) } else { http::get(address, "/") };
        match answer {
            Ok(answer) if answer.status == 200 => sent.latency_ms.push(due.elapsed().as_secs_f64() * 1e3),
            Ok(answer) => sent.fail(format!("answered {}", answer.status)),
            Err(fault) => {
                kept = None;
                let how = if is_kept { "a kept connection" } else { "one of its own" };
                sent.fail(format!("number {number} on {how}, {:.3} s after the first: {fault:#}", start.elapsed().as_secs_f64()));
            }
        }
    }
    sent
}

impl Sent {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(why);
        }
    }
}

fn exchange(address: SocketAddr, kept: &mut Option<Connection>, request: &[u8]) -> Result<http::Answer> {
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::open(address)?),
    };
    connection.exchange(request)
}

/// Measures it.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    for server in [Server::Uvicorn, Server::Gunicorn] {
        under_load(server, effort, table).await?;
    }
    Ok(())
}

async fn under_load(server: Server, effort: &Effort, table: &mut Table) -> Result<()> {
    let (name, app) = (server.name(), server.app());
    let mut shop = Shop::open_on(Terms::of(&app).with_uv(), &app).await;
    let address = shop.address();
    // Caches fill; then the same once more, and counted.
    load_alone(address, effort.steady / 5).await?;
    let steady = load_alone(address, effort.steady).await?;
    through_and_past(name, &mut shop, effort, table).await?;
    let load = Load::start(address);
    for round in 1..=effort.deploys {
        let version = format!("v{round}");
        let source = app.source().replace("\"0\"", &format!("\"{version}\""));
        let run = shop.push_and_see(&app.clone().file("app.py", &source)).await;
        if run["run"]["state"] != "succeeded" {
            bail!("deploy {round} of {name}: {run:#}");
        }
    }
    let load = tokio::task::spawn_blocking({
        let requests = effort.requests;
        move || {
            load.reach(requests);
            load.stop()
        }
    });
    let deployed = load.await?;
    for why in &deployed.shown {
        eprintln!("  {name}: a request failed: {why}");
    }
    let count = deployed.latency_ms.len() + deployed.failed;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let failed = deployed.failed as f64;
    let what = format!("traffic, {name}: failed of {count} requests over {} deploys, half of them on new connections", effort.deploys);
    table.state(&what, (deployed.failed.to_string(), failed), Some(Goal::AtMost(0.0, "failed")));
    let p99 = |sent: &Sent| (format!("{} ms", sent.latency_ms.spread()), sent.latency_ms.quantile(0.99));
    table.compare(&format!("traffic, {name}: p99 while it is deployed, against steady"), p99(&deployed), p99(&steady), Some(Goal::RatioAtMost(3.0)));
    Ok(())
}

async fn load_alone(address: SocketAddr, requests: usize) -> Result<Sent> {
    let sent = tokio::task::spawn_blocking(move || {
        let load = Load::start(address);
        load.reach(requests);
        load.stop()
    });
    let sent = sent.await?;
    if sent.failed > 0 {
        bail!("{} requests failed while nothing was deployed: {:?}", sent.failed, sent.shown);
    }
    Ok(sent)
}

/// One request after the other, by turns through the proxy and at the app's own port.
async fn through_and_past(name: &str, shop: &mut Shop, effort: &Effort, table: &mut Table) -> Result<()> {
    let port = shop.status().await["process"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else { bail!("the app has no port of its own") };
    let (proxy, own) = (shop.address(), SocketAddr::from(([127, 0, 0, 1], port)));
    let turns = effort.turns;
    let measured = tokio::task::spawn_blocking(move || -> Result<_> {
        let (mut through, mut past) = (Series::default(), Series::default());
        for _ in 0..turns {
            turn(proxy, &mut through)?;
            turn(own, &mut past)?;
        }
        Ok((through, past))
    });
    let (through, past) = measured.await??;
    let said = |series: &Series| (format!("{} ms", series.spread()), series.median());
    table.compare(&format!("traffic, {name}: one request on a kept connection, through the proxy and at the app itself"), said(&through), said(&past), None);
    let added = through.median() - past.median();
    table.state(&format!("traffic, {name}: the proxy adds at the median"), (format!("{} ms", figure(added)), added), Some(Goal::AtMost(0.3, "ms")));
    Ok(())
}

fn turn(address: SocketAddr, series: &mut Series) -> Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut connection = Connection::open(address)?;
    connection.exchange(request.as_bytes())?;
    for _ in 0..TURN {
        let begun = Instant::now();
        connection.exchange(request.as_bytes())?;
        series.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
