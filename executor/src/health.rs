//! Is the new release well? So many good answers in a row, or a reason; and
//! after the switch: does it stay so?
//!
//! The first probes follow each other quickly, because a probe each second
//! would cost more than the whole rest of a deploy; later ones are slower. A
//! process that ends is not waited for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::child::{self, End, Tool};
use crate::config::{Expected, Health, PORT_PLACEHOLDER, Probe};
use crate::process::Process;

/// After this long the probes follow each other at [`SLOW_MS`] at the quickest.
const QUICK_MS: u64 = 3_000;
const SLOW_MS: u64 = 100;
/// Without a `[health]`: how long a process without a port must stay up.
const STAY_UP_MS: u64 = 1_000;
/// Before a start: how long what ended may still be heard.
const LEAVING_MS: u64 = 1_000;
/// After the switch: the quickest that probes follow each other.
const SOAK_MS: u64 = 1_000;
/// After the switch: so many probes in a row must fail. One may be late while
/// the traffic arrives.
const SOAK_BAD_MAX: u32 = 3;
/// Most of an answer that is read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most of an unexpected answer that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 200;

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
pub fn default_health(port: Option<u16>) -> Health {
    Health {
        probe: port.map_or(Probe::Stays, |port| Probe::Tcp(format!("127.0.0.1:{port}"))),
        expected: Expected::default(),
        good: 3,
        interval: Duration::from_millis(3),
        within: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
        grace: None,
        soak: Duration::ZERO,
    }
}

/// What is asked, to whom, with what.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What the host's file says of it.
    pub health: Option<&'a Health>,
    /// The process, unless the project has none.
    pub process: Option<&'a Process>,
    /// Where a command runs.
    pub place: &'a Place,
    /// What asks over HTTP.
    pub client: &'a reqwest::Client,
}

/// Checks a release until it is well, unwell or out of time.
pub async fn check(asked: Asked<'_>, cancelled: impl Future<Output = ()>) -> Verdict {
    tokio::select! {
        biased;
        () = cancelled => Verdict::Cancelled,
        how = ended(asked.process) => Verdict::Unwell(format!("the app {how} before it was healthy")),
        verdict = asked.until_well() => verdict,
    }
}

/// Watches a release that has been switched to, for its time of soaking.
pub async fn soak(asked: Asked<'_>, cancelled: impl Future<Output = ()>) -> Verdict {
    tokio::select! {
        biased;
        () = cancelled => Verdict::Cancelled,
        how = ended(asked.process) => Verdict::Unwell(format!("the app {how} soon after the switch")),
        verdict = asked.while_it_soaks() => verdict,
    }
}

/// Does somebody answer well at the address of this check while nothing of the
/// project runs? Then its answers would say nothing of a release. Whoever just
/// ended is given a moment to be gone.
pub async fn answered_by_another(health: &Health, client: &reqwest::Client) -> Option<String> {
    let (Probe::HttpUrl(address) | Probe::Tcp(address)) = &health.probe else { return None };
    if address.contains(PORT_PLACEHOLDER) {
        return None;
    }
    let place = Place::default();
    let asked = Asked { health: Some(health), process: None, place: &place, client };
    let begun = Instant::now();
    while asked.ask(health).await.is_ok() {
        if begun.elapsed() >= Duration::from_millis(LEAVING_MS) {
            return Some(format!("{address} answers although nothing of this project runs: somebody else is there, and what the check hears would say nothing of the release"));
        }
        tokio::time::sleep(Duration::from_millis(SLOW_MS)).await;
    }
    None
}

async fn ended(process: Option<&Process>) -> String {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}

impl Asked<'_> {
    fn port(&self) -> Option<u16> {
        self.process.and_then(|process| process.port)
    }

    fn health(&self) -> Health {
        let default = default_health(self.port());
        match self.health.cloned() {
            // It takes connections at least, where it has a port.
            Some(health) if health.probe == Probe::Stays => Health { probe: default.probe, ..health },
            Some(health) => health,
            None => default,
        }
    }

    async fn until_well(&self) -> Verdict {
        let health = self.health();
        if health.probe == Probe::Stays {
            tokio::time::sleep(health.grace.unwrap_or(Duration::from_millis(STAY_UP_MS))).await;
            return Verdict::Well(1);
        }
        tokio::time::sleep(health.grace.unwrap_or_default()).await;
        let begun = Instant::now();
        let mut good = 0;
        loop {
            let answer = self.ask(&health).await;
            good = if answer.is_ok() { good + 1 } else { 0 };
            if good >= health.good {
                return Verdict::Well(good);
            }
            if begun.elapsed() >= health.within {
                let last = answer.err().unwrap_or_else(|| format!("only {good} of {} good answers in a row", health.good));
                return Verdict::Unwell(format!("not healthy within {:?}: {last}", health.within));
            }
            let pause = if begun.elapsed() < Duration::from_millis(QUICK_MS) { health.interval } else { health.interval.max(Duration::from_millis(SLOW_MS)) };
            tokio::time::sleep(pause).await;
        }
    }

    async fn while_it_soaks(&self) -> Verdict {
        let health = self.health();
        let begun = Instant::now();
        let (mut good, mut bad) = (0, 0);
        // It does not end on a bad answer: the next ones say which it is.
        while begun.elapsed() < health.soak || bad > 0 {
            let pause = health.interval.max(Duration::from_millis(SOAK_MS));
            let left = health.soak.saturating_sub(begun.elapsed());
            tokio::time::sleep(if left.is_zero() { pause } else { pause.min(left) }).await;
            match self.ask(&health).await {
                Ok(()) => (good, bad) = (good + 1, 0),
                Err(why) => {
                    bad += 1;
                    if bad >= SOAK_BAD_MAX {
                        return Verdict::Unwell(format!("{bad} bad answers in a row after the switch: {why}"));
                    }
                }
            }
        }
        Verdict::Well(good)
    }

    async fn ask(&self, health: &Health) -> Result<(), String> {
        match tokio::time::timeout(health.timeout, self.probe(health)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", health.timeout)),
        }
    }

    async fn probe(&self, health: &Health) -> Result<(), String> {
        let port = self.port();
        let with_port = |text: &str| text.replace(PORT_PLACEHOLDER, &port.unwrap_or_default().to_string());
        match &health.probe {
            Probe::HttpPath(path) => match port {
                Some(port) => http(&format!("http://127.0.0.1:{port}{path}"), &health.expected, self.client).await,
                None => Err("the app has no port of its own to ask at; give `http` a whole address".to_owned()),
            },
            Probe::HttpUrl(url) => http(&with_port(url), &health.expected, self.client).await,
            Probe::Tcp(address) => tokio::net::TcpStream::connect(with_port(address)).await.map(drop).map_err(|fault| format!("{}: {fault}", with_port(address))),
            Probe::Command(argv) => command(argv.iter().map(|word| with_port(word)).collect(), self.place, health.timeout).await,
            Probe::Stays => Ok(()),
        }
    }
}

async fn http(url: &str, expected: &Expected, client: &reqwest::Client) -> Result<(), String> {
    let mut request = client.get(url);
    for (name, value) in &expected.headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|fault| format!("{url}: {}", root(&fault)))?;
    let status = answer.status();
    let is_good = match expected.status {
        Some(wanted) => status.as_u16() == wanted,
        None => status.is_success() || status.is_redirection(),
    };
    if !is_good {
        let wanted = expected.status.map_or_else(String::new, |wanted| format!(" instead of {wanted}"));
        return Err(format!("{url} answered {}{wanted}", status.as_u16()));
    }
    let Some(wanted) = &expected.body else { return Ok(()) };
    let body = read(answer).await.map_err(|fault| format!("{url}: {}", root(&fault)))?;
    if body.contains(wanted.as_str()) {
        return Ok(());
    }
    let shown = doorstep_shared::text::clean_line(doorstep_shared::text::cut(&body, SHOWN_BYTES_MAX));
    Err(format!("{url} answered {} without {wanted:?}: {shown}", status.as_u16()))
}

/// The beginning of an answer.
async fn read(mut answer: reqwest::Response) -> reqwest::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX
        && let Some(chunk) = answer.chunk().await?
    {
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
async fn command(argv: Vec<String>, place: &Place, timeout: Duration) -> Result<(), String> {
    let Some((program, args)) = argv.split_first() else { return Err("the command is empty".to_owned()) };
    let found = child::find(program, std::slice::from_ref(&place.bin), &place.dir).ok_or_else(|| format!("{program} was not found"))?;
    let tool = Tool {
        program: found,
        args: args.iter().map(Into::into).collect(),
        dir: place.dir.clone(),
        env: place.env.clone(),
        limit: timeout,
    };
    match child::run(&tool, std::future::pending(), |_| {}).await {
        Ok(End::Good) => Ok(()),
        Ok(End::Bad(how)) => Err(format!("{program} {how}")),
        Ok(End::TimedOut | End::Cancelled) => Err(format!("{program} did not end within {timeout:?}")),
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
                let _ = socket.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 11\r\nconnection: close\r\n\r\nit says {status}").as_bytes()).await;
            }
        });
        port
    }

    fn http_health(port: u16, within_ms: u64) -> Health {
        Health {
            probe: Probe::HttpUrl(format!("http://127.0.0.1:{port}/")),
            interval: Duration::from_millis(1),
            within: Duration::from_millis(within_ms),
            ..default_health(None)
        }
    }

    async fn verdict(health: &Health) -> Verdict {
        let (place, client) = (Place::default(), client());
        check(Asked { health: Some(health), process: None, place: &place, client: &client }, std::future::pending()).await
    }

    async fn soaked(health: &Health) -> Verdict {
        let (place, client) = (Place::default(), client());
        soak(Asked { health: Some(health), process: None, place: &place, client: &client }, std::future::pending()).await
    }

    #[test]
    fn an_answer_is_what_is_expected_of_it() {
        local(async {
            let port = server(&[201]).await;
            let expecting = |status, body: Option<&str>| Health {
                good: 1,
                expected: Expected { status, body: body.map(str::to_owned), ..Expected::default() },
                ..http_health(port, 50)
            };
            assert_eq!(verdict(&expecting(Some(201), Some("says 201"))).await, Verdict::Well(1));
            let Verdict::Unwell(why) = verdict(&expecting(Some(200), None)).await else { panic!() };
            assert!(why.contains("answered 201 instead of 200"), "{why}");
            let Verdict::Unwell(why) = verdict(&expecting(None, Some("well"))).await else { panic!() };
            assert!(why.contains("answered 201 without \"well\": it says 201"), "{why}");
        });
    }

    #[test]
    fn headers_are_sent() {
        local(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::task::spawn_local(async move {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let mut request = [0; 1024];
                    let read = tokio::io::AsyncReadExt::read(&mut socket, &mut request).await.unwrap();
                    let text = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
                    let status = if text.contains("host: shop.example\r\n") { 200 } else { 400 };
                    let _ = socket.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).await;
                }
            });
            let headers = [("Host".to_owned(), "shop.example".to_owned())].into();
            let health = Health { expected: Expected { headers, ..Expected::default() }, ..http_health(port, 1_000) };
            assert_eq!(verdict(&health).await, Verdict::Well(3));
            assert_ne!(verdict(&http_health(port, 20)).await, Verdict::Well(3));
        });
    }

    #[test]
    fn what_soaks_may_be_late_but_not_bad() {
        local(async {
            let health = |port| Health { soak: Duration::from_millis(300), ..http_health(port, 100) };
            let port = server(&[500, 500, 200]).await;
            // One probe in the time of soaking, and it is bad: the next ones decide.
            assert_eq!(soaked(&health(port)).await, Verdict::Well(1));
            let port = server(&[500]).await;
            assert!(matches!(soaked(&health(port)).await, Verdict::Unwell(_)));
            let port = server(&[200, 500]).await;
            let Verdict::Unwell(why) = soaked(&Health { soak: Duration::from_secs(20), ..health(port) }).await else { panic!() };
            assert!(why.starts_with("3 bad answers in a row after the switch: ") && why.contains("500"), "{why}");
        });
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
                ..http_health(1, 1_000)
            };
            let place = Place { dir: "/".into(), bin: "/nowhere".into(), env: vec![("OURS".into(), "yes".into())] };
            let client = client();
            let asked = Asked { health: Some(&health), process: None, place: &place, client: &client };
            assert_eq!(check(asked, std::future::pending()).await, Verdict::Well(1));
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
