//! Sixteen hosts whose network to the edge is cut in every way that a packet
//! filter knows, while GitHub goes on to deliver a thousand pushes: none may be
//! lost, the newest push of each project must be live in the end, a dead
//! connection must be noticed, and a host must be back soon after its network.
//!
//! Each host is in a network namespace of its own (`doorstep_tests::net`); the
//! edge, GitHub and the thread of this story share one. What the cuts do is
//! drawn at random within the bounds of [`spells`].

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorstep_shared::time::mix;
use doorstep_tests::net::{Cut, Net};
use doorstep_tests::{Delivery, Edge, GitHub, Host, Push, WEBHOOK_SECRET, git, wait};
use futures_util::future::join_all;
use serde_json::{Value, json};

const HOSTS: usize = 16;
const PROJECTS: usize = 4;
const PUSHES: usize = 1_000;
/// Between two pushes: all of them take about as long as the cuts.
const PUSH_PACE: Duration = Duration::from_millis(95);
/// Commits of an origin, which are pushed one by one: twice what its share is.
const COMMITS: usize = 2 * PUSHES / (HOSTS * PROJECTS);
/// A host must have noticed by then that nothing arrives any more.
const NOTICED_MAX: Duration = Duration::from_secs(40);
/// Rows of one answer of the edge; its own limit.
const PAGE: usize = 200;
/// What is promised of the time from a network that is back to a link that is.
const GOAL: Duration = Duration::from_secs(3);
/// The story fails when one host in twenty takes so many times as long: machines
/// that run tests are shared.
const BUSY: f64 = 2.0;
/// Fewer reconnects than this say little.
const BACK_MIN: usize = 30;
/// Within this every host must be back.
const BACK_MAX: Duration = Duration::from_secs(90);
/// What was cut must have been carried out by then.
const REST_MAX: Duration = Duration::from_secs(90);

/// Cuts of one host with clear air between them; then it must come back.
struct Spell {
    kind: &'static str,
    /// Each with how long it holds, and how long the air is clear before it.
    cuts: Vec<(Cut, Duration, Duration)>,
    /// The daemon is killed and started in the middle of it.
    restarts: bool,
}

/// What a spell did.
#[derive(Debug)]
struct Met {
    kind: &'static str,
    cuts: usize,
    /// Only silence told of it, for longer than it may take to be noticed.
    is_silent: bool,
    /// From such a cut to a link that is down.
    noticed: Option<Duration>,
    /// From a network that is back to a link that is, if it had to come back.
    back: Option<Duration>,
    /// From a network that is back to a push, delivered right then, that is live.
    live: Duration,
}

/// A project of a host, and its origin.
struct Project {
    host: usize,
    name: String,
    origin: PathBuf,
    commits: Vec<String>,
    pushed: usize,
}

/// Those who push, and GitHub, which tells the edge: they never lose touch.
struct World<'a> {
    edge: &'a Edge,
    projects: Vec<Project>,
    github: GitHub,
    sent: Vec<Delivery>,
}

/// Numbers at random.
struct Dice(u64);

impl Dice {
    fn ms(&mut self, from: u64, to: u64) -> Duration {
        self.0 = mix(self.0);
        Duration::from_millis(from + self.0 % (to - from))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = mix(self.0);
        usize::try_from(self.0 >> 1).unwrap() % end
    }
}

fn once(kind: &'static str, cut: Cut, hold: Duration) -> Spell {
    Spell { kind, cuts: vec![(cut, hold, Duration::ZERO)], restarts: false }
}

/// Up and down for some seconds.
fn flapping(dice: &mut Dice) -> Spell {
    let cuts = [Cut::Dark, Cut::Refused, Cut::FromHost, Cut::ToHost];
    let flaps = 3 + dice.below(3);
    let cuts = (0..flaps).map(|_| (cuts[dice.below(cuts.len())], dice.ms(300, 3_000), dice.ms(300, 3_000))).collect();
    Spell { kind: "flapping", cuts, restarts: false }
}

/// What a host goes through, one after the other.
fn spells(host: usize, dice: &mut Dice) -> Vec<Spell> {
    // Longer than it may take to be noticed.
    let mut silent = |kind, cut| -> Vec<Spell> { (0..2).map(|_| once(kind, cut, dice.ms(41_000, 46_000))).collect() };
    match host {
        0..3 => silent("black hole", Cut::Dark),
        3..5 => vec![Spell { kind: "long black hole", cuts: vec![(Cut::Dark, dice.ms(85_000, 95_000), Duration::ZERO)], restarts: true }],
        // Too short to be noticed, but not for what was on its way.
        5 => [2_000, 6_000, 12_000, 20_000, 26_000].map(|ms| once("short black hole", Cut::Dark, dice.ms(ms, ms + 2_000))).into(),
        6..8 => silent("half-open from host", Cut::FromHost),
        8..10 => silent("half-open to host", Cut::ToHost),
        10 => vec![once("long refused", Cut::Refused, dice.ms(60_000, 65_000)), once("long refused", Cut::Refused, dice.ms(20_000, 25_000))],
        11 => (0..8).map(|_| once("refused", Cut::Refused, dice.ms(500, 16_000))).collect(),
        12 => [1_000, 35_000, 15_000, 25_000].map(|ms| once("unplugged", Cut::Unplugged, dice.ms(ms, ms + 4_000))).into(),
        13 => (0..9).map(|_| once("moved", Cut::Moved, dice.ms(100, 8_000))).collect(),
        _ => (0..6).map(|_| flapping(dice)).collect(),
    }
}

/// How often the link of this daemon came up, and whether it is now.
fn link(host: &Host) -> (usize, bool) {
    let words = host.daemon().stderr();
    let (mut ups, mut is_up) = (0, false);
    for line in words.lines() {
        if line.contains("the link to the edge is up") {
            (ups, is_up) = (ups + 1, true);
        } else if line.contains("the link to the edge is down") || line.contains("the socket to the edge is dropped") {
            is_up = false;
        }
    }
    (ups, is_up)
}

/// Time passes while nothing changes from outside.
async fn pass(time: Duration) {
    let _ = wait::perhaps(time, "time to pass", async || (), |()| false).await;
}

fn wall_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Project {
    /// An origin with all its commits, none of which was pushed yet.
    fn new(dir: &Path, host: usize, number: usize) -> Self {
        let name = format!("p{host}-{number}");
        let origin = dir.join(format!("me/{name}.git"));
        std::fs::create_dir_all(&origin).unwrap();
        git(&origin, &["init", "-q", "--bare"]);
        let commit = |number: usize| {
            let text = number.to_string();
            format!("commit refs/heads/all\ncommitter Ann <ann@example.org> {} +0000\ndata 1\nx\nM 644 inline version\ndata {}\n{text}\n", 1_795_000_000 + number, text.len())
        };
        let history: String = (1..=COMMITS).map(commit).collect();
        let mut import = Command::new("git").args(["fast-import", "--quiet"]).current_dir(&origin).stdin(Stdio::piped()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(history.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success(), "git fast-import");
        let commits = git(&origin, &["rev-list", "--reverse", "refs/heads/all"]).lines().map(str::to_owned).collect();
        git(&origin, &["update-ref", "-d", "refs/heads/all"]);
        Self { host, name, origin, commits, pushed: 0 }
    }

    fn toml(&self) -> String {
        format!("[project.{0}]\nrepo = \"{1}\"\ndir = \"{{dir}}/{0}\"\n", self.name, self.origin.display())
    }

    /// What is live on its host: the number of a commit.
    fn live(&self, host: &Host) -> usize {
        let version = std::fs::read_to_string(host.apps().join(&self.name).join("current/version"));
        version.ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl World<'_> {
    /// Pushes the next commit of a project; the delivery is still to be sent.
    fn push(&mut self, project: usize) -> Delivery {
        let project = &mut self.projects[project];
        let commit = &project.commits[project.pushed];
        project.pushed += 1;
        git(&project.origin, &["update-ref", "refs/heads/main", commit]);
        self.github.push(&format!("me/{}", project.name), Push::to("main").at(commit).modifies(&["version"]))
    }

    /// GitHub's POST, which the edge must accept whatever is wrong elsewhere.
    async fn deliver(world: &RefCell<Self>, project: usize) {
        let (delivery, edge) = { let mut world = world.borrow_mut(); (world.push(project), world.edge) };
        let answer = edge.deliver(&delivery).await;
        assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("queued")), "{}", answer.text());
        world.borrow_mut().sent.push(delivery);
    }

    /// All pushes but those after a spell, at an even pace.
    async fn deliver_all(world: &RefCell<Self>, mut dice: Dice) {
        let mut pace = tokio::time::interval(PUSH_PACE);
        for _ in 0..PUSHES {
            pace.tick().await;
            let project = loop {
                let project = dice.below(HOSTS * PROJECTS);
                if world.borrow().projects[project].pushed < COMMITS { break project; }
            };
            Self::deliver(world, project).await;
        }
    }
}

/// Carries a spell out, and sees the host come back.
async fn endure(net: &Net, world: &RefCell<World<'_>>, host: &mut Host, number: usize, spell: &Spell) -> Met {
    let is_silent = matches!(spell.cuts[..], [(Cut::Dark | Cut::FromHost | Cut::ToHost, hold, _)] if hold > NOTICED_MAX) && !spell.restarts;
    let mut met = Met { kind: spell.kind, cuts: spell.cuts.len(), is_silent, noticed: None, back: None, live: Duration::ZERO };
    let (ups, _) = link(host);
    let (mut healed, mut healed_at) = (Instant::now(), 0);
    for (cut, hold, clear) in &spell.cuts {
        pass(*clear).await;
        net.cut(number, *cut);
        let cut_at = Instant::now();
        if spell.restarts {
            host.restart().await;
        }
        let down = wait::perhaps(*hold, "the link to be down", async || link(host).1, |is_up| !is_up).await;
        met.noticed = (down.is_ok() && is_silent).then(|| cut_at.elapsed());
        pass(hold.saturating_sub(cut_at.elapsed())).await;
        (healed, healed_at) = (Instant::now(), wall_ms());
        net.heal(number, *cut);
    }
    let probe = HOSTS * PROJECTS + number;
    let back = async {
        // A socket whose address is gone is dead, whatever the daemon believes.
        let is_moved = spell.cuts.iter().any(|(cut, ..)| *cut == Cut::Moved);
        if link(host).1 && !is_moved {
            return None;
        }
        let is_back = |(times, is_up): &(usize, bool)| *is_up && (!is_moved || *times > ups);
        wait::until_within(BACK_MAX, "the link to be up again", async || link(host), is_back).await;
        let sees = |seen: &Option<Value>| seen.as_ref().is_some_and(|host| host["online"] == true && host["last_seen"].as_u64() >= Some(healed_at));
        let edge = world.borrow().edge;
        wait::until_within(BACK_MAX, "the edge to see it", async || edge.host(host.name()).await, sees).await;
        Some(healed.elapsed())
    };
    let live = async {
        World::deliver(world, probe).await;
        let pushed = world.borrow().projects[probe].pushed;
        wait::until_within(BACK_MAX, "a push to be live", async || world.borrow().projects[probe].live(host), |live| *live == pushed).await;
        healed.elapsed()
    };
    (met.back, met.live) = tokio::join!(back, live);
    met
}

/// Every spell of a host.
async fn suffer(net: &Net, world: &RefCell<World<'_>>, host: &mut Host, number: usize, mut dice: Dice) -> Vec<Met> {
    let mut met = Vec::new();
    for spell in spells(number, &mut dice) {
        pass(dice.ms(500, 4_000)).await;
        met.push(endure(net, world, host, number, &spell).await);
    }
    met
}

/// How the hub's jobs ended, by the GUID of their delivery: one word each.
async fn ends(edge: &Edge) -> BTreeMap<String, Vec<String>> {
    let states: BTreeMap<String, String> = edge
        .hub("SELECT id || ' ' || json_extract(body, '$.state') FROM jobs")
        .iter()
        .filter_map(|row| row.split_once(' ').map(|(job, state)| (job.to_owned(), state.to_owned())))
        .collect();
    let (mut ends, mut before) = (BTreeMap::new(), String::new());
    loop {
        let page = edge.get(&format!("/webhooks/github/events?limit={PAGE}{before}")).await["events"].take();
        let events = page.as_array().unwrap();
        for event in events {
            before = format!("&before={}", event["id"]);
            let jobs = event["jobs"].as_array().unwrap().iter().map(|job| states.get(&job.to_string()).cloned().unwrap_or_default());
            ends.insert(event["delivery_id"].as_str().unwrap().to_owned(), jobs.collect());
        }
        if events.len() < PAGE {
            return ends;
        }
    }
}

/// How many, and their median, 95th percentile and maximum, in seconds.
fn shares(times: impl Iterator<Item = Duration>) -> (usize, [f64; 3]) {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort();
    // The smallest that so many percent do not exceed.
    let at = |percent: usize| (sorted.len() * percent).div_ceil(100).checked_sub(1).map_or(0.0, |place| sorted[place].as_secs_f64());
    (sorted.len(), [50, 95, 100].map(at))
}

fn figure(times: impl Iterator<Item = Duration>) -> (usize, String) {
    let (count, [median, p95, most]) = shares(times);
    if count == 0 {
        return (0, "none".to_owned());
    }
    (count, format!("median {median:.2} s, p95 {p95:.2} s, at most {most:.2} s"))
}

/// What was measured, in one line, and in one for each kind of cut.
fn tell(met: &[Met], events: usize, lost: usize, took: Duration) {
    let cuts = |kinds: &[&str]| met.iter().filter(|met| kinds.iter().any(|kind| met.kind.contains(kind))).map(|met| met.cuts).sum::<usize>();
    let noticed = met.iter().filter_map(|met| met.noticed).max().unwrap_or_default();
    let (count, back) = figure(met.iter().filter_map(|met| met.back));
    println!(
        "partitions: {events} events, {lost} lost in {} s; {} cuts (half-open {}, black hole {}, refused {}, unplugged {}, moved {}, flapping {}); detected in at most {:.1} s; {count} reconnects after the network is back: {back} (goal under {} s)",
        took.as_secs(), cuts(&[""]), cuts(&["half-open"]), cuts(&["black hole"]), cuts(&["refused"]), cuts(&["unplugged"]), cuts(&["moved"]), cuts(&["flapping"]),
        noticed.as_secs_f64(), GOAL.as_secs()
    );
    let kinds: BTreeSet<&str> = met.iter().map(|met| met.kind).collect();
    for kind in kinds {
        let of = || met.iter().filter(move |met| met.kind == kind);
        let (count, back) = figure(of().filter_map(|met| met.back));
        let (spells, live) = figure(of().map(|met| met.live));
        println!("  {kind}: {spells} times; {count} reconnects: {back}; a push right then was live: {live}");
    }
}

async fn story(net: &Net, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let edge = Edge::start_at(net.edge_address()).await;
    // The last project of each host is for the pushes after a spell.
    let places = (0..HOSTS * PROJECTS).map(|number| (number % HOSTS, number / HOSTS)).chain((0..HOSTS).map(|host| (host, PROJECTS)));
    let projects: Vec<Project> = places.map(|(host, number)| Project::new(dir.path(), host, number)).collect();
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let toml: String = projects.iter().filter(|project| project.host == number).map(Project::toml).collect();
        let mut host = Host::new(&format!("host-{number}"), &edge, &toml);
        host.live_in(net.space(number));
        host.join(&edge).await;
        host.run_online(&edge).await;
        hosts.push(host);
    }
    let world = RefCell::new(World { edge: &edge, projects, github: GitHub::new(WEBHOOK_SECRET), sent: Vec::new() });

    let begun = Instant::now();
    let suffering = hosts.iter_mut().enumerate().map(|(number, host)| suffer(net, &world, host, number, Dice(mix(seed ^ number as u64))));
    let (met, ()) = tokio::join!(join_all(suffering), World::deliver_all(&world, Dice(seed)));
    let met: Vec<Met> = met.into_iter().flatten().collect();
    println!("cuts are over after {} s", begun.elapsed().as_secs());
    wait::until_within(REST_MAX, "every job to end", async || edge.jobs().await, Vec::is_empty).await;

    let World { projects, sent, .. } = world.into_inner();
    let ends = ends(&edge).await;
    let is_lost = |delivery: &&Delivery| !ends.get(&delivery.guid).is_some_and(|jobs| jobs.len() == 1 && (jobs[0] == "done" || jobs[0] == "superseded"));
    let lost: Vec<&str> = sent.iter().filter(is_lost).map(|delivery| delivery.guid.as_str()).collect();
    tell(&met, sent.len(), lost.len(), begun.elapsed());
    assert!(lost.is_empty(), "{:#?}", lost.iter().map(|guid| (guid, ends.get(*guid))).collect::<Vec<_>>());
    for project in &projects {
        let host = &hosts[project.host];
        assert_eq!(project.live(host), project.pushed, "the newest push of {} is live", project.name);
    }
    let overdue: Vec<&Met> = met.iter().filter(|met| met.is_silent && met.noticed.is_none_or(|noticed| noticed > NOTICED_MAX)).collect();
    assert!(overdue.is_empty(), "noticed too late: {overdue:#?}");
    let (count, [_, back, _]) = shares(met.iter().filter_map(|met| met.back));
    assert!(count >= BACK_MIN, "only {count} reconnects");
    assert!(back < BUSY * GOAL.as_secs_f64(), "hosts come back too late: {met:#?}");
    // Their many small files are gone sooner side by side.
    std::thread::scope(|all| hosts.into_iter().for_each(|host| drop(all.spawn(|| drop(host)))));
}

#[test]
fn a_network_that_is_cut_in_every_way_loses_no_push_and_hosts_come_back() {
    let net = match Net::build(HOSTS) {
        Ok(net) => net,
        Err(why) => {
            println!("PARTITIONS WERE NOT TRIED: this machine makes no network namespaces ({why})");
            return;
        }
    };
    let seed = u64::from(std::process::id()) ^ wall_ms();
    println!("seed {seed}");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story(&net, seed));
}
