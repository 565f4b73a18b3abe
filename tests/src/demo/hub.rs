//! What the demo asks of the edge: deliveries as GitHub's, the rest through `/api`.

use doorstep_tests::Delivery;
use serde_json::Value;

use crate::prober::{chain, client};
use crate::seen::{NotSeen, Seen, ensure};

/// The edge, as a client knows it.
#[derive(Clone, Debug)]
pub struct Hub {
    url: String,
    api_token: String,
    client: reqwest::Client,
}

impl Hub {
    /// The edge at this address.
    pub fn new(url: &str, api_token: &str) -> Self {
        Self { url: url.to_owned(), api_token: api_token.to_owned(), client: client() }
    }

    /// Sends a delivery; its answer must be 202.
    pub async fn deliver(&self, delivery: &Delivery) -> Seen<Value> {
        let mut request = self.client.post(format!("{}/webhooks/github", self.url)).body(delivery.body.clone());
        for (name, value) in delivery.headers() {
            request = request.header(name, value);
        }
        answer("the delivery's answer", 202, request).await
    }

    /// A one-time enrolment code.
    pub async fn enroll(&self) -> Seen<String> {
        let request = self.client.post(format!("{}/api/hosts/enrollments", self.url)).bearer_auth(&self.api_token);
        let view = answer("an enrolment code", 201, request).await?;
        Ok(text(&view["code"]))
    }

    /// The JSON at this path.
    pub async fn get(&self, path: &str) -> Seen<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.api_token);
        answer(path, 200, request).await
    }

    /// Is the host's socket up?
    pub async fn is_online(&self, host: &str) -> Seen<bool> {
        let view = self.get("/api/hosts").await?;
        let hosts = view["hosts"].as_array().cloned().unwrap_or_default();
        Ok(hosts.iter().any(|known| known["name"] == host && known["online"] == true))
    }

    /// A project's row.
    pub async fn project(&self, host: &str, project: &str) -> Seen<Option<Value>> {
        let view = self.get("/api/projects").await?;
        let projects = view["projects"].as_array().cloned().unwrap_or_default();
        Ok(projects.into_iter().find(|row| row["host"] == host && row["name"] == project))
    }

    /// The newest job that reconciling made, if there is one.
    pub async fn job_found(&self, host: &str, project: &str) -> Seen<Option<Value>> {
        let view = self.get(&format!("/api/runs?host={host}&project={project}&limit=10")).await?;
        let runs = view["runs"].as_array().cloned().unwrap_or_default();
        Ok(runs.iter().find(|run| run["cause"] == "reconcile" && run["job"].is_u64()).map(|run| run["job"].clone()))
    }

    /// The newest run of a job, if it has begun.
    pub async fn run_of_job(&self, host: &str, project: &str, job: &Value) -> Seen<Option<String>> {
        let view = self.get(&format!("/api/runs?host={host}&project={project}&limit=10")).await?;
        let runs = view["runs"].as_array().cloned().unwrap_or_default();
        Ok(runs.iter().find(|run| &run["job"] == job).map(|run| text(&run["id"])))
    }
}

/// A JSON text; empty when it is something else.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn answer(what: &str, status: u16, request: reqwest::RequestBuilder) -> Seen<Value> {
    let response = request.send().await.map_err(|fault| NotSeen::new(format!("{what} ({})", chain(&fault))))?;
    let got = response.status().as_u16();
    let body = response.text().await.unwrap_or_default();
    ensure(got == status, || format!("{what} with status {status}; it was {got}: {}", body.trim()))?;
    serde_json::from_str(&body).map_err(|fault| NotSeen::new(format!("{what} as JSON ({fault})")))
}
