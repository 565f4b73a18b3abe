//! What must have happened in some state, so that a model that went nowhere
//! is seen.

use std::sync::atomic::{AtomicU32, Ordering};

/// Something worth having met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A deploy gave way to a newer one.
    Superseded,
    /// A job was granted a second time.
    GrantedAgain,
    /// A report came that the hub had.
    ReportTwice,
    /// An outcome of an attempt that is not the current one came.
    StaleOutcome,
    /// A delivery came that the hub had.
    DeliveryTwice,
    /// A host was told to stop what it held.
    Stopped,
    /// A hello came while the hub believed in an older socket.
    Replaced,
    /// A run began again after a crash.
    BegunAgain,
    /// A lease ended.
    LeaseEnded,
    /// The head was deployed, and nothing was left to do.
    Rest,
}

impl Seen {
    pub const ALL: [Self; 10] = [
        Self::Superseded,
        Self::GrantedAgain,
        Self::ReportTwice,
        Self::StaleOutcome,
        Self::DeliveryTwice,
        Self::Stopped,
        Self::Replaced,
        Self::BegunAgain,
        Self::LeaseEnded,
        Self::Rest,
    ];

    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Collects from every thread.
#[derive(Default)]
pub struct Coverage(AtomicU32);

impl Coverage {
    pub fn add(&self, bits: u32) {
        if self.0.load(Ordering::Relaxed) & bits != bits {
            self.0.fetch_or(bits, Ordering::Relaxed);
        }
    }

    pub fn missing(&self) -> Vec<Seen> {
        let bits = self.0.load(Ordering::Relaxed);
        Seen::ALL.into_iter().filter(|seen| bits & seen.bit() == 0).collect()
    }
}
