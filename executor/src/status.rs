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
        say!("{status:#}");
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
                "quarantined": crate::daemon::quarantined(journal, &name),
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
    say!("{:<20} {:<9} {:<8} {:<28} LAST RUN", "PROJECT", "STATE", "COMMIT", "ADDRESS");
    for project in projects {
        let commit: String = word(&project["live"]["commit"]).chars().take(7).collect();
        let last = &project["last_run"];
        let last = if last.is_null() { "-".to_owned() } else { format!("{} {} ({})", word(&last["action"]), if last["failure"]["kind"] == "cancelled" { "cancelled".to_owned() } else { word(&last["state"]) }, word(&last["id"])) };
        say!("{:<20} {:<9} {:<8} {:<28} {last}", word(&project["name"]), word(&project["state"]), commit, word(&project["address"]));
        if let Some(reason) = project["reason"].as_str() {
            say!("  {reason}");
        }
        if let Some(release) = project["quarantined"]["release"].as_u64() {
            let commit: String = word(&project["quarantined"]["commit"]).chars().take(7).collect();
            say!("  the branch is at {commit}, which was bad here as release {release}; only a person brings it back");
        }
        if let Some(used) = usage(project) {
            say!("  {used}");
        }
        for service in project["services"].as_array().unwrap_or(&empty) {
            say!("  {}", of_service(service));
        }
    }
}

/// A service of a compose project, in a line.
fn of_service(service: &serde_json::Value) -> String {
    let text = |key: &str| service[key].as_str().unwrap_or_default().to_owned();
    let health = service["health"].as_str().map(|health| format!(", {health}")).unwrap_or_default();
    let code = service["exit_code"].as_i64().map(|code| format!(" with {code}")).unwrap_or_default();
    let ports: Vec<&str> = service["ports"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
    let state = format!("{}{code}{health}", text("state"));
    let state = match (service["known_until"].is_null(), service["stopped"] == true && !matches!(text("state").as_str(), "running" | "restarting" | "paused")) {
        (true, true) => "stopped".to_owned(),
        (true, false) => state,
        (false, _) => format!("unknown, last {state}"),
    };
    let line = format!("{:<18} {state:<22} {:<28} {}", text("name"), text("image"), ports.join(" "));
    let used = usage(service).map(|used| format!("\n    {used}")).unwrap_or_default();
    format!("{}{used}", line.trim_end())
}

/// What a project's processes use, in a line.
fn usage(project: &serde_json::Value) -> Option<String> {
    let used = project["usage"].as_object()?;
    let number = |key: &str| used.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
    let (up_ms, cpu_ms) = (number("up_ms"), number("cpu_ms"));
    let processes = match number("processes") {
        1 => String::new(),
        many => format!(" in {many} processes"),
    };
    let restarts = match project["restarts"].as_u64() {
        None | Some(0) => String::new(),
        Some(1) => ", started again once".to_owned(),
        Some(many) => format!(", started again {many} times"),
    };
    // In tenths of a percent of one core.
    let share = cpu_ms.saturating_mul(1_000) / up_ms.max(1);
    Some(format!("up {}, {} MiB{processes}, {}.{} % of a core{restarts}", up(up_ms), number("memory_bytes") / (1024 * 1024), share / 10, share % 10))
}

/// A length of time in its two largest units.
fn up(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{} s", ms / 1_000),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_said_in_a_line() {
        let project = serde_json::json!({
            "usage": {"processes": 3, "memory_bytes": 50 * 1024 * 1024, "cpu_ms": 4_000, "up_ms": 1_000_000},
            "restarts": 2,
        });
        assert_eq!(usage(&project).unwrap(), "up 16 min, 50 MiB in 3 processes, 0.4 % of a core, started again 2 times");
        assert_eq!(usage(&serde_json::json!({"usage": null})), None);
        let service = serde_json::json!({"name": "web", "state": "exited", "exit_code": 3, "image": "web:1", "ports": ["127.0.0.1:80->80/tcp"], "usage": null});
        assert_eq!(of_service(&service), "web                exited with 3          web:1                        127.0.0.1:80->80/tcp");
        let stopped = serde_json::json!({"name": "web", "state": "exited", "exit_code": 137, "image": "web:1", "stopped": true});
        assert_eq!(of_service(&stopped), "web                stopped                web:1");
        let unknown = serde_json::json!({"name": "web", "state": "running", "health": "healthy", "image": "web:1", "known_until": 7});
        assert_eq!(of_service(&unknown), "web                unknown, last running, healthy web:1");
        let times = [59_000, 60_000, 3_660_000, 90_000_000].map(up);
        assert_eq!(times, ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
