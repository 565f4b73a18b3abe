//! A log is seen while it is written, in its colours, and a line that was told
//! once is there once, whenever the daemon dies.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::path::PathBuf;
use std::time::Instant;

use doorstep_tests::{App, Pushed, Shop, Terms, Tools, wait};
use serde_json::{Value, json};

/// Lines of a log that is too long for an edge.
const MANY: usize = 20_000;

/// What the hook's lines begin with.
const WORDS: [&str; 3] = ["one", "two", "three"];

/// A project whose hook prints a line with its own number, in red, and a second
/// one as soon as there is the file `more` beside the releases, and which ends as
/// soon as there is `open` there.
fn terms() -> Terms {
    let script = "printf '\\\\033[31mone of '$$'\\\\033[0m\\\\n'; until [ -e {dir}/more ]; do sleep 0.05; done; echo two of $$; until [ -e {dir}/open ]; do sleep 0.05; done; echo three of $$";
    let terms = Terms::of(&App::quick(""));
    Terms { health: format!("{}\n[project.shop.hooks]\nbefore_switch = [[\"sh\", \"-c\", \"{script}\"]]", terms.health), ..terms }
}

/// A project whose hook prints so many lines, if there is no file `more` yet, makes
/// that, waits for `open`, prints why it fails, and fails.
fn long_terms() -> Terms {
    let words = "which is as long as a line of a compiler may well be, with a path";
    let script = format!(
        "if ! [ -e {{dir}}/more ]; then i=0; while [ $i -lt {MANY} ]; do i=$((i+1)); echo line $i {words}; done; touch {{dir}}/more; fi; until [ -e {{dir}}/open ]; do sleep 0.05; done; echo why it failed; exit 3"
    );
    let terms = Terms::of(&App::quick(""));
    Terms { health: format!("{}\n[project.shop.hooks]\nbefore_switch = [[\"sh\", \"-c\", \"{script}\"]]", terms.health), ..terms }
}

/// What the edge has of the log of such a run: the numbers of the lines before the
/// gap and behind it. The gap says what is missing, and how it is shown.
async fn two_parts(shop: &mut Shop, run: &Value) -> (Vec<usize>, Vec<usize>) {
    let lines: Vec<&str> = run["log"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let number = |line: &&str| line.strip_prefix("line ")?.split(' ').next()?.parse().ok();
    let is_gap = |line: &&str| line.starts_with("… ") && line.contains(" on the host only");
    let gaps: Vec<usize> = (0..lines.len()).filter(|at| is_gap(&lines[*at])).collect();
    assert_eq!(gaps.len(), 1, "{} lines, {:?}", lines.len(), lines.last());
    let gap = gaps[0];
    // The reason has the last lines once more.
    let end = lines.iter().position(|line| *line == "why it failed").unwrap();
    let missing: usize = lines[gap].split(' ').nth(1).unwrap().parse().unwrap();
    let id = run["run"]["id"].as_str().unwrap();
    assert!(lines[gap].contains(&format!("`doorstep logs shop --run {id}`")), "{}", lines[gap]);
    let shown = shop.host.verb(&["logs", "shop", "--run", id]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let told = lines.iter().filter(|line| !line.starts_with('…')).count();
    assert_eq!(shown.stdout.lines().count(), told + missing, "nothing is lost, and nothing twice");
    (lines[..gap].iter().filter_map(number).collect(), lines[gap..end].iter().filter_map(number).collect())
}

/// The beginning and the end of [`MANY`] lines.
fn is_whole(head: &[usize], tail: &[usize]) {
    assert!(head.len() > 10_000 && head.iter().copied().eq(1..=head.len()), "{} lines from {:?}", head.len(), head.first());
    assert!(tail.len() > 500 && tail.iter().copied().eq(MANY - tail.len() + 1..=MANY), "{} lines to {:?}", tail.len(), tail.last());
}

fn gate(shop: &Shop, name: &str) -> PathBuf {
    shop.host.apps().join(name)
}

fn open(shop: &Shop, name: &str) {
    std::fs::write(gate(shop, name), "").unwrap();
}

/// The log of the run of this push, as the API has it so far.
async fn log(shop: &Shop, pushed: &Pushed) -> Vec<String> {
    let Some(run) = shop.newest_runs(4).await.into_iter().find(|run| run["job"] == pushed.job) else { return Vec::new() };
    let part = shop.edge.get(&format!("/api/runs/{}/log?after=0", run["id"].as_str().unwrap())).await;
    part["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// Waits until the edge has a line that begins so, and returns how many it has.
async fn told(shop: &Shop, pushed: &Pushed, begins: &str) -> Vec<String> {
    let has = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with(begins));
    wait::until(&format!("a line `{begins} …` at the edge"), async || log(shop, pushed).await, has).await
}

/// The lines of the hook, which are as many as they are different.
fn of_the_hook(run: &Value) -> Vec<String> {
    let is_its = |line: &&str| WORDS.iter().any(|word| line.starts_with(&format!("{word} of ")));
    let lines: Vec<String> = run["log"].as_array().unwrap().iter().filter_map(Value::as_str).filter(is_its).map(str::to_owned).collect();
    let mut once = lines.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), lines.len(), "a line is there twice: {lines:#?}");
    lines
}

fn words(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.split(' ').next()).collect()
}

#[tokio::test]
async fn a_line_is_seen_while_its_step_goes_on() {
    let mut shop = Shop::found(terms()).await;
    shop.host.run_online(&shop.edge).await;
    let pushed = shop.push(&App::quick("1")).await;
    let first = told(&shop, &pushed, "one of").await;
    assert!(!first.iter().any(|line| line.contains('\u{1b}')), "the API has words alone: {first:?}");
    assert!(!gate(&shop, "more").exists() && !first.iter().any(|line| line.starts_with("two")));
    // The last line before a silence: nothing follows it until `open` is there.
    let begun = Instant::now();
    open(&shop, "more");
    told(&shop, &pushed, "two of").await;
    println!("a line was at the edge {} ms after it was printed, at most", begun.elapsed().as_millis());
    let runs = shop.newest_runs(1).await;
    assert_eq!((&runs[0]["state"], &runs[0]["commit"]), (&json!("running"), &json!(pushed.commit)), "the fetch knows it");
    let id = runs[0]["id"].as_str().unwrap().to_owned();
    let part = shop.edge.api("GET", &format!("/api/runs/{id}/log?format=html&after=0")).await.text();
    assert!(part.contains("<li><span class=\"c1\">one of "), "{part}");
    open(&shop, "open");
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(words(&of_the_hook(&run)), ["one", "two", "three"]);
    let raw = shop.edge.api("GET", &format!("/api/runs/{id}/log?format=text")).await.text();
    assert!(raw.contains("\none of ") && !raw.contains('\u{1b}'), "{raw}");
    let kept = std::fs::read_to_string(shop.host.state().join(format!("logs/shop/run-{id}.log"))).unwrap();
    assert!(kept.contains("\none of ") && !kept.contains('\u{1b}'), "the host's own file has words alone: {kept}");
}

#[tokio::test]
async fn of_a_long_log_the_edge_has_the_beginning_and_the_end() {
    let mut shop = Shop::found(long_terms()).await;
    shop.host.run_online(&shop.edge).await;
    open(&shop, "open");
    let pushed = shop.push(&App::quick("1")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["step"]), (&json!("failed"), &json!("before_switch")), "{:#}", run["run"]);
    let (head, tail) = two_parts(&mut shop, &run).await;
    is_whole(&head, &tail);
    let id = run["run"]["id"].as_str().unwrap();
    let raw = shop.edge.api("GET", &format!("/api/runs/{id}/log?format=text")).await.text();
    assert_eq!(raw.lines().count(), run["log"].as_array().unwrap().len());
    let cookie = shop.edge.session().await;
    let page = shop.edge.request("GET", &format!("/runs/{id}"), &[("cookie", &cookie)], "").await.text();
    assert!(page.contains("why it failed\n") && page.contains(&format!("`doorstep logs shop --run {id}`")));
}

#[tokio::test]
async fn the_end_of_a_long_log_outlives_the_daemon() {
    let mut shop = Shop::found(long_terms()).await;
    shop.host.run_online(&shop.edge).await;
    let pushed = shop.push(&App::quick("1")).await;
    let runs = wait::until("the run to begin", async || shop.newest_runs(1).await, |runs| !runs.is_empty()).await;
    let id = runs[0]["id"].as_str().unwrap();
    let file = shop.host.state().join(format!("logs/shop/run-{id}.log"));
    let is_there = async || std::fs::read_to_string(&file).unwrap_or_default().contains(&format!("\nline {MANY} "));
    wait::until("the last line before the wait", is_there, |is| *is).await;
    shop.host.kill().await;
    open(&shop, "open");
    shop.host.run();
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["failure"]["step"], "before_switch", "{:#}", run["run"]);
    let (head, tail) = two_parts(&mut shop, &run).await;
    is_whole(&head, &tail);
}

#[tokio::test]
async fn the_end_of_a_long_log_comes_once_wherever_the_daemon_dies() {
    for side in ["before", "after"] {
        let mut shop = Shop::found(long_terms()).await;
        shop.host.use_binary(&Tools::crash_build());
        shop.host.set("DOORSTEP_CRASH_AT", format!("end#1:{side}"));
        shop.host.run_online(&shop.edge).await;
        open(&shop, "open");
        let pushed = shop.push(&App::quick("1")).await;
        wait::until(&format!("the daemon to die {side} the end"), async || shop.host.has_died(), |has| *has).await;
        shop.host.set("DOORSTEP_CRASH_AT", "");
        shop.host.run();
        let run = shop.ended(&pushed).await;
        let (head, tail) = two_parts(&mut shop, &run).await;
        is_whole(&head, &tail);
    }
}

#[tokio::test]
async fn a_line_that_was_told_outlives_the_daemon_and_comes_once() {
    let mut shop = Shop::found(terms()).await;
    shop.host.run_online(&shop.edge).await;
    let pushed = shop.push(&App::quick("1")).await;
    told(&shop, &pushed, "one of").await;
    // The second line is written here, and the edge, which is gone, is not told.
    shop.edge.kill_workerd().await;
    open(&shop, "more");
    let waits = async || shop.host.journal("SELECT count(*) FROM outbox WHERE report LIKE '%\"two of%'");
    wait::until("the line to be in the journal", waits, |count| *count == ["1"]).await;
    shop.host.kill().await;
    shop.edge.restart().await;
    open(&shop, "open");
    shop.host.run();
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    // The hook was begun again, since nobody knows how far it had come.
    assert_eq!(words(&of_the_hook(&run)), ["one", "two", "one", "two", "three"]);
    assert_eq!(shop.host.journal("SELECT count(*) FROM runs WHERE ended IS NULL"), ["0"]);
}

/// Killed where lines are told for the second time. What was written by then,
/// here or at the edge, and what the edge has of the hook in the end.
async fn killed_at(point: &str) -> (Vec<&'static str>, Vec<String>) {
    let mut shop = Shop::found(terms()).await;
    shop.host.use_binary(&Tools::crash_build());
    shop.host.set("DOORSTEP_CRASH_AT", point);
    shop.host.run_online(&shop.edge).await;
    let pushed = shop.push(&App::quick("1")).await;
    // A shell that starts slowly prints its first line only after the first telling.
    let first = async || shop.host.has_died() || log(&shop, &pushed).await.iter().any(|line| line.starts_with("one of"));
    wait::until("the first line", first, |is| *is).await;
    open(&shop, "more");
    wait::until(&format!("the daemon to die at {point}"), async || shop.host.has_died(), |has| *has).await;
    let mut written = log(&shop, &pushed).await;
    for report in shop.host.journal("SELECT report FROM outbox WHERE report ->> 'kind' = 'log'") {
        let report: Value = serde_json::from_str(&report).unwrap();
        written.extend(report["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().replace("\u{1b}[31m", "")));
    }
    let written = WORDS.into_iter().filter(|word| written.iter().any(|line| line.starts_with(&format!("{word} of ")))).collect();
    open(&shop, "open");
    shop.host.set("DOORSTEP_CRASH_AT", "");
    shop.host.run();
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], json!("succeeded"), "{run:#}");
    (written, of_the_hook(&run))
}

#[tokio::test]
async fn a_daemon_killed_where_it_tells_a_line_loses_none_that_was_written() {
    for (side, least) in [("before", 0), ("after", 1)] {
        let (written, lines) = killed_at(&format!("log#2:{side}")).await;
        println!("killed {side} a line was written: {written:?} were");
        assert!(written.len() >= least);
        assert_eq!(words(&lines), [written, vec!["one", "two", "three"]].concat(), "killed {side}");
    }
}
