//! `doorstep edge`: the Worker on workerd, with its Durable Object on disk.
//!
//! Starts workerd as a child that dies with this process, prints one line when
//! it listens, and stops it on SIGTERM: TERM, then KILL after 3 s, since
//! workerd never exits by itself while a WebSocket is open and loses nothing
//! by KILL. When workerd ends by itself this process ends too, with an error:
//! starting again is the job of whatever started it.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{EdgeArgs, Exit, Failure};

/// Variables that workerd gets from our environment or the `.env`; no others.
const VARIABLES: [&str; 7] = [
    "WEBHOOK_SECRET",
    "DASHBOARD_PASSWORD",
    "SESSION_KEY",
    "API_TOKEN",
    "METRICS_TOKEN",
    "GITHUB_API_URL",
    "WEBHOOK_BODY_BYTES_MAX",
];
/// The files of a built Worker.
const MODULES: [&str; 2] = ["index.js", "index_bg.wasm"];
/// Secrets that nobody wants to be without, and what does not work then.
const NEEDED: [(&str, &str); 2] =
    [("WEBHOOK_SECRET", "every delivery is answered with 503"), ("DASHBOARD_PASSWORD", "nobody can sign in")];
/// How long workerd has to listen; 30 ms is usual.
const READY_MS_MAX: u64 = 20_000;
/// How long it has after TERM.
const STOP_MS: u64 = 3_000;

/// Runs the edge until it is told to stop.
pub async fn run(args: &EdgeArgs, state: &Path) -> Result<Exit, Failure> {
    let worker = find_worker(args.worker.as_deref())?;
    let workerd = find_workerd(args.workerd.as_deref())?;
    let state = &std::path::absolute(state)?;
    let storage = state.join("hub");
    std::fs::create_dir_all(&storage).with_context(|| format!("{} cannot be made", storage.display()))?;
    let lock = lock(state)?;
    let config = write_config(state, &worker, &storage)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut child, ready) = start(args, &workerd, &config, state)?;
    let port = tokio::select! {
        port = listening(ready) => port?,
        status = child.wait() => {
            let status = status.context("workerd cannot be waited for")?;
            return Err(anyhow!("workerd ended before it listened: {status}; its words are above").into());
        }
    };
    println!("doorstep edge is ready at http://{}", std::net::SocketAddr::new(args.address, port));
    std::io::stdout().flush()?;
    let exit = tokio::select! {
        status = child.wait() => Err(anyhow!("workerd ended by itself: {}", status.context("workerd cannot be waited for")?)),
        _ = terminate.recv() => stop(&mut child).await.map(|()| Exit::Ok),
        _ = interrupt.recv() => stop(&mut child).await.map(|()| Exit::Ok),
    };
    drop(lock);
    exit.map_err(Into::into)
}

/// Turns this process into workerd, to be killed when its parent ends, so that
/// a killed `doorstep edge` leaves nobody on its port.
pub fn become_workerd(command: &[OsString]) -> Failure {
    use std::os::unix::process::CommandExt;
    let Some((program, args)) = command.split_first() else {
        return crate::cli::failure(Exit::Error, "no program was named");
    };
    if let Err(fault) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        return anyhow!("the death signal cannot be set: {fault}").into();
    }
    let fault = std::process::Command::new(program).args(args).exec();
    anyhow!("{} does not start: {fault}", program.display()).into()
}

fn lock(state: &Path) -> Result<std::fs::File, Failure> {
    let path = state.join("edge.lock");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
    // Not `flock`, which a child holds on to between fork and exec, also when we are killed then.
    match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(crate::cli::failure(Exit::Busy, format!("an edge runs on {} already", state.display()))),
    }
}

fn start(args: &EdgeArgs, workerd: &Path, config: &Path, state: &Path) -> Result<(Child, OwnedFd)> {
    let (ready, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("no pipe")?;
    // Through ourselves, so that workerd dies with us; see `become_workerd`.
    let mut command = Command::new(std::env::current_exe().context("this program's path is unknown")?);
    command.arg("workerd").arg(workerd).arg("serve");
    command.arg(format!("--socket-addr=http={}", std::net::SocketAddr::new(args.address, args.port)));
    command.arg("--control-fd=1").arg(config);
    let variables = variables(state)?;
    for (name, lost) in NEEDED {
        if !variables.iter().any(|(known, _)| known == name) {
            eprintln!("doorstep: {name} is not set, so {lost}");
        }
    }
    command.env_clear().envs(variables);
    // The control descriptor is the child's stdout; workerd's own words go to stderr.
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::from(told)).stderr(std::process::Stdio::inherit());
    command.kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("{} does not start", workerd.display()))?;
    Ok((child, ready))
}

/// Waits for workerd's line on the control descriptor and reads its port.
async fn listening(ready: OwnedFd) -> Result<u16> {
    let ready = tokio::net::unix::pipe::Receiver::from_owned_fd(ready).context("no pipe")?;
    let mut lines = BufReader::new(ready).lines();
    let wait = async {
        while let Some(line) = lines.next_line().await? {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if event["event"] == "listen"
                && let Some(port) = event["port"].as_u64().and_then(|port| u16::try_from(port).ok())
            {
                return Ok(port);
            }
        }
        bail!("workerd does not listen; its words are above (a port in use? --port chooses another)")
    };
    let port = tokio::time::timeout(Duration::from_millis(READY_MS_MAX), wait).await.context("workerd did not listen within 20 s")??;
    // Whatever it says later must not fill the pipe.
    tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(port)
}

async fn stop(child: &mut Child) -> Result<()> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_millis(STOP_MS), child.wait()).await.is_err() {
        child.kill().await.context("workerd does not end")?;
    }
    Ok(())
}

/// The environment of workerd: the listed names, from ours or the `.env`.
fn variables(state: &Path) -> Result<Vec<(String, OsString)>> {
    let file = std::fs::read_to_string(".env").unwrap_or_default();
    let (pairs, faults) = crate::config::dotenv(&file);
    if let Some(fault) = faults.first() {
        bail!(".env: {fault}");
    }
    let mut variables: Vec<(String, OsString)> = Vec::new();
    for name in VARIABLES {
        let ours = std::env::var_os(name).filter(|value| !value.is_empty());
        let kept = pairs.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into());
        if let Some(value) = ours.or(kept) {
            variables.push((name.to_owned(), value));
        }
    }
    if !variables.iter().any(|(name, _)| name == "SESSION_KEY") {
        variables.push(("SESSION_KEY".to_owned(), session_key(state)?.into()));
    }
    Ok(variables)
}

/// A key of this edge's own, made once, so that sessions outlive a restart.
fn session_key(state: &Path) -> Result<String> {
    let path = state.join("session_key");
    if let Ok(key) = std::fs::read_to_string(&path)
        && key.trim().len() == 64
    {
        return Ok(key.trim().to_owned());
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|fault| anyhow!("the system has no randomness: {fault}"))?;
    let key = hex::encode(bytes);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    Ok(key)
}

/// Writes workerd's configuration with the Worker beside it: workerd embeds
/// only files below the configuration, and a copy does not change under it.
fn write_config(state: &Path, worker: &Path, storage: &Path) -> Result<PathBuf> {
    for name in MODULES {
        let (from, to) = (worker.join(name), state.join(name));
        std::fs::copy(&from, &to).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    }
    let path = state.join("workerd.capnp");
    std::fs::write(&path, config_text(storage)).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// workerd's configuration. `uniqueKey` names stored data: never change it.
fn config_text(storage: &Path) -> String {
    let text = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    let bindings: String = VARIABLES.iter().map(|name| format!(",\n    (name = \"{name}\", fromEnvironment = \"{name}\")")).collect();
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .main), (name = "disk", disk = (path = {storage}, writable = true)) ],
  sockets = [ (name = "http", http = (), service = "main") ],
);
const main :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm") ],
  compatibilityDate = "2026-04-01",
  durableObjectNamespaces = [ (className = "Hub", uniqueKey = "doorstep-hub", enableSql = true) ],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [
    (name = "HUB", durableObjectNamespace = "Hub"),
    (name = "SELF_HOSTED", text = "1"){bindings} ],
);
"#,
        storage = text(storage),
    )
}

fn find_worker(flag: Option<&Path>) -> Result<PathBuf> {
    let given = flag.map(Path::to_path_buf).or_else(|| std::env::var_os("DOORSTEP_WORKER_DIR").map(PathBuf::from));
    let is_built = |dir: &PathBuf| MODULES.iter().all(|name| dir.join(name).is_file());
    if let Some(dir) = given {
        let dir = std::path::absolute(dir)?;
        return if is_built(&dir) { Ok(dir) } else { Err(anyhow!("{} holds no built Worker (index.js, index_bg.wasm)", dir.display())) };
    }
    let places: Vec<PathBuf> = ["share/doorstep/edge", "edge/build"].iter().flat_map(|below| upward(below)).collect();
    places.into_iter().find(is_built).ok_or_else(|| {
        anyhow!("no built Worker was found; build it with `./demo` or `./test`, or name its folder with --worker")
    })
}

fn find_workerd(flag: Option<&Path>) -> Result<PathBuf> {
    let given = flag.map(Path::to_path_buf).or_else(|| std::env::var_os("DOORSTEP_WORKERD").map(PathBuf::from));
    if let Some(file) = given {
        return if file.is_file() { Ok(std::path::absolute(file)?) } else { Err(anyhow!("{} is not a file", file.display())) };
    }
    let arch = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "64" };
    let native = format!("node_modules/@cloudflare/workerd-linux-{arch}/bin/workerd");
    let mut places: Vec<PathBuf> = ["share/doorstep/workerd", &native].iter().flat_map(|below| upward(below)).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).map(|dir| dir.join("workerd")));
    places.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        anyhow!("no workerd was found; `npm ci` in the checkout brings it, or name it with --workerd")
    })
}

/// This path below the binary's folder and the current one, and below each
/// folder above them.
fn upward(below: &str) -> Vec<PathBuf> {
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    starts.into_iter().flatten().flat_map(|start| start.ancestors().map(|dir| dir.join(below)).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_in_the_configuration() {
        let text = config_text(Path::new("/a \"b\""));
        assert!(text.contains(r#"path = "/a \"b\"""#), "{text}");
    }

    #[test]
    fn a_session_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(session_key(dir.path()).unwrap(), session_key(dir.path()).unwrap());
    }
}
