//! What the link engine wants done. It decides, and nothing here does.

use anyhow::Result;
use doorstep_shared::link::Output;
use doorstep_shared::protocol::Refusal;
use tracing::{error, info, warn};

use super::{Daemon, Wake};
use crate::clock;
use crate::socket::Socket;

impl Daemon {
    /// Does what the link engine wants done.
    pub(super) fn carry_out(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Dial => {
                let Some(target) = self.target.clone() else { return Ok(()) };
                self.sockets += 1;
                let wake = self.shared.wake.clone();
                self.socket = Some(Socket::dial(target, self.sockets, move |number, said| {
                    let _ = wake.send(Wake::Said(number, said));
                }));
            }
            Output::Authenticate { nonce } => self.hello(&nonce)?,
            Output::Send(frame) => self.send(&frame)?,
            Output::Ping => {
                if let Some(socket) = &self.socket {
                    socket.ping();
                    self.measures.pinged(clock::steady().0);
                }
            }
            Output::Hangup { reason } => {
                warn!("the socket to the edge is dropped: {reason}");
                self.socket = None;
            }
            Output::Granted(grant) => {
                if self.shared.journal.store_grant(&grant)? {
                    self.accept(&grant);
                }
            }
            Output::Watched { project, tail } => self.watched(project, tail),
            Output::Measured => self.measured(),
            Output::Cancelled(holding) => self.cancel(holding)?,
            Output::Forget { seq } => self.shared.journal.forget(seq)?,
            Output::Outrun { acknowledged } => {
                warn!("the edge has reports up to {acknowledged}, which this journal never made: it was put back to an older state, and gets a new identity");
                self.shared.journal.renew_identity()?;
            }
            Output::Up { lease_ms } => {
                info!("the link to the edge is up");
                self.refused = None;
                self.lease_ms = lease_ms.max(3_000);
                self.renew_at = Some(clock::steady().0 + self.lease_ms / 3);
                self.rounds.soon(clock::steady().0);
                // The disks may have turned since the hello.
                self.say_parked();
                // A run may have ended since, and its reports follow.
                self.announce_now();
            }
            Output::Refused { refusal, message } => {
                // An edge that may be mended is dialled again, and refuses again.
                if self.refused.as_ref() != Some(&message) {
                    error!("the edge refuses this host: {message}");
                }
                self.refused = Some(message);
                if !matches!(refusal, Refusal::Version | Refusal::Unknown) {
                    self.is_revoked = true;
                    self.drop_remote_work();
                }
            }
        }
        Ok(())
    }
}
