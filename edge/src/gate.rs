//! Who asks, and whether it may: looked at before anything is done.
//!
//! Invariant: whoever changes something with a person's session sends that
//! session's form token, from one of our own pages; a bearer needs none, since
//! no page can lend one. Whether the session goes on is the hub's to know
//! ([`reply::ENDED_HEADER`]); what is refused here costs it nothing.

use worker::{Method, Request, Response, Result};

use crate::ask::{self, Field};
use crate::asker::{self, Asker, Who};
use crate::call::Client;
use crate::platform::{self, Settings};
use crate::route::{Access, Route};
use crate::session::{self, FORM_TOKEN, FORM_TOKEN_HEADER};
use crate::site::{Said, Transport};
use crate::{pages, reply};

/// A header's value, if it is there and text.
pub fn header(req: &Request, name: &str) -> Option<String> {
    req.headers().get(name).ok().flatten()
}

/// How a request came here. On a machine of one's own https ends before us, and
/// the proxy says so.
pub fn transport(req: &Request, settings: &Settings) -> Transport {
    let Ok(url) = req.url() else { return Transport::Plain };
    let first = |text: String| text.split(',').next().is_some_and(|first| first.trim().eq_ignore_ascii_case("https"));
    let is_forwarded = || settings.is_self_hosted && header(req, "x-forwarded-proto").is_some_and(first);
    Transport::of(url.scheme() == "https" || is_forwarded(), url.host_str().unwrap_or_default())
}

/// Who asks. Of what everybody may have nobody is asked who it is.
pub fn identify(req: &Request, route: &Route, settings: &Settings, transport: Transport) -> Asker {
    let signs = matches!(route, Route::Login | Route::Logout);
    if route.access() == Access::Open && !signs {
        return Asker::default();
    }
    let who = who(req, route, settings, transport);
    let form_token = match &who {
        Who::Session(hash) => session::form_token(&settings.session_key, hash),
        Who::Bearer | Who::Nobody => String::new(),
    };
    Asker { who, address: address(req, settings), agent: asker::agent(header(req, "user-agent").as_deref()), form_token }
}

fn who(req: &Request, route: &Route, settings: &Settings, transport: Transport) -> Who {
    let authorization = header(req, "authorization");
    let given = session::bearer(authorization.as_deref());
    if route.access() == Access::SignedInOrBearer && given.is_some_and(|given| session::same_secret(&settings.api_token, given)) {
        return Who::Bearer;
    }
    let cookie = header(req, "cookie");
    let token = transport.cookie().and_then(|name| session::token_of(&settings.session_key, cookie.as_deref(), name));
    token.map_or(Who::Nobody, |token| Who::Session(session::hash(&token)))
}

/// On Cloudflare a header says it; elsewhere that header is the client's own
/// word, and the socket's address is what there is.
fn address(req: &Request, settings: &Settings) -> String {
    let told = if settings.is_self_hosted { platform::socket_address(req) } else { header(req, "cf-connecting-ip") };
    asker::address(told.as_deref())
}

/// The answer to somebody who may not use this route; `None` for the others.
pub fn refuse(req: &Request, route: &Route, by: &Asker) -> Result<Option<Response>> {
    if by.who != Who::Bearer && !is_ours(req, route) {
        return reply::error(403, "other_site", "this request came from another site").map(Some);
    }
    if route.access() == Access::Open || by.who != Who::Nobody {
        return Ok(None);
    }
    stranger(route.is_page(), &here(req)).map(Some)
}

fn is_ours(req: &Request, route: &Route) -> bool {
    let is_socket = *route == Route::Live;
    if !is_socket && !route.changes() {
        return true;
    }
    let (host, origin, fetch_site) = (header(req, "host"), header(req, "origin"), header(req, "sec-fetch-site"));
    let said = Said { host: host.as_deref(), origin: origin.as_deref(), fetch_site: fetch_site.as_deref() };
    if is_socket { said.has_our_origin() } else { said.is_ours() }
}

/// Where a person goes on after signing in.
pub fn here(req: &Request) -> String {
    let path = req.path();
    match req.url().ok().and_then(|url| url.query().map(str::to_owned)) {
        _ if req.method() != Method::Get => "/".to_owned(),
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// The answer to somebody who is not signed in, or not any more.
pub fn stranger(is_page: bool, here: &str) -> Result<Response> {
    if is_page {
        let next: String = js_sys::encode_uri_component(here).into();
        return reply::redirect(&format!("/login?next={next}"), None);
    }
    reply::error(401, "not_signed_in", "sign in, or send a bearer")
}

/// The fields of a page's form without its token, which was right; or the
/// answer to one that had another. Of routes without a form there are none.
pub async fn form(req: &mut Request, route: &Route, by: &Asker) -> Result<std::result::Result<Vec<Field>, Response>> {
    let is_proved = |given: Option<&str>| session::same_secret(&by.form_token, given.unwrap_or_default());
    let wants_proof = route.changes() && *route != Route::Login && by.session().is_some();
    if !wants_proof {
        return Ok(Ok(Vec::new()));
    }
    if !route.takes_form() {
        let given = header(req, FORM_TOKEN_HEADER);
        let message = "send the form token of the session in the header x-form-token, or use a bearer";
        return Ok(if is_proved(given.as_deref()) { Ok(Vec::new()) } else { Err(reply::error(403, "form_token", message)?) });
    }
    let length = header(req, "content-length").and_then(|text| text.parse().ok());
    let Some(body) = platform::read_capped(req, length, ask::BODY_BYTES_MAX).await? else {
        return Ok(Err(reply::refused(Client::Page, 413, "body_too_large", "an ask is smaller than this")?));
    };
    let (tokens, fields): (Vec<Field>, Vec<Field>) = platform::fields(&body).into_iter().partition(|(name, _)| name == FORM_TOKEN);
    let given = tokens.first().map(|(_, value)| value.as_str());
    Ok(if is_proved(given) { Ok(fields) } else { Err(reply::page(403, pages::stale_form())?) })
}
