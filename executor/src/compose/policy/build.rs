//! How a service is built: what the builder may read, fetch and do.
//!
//! What the Dockerfile says is not looked at: its steps run in the builder's
//! containers, and can fetch what they like.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Check, is_one_of, is_unset};
use crate::compose::ground::is_remote;
use crate::compose::permission::{Permission, Place};

/// Known, and none of the host's business. `secrets` are names of the top level.
#[rustfmt::skip]
const HARMLESS: [&str; 15] = [
    "args", "dockerfile_inline", "extra_hosts", "labels", "no_cache", "no_cache_filter", "platforms",
    "provenance", "pull", "sbom", "secrets", "shm_size", "tags", "target", "ulimits",
];

/// Where a cache may be kept besides `local`: with the image, or in a store that
/// is named by address.
const CACHES: [&str; 6] = ["azblob", "gha", "inline", "local", "registry", "s3"];

impl Check<'_> {
    pub(super) fn build(&mut self, place: &Place, value: &Value) {
        let build = match value {
            Value::Object(build) => build,
            Value::Null => return,
            _ => return self.refuse(place, "build", Permission::OutsideFile, "it is not an object"),
        };
        for (key, value) in build {
            let name = format!("build.{key}");
            match key.as_str() {
                "additional_contexts" => self.contexts(place, &name, value),
                "cache_from" | "cache_to" => self.caches(place, &name, value),
                "context" => self.context(place, name, value),
                "dockerfile" => self.dockerfile(place, name, value, build),
                "entitlements" => self.entitlements(place, &name, value),
                "isolation" if is_one_of(value, &["default"]) => {}
                "isolation" => self.refuse(place, name, Permission::Runtime, "it would be built with another isolation than this host's default"),
                "network" if is_one_of(value, &["bridge", "default", "none"]) => {}
                "network" => self.refuse(place, name, Permission::HostNetwork, "its build would share this host's network"),
                "privileged" => self.flag(place, name, value, Permission::Privileged, "its build would have all rights of this host"),
                "ssh" => self.never(place, name, value, Permission::BuildSsh, "its build would use the executor's SSH agent or keys"),
                key if HARMLESS.contains(&key) => {}
                _ => self.unknown(place, &name),
            }
        }
    }

    fn context(&mut self, place: &Place, key: String, value: &Value) {
        match value.as_str() {
            Some(context) if !context.starts_with('/') && is_remote(context) => {
                self.refuse(place, key, Permission::RemoteContext, format!("{context:?} would be fetched, and is not what was pushed"));
            }
            _ => self.path(place, key, value, Permission::OutsideFile),
        }
    }

    fn contexts(&mut self, place: &Place, key: &str, value: &Value) {
        let Value::Object(contexts) = value else {
            return self.never(place, key, value, Permission::OutsideFile, "it is not an object");
        };
        for (name, context) in contexts {
            if !context.as_str().is_some_and(|context| context.starts_with("service:")) {
                self.context(place, format!("{key}.{name}"), context);
            }
        }
    }

    /// Compose joins it to the context, unless that is fetched: then it lies
    /// in there.
    fn dockerfile(&mut self, place: &Place, key: String, value: &Value, build: &Map<String, Value>) {
        if is_unset(value) {
            return;
        }
        let context = build.get("context").and_then(Value::as_str).unwrap_or_default();
        match value.as_str() {
            Some(file) if file.contains("://") => self.refuse(place, key, Permission::RemoteContext, format!("{file:?} would be fetched, and is not what was pushed")),
            Some(file) if context.starts_with('/') => match Path::new(context).join(file).to_str() {
                Some(path) => self.path_text(place, key, path, Permission::OutsideFile),
                None => self.path(place, key, value, Permission::OutsideFile),
            },
            Some(file) if is_remote(context) && !file.starts_with('/') => {}
            _ => self.path(place, key, value, Permission::OutsideFile),
        }
    }

    fn caches(&mut self, place: &Place, key: &str, value: &Value) {
        for cache in self.texts(place, key, value, Permission::OutsideFile) {
            // Without a `=` it is the name of an image.
            if !cache.contains('=') {
                continue;
            }
            // It is a line of CSV; one with quotes or more lines is not taken apart here.
            if cache.contains('"') || cache.contains(char::is_control) {
                self.refuse(place, key, Permission::OutsideFile, format!("{cache:?} is not understood"));
                continue;
            }
            let fields = cache.split(',').map(|field| field.split_once('=').unwrap_or((field, "")));
            for (name, setting) in fields {
                match name.trim().to_ascii_lowercase().as_str() {
                    "type" if CACHES.contains(&setting) => {}
                    "type" => self.refuse(place, key, Permission::OutsideFile, format!("{cache:?} is a kind of cache that is not understood")),
                    "src" | "dest" => self.path_text(place, key.to_owned(), setting, Permission::OutsideFile),
                    _ => {}
                }
            }
        }
    }

    fn entitlements(&mut self, place: &Place, key: &str, value: &Value) {
        for entitlement in self.texts(place, key, value, Permission::Privileged) {
            let word = match entitlement.split('=').next() {
                Some("network.host") => Permission::HostNetwork,
                Some("device") => Permission::Devices,
                _ => Permission::Privileged,
            };
            self.refuse(place, key, word, format!("its build would have {entitlement:?} of this host"));
        }
    }
}
