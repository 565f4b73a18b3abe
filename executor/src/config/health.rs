//! Reading of `[project.NAME.health]` and `[project.NAME.hooks]`: how one sees
//! that a release is well, and what is run around the switch to it.
//!
//! A check of the release's own port makes sense only where the process has
//! one; what is expected of an answer only where HTTP is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::{self, PORT_PLACEHOLDER};
use super::fault::shown;
use super::model::{Expected, Health, Hooks, Probe};
use super::process::WAIT_MAX;
use super::reader::Reader;
use super::section::Section;
use super::{duration, url, variable};

/// Shortest pause between two checks; below it a check is a busy loop.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// An app that starts is asked for a fraction of a millisecond each time; what
/// is waited for beyond its first answer is the whole of a deploy's overhead.
const INTERVAL_DEFAULT: Duration = Duration::from_millis(3);
const WITHIN_DEFAULT: Duration = Duration::from_mins(1);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const GOOD_DEFAULT: u32 = 3;
/// A migration of some million rows.
const HOOK_WITHIN_DEFAULT: Duration = Duration::from_mins(5);

/// More good answers in a row than this prove nothing more.
const GOOD_MAX: u32 = 1000;

/// Longest text that an answer is searched for, in bytes.
const BODY_BYTES_MAX: usize = 1_000;

/// What of a project can be looked at without a word about it.
pub(super) struct Known {
    /// A port that can be asked.
    pub(super) has_port: bool,
    /// Containers, whose states and own checks are looked at anyhow.
    pub(super) has_containers: bool,
}

/// Reads the health check, if there is one.
pub(super) fn health<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
    known: &Known,
) -> Option<Health> {
    let mut section = reader.section(parent, "health");
    let known_faults = reader.faults.len();
    let probe = probe(reader, &mut section, known.has_port);
    let probe_wrong = reader.faults.len() > known_faults;
    let expected = expected(reader, &mut section, probe.as_ref());
    let good = reader.number(&mut section, "good", 1..=GOOD_MAX);
    let known_faults = reader.faults.len();
    let interval = reader.duration(&mut section, "interval", INTERVAL_MIN..=WAIT_MAX);
    let within = reader.duration(&mut section, "within", INTERVAL_MIN..=WAIT_MAX);
    let says_of_states = known.has_containers && (good.is_some() || interval.is_some() || within.is_some());
    let within = within.map_or(WITHIN_DEFAULT, |found| found.value);
    let too_long = interval.as_ref().filter(|found| found.value > within);
    // A wrong `within` stands as its default here, which proves nothing.
    if let Some(found) = too_long.filter(|_| reader.faults.len() == known_faults) {
        let within = duration::written(within);
        let message = format!("`interval`: longer than `within`, which is {within}");
        reader.absent(&found.spot, message);
    }
    let timeout = reader.duration(&mut section, "timeout", INTERVAL_MIN..=WAIT_MAX);
    let grace = reader.duration(&mut section, "grace", Duration::ZERO..=WAIT_MAX);
    let soak = reader.duration(&mut section, "soak", Duration::ZERO..=WAIT_MAX);
    let says_how_long = grace.is_some() || soak.is_some() || says_of_states;
    if section.present && probe.is_none() && !probe_wrong && !says_how_long {
        let message = format!(
            "{} needs one of `http`, `tcp`, `command`, or for an app that answers nothing a `grace` or a `soak`",
            section.title()
        );
        reader.absent(&section.spot, message);
    }
    sections.push(section);
    Some(Health {
        probe: probe.or_else(|| says_how_long.then_some(Probe::Stays))?,
        expected,
        good: good.unwrap_or(GOOD_DEFAULT),
        interval: interval.map_or(INTERVAL_DEFAULT, |found| found.value),
        within,
        timeout: timeout.map_or(TIMEOUT_DEFAULT, |found| found.value),
        grace: grace.map(|found| found.value),
        soak: soak.map_or(Duration::ZERO, |found| found.value),
    })
}

/// What an HTTP answer must be.
fn expected(reader: &mut Reader<'_>, section: &mut Section<'_>, probe: Option<&Probe>) -> Expected {
    let known_faults = reader.faults.len();
    let status = reader.number(section, "status", 100..=599);
    let body = reader.parsed(section, "body", |text| match text.len() {
        0 => Err("every answer holds an empty text".to_owned()),
        1..=BODY_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("at most {BODY_BYTES_MAX} bytes are looked for")),
    });
    let headers_section = reader.section(section, "headers");
    let headers = headers(reader, &headers_section);
    let any = status.is_some() || body.is_some() || !headers.is_empty();
    let is_http = matches!(probe, Some(Probe::HttpPath(_) | Probe::HttpUrl(_)));
    if any && !is_http && probe.is_some() && reader.faults.len() == known_faults {
        let message = format!("{}: `status`, `body` and `headers` go with `http`", section.title());
        reader.fault(&section.spot, message);
    }
    Expected {
        status: status.and_then(|status| u16::try_from(status).ok()),
        body: body.map(|found| found.value),
        headers,
    }
}

fn headers(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<String, String> {
    let path = section.child_path("");
    let headers = reader.free_table(section, |key| {
        if !is_header_name(key) {
            return Err(format!("`{}` is no name of a header", shown(key)));
        }
        if variable::looks_secret(key) || key.eq_ignore_ascii_case("authorization") || key.eq_ignore_ascii_case("cookie") {
            let place = variable::place_for_secret(&path);
            return Err(format!("`{}` looks like a secret, and this file holds none; {place}", shown(key)));
        }
        Ok(())
    });
    for (key, value) in &headers {
        if value.chars().any(|c| c.is_control() || !c.is_ascii()) {
            reader.fault(&section.spot, format!("`{key}`: no value of a header"));
        }
    }
    headers
}

/// A token of RFC 9110, section 5.6.2.
fn is_header_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Reads the hooks, if there are some.
pub(super) fn hooks<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Hooks {
    let mut section = reader.section(parent, "hooks");
    let before_switch = reader.argvs(&mut section, "before_switch").unwrap_or_default();
    let after_switch = reader.argvs(&mut section, "after_switch").unwrap_or_default();
    let within = reader.duration(&mut section, "within", INTERVAL_MIN..=WAIT_MAX);
    sections.push(section);
    Hooks {
        before_switch,
        after_switch,
        within: within.map_or(HOOK_WITHIN_DEFAULT, |found| found.value),
    }
}

/// The one probe among `http`, `tcp` and `command`.
fn probe(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    has_port: bool,
) -> Option<Probe> {
    let http = reader.parsed(section, "http", |text| {
        url::health(text).map(|text| {
            if text.starts_with('/') {
                Probe::HttpPath(text)
            } else {
                Probe::HttpUrl(text)
            }
        })
    });
    let tcp = reader.parsed(section, "tcp", |text| address::dial(text).map(Probe::Tcp));
    let command = reader.argv(section, "command").map(Probe::Command);
    let mut probes = Vec::new();
    probes.extend(http.map(|found| (found.value, found.spot)));
    probes.extend(tcp.map(|found| (found.value, found.spot)));
    probes.extend(command.map(|probe| (probe, section.spot.clone())));
    if probes.len() > 1 {
        let message = format!(
            "{} has more than one of `http`, `tcp`, `command`",
            section.title()
        );
        reader.fault(&section.spot, message);
    }
    let (probe, spot) = probes.into_iter().next()?;
    if needs_port(&probe) && !has_port {
        let title = section.title().replace(".health]", ".process]");
        let message = format!(
            "this check needs a port of the release: give {title} a `listen` or a {PORT_PLACEHOLDER} in its `command`, a compose project `serves`, or check a fixed address"
        );
        reader.absent(&spot, message);
    }
    Some(probe)
}

fn needs_port(probe: &Probe) -> bool {
    match probe {
        Probe::HttpPath(_) => true,
        Probe::Stays => false,
        Probe::HttpUrl(text) | Probe::Tcp(text) => text.contains(PORT_PLACEHOLDER),
        Probe::Command(argv) => argv.iter().any(|arg| arg.contains(PORT_PLACEHOLDER)),
    }
}
