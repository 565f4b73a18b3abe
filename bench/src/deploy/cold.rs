//! The first deploy of all: uv's cache is empty and there is no environment, on
//! either side. What it takes is mostly what the registry takes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use doorstep_tests::{App, GitHub, Push, Shop, WEBHOOK_SECRET};

use super::{Weight, terms};
use crate::http::Connection;
use crate::probe::{self, Probe};
use crate::push;
use crate::script::Script;
use crate::stats::Series;
use crate::table::Table;

/// How long the downloads of one side may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures it so many times.
pub async fn measure(weight: Weight, app: &App, rounds: usize, table: &mut Table) -> Result<()> {
    let (mut ours, mut theirs) = (Series::default(), Series::default());
    for round in 0..rounds {
        // By turns, since what lies between here and the registry warms up too.
        if round % 2 == 0 {
            ours.push(ours_once(app).await?);
            theirs.push(theirs_once(app)?);
        } else {
            theirs.push(theirs_once(app)?);
            ours.push(ours_once(app).await?);
        }
    }
    let said = |series: &Series| (format!("{} ms", series.range()), series.median());
    let what = format!("{}, cold: push → answers, uv's cache empty and no environment, against the script", weight.name());
    table.compare(&what, said(&ours), said(&theirs), None);
    Ok(())
}

/// A host that is enrolled and has built nothing.
async fn ours_once(app: &App) -> Result<f64> {
    let cache = tempfile::tempdir()?;
    let mut terms = terms(app);
    terms.environment.push(("UV_CACHE_DIR", cache.path().to_string_lossy().into_owned()));
    let mut shop = Shop::found(terms).await;
    shop.host.run_online(&shop.edge).await;
    let commit = app.push_to(&shop.origin, "first");
    let delivery = shop.github.push("me/shop", Push::to("main").at(&commit).modifies(&["app.py"]));
    let request = push::request("/webhooks/github", &delivery.guid, &delivery.body);
    let mut connection = Connection::open(shop.edge.address())?;
    let probe = Probe::start(shop.address());
    let begun = Instant::now();
    let answer = connection.exchange(&request)?;
    if answer.status != 202 {
        bail!("the edge answered {}", answer.status);
    }
    let ms = (probe.first(PATIENCE, |_| true)? - begun).as_secs_f64() * 1e3;
    shop.is_idle().await;
    Ok(ms)
}

/// A checkout beside an empty cache.
fn theirs_once(app: &App) -> Result<f64> {
    let cache = tempfile::tempdir()?;
    let script = Script::cloned(app, Some(cache.path().to_owned()))?;
    let delivery = GitHub::new(WEBHOOK_SECRET).push("me/script", Push::to("main").modifies(&["app.py"]));
    let begun = script.trigger(&delivery.guid, &delivery.body)?;
    probe::wait(script.address, PATIENCE)?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
