//! One HTTP POST from GitHub: is it believed, what does it mean, what follows.
//!
//! Pure. Order of the checks: secret, size, signature, headers, shape; nothing
//! is parsed before its signature is verified. GitHub signs the body only, so
//! the event's name is checked against the body's shape and the GUID is never
//! the only thing that tells two deliveries apart.
//!
//! Source of names and limits: GitHub's webhook documentation, "Webhook events
//! and payloads" and "Validating webhook deliveries".

use std::borrow::Cow;

use doorstep_shared::ids::Name;
use doorstep_shared::paths;
use doorstep_shared::source::Named;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::followed::Followed;

/// Most commits a push names; at this many the list may be cut (GitHub).
pub const COMMITS_MAX: usize = 2_048;
/// Longest reason why nothing follows, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest GUID and event name that is believed, in bytes; GitHub's are 36 and under 40.
pub const HEADER_BYTES_MAX: usize = 64;

/// Why a delivery is not believed, each with its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// The Worker has no secret.
    #[error("WEBHOOK_SECRET is not set, so nothing can be verified")]
    SecretNotSet,
    /// Too long.
    #[error("the body is longer than this Worker accepts")]
    TooLarge,
    /// It ended before its length, or its chunks make no sense.
    #[error("the body cannot be read: the connection ended within it, or its chunks are malformed")]
    BodyCut,
    /// No signature header.
    #[error("the X-Hub-Signature-256 header is missing; set a secret for the webhook")]
    SignatureMissing,
    /// The signature is not that of this body under this secret.
    #[error("the signature does not match; is the secret the same at GitHub and here?")]
    SignatureWrong,
    /// No event header, or not a name.
    #[error("the X-GitHub-Event header is missing or not an event's name")]
    EventMissing,
    /// No delivery header, or not a GUID.
    #[error("the X-GitHub-Delivery header is missing or not a GUID")]
    GuidMissing,
    /// Sent as a form.
    #[error("the body is a form; set the webhook's content type to application/json")]
    Form,
    /// Not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON of another shape than the event's name says.
    #[error("the body does not have the shape of the event that its header names")]
    WrongShape,
}

impl Disbelief {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::SecretNotSet => 503,
            Self::TooLarge => 413,
            Self::SignatureMissing | Self::SignatureWrong => 401,
            Self::BodyCut | Self::EventMissing | Self::GuidMissing | Self::Form | Self::NotJson | Self::WrongShape => 400,
        }
    }

    /// The code of the answer.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::SecretNotSet => "secret_not_set",
            Self::TooLarge => "body_too_large",
            Self::BodyCut => "body_cut",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureWrong => "signature_wrong",
            Self::EventMissing => "event_missing",
            Self::GuidMissing => "delivery_missing",
            Self::Form => "not_json_but_form",
            Self::NotJson => "not_json",
            Self::WrongShape => "wrong_shape",
        }
    }
}

/// Verifies `X-Hub-Signature-256` over the raw bytes, in constant time. Returns
/// the signature in lower-case hex, which tells this body from every other one:
/// nobody without the secret can make two bodies of one signature, or two
/// signatures of one body.
///
/// # Errors
///
/// When the secret is empty, or the header is missing or wrong.
pub fn verify(secret: &str, header: Option<&str>, body: &[u8]) -> Result<String, Disbelief> {
    if secret.is_empty() {
        return Err(Disbelief::SecretNotSet);
    }
    let header = header.ok_or(Disbelief::SignatureMissing)?;
    let digest = header.strip_prefix("sha256=").ok_or(Disbelief::SignatureWrong)?;
    let digest = hex::decode(digest).map_err(|_| Disbelief::SignatureWrong)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Disbelief::SecretNotSet)?;
    mac.update(body);
    mac.verify_slice(&digest).map_err(|_| Disbelief::SignatureWrong)?;
    Ok(hex::encode(digest))
}

/// The two headers that name a delivery, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-GitHub-Event`.
    pub event_type: String,
}

impl Headers {
    /// Checks both headers.
    ///
    /// # Errors
    ///
    /// When one is missing, too long or holds something else than letters,
    /// digits, `-` and `_`.
    pub fn check(event: Option<String>, guid: Option<String>) -> Result<Self, Disbelief> {
        let event_type = event.filter(|text| is_word(text)).ok_or(Disbelief::EventMissing)?;
        let guid = guid.filter(|text| is_word(text)).ok_or(Disbelief::GuidMissing)?;
        Ok(Self { guid, event_type })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= HEADER_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The part of a payload that concerns us, borrowed from the body.
#[derive(Debug, Default, Deserialize)]
pub struct Payload<'a> {
    #[serde(borrow, default)]
    repository: Option<Repository<'a>>,
    #[serde(borrow, default, rename = "ref")]
    git_ref: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    before: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
    #[serde(default)]
    deleted: Option<bool>,
    #[serde(default)]
    created: Option<bool>,
    #[serde(default)]
    forced: Option<bool>,
    #[serde(borrow, default)]
    commits: Option<Vec<Commit<'a>>>,
    #[serde(borrow, default)]
    zen: Option<Cow<'a, str>>,
    #[serde(default)]
    hook_id: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Repository<'a> {
    #[serde(borrow, default)]
    full_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    clone_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    html_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    ssh_url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    git_url: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
struct Commit<'a> {
    #[serde(borrow, default)]
    added: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    removed: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    modified: Option<Vec<Cow<'a, str>>>,
}

/// What an accepted delivery means to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name.
    pub event_type: String,
    /// `owner/name`.
    pub repo: Option<String>,
    /// The ref.
    pub git_ref: Option<String>,
    /// The commit a push ends at.
    pub commit: Option<String>,
    /// What follows.
    pub consequence: Consequence,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// GitHub only wanted to know that somebody listens.
    Pong,
    /// Deploy these projects, by host and name.
    Deploy(Vec<(Name, Name)>),
    /// Nothing, and why.
    Nothing(String),
}

/// Reads a verified body.
///
/// # Errors
///
/// When it is not JSON or not of the shape its event's name says.
pub fn derive(event_type: &str, body: &str, projects: &Followed) -> Result<Event, Disbelief> {
    let payload = read(event_type, body)?;
    let text = |value: &Option<Cow<'_, str>>| value.as_deref().map(|t| doorstep_shared::text::cut(t, 256).to_owned());
    let consequence = match event_type {
        "ping" => Consequence::Pong,
        "push" => consequence_of_push(&payload, projects),
        other => Consequence::Nothing(format!("`{other}` events start nothing")),
    };
    Ok(Event {
        event_type: event_type.to_owned(),
        repo: payload.repository.as_ref().and_then(|r| text(&r.full_name)),
        git_ref: text(&payload.git_ref),
        commit: payload.after.as_deref().filter(|c| is_commit(c)).map(str::to_owned),
        consequence,
    })
}

fn read<'a>(event_type: &str, body: &'a str) -> Result<Payload<'a>, Disbelief> {
    if body.starts_with("payload=") {
        return Err(Disbelief::Form);
    }
    let payload: Payload<'a> = serde_json::from_str(body).map_err(|fault| match fault.classify() {
        serde_json::error::Category::Data => Disbelief::WrongShape,
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            Disbelief::NotJson
        }
    })?;
    // `serde` reads a list as a struct; GitHub never sends one.
    if !body.trim_start().starts_with('{') {
        return Err(Disbelief::WrongShape);
    }
    let names_repository = payload.repository.as_ref().is_some_and(|r| r.full_name.is_some());
    let is_push = payload.git_ref.is_some() && payload.before.is_some() && payload.after.as_deref().is_some_and(is_commit);
    let is_ping = payload.zen.is_some() || payload.hook_id.is_some();
    let fits = match event_type {
        "push" => is_push && names_repository && !is_ping,
        "ping" => is_ping && !is_push,
        // A push under another name would be dropped, and its body remembered.
        _ => !(is_push && payload.commits.is_some()),
    };
    if fits { Ok(payload) } else { Err(Disbelief::WrongShape) }
}

/// Is this a commit's id, 40 or 64 hex digits?
#[must_use]
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn consequence_of_push(payload: &Payload<'_>, projects: &Followed) -> Consequence {
    let git_ref = payload.git_ref.as_deref().unwrap_or_default();
    let Some(branch) = git_ref.strip_prefix("refs/heads/") else {
        return Consequence::Nothing(format!("{} is not a branch; only branches are deployed", shown(git_ref)));
    };
    if payload.deleted == Some(true) || payload.after.as_deref().is_some_and(|c| c.bytes().all(|b| b == b'0')) {
        return Consequence::Nothing(format!("branch {} was deleted", shown(branch)));
    }
    let named = named(payload);
    let mut jobs = Vec::new();
    let (mut branches, mut unmoved) = (Vec::new(), Vec::new());
    for (host, project) in projects.of_repository(&named) {
        if project.branch != branch {
            branches.push(format!("{} follows {}", project.name, project.branch));
        } else if touches(payload, &project.paths) {
            jobs.push((host.clone(), project.name.clone()));
        } else {
            unmoved.push(project.name.to_string());
        }
    }
    if !jobs.is_empty() {
        return Consequence::Deploy(jobs);
    }
    let why = match (branches.is_empty(), unmoved.is_empty()) {
        (_, false) => format!("no changed path matches `paths` of {}", unmoved.join(", ")),
        (false, true) => format!("no project follows branch {} ({})", shown(branch), branches.join(", ")),
        (true, true) => format!("no project follows {}", shown(named.full_name)),
    };
    // One host may name 200 projects; a row holds 2 MB, and the payload is in it too.
    Consequence::Nothing(doorstep_shared::text::cut(&why, REASON_BYTES_MAX).to_owned())
}

fn shown(text: &str) -> &str {
    doorstep_shared::text::cut(text, 120)
}

fn named<'a>(payload: &'a Payload<'_>) -> Named<'a> {
    let Some(repository) = &payload.repository else { return Named::default() };
    let addresses = [&repository.clone_url, &repository.html_url, &repository.ssh_url, &repository.git_url];
    Named {
        full_name: repository.full_name.as_deref().unwrap_or_default(),
        addresses: addresses.into_iter().filter_map(Option::as_deref).collect(),
    }
}

/// Does the push touch these paths? In doubt it does: a created branch, a
/// forced push and a list that may be cut do not name every changed file.
fn touches(payload: &Payload<'_>, patterns: &[String]) -> bool {
    let commits = payload.commits.as_deref().unwrap_or_default();
    let in_doubt = commits.is_empty()
        || commits.len() >= COMMITS_MAX
        || payload.created == Some(true)
        || payload.forced == Some(true)
        || commits.iter().any(|c| c.added.is_none() && c.removed.is_none() && c.modified.is_none());
    let changed = commits
        .iter()
        .flat_map(|c| [&c.added, &c.removed, &c.modified])
        .flatten()
        .flatten()
        .map(Cow::as_ref);
    in_doubt || paths::any_match(patterns, changed)
}

#[cfg(test)]
mod tests;
