//! The edge: a Cloudflare Worker in front of one Durable Object, the hub.
//!
//! The Worker (this file, `gate`, `sign_in`, `receive`) is stateless: it routes,
//! reads bodies under a cap, verifies GitHub's signature and that a cookie is one
//! of ours, and hands what is believed to the [`hub`]. Nothing unsigned and nobody
//! unknown costs the hub more than a note.
//!
//! `route`, `ask`, `asker`, `audit`, `delivery`, `followed`, `quota`, `services`,
//! `session`, `site`, `throttle`, `enroll`, `fares`, `health`, `used`, `view` and `pages` are pure
//! and tested natively; they never use the platform. What is absent: anything
//! that could make a host run a command.

pub mod ask;
pub mod asker;
pub mod audit;
pub mod delivery;
pub mod enroll;
pub mod fares;
pub mod followed;
pub mod health;
pub mod kept;
pub mod lasting;
pub mod pages;
pub mod quota;
pub mod route;
pub mod services;
pub mod session;
pub mod site;
pub mod throttle;
pub mod used;
pub mod view;

pub mod call;
mod gate;
#[expect(missing_docs, reason = "the macro of the Durable Object makes public items without any")]
mod hub;
mod platform;
mod receive;
mod reply;
mod sign_in;
mod store;

use doorstep_shared::ids::{Action, Name};
use route::Route;
use worker::{Context, Env, Method, Request, Response, Result, console_error, event};

use ask::{Ask, Asked, BadAsk, Field};
use asker::Asker;
use call::{Call, Client};
use gate::header;
use platform::Settings;
use site::Transport;

pub use hub::Hub;

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

async fn serve(mut req: Request, env: &Env) -> Result<Response> {
    let settings = Settings::of(env);
    let route = route::route(&method_name(&req), &req.path());
    let transport = gate::transport(&req, &settings);
    // On Cloudflare the platform does it.
    let is_compressed = settings.is_self_hosted && route.may_be_compressed() && takes_gzip(&req);
    let by = gate::identify(&req, &route, &settings, transport);
    let answer = match gate::refuse(&req, &route, &by)? {
        Some(refusal) => refusal,
        None => match gate::form(&mut req, &route, &by).await? {
            Ok(fields) => admitted(req, env, &settings, route, Admitted { by, transport, fields }).await?,
            Err(refusal) => refusal,
        },
    };
    let answer = if is_compressed { reply::compressed(answer)? } else { answer };
    if transport.is_https() { reply::over_https(answer) } else { Ok(answer) }
}

/// Somebody who may ask for what it asks for, unless its session has ended.
struct Admitted {
    by: Asker,
    transport: Transport,
    /// What its form holds, if there is one.
    fields: Vec<Field>,
}

async fn admitted(req: Request, env: &Env, settings: &Settings, route: Route, admitted: Admitted) -> Result<Response> {
    let (is_page, here) = (route.is_page(), gate::here(&req));
    let answer = answer(req, env, settings, route, admitted).await?;
    if answer.headers().has(reply::ENDED_HEADER)? { gate::stranger(is_page, &here) } else { Ok(answer) }
}

async fn answer(req: Request, env: &Env, settings: &Settings, route: Route, Admitted { by, transport, fields }: Admitted) -> Result<Response> {
    match route {
        Route::Deliver => receive::deliver(req, env, settings).await,
        Route::Executor | Route::Live => socket(req, env, &by, route == Route::Live).await,
        Route::Healthz => reply::json(200, &serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})),
        Route::Asset(asset, is_hashed) => reply::asset(asset, is_hashed),
        Route::LoginPage => sign_in::page(&req, transport),
        Route::Login => sign_in::sign_in(req, env, settings, &by, transport).await,
        Route::Logout => sign_in::sign_out(env, Call::SignOut, &by, transport).await,
        Route::EndAllSessions => sign_in::sign_out(env, Call::EndAllSessions, &by, transport).await,
        Route::Unknown if wants_page(&req) => {
            reply::page(404, pages::problem(404, "Not here", "There is no page at this address."))
        }
        Route::Unknown => reply::error(404, "not_found", "there is nothing at this address"),
        Route::WrongMethod(allowed) => reply::wrong_method(allowed),
        Route::Act(host, project, action) => act(ask::of_form(&fields), env, &by, form_client(&req), (host, project, action)).await,
        Route::ApiAct(host, project, action) => api_act(req, env, &by, (host, project, action)).await,
        other => match call_of(other, &req, transport) {
            Some(call) => call.ask(env, &by).await,
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
fn call_of(route: Route, req: &Request, transport: Transport) -> Option<Call> {
    Some(match route {
        Route::Fleet => Call::FleetPage { have: have(req) },
        Route::Project(host, project) => match req.query::<call::RunsQuery>() {
            Ok(query) => Call::ProjectPage { host, project, before: query.before },
            Err(_) => Call::BadQuery(Client::Page),
        },
        Route::Run(id) => Call::RunPage { id, have: have(req) },
        Route::Deliveries => match req.query::<call::EventsQuery>() {
            Ok(query) if query.is_good() => Call::DeliveriesPage(query),
            _ => Call::BadQuery(Client::Page),
        },
        Route::Delivery(id) => Call::DeliveryPage { id },
        Route::Containers => Call::ContainersPage,
        Route::ApiContainers => Call::Containers,
        Route::WebhookHealth => Call::Health,
        Route::Events => match req.query::<call::EventsQuery>() {
            Ok(query) if query.is_good() => Call::Events(query),
            _ => Call::BadQuery(Client::Api),
        },
        Route::Event(id) => Call::Event { id },
        Route::Replay(id) => Call::Replay { id, client: Client::Page },
        Route::ApiReplay(id) => Call::Replay { id, client: Client::Api },
        Route::ApiHosts => Call::Hosts,
        Route::ApiProjects => Call::Projects,
        Route::ApiRuns => req.query::<call::RunsQuery>().map(Call::Runs).unwrap_or(Call::BadQuery(Client::Api)),
        Route::ApiRun(id) => Call::Run { id },
        Route::ApiRunLog(id) => match req.query::<call::LogQuery>() {
            Ok(query) if query.is_good() => Call::RunLog { id, query },
            _ => Call::BadQuery(Client::Api),
        },
        Route::ApiJobs => match req.query::<call::JobsQuery>() {
            Ok(query) if query.is_good() => Call::Jobs(query),
            _ => Call::BadQuery(Client::Api),
        },
        Route::Cancel(job) => Call::Cancel { job, client: Client::Page },
        Route::ApiCancel(job) => Call::Cancel { job, client: Client::Api },
        Route::Revive(job) => Call::Revive { job, client: Client::Page },
        Route::ApiRevive(job) => Call::Revive { job, client: Client::Api },
        Route::ActAll(host, action) => Call::ActAll { host, action, client: Client::Page },
        Route::ApiActAll(host, action) => Call::ActAll { host, action, client: Client::Api },
        Route::Enroll => Call::Enroll { origin: origin_of(req, transport), client: Client::Page },
        Route::ApiEnroll => Call::Enroll { origin: origin_of(req, transport), client: Client::Api },
        Route::Revoke(host) => Call::Revoke { host, client: Client::Page },
        Route::ApiRevoke(host) => Call::Revoke { host, client: Client::Api },
        Route::Audit => req.query().map(Call::AuditPage).unwrap_or(Call::BadQuery(Client::Page)),
        Route::ApiAudit => req.query().map(Call::Audit).unwrap_or(Call::BadQuery(Client::Api)),
        Route::Settings => Call::SettingsPage,
        Route::Hosts => Call::HostsPage,
        Route::ApiSessions => Call::Sessions,
        Route::EndSession(handle) => Call::EndSession { handle, client: Client::Page },
        Route::ApiEndSession(handle) => Call::EndSession { handle, client: Client::Api },
        Route::ApiUsage => Call::Usage,
        Route::Deliver
        | Route::Act(..)
        | Route::ApiAct(..)
        | Route::Healthz
        | Route::LoginPage
        | Route::Login
        | Route::Logout
        | Route::EndAllSessions
        | Route::Asset(..)
        | Route::Live
        | Route::Executor
        | Route::WrongMethod(_)
        | Route::Unknown => return None,
    })
}

/// The parts of a page that its reader says it has; the script says so.
fn have(req: &Request) -> Option<Vec<String>> {
    let said = header(req, call::HAVE_HEADER)?;
    Some(said.split_ascii_whitespace().take(pages::HAVE_MAX).map(str::to_owned).collect())
}

fn takes_gzip(req: &Request) -> bool {
    let is_never = |part: &str| part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0);
    let is_gzip = |coding: &str| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(is_never)
    };
    header(req, "accept-encoding").is_some_and(|codings| codings.split(',').any(is_gzip))
}

fn wants_page(req: &Request) -> bool {
    header(req, "accept").is_some_and(|accept| accept.contains("text/html"))
}

/// Who reads the answer to a form: the script of a page says what it takes.
fn form_client(req: &Request) -> Client {
    let is_script = header(req, "accept").is_some_and(|accept| accept.starts_with("application/json"));
    if is_script { Client::Api } else { Client::Page }
}

/// The edge's address as the asker wrote it; where https ends before us the
/// request itself does not say so.
fn origin_of(req: &Request, transport: Transport) -> String {
    let origin = req.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    match origin.strip_prefix("http://") {
        Some(rest) if transport.is_https() => format!("https://{rest}"),
        _ => origin,
    }
}

async fn socket(req: Request, env: &Env, by: &Asker, is_live: bool) -> Result<Response> {
    let upgrade = header(&req, "upgrade").unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return reply::error(426, "upgrade_required", "this address speaks WebSocket only");
    }
    let kind = if is_live { "live" } else { "executor" };
    call::hub(env)?.fetch_with_request(call::socket_request(kind, &req, by)?).await
}

async fn api_act(mut req: Request, env: &Env, by: &Asker, of: (Name, Name, Action)) -> Result<Response> {
    let length = header(&req, "content-length").and_then(|text| text.parse().ok());
    let Some(body) = platform::read_capped(&mut req, length, ask::BODY_BYTES_MAX).await? else {
        return reply::error(413, "body_too_large", "an ask is smaller than this");
    };
    let query = req.url().ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
    act(ask::of_api(&platform::fields(query.as_bytes()), &body), env, by, Client::Api, of).await
}

async fn act(asked: std::result::Result<Asked, BadAsk>, env: &Env, by: &Asker, client: Client, of: (Name, Name, Action)) -> Result<Response> {
    let (host, project, action) = of;
    match asked {
        Ok(Asked { service, commit, back }) => Call::Act { host, project, wanted: Ask { action, service, commit }, client, back }.ask(env, by).await,
        Err(bad) => reply::refused(client, 400, "bad_ask", &bad.to_string()),
    }
}
