//! A host with one project, `shop`, and everybody around it: the origin it
//! follows, the GitHub that tells of pushes, the edge between, and a person
//! who looks at the address where it serves.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{App, Answer, Docker, Edge, GitHub, GitOrigin, Host, Prober, Push, Raw, WEBHOOK_SECRET, wait};

/// The host's name in these stories.
const HOST: &str = "attic";

/// What the host's file says. In every text `{address}` stands for the address
/// where the app serves, `{number}` for its port, and `{dir}` for a folder.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What stands before the project, such as a `[policy]`.
    pub head: String,
    /// More lines of `[project.shop]`.
    pub project: String,
    /// The app's command, as a TOML list.
    pub command: String,
    /// The user's unit of systemd that runs it, instead of the command.
    pub unit: Option<String>,
    /// The lines of `[project.shop.compose]`, for a compose project.
    pub compose: Option<String>,
    /// Does the proxy own the address? If not, the app itself is to.
    pub is_proxied: bool,
    /// The lines of `[project.shop.health]`.
    pub health: String,
    /// May apps be built with uv?
    pub has_uv: bool,
    /// More of the host's environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Terms {
    /// Terms for an app of this kind: the proxy owns the address.
    #[must_use]
    pub fn of(app: &App) -> Self {
        Self {
            head: String::new(),
            project: String::new(),
            command: app.command.to_owned(),
            unit: None,
            compose: None,
            is_proxied: true,
            health: "http = \"/health\"\nwithin = \"10s\"".to_owned(),
            has_uv: false,
            environment: Vec::new(),
        }
    }

    /// Terms for a compose project on this engine: its own port is published, and
    /// `web` is asked.
    #[must_use]
    pub fn composed(docker: &Docker) -> Self {
        let compose = "serves = \"web:8000\"".to_owned();
        Self { compose: Some(compose), is_proxied: false, environment: docker.environment(), ..Self::of(&App::composed("")) }
    }

    /// An app that is not well is given up after this.
    #[must_use]
    pub fn within(mut self, within: &str) -> Self {
        self.health = format!("http = \"/health\"\nwithin = \"{within}\"");
        self
    }

    /// Apps may be built with uv.
    #[must_use]
    pub fn with_uv(mut self) -> Self {
        self.has_uv = true;
        self
    }

    fn toml(&self, origin: &GitOrigin, address: SocketAddr) -> String {
        let listen = if self.is_proxied { "listen = \"{address}\"" } else { "" };
        let runs = match (&self.unit, &self.compose) {
            (_, Some(compose)) => format!("[project.shop.compose]\n{compose}"),
            (Some(unit), None) => format!("systemd = {{ unit = \"{unit}\", manager = \"user\" }}"),
            (None, None) => format!("[project.shop.process]\ncommand = {}\n{listen}\nstop = {{ signal = \"TERM\", grace = \"5s\" }}", self.command),
        };
        let toml = format!(
            "{}\n[project.shop]\nrepo = \"{}\"\ndir = \"{{dir}}/shop\"\n{}\n\n{runs}\n\n[project.shop.health]\n{}\n",
            self.head, origin.url(), self.project, self.health
        );
        toml.replace("{address}", &address.to_string()).replace("{number}", &address.port().to_string())
    }
}

/// The whole of it.
#[derive(Debug)]
pub struct Shop {
    /// The machine.
    pub host: Host,
    /// Where its source is.
    pub origin: GitOrigin,
    /// What it answers to.
    pub edge: Edge,
    /// Who tells the edge.
    pub github: GitHub,
    address: SocketAddr,
}

/// A push that the edge took.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// What was pushed.
    pub commit: String,
    /// The job it became.
    pub job: Value,
}

impl Shop {
    /// A shop whose first version is live, behind the proxy.
    pub async fn open(first: &App) -> Self {
        Self::open_on(Terms::of(first), first).await
    }

    /// A shop on these terms whose first version is live.
    pub async fn open_on(terms: Terms, first: &App) -> Self {
        let mut shop = Self::found(terms).await;
        shop.host.run_online(&shop.edge).await;
        let run = shop.push_and_see(first).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop
    }

    /// A shop that is enrolled, and no more: the daemon does not run, and the
    /// origin is empty.
    pub async fn found(terms: Terms) -> Self {
        let (edge, origin) = (Edge::start().await, GitOrigin::new("me/shop"));
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut host = Host::new(HOST, &edge, &terms.toml(&origin, address));
        if terms.has_uv {
            host.with_uv();
        }
        for (name, value) in terms.environment {
            host.set(name, value);
        }
        host.join(&edge).await;
        Self { host, origin, edge, github: GitHub::new(WEBHOOK_SECRET), address }
    }

    /// A compose project on an engine of its own, whose first version is live;
    /// `None` where there can be no engine. The engine goes last.
    pub async fn open_composed(terms: impl FnOnce(&Docker) -> Terms) -> Option<(Self, Docker)> {
        let docker = Docker::start().await?;
        let shop = Self::open_composed_on(&docker, terms(&docker)).await;
        Some((shop, docker))
    }

    /// The same on an engine that is there.
    pub async fn open_composed_on(docker: &Docker, terms: Terms) -> Self {
        let mut shop = Self::found(terms).await;
        shop.host.run_online(&shop.edge).await;
        let run = shop.push_and_see(&shop.composed("1")).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves("1").await;
        assert_eq!(docker.containers().iter().filter(|name| name.starts_with("shop-")).count(), 2);
        shop
    }

    /// A version of a compose project that publishes this shop's address.
    #[must_use]
    pub fn composed(&self, version: &str) -> App {
        App::composed(version).publishing(self.address)
    }

    /// Writes the host's file anew, and starts the daemon again to read it.
    pub async fn change_terms(&mut self, terms: &Terms) {
        self.host.stop().await;
        self.host.write_config(&self.edge, &terms.toml(&self.origin, self.address));
        self.host.run_online(&self.edge).await;
    }

    /// Where the app serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes a version, and GitHub tells the edge.
    pub async fn push(&mut self, app: &App) -> Pushed {
        let commit = app.push_to(&self.origin, "a version");
        self.tell(&commit).await
    }

    /// GitHub tells the edge that `main` is at this commit now.
    pub async fn tell(&mut self, commit: &str) -> Pushed {
        let delivery = self.github.push("me/shop", Push::to("main").at(commit).modifies(&["app.py"]));
        let answer = self.edge.deliver(&delivery).await;
        assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("queued")), "{}", answer.text());
        Pushed { commit: commit.to_owned(), job: answer.json()["jobs"][0].clone() }
    }

    /// [`Shop::push`], and then [`Shop::ended`].
    pub async fn push_and_see(&mut self, app: &App) -> Value {
        let pushed = self.push(app).await;
        self.ended(&pushed).await
    }

    /// The runs that the edge knows of, newest first.
    pub async fn runs(&self) -> Vec<Value> {
        self.newest_runs(200).await
    }

    /// The newest of them, at most so many.
    pub async fn newest_runs(&self, most: usize) -> Vec<Value> {
        let runs = self.edge.get(&format!("/api/runs?host=attic&project=shop&limit={most}")).await;
        runs["runs"].as_array().unwrap().clone()
    }

    /// One run whole: `run`, `steps` and `log`.
    pub async fn run(&self, id: &Value) -> Value {
        let id = id.as_str().unwrap();
        let mut run = self.edge.get(&format!("/api/runs/{id}")).await;
        run["log"] = self.edge.get(&format!("/api/runs/{id}/log")).await["lines"].take();
        run
    }

    /// Waits until the edge was told how a run of this push ended, and returns
    /// the newest one that did, whole.
    pub async fn ended(&self, pushed: &Pushed) -> Value {
        self.ended_within(wait::DEADLINE, pushed).await
    }

    /// [`Shop::ended`] with a deadline of its own.
    pub async fn ended_within(&self, within: Duration, pushed: &Pushed) -> Value {
        let is_it = |run: &Value| run["job"] == pushed.job && run["state"] != "running";
        // Retries of other jobs may have come between, but not many.
        let look = async || self.newest_runs(20).await.into_iter().find(is_it);
        let seen = wait::until_within(within, &format!("a run of {pushed:?} to end"), look, Option::is_some).await;
        self.run(&seen.unwrap()["id"]).await
    }

    /// What answers at the address, if something does.
    pub async fn get(&self, path: &str) -> Option<Answer> {
        Raw::new("GET", path).send(self.address).await
    }

    /// The version that answers, if one does. An app may be killed in the
    /// middle of its answer.
    pub async fn version(&self) -> Option<String> {
        let answer: Value = serde_json::from_slice(&self.get("/").await?.body).ok()?;
        answer["version"].as_str().map(str::to_owned)
    }

    /// Waits until this version answers.
    pub async fn serves(&self, version: &str) {
        let what = format!("version {version} to serve");
        wait::until(&what, async || self.version().await, |seen| seen.as_deref() == Some(version)).await;
    }

    /// Somebody uses the app from now on.
    #[must_use]
    pub fn probe(&self) -> Prober {
        Prober::start(self.address)
    }

    /// The project as `doorstep status` shows it.
    pub async fn status(&mut self) -> Value {
        self.host.status().await["projects"][0].clone()
    }

    /// Waits until `doorstep status` shows the project as it should be.
    pub async fn status_when(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.host.status_when(what, |status| is_it(&status["projects"][0])).await["projects"][0].clone()
    }

    /// Waits until the edge has no job of this host that did not end.
    pub async fn is_idle(&self) {
        wait::until("every job to end", async || self.edge.jobs().await, Vec::is_empty).await;
    }
}
