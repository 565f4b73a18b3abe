//! What both ends of Doorstep agree on.
//!
//! Words ([`ids`]), the wire ([`protocol`]), how a push is matched to a
//! project ([`source`], [`paths`]) and the two engines that do the thinking:
//! [`queue`] runs inside the hub, [`link`] inside the executor.
//!
//! Invariant: no clock, no randomness, no IO, no async. Time comes in as a
//! [`time::Timestamp`] argument and randomness as a seed, so one native test
//! can drive both engines against each other in virtual time.

pub mod colour;
pub mod ids;
pub mod link;
pub mod paths;
pub mod protocol;
pub mod queue;
pub mod run_log;
pub mod source;
pub mod text;
pub mod time;
