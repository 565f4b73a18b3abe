//! A thin typed layer over what the runtime gives: clock, randomness,
//! variables, bodies under a cap.
//!
//! Variables are read with `Reflect`, not through the crate: a binding that is
//! null makes the crate throw, and such an exception damages the instance.

use std::cell::OnceCell;
use std::rc::Rc;

use doorstep_shared::time::Timestamp;
use futures_util::StreamExt;
use wasm_bindgen::JsValue;
use worker::{Env, Request, Result};

/// Cap of a delivery's body when `WEBHOOK_BODY_BYTES_MAX` is not set: 1 MiB.
pub const BODY_BYTES_MAX_DEFAULT: u64 = 1024 * 1024;
/// No setting lifts the cap above this: a row of the hub holds 2 MB at most,
/// and the payload is one value of one row.
pub const BODY_BYTES_MAX_LIMIT: u64 = 1_900_000;

/// The time, which stands still between two waits for IO.
pub fn now() -> Timestamp {
    let ms = js_sys::Date::now();
    // Non-negative and below 2^53 for the next 285,000 years.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see the line above")]
    Timestamp(ms as u64)
}

/// Random bytes from the platform.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    #[cfg(target_arch = "wasm32")]
    getrandom_js::getrandom(&mut bytes).map_err(|fault| worker::Error::RustError(fault.to_string()))?;
    #[cfg(not(target_arch = "wasm32"))]
    bytes.fill(0);
    Ok(bytes)
}

/// The Worker's variables and secrets; empty where not set.
pub struct Settings {
    /// `WEBHOOK_SECRET`.
    pub webhook_secret: String,
    /// `DASHBOARD_PASSWORD`.
    pub dashboard_password: String,
    /// `SESSION_KEY`.
    pub session_key: String,
    /// `API_TOKEN`.
    pub api_token: String,
    /// `WEBHOOK_BODY_BYTES_MAX`, within its limits.
    pub body_bytes_max: u64,
    /// `SELF_HOSTED`: nothing in front says who a client is, so a header that
    /// does is the client's own word.
    pub is_self_hosted: bool,
}

thread_local! {
    /// They never change while an isolate lives: a new value is a new version of the Worker.
    static SETTINGS: OnceCell<Rc<Settings>> = const { OnceCell::new() };
}

impl Settings {
    /// Those of the bindings, which are read once.
    pub fn of(env: &Env) -> Rc<Self> {
        SETTINGS.with(|settings| Rc::clone(settings.get_or_init(|| Rc::new(Self::read(env)))))
    }

    fn read(env: &Env) -> Self {
        let body_bytes_max = variable(env, "WEBHOOK_BODY_BYTES_MAX").parse().unwrap_or(BODY_BYTES_MAX_DEFAULT);
        Self {
            webhook_secret: variable(env, "WEBHOOK_SECRET"),
            dashboard_password: variable(env, "DASHBOARD_PASSWORD"),
            session_key: variable(env, "SESSION_KEY"),
            api_token: variable(env, "API_TOKEN"),
            body_bytes_max: body_bytes_max.clamp(1, BODY_BYTES_MAX_LIMIT),
            is_self_hosted: !variable(env, "SELF_HOSTED").is_empty(),
        }
    }
}

fn variable(env: &Env, name: &str) -> String {
    let env: &JsValue = env.as_ref();
    js_sys::Reflect::get(env, &JsValue::from_str(name)).ok().and_then(|value| value.as_string()).unwrap_or_default()
}

/// A body of at most `bytes_max` bytes; `None` when it is longer. A body that
/// says its length is read whole; another one chunk by chunk.
pub async fn read_capped(req: &mut Request, length: Option<u64>, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    if length == Some(0) {
        return Ok(Some(Vec::new()));
    }
    if length.is_some_and(|bytes| bytes > bytes_max) {
        return Ok(None);
    }
    if length.is_some() {
        let body = req.bytes().await?;
        return Ok((body.len() <= max).then_some(body));
    }
    let Ok(mut stream) = req.stream() else { return Ok(Some(Vec::new())) };
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if body.len().saturating_add(chunk.len()) > max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The address that the runtime has of a request's socket: `request.cf.clientIp`.
pub fn socket_address(req: &Request) -> Option<String> {
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &JsValue::from_str(name)).ok();
    let cf = get(req.inner().as_ref(), "cf").filter(JsValue::is_object)?;
    get(&cf, "clientIp")?.as_string()
}

/// `password` and `next` of a sign-in form.
pub fn login_fields(body: &[u8]) -> (String, String) {
    let (mut password, mut next) = (String::new(), String::new());
    for (key, value) in fields(body) {
        match key.as_str() {
            "password" => password = value,
            "next" => next = value,
            _ => {}
        }
    }
    (password, next)
}

/// The fields of a form or a query.
pub fn fields(encoded: &[u8]) -> Vec<(String, String)> {
    worker::url::form_urlencoded::parse(encoded).into_owned().collect()
}
