//! A GitHub with state: the heads of its repositories, one webhook, and every
//! delivery it made.
//!
//! Payloads have the shape of GitHub's documentation ("Webhook events and
//! payloads"), with the parts that nobody reads left out. Deliveries are
//! signed as GitHub signs them ("Validating webhook deliveries").

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Push;
use crate::push::Commit;

const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
/// Seconds since the epoch of the first thing that happens here.
const FIRST_SECOND: u64 = 1_795_000_000;

/// GitHub, as far as a webhook sees it.
#[derive(Debug)]
pub struct GitHub {
    secret: String,
    hook_id: u64,
    /// Heads by `owner/name` and ref.
    heads: BTreeMap<(String, String), String>,
    deliveries: Vec<Delivery>,
    /// Tells this GitHub's GUIDs from every other's.
    seed: [u8; 16],
    happened: u64,
}

/// One delivery, as it is sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// `X-Hub-Signature-256`.
    pub signature: String,
    /// `X-GitHub-Hook-ID`.
    pub hook_id: String,
}

/// `sha256=…` of a body under a secret.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

impl Delivery {
    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> [(&str, &str); 6] {
        [
            ("user-agent", "GitHub-Hookshot/0123abc"),
            ("content-type", "application/json"),
            ("x-github-event", &self.event),
            ("x-github-delivery", &self.guid),
            ("x-github-hook-id", &self.hook_id),
            ("x-hub-signature-256", &self.signature),
        ]
    }

    /// The commit a push ends at.
    #[must_use]
    pub fn commit(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["after"].as_str().unwrap_or_default().to_owned()
    }
}

impl GitHub {
    /// A GitHub whose webhook has this secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let mut seed = [0u8; 16];
        getrandom::fill(&mut seed).unwrap();
        Self {
            secret: secret.to_owned(),
            hook_id: 512_334_455,
            heads: BTreeMap::new(),
            deliveries: Vec::new(),
            seed,
            happened: 0,
        }
    }

    /// Somebody pushes: the head moves and a delivery is made.
    pub fn push(&mut self, repo: &str, push: Push) -> Delivery {
        let key = (repo.to_owned(), push.git_ref.clone());
        let before = self.heads.get(&key).cloned().unwrap_or_else(|| NO_COMMIT.to_owned());
        let commits: Vec<Value> = push.commits.iter().map(|commit| self.commit(repo, commit)).collect();
        let after = if push.deleted { NO_COMMIT.to_owned() } else { push.after.unwrap_or_else(|| self.made_up()) };
        if push.deleted {
            self.heads.remove(&key);
        } else {
            self.heads.insert(key, after.clone());
        }
        let mut commits = commits;
        if let Some(last) = commits.last_mut() {
            last["id"] = after.as_str().into();
        }
        let body = json!({
            "ref": push.git_ref,
            "before": before,
            "after": after,
            "repository": self.repository(repo),
            "pusher": {"name": owner(repo), "email": format!("{}@users.noreply.github.com", owner(repo))},
            "sender": user(owner(repo)),
            "created": before == NO_COMMIT && !push.deleted,
            "deleted": push.deleted,
            "forced": push.forced,
            "base_ref": null,
            "compare": format!("https://github.com/{repo}/compare/{}...{}", &before[..12], &after[..12]),
            "commits": commits,
            "head_commit": commits.last().cloned(),
        });
        self.deliver("push", &body)
    }

    /// The webhook was made, or somebody pressed "ping".
    pub fn ping(&mut self, repo: &str) -> Delivery {
        let body = json!({
            "zen": "Approachable is better than simple.",
            "hook_id": self.hook_id,
            "hook": {
                "type": "Repository", "id": self.hook_id, "name": "web", "active": true, "events": ["push"],
                "config": {"content_type": "json", "insecure_ssl": "0", "secret": "********"},
            },
            "repository": self.repository(repo),
            "sender": user(owner(repo)),
        });
        self.deliver("ping", &body)
    }

    /// Somebody opened an issue.
    pub fn issue(&mut self, repo: &str, title: &str) -> Delivery {
        let body = json!({
            "action": "opened",
            "issue": {"number": self.happened + 1, "title": title, "state": "open", "user": user(owner(repo))},
            "repository": self.repository(repo),
            "sender": user(owner(repo)),
        });
        self.deliver("issues", &body)
    }

    /// The `create` event that GitHub sends besides the push of a new branch.
    pub fn branch_created(&mut self, repo: &str, branch: &str) -> Delivery {
        self.ref_event("create", repo, branch)
    }

    /// The `delete` event that GitHub sends besides the push that deletes a branch.
    pub fn branch_deleted(&mut self, repo: &str, branch: &str) -> Delivery {
        self.ref_event("delete", repo, branch)
    }

    fn ref_event(&mut self, event: &str, repo: &str, branch: &str) -> Delivery {
        let body = json!({
            "ref": branch, "ref_type": "branch", "master_branch": "main", "pusher_type": "user",
            "repository": self.repository(repo),
            "sender": user(owner(repo)),
        });
        self.deliver(event, &body)
    }

    /// Sends a delivery again, as its "Redeliver" button does: same GUID, same body.
    #[must_use]
    pub fn redeliver(&self, guid: &str) -> Delivery {
        let sent = self.deliveries.iter().find(|delivery| delivery.guid == guid);
        sent.unwrap_or_else(|| panic!("no delivery {guid} was made")).clone()
    }

    /// A delivery of any bytes under any name, properly signed.
    pub fn deliver_bytes(&mut self, event: &str, body: impl Into<Vec<u8>>) -> Delivery {
        let body = body.into();
        let guid = self.guid();
        let signature = signature(&self.secret, &body);
        let delivery = Delivery { guid, event: event.to_owned(), body, signature, hook_id: self.hook_id.to_string() };
        self.deliveries.push(delivery.clone());
        delivery
    }

    fn deliver(&mut self, event: &str, body: &Value) -> Delivery {
        self.deliver_bytes(event, body.to_string())
    }

    fn commit(&mut self, repo: &str, commit: &Commit) -> Value {
        let id = self.made_up();
        let author = json!({"name": "Ann", "email": "ann@example.org", "username": owner(repo)});
        json!({
            "id": id,
            "tree_id": self.made_up(),
            "distinct": true,
            "message": commit.message,
            "timestamp": "2026-11-18T10:00:00+01:00",
            "url": format!("https://github.com/{repo}/commit/{id}"),
            "author": author,
            "committer": author,
            "added": commit.added,
            "removed": commit.removed,
            "modified": commit.modified,
        })
    }

    fn repository(&mut self, repo: &str) -> Value {
        self.happened += 1;
        let name = repo.rsplit('/').next().unwrap_or_default();
        json!({
            "id": 186_853_002,
            "name": name,
            "full_name": repo,
            "private": false,
            "owner": user(owner(repo)),
            "html_url": format!("https://github.com/{repo}"),
            "url": format!("https://api.github.com/repos/{repo}"),
            "clone_url": format!("https://github.com/{repo}.git"),
            "git_url": format!("git://github.com/{repo}.git"),
            "ssh_url": format!("git@github.com:{repo}.git"),
            "svn_url": format!("https://github.com/{repo}"),
            "fork": false,
            "default_branch": "main",
            // What makes two bodies differ that say the same otherwise.
            "pushed_at": FIRST_SECOND + self.happened,
        })
    }

    /// 40 hex digits that were never seen before.
    fn made_up(&mut self) -> String {
        hex::encode(self.fresh()).chars().take(40).collect()
    }

    fn guid(&mut self) -> String {
        let text = hex::encode(self.fresh());
        format!("{}-{}-11f0-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..28])
    }

    fn fresh(&mut self) -> [u8; 32] {
        self.happened += 1;
        let mut digest = Sha256::new();
        digest.update(self.seed);
        digest.update(self.happened.to_le_bytes());
        digest.finalize().into()
    }
}

fn owner(repo: &str) -> &str {
    repo.split('/').next().unwrap_or_default()
}

fn user(login: &str) -> Value {
    json!({
        "login": login, "id": 21_031_067, "type": "User", "site_admin": false,
        "html_url": format!("https://github.com/{login}"),
        "url": format!("https://api.github.com/users/{login}"),
    })
}
