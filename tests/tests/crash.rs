//! The executor and the edge are killed at any moment, and both come back to
//! the new release or the old one, never to half of each.
//!
//! `DOORSTEP_KILLS` rounds (200 when it is not set), on several hosts at once,
//! with pauses drawn from `DOORSTEP_SEED`, which is printed, so that a failing
//! row can be tried again. What the machine does meanwhile is not drawn, so it
//! may take several. `crash_matrix.rs` kills at every point instead.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use doorstep_shared::time::mix;
use doorstep_tests::{App, Pushed, Shop, Terms, machine, wait};
use serde_json::{Value, json};

/// How long an app that is never well is waited for: long enough for Python to
/// start on a machine that is busy with other tests.
const WITHIN_MS: u64 = 1_000;

/// From GitHub's answer to the beginning of the run, at most.
const GRANT_MS: u64 = 40;

/// From the move of `current` to the end of the run: two syncs and a stop.
const SWITCH_US: u64 = 20_000;

/// Hosts at once: more than the cores of a small machine, since they often wait.
const HOSTS: u64 = 4;

/// What is pushed, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// It answers 500 until it is given up.
    Sick,
    /// It answers 500 and ends soon after.
    Dying,
}

impl Kind {
    fn of(round: u64) -> Self {
        match round % 4 {
            1 => Self::Dying,
            3 => Self::Sick,
            _ => Self::Good,
        }
    }

    fn app(self, version: &str) -> App {
        let app = App::in_parts(version);
        match self {
            Self::Good => app,
            Self::Sick => app.made_sick(),
            Self::Dying => app.made_sick().beginning("import os, threading\nthreading.Timer(0.1, os._exit, [1]).start()"),
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn kills() -> u64 {
    number("DOORSTEP_KILLS").unwrap_or(200)
}

fn seed() -> u64 {
    number("DOORSTEP_SEED").unwrap_or_else(|| u64::from(std::process::id()))
}

/// A shop whose daemon is killed again and again.
struct Victim {
    shop: Shop,
    seed: u64,
    is_proxied: bool,
    /// Milliseconds from an accepted push to the end of its run when nobody is
    /// killed; the pauses are drawn from 0 to this.
    usual_ms: u64,
    /// The version that should serve.
    live: String,
    recoveries: Vec<Duration>,
    /// How the interrupted runs had stood.
    found: Vec<String>,
}

impl Victim {
    async fn new(terms: Terms, seed: u64) -> Self {
        let is_proxied = terms.is_proxied;
        let mut shop = Shop::open_on(terms, &App::in_parts("first")).await;
        let run = shop.push_and_see(&App::in_parts("second")).await["run"].clone();
        let usual_ms = run["ended"].as_u64().unwrap() - run["started"].as_u64().unwrap() + GRANT_MS;
        Self { shop, seed, is_proxied, usual_ms, live: "second".into(), recoveries: Vec::new(), found: Vec::new() }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed = mix(self.seed);
        self.seed % below
    }

    /// Waits for a moment to kill: anywhere in the run, or just when `current`
    /// was moved, which few pauses hit.
    async fn moment(&mut self, round: u64, kind: Kind) -> String {
        let (begun, before) = (Instant::now(), self.current());
        let is_switch = round % 4 == 2;
        let pause = if is_switch {
            let moves = async {
                while self.current() == before {
                    tokio::task::yield_now().await;
                }
            };
            wait::soon("`current` to move", moves).await;
            begun.elapsed() + Duration::from_micros(self.draw(SWITCH_US))
        } else {
            Duration::from_millis(self.draw(if kind == Kind::Sick { self.usual_ms + WITHIN_MS } else { self.usual_ms }))
        };
        // A timer's grain would be too coarse.
        while begun.elapsed() < pause {
            tokio::task::yield_now().await;
        }
        format!("round {round}, {kind:?}, killed after {pause:?}{}", if is_switch { ", past the switch" } else { "" })
    }

    fn current(&self) -> Option<PathBuf> {
        std::fs::read_link(self.shop.host.apps().join("shop/current")).ok()
    }

    /// One push, a kill somewhere in its run, and the end it comes to.
    async fn round(&mut self, round: u64) {
        let version = format!("round-{round}");
        let kind = Kind::of(round);
        let pushed = self.shop.push(&kind.app(&version)).await;
        let context = self.moment(round, kind).await;
        self.shop.host.kill().await;
        let begun = Instant::now();
        self.shop.host.run();
        // A run that had ended before the kill says nothing about the new daemon.
        let answers = async || self.shop.host.ask_daemon().await;
        wait::until("the daemon to answer", answers, Option::is_some).await;
        let run = self.shop.ended(&pushed).await;
        self.shop.is_idle().await;
        let (shop, live) = (&self.shop, [version.as_str(), &self.live]);
        let serves = async || shop.version().await;
        wait::until("a release to serve", serves, |seen| seen.as_deref().is_some_and(|seen| live.contains(&seen))).await;
        self.recoveries.push(begun.elapsed());
        self.note_where(&run);
        let expected = if kind == Kind::Good { "succeeded" } else { "rolled_back" };
        assert_eq!(run["run"]["state"], expected, "{context}: {run:#}");
        if kind == Kind::Good {
            self.live = version;
        }
        self.is_whole(&context, &pushed, kind == Kind::Good).await;
    }

    fn note_where(&mut self, run: &Value) {
        const SAYS: &str = "the daemon ended while this run was ";
        let lines = run["log"].as_array().unwrap().iter().filter_map(Value::as_str);
        let told = lines.filter_map(|line| line.strip_prefix(SAYS)?.split(';').next().map(str::to_owned)).next();
        self.found.push(told.unwrap_or_else(|| "before or after it".into()));
    }

    /// What must hold after every round.
    async fn is_whole(&mut self, context: &str, pushed: &Pushed, is_new: bool) {
        let (shop, live) = (&mut self.shop, &self.live);
        let runs = shop.newest_runs(4).await.into_iter().filter(|run| run["job"] == pushed.job).count();
        assert_eq!(runs, 1, "{context}: one attempt, one run");
        let status = shop.host.ask_daemon().await.unwrap()["projects"][0].take();
        assert_eq!(status["live"]["commit"] == pushed.commit, is_new, "{context}: {status:#}");
        // What was stopped to make room is only being started when the run ends.
        if !self.is_proxied {
            shop.serves(live).await;
        }
        assert_eq!(shop.version().await.as_ref(), Some(live), "{context}");
        let current = shop.host.apps().join("shop/current");
        assert!(current.is_symlink(), "{context}");
        assert_eq!(&std::fs::read_to_string(current.join("parts/0")).unwrap(), live, "{context}: `current` is the live release");
        let pid = status["process"]["pid"].as_u64().unwrap();
        let apps: Vec<u64> = machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir()).into_iter().map(u64::from).collect();
        assert_eq!(apps, [pid], "{context}: one app runs, the live one: {status:#}\n{}", shop.host.words());
        let serves = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(serves, current.canonicalize().unwrap(), "{context}: it runs where `current` points");
        assert!(shop.edge.jobs().await.is_empty(), "{context}");
    }
}

/// One host's share of the kills.
fn kill_at_random(terms: Terms, seed: u64, rounds: u64) -> Victim {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut victim = Victim::new(terms, seed).await;
        for round in 0..rounds {
            victim.round(round).await;
        }
        victim
    })
}

fn beside() -> Terms {
    Terms::of(&App::in_parts("first")).within(&format!("{WITHIN_MS}ms"))
}

fn in_place() -> Terms {
    Terms {
        command: beside().command.replace("{port}", "{number}"),
        is_proxied: false,
        health: format!("http = \"http://{{address}}/health\"\nwithin = \"{WITHIN_MS}ms\""),
        ..beside()
    }
}

#[test]
fn a_daemon_killed_at_any_moment_ends_in_the_new_release_or_the_old_one() {
    let (seed, share) = (seed(), kills().div_ceil(HOSTS));
    println!("DOORSTEP_SEED={seed}");
    let victims: Vec<Victim> = std::thread::scope(|scope| {
        // Of four hosts one replaces its app in its place.
        let terms = |host| if host % 4 == 3 { in_place() } else { beside() };
        let hosts: Vec<_> = (0..HOSTS).map(|host| scope.spawn(move || kill_at_random(terms(host), mix(seed ^ host), share))).collect();
        hosts.into_iter().map(|host| host.join().unwrap()).collect()
    });
    let mut took: Vec<Duration> = victims.iter().flat_map(|victim| victim.recoveries.clone()).collect();
    took.sort();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)].as_millis();
    println!("random kills: {}, 0 violations, recovery median {} ms, p99 {} ms", took.len(), at(50), at(99));
    let mut found: Vec<String> = victims.into_iter().flat_map(|victim| victim.found).collect();
    found.sort();
    let counts = found.chunk_by(|a, b| a == b).map(|same| format!("{} {}", same.len(), same[0]));
    println!("found: {}", counts.collect::<Vec<_>>().join(", "));
}

#[tokio::test]
async fn a_push_that_was_answered_outlives_the_edge() {
    let mut shop = Shop::open(&App::bare("1")).await;
    for version in ["2", "3", "4"] {
        let pushed = shop.push(&App::bare(version)).await;
        shop.edge.kill_workerd().await;
        shop.edge.restart().await;
        assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
        shop.serves(version).await;
        shop.is_idle().await;
    }
    // Nobody is there to take it before the edge dies.
    shop.host.kill().await;
    let pushed = shop.push(&App::bare("5")).await;
    shop.edge.kill_workerd().await;
    shop.edge.restart().await;
    shop.host.run();
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
    shop.serves("5").await;
}

#[tokio::test]
async fn what_uv_was_doing_for_a_dead_daemon_is_ended() {
    let first = App::plain("1").locked();
    let mut shop = Shop::open_on(Terms::of(&first).with_uv(), &first).await;
    // A package that takes for ever to build.
    let backend = "import time\ntime.sleep(1000)\n";
    let stuck = "[project]\nname = \"shop\"\nversion = \"0.1.0\"\nrequires-python = \">=3.11\"\n[build-system]\nrequires = []\nbuild-backend = \"stuck\"\nbackend-path = [\".\"]\n";
    shop.push(&App::plain("2").file("pyproject.toml", stuck).file("stuck.py", backend)).await;
    let dir = shop.host.dir().to_owned();
    let builders = || machine::processes_of(&dir).into_iter().filter(|id| machine::command_line(*id).contains("stuck")).collect::<Vec<_>>();
    wait::until("uv to build", async || (machine::processes_running("uv", &dir), builders()), |(uv, of)| uv.len() == 1 && !of.is_empty()).await;
    shop.host.kill().await;
    let pushed = shop.push(&first.clone().file("app.py", App::plain("3").source())).await;
    shop.host.run();
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
    shop.serves("3").await;
    assert_eq!((machine::processes_running("uv", &dir), builders()), (vec![], vec![]), "nothing of it goes on");
    assert_eq!(shop.edge.jobs().await, [] as [Value; 0]);
    assert_eq!(shop.status().await["state"], json!("running"));
}
