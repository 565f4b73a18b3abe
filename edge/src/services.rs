//! Services of compose projects: made fit to show, and which of them need a look.
//!
//! Pure. Invariant: what comes out of [`made_fit`] has each name once, and no
//! list and no text of it is longer than its limit here, whatever the host said.

use std::collections::BTreeSet;

use doorstep_shared::ids::{ContainerHealth, ProjectState, ServiceState};
use doorstep_shared::protocol::{SERVICES_MAX, ServiceView};
use doorstep_shared::text::{clean_line, cut};

use crate::view::Problem;

/// Ports of one service that are kept.
const PORTS_MAX: usize = 20;
/// Longest port: two addresses of IPv6 with their numbers.
const PORT_BYTES_MAX: usize = 100;
/// Longest image: a registry, a path of 255, a tag of 128 and a digest.
const IMAGE_BYTES_MAX: usize = 512;
/// Longest digest: `sha512:` and 128 digits. With the name (200) a service is
/// then at most 200 + 512 + 135 + 20 × 100 bytes of text, and 100 of them 285 kB
/// of the 2 MB of a row.
const DIGEST_BYTES_MAX: usize = 135;

/// A project's services, by name, as a page may show them.
#[must_use]
pub fn made_fit(mut services: Vec<ServiceView>) -> Vec<ServiceView> {
    services.truncate(SERVICES_MAX);
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services.dedup_by(|later, first| later.name == first.name);
    for service in &mut services {
        service.image = line(&service.image, IMAGE_BYTES_MAX);
        service.digest = service.digest.as_deref().map(|digest| line(digest, DIGEST_BYTES_MAX));
        service.ports.truncate(PORTS_MAX);
        service.ports.iter_mut().for_each(|port| *port = line(port, PORT_BYTES_MAX));
    }
    services
}

fn line(text: &str, bytes_max: usize) -> String {
    cut(&clean_line(text), bytes_max).to_owned()
}

/// What needs a look: the project itself first, if it is failing, or degraded by
/// what no service shows by itself; then its services in their order.
#[must_use]
pub fn problems(state: ProjectState, reason: Option<&str>, services: &[ServiceView]) -> Vec<Problem> {
    let of = |service: &ServiceView| Some(Problem { service: Some(service.name.clone()), why: trouble(state, service)? });
    let mut problems: Vec<Problem> = services.iter().filter_map(of).collect();
    if state == ProjectState::Failing || state == ProjectState::Degraded && problems.is_empty() {
        let why = reason.map_or_else(|| state.to_string(), |reason| format!("{state}: {reason}"));
        problems.insert(0, Problem { service: None, why });
    }
    problems
}

/// What is wrong with a service. One that was stopped, alone or with its project,
/// ended as it was told to, whatever its exit code; of what is not known now
/// nothing is said.
fn trouble(project: ProjectState, service: &ServiceView) -> Option<String> {
    if service.rests() || service.known_until.is_some() {
        return None;
    }
    match (service.state, service.exit_code) {
        (ServiceState::Restarting, _) => Some("restarting".to_owned()),
        (ServiceState::Dead, _) => Some("dead: the engine could not remove it".to_owned()),
        (ServiceState::Exited, Some(code)) if code != 0 && project != ProjectState::Stopped => Some(format!("exited with {code}")),
        (ServiceState::Absent, _) if matches!(project, ProjectState::Degraded | ProjectState::Failing) => Some("has no container".to_owned()),
        (ServiceState::Running | ServiceState::Paused, _) if service.health == Some(ContainerHealth::Unhealthy) => Some("unhealthy".to_owned()),
        (ServiceState::Running | ServiceState::Paused | ServiceState::Exited | ServiceState::Created | ServiceState::Absent, _) => None,
    }
}

/// The names of services that there are, for somebody who named another.
#[must_use]
pub fn names(services: &[ServiceView]) -> String {
    let names: BTreeSet<&str> = services.iter().map(|service| service.name.as_str()).collect();
    match names.len() {
        0 => "it has none".to_owned(),
        _ => format!("it has {}", cut(&names.into_iter().collect::<Vec<_>>().join(", "), 500)),
    }
}

#[cfg(test)]
mod tests {
    use doorstep_shared::time::Timestamp;

    use super::*;

    fn service(name: &str, state: ServiceState) -> ServiceView {
        ServiceView {
            name: name.parse().unwrap(),
            state,
            health: None,
            image: "web:1".into(),
            digest: None,
            created: None,
            started: None,
            restarts: 0,
            exit_code: None,
            ports: vec![],
            containers: 1,
            stopped: false,
            known_until: None,
        }
    }

    #[test]
    fn what_a_host_tells_of_services_is_made_fit() {
        let mut web = service("web", ServiceState::Running);
        web.image = format!("\u{1b}[31mred\u{7}{}", "é".repeat(1_000));
        web.digest = Some("\u{202e}".to_owned() + &"a".repeat(1_000));
        web.ports = vec!["8080\n".repeat(100); 1_000];
        let twice = service("web", ServiceState::Dead);
        let fit = made_fit(vec![web, twice, service("db", ServiceState::Running)]);
        let names: Vec<_> = fit.iter().map(|service| (service.name.as_str(), service.state)).collect();
        assert_eq!(names, [("db", ServiceState::Running), ("web", ServiceState::Running)]);
        let web = &fit[1];
        assert!(web.image.starts_with("redé") && web.image.len() <= IMAGE_BYTES_MAX, "{}", web.image);
        assert_eq!(web.digest.as_deref(), Some("a".repeat(DIGEST_BYTES_MAX).as_str()));
        assert!(web.ports.len() == PORTS_MAX && web.ports.iter().all(|port| port.len() <= PORT_BYTES_MAX && !port.contains('\n')));
        let many = (0..1_000).map(|n| service(&format!("s{n}"), ServiceState::Running)).collect();
        assert_eq!(made_fit(many).len(), SERVICES_MAX);
    }

    fn told(project: ProjectState, service: &ServiceView) -> Vec<String> {
        problems(project, None, std::slice::from_ref(service)).into_iter().map(|problem| problem.why).collect()
    }

    #[test]
    fn what_needs_a_look() {
        let exited = |code| ServiceView { exit_code: Some(code), ..service("web", ServiceState::Exited) };
        let sick = ServiceView { health: Some(ContainerHealth::Unhealthy), ..service("web", ServiceState::Running) };
        assert_eq!(told(ProjectState::Running, &exited(1)), ["exited with 1"]);
        assert_eq!(told(ProjectState::Running, &sick), ["unhealthy"]);
        assert_eq!(told(ProjectState::Running, &service("web", ServiceState::Restarting)), ["restarting"]);
        for fine in [exited(0), service("web", ServiceState::Running), service("web", ServiceState::Absent)] {
            assert!(told(ProjectState::Running, &fine).is_empty(), "{fine:?}");
        }
        assert!(told(ProjectState::Stopped, &exited(143)).is_empty(), "it was told to end");
        assert!(told(ProjectState::Running, &ServiceView { stopped: true, ..exited(143) }).is_empty(), "it alone was told to end");
        let before = ServiceView { known_until: Some(Timestamp(1)), ..sick.clone() };
        assert_eq!(told(ProjectState::Degraded, &before), ["degraded"], "its engine is away");
        let absent = service("web", ServiceState::Absent);
        let degraded = problems(ProjectState::Degraded, Some("service web has no container"), std::slice::from_ref(&absent));
        assert_eq!(degraded, [Problem { service: Some("web".parse().unwrap()), why: "has no container".into() }]);
        assert_eq!(told(ProjectState::Degraded, &sick), ["unhealthy"], "the service says it");
        let failing = problems(ProjectState::Failing, Some("no such image"), &[exited(1)]);
        let whys: Vec<_> = failing.iter().map(|problem| (problem.service.is_some(), problem.why.as_str())).collect();
        assert_eq!(whys, [(false, "failing: no such image"), (true, "exited with 1")]);
    }

    #[test]
    fn somebody_who_names_another_service_hears_which_there_are() {
        assert_eq!(names(&[]), "it has none");
        assert_eq!(names(&[service("web", ServiceState::Running), service("db", ServiceState::Running)]), "it has db, web");
    }
}
