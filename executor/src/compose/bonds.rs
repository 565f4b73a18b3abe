//! What binds the services of a resolved model to each other and to ports of
//! this host. Pure.
//!
//! Which containers are made anew is decided here and not by Compose: some of its
//! versions make everything anew that depends on what they made anew, and some
//! reckon `depends_on` a part of a definition. Invariant: what lives in another
//! container's namespaces or volumes follows it; nothing else does. What is
//! absent: the order of starting, which Compose sees to within one call.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value};

use super::model::Model;
use super::stack;

/// What binds the services of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bonds {
    /// Services, and those whose namespaces or volumes they live in.
    pub inside: BTreeMap<String, BTreeSet<String>>,
    /// Services, and those with which the file has them restarted.
    pub restarts: BTreeMap<String, BTreeSet<String>>,
    /// Services, and what must be well, or have ended well (true), before them.
    pub awaits: BTreeMap<String, BTreeMap<String, bool>>,
    /// Addresses (none: all) and ports of this host that services publish, or may:
    /// of a range the engine takes one.
    pub published: Vec<(Option<IpAddr>, RangeInclusive<u16>)>,
}

impl Bonds {
    /// Reads them in a model.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let services = model.value().get("services").and_then(Value::as_object);
        let mut bonds = Self::default();
        for (name, service) in services.into_iter().flatten() {
            bonds.inside.insert(name.clone(), lives_in(service));
            bonds.restarts.insert(name.clone(), restarts_with(service));
            bonds.published.extend(published(service));
            bonds.awaits.insert(name.clone(), model.awaits(name));
        }
        bonds
    }

    /// Those of a release's model; none when it cannot be read.
    #[must_use]
    pub fn load(dir: &Path, release: u64) -> Self {
        let text = std::fs::read(stack::model_file(dir, release)).unwrap_or_default();
        Model::parse(&text).map_or_else(|_| Self::default(), |model| Self::of(&model))
    }

    /// These services, and what lives in their containers.
    #[must_use]
    pub fn with_inside(&self, services: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = services.clone();
        loop {
            let lives_there = |inside: &BTreeSet<String>| !inside.is_disjoint(&all);
            let more: Vec<String> = self.inside.iter().filter(|(name, inside)| !all.contains(*name) && lives_there(inside)).map(|(name, _)| name.clone()).collect();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    /// The services that the file has restarted with these.
    #[must_use]
    pub fn restarted_with(&self, services: &BTreeSet<String>) -> BTreeSet<String> {
        self.restarts.iter().filter(|(_, with)| !with.is_disjoint(services)).map(|(name, _)| name.clone()).collect()
    }

    /// Does a service publish what would be listened on here?
    #[must_use]
    pub fn publishes(&self, listen: SocketAddr) -> bool {
        self.published.iter().any(|(ip, ports)| ports.contains(&listen.port()) && covers(*ip, listen.ip()))
    }

    /// What these services wait for, besides each other.
    #[must_use]
    pub fn needs(&self, services: &BTreeSet<String>) -> BTreeMap<String, bool> {
        let mut needs = BTreeMap::new();
        for (name, ends) in services.iter().filter_map(|service| self.awaits.get(service)).flatten() {
            if !services.contains(name) {
                *needs.entry(name.clone()).or_insert(false) |= ends;
            }
        }
        needs
    }
}

fn lives_in(service: &Value) -> BTreeSet<String> {
    let said = |key: &str| service.get(key).and_then(Value::as_str);
    let modes = ["network_mode", "ipc", "pid"].into_iter().filter_map(|key| said(key)?.strip_prefix("service:"));
    let volumes = service.get("volumes_from").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let volumes = volumes.filter(|from| !from.starts_with("container:")).filter_map(|from| from.split(':').next());
    modes.chain(volumes).map(str::to_owned).collect()
}

/// Do these two addresses of this host meet?
pub fn covers(published: Option<IpAddr>, listen: IpAddr) -> bool {
    listen.is_unspecified() || published.is_none_or(|ip| ip.is_unspecified() || ip == listen)
}

fn published(service: &Value) -> impl Iterator<Item = (Option<IpAddr>, RangeInclusive<u16>)> {
    let ports = service.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|port| {
        let ip = port.get("host_ip").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
        let said = port.get("published")?.as_str()?;
        let (first, last) = said.split_once('-').unwrap_or((said, said));
        Some((ip, first.parse().ok()?..=last.parse().ok()?))
    })
}

fn restarts_with(service: &Value) -> BTreeSet<String> {
    let said: Option<&Map<String, Value>> = service.get("depends_on").and_then(Value::as_object);
    said.into_iter().flatten().filter(|(_, how)| how.get("restart").and_then(Value::as_bool) == Some(true)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(services: &[&str]) -> BTreeSet<String> {
        services.iter().map(ToString::to_string).collect()
    }

    fn bonds() -> Bonds {
        let model = json!({"services": {
            "db": {},
            "init": {"depends_on": {"db": {"condition": "service_healthy"}}},
            "web": {"depends_on": {"db": {"condition": "service_started", "restart": true}, "init": {"condition": "service_completed_successfully"}}},
            "vpn": {"network_mode": "service:web"},
            "backup": {"volumes_from": ["vpn:ro", "container:other"]},
        }});
        Bonds::of(&Model::parse(model.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn what_lives_in_another_follows_it_and_what_waits_for_it_does_not() {
        assert_eq!(bonds().with_inside(&set(&["web"])), set(&["backup", "vpn", "web"]));
        assert_eq!(bonds().with_inside(&set(&["db", "init"])), set(&["db", "init"]));
        assert_eq!(bonds().restarted_with(&set(&["db"])), set(&["web"]));
        assert!(bonds().restarted_with(&set(&["init"])).is_empty());
    }

    #[test]
    fn what_is_waited_for_is_what_is_not_started_along() {
        assert_eq!(bonds().needs(&set(&["web"])), [("init".to_owned(), true)].into());
        assert_eq!(bonds().needs(&set(&["init", "web"])), [("db".to_owned(), false)].into());
        assert!(bonds().needs(&set(&["db", "init", "web"])).is_empty());
    }

    #[test]
    fn what_is_published_is_known() {
        let ports = |ports: Value| Bonds::of(&Model::parse(json!({"services": {"web": {"ports": ports}}}).to_string().as_bytes()).unwrap());
        let listen = "127.0.0.1:8000".parse().unwrap();
        assert!(ports(json!([{"target": 80, "published": "8000"}])).publishes(listen));
        assert!(ports(json!([{"target": 80, "published": "8000", "host_ip": "127.0.0.1"}])).publishes(listen));
        assert!(!ports(json!([{"target": 80, "published": "8000", "host_ip": "127.0.0.2"}])).publishes(listen));
        assert!(!ports(json!([{"target": 8000}, {"target": 80, "published": "8001"}])).publishes(listen));
        assert!(ports(json!([{"target": 80, "published": "7990-8010"}])).publishes(listen));
        assert!(!ports(json!([{"target": 80, "published": "8001-8010"}, {"target": 80, "published": "x-8000"}])).publishes(listen));
    }

    #[test]
    fn a_model_that_is_gone_binds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Bonds::load(dir.path(), 3), Bonds::default());
    }
}
