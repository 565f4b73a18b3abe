//! How everything is, for the edge and for `doorstep status`.

use doorstep_shared::ids::{Action, ProjectState};
use doorstep_shared::link::Link;
use doorstep_shared::protocol::{BACK_COMMITS_MAX, BackView, LiveView, ProjectView};
use doorstep_shared::text::{clean_line, cut};
use doorstep_shared::time::Timestamp;

use crate::config::Project;
use crate::identity::Identity;
use crate::journal::{Journal, Release, ReleaseState, to_go_back_to};
use crate::run::Shared;
use crate::supervisor::listen_of;
use crate::usage;

/// Longest subject and reason, in bytes: 200 projects × (2 × 200 and some 400
/// of names, addresses and commits) = 160 KiB of a frame's 256.
pub const SUBJECT_BYTES_MAX: usize = 200;
/// Longest list of projects, in bytes.
pub const VIEWS_BYTES_MAX: usize = 200 * 1024;

/// Every project, as the edge is told.
pub fn projects(shared: &Shared, parked: Option<&str>) -> Vec<ProjectView> {
    let mut views: Vec<ProjectView> = shared.config.projects.values().filter_map(|project| view(shared, project)).collect();
    if let Some(why) = parked {
        views.iter_mut().for_each(|view| degrade(view, why));
    }
    fit(&mut views);
    views
}

/// Cuts what a frame does not hold, the least needed first. Without its patterns
/// a project deploys in doubt.
fn fit(views: &mut [ProjectView]) {
    let cuts: [fn(&mut ProjectView); 4] = [
        |view| view.services.iter_mut().for_each(|service| {
            service.ports.clear();
            service.digest = None;
            service.image.clear();
        }),
        |view| view.services.clear(),
        |view| (view.behind, view.back) = (None, None),
        |view| {
            view.paths.clear();
            view.reason = None;
        },
    ];
    for cut in cuts {
        if serde_json::to_string(views).map_or(0, |text| text.len()) <= VIEWS_BYTES_MAX {
            return;
        }
        views.iter_mut().for_each(cut);
    }
}

/// On a parked host the app serves on, and nothing new can be deployed. What is
/// wrong with an app for another reason keeps that reason.
fn degrade(view: &mut ProjectView, why: &str) {
    if view.state == ProjectState::Running {
        view.state = ProjectState::Degraded;
        view.reason = Some(cut(&clean_line(why), SUBJECT_BYTES_MAX).to_owned());
    }
}

fn view(shared: &Shared, project: &Project) -> Option<ProjectView> {
    let (state, reason) = shared.supervisor.project_state(project);
    let mut live = shared.journal.live_release(&project.name).ok().flatten().as_ref().map(live_view);
    // A branch that was put back to what is live has no bad head any more.
    let is_head = live.as_ref().is_some_and(|live| shared.standings.is_head(&project.name, &live.commit));
    let behind = live.as_mut().and_then(|live| shared.standings.describe(&project.name, live));
    Some(ProjectView {
        name: project.name.parse().ok()?,
        repo: project.repo.to_string(),
        branch: project.branch.clone(),
        paths: project.paths.clone(),
        remote: Action::ALL.iter().copied().filter(|action| project.remote.allows(*action)).collect(),
        state,
        reason: reason.map(|reason| cut(&clean_line(&reason), SUBJECT_BYTES_MAX).to_owned()),
        live,
        address: address(shared, project),
        shows_logs: project.remote.logs,
        services: shared.supervisor.services(project),
        behind,
        quarantined: quarantined(&shared.journal, &project.name).filter(|_| !is_head),
        back: back(&shared.journal, &project.name),
    })
}

/// What of a project can be gone back to.
fn back(journal: &Journal, project: &str) -> Option<BackView> {
    let releases = journal.releases(project).ok()?;
    let live = releases.iter().find(|release| release.state == ReleaseState::Live);
    let is_other = |release: &&Release| live.is_none_or(|live| live.commit != release.commit) && release.may_come_back().is_ok();
    let mut kept: Vec<String> = Vec::new();
    for release in releases.iter().rev().filter(is_other) {
        if !kept.contains(&release.commit) && kept.len() < BACK_COMMITS_MAX {
            kept.push(release.commit.clone());
        }
    }
    Some(BackView { to: to_go_back_to(&releases, live).map(|release| release.commit.clone()), kept })
}

/// A release as pages show it.
pub fn live_view(release: &Release) -> LiveView {
    LiveView {
        release: release.id,
        commit: release.commit.clone(),
        subject: cut(&clean_line(&release.subject), SUBJECT_BYTES_MAX).to_owned(),
        since: release.live_since.unwrap_or(Timestamp(0)),
        author: String::new(),
        committed: None,
    }
}

fn address(shared: &Shared, project: &Project) -> Option<String> {
    if project.url.is_some() {
        return project.url.clone();
    }
    let port = || shared.supervisor.live_process(&project.name)?.port;
    match listen_of(project) {
        Some(listen) => Some(format!("http://{listen}")),
        None => port().map(|port| format!("http://127.0.0.1:{port}")),
    }
}

/// The bad release of the branch's head, if no event brings that back.
pub fn quarantined(journal: &Journal, project: &str) -> Option<LiveView> {
    let head = journal.concluded_head(project).ok().flatten()?;
    journal.bad_release_of(project, &head).ok().flatten().as_ref().map(live_view)
}

/// Everything, as `doorstep status --json` prints it.
pub fn status(shared: &Shared, identity: Option<&Identity>, edge: Option<&str>, link: &Link, refused: Option<&str>, parked: Option<&str>) -> serde_json::Value {
    let views = projects(shared, parked);
    let groups: Vec<i32> = views.iter().filter_map(|view| Some(shared.supervisor.live_process(view.name.as_str())?.pid())).collect();
    let usage = usage::of_groups(&groups);
    let projects: Vec<serde_json::Value> = views
        .into_iter()
        .map(|view| {
            let process = shared.supervisor.live_process(view.name.as_str());
            let (used, restarts) = (process.as_ref().and_then(|process| usage.get(&process.pid())), shared.supervisor.restarts(view.name.as_str()));
            let last_run = shared.journal.last_run(view.name.as_str()).ok().flatten();
            let mut value = serde_json::to_value(&view).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.insert("process".to_owned(), process.map(|process| serde_json::json!({"pid": process.pid(), "port": process.port})).into());
                object.insert("usage".to_owned(), used.map(|used| serde_json::json!(used)).into());
                object.insert("processes".to_owned(), serde_json::json!(shared.supervisor.live_companions(view.name.as_str())));
                if let Some(services) = object.get_mut("services") {
                    add_usage(shared, view.name.as_str(), services);
                }
                object.insert("restarts".to_owned(), restarts.into());
                // Always there, be it null.
                object.entry("quarantined").or_insert(serde_json::Value::Null);
                object.insert("last_run".to_owned(), serde_json::to_value(last_run).unwrap_or_default());
            }
            value
        })
        .collect();
    let link_state = match (refused, link.is_up(), edge) {
        (Some(_), _, _) => "refused",
        (None, true, _) => "up",
        (None, false, Some(_)) => "down",
        (None, false, None) => "none",
    };
    serde_json::json!({
        "daemon": {"pid": std::process::id(), "version": env!("CARGO_PKG_VERSION")},
        "host": identity.map(|identity| identity.host.to_string()),
        "edge": edge,
        "link": link_state,
        "refused": refused,
        "parked": parked,
        "unacknowledged": link.unacknowledged(),
        "projects": projects,
    })
}

/// What the containers of each service use together.
fn add_usage(shared: &Shared, project: &str, services: &mut serde_json::Value) {
    let used = shared.supervisor.services_usage(project);
    for service in services.as_array_mut().into_iter().flatten() {
        let usage = service["name"].as_str().and_then(|name| used.get(name)).map(|usage| serde_json::json!(usage));
        if let Some(object) = service.as_object_mut() {
            object.insert("usage".to_owned(), usage.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorstep_shared::protocol::{PROJECTS_MAX, SERVICES_MAX, ServiceView};

    #[test]
    fn whatever_runs_here_fits_a_frame() {
        let service = ServiceView {
            name: "s".repeat(60).parse().unwrap(),
            state: doorstep_shared::ids::ServiceState::Running,
            health: None,
            image: "i".repeat(SUBJECT_BYTES_MAX),
            digest: Some("d".repeat(71)),
            created: Some(Timestamp(1)),
            started: Some(Timestamp(1)),
            restarts: 1,
            exit_code: None,
            ports: vec!["p".repeat(60); 20],
            containers: 1,
            stopped: false,
            known_until: None,
        };
        let project = |services: usize| ProjectView {
            name: "p".repeat(63).parse().unwrap(),
            repo: "r".repeat(SUBJECT_BYTES_MAX),
            branch: "main".to_owned(),
            paths: vec!["x".repeat(100); 8],
            remote: Vec::new(),
            state: ProjectState::Running,
            reason: Some("w".repeat(SUBJECT_BYTES_MAX)),
            live: None,
            address: None,
            shows_logs: false,
            services: vec![service.clone(); services],
            behind: None,
            quarantined: None,
            back: None,
        };
        for (projects, services, kept) in [(1, SERVICES_MAX, SERVICES_MAX), (20, 20, 20), (PROJECTS_MAX, SERVICES_MAX, 0)] {
            let mut views = vec![project(services); projects];
            fit(&mut views);
            assert!(serde_json::to_string(&views).unwrap().len() <= VIEWS_BYTES_MAX, "{projects} projects of {services}");
            assert_eq!(views[0].services.len(), kept, "{projects} projects of {services}");
            assert!(kept == 0 || views[0].paths.len() == 8, "what decides about deploys is cut last");
        }
    }

    #[test]
    fn what_runs_on_a_parked_host_is_degraded_and_says_why() {
        for (state, shown) in [
            (ProjectState::Running, ProjectState::Degraded),
            (ProjectState::Degraded, ProjectState::Degraded),
            (ProjectState::Failing, ProjectState::Failing),
            (ProjectState::Stopped, ProjectState::Stopped),
        ] {
            let mut view = ProjectView {
                name: "shop".parse().unwrap(),
                repo: "o/shop".to_owned(),
                branch: "main".to_owned(),
                paths: Vec::new(),
                remote: Vec::new(),
                state,
                reason: (state != ProjectState::Running).then(|| "its own".to_owned()),
                live: None,
                address: None,
                shows_logs: false,
                services: Vec::new(),
                behind: None,
                quarantined: None,
                back: None,
            };
            degrade(&mut view, "the disk is full");
            let why = if state == ProjectState::Running { "the disk is full" } else { "its own" };
            assert_eq!((view.state, view.reason.as_deref()), (shown, Some(why)));
        }
    }
}
