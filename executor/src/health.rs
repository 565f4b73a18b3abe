//! Is the new release well? So many good answers in a row, or a reason.
//!
//! The first probes follow each other quickly, because a probe each second
//! would cost more than the whole rest of a deploy; later ones are slower. A
//! process that ends is not waited for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::child::{self, End, Tool};
use crate::config::{Health, PORT_PLACEHOLDER, Probe};
use crate::process::Process;

/// One probe's time: an app that takes longer to answer is not well.
const PROBE_MS_MAX: u64 = 5_000;
/// After this long the probes follow each other at [`SLOW_MS`] at the quickest.
const QUICK_MS: u64 = 3_000;
const SLOW_MS: u64 = 100;
/// Without a `[health]`: how long a process without a port must stay up.
const STAY_UP_MS: u64 = 1_000;

/// Where a health command runs.
#[derive(Debug, Default)]
pub struct Place {
    /// The release's folder.
    pub dir: PathBuf,
    /// The folder of the environment's programs.
    pub bin: PathBuf,
    /// The app's environment, complete.
    pub env: Vec<(OsString, OsString)>,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good answers, so many.
    Well(u32),
    /// Not well, and why, in a sentence.
    Unwell(String),
    /// The run was cancelled.
    Cancelled,
}

/// What is asked of a release that has no `[health]`.
#[must_use]
pub fn default_health(port: Option<u16>) -> Option<Health> {
    let port = port?;
    Some(Health {
        probe: Probe::Tcp(format!("127.0.0.1:{port}")),
        good: 3,
        interval: Duration::from_millis(10),
        within: Duration::from_secs(60),
    })
}

/// Checks a release until it is well, unwell or out of time.
pub async fn check(health: Option<&Health>, process: Option<&Process>, place: &Place, client: &reqwest::Client, cancelled: impl Future<Output = ()>) -> Verdict {
    let port = process.and_then(|process| process.port);
    let ended = async {
        match process {
            Some(process) => process.wait().await,
            None => std::future::pending().await,
        }
    };
    let probing = async {
        match health.cloned().or_else(|| default_health(port)) {
            Some(health) => probe_until_well(&health, port, place, client).await,
            None => {
                tokio::time::sleep(Duration::from_millis(STAY_UP_MS)).await;
                Verdict::Well(1)
            }
        }
    };
    tokio::select! {
        biased;
        () = cancelled => Verdict::Cancelled,
        how = ended => Verdict::Unwell(format!("the app {how} before it was healthy")),
        verdict = probing => verdict,
    }
}

async fn probe_until_well(health: &Health, port: Option<u16>, place: &Place, client: &reqwest::Client) -> Verdict {
    let begun = Instant::now();
    let (mut good, mut last) = (0, "nothing answered".to_owned());
    loop {
        match tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), probe(&health.probe, port, place, client)).await {
            Ok(Ok(())) => good += 1,
            Ok(Err(why)) => (good, last) = (0, why),
            Err(_) => (good, last) = (0, format!("no answer within {PROBE_MS_MAX} ms")),
        }
        if good >= health.good {
            return Verdict::Well(good);
        }
        if begun.elapsed() >= health.within {
            let streak = if good > 0 { format!(" ({good} of {} good answers)", health.good) } else { String::new() };
            return Verdict::Unwell(format!("not healthy within {:?}: {last}{streak}", health.within));
        }
        let pause = if begun.elapsed() < Duration::from_millis(QUICK_MS) { health.interval } else { health.interval.max(Duration::from_millis(SLOW_MS)) };
        tokio::time::sleep(pause).await;
    }
}

async fn probe(probe: &Probe, port: Option<u16>, place: &Place, client: &reqwest::Client) -> Result<(), String> {
    let with_port = |text: &str| text.replace(PORT_PLACEHOLDER, &port.unwrap_or_default().to_string());
    match probe {
        Probe::HttpPath(path) => match port {
            Some(port) => http(&format!("http://127.0.0.1:{port}{path}"), client).await,
            None => Err("the app has no port of its own to ask at; give `http` a whole address".to_owned()),
        },
        Probe::HttpUrl(url) => http(&with_port(url), client).await,
        Probe::Tcp(address) => tokio::net::TcpStream::connect(with_port(address)).await.map(drop).map_err(|fault| fault.to_string()),
        Probe::Command(argv) => command(argv.iter().map(|word| with_port(word)).collect(), place).await,
    }
}

async fn http(url: &str, client: &reqwest::Client) -> Result<(), String> {
    match client.get(url).send().await {
        Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => Ok(()),
        Ok(answer) => Err(format!("{url} answered {}", answer.status().as_u16())),
        Err(fault) => Err(format!("{url}: {}", root(&fault))),
    }
}

fn root(fault: &dyn std::error::Error) -> String {
    let mut last = fault;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// A command runs as the app does: in its folder, with its environment, and
/// with nothing of ours.
async fn command(argv: Vec<String>, place: &Place) -> Result<(), String> {
    let Some((program, args)) = argv.split_first() else { return Err("the command is empty".to_owned()) };
    let found = child::find(program, std::slice::from_ref(&place.bin), &place.dir).ok_or_else(|| format!("{program} was not found"))?;
    let tool = Tool {
        program: found,
        args: args.iter().map(Into::into).collect(),
        dir: place.dir.clone(),
        env: place.env.clone(),
        limit: Duration::from_millis(PROBE_MS_MAX - 200),
    };
    match child::run(&tool, std::future::pending(), |_| {}).await {
        Ok(End::Good) => Ok(()),
        Ok(End::Bad(how)) => Err(format!("{program} {how}")),
        Ok(End::TimedOut | End::Cancelled) => Err(format!("{program} did not end within {PROBE_MS_MAX} ms")),
        Err(fault) => Err(format!("{program} does not start: {fault}")),
    }
}

/// The client that probes: fresh connections, no redirects followed.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn local<T>(test: impl Future<Output = T>) -> T {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    /// A server that answers the statuses in order and the last one for ever.
    async fn server(statuses: &'static [u16]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            let mut at = 0;
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let status = statuses[at.min(statuses.len() - 1)];
                at += 1;
                let mut request = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut request).await;
                let _ = socket.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).await;
            }
        });
        port
    }

    fn http_health(port: u16, within_ms: u64) -> Health {
        Health {
            probe: Probe::HttpUrl(format!("http://127.0.0.1:{port}/")),
            good: 3,
            interval: Duration::from_millis(1),
            within: Duration::from_millis(within_ms),
        }
    }

    async fn verdict(health: &Health) -> Verdict {
        check(Some(health), None, &Place::default(), &client(), std::future::pending()).await
    }

    #[test]
    fn good_answers_must_come_in_a_row() {
        local(async {
            let port = server(&[500, 200, 200, 500, 200, 200, 200]).await;
            assert_eq!(verdict(&http_health(port, 5_000)).await, Verdict::Well(3));
            let port = server(&[200, 200, 503]).await;
            let Verdict::Unwell(why) = verdict(&http_health(port, 200)).await else { panic!() };
            assert!(why.contains("answered 503"), "{why}");
        });
    }

    #[test]
    fn a_command_sees_nothing_of_ours() {
        local(async {
            let script = "test -z \"$CARGO_PKG_NAME$HOME\" && test \"$OURS\" = yes";
            let health = Health {
                probe: Probe::Command(vec!["/bin/sh".into(), "-c".into(), script.into()]),
                good: 1,
                interval: Duration::from_millis(1),
                within: Duration::from_millis(1_000),
            };
            let place = Place { dir: "/".into(), bin: "/nowhere".into(), env: vec![("OURS".into(), "yes".into())] };
            assert_eq!(check(Some(&health), None, &place, &client(), std::future::pending()).await, Verdict::Well(1));
        });
    }

    #[test]
    fn nobody_there_is_said() {
        local(async {
            let port = crate::process::free_port().unwrap();
            let Verdict::Unwell(why) = verdict(&http_health(port, 50)).await else { panic!() };
            assert!(why.contains("refused"), "{why}");
        });
    }
}
