//! The edge: a Cloudflare Worker in front of one Durable Object, the hub.
//!
//! The Worker (this file) is stateless: it routes, reads bodies under a cap,
//! verifies GitHub's signature and the person's session, and hands what is
//! believed to the [`hub`]. Nothing unsigned and nobody unknown costs the hub
//! more than a note.
//!
//! `route`, `ask`, `asker`, `audit`, `delivery`, `followed`, `quota`, `services`, `session`,
//! `site`, `throttle`, `enroll`, `health`, `view` and `pages` are pure and tested natively; they never use the platform. What is absent: anything that
//! could make a host run a command.

pub mod ask;
pub mod asker;
pub mod audit;
pub mod delivery;
pub mod enroll;
pub mod followed;
pub mod health;
pub mod kept;
pub mod pages;
pub mod quota;
pub mod route;
pub mod services;
pub mod session;
pub mod site;
pub mod throttle;
pub mod view;

pub mod call;
#[expect(missing_docs, reason = "the macro of the Durable Object makes public items without any")]
mod hub;
mod platform;
mod reply;
mod store;

use std::cell::Cell;

use delivery::{Disbelief, Headers};
use doorstep_shared::ids::{Action, Name};
use doorstep_shared::time::Timestamp;
use route::{Access, Route};
use worker::{Context, Env, Method, Request, Response, Result, console_error, event};

use ask::{Asked, BadAsk};
use call::{Believed, Call, Client};
use platform::{Settings, now};

pub use hub::Hub;

/// Notes of refused deliveries that reach the hub: at most one in this time
/// from one isolate, so that a flood of them writes at most 3,600 rows an hour.
/// Strangers' notes are counted apart: they crowd out no signed delivery's.
const REFUSAL_NOTE_MS: u64 = 1_000;

thread_local! {
    static LAST_REFUSAL_NOTE: [Cell<u64>; 2] = const { [Cell::new(0), Cell::new(0)] };
}

/// Answers every request.
#[event(fetch)]
async fn fetch(req: Request, env: Env, _ctx: Context) -> Result<Response> {
    match serve(req, &env).await {
        Ok(response) => Ok(response),
        Err(fault) => {
            console_error!("a request failed: {fault}");
            reply::error(500, "internal", "something went wrong here; the log of the Worker says what")
        }
    }
}

async fn serve(req: Request, env: &Env) -> Result<Response> {
    let settings = Settings::of(env);
    let method = method_name(&req);
    let route = route::route(&method, &req.path());
    if let Some(refusal) = refuse_stranger(&req, &route, &settings)? {
        return Ok(refusal);
    }
    match route {
        Route::Deliver => deliver(req, env, &settings).await,
        Route::Executor | Route::Live => socket(req, env, route == Route::Live).await,
        Route::Healthz => reply::json(200, &serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})),
        Route::Asset(name) => reply::asset(name),
        Route::LoginPage => reply::page(200, pages::login(None, &next_of(&req))),
        Route::Login => login(req, env, &settings).await,
        Route::Logout => reply::redirect("/login", Some(&expired_cookie(&req))),
        Route::Unknown if wants_page(&req) => {
            reply::page(404, pages::problem(404, "Not here", "There is no page at this address."))
        }
        Route::Unknown => reply::error(404, "not_found", "there is nothing at this address"),
        Route::WrongMethod(allowed) => reply::wrong_method(allowed),
        Route::Act(host, project, action) => act(req, env, Client::Page, (host, project, action)).await,
        Route::ApiAct(host, project, action) => act(req, env, Client::Api, (host, project, action)).await,
        other => match call_of(other, &req) {
            Some(call) => call.ask(env).await,
            None => reply::error(404, "not_found", "there is nothing at this address"),
        },
    }
}

fn method_name(req: &Request) -> String {
    match req.method() {
        Method::Head => "HEAD".to_owned(),
        other => other.to_string(),
    }
}

/// The hub's call behind a route that is not served by the Worker itself.
fn call_of(route: Route, req: &Request) -> Option<Call> {
    Some(match route {
        Route::Fleet => Call::FleetPage,
        Route::Project(host, project) => Call::ProjectPage { host, project },
        Route::Run(id) => Call::RunPage { id },
        Route::Deliveries => Call::DeliveriesPage,
        Route::Containers => Call::ContainersPage,
        Route::ApiContainers => Call::Containers,
        Route::WebhookHealth => Call::Health,
        Route::Events => req.query::<call::EventsQuery>().map(Call::Events).unwrap_or(Call::BadQuery),
        Route::Event(id) => Call::Event { id },
        Route::Replay(id) => Call::Replay { id },
        Route::ApiHosts => Call::Hosts,
        Route::ApiProjects => Call::Projects,
        Route::ApiRuns => req.query::<call::RunsQuery>().map(Call::Runs).unwrap_or(Call::BadQuery),
        Route::ApiRun(id) => Call::Run { id },
        Route::ApiRunLog(id) => Call::RunLog { id },
        Route::ApiJobs => match req.query::<call::JobsQuery>() {
            Ok(query) if query.is_good() => Call::Jobs(query),
            _ => Call::BadQuery,
        },
        Route::Cancel(job) => Call::Cancel { job, client: Client::Page },
        Route::ApiCancel(job) => Call::Cancel { job, client: Client::Api },
        Route::Revive(job) => Call::Revive { job, client: Client::Page },
        Route::ApiRevive(job) => Call::Revive { job, client: Client::Api },
        Route::ActAll(host, action) => Call::ActAll { host, action, client: Client::Page },
        Route::ApiActAll(host, action) => Call::ActAll { host, action, client: Client::Api },
        Route::Enroll => Call::Enroll { origin: origin_of(req), client: Client::Page },
        Route::ApiEnroll => Call::Enroll { origin: origin_of(req), client: Client::Api },
        Route::ApiRevoke(host) => Call::Revoke { host },
        Route::ApiUsage => Call::Usage,
        Route::Deliver
        | Route::Act(..)
        | Route::ApiAct(..)
        | Route::Healthz
        | Route::LoginPage
        | Route::Login
        | Route::Logout
        | Route::Asset(_)
        | Route::Live
        | Route::Executor
        | Route::WrongMethod(_)
        | Route::Unknown => return None,
    })
}

/// The answer to somebody who may not use this route; `None` for the others.
fn refuse_stranger(req: &Request, route: &Route, settings: &Settings) -> Result<Option<Response>> {
    let header = |name: &str| req.headers().get(name).ok().flatten();
    let by_bearer = route.access() == Access::SignedInOrBearer
        && session::bearer(header("authorization").as_deref())
            .is_some_and(|given| session::same_secret(&settings.api_token, given));
    if (route.changes() || *route == Route::Live) && !by_bearer && !is_same_site(req, *route == Route::Live) {
        return reply::error(403, "other_site", "this request came from another site").map(Some);
    }
    let good = match route.access() {
        Access::Open => true,
        Access::SignedIn | Access::SignedInOrBearer => {
            by_bearer || session::is_signed_in(&settings.session_key, header("cookie").as_deref(), now())
        }
    };
    if good {
        return Ok(None);
    }
    if route.is_page() {
        let next = if req.method() == Method::Get { req.path() } else { "/".to_owned() };
        let next: String = js_sys::encode_uri_component(&next).into();
        return reply::redirect(&format!("/login?next={next}"), None).map(Some);
    }
    reply::error(401, "not_signed_in", "sign in, or send a bearer").map(Some)
}

/// Browsers say where a request comes from; other programs do not, and hold no
/// cookie that a browser would lend to another site.
fn is_same_site(req: &Request, must_say: bool) -> bool {
    let header = |name: &str| req.headers().get(name).ok().flatten();
    let Some(origin) = header("origin") else { return !must_say };
    let Some((_, origin_host)) = origin.split_once("://") else { return false };
    header("host").is_some_and(|host| host.eq_ignore_ascii_case(origin_host))
}

fn wants_page(req: &Request) -> bool {
    req.headers().get("accept").ok().flatten().is_some_and(|accept| accept.contains("text/html"))
}

fn origin_of(req: &Request) -> String {
    req.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

fn next_of(req: &Request) -> String {
    #[derive(serde::Deserialize)]
    struct Query {
        #[serde(default)]
        next: String,
    }
    let next = req.query::<Query>().map(|query| query.next).unwrap_or_default();
    session::local_path(&next).to_owned()
}

async fn deliver(req: Request, env: &Env, settings: &Settings) -> Result<Response> {
    match believe(req, settings).await? {
        Ok(delivery) => call::deliver(env, &delivery).await,
        Err(disbelief) => {
            note_refusal(env, disbelief).await;
            reply::error(disbelief.status(), disbelief.code(), &disbelief.to_string())
        }
    }
}

async fn believe(mut req: Request, settings: &Settings) -> Result<std::result::Result<Believed, Disbelief>> {
    let header = |req: &Request, name: &str| req.headers().get(name).ok().flatten();
    if settings.webhook_secret.is_empty() {
        return Ok(Err(Disbelief::SecretNotSet));
    }
    let signature = header(&req, "x-hub-signature-256");
    let length = header(&req, "content-length").and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|bytes| bytes > settings.body_bytes_max) {
        return Ok(Err(Disbelief::TooLarge));
    }
    if signature.is_none() {
        return Ok(Err(Disbelief::SignatureMissing));
    }
    let body = match platform::read_capped(&mut req, length, settings.body_bytes_max).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(Err(Disbelief::TooLarge)),
        Err(_) => return Ok(Err(Disbelief::BodyCut)),
    };
    let signature = match delivery::verify(&settings.webhook_secret, signature.as_deref(), &body) {
        Ok(signature) => signature,
        Err(disbelief) => return Ok(Err(disbelief)),
    };
    let headers = Headers::check(header(&req, "x-github-event"), header(&req, "x-github-delivery"));
    Ok(headers.map(|headers| Believed { headers, signature, body }))
}

async fn note_refusal(env: &Env, disbelief: Disbelief) {
    let due = LAST_REFUSAL_NOTE.with(|[strangers, others]| {
        let last = if health::is_unproven(disbelief.code()) { strangers } else { others };
        let due = now().ms_since(Timestamp(last.get())) >= REFUSAL_NOTE_MS;
        if due {
            last.set(now().0);
        }
        due
    });
    if due && let Err(fault) = (Call::Refused { code: disbelief.code().to_owned() }).ask(env).await {
        console_error!("a refused delivery was not noted: {fault}");
    }
}

async fn socket(req: Request, env: &Env, is_live: bool) -> Result<Response> {
    let upgrade = req.headers().get("upgrade")?.unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return reply::error(426, "upgrade_required", "this address speaks WebSocket only");
    }
    call::hub(env)?.fetch_with_request(if is_live { call::socket_request("live", &req)? } else { call::socket_request("executor", &req)? }).await
}

async fn login(mut req: Request, env: &Env, settings: &Settings) -> Result<Response> {
    if settings.dashboard_password.is_empty() || settings.session_key.is_empty() {
        let sentence = "Signing in needs DASHBOARD_PASSWORD and SESSION_KEY to be set for this edge.";
        return reply::page(503, pages::problem(503, "Not set up yet", sentence));
    }
    let length = req.headers().get("content-length")?.and_then(|text| text.parse().ok());
    let Some(body) = platform::read_capped(&mut req, length, 8 * 1024).await? else {
        return reply::error(413, "body_too_large", "a sign-in form is smaller than this");
    };
    let (password, next) = platform::login_fields(&body);
    let next = session::local_path(&next).to_owned();
    let right = session::same_secret(&settings.dashboard_password, &password);
    let said = req.headers().get("cf-connecting-ip")?.filter(|_| !settings.is_self_hosted);
    let client = said.unwrap_or_else(|| "everybody".to_owned());
    let verdict = Call::Login { client, right }.ask(env).await?;
    match verdict.status_code() {
        204 => reply::redirect(&next, Some(&session_cookie(&req, settings))),
        429 => reply::page(429, pages::login(Some("Too many wrong passwords. Wait a few minutes."), &next)),
        401 => reply::page(401, pages::login(Some("That is not the password."), &next)),
        other => reply::error(500, "internal", &format!("the hub answered {other}")),
    }
}

async fn act(mut req: Request, env: &Env, client: Client, (host, project, action): (Name, Name, Action)) -> Result<Response> {
    let length = req.headers().get("content-length")?.and_then(|text| text.parse().ok());
    let Some(body) = platform::read_capped(&mut req, length, ask::BODY_BYTES_MAX).await? else {
        return reply::refused(client, 413, "body_too_large", "an ask is smaller than this");
    };
    match asked(&req, client, &body) {
        Ok(Asked { service, back }) => Call::Act { host, project, action, service, client, back }.ask(env).await,
        Err(bad) => reply::refused(client, 400, "bad_ask", &bad.to_string()),
    }
}

fn asked(req: &Request, client: Client, body: &[u8]) -> std::result::Result<Asked, BadAsk> {
    match client {
        Client::Page => ask::of_form(&platform::fields(body)),
        Client::Api => {
            let query = req.url().ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
            ask::of_api(&platform::fields(query.as_bytes()), body)
        }
    }
}

fn session_cookie(req: &Request, settings: &Settings) -> String {
    let value = session::issue(&settings.session_key, now());
    let seconds = session::SESSION_MS / 1_000;
    format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{}", session::COOKIE, secure(req))
}

fn expired_cookie(req: &Request) -> String {
    format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}", session::COOKIE, secure(req))
}

fn secure(req: &Request) -> &'static str {
    if req.url().is_ok_and(|url| url.scheme() == "https") { "; Secure" } else { "" }
}
