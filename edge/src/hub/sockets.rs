//! The hub's sockets: executors, which prove who they are, and pages.
//!
//! What must survive hibernation is in the socket's attachment. A socket is a
//! host's only after its hello was believed; until then it is a stranger, has
//! ten seconds, and changes nothing. Invariant: at most one believed socket
//! of a host; a newer one replaces the older.

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{self, Refusal, ToEdge, ToExecutor, VERSION, VERSION_MIN};
use doorstep_shared::queue::Input;
use doorstep_shared::time::Timestamp;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use worker::{Error, Request, Response, Result, WebSocket, WebSocketPair, console_error};

use super::arrivals::{Arrival, Missed};
use super::greet::{Greeting, announce};
use super::{Hub, peers::Peer, turn::Sends};
use crate::asker::Asker;
use crate::call::ASKER_HEADER;
use crate::platform::{now, random};
use crate::reply;
use crate::store::{Statement, number, text};

/// A stranger that has not said who it is by then is cut.
const STRANGER_MS_MAX: u64 = 10_000;
/// Strangers at once; the oldest gives way. Each costs the hub some memory.
const STRANGERS_MAX: usize = 256;
/// Their sockets, with those that were cut and whose peer does not answer that:
/// the platform keeps these until the connection ends. As many again; past that,
/// nobody else is let in. An object takes 32,768 sockets, and hosts need theirs.
const STRANGER_SOCKETS_MAX: usize = 2 * STRANGERS_MAX;
/// Pages at once.
const PAGES_MAX: usize = 256;
/// An executor beats each 15 s; one that was not heard for three of them is
/// not shown as online.
const HEARD_MS_MAX: u64 = 45_000;

/// The tag of executors' sockets.
pub(super) const EXECUTOR: &str = "executor";
pub(super) const PAGE: &str = "page";

#[wasm_bindgen]
extern "C" {
    type RawState;
    #[wasm_bindgen(method, catch, js_name = getWebSocketAutoResponseTimestamp)]
    fn auto_response_at(this: &RawState, ws: &JsValue) -> std::result::Result<JsValue, JsValue>;
    // The crate's own panics where the platform throws, and the object is dead.
    #[wasm_bindgen(method, catch, js_name = acceptWebSocket)]
    fn accept(this: &RawState, ws: &JsValue, tags: &js_sys::Array) -> std::result::Result<(), JsValue>;
}

/// What a socket is, kept across hibernation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Attachment {
    pub nonce: String,
    pub since: Timestamp,
    pub host: Option<Name>,
    /// No report came on this socket yet: the first may leave a gap, when this
    /// edge was put back to an older state.
    #[serde(default)]
    pub is_fresh: bool,
    /// Why this host can take no job now, if so.
    #[serde(default)]
    pub parked: Option<String>,
    /// The version of the protocol that this host speaks; 0 for others.
    #[serde(default)]
    pub version: u16,
    /// The host and the project whose app's output this page shows.
    #[serde(default)]
    pub watches: Option<(Name, Name)>,
    /// This page shows what is used.
    #[serde(default)]
    pub measures: bool,
    /// Since when this host's daemon and its machine run.
    #[serde(default)]
    pub started: Option<Timestamp>,
    #[serde(default)]
    pub booted: Option<Timestamp>,
    /// The session of the person at this page.
    #[serde(default)]
    pub session: Option<String>,
}

impl Attachment {
    /// Of a socket that has said nothing yet.
    fn new() -> Self {
        Self { nonce: String::new(), since: now(), host: None, is_fresh: false, parked: None, version: 0, watches: None, measures: false, started: None, booted: None, session: None }
    }
}

/// How a host with a believed socket is.
pub(super) struct Presence {
    /// It was heard lately; what pages call online.
    pub online: bool,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// Why it can take no job now, if so.
    pub parked: Option<String>,
    /// Since when its daemon and its machine run, if it said so.
    pub started: Option<Timestamp>,
    pub booted: Option<Timestamp>,
}

impl Hub {
    pub(super) async fn accept_executor(&self) -> Result<Response> {
        if self.count_strangers() >= STRANGER_SOCKETS_MAX {
            self.list_again();
        }
        if self.count_strangers() >= STRANGER_SOCKETS_MAX {
            return reply::error(503, "busy", "too many connections that have not said who they are");
        }
        let strangers = self.all_strangers();
        if strangers.len() >= STRANGERS_MAX
            && let Some((_, oldest)) = strangers.first()
        {
            let _ = oldest.close(Some(1013), Some("too many strangers"));
        }
        let pair = WebSocketPair::new()?;
        let nonce = hex::encode(random::<32>()?);
        if let Err(fault) = self.accept(&pair.server, EXECUTOR) {
            return full(&fault);
        }
        let stranger = Attachment { nonce: nonce.clone(), is_fresh: true, ..Attachment::new() };
        attach(&pair.server, &stranger)?;
        self.add_stranger(pair.server.clone(), stranger);
        frame(&pair.server, &ToExecutor::Challenge { nonce, version: VERSION, version_min: VERSION_MIN });
        self.set_alarm(now().plus_ms(STRANGER_MS_MAX)).await;
        Response::from_websocket(pair.client)
    }

    /// A page's socket, for somebody whose session goes on.
    pub(super) fn accept_live(&self, req: &Request) -> Result<Response> {
        let by: Asker = serde_json::from_str(&req.headers().get(ASKER_HEADER)?.unwrap_or_default())?;
        if !self.admits(&by)? {
            return reply::ended();
        }
        if self.open(PAGE).count() >= PAGES_MAX {
            return reply::error(503, "busy", "too many pages are open");
        }
        let pair = WebSocketPair::new()?;
        if let Err(fault) = self.accept(&pair.server, PAGE) {
            return full(&fault);
        }
        attach(&pair.server, &Attachment { session: by.session().map(str::to_owned), ..Attachment::new() })?;
        self.nudge_too(&pair.server);
        Response::from_websocket(pair.client)
    }

    /// Gives a socket to the platform, which keeps it while the hub sleeps.
    fn accept(&self, ws: &WebSocket, kind: &str) -> Result<()> {
        let raw: &RawState = self.state.as_raw().unchecked_ref();
        raw.accept(ws.as_ref(), &js_sys::Array::of1(&kind.into())).map_err(Error::from)
    }

    /// Sockets of a kind that have not ended, with what they are.
    pub(super) fn sockets(&self, kind: &str) -> impl Iterator<Item = (WebSocket, Attachment)> {
        self.state.get_websockets_with_tag(kind).into_iter().filter_map(|ws| {
            let attachment = attachment(&ws)?;
            Some((ws, attachment))
        })
    }

    /// The open ones of them.
    pub(super) fn open(&self, kind: &str) -> impl Iterator<Item = (WebSocket, Attachment)> {
        self.sockets(kind).filter(|(ws, _)| is_open(ws))
    }

    /// Hosts with a believed socket.
    pub(super) fn hosts_online(&self) -> Vec<Name> {
        self.all_peers().into_iter().map(|(host, _)| host).collect()
    }

    /// Hosts that can take no job now.
    pub(super) fn hosts_parked(&self) -> Vec<Name> {
        let parked = |(host, peer): (Name, Peer)| attachment(&peer.ws)?.parked.map(|_| host);
        self.all_peers().into_iter().filter_map(parked).collect()
    }

    /// Every host with a believed socket, as pages show it.
    pub(super) fn presence(&self) -> BTreeMap<Name, Presence> {
        let present = |(host, peer): (Name, Peer)| {
            let said = attachment(&peer.ws);
            (host, self.presence_of(&peer, said))
        };
        self.all_peers().into_iter().map(present).collect()
    }

    /// Is this host there, as pages show it?
    pub(super) fn is_online(&self, host: &Name) -> bool {
        self.peer(host).is_some_and(|peer| self.presence_of(&peer, None).online)
    }

    fn presence_of(&self, peer: &Peer, said: Option<Attachment>) -> Presence {
        let heard_at = self.heard_at(peer);
        let (parked, started, booted) = said.map(|said| (said.parked, said.started, said.booted)).unwrap_or_default();
        Presence { online: now().ms_since(heard_at) <= HEARD_MS_MAX, heard_at, parked, started, booted }
    }

    fn heard_at(&self, peer: &Peer) -> Timestamp {
        let raw: &RawState = self.state.as_raw().unchecked_ref();
        let beat = raw.auto_response_at(peer.ws.as_ref()).ok().and_then(|date| date.dyn_into::<js_sys::Date>().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time after 1970 and below 2^53")]
        let beat = beat.map_or(0, |date| date.get_time() as u64);
        Timestamp(beat).max(peer.since)
    }

    /// Cuts strangers that said nothing in time; says when the next one is due.
    pub(super) fn cut_strangers(&self) -> Option<Timestamp> {
        let now = now();
        let mut next = None;
        for (since, ws) in self.all_strangers() {
            let due = since.plus_ms(STRANGER_MS_MAX);
            if due <= now {
                let _ = ws.close(Some(1008), Some("say hello within 10 seconds"));
            } else {
                next = Some(next.map_or(due, |earlier: Timestamp| earlier.min(due)));
            }
        }
        next
    }

    /// Cuts hosts that were not heard for so long that they are gone, though
    /// nobody closed their socket (power cut, suspended laptop): a lease that
    /// ends must not be granted to them again and again. Says when each was heard.
    pub(super) fn cut_silent_hosts(&self) -> Vec<(Name, Timestamp)> {
        let now = now();
        let mut silent = Vec::new();
        for (host, peer) in self.all_peers() {
            let heard_at = self.heard_at(&peer);
            if now.ms_since(heard_at) > HEARD_MS_MAX {
                let _ = peer.ws.close(Some(1001), Some("not heard for 45 seconds"));
                silent.push((host, heard_at));
            }
        }
        silent
    }

    /// Sends a turn's frames; a frame that does not arrive is granted again.
    pub(super) fn send(&self, sends: Sends) {
        for ws in &sends.begun {
            let begun = attachment(ws).map(|known| attach(ws, &Attachment { is_fresh: false, ..known }));
            if let Some(Err(fault)) = begun {
                console_error!("a socket was not marked as begun: {fault}");
            }
        }
        for (host, message) in &sends.frames {
            if let Some(peer) = self.peer(host) {
                frame(&peer.ws, message);
            }
        }
        self.nudge(sends.change);
    }

    /// Cuts the believed socket of a host with a reason.
    pub(super) fn cut_host(&self, host: &Name, refusal: Refusal, message: &str) {
        if let Some(peer) = self.peer(host) {
            refuse(&peer.ws, refusal, message);
        }
    }

    /// A socket ended.
    pub(super) async fn gone(&self, ws: &WebSocket) {
        let Some(attachment) = attachment(ws) else { return };
        let Some(host) = attachment.host.clone() else { return self.drop_stranger(&attachment) };
        // The closing socket is not among the open ones any more, but a replaced
        // one leaves its host online.
        if self.peer(&host).is_some() {
            return;
        }
        // One that was cut for its silence was not heard by ending.
        let heard_at = self.heard_at(&Peer { ws: ws.clone(), since: attachment.since });
        let outcome = self.turn(|memory, turn| {
            turn.queue(memory, Input::Disconnected { host: host.clone() });
            let seen = if turn.now.ms_since(heard_at) > HEARD_MS_MAX { heard_at } else { turn.now };
            turn.write(Statement::new("UPDATE hosts SET last_seen = max(last_seen, ?) WHERE name = ?", [number(seen.0), text(host.as_str())]));
            turn.changed();
            Ok(())
        });
        if let Err(fault) = outcome.await {
            console_error!("a host's going was not noted: {fault}");
        }
    }

    /// A frame came.
    pub(super) async fn heard(&self, ws: &WebSocket, message: &str) -> Result<()> {
        let Some(attachment) = attachment(ws) else { return Ok(()) };
        // A peer that was cut (revoked, replaced, refused) may go on to send until
        // it answers our close; nothing more is taken from it.
        if !is_open(ws) {
            return Ok(());
        }
        if !self.state.get_tags(ws).iter().any(|tag| tag == EXECUTOR) {
            return self.page_said(ws, attachment, message);
        }
        let bytes = message.len();
        let message: ToEdge = match protocol::decode(message) {
            Ok(message) => message,
            Err(fault) => {
                refuse(ws, Refusal::Protocol, &fault.to_string());
                return Ok(());
            }
        };
        if !matches!(message, ToEdge::Report { .. } | ToEdge::Printed { .. } | ToEdge::Used { .. }) {
            self.commit_arrivals().await;
        }
        match (attachment.host.clone(), message) {
            (None, ToEdge::Join { code, host, public_key, signature }) => {
                self.join(ws, &attachment.nonce, &code, &host, &public_key, &signature).await
            }
            (None, ToEdge::Hello { version, executor_version, host, signature, journal, holding, projects, parked, started, booted }) => {
                let greeting = Greeting { version, executor_version, host, signature, journal, holding, projects, parked, started, booted };
                self.hello(ws, attachment, greeting).await
            }
            (Some(host), ToEdge::Report { seq, report }) => {
                let arrival = Arrival::Report { ws: ws.clone(), host, seq, report, bytes };
                match self.arrive(arrival).await {
                    Ok(_) => Ok(()),
                    // The host dials again and sends what was not acknowledged.
                    Err(Missed::Busy) => ws.close(Some(1013), Some("too many reports at once")),
                    Err(Missed::Fault(fault)) => Err(fault),
                }
            }
            (Some(host), ToEdge::Renew { holding }) => {
                self.queue_turn(Input::Renew { host, holding }).await
            }
            (Some(host), ToEdge::Projects { projects }) => {
                self.turn(|memory, turn| {
                    announce(&host, projects, memory, turn)?;
                    Ok(())
                })
                .await
            }
            (Some(host), ToEdge::Parked { reason }) => {
                let parked = reason.is_some();
                attach(ws, &Attachment { parked: reason.map(|reason| line(&reason)), ..attachment })?;
                self.turn(|memory, turn| {
                    turn.changed();
                    turn.queue(memory, Input::Parked { host, parked });
                    Ok(())
                })
                .await
            }
            (Some(host), ToEdge::Behind { project, head, first }) => self.behind(&host, &project, &head, first).await,
            (Some(host), ToEdge::Printed { project, first, lines }) => {
                self.printed(&(host, project), first, &lines);
                Ok(())
            }
            (Some(host), ToEdge::Used { round_trip_ms, used }) => {
                self.used(&host, round_trip_ms, &used);
                Ok(())
            }
            (
                None,
                ToEdge::Report { .. }
                | ToEdge::Renew { .. }
                | ToEdge::Projects { .. }
                | ToEdge::Parked { .. }
                | ToEdge::Behind { .. }
                | ToEdge::Printed { .. }
                | ToEdge::Used { .. },
            )
            | (Some(_), ToEdge::Join { .. } | ToEdge::Hello { .. }) => {
                refuse(ws, Refusal::Protocol, "this frame is out of order");
                Ok(())
            }
        }
    }
}

/// A line from a host, made fit to keep: an attachment holds 16 KiB.
pub(super) fn line(text: &str) -> String {
    doorstep_shared::text::cut(&doorstep_shared::text::clean_line(text), 500).to_owned()
}

/// The version of the protocol that a host speaks.
pub(super) fn version_of(peer: &Peer) -> u16 {
    attachment(&peer.ws).map_or(0, |attachment| attachment.version)
}

/// What a socket is, as it was attached.
pub(super) fn attachment(ws: &WebSocket) -> Option<Attachment> {
    let text: String = ws.deserialize_attachment().ok().flatten()?;
    serde_json::from_str(&text).ok()
}

pub(super) fn attach(ws: &WebSocket, attachment: &Attachment) -> Result<()> {
    ws.serialize_attachment(serde_json::to_string(attachment)?)
}

/// Is it neither closing nor closed?
pub(super) fn is_open(ws: &WebSocket) -> bool {
    ws.as_ref().ready_state() == 1
}

/// Sends a frame; a dead socket is noticed by its host's silence.
pub(super) fn frame(ws: &WebSocket, message: &ToExecutor) {
    match protocol::encode(message) {
        Ok(message) => {
            let _ = ws.send_with_str(message);
        }
        Err(fault) => console_error!("a frame was not written: {fault}"),
    }
}

/// The platform takes no more sockets.
fn full(fault: &Error) -> Result<Response> {
    console_error!("a socket was not accepted: {fault}");
    reply::error(503, "busy", "too many connections")
}

pub(super) fn refuse(ws: &WebSocket, refusal: Refusal, message: &str) {
    frame(ws, &ToExecutor::Refuse { refusal, message: message.to_owned() });
    let _ = ws.close(Some(4000), Some("refused"));
}
