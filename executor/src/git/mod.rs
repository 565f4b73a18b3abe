//! Git without a git command: fetch one branch of one origin, look at it, and
//! bring a release slot to one commit.
//!
//! The pieces: [`Origin`] says where a project comes from, [`Web`] carries
//! http and https, [`Store`] is the project's bare object store. All of it
//! blocks; run it in `tokio::task::spawn_blocking`.
//!
//! Invariants: only the branch that is asked for is fetched, never a commit by
//! its id; a ref is written after its objects are on disk; a token is sent to
//! the origin's own host and appears in no URL, error or `Debug`; a checkout
//! writes through no symlink and leaves nothing of an earlier commit behind.
//!
//! The host's own git configuration (`/etc/gitconfig`, `~/.gitconfig`, the XDG
//! one) is never read: no `insteadOf`, `autocrlf`, filter or credential helper
//! changes what is fetched or written.
//!
//! Absent on purpose: pushing, tags, submodules, LFS, ssh, hooks, filters and
//! line-ending conversion, and the housekeeping of packs (each fetch that
//! brings something adds one pack to the store).
//!
//! No other part of the process may use `git2`: its transports and settings
//! are global, and [`prepare`] sets them once for everybody.

mod behind;
mod changes;
mod claims;
mod error;
mod fetch;
mod links;
mod origin;
mod slot;
mod slot_index;
mod store;
mod transport;
mod tree;
mod web;

#[cfg(test)]
mod tests;

pub use behind::Behind;
#[cfg(test)]
pub use changes::Changes;
pub use changes::CommitInfo;
pub use error::{FetchError, StoreError};
pub use fetch::{Bounds, remote_head};
#[cfg(test)]
pub use fetch::{Fetched, Progress};
pub use origin::Origin;
#[cfg(test)]
pub use origin::Token;
#[cfg(test)]
pub use slot::CheckedOut;
pub use store::{Store, open_store};
#[cfg(test)]
pub use tree::{Finding, FindingKind};
pub use web::{Web, WebLimits};

use git2::ConfigLevel;
use std::sync::OnceLock;

/// Sets what libgit2 keeps globally: no configuration of the host is read, our
/// transport carries http and https, folder owners are not compared.
///
/// Called by every way into the module. The first call does the work while the
/// others wait, which is the outer synchronization that `register` asks for.
///
/// Owners are not compared because the check protects people who run git in
/// folders they wander into: hooks, filters and commands of a foreign
/// configuration. libgit2 runs none of these, and both the store and a local
/// origin are named by the owner of the host. With the check, an origin in
/// `/srv/git` that belongs to the user `git` could not be fetched at all.
fn prepare() -> Result<(), git2::Error> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| set_globals().map_err(|e| e.message().to_owned()))
        .clone()
        .map_err(|why| git2::Error::from_str(&why))
}

#[expect(unsafe_code, reason = "libgit2's settings are globals")]
fn set_globals() -> Result<(), git2::Error> {
    // SAFETY: these calls change globals of libgit2 that it reads without a
    // lock. `prepare` runs them once, before any other use of libgit2 in this
    // process.
    unsafe {
        for level in [
            ConfigLevel::ProgramData,
            ConfigLevel::System,
            ConfigLevel::XDG,
            ConfigLevel::Global,
        ] {
            git2::opts::set_search_path(level, "")?;
        }
        git2::opts::set_verify_owner_validation(false)?;
        transport::register()
    }
}
