//! What goes wrong with a Python app or around it while it is deployed: each
//! time the old release serves on, and the run names the cause.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use doorstep_tests::told::{end, log, message};
use doorstep_tests::{App, Death, GitOrigin, Index, Load, Relay, Shop, SmallDisk, Terms, git, machine, wait};
use serde_json::{Value, json};

const MARKER: &str = "DOORSTEP_PROJECT=shop";

/// What must not change when a deploy fails: the version that answers, its
/// release and commit, its process, and that nothing else of the project runs.
async fn live(shop: &mut Shop) -> (Option<String>, [Value; 3], usize) {
    let status = shop.status().await;
    let of = [&status["live"]["release"], &status["live"]["commit"], &status["process"]].map(Value::clone);
    (shop.version().await, of, machine::processes_marked(MARKER, shop.host.dir()).len())
}

/// The details of a run's steps of this name.
fn details<'a>(run: &'a Value, name: &str) -> Vec<&'a str> {
    let steps = run["steps"].as_array().unwrap().iter().filter(|step| step["name"] == name);
    steps.map(|step| step["detail"].as_str().unwrap()).collect()
}

fn succeeded(run: &Value) {
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    getrandom::fill(&mut noise).unwrap();
    noise
}

// ------------------------------------------------------------------- the app

/// Takes memory until it is killed, as the kernel kills one that takes too much.
const LEAK: &str = "taken = []\nwhile len(taken) < 64: taken.append(bytearray(1 << 20))\nos.kill(os.getpid(), signal.SIGKILL)";

#[tokio::test]
async fn an_app_that_is_killed_over_its_memory_before_it_is_well_is_not_switched_to() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let before = live(&mut shop).await;
    let run = shop.push_and_see(&App::bare("2").beginning(LEAK)).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert!(message(&run).contains("was ended by signal 9 before it was healthy"), "{}", message(&run));
    assert_eq!(live(&mut shop).await, before);
    // One with a limit of its own says it itself.
    let limited = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\ntaken = bytearray(1 << 29)";
    let run = shop.push_and_see(&App::bare("3").beginning(limited)).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert!(message(&run).contains("exited with 1 before it was healthy") && message(&run).contains("MemoryError"), "{}", message(&run));
    assert_eq!(live(&mut shop).await, before);
}

#[tokio::test]
async fn an_app_that_is_killed_over_its_memory_while_it_soaks_gives_way_to_the_old_one() {
    let terms = Terms::of(&App::bare("1"));
    let terms = Terms { health: format!("{}\nsoak = \"20s\"", terms.health), ..terms };
    let mut shop = Shop::open_on(terms, &App::bare("1")).await;
    let before = live(&mut shop).await;
    // It begins when it serves, and is found out long before the time is over.
    let at_first_request = format!("import threading\ndef leak():\n    {}\nanswer = Handler.do_GET\ndef do_GET(self):\n    answer(self)\n    if self.path == '/': threading.Thread(target=leak).start()\nHandler.do_GET = do_GET", LEAK.replace('\n', "\n    "));
    let pushed = shop.push(&App::bare("2").beginning(&at_first_request)).await;
    shop.serves("2").await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["rolled_back", "health", "soak"]);
    assert!(message(&run).contains("was ended by signal 9 soon after the switch"), "{}", message(&run));
    assert_eq!(live(&mut shop).await, before, "the old process was kept");
}

#[tokio::test]
async fn an_old_release_that_ignores_the_signal_to_stop_is_killed_and_the_run_says_so() {
    let stubborn = |version: &str| App::bare(version).beginning("signal.signal(signal.SIGTERM, signal.SIG_IGN)");
    let mut terms = Terms::of(&App::bare("1"));
    terms.environment.push(("DOORSTEP_PROJECT_SHOP_PROCESS_STOP_GRACE", "700ms".into()));
    let mut shop = Shop::open_on(terms, &stubborn("1")).await;
    let old = shop.status().await["process"]["pid"].clone();
    let prober = shop.probe();
    let run = shop.push_and_see(&stubborn("2")).await;
    succeeded(&run);
    assert_eq!(details(&run, "stop"), [format!("process {old} did not end within 700ms and was killed")]);
    let stop = run["steps"].as_array().unwrap().last().unwrap();
    assert!(stop["name"] == "stop" && stop["duration_ms"].as_u64() >= Some(700), "it had its grace: {stop:#}");
    let [now] = machine::processes_marked(MARKER, shop.host.dir())[..] else { panic!("one app runs") };
    assert_ne!(json!(now), old);
    let probed = prober.stop().await;
    assert_eq!((probed.failed.as_slice(), probed.versions.as_slice()), (&[][..], &["1".to_owned(), "2".to_owned()][..]));

    // The one that is not well ignores it too: the old one, this time, stays.
    let before = live(&mut shop).await;
    let terms = Terms { environment: Vec::new(), ..Terms::of(&App::bare("1")).within("500ms") };
    shop.change_terms(&terms).await;
    let run = shop.push_and_see(&stubborn("3").made_sick()).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert_eq!(live(&mut shop).await, before);
}

#[tokio::test]
async fn an_import_that_fails_and_a_port_that_is_taken_are_named_in_the_apps_own_words() {
    // It takes a port of its own besides the one it is given.
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("import socket\nmetrics = socket.create_server((\"127.0.0.1\", {}))", theirs.local_addr().unwrap().port());
    let mut shop = Shop::open(&App::bare("1")).await;
    let before = live(&mut shop).await;
    for (wrong, words) in [
        ("import prices", "ModuleNotFoundError: No module named 'prices'"),
        ("from json import no_such_name", "ImportError: cannot import name 'no_such_name'"),
        (&taken, "Address already in use"),
    ] {
        let run = shop.push_and_see(&App::bare("2").beginning(wrong)).await;
        assert_eq!(end(&run), ["rolled_back", "health", "check"]);
        assert!(message(&run).contains("exited with 1 before it was healthy") && message(&run).contains(words), "{}", message(&run));
        assert_eq!(live(&mut shop).await, before);
    }
    shop.is_idle().await;
}

#[tokio::test]
async fn good_answers_of_somebody_else_at_a_fixed_port_make_no_release_healthy() {
    let terms = Terms {
        command: r#"["python", "app.py", "{number}"]"#.into(),
        is_proxied: false,
        health: "http = \"http://{address}/health\"\nwithin = \"5s\"".into(),
        ..Terms::of(&App::bare("1"))
    };
    let mut shop = Shop::open_on(terms, &App::bare("1")).await;
    let before = shop.status().await["live"].clone();
    assert_eq!(shop.host.verb(&["stop", "shop"]).await.code, Some(0));
    let theirs = tempfile::tempdir().unwrap();
    App::quick("of somebody else").write(theirs.path());
    let mut stranger = std::process::Command::new(doorstep_tests::Tools::python());
    stranger.args(["-S", "-E", "app.py", &shop.address().port().to_string()]).current_dir(theirs.path());
    let stranger = doorstep_tests::Child::start("stranger", theirs.path(), &mut stranger, &[]);
    shop.serves("of somebody else").await;
    let run = shop.push_and_see(&App::bare("2")).await;
    assert_ne!(run["run"]["state"], "succeeded", "{run:#}");
    let is_named = |said: &str| said.contains(&shop.address().to_string()) || said.contains("Address already in use");
    assert!(is_named(message(&run)), "{}", message(&run));
    assert_eq!(shop.status().await["live"], before);
    // The old one serves as soon as it can, and the new one when it is tried again.
    drop(stranger);
    let ours = |version: &Option<String>| version.as_deref().is_some_and(|version| ["1", "2"].contains(&version));
    wait::until("a release to serve", async || shop.version().await, ours).await;
}

// --------------------------------------------------------------- the network

/// A shop whose first version is live and whose origin is asked through a wire.
async fn behind_a_wire() -> (Shop, Relay) {
    let mut shop = Shop::found(Terms::of(&App::bare("1"))).await;
    let wire = Relay::to(&shop.origin.url());
    shop.host.set("DOORSTEP_PROJECT_SHOP_REPO", wire.url());
    shop.host.run_online(&shop.edge).await;
    succeeded(&shop.push_and_see(&App::bare("1")).await);
    (shop, wire)
}

/// What is in a store that no finished fetch leaves there.
fn left_behind(store: &Path) -> Vec<String> {
    let mut folders = vec![store.to_owned()];
    let mut left = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_half = name.starts_with("pack_git2_") || name.starts_with("tmp_") || name.ends_with(".lock");
            left.extend(is_half.then_some(name));
            folders.extend(entry.file_type().unwrap().is_dir().then(|| entry.path()));
        }
    }
    left
}

#[tokio::test]
async fn a_network_that_dies_in_the_middle_of_a_fetch_fails_the_run_and_it_is_tried_again_by_itself() {
    const BYTES: usize = 4 << 20;
    let (mut shop, wire) = behind_a_wire().await;
    let store = shop.host.apps().join("shop/repo.git");
    let packs = || std::fs::read_dir(store.join("objects/pack")).unwrap().count();
    let (before, packs_before) = (live(&mut shop).await, packs());
    std::fs::write(shop.origin.work().join("noise"), noise(BYTES)).unwrap();
    wire.cut_after(BYTES / 2, Death::Hangup);
    let pushed = shop.push(&App::bare("2")).await;
    let run = shop.ended(&pushed).await;
    assert!(wire.has_cut(), "it was cut in the middle of the pack");
    assert_eq!(end(&run), ["failed", "network", "fetch"]);
    assert!(message(&run).contains(wire.url()) && message(&run).contains("the connection broke"), "{}", message(&run));
    assert_eq!((left_behind(&store), packs()), (vec![], packs_before));
    assert_eq!(live(&mut shop).await, before);
    wire.heal();
    shop.serves("2").await;
    shop.is_idle().await;
    let run = shop.ended(&pushed).await;
    succeeded(&run);
    assert_eq!((&run["run"]["commit"], left_behind(&store)), (&json!(pushed.commit), vec![]));
    assert!(run["run"]["attempt"].as_u64() > Some(1), "nobody asked for it again: {run:#}");
}

// ------------------------------------------------------------------- the sync

/// An app that has a package of this index, and what it holds.
fn with_parcel(version: &str, index: &str, parcel: &str) -> App {
    let app = App::plain(version).beginning("import parcel").depending(&format!("\"parcel=={parcel}\""));
    let sources = format!("[tool.uv.sources]\nparcel = {{ index = \"story\" }}\n[[tool.uv.index]]\nname = \"story\"\nurl = \"{index}\"\nexplicit = true\n");
    app.clone().file("pyproject.toml", &format!("{}{sources}", app.text("pyproject.toml")))
}

/// Terms under which uv has nothing in its cache, and is not patient.
fn with_empty_cache(cache: &Path) -> Terms {
    let mut terms = Terms::of(&App::plain("")).with_uv();
    let ours = [("UV_CACHE_DIR", cache.to_str().unwrap()), ("UV_HTTP_TIMEOUT", "2"), ("UV_HTTP_RETRIES", "1")];
    terms.environment.extend(ours.map(|(name, value)| (name, value.to_owned())));
    terms
}

async fn a_sync_is_cut(death: Death, words: &str) {
    const BYTES: usize = 4 << 20;
    let (index, cache) = (Index::new(), tempfile::tempdir().unwrap());
    for version in ["1", "2"] {
        index.publish("parcel", version, Load::Noise(BYTES));
    }
    let wire = Relay::to(&index.url());
    let (first, second) = (with_parcel("1", wire.url(), "1").locked(), with_parcel("2", wire.url(), "2").locked());
    let mut shop = Shop::open_on(with_empty_cache(cache.path()), &first).await;
    let before = live(&mut shop).await;
    wire.cut_after(BYTES / 2, death);
    let pushed = shop.push(&second).await;
    let run = shop.ended(&pushed).await;
    assert!(wire.has_cut(), "it was cut in the middle of the wheel");
    assert_eq!(end(&run), ["failed", "network", "sync"], "{}", message(&run));
    assert!(message(&run).contains("parcel") && message(&run).contains(words), "{}", message(&run));
    assert!(log(&run).contains("$ uv sync"), "{}", log(&run));
    assert_eq!(live(&mut shop).await, before);
    let has_first = "import parcel, os; assert parcel.VERSION == '1' and len(open(os.path.dirname(parcel.__file__) + '/load', 'rb').read()) == 4 << 20";
    assert!(is_well(&shop, has_first), "the live environment is whole");
    wire.heal();
    shop.serves("2").await;
    shop.is_idle().await;
    succeeded(&shop.ended(&pushed).await);
    assert!(is_well(&shop, &has_first.replace("'1'", "'2'")));
}

/// Carries out some Python in the environment of the live release.
fn is_well(shop: &Shop, python: &str) -> bool {
    let apps = shop.host.apps().join("shop");
    let slot = apps.join("current").canonicalize().unwrap();
    let program = apps.join("envs").join(slot.file_name().unwrap()).join("bin/python");
    std::process::Command::new(program).args(["-c", python]).status().unwrap().success()
}

#[tokio::test]
async fn a_network_that_dies_in_the_middle_of_a_wheel_fails_the_run_and_it_is_tried_again_by_itself() {
    a_sync_is_cut(Death::Hangup, "/parcel-2-py3-none-any.whl").await;
}

#[tokio::test]
async fn an_index_whose_every_answer_ends_in_the_middle_of_a_wheel_is_the_networks_fault() {
    a_sync_is_cut(Death::EachTime, "end of file before message length reached").await;
}

#[tokio::test]
async fn an_index_that_falls_silent_in_the_middle_of_a_wheel_does_not_hold_up_the_project() {
    a_sync_is_cut(Death::Silence, "operation timed out").await;
}

/// A shop whose releases are on a small disk.
struct Cramped {
    shop: Shop,
    disk: SmallDisk,
}

impl Drop for Cramped {
    fn drop(&mut self) {
        // Before the disk below it goes.
        self.shop.host.end_everything();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_middle_of_a_sync_fails_the_run_and_it_is_tried_again_when_there_is_room() {
    const DISK_MIB: usize = 64;
    // It packs to nearly nothing, so there is room for all but the installed files.
    let index = Index::new();
    index.publish("parcel", "1", Load::Zeros(1 << 20));
    index.publish("parcel", "2", Load::Zeros((2 * DISK_MIB) << 20));
    let (first, second) = (with_parcel("1", &index.url(), "1").locked(), with_parcel("2", &index.url(), "2").locked());
    let cache = tempfile::tempdir().unwrap();
    let shop = Shop::found(with_empty_cache(cache.path())).await;
    let disk = SmallDisk::mount(&shop.host.apps(), DISK_MIB);
    let mut story = Cramped { shop, disk };
    let shop = &mut story.shop;
    shop.host.set("UV_CACHE_DIR", shop.host.apps().join("cache").to_str().unwrap());
    shop.host.run_online(&shop.edge).await;
    succeeded(&shop.push_and_see(&first).await);
    let before = live(shop).await;
    let pushed = shop.push(&second).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["failed", "disk", "sync"], "{}", message(&run));
    assert!(message(&run).contains("No space left on device") && message(&run).contains("parcel"), "{}", message(&run));
    assert_eq!(live(shop).await, before);
    assert!(is_well(shop, "import parcel; assert parcel.VERSION == '1'"), "the live environment is whole");
    story.disk.resize(8 * DISK_MIB);
    let shop = &mut story.shop;
    shop.serves("2").await;
    shop.is_idle().await;
    succeeded(&shop.ended(&pushed).await);
}

// ---------------------------------------------------------------- the history

/// The origin's next commit has no parent.
fn begin_anew(origin: &GitOrigin) {
    git(&origin.work(), &["checkout", "-q", "--orphan", "anew"]);
    git(&origin.work(), &["branch", "-q", "-D", "-f", "main"]);
    git(&origin.work(), &["branch", "-q", "-m", "main"]);
}

#[tokio::test]
async fn a_history_that_begins_anew_is_followed_and_a_release_that_is_of_no_branch_is_gone_back_to() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let first = shop.runs().await[0]["commit"].as_str().unwrap().to_owned();
    begin_anew(&shop.origin);
    let run = shop.push_and_see(&App::bare("2")).await;
    succeeded(&run);
    assert!(details(&run, "fetch")[0].contains("history was rewritten"), "{run:#}");
    shop.serves("2").await;

    shop.origin.push("other");
    git(&shop.origin.path(), &["update-ref", "-d", "refs/heads/main"]);
    let before = live(&mut shop).await;
    let gone = shop.host.deploy("shop").await;
    assert!(gone.code == Some(4) && gone.stdout.contains("has no branch main"), "{gone:?}");
    assert_eq!(live(&mut shop).await, before);
    begin_anew(&shop.origin);
    let run = shop.push_and_see(&App::bare("3")).await;
    succeeded(&run);
    assert!(details(&run, "fetch")[0].contains("history was rewritten"), "{run:#}");
    shop.serves("3").await;

    git(&shop.origin.path(), &["gc", "-q", "--prune=now"]);
    assert!(!git(&shop.origin.path(), &["rev-list", "--all"]).contains(&first), "no branch contains it");
    let back = shop.host.verb(&["rollback", "shop", "--to", "1"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    shop.serves("1").await;
    assert_eq!(shop.status().await["live"]["commit"], first);
    // And what comes next comes as ever.
    succeeded(&shop.push_and_see(&App::bare("4")).await);
    shop.serves("4").await;
}

// -------------------------------------------------------------------- the size

/// MiB of a large repository; a whole GiB where there is time for it.
fn repository_mib() -> usize {
    if std::env::var_os("DOORSTEP_BIG_REPOSITORY").is_some_and(|value| value == "1") { 1024 } else { 256 }
}

#[tokio::test]
async fn a_large_repository_is_deployed_in_little_memory() {
    const FILE_MIB: usize = 16;
    const PEAK_MIB_MAX: u64 = 100;
    // Some ten times what a GiB takes on two busy cores.
    const WITHIN: Duration = Duration::from_secs(300);
    let mut shop = Shop::open(&App::bare("1")).await;
    // Nothing of it packs, and git need not try.
    for dir in [shop.origin.work(), shop.origin.path()] {
        for (name, value) in [("core.compression", "0"), ("core.bigFileThreshold", "1m"), ("receive.unpackLimit", "1")] {
            git(&dir, &["config", name, value]);
        }
    }
    for number in 0..repository_mib() / FILE_MIB {
        std::fs::write(shop.origin.work().join(format!("noise-{number}")), noise(FILE_MIB << 20)).unwrap();
    }
    let daemon = shop.host.daemon().id();
    let held = machine::MemoryWatch::of(daemon);
    let pushed = shop.push(&App::bare("2")).await;
    let begun = std::time::Instant::now();
    let run = shop.ended_within(WITHIN, &pushed).await;
    succeeded(&run);
    shop.serves("2").await;
    println!("memory, peak: a repository of {} MiB was deployed in {:.1} s; the daemon held at most {} MiB", repository_mib(), begun.elapsed().as_secs_f64(), held.peak_mib());
    let current = shop.host.apps().join("shop/current/noise-0");
    assert_eq!(std::fs::read(current).unwrap(), std::fs::read(shop.origin.work().join("noise-0")).unwrap());
    // The next one brings only what is new.
    let commit = shop.origin.commit("a version", &[("app.py", Some(App::bare("3").source()))]);
    let pushed = shop.tell(&commit).await;
    succeeded(&shop.ended_within(WITHIN, &pushed).await);
    shop.serves("3").await;
    wait::until("every job to end", async || shop.edge.jobs().await, Vec::is_empty).await;
    assert!(held.peak_mib() < PEAK_MIB_MAX, "the daemon held {} MiB", held.peak_mib());
}
