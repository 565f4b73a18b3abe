//! What the link is told, and what it wants done.

use crate::ids::Name;
use crate::protocol::{Grant, Holding, Refusal, Report, ToEdge, ToExecutor};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin to dial.
    Start,
    /// The dial succeeded: a socket is open.
    Opened,
    /// The socket ended, or the dial failed although somebody answered it.
    Closed {
        /// Why, for a person.
        reason: String,
    },
    /// The dial failed and nobody answered: there is no way to the edge, or
    /// nothing listens there.
    Unreachable {
        /// Why, for a person.
        reason: String,
    },
    /// A frame came.
    Frame(ToExecutor),
    /// The answer to a heartbeat came.
    Pong,
    /// A report was stored in the journal.
    Post {
        /// Its number, one more than the last.
        seq: u64,
        /// The report.
        report: Report,
    },
    /// The host woke from sleep, or its network changed: do not wait.
    Woke,
    /// Time passed.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a socket; answer [`Input::Opened`] or [`Input::Closed`].
    Dial,
    /// Sign this challenge and send a hello with what is held.
    Authenticate {
        /// The challenge.
        nonce: String,
    },
    /// Send this frame, made fit for [`Link::version`](super::Link::version).
    Send(ToEdge),
    /// Send a heartbeat.
    Ping,
    /// Drop the socket; no [`Input::Closed`] is expected for it.
    Hangup {
        /// Why, for a person.
        reason: String,
    },
    /// The hub grants a job: store it, then carry it out.
    Granted(Grant),
    /// The hub wants this attempt stopped.
    Cancelled(Holding),
    /// Somebody watches what the app of this project prints.
    Watched {
        /// The project.
        project: Name,
        /// Begin with the last lines.
        tail: bool,
    },
    /// Somebody looks at what is used on this host.
    Measured,
    /// Reports up to this number are stored at the hub.
    Forget {
        /// The highest number.
        seq: u64,
    },
    /// The hub has stored reports of this journal that this journal never
    /// made: it was put back to an older state. Give it a new identity; the
    /// link dials again and says so.
    Outrun {
        /// The highest number that the hub has.
        acknowledged: u64,
    },
    /// The link is up.
    Up {
        /// How long a lease lasts at least, in milliseconds.
        lease_ms: u64,
    },
    /// The hub refuses this host: dialling has ended, unless somebody may update
    /// or restore the edge ([`Refusal::Version`], [`Refusal::Unknown`]).
    Refused {
        /// What to make of it.
        refusal: Refusal,
        /// A sentence for a person.
        message: String,
    },
}
