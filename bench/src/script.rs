//! What people write instead: a webhook that runs `git pull && uv sync &&
//! restart` in the folder where the app runs, on the port where it serves.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_tests::{App, GitOrigin, Tools, WEBHOOK_SECRET, git, wait};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use crate::hook::Hook;
use crate::http::{self, Connection};
use crate::push;
use crate::smee::Smee;

/// `$1` is the folder of the checkout, `$2` the port. A service manager's
/// restart waits for the old process as this does.
const SCRIPT: &str = r#"#!/bin/sh
set -e
cd "$1"
git pull -q --ff-only
uv sync -q
if [ -f ../pid ]; then
  pid=$(cat ../pid)
  kill "$pid" 2>/dev/null || true
  while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.01; done
fi
.venv/bin/python -m uvicorn app:app --port "$2" >>../app.log 2>&1 </dev/null &
echo $! >../pid
"#;

const HOOKS: &str = r#"[{"id": "deploy", "execute-command": "@DIR@/deploy.sh",
  "pass-arguments-to-command": [{"source": "string", "name": "@DIR@/app"}, {"source": "string", "name": "@PORT@"}],
  "trigger-rule": {"match": {"type": "payload-hmac-sha256", "secret": "@SECRET@",
    "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}}}]"#;

/// Variables that the host's apps get from this machine too: what uv needs.
const VARIABLES: [&str; 9] = [
    "HOME", "UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_PYTHON", "SSL_CERT_FILE", "XDG_CONFIG_HOME", "HTTPS_PROXY", "NO_PROXY",
];

/// Gives a program the environment that the harness gives to our host, and the
/// same Python first. With the caller's own, one variable of a developer's
/// shell (`PYTHONDONTWRITEBYTECODE`) doubles the start of the app on this side
/// alone.
pub fn as_on_a_host(command: &mut Command) -> &mut Command {
    let python = Tools::python();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", python.parent().unwrap_or(Path::new("/")).display());
    command.env_clear().env("PATH", path).env("no_proxy", "127.0.0.1");
    command.envs(VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).stdin(Stdio::null())
}

/// What runs the script when GitHub tells of a push.
#[derive(Clone, Copy, Debug)]
pub enum Through<'a> {
    /// `webhook`, where it is installed; else it is started directly.
    Webhook,
    /// smee with this client, and behind it `webhook`, where it is installed,
    /// else a server that only starts the script.
    Smee(&'a Path),
}

/// The script with its app.
#[derive(Debug)]
pub struct Script {
    /// What is pushed to.
    pub origin: GitOrigin,
    /// Where the app serves.
    pub address: SocketAddr,
    webhook: Option<Webhook>,
    smee: Option<(Smee, Option<Hook>)>,
    /// A cache of its own for uv.
    cache: Option<PathBuf>,
    dir: TempDir,
}

#[derive(Debug)]
struct Webhook {
    child: Child,
    address: SocketAddr,
}

impl Script {
    /// An app that the script has started.
    pub fn open(first: &App, through: Through<'_>) -> Result<Self> {
        let mut opened = Self::cloned(first, None)?;
        // Before the webhook is there, so that this one is run directly.
        opened.trigger("first", b"{}")?;
        opened.webhook = opened.start_webhook()?;
        if let Through::Smee(program) = through {
            let plain = if opened.webhook.is_some() { None } else { Some(opened.start_plain()?) };
            let behind = opened.webhook.as_ref().map(|webhook| webhook.address).or(plain.as_ref().map(|plain| plain.address));
            let target = behind.map(|address| format!("http://{address}/hooks/deploy")).unwrap_or_default();
            opened.smee = Some((Smee::open(program, &target, &opened.dir.path().join("smee.log"))?, plain));
        }
        Ok(opened)
    }

    /// A checkout where nothing was built yet, perhaps with a cache for uv that
    /// is not the user's.
    pub fn cloned(first: &App, cache: Option<PathBuf>) -> Result<Self> {
        let (origin, dir, address) = (GitOrigin::new("me/script"), tempfile::tempdir()?, free_address()?);
        first.push_to(&origin, "first");
        git(dir.path(), &["clone", "-q", &origin.url(), "app"]);
        let script = dir.path().join("deploy.sh");
        fs::write(&script, SCRIPT)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Self { origin, address, webhook: None, smee: None, cache, dir })
    }

    /// What runs the script.
    pub fn runner(&self) -> &'static str {
        match (&self.smee, &self.webhook) {
            (None, None) => "started directly, without a webhook server",
            (None, Some(_)) => "webhook (the Debian package)",
            (Some(_), Some(_)) => "smee and webhook (the Debian package)",
            (Some(_), None) => "smee and a server that does nothing else",
        }
    }

    /// The checkout.
    pub fn checkout(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    /// GitHub tells of a push; returns when it began to.
    pub fn trigger(&self, guid: &str, body: &[u8]) -> Result<Instant> {
        if let Some((smee, _)) = &self.smee {
            return smee.tell(guid, body);
        }
        let Some(webhook) = &self.webhook else {
            let begun = Instant::now();
            let status = self.command().status().context("sh does not start")?;
            if !status.success() {
                bail!("the script ended with {status}");
            }
            return Ok(begun);
        };
        let mut connection = Connection::open(webhook.address)?;
        let request = push::request("/hooks/deploy", guid, body);
        let begun = Instant::now();
        let answer = connection.exchange(&request)?;
        if answer.status != 200 {
            bail!("webhook answered {}", answer.status);
        }
        Ok(begun)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.dir.path().join("deploy.sh"));
        command.arg(self.checkout()).arg(self.address.port().to_string());
        as_on_a_host(&mut command).stdout(Stdio::null());
        command.envs(self.cache.iter().map(|cache| ("UV_CACHE_DIR", cache)));
        command
    }

    fn start_webhook(&self) -> Result<Option<Webhook>> {
        let (dir, address) = (self.dir.path(), free_address()?);
        let hooks = HOOKS.replace("@DIR@", &dir.to_string_lossy()).replace("@PORT@", &self.address.port().to_string()).replace("@SECRET@", WEBHOOK_SECRET);
        fs::write(dir.join("hooks.json"), hooks)?;
        let log = fs::File::create(dir.join("webhook.log"))?;
        let mut command = Command::new("webhook");
        command.arg("-hooks").arg(dir.join("hooks.json")).args(["-ip", "127.0.0.1", "-port", &address.port().to_string()]);
        as_on_a_host(&mut command).stdout(log.try_clone()?).stderr(log);
        let Ok(child) = command.spawn() else { return Ok(None) };
        let webhook = Webhook { child, address };
        let begun = Instant::now();
        while http::get(address, "/").is_err() {
            if begun.elapsed() > wait::DEADLINE {
                bail!("webhook does not listen: {}", fs::read_to_string(dir.join("webhook.log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(webhook))
    }

    /// A server that starts the script at each request.
    fn start_plain(&self) -> Result<Hook> {
        let mut command = self.command();
        Hook::start(move || {
            // A script that fails brings no new version, which is waited for.
            let _ = command.status();
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(pid) = pid_in(&self.dir.path().join("pid")) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// An address that nothing listens at now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn pid_in(file: &Path) -> Option<Pid> {
    let pid = Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?)?;
    test_kill_process(pid).is_ok().then_some(pid)
}
