//! Push to deploy, with everything real: edge, executor, git over HTTP, uv.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::net::{SocketAddr, TcpListener};

use doorstep_tests::{App, Edge, GitHub, GitOrigin, Host, Push, Raw, WEBHOOK_SECRET, wait};
use serde_json::Value;

/// A host that follows one origin, with a live first version.
struct Shop {
    host: Host,
    origin: GitOrigin,
    edge: Edge,
    github: GitHub,
    address: SocketAddr,
}

impl Shop {
    async fn open(first: App) -> Self {
        let (edge, origin) = (Edge::start().await, GitOrigin::new("me/shop"));
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let toml = format!(
            r#"[project.shop]
repo = "{}"
branch = "main"
dir = "{{dir}}/shop"

[project.shop.process]
command = {}
listen = "{address}"
stop = {{ signal = "TERM", grace = "5s" }}

[project.shop.health]
http = "/health"
within = "3s"
"#,
            origin.url(),
            first.command
        );
        let mut host = Host::new("attic", &edge, &toml);
        host.with_uv();
        host.join(&edge).await;
        let mut shop = Self { host, origin, edge, github: GitHub::new(WEBHOOK_SECRET), address };
        shop.host.run_online(&shop.edge).await;
        shop.push(&first).await;
        shop
    }

    /// Pushes a version and tells the edge; returns the commit.
    async fn push(&mut self, app: &App) -> String {
        let commit = app.push_to(&self.origin, "a version");
        let push = self.github.push("me/shop", Push::to("main").at(&commit).modifies(&["app.py"]));
        let answer = self.edge.deliver(&push).await;
        assert_eq!(answer.json()["status"], "queued", "{}", answer.text());
        commit
    }

    /// The version that answers, if one does.
    async fn version(&self) -> Option<String> {
        tokio::net::TcpStream::connect(self.address).await.ok()?;
        let answer = Raw::new("GET", "/").send(self.address).await?;
        answer.json()["version"].as_str().map(str::to_owned)
    }

    async fn serves(&self, version: &str) {
        let what = format!("version {version} to serve");
        wait::until(&what, async || self.version().await, |seen| seen.as_deref() == Some(version)).await;
    }

    /// The newest run of this commit, once it ended.
    async fn run_of(&self, commit: &str) -> Value {
        let look = async || -> Option<Value> {
            let runs = self.edge.get("/api/runs?host=attic&project=shop").await;
            runs["runs"].as_array().unwrap().iter().find(|run| run["commit"] == commit && run["state"] != "running").cloned()
        };
        wait::until("the run to end", look, Option::is_some).await.unwrap()
    }
}

#[tokio::test]
async fn a_push_is_live_and_the_next_one_replaces_it() {
    let mut shop = Shop::open(App::plain("1").locked()).await;
    shop.serves("1").await;
    let commit = shop.push(&App::plain("2").locked()).await;
    shop.serves("2").await;
    assert_eq!(shop.run_of(&commit).await["state"], "succeeded");
    let status = shop.host.status().await;
    assert_eq!(status["projects"][0]["live"]["commit"], commit, "{status:#}");
    assert!(shop.host.logs("shop").await.contains("version 2 listens"));
    assert_eq!(shop.host.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_version_that_is_not_well_never_takes_over() {
    let mut shop = Shop::open(App::plain("1").locked()).await;
    shop.serves("1").await;
    for bad in [App::sick("2").locked(), App::crashing("3").locked()] {
        let commit = shop.push(&bad).await;
        let run = shop.run_of(&commit).await;
        assert!(["rolled_back", "failed"].contains(&run["state"].as_str().unwrap()), "{run:#}");
        assert_eq!(shop.version().await.as_deref(), Some("1"));
    }
    shop.push(&App::plain("4").locked()).await;
    shop.serves("4").await;
}

#[tokio::test]
async fn a_killed_daemon_comes_back_to_what_it_left() {
    let mut shop = Shop::open(App::plain("1").locked()).await;
    shop.serves("1").await;
    shop.host.kill().await;
    shop.edge.sees_host("attic", false).await;
    let commit = shop.push(&App::plain("2").locked()).await;
    shop.host.run_online(&shop.edge).await;
    shop.serves("2").await;
    assert_eq!(shop.run_of(&commit).await["state"], "succeeded");
}
