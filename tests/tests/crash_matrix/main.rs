//! The executor is killed before and after every transaction of its journal
//! and every other effect of a run, and started again at the same edge, at an
//! edge that crashed too, and without one. Each time it must come to the new
//! release or the old one, with one app, one run and one end.
//!
//! The points are not listed here: a first run of each scenario writes down
//! the labels it passes (`executor/src/crash.rs`), so a new effect is tried as
//! soon as it exists. `DOORSTEP_MATRIX` picks cases whose name holds its text.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

mod case;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use case::{At, Case, Place, Scenario, name};
use doorstep_tests::{App, Pushed, Shop, Systemd, Terms, Tools, machine, wait};
use serde_json::{Value, json};

/// Cases at once. Each keeps one core busy.
const LANES: usize = 2;
/// How long a case may take to come to rest.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a daemon that has nothing left to do may take to reach its point.
const REST: Duration = Duration::from_millis(500);
/// How often the edge is asked meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// After so many violations there is no point in going on.
const VIOLATIONS_MAX: usize = 30;

/// One ask, and what it must come to.
#[derive(Clone, Debug)]
struct Ask {
    job: Value,
    commit: Option<String>,
    ends: &'static str,
    /// What serves in the end, if anything.
    serves: Option<String>,
    /// What served before, if anything.
    served: Option<String>,
    /// The app's process before, if it must be another one after.
    not_pid: Option<Value>,
}

#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    unreached: Vec<String>,
    violations: Vec<String>,
    recoveries: Vec<Duration>,
}

/// A host and an edge of their own, used for one case after the other.
struct Lane {
    /// It goes first: it would start again what the host ends.
    _systemd: Option<Systemd>,
    shop: Shop,
    place: Place,
    live: String,
    commit: String,
    /// What was live before, and is gone back to.
    before: Option<(String, String)>,
    versions: usize,
}

fn terms(place: Place, systemd: Option<&Systemd>) -> Terms {
    let head = "[policy]\nremote = [\"deploy\", \"restart\", \"stop\", \"start\", \"rollback\"]\n".to_owned();
    let around = "soak = \"20ms\"\n[project.shop.hooks]\nbefore_switch = [[\"true\"]]\nafter_switch = [[\"sh\", \"-c\", \"! grep -q SOUR app.py\"]]";
    let health = format!("http = \"/health\"\nwithin = \"10s\"\n{around}");
    let proxied = Terms { head, health, ..Terms::of(&App::quick("")) };
    let health = format!("http = \"http://{{address}}/health\"\nwithin = \"10s\"\n{around}");
    match place {
        Place::Proxied => proxied,
        Place::Instead => Terms {
            command: proxied.command.replace("{port}", "{number}"),
            is_proxied: false,
            health: format!("{health}\n[project.shop.processes.jobs]\ncommand = [\"sleep\", \"3600\"]"),
            ..proxied
        },
        Place::Unit => Terms {
            unit: systemd.map(Systemd::unit),
            environment: systemd.map(|systemd| ("XDG_RUNTIME_DIR", systemd.runtime_dir())).into_iter().collect(),
            health,
            ..proxied
        },
    }
}

/// The unit that runs what would be the command of its project.
fn unit_file(shop: &Shop) -> String {
    let (dir, python, port) = (shop.host.apps(), Tools::python(), shop.address().port());
    format!(
        "[Service]\nWorkingDirectory={0}/shop/current\nExecStart={1} -S -E app.py {port}\nEnvironment=DOORSTEP_PROJECT=shop STORY={0}\n",
        dir.display(),
        python.display()
    )
}

impl Lane {
    /// `None`: this machine has no systemd.
    async fn open(place: Place) -> Option<Self> {
        let systemd = if place == Place::Unit { Some(Systemd::start().await?) } else { None };
        let mut shop = Shop::found(terms(place, systemd.as_ref())).await;
        if let Some(systemd) = &systemd {
            systemd.write(&systemd.unit(), Some(&unit_file(&shop)));
        }
        shop.host.use_binary(&Tools::crash_build());
        shop.host.run_online(&shop.edge).await;
        let pushed = shop.push(&App::quick("first")).await;
        let run = shop.ended(&pushed).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves("first").await;
        Some(Self { _systemd: systemd, shop, place, live: "first".into(), commit: pushed.commit, before: None, versions: 0 })
    }

    /// A fresh daemon that crashes there, or one that writes down where it comes by.
    async fn start(&mut self, crash_at: &str, log: &str) {
        if !self.shop.host.has_died() {
            self.shop.host.kill().await;
        }
        self.shop.host.set("DOORSTEP_CRASH_AT", crash_at);
        self.shop.host.set("DOORSTEP_CRASH_LOG", log);
        self.shop.host.run();
    }

    /// The labels that a scenario passes when nobody is killed.
    async fn trace(&mut self, scenario: Scenario) -> Vec<String> {
        let log = self.shop.host.dir().join("passed");
        std::fs::write(&log, "").unwrap();
        self.start("", log.to_str().unwrap()).await;
        let mut skipped = 0;
        for number in 0..scenario.asks() {
            if scenario == Scenario::Rollback && number == 1 {
                self.rests().await;
                skipped = std::fs::read_to_string(&log).unwrap().lines().count();
            }
            let ask = self.ask(scenario, number).await;
            self.settle(&ask).await.unwrap();
        }
        self.rests().await;
        let passed = std::fs::read_to_string(&log).unwrap();
        self.start("", "").await;
        // What comes before the way back is a good deploy, whose points are tried.
        let mut labels: Vec<String> = passed.lines().skip(skipped).map(str::to_owned).collect();
        if scenario == Scenario::Sour {
            // Up to the switch it is like the good one, whose points are tried.
            labels.drain(..labels.iter().position(|label| label.starts_with("switch#")).unwrap());
        }
        if self.place == Place::Unit {
            // Up to the stop it is like any other.
            labels.drain(..labels.iter().position(|label| label.starts_with("advance replacing#")).unwrap());
        }
        some_of(labels)
    }

    async fn rests(&self) {
        let rest = async || self.shop.host.ask_daemon().await;
        wait::until("every report to be acknowledged", rest, |status| status.as_ref().is_some_and(|status| status["unacknowledged"] == 0)).await;
    }

    async fn status(&self) -> Option<Value> {
        Some(self.shop.host.ask_daemon().await?["projects"][0].take())
    }

    async fn ask(&mut self, scenario: Scenario, number: usize) -> Ask {
        let live = Some(self.live.clone());
        match (scenario, number) {
            (Scenario::Rollback, 1) => {
                let (version, commit) = self.before.clone().unwrap();
                Ask { serves: Some(version), served: live, commit: Some(commit), ..self.order("rollback").await }
            }
            (Scenario::Good | Scenario::Rollback, _) => {
                let (version, pushed) = self.push("").await;
                Ask { job: pushed.job, commit: Some(pushed.commit), ends: "succeeded", serves: Some(version), served: live, not_pid: None }
            }
            (Scenario::Sick | Scenario::Sour, _) => {
                let begins = if scenario == Scenario::Sick { "sys.exit('it is not well')" } else { "# SOUR" };
                let (_, pushed) = self.push(begins).await;
                Ask { job: pushed.job, commit: Some(pushed.commit), ends: "rolled_back", serves: live.clone(), served: live, not_pid: None }
            }
            (Scenario::Restart, _) => {
                let pids = self.apps();
                Ask { serves: live.clone(), served: live, not_pid: pids.first().map(|pid| json!(pid)), ..self.order("restart").await }
            }
            (Scenario::StopAndStart, 0) => Ask { served: live, ..self.order("stop").await },
            (Scenario::StopAndStart, _) => Ask { serves: live, ..self.order("start").await },
        }
    }

    async fn push(&mut self, begins: &str) -> (String, Pushed) {
        self.versions += 1;
        let version = format!("v{}", self.versions);
        let app = App::quick(&version);
        let app = if begins.is_empty() { app } else { app.beginning(begins) };
        let pushed = self.shop.push(&app).await;
        (version, pushed)
    }

    async fn order(&mut self, action: &str) -> Ask {
        let answer = self.shop.edge.api("POST", &format!("/api/projects/attic/shop/{action}")).await;
        assert_eq!(answer.status, 202, "{action}: {}", answer.text());
        Ask { job: answer.json()["job"].clone(), commit: None, ends: "succeeded", serves: None, served: None, not_pid: None }
    }

    /// Waits until the daemon has reached its point, or the asked is done.
    async fn dies(&mut self, ask: &Ask) -> Result<bool, String> {
        let (mut looked, mut told) = (Instant::now(), None::<Instant>);
        let look = async || {
            if self.shop.host.has_died() {
                return Some(true);
            }
            if told.is_none() && looked.elapsed() > LOOK {
                told = self.is_told(ask).await.map(|_| Instant::now());
                looked = Instant::now();
            }
            told.is_some_and(|at| at.elapsed() > REST).then_some(false)
        };
        let seen = wait::perhaps(DEADLINE, "the daemon to be killed, or to be done", look, Option::is_some).await?;
        Ok(seen.unwrap_or_default())
    }

    /// The edge's runs of this job, once all of them have ended.
    async fn is_told(&self, ask: &Ask) -> Option<Vec<Value>> {
        let runs: Vec<Value> = self.shop.newest_runs(4).await.into_iter().filter(|run| run["job"] == ask.job).collect();
        let is_over = !runs.is_empty() && runs.iter().all(|run| run["state"] != "running") && self.shop.edge.jobs().await.is_empty();
        is_over.then_some(runs)
    }

    /// Starts the daemon again, at whatever edge, and takes the time until the
    /// app serves and no run is open.
    async fn recover(&mut self, at: At, ask: &Ask) -> Result<Duration, String> {
        match at {
            At::Same => {}
            At::Restarted => {
                self.shop.edge.kill_workerd().await;
                self.shop.edge.restart().await;
            }
            At::Gone => {
                self.shop.edge.kill_workerd().await;
            }
        }
        let begun = Instant::now();
        self.start("", "").await;
        let (new, old) = (ask.serves.clone(), ask.served.clone());
        // Where nothing serves, the proxy lets a request wait for ten seconds.
        let look = async || {
            let status = self.status().await;
            let runs = status.as_ref().is_some_and(|status| status["process"].is_object());
            (status, if new.is_some() && runs { self.shop.version().await } else { None })
        };
        let is_well = |(status, version): &(Option<Value>, Option<String>)| {
            let Some(status) = status else { return false };
            let is_over = status["last_run"]["state"] != "running";
            // What was stopped stays so while nobody can tell it to start.
            let is_old = *version == old && (old.is_some() || at == At::Gone);
            is_over && (*version == new || is_old)
        };
        wait::perhaps(DEADLINE, "the new release or the old one to serve", look, is_well).await?;
        let took = begun.elapsed();
        if at == At::Gone {
            self.shop.edge.restart().await;
        }
        Ok(took)
    }

    /// Waits for the one end of what was asked, and looks at everything.
    async fn settle(&mut self, ask: &Ask) -> Result<(), String> {
        let told = wait::perhaps(DEADLINE, "the job to end and the edge to be told", async || self.is_told(ask).await, Option::is_some).await?;
        let runs = told.unwrap_or_default();
        check(runs.len() == 1 && runs[0]["state"] == ask.ends, || format!("one run {}: {runs:#?}", ask.ends))?;
        if let Some(commit) = &ask.commit {
            check(runs[0]["commit"] == *commit, || format!("the outcome carries its commit: {runs:#?}"))?;
        }
        let run = self.shop.run(&runs[0]["id"]).await;
        let steps: Vec<&str> = run["steps"].as_array().unwrap().iter().filter_map(|step| step["name"].as_str()).collect();
        let after = steps.iter().skip_while(|step| **step != "roll back").find(|step| **step != "roll back");
        check(after.is_none(), || format!("nothing is begun again once it is rolled back: {steps:?}"))?;
        if ask.ends == "succeeded" && ask.commit.is_some() {
            self.before = Some((self.live.clone(), self.commit.clone()));
            (self.live, self.commit) = (ask.serves.clone().unwrap_or_default(), ask.commit.clone().unwrap_or_default());
        }
        self.is_whole(ask, &runs[0]["id"]).await
    }

    async fn is_whole(&self, ask: &Ask, run: &Value) -> Result<(), String> {
        if ask.serves.is_some() {
            wait::perhaps(DEADLINE, "what should serve", async || self.shop.version().await, |version| *version == ask.serves).await?;
        }
        let status = self.status().await.unwrap_or_default();
        let last = &status["last_run"];
        check(last["id"] == *run && last["state"] == ask.ends && last["point"] == "ended", || format!("the journal says the same: {status:#}"))?;
        check(status["live"]["commit"] == self.commit, || format!("{} is live: {status:#}", self.commit))?;
        let current = self.shop.host.apps().join("shop/current");
        let source = std::fs::read_to_string(current.join("app.py")).unwrap_or_default();
        check(source.contains(&format!("VERSION = \"{}\"", self.live)), || format!("`current` is {}, not {:?}", self.live, std::fs::read_link(&current)))?;
        let apps = self.apps();
        if ask.serves.is_none() {
            return check(apps.is_empty() && status["process"].is_null(), || format!("nothing runs: {apps:?}, {status:#}"));
        }
        let pid = &status["process"]["pid"];
        check(apps.len() == 1 && *pid == json!(apps[0]), || format!("one app runs, the live one: {apps:?}, {status:#}"))?;
        check(ask.not_pid.as_ref() != Some(pid), || format!("it was restarted: {status:#}"))?;
        let serves = std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
        check(serves == current.canonicalize().ok(), || format!("it runs where `current` points: {serves:?}"))?;
        self.has_its_jobs().await
    }

    /// Every process of the project, and whatever its runs left, but those that
    /// run beside the main one.
    fn apps(&self) -> Vec<u32> {
        let beside = self.beside();
        machine::processes_marked("DOORSTEP_PROJECT=shop", self.shop.host.dir()).into_iter().filter(|id| !beside.contains(id)).collect()
    }

    fn beside(&self) -> Vec<u32> {
        machine::processes_marked("DOORSTEP_PROCESS=jobs", self.shop.host.dir())
    }

    /// What runs beside the app is one process, of the live release. A daemon
    /// that has just started may be about to see to it.
    async fn has_its_jobs(&self) -> Result<(), String> {
        if self.place != Place::Instead {
            return Ok(());
        }
        let current = self.shop.host.apps().join("shop/current").canonicalize().ok();
        let look = async || self.beside().iter().map(|id| std::fs::read_link(format!("/proc/{id}/cwd")).ok()).collect::<Vec<_>>();
        wait::perhaps(DEADLINE, "one worker of the live release", look, |seen| seen.len() == 1 && seen[0] == current).await.map(drop)
    }

    async fn case(&mut self, case: &Case, tally: &Mutex<Tally>) -> Result<(), String> {
        self.start(&case.point, "").await;
        let mut is_killed = false;
        for number in 0..case.scenario.asks() {
            let ask = self.ask(case.scenario, number).await;
            if !is_killed && self.dies(&ask).await? {
                is_killed = true;
                let took = self.recover(case.at, &ask).await?;
                let mut tally = tally.lock().unwrap();
                tally.kills += 1;
                tally.recoveries.push(took);
            }
            self.settle(&ask).await?;
        }
        if !is_killed {
            tally.lock().unwrap().unreached.push(format!("{:?} {}", case.scenario, case.point));
        }
        Ok(())
    }

    /// What a whole lane may leave in the journal: the one process, no open run.
    fn leaves(&self) -> Result<(), String> {
        let processes = self.shop.host.journal("SELECT count(*) FROM processes");
        let open = self.shop.host.journal("SELECT count(*) FROM runs WHERE ended IS NULL");
        let wanted = if self.place == Place::Instead { "2" } else { "1" };
        check(processes == [wanted] && open == ["0"], || format!("rows are left over: {processes:?} processes, {open:?} open runs"))
    }
}

/// All labels, but of the acknowledgements that come one after the other, all
/// alike, only the first and the last ones, and none of the log: whether lines are
/// told while a step goes on depends on time. `live_log.rs` kills there.
fn some_of(mut labels: Vec<String>) -> Vec<String> {
    labels.retain(|label| !label.starts_with("log#"));
    let (alike, mut labels): (Vec<_>, Vec<_>) = labels.into_iter().partition(|label| label.starts_with("forget#"));
    let last = alike.len().saturating_sub(2);
    labels.extend(alike.into_iter().enumerate().filter(|(at, _)| *at < 2 || *at >= last).map(|(_, label)| label));
    labels
}

fn check(is_so: bool, say: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(say()) }
}

/// Carries out cases until none is left; a lane that saw a violation is given up
/// for a new one.
async fn work(mut lane: Lane, cases: &Mutex<VecDeque<Case>>, tally: &Mutex<Tally>) {
    loop {
        let Some(case) = cases.lock().unwrap().pop_front() else { break };
        let begun = Instant::now();
        let name = name(lane.place, &case);
        let result = lane.case(&case, tally).await;
        if std::env::var_os("DOORSTEP_MATRIX").is_some() {
            println!("{name}: {:?} in {:?}", result.is_ok(), begun.elapsed());
        }
        if let Err(fault) = result {
            println!("violation: {name}: {fault}\n{}", lane.shop.host.words());
            lane = give_up(lane, tally, format!("{name}: {fault}")).await;
            if tally.lock().unwrap().violations.len() >= VIOLATIONS_MAX {
                return;
            }
        }
    }
    if let Err(fault) = lane.leaves() {
        tally.lock().unwrap().violations.push(fault);
    }
}

async fn give_up(lane: Lane, tally: &Mutex<Tally>, violation: String) -> Lane {
    tally.lock().unwrap().violations.push(violation);
    Lane::open(lane.place).await.unwrap()
}

/// All cases of these scenarios, in lanes of their own, each on a thread.
/// Returns how many points there are.
fn phase(place: Place, ats: &[At], scenarios: &[Scenario], tally: &Mutex<Tally>) -> usize {
    let wanted = std::env::var("DOORSTEP_MATRIX").unwrap_or_default();
    let (mut cases, mut points) = (VecDeque::new(), 0);
    let traced = on_runtime(async {
        let mut traced = Vec::new();
        let Some(mut lane) = Lane::open(place).await else { return traced };
        for scenario in scenarios {
            traced.push((*scenario, lane.trace(*scenario).await));
        }
        traced
    });
    for (scenario, labels) in traced {
        for point in labels.iter().flat_map(|label| ["before", "after"].map(|side| format!("{label}:{side}"))) {
            points += 1;
            cases.extend(ats.iter().map(|at| Case { scenario, point: point.clone(), at: *at }));
        }
    }
    cases.retain(|case| name(place, case).contains(&wanted));
    let cases = Mutex::new(cases);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                on_runtime(async {
                    if let Some(lane) = Lane::open(place).await {
                        work(lane, &cases, tally).await;
                    }
                });
            });
        }
    });
    points
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_daemon_killed_at_every_point_ends_in_the_new_release_or_the_old_one() {
    let tally = Mutex::new(Tally::default());
    let mut points = phase(Place::Proxied, &At::ALL, &Scenario::ALL, &tally);
    points += phase(Place::Instead, &At::ALL, &[Scenario::Good, Scenario::Sick], &tally);
    // What the edge does is the same as before.
    points += phase(Place::Unit, &[At::Same], &[Scenario::Good, Scenario::Sick, Scenario::Restart], &tally);
    let mut tally = tally.into_inner().unwrap();
    tally.recoveries.sort();
    let count = tally.recoveries.len();
    let at = |share: usize| tally.recoveries.get((count * share / 100).min(count.saturating_sub(1))).map_or(0, Duration::as_millis);
    println!(
        "crash matrix: {points} points, {} kills, {} violations, recovery median {} ms, p99 {} ms",
        tally.kills,
        tally.violations.len(),
        at(50),
        at(99)
    );
    if !tally.unreached.is_empty() {
        println!("{} points were not passed this time: {:?}", tally.unreached.len(), tally.unreached);
    }
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
}
