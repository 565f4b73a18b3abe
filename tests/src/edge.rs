//! A real edge: `doorstep edge` with workerd below it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::tools::sqlite;
use crate::{Answer, Child, Delivery, Ended, FakeExecutor, Raw, Tools, wait};

/// The webhook's secret that stories use.
pub const WEBHOOK_SECRET: &str = "It's a Secret to Everybody";
/// The dashboard's password that stories use.
pub const PASSWORD: &str = "correct horse battery staple";
/// The bearer that stories use.
pub const API_TOKEN: &str = "stories-api-token-0123456789abcdef";

const READY: &str = "doorstep edge is ready at http://";

/// The variables an edge is started with.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// `WEBHOOK_SECRET`.
    pub webhook: Option<String>,
    /// `DASHBOARD_PASSWORD`.
    pub password: Option<String>,
    /// `SESSION_KEY`; the edge makes one when it is missing.
    pub session_key: Option<String>,
    /// `API_TOKEN`.
    pub api_token: Option<String>,
    /// `WEBHOOK_BODY_BYTES_MAX`.
    pub body_bytes_max: Option<usize>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            webhook: Some(WEBHOOK_SECRET.into()),
            password: Some(PASSWORD.into()),
            session_key: None,
            api_token: Some(API_TOKEN.into()),
            body_bytes_max: None,
        }
    }
}

impl Secrets {
    fn environment(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("WEBHOOK_SECRET", self.webhook.clone()),
            ("DASHBOARD_PASSWORD", self.password.clone()),
            ("SESSION_KEY", self.session_key.clone()),
            ("API_TOKEN", self.api_token.clone()),
            ("WEBHOOK_BODY_BYTES_MAX", self.body_bytes_max.map(|bytes| bytes.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    // Before the folder: fields are dropped in order, and the program writes there.
    child: Child,
    address: SocketAddr,
    secrets: Secrets,
    tools: Tools,
    client: reqwest::Client,
    /// The `Cookie` header of the person whom most stories are about.
    cookie: OnceCell<String>,
    state: TempDir,
}

impl Edge {
    /// An edge with every secret set, on a fresh state.
    pub async fn start() -> Self {
        Self::start_with(Secrets::default()).await
    }

    /// The same, where others than this machine reach it.
    pub async fn start_at(address: IpAddr) -> Self {
        Self::launched(Secrets::default(), address).await
    }

    /// An edge with these secrets, on a fresh state.
    pub async fn start_with(secrets: Secrets) -> Self {
        Self::launched(secrets, Ipv4Addr::LOCALHOST.into()).await
    }

    async fn launched(secrets: Secrets, address: IpAddr) -> Self {
        let (tools, state) = (Tools::find(), tempfile::tempdir().unwrap());
        let mut child = launch(&tools, &state, &secrets, SocketAddr::new(address, 0));
        let address = ready(&mut child).await;
        // A connection of its own for each request, and no proxy of the machine's.
        let client = crate::http()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(wait::DEADLINE)
            .build()
            .unwrap();
        Self { child, address, secrets, tools, client, cookie: OnceCell::new(), state }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address with this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its process.
    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Kills workerd as a crash would, and waits for `doorstep edge` to notice.
    pub async fn kill_workerd(&mut self) -> Ended {
        let workerds = self.child.descendants("workerd");
        assert_eq!(workerds.len(), 1, "one workerd runs below doorstep edge");
        for pid in workerds {
            kill_process(pid, Signal::KILL).unwrap();
        }
        self.child.end().await
    }

    /// Asks it to end, and waits for that.
    pub async fn stop(&mut self) -> Ended {
        self.child.signal(Signal::TERM);
        self.child.end().await
    }

    /// Starts it again on the same port and state, however it ended.
    pub async fn restart(&mut self) {
        if self.child.ended().is_none() {
            self.child.signal_group(Signal::KILL);
            self.child.end().await;
        }
        self.child = launch(&self.tools, &self.state, &self.secrets, self.address);
        let address = ready(&mut self.child).await;
        assert_eq!(address, self.address);
    }

    /// Any request, as a proper client sends it.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, self.url(path)).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap_or_else(|fault| panic!("{path} was not answered: {fault:?}"));
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    /// A request with the bearer.
    pub async fn api(&self, method: &str, path: &str) -> Answer {
        self.request(method, path, &[("authorization", &format!("Bearer {API_TOKEN}"))], "").await
    }

    /// The JSON at this path, with the bearer; panics unless it is 200.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.api("GET", path).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// Sends one delivery of GitHub's.
    pub async fn deliver(&self, delivery: &Delivery) -> Answer {
        self.request("POST", "/webhooks/github", &delivery.headers(), delivery.body.clone()).await
    }

    /// Sends a hand-written request; panics when it is not answered.
    pub async fn raw(&self, request: &Raw) -> Answer {
        request.send(self.address).await.unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    /// The stored deliveries, newest first.
    pub async fn events(&self) -> Vec<Value> {
        list(&self.get("/webhooks/github/events?limit=200").await["events"])
    }

    /// The stored delivery of this GUID, with its payload.
    pub async fn event(&self, guid: &str) -> Value {
        self.get(&format!("/webhooks/github/events/{guid}")).await
    }

    /// The jobs that have not ended, of all projects.
    pub async fn jobs(&self) -> Vec<Value> {
        let projects = self.get("/api/projects").await;
        list(&projects["projects"]).iter().flat_map(|project| list(&project["jobs"])).collect()
    }

    /// The host of this name, as `/api/hosts` shows it.
    pub async fn host(&self, name: &str) -> Option<Value> {
        list(&self.get("/api/hosts").await["hosts"]).into_iter().find(|host| host["name"] == name)
    }

    /// Waits until this host is shown online, or not.
    pub async fn sees_host(&self, name: &str, online: bool) {
        let what = format!("{name} to be {}", if online { "online" } else { "offline" });
        wait::until(&what, async || self.host(name).await, |host| host.as_ref().is_some_and(|host| host["online"] == online)).await;
    }

    /// What an SQL statement makes of the hub's own rows, the first column of
    /// each: a look inside, for what no page shows.
    #[must_use]
    pub fn hub(&self, statement: &str) -> Vec<String> {
        let is_it = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "sqlite") && path.file_stem().is_some_and(|name| name != "metadata");
        let hubs = std::fs::read_dir(self.state.path().join("hub/doorstep-hub")).unwrap();
        let database = hubs.filter_map(|entry| Some(entry.ok()?.path())).find(is_it).unwrap();
        sqlite(&database, statement)
    }

    /// Changes the hub's own rows behind its back: a fault, or time that went by.
    pub fn meddle(&self, statement: &str) {
        let said = self.hub(statement);
        assert!(said.is_empty(), "{statement} is a question: {said:?}");
    }

    /// A one-time enrolment code.
    pub async fn enroll(&self) -> String {
        let answer = self.api("POST", "/api/hosts/enrollments").await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["code"].as_str().unwrap().to_owned()
    }

    /// An enrolled host that has not connected yet.
    pub async fn enrolled(&self, host: &str) -> FakeExecutor {
        let executor = FakeExecutor::new(self, host);
        executor.join(&self.enroll().await).await.unwrap();
        executor
    }

    /// Signs in with a password.
    pub async fn sign_in(&self, password: &str) -> Answer {
        let password: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.request("POST", "/login", &form, format!("password={password}&next=%2F")).await
    }

    /// The `Cookie` header of a person who is signed in: always the same one.
    pub async fn session(&self) -> String {
        self.cookie.get_or_init(|| self.fresh_session()).await.clone()
    }

    /// The form token of this session, as its pages hold it.
    pub async fn form_token(&self, cookie: &str) -> String {
        let page = self.request("GET", "/settings", &[("cookie", cookie)], "").await.text();
        let (_, rest) = page.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("no form token: {page}"));
        rest.split('"').next().unwrap().to_owned()
    }

    /// A press of a button of a page, with the fields of its form, by the person
    /// of this `Cookie` header.
    pub async fn press(&self, cookie: &str, path: &str, fields: &str) -> Answer {
        let (token, own) = (self.form_token(cookie).await, self.url(""));
        let headers = [("cookie", cookie), ("origin", own.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        self.request("POST", path, &headers, format!("form_token={token}&{fields}")).await
    }

    /// The `Cookie` header of a person who signed in just now.
    pub async fn fresh_session(&self) -> String {
        let answer = self.sign_in(PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap_or_default();
        cookie.split(';').next().unwrap().to_owned()
    }
}

/// A JSON list's values.
fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).clone()
}

fn launch(tools: &Tools, state: &TempDir, secrets: &Secrets, address: SocketAddr) -> Child {
    let mut environment = secrets.environment();
    environment.push(("DOORSTEP_WORKER_DIR", tools.worker.to_str().unwrap().to_owned()));
    environment.push(("DOORSTEP_WORKERD", tools.workerd.to_str().unwrap().to_owned()));
    let mut command = Command::new(&tools.doorstep);
    // A `.env` of the folder it is started in would be read.
    command.arg("edge").args(["--port", &address.port().to_string(), "--address", &address.ip().to_string()]).arg("--state").arg(state.path()).current_dir(state.path());
    Child::start("edge", state.path(), &mut command, &environment)
}

async fn ready(child: &mut Child) -> SocketAddr {
    let look = async || (child.stdout(), child.ended());
    let (said, ended) =
        wait::until("the edge to be ready", look, |(said, ended)| said.ends_with('\n') || ended.is_some()).await;
    assert!(ended.is_none(), "the edge ended: {ended:?}");
    let line = said.trim_end();
    let address = line.strip_prefix(READY).unwrap_or_else(|| panic!("the edge said {line:?}"));
    address.parse().unwrap_or_else(|_| panic!("not an address: {address}"))
}
