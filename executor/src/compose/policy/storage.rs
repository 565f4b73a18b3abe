//! What is mounted into containers: binds, named volumes, and volumes that are
//! binds by their options.

use serde_json::{Map, Value};

use super::{Check, is_one_of, is_plain_name, is_unset};
use crate::compose::permission::{Permission, Place};

/// Options of `mount` that neither bind nor reach anything.
const MOUNT_FLAGS: [&str; 12] = ["async", "exec", "noatime", "nodev", "nodiratime", "noexec", "nosuid", "relatime", "ro", "rw", "strictatime", "sync"];

/// The same with a value, of a tmpfs.
const MOUNT_SETTINGS: [&str; 6] = ["gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"];

impl Check<'_> {
    /// The `volumes` of a service.
    pub(super) fn mounts(&mut self, place: &Place, value: &Value) {
        let mounts = match value {
            Value::Null => return,
            Value::Array(mounts) => mounts,
            _ => return self.refuse(place, "volumes", Permission::Bind, "it is not a list"),
        };
        for (index, mount) in mounts.iter().enumerate() {
            let key = format!("volumes[{index}]");
            match mount {
                Value::Object(mount) => self.mount(place, &key, mount),
                _ => self.refuse(place, key, Permission::Bind, "it is not an object, so what it mounts is not known"),
            }
        }
    }

    fn mount(&mut self, place: &Place, key: &str, mount: &Map<String, Value>) {
        let source = mount.get("source").unwrap_or(&Value::Null);
        match mount.get("type").and_then(Value::as_str) {
            Some("bind") => {
                self.path(place, format!("{key}.source"), source, Permission::Bind);
                self.bind_options(place, format!("{key}.bind"), mount.get("bind").unwrap_or(&Value::Null));
            }
            // Without a source it is anonymous. A path would become a bind.
            Some("volume") if is_unset(source) || source.as_str().is_some_and(is_plain_name) => {}
            Some("volume") => self.refuse(place, format!("{key}.source"), Permission::Bind, "it is no name of a volume"),
            Some("tmpfs" | "image") => {}
            Some("cluster") => self.refuse(place, format!("{key}.type"), Permission::VolumeDriver, "a plugin of this host would mount it"),
            _ => self.refuse(place, format!("{key}.type"), Permission::Bind, "what it mounts is not known"),
        }
    }

    fn bind_options(&mut self, place: &Place, key: String, value: &Value) {
        let options = match value {
            Value::Null => return,
            Value::Object(options) => options,
            _ => return self.refuse(place, key, Permission::Bind, "it is not an object"),
        };
        let option = |name| options.get(name).unwrap_or(&Value::Null);
        if !is_one_of(option("propagation"), &["private", "rprivate", "rslave", "slave"]) {
            self.refuse(place, format!("{key}.propagation"), Permission::Bind, "what it mounts would appear on this host");
        }
        if !is_one_of(option("selinux"), &["z", "Z"]) {
            self.refuse(place, format!("{key}.selinux"), Permission::Bind, "it is not understood");
        }
    }

    /// A top-level volume.
    pub(super) fn volume(&mut self, place: &Place, volume: &Map<String, Value>) {
        // Docker takes a name that is a path for a bind.
        let name = volume.get("name").map_or(place.name(), Value::as_str).unwrap_or_default();
        if !is_plain_name(name) {
            self.refuse(place, "name", Permission::Bind, format!("{name:?} is no name of a volume"));
        }
        if !is_one_of(volume.get("driver").unwrap_or(&Value::Null), &["local"]) {
            self.refuse(place, "driver", Permission::VolumeDriver, "a plugin of this host would mount it");
        }
        match volume.get("driver_opts") {
            None | Some(Value::Null) => {}
            Some(Value::Object(options)) => self.driver_options(place, options),
            Some(_) => self.refuse(place, "driver_opts", Permission::VolumeDriver, "it is not an object"),
        }
    }

    /// What the local driver hands to `mount`.
    fn driver_options(&mut self, place: &Place, options: &Map<String, Value>) {
        for name in options.keys().filter(|name| !["type", "o", "device", "size"].contains(&name.as_str())) {
            self.refuse(place, format!("driver_opts.{name}"), Permission::VolumeDriver, "it is not understood");
        }
        let set = |name| options.get(name).filter(|value| !is_unset(value));
        if set("type").or(set("o")).or(set("device")).is_none() {
            return;
        }
        let is_bind = self.mount_options(place, set("o").unwrap_or(&Value::Null));
        // The kernel binds whatever the type says.
        if is_bind {
            self.path(place, "driver_opts.device", set("device").unwrap_or(&Value::Null), Permission::Bind);
        }
        let kinds: &[&str] = if is_bind { &["none", "bind", "tmpfs"] } else { &["tmpfs"] };
        let kind = set("type").unwrap_or(&Value::Null);
        if !is_one_of(kind, kinds) || (kind.is_null() && !is_bind) {
            self.refuse(place, "driver_opts.type", Permission::VolumeDriver, "it would mount a share or a disk with the rights of this host");
        }
    }

    /// Whether they say that it is a bind.
    fn mount_options(&mut self, place: &Place, value: &Value) -> bool {
        let text = match value {
            Value::Null => "",
            Value::String(text) => text,
            _ => {
                self.refuse(place, "driver_opts.o", Permission::VolumeDriver, "it is not a text");
                ""
            }
        };
        let mut is_bind = false;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let setting = option.split_once('=').map(|(name, _)| name);
            match option {
                "bind" | "rbind" => is_bind = true,
                flag if MOUNT_FLAGS.contains(&flag) => {}
                _ if setting.is_some_and(|name| MOUNT_SETTINGS.contains(&name)) => {}
                _ => self.refuse(place, "driver_opts.o", Permission::VolumeDriver, format!("{option:?} is not understood")),
            }
        }
        is_bind
    }
}
