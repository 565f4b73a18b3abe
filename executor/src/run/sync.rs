//! The sync step: `uv` makes the release's own environment, beside the live one.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use doorstep_shared::ids::{Action, FailureKind};

use super::steps::{Wrong, told};
use super::{Fault, Runner};
use crate::child::{self, End, Tool};
use crate::environment;
use crate::journal::{Point, Release};
use crate::plan::{Environment, Plan};
use crate::python::{self, Found};

/// A sync that takes longer than this is given up: torch on a slow line.
const SYNC_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Last bytes of uv's output that a failure shows.
const WORDS_BYTES_MAX: usize = 4_096;

impl Runner {
    /// Makes the environment that the plan wants.
    pub(super) async fn sync(&mut self, plan: &Plan, found: &Found, release: &Release) -> Result<(), Fault> {
        if plan.environment == Environment::None {
            return Ok(());
        }
        self.begin(Point::Syncing, "sync")?;
        // Read before anything of it can change: what is live may be the source.
        let before = self.live_env().map(|env| python::installed(&env)).unwrap_or_default();
        let outcome = self.make_environment(plan.environment, found, release).await;
        let outcome = outcome.map(|((), detail)| {
            let env = self.shared.supervisor.layout(&self.project).env(release.slot);
            let difference = python::difference(&before, &python::installed(&env));
            for line in &difference.lines {
                self.hear(line);
            }
            ((), format!("{detail}{}", difference.words()))
        });
        self.end(outcome)
    }

    fn live_env(&self) -> Option<PathBuf> {
        let live = self.shared.journal.live_release(&self.project.name).ok().flatten()?;
        Some(self.shared.supervisor.layout(&self.project).env(live.slot))
    }

    async fn make_environment(&mut self, environment: Environment, found: &Found, release: &Release) -> Result<((), String), Wrong> {
        let layout = self.shared.supervisor.layout(&self.project);
        let (slot, env) = (layout.slot(release.slot), layout.env(release.slot));
        let stamp_file = env.with_extension("stamp");
        let stamp = python::stamp(environment, &slot, found);
        if stamp.is_some() && std::fs::read_to_string(&stamp_file).ok() == stamp && env.join("bin/python").exists() {
            return Ok(((), "the environment fits already".to_owned()));
        }
        // From here on it is of no commit until uv has ended well.
        remove_if_there(&stamp_file).map_err(Wrong::host)?;
        if python::is_of_another_python(&env, found) {
            let gone = env.clone();
            tokio::task::spawn_blocking(move || environment::remove(&gone)).await.map_err(Wrong::host)?.map_err(Wrong::host)?;
        }
        let source = self.link_environment(&env, found).await;
        // The same inputs, and nothing in it that names another release: uv
        // would find nothing to do.
        if let (Some(stamp), Some(source)) = (&stamp, &source)
            && std::fs::read_to_string(source.with_extension("stamp")).is_ok_and(|of_source| &of_source == stamp)
            && !environment::refers_to(&env, layout.dir()).map_err(Wrong::host)?
        {
            self.stamp = Some(stamp.clone());
            return Ok(((), "the live environment fits and was linked".to_owned()));
        }
        match environment {
            Environment::Resolved => self.say("there is no uv.lock: versions are chosen now, and may differ next time"),
            Environment::Requirements | Environment::RequirementsUpgraded => self.say(&format!("requirements: {}", found.requirements.join(", "))),
            Environment::None | Environment::Locked | Environment::Upgraded => {}
        }
        python::renew_copied(&slot, found).map_err(Wrong::host)?;
        for args in python::calls(environment, &slot, &env, found) {
            self.uv(&args, &slot, &env).await?;
        }
        self.go_together(&slot, &env, found).await?;
        // Written once the environment is on the disk for good.
        self.stamp = stamp;
        Ok(((), format!("{environment:?}").to_lowercase()))
    }

    /// Are the packages of the environment what they want of each other? What
    /// a project overrides is its own decision.
    async fn go_together(&mut self, slot: &std::path::Path, env: &std::path::Path, found: &Found) -> Result<(), Wrong> {
        match self.uv(&python::check(env), slot, env).await {
            Err(wrong) if found.overrides && wrong.kind != FailureKind::Cancelled => {
                self.say("what does not go together is left: pyproject.toml has override-dependencies");
                Ok(())
            }
            checked => checked,
        }
    }

    async fn uv(&mut self, args: &[String], dir: &std::path::Path, env: &std::path::Path) -> Result<(), Wrong> {
        let program = find_uv().ok_or_else(|| Wrong::host("uv was not found; install it, or set DOORSTEP_UV to its path"))?;
        self.say(&format!("$ uv {}", args.join(" ")));
        let tool = Tool {
            program,
            args: args.iter().map(OsString::from).collect(),
            dir: dir.to_path_buf(),
            env: uv_environment(env, &self.shared.state, &self.record.id),
            limit: SYNC_LIMIT,
        };
        self.run_uv(&tool).await
    }

    /// Begins a slot's environment as a copy of the live one, if it has none,
    /// and says of which. Where that cannot be done uv makes it from nothing.
    async fn link_environment(&mut self, env: &std::path::Path, found: &Found) -> Option<PathBuf> {
        let live = self.live_env()?;
        if python::is_of_another_python(&live, found) {
            return None;
        }
        // A rebuild is asked for when what is there is not trusted.
        if self.record.action == Action::Rebuild || env.join("bin/python").exists() || !live.join("bin/python").exists() || live == env {
            return None;
        }
        let (from, to) = (live.clone(), env.to_path_buf());
        let linked = tokio::task::spawn_blocking(move || {
            // What uv left half made is no beginning.
            environment::remove(&to)?;
            environment::link(&from, &to)
        });
        match linked.await {
            Ok(Ok(files)) => {
                self.say(&format!("{files} files of the live environment were linked"));
                // The versions that were chosen for it are kept where they can be.
                let _ = std::fs::copy(python::chosen(&live), python::chosen(env));
                return Some(live);
            }
            Ok(Err(fault)) => self.say(&format!("the live environment cannot be linked ({fault}); a new one is made")),
            Err(fault) => tracing::warn!("{fault}"),
        }
        None
    }

    async fn run_uv(&mut self, tool: &Tool) -> Result<(), Wrong> {
        let mut words = String::new();
        let cancel = self.cancel.clone();
        let end = child::run(tool, cancel.cancelled(), |line| {
            self.hear(line);
            words.push_str(line);
            words.push('\n');
            if words.len() > 4 * WORDS_BYTES_MAX {
                words = last_bytes(&words, WORDS_BYTES_MAX).to_owned();
            }
        });
        let words_end = match end.await {
            Ok(End::Good) => return Ok(()),
            Ok(End::Bad(how)) => format!("uv {how}"),
            Ok(End::TimedOut) => format!("uv did not end within {} minutes", SYNC_LIMIT.as_secs() / 60),
            Ok(End::Cancelled) => return Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            Err(fault) => return Err(Wrong::host(format!("uv does not start: {fault}"))),
        };
        let kind = match (python::blames_source(&words), python::blames_network(&words)) {
            (_, true) => FailureKind::Network,
            (true, false) => FailureKind::Source,
            (false, false) => FailureKind::Build,
        };
        Err(Wrong { kind, message: reason(&words_end, last_bytes(words.trim_end(), WORDS_BYTES_MAX)) })
    }
}

/// uv's own words, behind a sentence with the one that begins them.
fn reason(how: &str, text: &str) -> String {
    let begins = |line: &&str| line.starts_with("error:") || line.starts_with('×');
    match text.lines().map(str::trim).find(begins) {
        Some(line) => format!("{how}: {line}\n{text}"),
        None => told(how, &text.lines().map(str::to_owned).collect::<Vec<_>>()),
    }
}

fn last_bytes(text: &str, bytes_max: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn remove_if_there(path: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}

fn find_uv() -> Option<PathBuf> {
    match std::env::var_os("DOORSTEP_UV").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => child::find("uv", &[], std::path::Path::new("/")),
    }
}

/// uv's environment: ours without Doorstep's secrets, and where to put things.
/// The cache lies beside the releases, so that uv can link instead of copying.
fn uv_environment(env: &std::path::Path, state: &std::path::Path, run: &str) -> Vec<(OsString, OsString)> {
    let passed = |name: &str| {
        !name.starts_with("DOORSTEP_")
            && !matches!(name, "VIRTUAL_ENV" | "WEBHOOK_SECRET" | "DASHBOARD_PASSWORD" | "SESSION_KEY" | "API_TOKEN" | "METRICS_TOKEN" | "CREDENTIALS_DIRECTORY")
    };
    let mut all: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed)).collect();
    all.push(("UV_PROJECT_ENVIRONMENT".into(), env.into()));
    all.push(("UV_NO_COLOR".into(), "1".into()));
    all.push(("NO_COLOR".into(), "1".into()));
    // What finds it, and what it started, after a crash of this daemon.
    all.push(("DOORSTEP_RUN".into(), run.into()));
    if std::env::var_os("UV_CACHE_DIR").is_none() {
        all.push(("UV_CACHE_DIR".into(), state.join("cache").join("uv").into()));
    }
    all
}
