//! A network of a story's own, which misbehaves on command.
//!
//! The edge, each host and the street between them are network namespaces of
//! their own, joined by veth pairs; the street forwards, and its packet filter
//! drops or refuses what a [`Cut`] says. So neither end notices anything but
//! what it would notice of a real network. The namespaces have no names: the
//! kernel keeps each for as long as a process is in it, so stories cannot
//! collide, and nothing is left of one that was killed. Nothing here leads out
//! of the machine. It needs the right to make namespaces, iproute2 and nftables
//! (Linux).

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Hosts of one network: each has a subnet `10.83.N.0/24`, the edge has 10.83.0.
const HOSTS_MAX: usize = 100;
/// What the street's filter may do with the packets of a host, each way.
const FILTER: &str = "table ip street {
    map from_host { type ifname : verdict; }
    map to_host { type ifname : verdict; }
    chain refuse { reject with tcp reset; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname vmap @from_host
        oifname vmap @to_host
    }
}
";

/// What is wrong between a host and the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Half-open: what the host sends is lost on its way.
    FromHost,
    /// Half-open: what is sent to the host is lost on its way.
    ToHost,
    /// A black hole: everything is lost, without a word.
    Dark,
    /// What the host sends is answered with a reset, by somebody in between.
    Refused,
    /// The host's cable is out: it has no way to anywhere, and knows.
    Unplugged,
    /// The host has lost its address; when healed it has another one.
    Moved,
}

/// The edge's namespace, where the thread that made it lives from then on, the
/// hosts' namespaces, and the street.
#[derive(Debug)]
pub struct Net {
    street: Space,
    edge: Space,
    hosts: Vec<Space>,
    /// The last part of the address that was given last.
    last: Cell<u8>,
}

/// A namespace: it lives as long as its keeper, which ends with this process.
#[derive(Debug)]
struct Space(Child);

/// A network that leads nowhere, for a story that changes the packet filter.
#[derive(Debug)]
pub struct Alone {
    _space: Space,
}

impl Alone {
    /// Makes one, and moves this thread, and what it will start, into it.
    ///
    /// # Errors
    ///
    /// Why this machine, or this user, cannot have one.
    pub fn enter() -> Result<Self, String> {
        let space = Space::make()?;
        space.run("ip", &["link", "set", "lo", "up"])?;
        space.enter()?;
        Ok(Self { _space: space })
    }
}

impl Net {
    /// Makes a network for so many hosts, and moves this thread, and what it
    /// will start, to where the edge is.
    ///
    /// # Errors
    ///
    /// Why this machine, or this user, cannot have one.
    pub fn build(hosts: usize) -> Result<Self, String> {
        assert!(hosts <= HOSTS_MAX, "{hosts} hosts do not fit");
        let net = Self { street: Space::make()?, edge: Space::make()?, hosts: (0..hosts).map(|_| Space::make()).collect::<Result<_, _>>()?, last: Cell::new(2) };
        net.street.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        net.join(&net.edge, 0)?;
        for (number, host) in net.hosts.iter().enumerate() {
            net.join(host, number + 1)?;
        }
        net.street.feed("nft", &["-f", "-"], FILTER)?;
        net.edge.enter()?;
        Ok(net)
    }

    /// Lays a cable from the street to a place, with addresses and the way there.
    fn join(&self, place: &Space, number: usize) -> Result<(), String> {
        let (name, peer) = (cable(number), place.0.id().to_string());
        let (gateway, address) = (format!("10.83.{number}.1"), format!("10.83.{number}.2/24"));
        self.street.run("ip", &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &peer])?;
        self.street.run("ip", &["addr", "add", &format!("{gateway}/24"), "dev", &name])?;
        self.street.run("ip", &["link", "set", &name, "up"])?;
        place.run("ip", &["addr", "add", &address, "dev", "eth0"])?;
        place.run("ip", &["link", "set", "lo", "up"])?;
        place.run("ip", &["link", "set", "eth0", "up"])?;
        place.run("ip", &["route", "add", "default", "via", &gateway])
    }

    /// Where the edge is to listen.
    #[must_use]
    pub fn edge_address(&self) -> IpAddr {
        Ipv4Addr::new(10, 83, 0, 2).into()
    }

    /// The namespace of a host, as a path that a process can enter.
    #[must_use]
    pub fn space(&self, host: usize) -> PathBuf {
        self.hosts[host].path()
    }

    /// From now on this is wrong with a host's way to the edge, and nothing else.
    pub fn cut(&self, host: usize, cut: Cut) {
        let element = |map: &str, verdict: &str| format!("add element ip street {map} {{ \"{}\" : {verdict} }}\n", cable(host + 1));
        let rules = match cut {
            Cut::FromHost => element("from_host", "drop"),
            Cut::ToHost => element("to_host", "drop"),
            Cut::Dark => element("from_host", "drop") + &element("to_host", "drop"),
            Cut::Refused => element("from_host", "goto refuse"),
            Cut::Unplugged => {
                self.hosts[host].run("ip", &["link", "set", "eth0", "down"]).unwrap();
                return;
            }
            Cut::Moved => {
                self.hosts[host].run("ip", &["addr", "flush", "dev", "eth0"]).unwrap();
                return;
            }
        };
        self.street.feed("nft", &["-f", "-"], &rules).unwrap();
    }

    /// This is wrong no longer.
    pub fn heal(&self, host: usize, cut: Cut) {
        let element = |map: &str| format!("delete element ip street {map} {{ \"{}\" }}\n", cable(host + 1));
        let rules = match cut {
            Cut::FromHost | Cut::Refused => element("from_host"),
            Cut::ToHost => element("to_host"),
            Cut::Dark => element("from_host") + &element("to_host"),
            Cut::Unplugged => {
                self.hosts[host].run("ip", &["link", "set", "eth0", "up"]).unwrap();
                self.lead_out(host);
                return;
            }
            Cut::Moved => {
                self.last.set(self.last.get() + 1);
                let address = format!("10.83.{}.{}/24", host + 1, self.last.get());
                self.hosts[host].run("ip", &["addr", "add", &address, "dev", "eth0"]).unwrap();
                self.lead_out(host);
                return;
            }
        };
        self.street.feed("nft", &["-f", "-"], &rules).unwrap();
    }

    /// Gives a host its way to everywhere, as whatever keeps its network does.
    fn lead_out(&self, host: usize) {
        self.hosts[host].run("ip", &["route", "replace", "default", "via", &format!("10.83.{}.1", host + 1)]).unwrap();
    }
}

/// The street's end of a cable.
fn cable(number: usize) -> String {
    format!("cable{number}")
}

impl Space {
    /// Moves this thread, and what it will start, into it.
    fn enter(&self) -> Result<(), String> {
        let file = std::fs::File::open(self.path()).map_err(|fault| format!("a namespace cannot be opened: {fault}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|fault| format!("a namespace cannot be entered: {fault}"))
    }

    fn make() -> Result<Self, String> {
        // It ends when this end of its pipe is closed, also by the death of this process.
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|fault| format!("unshare does not start: {fault}"))?;
        let mut line = String::new();
        let told = keeper.stdout.take().map(BufReader::new).map(|mut stdout| stdout.read_line(&mut line));
        if !matches!(told, Some(Ok(_))) || line != "made\n" {
            let output = keeper.wait_with_output().map_err(|fault| format!("unshare: {fault}"))?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self(keeper))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(), String> {
        self.feed(program, args, "")
    }

    /// Runs a program there, to its end.
    fn feed(&self, program: &str, args: &[&str], input: &str) -> Result<(), String> {
        let fault = |what: &dyn std::fmt::Display| format!("{program} {}: {what}", args.join(" "));
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", self.path().display()))
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|what| fault(&what))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends early says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|what| fault(&what))?;
        if output.status.success() { Ok(()) } else { Err(fault(&String::from_utf8_lossy(&output.stderr).trim())) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
