//! A container as the engine describes it, and the services they make up. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, RestartPolicyNameEnum};
use doorstep_shared::ids::{ContainerHealth, ServiceName, ServiceState};
use doorstep_shared::protocol::{SERVICES_MAX, ServiceView};
use doorstep_shared::text::{clean_line, cut};
use doorstep_shared::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bonds::covers;

/// Longest text of one service that pages show, in bytes.
const SHOWN_BYTES_MAX: usize = 200;
/// Ports of one service that pages show.
const PORTS_MAX: usize = 20;

/// One container of a compose project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its identity, 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The service it belongs to.
    pub service: String,
    /// What Compose calls the project.
    pub compose_project: String,
    /// How it is.
    pub state: ServiceState,
    /// What its own health check says.
    pub health: Option<ContainerHealth>,
    /// Its health check, as the engine runs it; none: it has none.
    pub health_test: Option<Vec<String>>,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// It was killed for its memory.
    pub oom_killed: bool,
    /// How often the engine started it again.
    pub restarts: u32,
    /// Does the engine start it again when it ends well?
    pub restarts_always: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// Its image as it was named.
    pub image: String,
    /// Its image's identity.
    pub image_id: String,
    /// Its ports, for people.
    pub ports: Vec<String>,
    /// Its addresses, in the order of its networks' names.
    pub addresses: Vec<IpAddr>,
    /// It shares the host's network.
    pub is_on_host: bool,
    /// By which hash its definition is known: ours, or Compose's where there is none.
    pub definition: String,
    /// Where Compose was run for it.
    pub working_dir: String,
    /// Which project of ours it belongs to, if any.
    pub owner: Option<String>,
    /// The origin of that project.
    pub owner_repo: Option<String>,
    /// The process that is its first, while it runs.
    pub pid: Option<i64>,
}

impl Container {
    /// Reads what the engine says; `None` for one that Compose did not make, and
    /// for those of `docker compose run`.
    #[must_use]
    pub fn of(said: ContainerInspectResponse) -> Option<Self> {
        let config = said.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).cloned();
        if label("oneoff").is_some_and(|oneoff| oneoff == "True") {
            return None;
        }
        let state = said.state.unwrap_or_default();
        let host = said.host_config.unwrap_or_default();
        let networks = said.network_settings.unwrap_or_default();
        let test = config.healthcheck.and_then(|check| check.test).filter(|test| !matches!(test.first().map(String::as_str), None | Some("NONE")));
        let ended = matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::RESTARTING));
        Some(Self {
            id: said.id?,
            name: said.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            service: label("service")?,
            compose_project: label("project")?,
            state: state_of(state.status),
            health: state.health.and_then(|health| health_of(health.status)),
            health_test: test,
            exit_code: state.exit_code.filter(|_| ended),
            oom_killed: state.oom_killed.unwrap_or(false),
            restarts: said.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            restarts_always: matches!(host.restart_policy.and_then(|policy| policy.name), Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED)),
            created: said.created.and_then(timestamp),
            started: state.started_at.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok()).and_then(timestamp),
            image: config.image.unwrap_or_default(),
            image_id: said.image.unwrap_or_default(),
            ports: ports(networks.ports.unwrap_or_default()),
            addresses: networks.networks.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>().into_values().filter_map(|network| network.ip_address?.parse().ok()).collect(),
            is_on_host: host.network_mode.as_deref() == Some("host"),
            definition: labels.get(super::LABEL_DEFINITION).cloned().or_else(|| label("config-hash")).unwrap_or_default(),
            working_dir: label("project.working_dir").unwrap_or_default(),
            owner: labels.get(super::LABEL_PROJECT).cloned(),
            owner_repo: labels.get(super::LABEL_REPO).cloned(),
            pid: state.pid.filter(|pid| *pid > 0),
        })
    }

    /// Did it end well, and is it left at that?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == ServiceState::Exited && self.exit_code == Some(0) && !self.restarts_always
    }

    /// Where one of its ports is reached from this host, past what it publishes.
    #[must_use]
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        self.every_address(port).first().copied()
    }

    /// The same on each of its networks.
    #[must_use]
    pub fn every_address(&self, port: u16) -> Vec<SocketAddr> {
        let host = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let all = if self.is_on_host { &host[..] } else { &self.addresses };
        all.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// Does the engine publish for it what would be listened on here?
    #[must_use]
    pub fn publishes(&self, listen: SocketAddr) -> bool {
        let mut outer = self.ports.iter().filter_map(|port| port.split("->").next()?.parse::<SocketAddr>().ok());
        self.state == ServiceState::Running && outer.any(|outer| outer.port() == listen.port() && covers(Some(outer.ip()), listen.ip()))
    }

    /// Does it do what it should, as far as the engine knows?
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_done() || (self.state == ServiceState::Running && self.health != Some(ContainerHealth::Unhealthy))
    }
}

fn state_of(said: Option<ContainerStateStatusEnum>) -> ServiceState {
    use ContainerStateStatusEnum as Said;
    match said {
        Some(Said::RUNNING) => ServiceState::Running,
        Some(Said::RESTARTING) => ServiceState::Restarting,
        Some(Said::PAUSED) => ServiceState::Paused,
        Some(Said::EXITED) => ServiceState::Exited,
        Some(Said::CREATED) => ServiceState::Created,
        Some(Said::DEAD | Said::REMOVING | Said::STOPPING | Said::EMPTY) | None => ServiceState::Dead,
    }
}

fn health_of(said: Option<HealthStatusEnum>) -> Option<ContainerHealth> {
    match said? {
        HealthStatusEnum::STARTING => Some(ContainerHealth::Starting),
        HealthStatusEnum::HEALTHY => Some(ContainerHealth::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(ContainerHealth::Unhealthy),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

/// The engine says year 1 of what has not happened.
fn timestamp(at: OffsetDateTime) -> Option<Timestamp> {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().filter(|ms| *ms > 0).map(Timestamp)
}

fn ports(said: bollard::models::PortMap) -> Vec<String> {
    let mut ports: Vec<String> = Vec::new();
    for (inner, bindings) in said {
        for binding in bindings.unwrap_or_default() {
            let (ip, port) = (binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default());
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
            ports.push(format!("{ip}:{port}->{inner}"));
        }
    }
    ports.sort();
    ports
}

/// What pages show of containers: one line for each service, the worst container
/// of it; and one for each service that has none.
#[must_use]
pub fn services<'a>(containers: impl Iterator<Item = &'a Container>, expected: &BTreeMap<String, String>, shown: Option<&[String]>) -> Vec<ServiceView> {
    let mut by_service: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
    for service in expected.keys() {
        by_service.entry(service).or_default();
    }
    for container in containers {
        by_service.entry(&container.service).or_default().push(container);
    }
    by_service.retain(|service, _| shown.is_none_or(|shown| shown.iter().any(|name| name == service)));
    by_service.into_iter().take(SERVICES_MAX).filter_map(|(service, containers)| view(service, &containers, expected)).collect()
}

fn view(service: &str, containers: &[&Container], expected: &BTreeMap<String, String>) -> Option<ServiceView> {
    let fit = |text: &str| cut(&clean_line(text), SHOWN_BYTES_MAX).to_owned();
    let name: ServiceName = service.parse().ok()?;
    let image = |id: &str, name: &str| if name.starts_with(super::IMAGES) || name == id { expected.get(service).map_or(name, String::as_str).to_owned() } else { name.to_owned() };
    let Some(worst) = containers.iter().max_by_key(|container| badness(container)) else {
        let image = fit(expected.get(service).map_or("", String::as_str));
        return Some(ServiceView { name, state: ServiceState::Absent, health: None, image, digest: None, created: None, started: None, restarts: 0, exit_code: None, ports: Vec::new(), containers: 0, stopped: false, known_until: None });
    };
    Some(ServiceView {
        name,
        state: worst.state,
        health: worst.health,
        image: fit(&image(&worst.image_id, &worst.image)),
        digest: Some(fit(&worst.image_id)).filter(|id| !id.is_empty()),
        created: worst.created,
        started: worst.started,
        restarts: containers.iter().map(|container| container.restarts).max().unwrap_or(0),
        exit_code: worst.exit_code,
        ports: containers.iter().flat_map(|container| &container.ports).take(PORTS_MAX).map(|port| fit(port)).collect(),
        containers: u32::try_from(containers.len()).unwrap_or(u32::MAX),
        stopped: false,
        known_until: None,
    })
}

fn badness(container: &Container) -> u8 {
    match (container.state, container.health) {
        _ if container.is_done() => 0,
        (ServiceState::Running, None | Some(ContainerHealth::Healthy)) => 1,
        (ServiceState::Running, Some(ContainerHealth::Starting)) => 2,
        (ServiceState::Created | ServiceState::Paused | ServiceState::Absent, _) => 3,
        (ServiceState::Running, Some(ContainerHealth::Unhealthy)) => 4,
        (ServiceState::Exited | ServiceState::Restarting | ServiceState::Dead, _) => 5,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn container(service: &str, state: ServiceState) -> Container {
        Container {
            id: format!("id-{service}"),
            name: format!("media-{service}-1"),
            service: service.to_owned(),
            compose_project: "media".to_owned(),
            state,
            health: None,
            health_test: None,
            exit_code: (state == ServiceState::Exited).then_some(0),
            oom_killed: false,
            restarts: 0,
            restarts_always: false,
            created: None,
            started: None,
            image: "web:1".to_owned(),
            image_id: "sha256:aa".to_owned(),
            ports: Vec::new(),
            addresses: Vec::new(),
            is_on_host: false,
            definition: "h1".to_owned(),
            working_dir: String::new(),
            owner: Some("media".to_owned()),
            owner_repo: None,
            pid: None,
        }
    }

    #[test]
    fn the_worst_container_speaks_for_its_service() {
        let mut bad = container("web", ServiceState::Restarting);
        (bad.restarts, bad.exit_code) = (3, Some(1));
        let containers = [container("web", ServiceState::Running), bad, container("init", ServiceState::Exited)];
        let expected = [("web", "web:1"), ("init", "init"), ("db", "postgres:17")].map(|(name, image)| (name.to_owned(), image.to_owned())).into();
        let views = services(containers.iter(), &expected, None);
        let said: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.state, view.restarts, view.containers)).collect();
        assert_eq!(said, [("db", ServiceState::Absent, 0, 0), ("init", ServiceState::Exited, 0, 1), ("web", ServiceState::Restarting, 3, 2)]);
        assert_eq!(views[0].image, "postgres:17");
        let shown = services(containers.iter(), &expected, Some(&["web".to_owned()]));
        assert_eq!(shown.len(), 1);
    }

    #[test]
    fn what_ended_well_is_done_unless_it_should_run() {
        let mut one_shot = container("init", ServiceState::Exited);
        assert!(one_shot.is_done() && one_shot.is_well());
        one_shot.restarts_always = true;
        assert!(!one_shot.is_done() && !one_shot.is_well());
        one_shot = Container { exit_code: Some(3), ..container("init", ServiceState::Exited) };
        assert!(!one_shot.is_well());
    }
}
