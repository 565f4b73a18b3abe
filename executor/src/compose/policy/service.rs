//! The keys of a service, but for its build and its mounts.

use serde_json::{Map, Value};

use super::{Check, is_one_of, is_unset};
use crate::compose::permission::{Permission, Place};

/// Refused when they are anything but `false` or absent.
const FLAGS: [(&str, Permission, &str); 3] = [
    ("privileged", Permission::Privileged, "it would have all rights of this host"),
    ("use_api_socket", Permission::DockerSocket, "it would have the container engine's socket and logins, which is root on this host"),
    ("oom_kill_disable", Permission::Oom, "it would be spared when this host runs out of memory"),
];

/// Refused when they hold anything at all.
const NEVER: [(&str, Permission, &str); 8] = [
    ("devices", Permission::Devices, "it would use devices of this host"),
    ("device_cgroup_rules", Permission::Devices, "it could use devices of this host"),
    ("gpus", Permission::Gpus, "it would use GPUs of this host"),
    ("external_links", Permission::ForeignContainer, "it would be linked to containers outside the project"),
    ("annotations", Permission::Runtime, "annotations steer the runtime, past what the other keys say"),
    ("storage_opt", Permission::Runtime, "it would change how this host stores the container"),
    ("provider", Permission::Provider, "it would run a program on this host, outside any container"),
    ("models", Permission::Models, "models run outside any container, with flags from this file"),
];

/// A key with a word or two that do no harm.
struct Mode {
    key: &'static str,
    harmless: &'static [&'static str],
    /// `service:x` is one of the project's own.
    of_service: bool,
    word: Permission,
    why: &'static str,
}

/// In `network_mode` a name would be that of a network, and may be an id: only
/// the engine knows which.
const MODES: [Mode; 9] = [
    Mode { key: "network_mode", harmless: &["bridge", "default", "none"], of_service: true, word: Permission::HostNetwork, why: "it would share this host's network" },
    Mode { key: "pid", harmless: &["private"], of_service: true, word: Permission::HostPid, why: "it would see the processes of this host" },
    Mode { key: "ipc", harmless: &["none", "private", "shareable"], of_service: true, word: Permission::HostIpc, why: "it would share memory with this host" },
    Mode { key: "uts", harmless: &["private"], of_service: false, word: Permission::HostUts, why: "it could rename this host" },
    Mode { key: "userns_mode", harmless: &["private"], of_service: false, word: Permission::HostUserNs, why: "its root would be this host's root" },
    Mode { key: "cgroup", harmless: &["private"], of_service: false, word: Permission::HostCgroup, why: "it would see the control groups of this host" },
    Mode { key: "cgroup_parent", harmless: &[], of_service: false, word: Permission::HostCgroup, why: "it would choose its place among the control groups of this host, and so its limits" },
    Mode { key: "runtime", harmless: &["runc"], of_service: false, word: Permission::Runtime, why: "it would be run by something else than this host's default" },
    Mode { key: "isolation", harmless: &["default"], of_service: false, word: Permission::Runtime, why: "it would be isolated otherwise than is this host's default" },
];

/// What Docker gives every container anyway.
const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Security options that are the default, or stricter.
const SECURITY_OPTIONS: [(&str, &[&str]); 3] = [("no-new-privileges", &["", "true", "false"]), ("seccomp", &["builtin"]), ("apparmor", &["docker-default"])];

/// Known, and none of the host's business.
#[rustfmt::skip]
const HARMLESS: [&str; 57] = [
    "attach", "blkio_config", "cap_drop", "command", "configs", "container_name", "cpu_count",
    "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus",
    "cpuset", "depends_on", "develop", "dns", "dns_opt", "dns_search", "domainname", "entrypoint",
    "environment", "expose", "extra_hosts", "group_add", "healthcheck", "hostname", "image", "init",
    "labels", "links", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness",
    "memswap_limit", "networks", "pids_limit", "platform", "ports", "profiles", "pull_policy",
    "pull_refresh_after", "read_only", "restart", "scale", "secrets", "shm_size", "stdin_open",
    "stop_grace_period", "stop_signal", "tmpfs", "tty", "ulimits", "user", "working_dir",
];

impl Check<'_> {
    pub(super) fn service(&mut self, place: &Place, service: &Map<String, Value>) {
        for (key, value) in service {
            match key.as_str() {
                "build" => self.build(place, value),
                "cap_add" => self.capabilities(place, key, value),
                "credential_spec" => self.credential_spec(place, value),
                "deploy" => self.deploy(place, value),
                "env_file" | "label_file" => self.files(place, key, value),
                "logging" => self.logging(place, value),
                "oom_score_adj" => self.oom_score(place, key, value),
                "pre_start" | "post_start" | "pre_stop" => self.hooks(place, key, value),
                "security_opt" => self.security_options(place, key, value),
                "sysctls" => self.sysctls(place, key, value),
                "volumes" => self.mounts(place, value),
                "volumes_from" => self.volumes_from(place, key, value),
                key if HARMLESS.contains(&key) => {}
                key => self.simple(place, key, value),
            }
        }
    }

    /// The keys that a table says all of.
    fn simple(&mut self, place: &Place, key: &str, value: &Value) {
        if let Some((_, word, why)) = FLAGS.iter().find(|(flag, ..)| *flag == key) {
            self.flag(place, key, value, *word, why);
        } else if let Some((_, word, why)) = NEVER.iter().find(|(never, ..)| *never == key) {
            self.never(place, key, value, *word, why);
        } else if let Some(mode) = MODES.iter().find(|mode| mode.key == key) {
            self.mode(place, mode, value);
        } else {
            self.unknown(place, key);
        }
    }

    pub(super) fn never(&mut self, place: &Place, key: impl Into<String>, value: &Value, word: Permission, why: &str) {
        if !is_unset(value) {
            self.refuse(place, key, word, why);
        }
    }

    fn mode(&mut self, place: &Place, mode: &Mode, value: &Value) {
        let is_of = |prefix: &str| value.as_str().is_some_and(|text| text.starts_with(prefix));
        if is_one_of(value, mode.harmless) || (mode.of_service && is_of("service:")) {
            return;
        }
        if is_of("container:") {
            return self.refuse(place, mode.key, Permission::ForeignContainer, "it would live inside a container outside the project");
        }
        self.refuse(place, mode.key, mode.word, mode.why);
    }

    fn capabilities(&mut self, place: &Place, key: &str, value: &Value) {
        for capability in self.texts(place, key, value, Permission::Capabilities) {
            let name = capability.to_ascii_uppercase();
            if !CAPABILITIES.contains(&name.strip_prefix("CAP_").unwrap_or(&name)) {
                self.refuse(place, key, Permission::Capabilities, format!("{capability:?} is more than containers have by default"));
            }
        }
    }

    fn security_options(&mut self, place: &Place, key: &str, value: &Value) {
        for option in self.texts(place, key, value, Permission::SecurityOpt) {
            let (name, setting) = option.split_once(['=', ':']).unwrap_or((option, ""));
            if !SECURITY_OPTIONS.iter().any(|(known, settings)| *known == name && settings.contains(&setting)) {
                self.refuse(place, key, Permission::SecurityOpt, format!("{option:?} replaces or weakens what confines containers by default"));
            }
        }
    }

    fn sysctls(&mut self, place: &Place, key: &str, value: &Value) {
        let names: Vec<&str> = match value {
            Value::Object(sysctls) => sysctls.keys().map(String::as_str).collect(),
            list => self.texts(place, key, list, Permission::Sysctls),
        };
        for name in names.into_iter().filter(|name| !name.starts_with("net.")) {
            self.refuse(place, key, Permission::Sysctls, format!("{name:?} is a parameter of the kernel outside net."));
        }
    }

    fn oom_score(&mut self, place: &Place, key: &str, value: &Value) {
        if !value.is_null() && value.as_i64().is_none_or(|score| score < 0) {
            self.refuse(place, key, Permission::Oom, "others would be killed before it when this host runs out of memory");
        }
    }

    fn volumes_from(&mut self, place: &Place, key: &str, value: &Value) {
        for source in self.texts(place, key, value, Permission::ForeignContainer) {
            if source.starts_with("container:") {
                self.refuse(place, key, Permission::ForeignContainer, format!("{source:?} is outside the project"));
            }
        }
    }

    fn hooks(&mut self, place: &Place, key: &str, value: &Value) {
        let why = "the hook would have all rights of this host";
        match value {
            Value::Null => {}
            Value::Array(hooks) => {
                for (index, hook) in hooks.iter().enumerate() {
                    let privileged = if hook.is_object() { hook.get("privileged").unwrap_or(&Value::Null) } else { hook };
                    self.flag(place, format!("{key}[{index}].privileged"), privileged, Permission::Privileged, why);
                }
            }
            _ => self.refuse(place, key, Permission::Privileged, "it is not a list of hooks"),
        }
    }

    fn deploy(&mut self, place: &Place, value: &Value) {
        let (mut here, mut key) = (value, "deploy".to_owned());
        for part in ["resources", "reservations", "devices"] {
            let members = match here {
                Value::Null => return,
                Value::Object(members) => members,
                _ => return self.refuse(place, key, Permission::Gpus, "it is not an object"),
            };
            here = members.get(part).unwrap_or(&Value::Null);
            key = format!("{key}.{part}");
        }
        self.never(place, key, here, Permission::Gpus, "it would use GPUs or other devices of this host");
    }

    fn files(&mut self, place: &Place, key: &str, value: &Value) {
        let list = match value {
            Value::Null => return,
            Value::Array(list) => list.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for (index, file) in list.iter().enumerate() {
            let path = if file.is_object() { file.get("path").unwrap_or(&Value::Null) } else { file };
            self.path(place, format!("{key}[{index}]"), path, Permission::OutsideFile);
        }
    }

    fn credential_spec(&mut self, place: &Place, value: &Value) {
        let Value::Object(spec) = value else {
            return self.never(place, "credential_spec", value, Permission::OutsideFile, "it is not an object");
        };
        for (key, value) in spec.iter().filter(|(_, value)| !is_unset(value)) {
            match key.as_str() {
                "config" => {}
                "file" => self.path(place, "credential_spec.file", value, Permission::OutsideFile),
                _ => self.refuse(place, format!("credential_spec.{key}"), Permission::OutsideFile, "it would use credentials of this host"),
            }
        }
    }

    /// Any driver will do: what matters is whether the engine, as root, is told
    /// to open something of this host.
    fn logging(&mut self, place: &Place, value: &Value) {
        let Value::Object(logging) = value else {
            return self.never(place, "logging", value, Permission::Logging, "it is not an object");
        };
        let options = match logging.get("options") {
            None | Some(Value::Null) => return,
            Some(Value::Object(options)) => options,
            Some(_) => return self.refuse(place, "logging.options", Permission::Logging, "it is not an object"),
        };
        for (name, value) in options {
            let reaches = |text: &str| text.starts_with('/') || ["unix:", "unixgram:", "file:"].iter().any(|scheme| text.to_ascii_lowercase().contains(scheme));
            let is_harmless = match value {
                Value::String(text) => !reaches(text),
                Value::Null | Value::Number(_) | Value::Bool(_) => true,
                Value::Array(_) | Value::Object(_) => false,
            };
            if !is_harmless {
                self.refuse(place, format!("logging.options.{name}"), Permission::Logging, "the log would go to a socket or a file of this host");
            }
        }
    }
}
