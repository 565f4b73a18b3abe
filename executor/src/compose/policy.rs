//! What a compose file may not ask of this host.
//!
//! [`check`] reads the model that `docker compose config --format json` prints
//! and answers with everything that would give a container, a build or the
//! engine a right over the host which the host's file does not allow. A guarded
//! key whose value is not understood is refused, and so is a key that is not
//! known: Compose grows, and what it grows are often rights.
//!
//! Not guarded, on purpose: `user` and `group_add` (numbers count only on what is
//! bound, and that is guarded), ports, limits, names of containers, `pull_policy`,
//! `develop`, existing networks and volumes of other projects by their names, and
//! what an image does inside its container. Variables of the environment can reach
//! a container by name: who runs Compose gives it few.
//!
//! Absent: reading compose files (`files` looks at what they name), and the
//! model's size, which the caller bounds.
//!
//! The shapes that resolving gives (compose-go 2, July 2026), of a service `s`:
//!
//! | key | shape |
//! |---|---|
//! | `privileged`, `use_api_socket`, `oom_kill_disable` | `true`, or absent |
//! | `network_mode`, `pid`, `ipc`, `uts`, `userns_mode`, `cgroup` | `"host"`, `"service:x"`, `"container:x"`, … |
//! | `cgroup_parent`, `runtime`, `isolation` | text |
//! | `cap_add`, `security_opt`, `group_add`, `external_links`, `device_cgroup_rules` | list of texts |
//! | `devices` | list of `{source, target, permissions}`; CDI devices too |
//! | `gpus`, `deploy.resources.reservations.devices` | list of `{capabilities, driver, count, device_ids, options}`; `count` −1 is all |
//! | `sysctls`, `annotations`, `storage_opt` | `{key: "value"}` |
//! | `oom_score_adj` | number |
//! | `volumes` | list of `{type, source, target, read_only, bind: {propagation, …}, …}`; the source of a bind is absolute, of a volume a name below `volumes` |
//! | `volumes_from` | list of `"x[:ro]"`, `"container:x[:ro]"` |
//! | `build` | `{context, dockerfile, …}`; the context is absolute or an address, the Dockerfile relative to it |
//! | `build.additional_contexts` | `{name: "/path" or "service:x" or "docker-image://x" or address}` |
//! | `build.ssh` | list of `"id"`; with a path the printed JSON is broken |
//! | `build.cache_from`, `build.cache_to` | list of `"image"`, `"type=local,src=path"`, … |
//! | `env_file`, `label_file` | gone, or lists of `{path, required}` and of texts |
//! | `credential_spec` | `{file}`, `{registry}` or `{config}` |
//! | `logging` | `{driver, options: {key: "value"}}` |
//! | `pre_start`, `post_start`, `pre_stop` | list of `{command, privileged, …}` |
//! | `provider` | `{type, options}` |
//! | `models` | `{name: null or {endpoint_var, model_var}}` |
//!
//! And of the top level:
//!
//! | key | shape |
//! |---|---|
//! | `volumes.x` | `{name, driver, driver_opts: {type, o, device}, external}` or null |
//! | `networks.x` | `{name, driver, driver_opts, ipam: {driver, config}, external}` or null |
//! | `configs.x`, `secrets.x` | `{name, file}`, `{name, environment}` or `{name, content}`; the file is absolute |
//! | `models.x` | `{model, context_size, runtime_flags}` |
//!
//! A `$` is printed as `$$`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ground::{Engine, Ground, Reach};
use super::permission::{Allow, Permission, Place, Refusal};

mod build;
mod service;
mod storage;

/// What a project may reach.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The release's folder, absolute, symlinks resolved.
    pub release: &'a Path,
    /// Folders outside it that binds may lie in: the project's data, and what
    /// the host's file declares.
    pub roots: &'a [PathBuf],
    /// What the host's file allows beyond the default.
    pub allow: &'a Allow,
}

/// Everything that the resolved model asks and may not have, service by service
/// and key by key. Empty: it may run.
#[must_use]
pub fn check(model: &Value, bounds: &Bounds<'_>) -> Vec<Refusal> {
    let mut check = Check { ground: Ground::new(bounds.release, bounds.roots), allow: bounds.allow, refusals: Vec::new() };
    check.model(model);
    check.refusals
}

/// One look at one model.
struct Check<'a> {
    ground: Ground,
    allow: &'a Allow,
    refusals: Vec<Refusal>,
}

impl Check<'_> {
    fn model(&mut self, model: &Value) {
        let Value::Object(model) = model else {
            return self.broken(&Place::Model, "model", "it is not an object");
        };
        for (key, value) in model {
            match key.as_str() {
                "name" | "version" => {}
                "services" => self.each(key, value, Place::Service, Self::service),
                "volumes" => self.each(key, value, Place::Volume, Self::volume),
                "networks" => self.each(key, value, Place::Network, Self::network),
                "configs" => self.each(key, value, Place::Config, Self::file_object),
                "secrets" => self.each(key, value, Place::Secret, Self::file_object),
                "models" if is_unset(value) => {}
                "models" => self.refuse(&Place::Model, key, Permission::Models, "models run outside any container, with flags from this file"),
                "include" => self.refuse(&Place::Model, key, Permission::RemoteInclude, "it should have been resolved, so nobody saw what it brings"),
                _ => self.unknown(&Place::Model, key),
            }
        }
    }

    /// Looks at each member of a top-level key. A member may be null only where
    /// that means the default.
    fn each(&mut self, key: &str, value: &Value, place: fn(String) -> Place, look: fn(&mut Self, &Place, &Map<String, Value>)) {
        let members = match value {
            Value::Object(members) => members,
            Value::Null => return,
            _ => return self.broken(&Place::Model, key, "it is not an object"),
        };
        let default = Map::new();
        for (name, member) in members {
            let place = place(name.clone());
            match member {
                Value::Object(member) => look(self, &place, member),
                Value::Null if key != "services" => look(self, &place, &default),
                _ => self.broken(&place, key, "it is not an object"),
            }
        }
    }

    fn network(&mut self, place: &Place, network: &Map<String, Value>) {
        // The name becomes the container's network mode when it is joined.
        let name = network.get("name").map_or(place.name(), Value::as_str).unwrap_or_default();
        if name == "host" || !is_plain_name(name) {
            self.refuse(place, "name", Permission::HostNetwork, "it would share this host's network");
        }
        let driver = network.get("driver").unwrap_or(&Value::Null);
        if !is_one_of(driver, &["bridge", "overlay", "default"]) {
            self.refuse(place, "driver", Permission::NetworkDriver, "it would be on this host's own network");
        }
        match network.get("driver_opts") {
            None | Some(Value::Null) => {}
            Some(Value::Object(options)) if !options.contains_key("com.docker.network.bridge.name") => {}
            Some(_) => self.refuse(place, "driver_opts", Permission::NetworkDriver, "it could join a bridge that this host has"),
        }
        match network.get("ipam") {
            None | Some(Value::Null) => {}
            Some(Value::Object(ipam)) if is_one_of(ipam.get("driver").unwrap_or(&Value::Null), &["default"]) => {}
            Some(_) => self.refuse(place, "ipam.driver", Permission::NetworkDriver, "a plugin of this host would give out the addresses"),
        }
    }

    /// A config or a secret.
    fn file_object(&mut self, place: &Place, object: &Map<String, Value>) {
        if let Some(file) = object.get("file").filter(|file| !is_unset(file)) {
            self.path(place, "file", file, Permission::OutsideFile);
        }
    }

    fn refuse(&mut self, place: &Place, key: impl Into<String>, word: Permission, why: impl Into<String>) {
        if !self.allow.has(place, word) {
            self.refusals.push(Refusal { place: place.clone(), key: key.into(), why: why.into(), allow: Some(word) });
        }
    }

    /// Refuses what no word can allow, because nobody can say what it is.
    fn broken(&mut self, place: &Place, key: &str, why: &str) {
        self.refusals.push(Refusal { place: place.clone(), key: key.to_owned(), why: why.to_owned(), allow: None });
    }

    fn unknown(&mut self, place: &Place, key: &str) {
        if !key.starts_with("x-") {
            self.refuse(place, key, Permission::UnknownKeys, "this version of Doorstep does not know what it means");
        }
    }

    /// Refuses anything but `false` and nothing: `"true"` is not understood, so
    /// it counts as set.
    fn flag(&mut self, place: &Place, key: impl Into<String>, value: &Value, word: Permission, why: &str) {
        if !matches!(value, Value::Bool(false) | Value::Null) {
            self.refuse(place, key, word, why);
        }
    }

    /// The texts of a list; anything else in its place is refused.
    fn texts<'v>(&mut self, place: &Place, key: &str, value: &'v Value, word: Permission) -> Vec<&'v str> {
        let list = match value {
            Value::Null => return Vec::new(),
            Value::Array(list) => list.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
        if texts.len() < list.len() || !value.is_array() {
            self.refuse(place, key, word, "it is not a list of texts");
        }
        texts
    }

    /// Refuses a path that leads outside, or to the container engine.
    fn path(&mut self, place: &Place, key: impl Into<String>, value: &Value, word: Permission) {
        let key = key.into();
        match value.as_str() {
            Some(path) => self.path_text(place, key, path, word),
            None => self.refuse(place, key, word, "it is not a path"),
        }
    }

    fn path_text(&mut self, place: &Place, key: String, path: &str, word: Permission) {
        let leads = self.ground.leads(path);
        match leads.engine {
            Engine::Nothing => {}
            Engine::Holds => self.refuse(place, key.clone(), Permission::DockerSocket, format!("{path:?} holds the container engine's socket or state, which is root on this host")),
            // Who may have the socket needs no second word for its place.
            Engine::Socket => return self.refuse(place, key, Permission::DockerSocket, format!("{path:?} is the container engine's socket, which is root on this host")),
        }
        match leads.reach {
            Reach::Inside(_) => {}
            Reach::Outside(target) => self.refuse(place, key, word, outside(path, &target)),
            Reach::Unclear(why) => self.refuse(place, key, word, format!("{path:?} cannot be judged: {why}")),
        }
    }
}

/// Why a path is refused that leads outside.
pub(super) fn outside(path: &str, target: &Path) -> String {
    let allowed = "outside the release and the folders that the host's file names";
    if Path::new(path) == target { format!("{path:?} is {allowed}") } else { format!("{path:?} leads to {:?}, {allowed}", target.display().to_string()) }
}

/// Whether the key might as well be absent.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether it is nothing or one of these texts.
fn is_one_of(value: &Value, harmless: &[&str]) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.is_empty() || harmless.contains(&text))
}

/// Whether Docker takes it for a name, not for a path or a mode.
fn is_plain_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric()) && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests;
