//! Sends deliveries over a bounded number of kept connections.
//!
//! Each connection has one request on its way; its body is made just before.
//! The same code sends to the edge and to the bare insert.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_shared::ids::JobId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::bodies::Bodies;
use super::ledger::Ledger;
use crate::http::{self, Answer};

/// How long one answer may take, in a machine that does too much at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where deliveries go, and who notes what comes of them.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// The path.
    pub path: &'static str,
    /// What makes the bodies.
    pub bodies: Arc<Bodies>,
    /// Who notes them; the bare insert is only counted.
    pub ledger: Option<Arc<Ledger>>,
    /// Projects that the deliveries are for, in turn.
    pub projects: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer, each with the end of its connection.
    pub cut: u64,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Sent {
    /// Answers 202.
    pub fn accepted(&self) -> u64 {
        self.answers.get(&202).copied().unwrap_or(0)
    }

    /// 202s a second.
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
    pub fn rate(&self) -> f64 {
        self.accepted() as f64 / self.took.as_secs_f64()
    }

    /// Fails unless each was answered 202.
    pub fn all_accepted(&self) -> Result<()> {
        if self.cut > 0 || self.answers.keys().any(|status| *status != 202) {
            bail!("{} requests were not answered; answers by status: {:?}", self.cut, self.answers);
        }
        Ok(())
    }
}

/// Sends these numbers.
pub async fn send(target: &Target, numbers: Range<u64>, connections: usize) -> Sent {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(one_by_one(target.clone(), Arc::clone(&next), numbers.end));
    }
    let mut all = Sent::default();
    for sent in senders.join_all().await {
        all.cut += sent.cut;
        for (status, count) in sent.answers {
            *all.answers.entry(status).or_default() += count;
        }
    }
    all.took = begun.elapsed();
    all
}

/// One connection, until the numbers or its socket end.
async fn one_by_one(target: Target, next: Arc<AtomicU64>, end: u64) -> Sent {
    let mut sent = Sent::default();
    let Ok(mut connection) = Connection::open(target.address).await else {
        sent.cut += 1;
        return sent;
    };
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return sent;
        }
        match deliver(&target, &mut connection, number).await {
            Ok(status) => *sent.answers.entry(status).or_default() += 1,
            Err(_) => {
                sent.cut += 1;
                return sent;
            }
        }
    }
}

/// Sends one delivery and notes its answer.
pub async fn deliver(target: &Target, connection: &mut Connection, number: u64) -> Result<u16> {
    let project = target.ledger.as_ref().map_or(0, |ledger| ledger.project_of(number));
    let request = target.bodies.request(target.path, number, project % target.projects);
    if let Some(ledger) = &target.ledger {
        ledger.sent(number);
    }
    let answer = connection.exchange(&request).await?;
    if let Some(ledger) = target.ledger.as_ref().filter(|_| answer.status == 202) {
        ledger.accepted(number);
        ledger.made(number, &jobs_in(&answer.body));
    }
    Ok(answer.status)
}

fn jobs_in(body: &[u8]) -> Vec<JobId> {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    said["jobs"].as_array().map(|jobs| jobs.iter().filter_map(|job| job.as_u64().map(JobId)).collect()).unwrap_or_default()
}

/// A kept connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Vec::with_capacity(4_096) })
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        tokio::time::timeout(ANSWER_MAX, self.exchange_patiently(request)).await.context("no answer in time")?
    }

    async fn exchange_patiently(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.bytes.clear();
        loop {
            if let Some(answer) = http::parse(&self.bytes)? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 || self.bytes.len() > ANSWER_BYTES_MAX {
                bail!("the connection ended within an answer");
            }
        }
    }
}
