//! Who a socket is: hosts that say hello, hosts that join, and the projects that
//! they announce.
//!
//! Invariant: nothing is written for a socket before its signature was verified,
//! or its code; a newer socket of a host replaces the older.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{self, CommitView, Holding, ProjectView, Refusal, ToExecutor, VERSION, VERSION_MIN};
use doorstep_shared::queue::{Input, LEASE_TOLD_MS};
use doorstep_shared::time::Timestamp;
use worker::{Result, WebSocket};

use super::sockets::{Attachment, attach, frame, line, refuse};
use super::{Hub, Memory, turn::Turn};
use crate::{enroll, services};
use crate::platform::now;
use crate::store::{Statement, json, number, text};

/// Who says hello, and with what.
pub(super) struct Greeting {
    pub version: u16,
    pub executor_version: String,
    pub host: Name,
    pub signature: String,
    pub journal: String,
    pub holding: Vec<Holding>,
    pub projects: Vec<ProjectView>,
    pub parked: Option<String>,
    pub started: Option<Timestamp>,
    pub booted: Option<Timestamp>,
}

impl Hub {
    pub(super) async fn hello(&self, ws: &WebSocket, attachment: Attachment, greeting: Greeting) -> Result<()> {
        if !(VERSION_MIN..=VERSION).contains(&greeting.version) {
            refuse(ws, Refusal::Version, &format!("this edge speaks versions {VERSION_MIN} to {VERSION}"));
            return Ok(());
        }
        let rows = self.store()?.rows(
            "SELECT public_key, journal, acknowledged, revoked FROM hosts WHERE name = ?",
            [text(greeting.host.as_str())],
        )?;
        let Some(known) = rows.first() else {
            refuse(ws, Refusal::Unknown, "this edge knows no host of this name; enrol it with `doorstep join`, or restore the edge's storage");
            return Ok(());
        };
        if known.number(3) != 0 || !enroll::is_host(known.text(0), &greeting.host, &attachment.nonce, &greeting.signature) {
            refuse(ws, Refusal::NotAuthorised, "this host was revoked, or its key is another one");
            return Ok(());
        }
        let acknowledged = if known.text(1) == greeting.journal { known.number(2) } else { 0 };
        self.cut_host(&greeting.host, Refusal::Replaced, "a newer connection of this host took over");
        let (parked, is_parked) = (greeting.parked.as_deref().map(line), greeting.parked.is_some());
        let believed = Attachment { host: Some(greeting.host.clone()), since: now(), parked, version: greeting.version, started: greeting.started, booted: greeting.booted, ..attachment.clone() };
        attach(ws, &believed)?;
        self.believe(ws, &attachment, believed);
        self.turn(|memory, turn| {
            let Greeting { host, executor_version, journal, holding, projects, .. } = greeting;
            // The first of the turn's frames, so it comes before the grants.
            turn.send(&host, ToExecutor::Welcome { acknowledged, lease_ms: LEASE_TOLD_MS });
            turn.write(Statement::new(
                "UPDATE hosts SET last_seen = ?, version = ?, journal = ?, acknowledged = ? WHERE name = ?",
                [number(turn.now.0), text(executor_version), text(journal), number(acknowledged), text(host.as_str())],
            ));
            announce(&host, projects, memory, turn)?;
            turn.changed();
            // Memory that was loaded for this frame counts its socket as a host's
            // already, and nothing may be granted before it is known what is held.
            turn.queue(memory, Input::Disconnected { host: host.clone() });
            turn.queue(memory, Input::Parked { host: host.clone(), parked: is_parked });
            turn.queue(memory, Input::Connected { host, holding });
            Ok(())
        })
        .await
    }

    pub(super) async fn join(&self, ws: &WebSocket, nonce: &str, code: &str, host: &Name, public_key: &str, signature: &str) -> Result<()> {
        if !enroll::holds_key(public_key, host, nonce, signature) {
            refuse(ws, Refusal::NotAuthorised, "the signature does not fit the public key");
            return Ok(());
        }
        match self.try_code(code, host, public_key).await? {
            Ok(()) => {
                frame(ws, &ToExecutor::Joined { host: host.clone() });
                let _ = ws.close(Some(1000), Some("joined"));
            }
            Err((refusal, message)) => refuse(ws, refusal, message),
        }
        Ok(())
    }

    async fn try_code(&self, code: &str, host: &Name, public_key: &str) -> Result<std::result::Result<(), (Refusal, &'static str)>> {
        const WRONG: (Refusal, &str) = (Refusal::BadCode, "the code is wrong, used or older than 10 minutes; make a new one at the dashboard");
        let Some((handle, whole)) = enroll::split(code) else { return Ok(Err(WRONG)) };
        let store = self.store()?;
        let rows = store.rows("SELECT hash, tries FROM enrollments WHERE handle = ? AND ends > ?", [text(&handle), number(now().0)])?;
        let Some(row) = rows.first() else { return Ok(Err(WRONG)) };
        if row.number(1) >= enroll::TRIES_MAX {
            return Ok(Err(WRONG));
        }
        if row.text(0) != enroll::hash(&whole) {
            store.commit(vec![Statement::new("UPDATE enrollments SET tries = tries + 1 WHERE handle = ?", [text(&handle)])])?;
            return Ok(Err(WRONG));
        }
        let taken = store.rows("SELECT 1 FROM hosts WHERE name = ? AND revoked = 0", [text(host.as_str())])?;
        if !taken.is_empty() {
            return Ok(Err((Refusal::NameTaken, "a host of this name is enrolled; choose another with --name, or revoke that one")));
        }
        self.turn(|_, turn| {
            turn.write(Statement::new("DELETE FROM enrollments WHERE handle = ?", [text(handle)]));
            turn.write(Statement::new(
                "INSERT OR REPLACE INTO hosts (name, public_key, enrolled, last_seen, version, journal, acknowledged, revoked) VALUES (?, ?, ?, ?, '', '', 0, 0)",
                [text(host.as_str()), text(public_key), number(turn.now.0), number(turn.now.0)],
            ));
            turn.changed();
            Ok(())
        })
        .await?;
        Ok(Ok(()))
    }
}

/// Replaces what is known of a host's projects.
pub(super) fn announce(host: &Name, mut projects: Vec<ProjectView>, memory: &mut Memory, turn: &mut Turn) -> Result<()> {
    projects.truncate(protocol::PROJECTS_MAX);
    let gone: Vec<(Name, Name)> = memory
        .projects
        .keys()
        .filter(|(of, name)| of == host && !projects.iter().any(|project| &project.name == name))
        .cloned()
        .collect();
    for key in gone {
        turn.write(Statement::new("DELETE FROM projects WHERE host = ? AND name = ?", [text(key.0.as_str()), text(key.1.as_str())]));
        memory.projects.remove(&key);
        turn.changed();
    }
    for project in projects.into_iter().map(made_fit) {
        let key = (host.clone(), project.name.clone());
        if memory.projects.get(&key) == Some(&project) {
            continue;
        }
        turn.write(Statement::new(
            "INSERT OR REPLACE INTO projects (host, name, body) VALUES (?, ?, ?)",
            [text(host.as_str()), text(project.name.as_str()), json(&project)?],
        ));
        turn.changed();
        memory.projects.insert(host.clone(), project);
    }
    Ok(())
}

/// A project as a page may show it and a push may be matched with it, whatever
/// its host said. A pattern that is not understood matches everything.
fn made_fit(mut project: ProjectView) -> ProjectView {
    let fit = |text: &str| doorstep_shared::text::cut(&doorstep_shared::text::clean_line(text), 1_024).to_owned();
    if project.paths.iter().any(|pattern| doorstep_shared::paths::validate(pattern).is_err()) {
        project.paths.clear();
    }
    project.repo = fit(&project.repo);
    project.branch = fit(&project.branch);
    project.reason = project.reason.as_deref().map(fit);
    project.address = project.address.as_deref().map(fit);
    project.services = services::made_fit(std::mem::take(&mut project.services));
    for live in [&mut project.live, &mut project.quarantined].into_iter().flatten() {
        live.subject = fit(&live.subject);
        live.commit = fit(&live.commit);
        live.author = fit(&live.author);
    }
    if let Some(back) = &mut project.back {
        let is_commit = |commit: &String| crate::delivery::is_commit(commit);
        back.kept.truncate(protocol::BACK_COMMITS_MAX);
        back.kept.retain(is_commit);
        back.to = back.to.take().filter(is_commit);
    }
    if let Some(behind) = &mut project.behind {
        behind.commits.truncate(protocol::BEHIND_COMMITS_MAX);
        for commit in &mut behind.commits {
            *commit = CommitView { commit: fit(&commit.commit), subject: fit(&commit.subject), author: fit(&commit.author), at: commit.at };
        }
    }
    project
}
