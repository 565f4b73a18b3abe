//! Reading of `[project.NAME.compose]`: which compose files, what they may ask
//! of this host, and which service answers.
//!
//! What is absent: looking at a compose file.

use std::net::SocketAddr;

use doorstep_shared::ids::ServiceName;

use super::address;
use super::model::{Compose, Recreate, Serves};
use super::permission::Allow;
use super::project::{absolute_dir, inner_file};
use super::reader::{ITEMS_MAX, Reader};
use super::section::{Found, Section};

/// Longest name of a compose project: it begins the names of its containers.
const NAME_BYTES_MAX: usize = 63;

/// The compose settings as read, with what no two projects may share.
pub(super) struct ComposeRead {
    pub(super) compose: Option<Compose>,
    pub(super) listen: Option<Found<SocketAddr>>,
}

impl ComposeRead {
    /// Whether a service of it has a port that can be asked.
    pub(super) fn has_port(&self) -> bool {
        self.compose.as_ref().is_some_and(|compose| compose.serves.is_some())
    }
}

/// Reads the compose settings, if there are some. `other` is what else the
/// project has that runs.
pub(super) fn compose<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
    other: Option<&str>,
) -> ComposeRead {
    let mut section = reader.section(parent, "compose");
    let file = reader.parsed(&mut section, "file", inner_file);
    let files = reader.list(&mut section, "files", 1..=ITEMS_MAX, inner_file);
    let services = reader.list(&mut section, "services", 1..=ITEMS_MAX, service);
    let profiles = reader.list(&mut section, "profiles", 1..=ITEMS_MAX, profile);
    let name = reader.parsed(&mut section, "name", name);
    let adopt = reader.choice(&mut section, "adopt", &[("no", false), ("yes", true)]);
    let binds = reader.list(&mut section, "binds", 1..=ITEMS_MAX, absolute_dir);
    let allow = reader.list(&mut section, "allow", 1..=ITEMS_MAX, allowed);
    let serves = reader.parsed(&mut section, "serves", serves);
    let listen = reader.parsed(&mut section, "listen", address::listen);
    let rebuild = reader.choice(&mut section, "rebuild", &[("changed", Recreate::Changed), ("all", Recreate::All)]);
    let (present, spot) = (section.present, section.spot.clone());
    if present && let Some(other) = other {
        let message = format!(
            "{} has both `{other}` and `compose`; a project is one or the other",
            parent.title()
        );
        reader.fault(&spot, message);
    }
    if file.is_some() && files.is_some() {
        reader.fault(&spot, format!("{} has both `file` and `files`; say `files`", section.title()));
    }
    if let (Some(found), None) = (&listen, &serves) {
        let message = "`listen` leads to a service: say which one and its port in its container, such as serves = \"web:8000\"";
        reader.absent(&found.spot, message);
    }
    sections.push(section);
    let compose = present.then(|| Compose {
        files: files.unwrap_or_else(|| file.into_iter().map(|found| found.value).collect()),
        services,
        profiles: profiles.unwrap_or_default(),
        name: name.map(|found| found.value),
        adopt: adopt.unwrap_or(false),
        binds: binds.unwrap_or_default(),
        allow: Allow::parse(&allow.unwrap_or_default()).unwrap_or_default(),
        serves: serves.map(|found| found.value),
        listen: listen.as_ref().map(|found| found.value),
        rebuild: rebuild.unwrap_or_default(),
    });
    ComposeRead { compose, listen }
}

/// A word of [`Permission`](super::permission::Permission), or `web:word`.
fn allowed(text: &str) -> Result<String, String> {
    Allow::default().add(text).map_err(|why| why.to_string())?;
    Ok(text.to_owned())
}

fn service(text: &str) -> Result<String, String> {
    text.parse::<ServiceName>().map_err(|_| "a service is named with letters, digits, `.`, `_` and `-`".to_owned())?;
    Ok(text.to_owned())
}

/// Compose's own rule for a profile.
fn profile(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err("a profile is named with letters, digits, `.`, `_` and `-`, a letter or digit first".to_owned())
}

/// Compose's own rule for the name of a project.
fn name(text: &str) -> Result<String, String> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.starts_with(first) && text.len() <= NAME_BYTES_MAX && text.chars().all(|c| first(c) || "_-".contains(c)) {
        return Ok(text.to_owned());
    }
    Err(format!("a compose project is named with at most {NAME_BYTES_MAX} of a-z, 0-9, `_` and `-`, a letter or digit first"))
}

/// `web:8000`
fn serves(text: &str) -> Result<Serves, String> {
    let wrong = || "a service and its port in its container are needed, such as \"web:8000\"".to_owned();
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    Ok(Serves { service: service(name)?, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_its_port() {
        assert_eq!(serves("web:8000"), Ok(Serves { service: "web".into(), port: 8000 }));
        for text in ["web", "web:", ":80", "web:0", "web:65536", "-x:80", "a b:80"] {
            assert!(serves(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_composes_own() {
        for text in ["media", "0", "a_b-c"] {
            assert!(name(text).is_ok(), "{text}");
        }
        for text in ["", "Media", "-a", "_a", "a.b", "a b"] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(profile("Prod.1").is_ok() && profile("-x").is_err() && profile("").is_err());
    }
}
