//! `doorstep status`: from the daemon, or from the journal when none runs.

use std::path::Path;

use crate::cli::{Exit, Failure, StatusArgs};
use crate::control::{Ordered, request};
use crate::journal::Journal;

/// Prints how the projects of this host are.
pub async fn run(args: &StatusArgs, state: &Path) -> Result<Exit, Failure> {
    let status = match request(state, &Ordered::Status, |_| {}).await? {
        Some(status) => status,
        None => from_journal(state)?,
    };
    if args.json {
        println!("{status:#}");
    } else {
        print(&status);
    }
    Ok(Exit::Ok)
}

/// What the journal knows without a daemon: what was live, and the last runs.
fn from_journal(state: &Path) -> Result<serde_json::Value, Failure> {
    let identity = crate::identity::Identity::load(state)?;
    let journal = Journal::look(state)?;
    let mut projects = Vec::new();
    if let Some(journal) = &journal {
        for name in journal.project_names()? {
            let live = journal.live_release(&name)?;
            projects.push(serde_json::json!({
                "name": name,
                "state": null,
                "live": live.as_ref().map(crate::daemon::live_view),
                "last_run": journal.last_run(&name)?,
            }));
        }
    }
    Ok(serde_json::json!({
        "daemon": null,
        "host": identity.as_ref().map(|identity| identity.host.to_string()),
        "edge": identity.as_ref().map(|identity| identity.edge.clone()),
        "link": "none",
        "projects": projects,
    }))
}

fn print(status: &serde_json::Value) {
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let daemon = if status["daemon"].is_null() { "no daemon runs".to_owned() } else { format!("daemon {}", status["daemon"]["pid"]) };
    eprintln!("host {}, edge {}, link {}, {daemon}", word(&status["host"]), word(&status["edge"]), word(&status["link"]));
    if let Some(refused) = status["refused"].as_str() {
        eprintln!("the edge refuses this host: {refused}");
    }
    if let Some(parked) = status["parked"].as_str() {
        eprintln!("no run begins: {parked}");
    }
    let empty = Vec::new();
    let projects = status["projects"].as_array().unwrap_or(&empty);
    if projects.is_empty() {
        eprintln!("no projects yet");
        return;
    }
    println!("{:<20} {:<9} {:<8} {:<28} LAST RUN", "PROJECT", "STATE", "COMMIT", "ADDRESS");
    for project in projects {
        let commit: String = word(&project["live"]["commit"]).chars().take(7).collect();
        let last = &project["last_run"];
        let last = if last.is_null() { "-".to_owned() } else { format!("{} {} ({})", word(&last["action"]), word(&last["state"]), word(&last["id"])) };
        println!("{:<20} {:<9} {:<8} {:<28} {last}", word(&project["name"]), word(&project["state"]), commit, word(&project["address"]));
        if let Some(reason) = project["reason"].as_str() {
            println!("  {reason}");
        }
    }
}
