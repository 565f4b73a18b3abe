//! Which socket is whose: an index over the platform's list of sockets.
//!
//! Only a cache, like the rest of memory: it is made from the sockets and their
//! attachments when it is not there, and each hello, accept and end of a socket
//! keeps it true. So one frame for one host costs one look-up, and a thousand
//! executors that come back at once cost the square of nothing.

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::time::Timestamp;
use worker::WebSocket;

use super::Hub;
use super::sockets::{Attachment, EXECUTOR, is_open};
use crate::platform::now;

/// The list of sockets is made anew this often at most.
const LISTED_MS: u64 = 10_000;

/// A host's believed socket.
#[derive(Clone)]
pub(super) struct Peer {
    pub ws: WebSocket,
    /// When its hello was believed.
    pub since: Timestamp,
}

/// The executors' sockets.
#[derive(Default)]
pub(super) struct Peers {
    hosts: BTreeMap<Name, Peer>,
    /// By when they came and the challenge that they were given. Also those that
    /// were cut and have not answered that: they cost as much as before.
    strangers: BTreeMap<(Timestamp, String), WebSocket>,
    /// When this was made.
    made: Timestamp,
}

impl Peers {
    fn add(&mut self, ws: WebSocket, attachment: Attachment) {
        match attachment.host {
            Some(host) => drop(self.hosts.insert(host, Peer { ws, since: attachment.since })),
            None => drop(self.strangers.insert((attachment.since, attachment.nonce), ws)),
        }
    }
}

impl Hub {
    /// Looks at the index, which is made first if it is not there.
    fn peers<T>(&self, look: impl FnOnce(&mut Peers) -> T) -> T {
        let mut peers = self.peers.borrow_mut();
        let peers = peers.get_or_insert_with(|| {
            let mut made = Peers { made: now(), ..Peers::default() };
            for (ws, attachment) in self.sockets(EXECUTOR) {
                if attachment.host.is_none() || is_open(&ws) {
                    made.add(ws, attachment);
                }
            }
            made
        });
        look(peers)
    }

    /// A stranger came.
    pub(super) fn add_stranger(&self, ws: WebSocket, attachment: Attachment) {
        self.peers(|peers| peers.add(ws, attachment));
    }

    /// A stranger's hello was believed: from now on its socket is the host's.
    pub(super) fn believe(&self, ws: &WebSocket, before: &Attachment, after: Attachment) {
        self.peers(|peers| {
            peers.strangers.remove(&(before.since, before.nonce.clone()));
            peers.add(ws.clone(), after);
        });
    }

    /// A stranger's socket ended.
    pub(super) fn drop_stranger(&self, attachment: &Attachment) {
        self.peers(|peers| peers.strangers.remove(&(attachment.since, attachment.nonce.clone())));
    }

    /// The believed socket of a host, if it is open.
    pub(super) fn peer(&self, host: &Name) -> Option<Peer> {
        self.peers(|peers| {
            let peer = peers.hosts.get(host).cloned();
            let peer = peer.filter(|peer| is_open(&peer.ws));
            if peer.is_none() {
                peers.hosts.remove(host);
            }
            peer
        })
    }

    /// Every host with a believed socket that is open.
    pub(super) fn all_peers(&self) -> Vec<(Name, Peer)> {
        self.peers(|peers| {
            peers.hosts.retain(|_, peer| is_open(&peer.ws));
            peers.hosts.iter().map(|(host, peer)| (host.clone(), peer.clone())).collect()
        })
    }

    /// How many strangers' sockets the platform keeps, also of those that were cut.
    pub(super) fn count_strangers(&self) -> usize {
        self.peers(|peers| peers.strangers.len())
    }

    /// Lists the sockets anew, in case one ended without a word; once in a while
    /// only, since it looks at each of them.
    pub(super) fn list_again(&self) {
        let is_due = self.peers(|peers| now().ms_since(peers.made) >= LISTED_MS);
        if is_due {
            *self.peers.borrow_mut() = None;
        }
    }

    /// Every open socket that has not said who it is, the oldest first.
    pub(super) fn all_strangers(&self) -> Vec<(Timestamp, WebSocket)> {
        self.peers(|peers| {
            let open = peers.strangers.iter().filter(|(_, ws)| is_open(ws));
            open.map(|((since, _), ws)| (*since, ws.clone())).collect()
        })
    }
}
