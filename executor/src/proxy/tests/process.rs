//! The proxy as a process of its own. The test program itself is that process:
//! a script stands for the executable and runs `the_process` below.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process, test_kill_process};
use tempfile::TempDir;

use super::app::App;
use super::harness::{Raw, local, soon, until};
use crate::proxy::{ClientError, ProxyClient};

const STATE: &str = "DOORSTEP_TEST_PROXY_STATE";

#[test]
fn the_process() {
    if let Some(state) = std::env::var_os(STATE) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(crate::proxy::run(Path::new(&state)))
            .unwrap();
    }
}

/// A state directory whose proxy ends with the test.
struct House {
    state: TempDir,
    exe: PathBuf,
}

impl House {
    fn new() -> Self {
        Self::with("")
    }

    /// `before` is a line of shell that comes before the proxy.
    fn with(before: &str) -> Self {
        let state = TempDir::new().unwrap();
        let exe = state.path().join("doorstep");
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\n{before}\n[ \"$1 $2\" = 'proxy --state' ] || exit 9\n{STATE}=\"$3\" \
             exec {} --exact proxy::tests::process::the_process --nocapture\n",
            program.display()
        );
        // Written by another process: a script that is open for writing here
        // cannot be run if another test forks at that moment.
        let write = ["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""];
        assert!(
            Command::new("sh")
                .args(write)
                .arg(&exe)
                .arg(script)
                .status()
                .unwrap()
                .success()
        );
        Self { state, exe }
    }

    async fn ensure(&self) -> ProxyClient {
        ProxyClient::ensure(self.state.path(), &self.exe)
            .await
            .unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let state = self.state.path().to_str().unwrap();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let ours = format!("{STATE}={state}");
            if environment
                .split(|byte| *byte == 0)
                .any(|one| one == ours.as_bytes())
                && let Some(pid) = process
                    .file_name()
                    .to_str()
                    .and_then(|pid| pid.parse().ok())
            {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
        }
    }
}

async fn pid(client: &ProxyClient) -> Pid {
    Pid::from_raw(client.ping().await.unwrap().pid.cast_signed()).unwrap()
}

#[tokio::test]
async fn it_is_started_once_and_stays() {
    let house = House::new();
    let (first, second) = tokio::join!(house.ensure(), house.ensure());
    let proxy = pid(&first).await;
    assert_eq!(pid(&second).await, proxy, "of two at a time one wins");
    assert_eq!(
        pid(&house.ensure().await).await,
        proxy,
        "and is found again"
    );
    assert_eq!(
        getpgid(Some(proxy)).unwrap(),
        proxy,
        "in a group of its own"
    );
    for ignored in [Signal::HUP, Signal::INT] {
        kill_process(proxy, ignored).unwrap();
    }
    let app = App::start("one").await;
    let listen = first.set("shop", local(), Some(app.address)).await.unwrap();
    drop((first, second));
    assert_eq!(Raw::connect(listen).await.get("/name").await.1, "one");
}

#[tokio::test]
async fn it_finishes_what_it_has_when_it_is_terminated() {
    let house = House::new();
    let client = house.ensure().await;
    let app = App::start("one").await;
    let listen = client
        .set("shop", local(), Some(app.address))
        .await
        .unwrap();
    let mut busy = Raw::connect(listen).await;
    busy.ask("GET", "/hang").await;
    until("the app has it", || app.hanging() == 1).await;
    let old = pid(&client).await;
    kill_process(old, Signal::TERM).unwrap();
    let socket = house.state.path().join("proxy.sock");
    until("its directory is free", || !socket.exists()).await;

    let next = house.ensure().await;
    assert_ne!(pid(&next).await, old);
    assert_eq!(
        next.set("shop", listen, Some(app.address)).await.unwrap(),
        listen
    );
    assert_eq!(
        Raw::connect(listen).await.get("/name").await.1,
        "one",
        "the next serves"
    );
    app.state.go.notify_one();
    assert_eq!(busy.answer().await.1, "one", "and the old one finishes");
    until("the old one is gone", || test_kill_process(old).is_err()).await;
}

#[tokio::test]
async fn a_client_finds_the_next_after_a_crash() {
    let house = House::new();
    let client = house.ensure().await;
    let crashed = pid(&client).await;
    kill_process(crashed, Signal::KILL).unwrap();
    until("it is gone", || test_kill_process(crashed).is_err()).await;
    assert!(matches!(
        client.list().await,
        Err(ClientError::Unreachable { .. })
    ));
    house.ensure().await;
    assert_ne!(pid(&client).await, crashed);
    assert_eq!(
        client.list().await.unwrap(),
        [],
        "it has to be told its routes again"
    );
}

#[tokio::test]
async fn a_program_that_is_no_proxy_is_reported() {
    let house = House::with("exit 7");
    let error = ProxyClient::ensure(house.state.path(), &house.exe)
        .await
        .unwrap_err();
    let ClientError::NotReady { ended, .. } = error else {
        panic!("{error}")
    };
    let status = std::process::ExitStatus::from_raw(7 << 8);
    assert_eq!(ended, format!("ended with {status}"));
    let missing = house.state.path().join("missing");
    let error = ProxyClient::ensure(house.state.path(), &missing)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Spawn { .. }), "{error}");
}

/// Fewer than the proxy's own dozen and 16 connections need: accepting must
/// fail, take no processor time, and go on by itself.
#[tokio::test]
async fn it_survives_having_no_file_descriptor_left() {
    let house = House::with("ulimit -n 24");
    let client = house.ensure().await;
    let app = App::start("one").await;
    let listen = client
        .set("shop", local(), Some(app.address))
        .await
        .unwrap();
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Raw::connect(listen).await);
    }
    let files = format!("/proc/{}/fd", pid(&client).await);
    until("none is left", || Path::new(&files).join("23").exists()).await;
    let before = processor_ms(pid(&client).await);
    let mut turns = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..50 {
        turns.tick().await;
        client.ping().await.unwrap();
    }
    let used = processor_ms(pid(&client).await) - before;
    assert!(used <= 100, "{used} ms of 500");
    drop(crowd);
    assert_eq!(soon(Raw::connect(listen).await.get("/name")).await.1, "one");
}

fn processor_ms(process: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10 // 100 a second, on every Linux
}
