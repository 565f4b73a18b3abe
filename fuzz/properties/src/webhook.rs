//! A delivery: its signature, its headers, and what follows from its body.
//!
//! The input is the event's name, a line of `paths` patterns with a tab between
//! two, and the body. Two hosts have announced three projects; one of them has
//! those patterns, made fit as the hub does it.

use std::collections::BTreeSet;

use doorstep_edge::delivery::{Consequence, Disbelief, Event, HEADER_BYTES_MAX, Headers, derive, verify};
use doorstep_shared::ids::{Name, ProjectState};
use doorstep_shared::paths;
use doorstep_shared::protocol::ProjectView;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::halves;

const SECRET: &str = "It's a Secret to Everybody";
/// Longest text of an event that is kept, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// Verifies and derives one delivery.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (event_type, rest) = halves(text, "\n");
    let (patterns, body) = halves(rest, "\n");
    signature(event_type, body.as_bytes());
    headers(event_type, patterns);

    let mut patterns: Vec<String> = patterns.split('\t').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    if patterns.iter().any(|pattern| paths::validate(pattern).is_err()) {
        patterns.clear();
    }
    let fleet = fleet(patterns);
    let followed = fleet.iter().cloned().collect();
    match derive(event_type, body, &followed) {
        Ok(event) => {
            follows(&event, event_type, body, &fleet);
            let again = derive(event_type, body, &followed);
            assert_eq!(again, Ok(event), "the same delivery means the same");
        }
        Err(disbelief) => {
            let of_a_body = matches!(disbelief, Disbelief::Form | Disbelief::NotJson | Disbelief::WrongShape);
            assert!(of_a_body && disbelief.status() == 400, "{disbelief:?} of a body");
        }
    }
}

fn fleet(patterns: Vec<String>) -> Vec<(Name, ProjectView)> {
    let made = [
        ("attic", "shop", "https://github.com/me/shop", "main", patterns),
        ("attic", "all", "git@github.com:Me/Shop.git", "main", vec![]),
        ("cellar", "site", "/srv/git/shop.git", "release/2", vec!["docs/**".to_owned()]),
    ];
    made.into_iter().filter_map(|(host, name, repo, branch, paths)| project(host, name, repo, branch, paths)).collect()
}

fn project(host: &str, name: &str, repo: &str, branch: &str, paths: Vec<String>) -> Option<(Name, ProjectView)> {
    let view = ProjectView {
        name: name.parse().ok()?,
        repo: repo.to_owned(),
        branch: branch.to_owned(),
        paths,
        remote: vec![],
        state: ProjectState::Running,
        reason: None,
        live: None,
        address: None,
        shows_logs: false,
        services: Vec::new(),
        behind: None,
        quarantined: None,
        back: None,
    };
    Some((host.parse().ok()?, view))
}

/// Only the signature of these bytes under this secret is believed.
fn signature(header: &str, body: &[u8]) {
    let right = signed(body);
    assert_eq!(verify(SECRET, Some(&right), body).as_deref(), Ok(&right["sha256=".len()..]), "GitHub's own signature");
    let told = verify(SECRET, Some(header), body);
    let believed = told.is_ok();
    assert!(told.is_err() || told == verify(SECRET, Some(&right), body), "one body, two names");
    assert_eq!(believed, header.eq_ignore_ascii_case(&right) && header.starts_with("sha256="), "{header}");
    let mut other = body.to_vec();
    match other.last_mut() {
        Some(last) => *last ^= 1,
        None => other.push(0),
    }
    assert_eq!(verify(SECRET, Some(&right), &other), Err(Disbelief::SignatureWrong), "of another body");
    assert_eq!(verify("", Some(&right), body), Err(Disbelief::SecretNotSet), "under no secret");
}

fn signed(body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).map(|mac| mac.chain_update(body));
    mac.map(|mac| format!("sha256={}", hex::encode(mac.finalize().into_bytes()))).unwrap_or_default()
}

fn headers(event: &str, guid: &str) {
    let Ok(headers) = Headers::check(Some(event.to_owned()), Some(guid.to_owned())) else { return };
    for text in [&headers.event_type, &headers.guid] {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        assert!(plain && (1..=HEADER_BYTES_MAX).contains(&text.len()), "{text:?} is believed as a header");
    }
}

/// What follows from an event that was derived.
fn follows(event: &Event, event_type: &str, body: &str, fleet: &[(Name, ProjectView)]) {
    assert_eq!(event.event_type, event_type);
    assert!(body.trim_start().starts_with('{'), "a body that is no object was read");
    for text in [&event.repo, &event.git_ref].into_iter().flatten() {
        assert!(text.len() <= SHOWN_BYTES_MAX, "a text of {} bytes is kept", text.len());
    }
    if let Some(commit) = &event.commit {
        let hex = commit.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(hex && matches!(commit.len(), 40 | 64), "{commit:?} is kept as a commit");
    }
    let jobs = match &event.consequence {
        Consequence::Pong => return assert_eq!(event_type, "ping"),
        Consequence::Nothing(reason) => return assert!(!reason.is_empty(), "nothing follows, and nobody knows why"),
        Consequence::Deploy(jobs) => jobs,
    };
    assert_eq!(event_type, "push", "only a push deploys");
    let git_ref = event.git_ref.as_deref().unwrap_or_default();
    let branch = git_ref.strip_prefix("refs/heads/").unwrap_or_default();
    let chosen: BTreeSet<&(Name, Name)> = jobs.iter().collect();
    assert!(!jobs.is_empty() && chosen.len() == jobs.len(), "{jobs:?}");
    for (host, name) in jobs {
        let known = fleet.iter().find(|(h, project)| h == host && &project.name == name);
        let follows = known.is_some_and(|(_, project)| project.branch == branch);
        assert!(follows, "{host}/{name} does not follow {git_ref}");
    }
    // Patterns only ever take away.
    let picked = |name: &str| jobs.iter().any(|(_, project)| project.as_str() == name);
    assert!(picked("all") || !picked("shop"), "patterns matched where none did not");
}
