//! The five scenes, each checked as it is shown.

use std::time::{Duration, Instant};

use doorstep_tests::Push;
use serde_json::Value;

use crate::follow::{Arrival, Run, follow};
use crate::hub::Hub;
use crate::prober::{Prober, Tally};
use crate::seen::{Seen, ensure, until};
use crate::stage::{HOST, PROJECT, REPO, Stage};
use crate::terminal::{Terminal, grouped, milliseconds};

const APP: &str = include_str!("../../app/app.py");
const PYPROJECT: &str = include_str!("../../app/pyproject.toml");
const HEALTHY: &str = r#"return {"version": VERSION}"#;
const SICK: &str = r#"raise RuntimeError("the database is not there")"#;

/// The first deploy fetches the app's packages.
const FIRST_LIMIT: Duration = Duration::from_secs(300);
const RUN_LIMIT: Duration = Duration::from_secs(90);
const LIMIT: Duration = Duration::from_secs(20);
/// Answers that a prober waits for after the last thing happened.
const ANSWERS_AFTER: u64 = 30;
/// Time between two looks for a push by hand.
const HEAD_INTERVAL: Duration = Duration::from_millis(200);

/// What one scene came to.
pub struct Scene {
    title: &'static str,
    /// From the delivery (or, for a host that was off, from its start) to the
    /// new version's first answer; for a rollback, to its end.
    took: Duration,
    /// The part of it that the app itself took to start and be healthy.
    own: Duration,
    tally: Option<Tally>,
}

/// A push that the edge took.
struct Pushed {
    commit: String,
    job: Value,
    at: Instant,
    arrival: Arrival,
}

/// Raises the stage and plays all scenes.
pub async fn tell(stage: &mut Stage, terminal: &mut Terminal) -> Seen<(Hub, Vec<Scene>)> {
    terminal.scene("Doorstep: push to deploy, on this machine");
    let hub = stage.start_edge().await?;
    terminal.event("edge", None, &format!("workerd listens at {}", stage.edge_url()));
    stage.enroll(&hub).await?;
    terminal.event("enrolment", None, &format!("this machine is host {HOST}"));
    stage.start_daemon(&hub).await?;
    terminal.event("executor", None, "its link to the edge is up; it listens on no port");
    until("the project at the edge", LIMIT, async || hub.project(HOST, PROJECT).await).await?;
    let first = first_deploy(stage, terminal, &hub).await?;
    let second = second_deploy(stage, terminal, &hub).await?;
    let third = rollback(stage, terminal, &hub).await?;
    let fourth = push_while_stopped(stage, terminal, &hub).await?;
    let fifth = webhook_lost(stage, terminal, &hub).await?;
    Ok((hub, vec![first, second, third, fourth, fifth]))
}

async fn first_deploy(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<Scene> {
    let title = "1  The first deploy";
    terminal.scene(title);
    let lock = stage.lock(PYPROJECT).await?;
    terminal.event("uv lock", None, &format!("{} packages", lock.matches("[[package]]").count()));
    let files = [("app.py", APP), ("pyproject.toml", PYPROJECT), ("uv.lock", &lock)];
    let pushed = push(stage, terminal, hub, "one", &files).await?;
    let run = follow(hub, terminal, &pushed.job, &pushed.arrival, FIRST_LIMIT).await?;
    let live = went_live(stage, &run, &pushed).await?;
    Ok(Scene { title, took: live - pushed.at, own: own_start(&run), tally: None })
}

async fn second_deploy(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<Scene> {
    let title = "2  A second commit, while somebody asks every 10 ms";
    terminal.scene(title);
    let prober = Prober::start(&stage.app_url());
    let pushed = push(stage, terminal, hub, "two", &[("app.py", &app("two"))]).await?;
    let run = follow(hub, terminal, &pushed.job, &pushed.arrival, RUN_LIMIT).await?;
    let live = went_live(stage, &run, &pushed).await?;
    let tally = undisturbed(terminal, prober, &["one", "two"]).await?;
    Ok(Scene { title, took: live - pushed.at, own: own_start(&run), tally: Some(tally) })
}

async fn rollback(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<Scene> {
    let title = "3  A commit whose health check answers 500";
    terminal.scene(title);
    let before = stage.status().await?;
    let prober = Prober::start(&stage.app_url());
    let pushed = push(stage, terminal, hub, "three", &[("app.py", &app("three").replace(HEALTHY, SICK))]).await?;
    let run = follow(hub, terminal, &pushed.job, &pushed.arrival, RUN_LIMIT).await?;
    let took = pushed.at.elapsed();
    ensure(run.state == "rolled_back" && run.failed_step == "check", || {
        format!("a rollback after a failed check; the run {} in step {:?}: {}", run.state, run.failed_step, run.failure)
    })?;
    ensure(run.failure.contains("500"), || format!("the check's 500 in the failure; it says: {}", run.failure))?;
    let tally = undisturbed(terminal, prober, &["two"]).await?;
    let after = stage.status().await?;
    ensure(after["live"] == before["live"] && after["process"] == before["process"], || {
        format!("the old release untouched; it was {} and is {}", before["live"], after["live"])
    })?;
    terminal.seen("kept", &format!("the process of version two ({}) never stopped", after["process"]["pid"]));
    Ok(Scene { title, took, own: own_start(&run), tally: Some(tally) })
}

async fn push_while_stopped(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<Scene> {
    let title = "4  A push while the executor is stopped";
    terminal.scene(title);
    let prober = Prober::start(&stage.app_url());
    stage.stop_daemon().await?;
    until("the host to be offline", LIMIT, async || Ok((!hub.is_online(HOST).await?).then_some(()))).await?;
    terminal.event("stopped", None, &format!("{HOST} is offline; the app goes on"));
    let pushed = push(stage, terminal, hub, "four", &[("app.py", &app("four"))]).await?;
    let row = hub.project(HOST, PROJECT).await?.unwrap_or_default();
    let job = row["jobs"].as_array().into_iter().flatten().find(|job| job["id"] == pushed.job).cloned().unwrap_or_default();
    ensure(job["state"] == "waiting" && row["online"] == false, || format!("the job waiting for its host; it is {job}"))?;
    terminal.seen("queued", &format!("job {} waits for {HOST}", pushed.job));
    let answered = prober.tally().answered();
    until("the app to answer without its executor", LIMIT, async || {
        Ok((prober.tally().answered() >= answered + ANSWERS_AFTER).then_some(()))
    })
    .await?;
    let started = Instant::now();
    stage.start_daemon(hub).await?;
    terminal.event("started", Some(started.elapsed()), &format!("{HOST} is online"));
    let run = follow(hub, terminal, &pushed.job, &pushed.arrival, RUN_LIMIT).await?;
    let live = went_live(stage, &run, &pushed).await?;
    let tally = undisturbed(terminal, prober, &["two", "four"]).await?;
    Ok(Scene { title, took: live - started, own: own_start(&run), tally: Some(tally) })
}

async fn webhook_lost(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<Scene> {
    let title = "5  A push whose webhook never arrives";
    terminal.scene(title);
    let prober = Prober::start(&stage.app_url());
    stage.stop_daemon().await?;
    terminal.event("stopped", None, "the executor; nobody is told of what comes");
    let commit = commit(stage, terminal, "five", &[("app.py", &app("five"))]);
    let arrival = Arrival::watch(&stage.app_url(), &commit);
    terminal.restart_clock();
    let at = Instant::now();
    stage.start_daemon(hub).await?;
    terminal.event("started", Some(at.elapsed()), "it asks the origin for its branch");
    let job = until("a job with cause reconcile", LIMIT, async || hub.job_found(HOST, PROJECT).await).await?;
    terminal.seen("found", &format!("the branch is ahead; job {job}"));
    let pushed = Pushed { commit, job, at, arrival };
    let run = follow(hub, terminal, &pushed.job, &pushed.arrival, RUN_LIMIT).await?;
    let live = went_live(stage, &run, &pushed).await?;
    let tally = undisturbed(terminal, prober, &["four", "five"]).await?;
    Ok(Scene { title, took: live - at, own: own_start(&run), tally: Some(tally) })
}

/// Commits, pushes, and has GitHub say so; times count from the delivery.
async fn push(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub, version: &str, files: &[(&str, &str)]) -> Seen<Pushed> {
    let commit = commit(stage, terminal, version, files);
    deliver(stage, terminal, hub, commit).await
}

fn commit(stage: &Stage, terminal: &mut Terminal, version: &str, files: &[(&str, &str)]) -> String {
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
    let begun = Instant::now();
    let message = format!("Make it version {version}");
    let commit = stage.origin.commit(&message, &files);
    terminal.event("git push", Some(begun.elapsed()), &format!("{} {message}", &commit[..7]));
    commit
}

async fn deliver(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub, commit: String) -> Seen<Pushed> {
    let delivery = stage.github.push(REPO, Push::to("main").modifies(&["app.py"]).at(&commit));
    let arrival = Arrival::watch(&stage.app_url(), &commit);
    terminal.restart_clock();
    let at = Instant::now();
    let answer = hub.deliver(&delivery).await?;
    let took = at.elapsed();
    let job = answer["jobs"].get(0).cloned().unwrap_or_default();
    ensure(answer["status"] == "queued" && job.is_u64(), || format!("the delivery queued; the edge said {answer}"))?;
    terminal.event("delivery", Some(took), &format!("202 queued, job {job}"));
    Ok(Pushed { commit, job, at, arrival })
}

async fn went_live(stage: &mut Stage, run: &Run, pushed: &Pushed) -> Seen<Instant> {
    ensure(run.state == "succeeded", || {
        format!("the success of the run; it {} in step {:?}: {}", run.state, run.failed_step, run.failure)
    })?;
    let live = pushed.arrival.seen(LIMIT).await?;
    let status = stage.status().await?;
    ensure(status["live"]["commit"] == pushed.commit.as_str() && status["state"] == "running", || {
        format!("commit {} running in `doorstep status`; it says {status}", pushed.commit)
    })?;
    Ok(live)
}

/// The check waits for the app and does little else.
fn own_start(run: &Run) -> Duration {
    run.steps.get("check").copied().unwrap_or_default()
}

/// A few more answers, and then: was every question answered, by these versions?
async fn undisturbed(terminal: &mut Terminal, prober: Prober, versions: &[&str]) -> Seen<Tally> {
    let answered = prober.tally().answered();
    let enough = async || {
        let tally = prober.tally();
        Ok((tally.failed > 0 || tally.answered() >= answered + ANSWERS_AFTER).then_some(()))
    };
    until("the app's last answers", LIMIT, enough).await?;
    let tally = prober.stop().await?;
    let shares: Vec<String> = tally.versions.iter().map(|(version, count)| format!("{version} {}", grouped((*count).into()))).collect();
    let slowest = milliseconds(tally.slowest);
    let text = format!("{} sent, {} failed; by version: {}; slowest {slowest}", tally.sent, tally.failed, shares.join(", "));
    if tally.failed == 0 { terminal.seen("requests", &text) } else { terminal.failed("requests", None, &text) }
    ensure(tally.failed == 0, || {
        format!("an answer to each of {} requests; {} failed, first: {}", tally.sent, tally.failed, tally.first_failure.clone().unwrap_or_default())
    })?;
    ensure(tally.sent == tally.answered(), || format!("{} answers; there were {}", tally.sent, tally.answered()))?;
    let expected = tally.versions.len() == versions.len() && versions.iter().all(|version| tally.versions.contains_key(*version));
    ensure(expected, || format!("answers of the versions {versions:?} only; they were {:?}", tally.versions))?;
    Ok(tally)
}

fn app(version: &str) -> String {
    APP.replace(r#"VERSION = "one""#, &format!(r#"VERSION = "{version}""#))
}

/// Prints the figures.
pub fn sum_up(stage: &Stage, terminal: &mut Terminal, scenes: &[Scene]) {
    terminal.say("");
    let header = format!("{:<54}{:>12}{:>14}{:>12}{:>10}{:>8}", "", "push to live", "the app's own", "Doorstep's", "requests", "failed");
    terminal.heading(&header);
    for scene in scenes {
        let (sent, failed) = scene.tally.as_ref().map_or((String::new(), String::new()), |tally| (grouped(tally.sent.into()), tally.failed.to_string()));
        let own = scene.own.min(scene.took);
        terminal.say(&format!(
            "{:<54}{:>12}{:>14}{:>12}{sent:>10}{failed:>8}",
            scene.title,
            milliseconds(scene.took),
            milliseconds(own),
            milliseconds(scene.took - own),
        ));
    }
    terminal.say("From the delivery to the first answer of the new version; 3: to the end of the rollback; 4 and 5: from");
    terminal.say("the executor's start. The app's own: until it was healthy (3: until it was given up).");
    terminal.say("");
    terminal.say(&format!("Dashboard  {}   password  {}", stage.edge_url(), stage.password()));
    terminal.say(&format!("The app    {}", stage.app_url()));
}

/// Stays up, and deploys what a person pushes.
pub async fn stay(stage: &mut Stage, terminal: &mut Terminal, hub: &Hub) -> Seen<()> {
    terminal.say(&format!("Its source {}   change app.py there, commit and push", stage.origin.work().display()));
    terminal.say("Ctrl-C stops everything.");
    let mut known = head(stage);
    loop {
        ensure(stage.has_edge(), || "the edge running; it ended by itself".to_owned())?;
        ensure(stage.has_daemon(), || "the executor running; it ended by itself".to_owned())?;
        let commit = head(stage);
        if commit != known && commit.len() == 40 {
            known.clone_from(&commit);
            terminal.scene("A push of yours");
            let pushed = deliver(stage, terminal, hub, commit).await?;
            let run = follow(hub, terminal, &pushed.job, &pushed.arrival, RUN_LIMIT).await?;
            terminal.event("ended", None, &run.state.replace('_', " "));
        }
        tokio::time::sleep(HEAD_INTERVAL).await;
    }
}

/// The branch's newest commit; a branch that was pushed lately is a file.
fn head(stage: &Stage) -> String {
    let branch = stage.origin.path().join("refs/heads/main");
    std::fs::read_to_string(branch).unwrap_or_default().trim().to_owned()
}
