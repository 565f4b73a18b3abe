//! What a fetch of one new commit costs, from repositories of several sizes:
//! the `fetch` step of a run, as the host reports it, against the git command.
//!
//! Both have the whole history of `main` and no other ref, in one pack, as a
//! clone leaves it; the origin has all of its tags and branches. It is served
//! by `git http-backend`, as the harness does.

mod history;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doorstep_tests::{App, GitOrigin, Shop, Terms, git};
use tempfile::TempDir;

use crate::stats::Series;
use crate::table::{Goal, Table};
use history::{History, Size};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    sizes: &'static [Size],
    /// Commits that each side fetches, and that are counted.
    fetches: usize,
}

const SIZES: [Size; 3] = [
    Size { name: "35 MB", content_mb: 110, refs: 70 },
    Size { name: "150 MB", content_mb: 470, refs: 370 },
    Size { name: "1500 MB", content_mb: 4_700, refs: 790 },
];

/// Every size.
pub const WHOLE: Effort = Effort { sizes: &SIZES, fetches: 15 };
/// The smallest.
pub const QUICK: Effort = Effort { sizes: SIZES.split_at(1).0, fetches: 7 };

/// The file that every new commit changes.
const CHANGED: &str = "app.py";

/// Measures it.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    for size in effort.sizes {
        of_size(size, effort.fetches, table).await?;
    }
    Ok(())
}

async fn of_size(size: &Size, fetches: usize, table: &mut Table) -> Result<()> {
    let history = History::of(size)?;
    let (mut shop, theirs) = (found(&history).await?, Theirs::new(&history)?);
    let (mut ours_ms, mut theirs_ms) = (Series::default(), Series::default());
    let (mut ours_asks, mut theirs_asks) = (Series::default(), Series::default());
    // The first round is not counted: it starts the app, and caches fill.
    for round in 0..=fetches {
        let commit = shop.origin.commit("A version", &[(CHANGED, Some(App::quick(&format!("v{round}")).source()))]);
        let (mut one, mut other) = (None, None);
        // Who comes first finds the server's caches cold.
        for turn in 0..2 {
            let before = shop.origin.requests();
            let is_ours = (round + turn) % 2 == 0;
            let ms = if is_ours { ours_once(&mut shop, &commit).await? } else { theirs.once(&shop.origin)? };
            let taken = Some((ms, shop.origin.requests() - before));
            if is_ours { one = taken } else { other = taken }
        }
        if let (Some(one), Some(other), 1..) = (one, other, round) {
            note(one, &mut ours_ms, &mut ours_asks);
            note(other, &mut theirs_ms, &mut theirs_asks);
        }
    }
    let said = |series: &Series| (format!("{} ms", series.range()), series.median());
    let what = format!("git: fetch of one new commit over HTTP, {}: the run's step against the git command", history.said);
    table.compare(&what, said(&ours_ms), said(&theirs_ms), Some(Goal::RatioAtMost(1.5)));
    let asked = |series: &Series| (series.range(), series.median());
    table.compare(&format!("git: requests of one fetch, {}", size.name), asked(&ours_asks), asked(&theirs_asks), None);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few requests")]
fn note((ms, requests): (f64, usize), took_ms: &mut Series, asked: &mut Series) {
    took_ms.push(ms);
    asked.push(requests as f64);
}

/// A shop whose origin has this history, and whose store has that of `main`.
async fn found(history: &History) -> Result<Shop> {
    let mut shop = Shop::found(Terms::of(&App::quick("0"))).await;
    let (bare, work) = (shop.origin.path(), shop.origin.work());
    history.lend_objects(&bare)?;
    history.lend_refs(&bare)?;
    let borrowed = work.join(".git/objects/info");
    std::fs::create_dir_all(&borrowed)?;
    std::fs::write(borrowed.join("alternates"), format!("{}\n", history.path.join("objects").display()))?;
    git(&work, &["reset", "-q", "--hard", &history.head()]);
    let store = shop.host.apps().join("shop/repo.git");
    clone(history, &store)?;
    // A folder that stores have besides what git makes.
    std::fs::create_dir_all(store.join("slots"))?;
    shop.host.run_online(&shop.edge).await;
    Ok(shop)
}

/// A bare repository that fetched `main` of this history once.
fn clone(history: &History, bare: &Path) -> Result<()> {
    std::fs::create_dir_all(bare)?;
    git(bare, &["init", "-q", "--bare"]);
    history.lend_objects(bare)?;
    git(bare, &["update-ref", "refs/doorstep/main", &history.head()]);
    Ok(())
}

/// The `fetch` step of the run of this commit, in milliseconds.
async fn ours_once(shop: &mut Shop, commit: &str) -> Result<f64> {
    let pushed = shop.tell(commit).await;
    let run = shop.ended(&pushed).await;
    if run["run"]["state"] != "succeeded" {
        bail!("the run of {commit}: {run:#}");
    }
    shop.is_idle().await;
    let step = run["steps"].as_array().into_iter().flatten().find(|step| step["name"] == "fetch");
    step.and_then(|step| step["duration_ms"].as_f64()).context("the run has no fetch")
}

/// The git command with a repository of its own.
struct Theirs {
    dir: TempDir,
}

impl Theirs {
    fn new(history: &History) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        clone(history, dir.path())?;
        Ok(Self { dir })
    }

    /// One `git fetch` of `main`, in milliseconds. It follows no tags and tidies
    /// nothing up, neither of which ours does.
    fn once(&self, origin: &GitOrigin) -> Result<f64> {
        let mut command = Command::new("git");
        command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        command.arg(origin.url()).arg("+refs/heads/main:refs/doorstep/main");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("no_proxy", "127.0.0.1");
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        let begun = Instant::now();
        let status = command.status().context("git does not start")?;
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        if !status.success() {
            bail!("git fetch: {status}");
        }
        Ok(ms)
    }
}
