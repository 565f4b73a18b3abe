//! `doorstep join <edge-url> <code>`: make a key here, register its public half.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{Refusal, ToEdge, ToExecutor, decode, encode, join_message};
use tokio::sync::mpsc;

use crate::cli::{Exit, Failure, JoinArgs, failure};
use crate::identity::Identity;
use crate::reach::Target;
use crate::socket::{Said, Socket};

/// How long the whole exchange may take.
const JOIN_MS_MAX: u64 = 20_000;

/// Enrols this host.
pub async fn run(args: &JoinArgs, state: &Path) -> Result<Exit, Failure> {
    let edge = check_edge(&args.edge)?;
    let host = name(args.name.as_deref())?;
    std::fs::create_dir_all(state).with_context(|| format!("{} cannot be made", state.display()))?;
    if let Some(known) = Identity::load(state)? {
        return Err(failure(
            Exit::Error,
            format!("this host is enrolled at {} as {}; to join anew, revoke it there and remove {}/identity.json", known.edge, known.host, state.display()),
        ));
    }
    let identity = Identity::create(host, edge)?;
    let exchange = exchange(&identity, &args.code);
    match tokio::time::timeout(Duration::from_millis(JOIN_MS_MAX), exchange).await {
        Ok(done) => done?,
        Err(_) => return Err(failure(Exit::Unreachable, format!("{} did not answer within 20 s", identity.edge))),
    }
    identity.save(state)?;
    say!("{} is enrolled at {}", identity.host, identity.edge);
    eprintln!("next: write doorstep.toml, then `doorstep run`");
    Ok(Exit::Ok)
}

async fn exchange(identity: &Identity, code: &str) -> Result<(), Failure> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let socket = Socket::dial(Target::of(&identity.edge), 0, move |_, what| {
        let _ = tell.send(what);
    });
    while let Some(said) = told.recv().await {
        let text = match said {
            Said::Opened | Said::Pong => continue,
            Said::Closed(reason) | Said::Unreachable(reason) => return Err(failure(Exit::Unreachable, format!("{}: {reason}", identity.edge))),
            Said::Text(text) => text,
        };
        match decode::<ToExecutor>(&text).context("the edge does not speak this protocol")? {
            ToExecutor::Challenge { nonce, .. } => {
                let public_key = identity.public_key()?;
                let signature = identity.sign(&join_message(&identity.host, &nonce, &public_key))?;
                let join = ToEdge::Join { code: code.to_owned(), host: identity.host.clone(), public_key, signature };
                socket.send(encode(&join).context("the join frame")?);
            }
            ToExecutor::Joined { .. } => return Ok(()),
            ToExecutor::Refuse { refusal, message } => {
                let exit = match refusal {
                    Refusal::NotAuthorised | Refusal::Unknown | Refusal::BadCode | Refusal::NameTaken => Exit::NotAuthorised,
                    Refusal::Busy | Refusal::Replaced => Exit::Busy,
                    Refusal::Version | Refusal::Protocol => Exit::Error,
                };
                return Err(failure(exit, message));
            }
            ToExecutor::Welcome { .. } | ToExecutor::Grant { .. } | ToExecutor::Cancel { .. } | ToExecutor::Watch { .. } | ToExecutor::Measure | ToExecutor::Acknowledge { .. } => {}
        }
    }
    Err(failure(Exit::Unreachable, "the socket ended"))
}

/// The edge's address: https, or http to this machine, where nobody listens in.
fn check_edge(edge: &str) -> Result<String, Failure> {
    let wrong = |why: &str| failure(Exit::Error, format!("`{edge}` is not an edge's address: {why}"));
    let url = url::Url::parse(edge).map_err(|fault| wrong(&fault.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("it holds more than a host and a port"));
    }
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(wrong("it names no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_here => {}
        "http" => return Err(wrong("use https, so that nobody on the way can change what is said")),
        _ => return Err(wrong("it begins with https://")),
    }
    Ok(edge.trim_end_matches('/').to_owned())
}

fn name(given: Option<&str>) -> Result<Name, Failure> {
    if let Some(given) = given {
        return given.parse().map_err(|fault| failure(Exit::Error, format!("{fault}")));
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name_of(&machine).ok_or_else(|| failure(Exit::Error, format!("the machine's name `{}` cannot be a host's name; give one with --name", machine.trim())))
}

fn name_of(machine: &str) -> Option<Name> {
    let plain: String = machine.trim().to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' }).collect();
    plain.trim_start_matches(['.', '-', '_']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_https_or_near() {
        for good in ["https://e.example", "https://e.example/", "http://127.0.0.1:8787", "http://localhost:1", "http://192.168.1.5:8787"] {
            assert!(check_edge(good).is_ok(), "{good}");
        }
        for bad in ["e.example", "ftp://e", "http://e.example", "https://u:p@e", "https://e/?x=1", ""] {
            assert!(check_edge(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn machines_names_become_names() {
        assert_eq!(name_of("Attic.LAN\n").unwrap().as_str(), "attic.lan");
        assert_eq!(name_of("--Büro").unwrap().as_str(), "b-ro");
        assert!(name_of("\n").is_none());
    }
}
