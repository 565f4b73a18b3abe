//! What the dashboard costs: how much a first view and one step weigh on the
//! wire, how long the first page takes beside `/healthz`, and what fifty open
//! tabs do to webhooks while a run logs a thousand lines a second.
//!
//! One real workerd for each fleet; the hosts are simulated, with a past of
//! thirty runs a project (`doorstep_tests::Crowd`), and so are the tabs, which
//! do what `live.js` does (`doorstep_tests::Tab`). Absent: a browser, whose own
//! work is in `tests/browser`.

mod patch;
mod render;
mod tabs;
mod weight;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use doorstep_tests::{Crowd, Edge};

use crate::http::Connection;
use crate::machine;
use crate::table::Table;

/// Hosts and projects of each, of the fleet that the promises are about.
const FIFTY: (usize, usize) = (5, 10);
/// Runs behind each project.
const RUNS: usize = 30;

/// How much is measured.
struct Effort {
    /// Times that each address is asked, by turns.
    rounds: usize,
    /// Requests of one address in a row, whose processor time is counted.
    block: usize,
    /// Hosts and projects of each, of the largest fleet.
    large: (usize, usize),
    /// Lines that a run logs, at 1,000 a second.
    lines: usize,
    patience: Duration,
}

const WHOLE: Effort = Effort { rounds: 400, block: 100, large: (10, 50), lines: 8_000, patience: Duration::from_secs(120) };
const QUICK: Effort = Effort { rounds: 100, block: 30, large: (5, 50), lines: 4_000, patience: Duration::from_secs(20) };

/// Reads the words after `dashboard` and measures.
pub async fn run(words: &[String]) -> Result<()> {
    let effort = match words {
        [] => WHOLE,
        [quick] if quick == "--quick" => QUICK,
        other => bail!("dashboard takes --quick and nothing else, not {other:?}"),
    };
    let begun = Instant::now();
    let load = machine::Patience::new(effort.patience).wait("dashboard");
    let mut table = Table::default();
    render::measure(&effort, &mut table).await?;
    let fleet = Fleet::of(FIFTY).await;
    weight::measure(&fleet, &mut table).await?;
    patch::measure(&fleet, &mut table).await?;
    drop(fleet);
    tabs::measure(&effort, &mut table).await?;
    println!("\n{}", machine::class());
    println!("Load before: {load}. Measured in {:.0} s.\n", begun.elapsed().as_secs_f64());
    print!("{}", table.text());
    Ok(())
}

/// An edge with its hosts, and somebody who is signed in.
struct Fleet {
    crowd: Crowd,
    edge: Edge,
    cookie: String,
}

impl Fleet {
    async fn of((hosts, projects): (usize, usize)) -> Self {
        let edge = Edge::start().await;
        let crowd = Crowd::gather(&edge, hosts, projects, RUNS).await;
        let cookie = edge.session().await;
        Self { crowd, edge, cookie }
    }

    fn count(&self) -> usize {
        self.crowd.projects.len()
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(self.edge.address())
    }

    /// What a browser sends for this path, with these headers besides.
    fn request(&self, path: &str, more: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html,application/xhtml+xml\r\nCookie: {}\r\n{more}\r\n", self.edge.address(), self.cookie).into_bytes()
    }
}

/// What Chromium says that it takes, over plain http.
const ENCODINGS: &str = "Accept-Encoding: gzip, deflate\r\n";

/// `12.3 KB`, as the promises count: a thousand bytes.
fn kb(bytes: usize) -> (String, f64) {
    let kb = bytes as f64 / 1e3;
    (format!("{kb:.1} KB"), kb)
}
