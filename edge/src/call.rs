//! What the Worker asks of its hub, once the asker is known.
//!
//! Only the Worker can reach the hub, so a call carries no proof of who asks,
//! only who it is ([`Envelope`]): whoever adds one here adds its check in the
//! Worker first. Whether a session goes on is asked in the hub, before anything
//! else; a call that is not open is refused there to nobody as well.

use doorstep_shared::ids::{Action, JobId, Name};
use serde::{Deserialize, Serialize};
use worker::{Env, Method, Request, RequestInit, RequestRedirect, Response, Result, Stub};

use crate::ask::{Ask, Back};
use crate::asker::Asker;
use crate::delivery::Headers;

mod query;

pub use query::{AuditQuery, EventsQuery, JobsQuery, LogQuery, RunsQuery};

/// Name of the one hub of a fleet. It names stored data: never change it.
const HUB_NAME: &str = "main";

/// The header in which the script says which parts of a page it has.
pub const HAVE_HEADER: &str = "x-doorstep-have";

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Client {
    /// A person at a page.
    Page,
    /// A program.
    Api,
}

/// Somebody tries to sign in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// The proof of the right password.
    pub expected: String,
    /// The proof of the one that was given.
    pub given: String,
    /// The hash of the token that the session has if it is right.
    pub session: String,
}

/// A call, and who makes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// Who.
    pub by: Asker,
    /// What.
    pub call: Call,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Call {
    /// The first page.
    FleetPage {
        /// The parts of it that the reader has, when it wants no more than what is new.
        have: Option<Vec<String>>,
    },
    /// One project's page.
    ProjectPage {
        /// Its host.
        host: Name,
        /// Its name.
        project: Name,
        /// Of its runs only those that are older than this one.
        before: Option<String>,
    },
    /// One run's page.
    RunPage {
        /// The run.
        id: String,
        /// The parts that its reader has, who wants the others only.
        have: Option<Vec<String>>,
    },
    /// The deliveries' page.
    DeliveriesPage(EventsQuery),
    /// One delivery's page.
    DeliveryPage {
        /// Its GUID.
        id: String,
    },
    /// The page of all services.
    ContainersPage,
    /// Every service.
    Containers,
    /// What the hub cost since it woke.
    Usage,
    /// How deliveries fare.
    Health,
    /// The history.
    Events(EventsQuery),
    /// A query that was not understood, and who reads the answer.
    BadQuery(Client),
    /// One delivery with its payload.
    Event {
        /// Its GUID.
        id: String,
    },
    /// Run one delivery again.
    Replay {
        /// Its GUID.
        id: String,
        /// Who reads the answer.
        client: Client,
    },
    /// Every host.
    Hosts,
    /// Every project.
    Projects,
    /// The newest runs.
    Runs(RunsQuery),
    /// The newest jobs.
    Jobs(JobsQuery),
    /// Cancel a job that has not ended.
    Cancel {
        /// The job.
        job: JobId,
        /// Who reads the answer.
        client: Client,
    },
    /// Try a dead job again.
    Revive {
        /// The job.
        job: JobId,
        /// Who reads the answer.
        client: Client,
    },
    /// One run with its steps.
    Run {
        /// The run.
        id: String,
    },
    /// One run's log.
    RunLog {
        /// The run.
        id: String,
        /// How much of it.
        query: LogQuery,
    },
    /// Ask a project for an action.
    Act {
        /// Its host.
        host: Name,
        /// Its name.
        project: Name,
        /// What is asked.
        wanted: Ask,
        /// Who reads the answer.
        client: Client,
        /// Where a person goes on.
        back: Back,
    },
    /// Ask every project with services of a host for an action.
    ActAll {
        /// The host.
        host: Name,
        /// The action.
        action: Action,
        /// Who reads the answer.
        client: Client,
    },
    /// Make an enrolment code.
    Enroll {
        /// The edge's address, as the asker wrote it.
        origin: String,
        /// Who reads the answer.
        client: Client,
    },
    /// Revoke a host.
    Revoke {
        /// The host.
        host: Name,
        /// Who reads the answer.
        client: Client,
    },
    /// The page of what people did.
    AuditPage(AuditQuery),
    /// What people did.
    Audit(AuditQuery),
    /// The page of settings.
    SettingsPage,
    /// The page of hosts.
    HostsPage,
    /// Who is signed in.
    Sessions,
    /// Sign in: 204, 401, or 429 with `Retry-After`.
    SignIn(Attempt),
    /// Sign out.
    SignOut,
    /// End a session.
    EndSession {
        /// Its name to people.
        handle: String,
        /// Who reads the answer.
        client: Client,
    },
    /// End all sessions.
    EndAllSessions,
    /// A delivery was refused.
    Refused {
        /// The code of the answer.
        code: String,
    },
}

impl Call {
    /// May nobody in particular make it?
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Health | Self::Refused { .. } | Self::SignIn(_))
    }

    /// Asks the hub.
    pub async fn ask(self, env: &Env, by: &Asker) -> Result<Response> {
        let mut init = RequestInit::new();
        // A redirect is an answer for the browser; it is not followed here.
        init.with_method(Method::Post).with_redirect(RequestRedirect::Manual);
        init.with_body(Some(serde_json::to_string(&Envelope { by: by.clone(), call: self })?.into()));
        hub(env)?.fetch_with_request(Request::new_with_init("https://hub/call", &init)?).await
    }
}

/// The hub.
pub fn hub(env: &Env) -> Result<Stub> {
    env.durable_object("HUB")?.get_by_name(HUB_NAME)
}

/// A delivery whose signature was verified.
pub struct Believed {
    /// What names it.
    pub headers: Headers,
    /// Its signature, which tells its body from every other one.
    pub signature: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The header that carries the verified signature to the hub.
pub const SIGNATURE_HEADER: &str = "x-verified-signature";

/// Hands a verified delivery to the hub; its answer is GitHub's.
pub async fn deliver(env: &Env, delivery: &Believed) -> Result<Response> {
    let carried = worker::Headers::new();
    carried.set("x-github-event", &delivery.headers.event_type)?;
    carried.set("x-github-delivery", &delivery.headers.guid)?;
    carried.set(SIGNATURE_HEADER, &delivery.signature)?;
    let mut init = RequestInit::new();
    let body = js_sys::Uint8Array::from(delivery.body.as_slice());
    init.with_method(Method::Post).with_headers(carried).with_body(Some(body.into()));
    hub(env)?.fetch_with_request(Request::new_with_init("https://hub/deliver", &init)?).await
}

/// The header that says who opens a page's socket.
pub const ASKER_HEADER: &str = "x-asker";

/// A socket's upgrade, under the path the hub knows it by.
pub fn socket_request(kind: &str, req: &Request, by: &Asker) -> Result<Request> {
    let headers = worker::Headers::new();
    headers.set("upgrade", "websocket")?;
    // All of it is plain ASCII, as a header must be.
    headers.set(ASKER_HEADER, &serde_json::to_string(by)?)?;
    let query = req.url().ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    Request::new_with_init(&format!("https://hub/{kind}?{query}"), &init)
}
