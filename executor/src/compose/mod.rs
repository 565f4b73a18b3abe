//! Docker Compose projects: what is read of the engine, what a compose file may
//! ask for, and how a release's containers are described.
//!
//! A release is applied from a model that Doorstep wrote itself: Compose
//! resolves the repository's files once, the policy looks at what came out, and
//! that very text, with its images pinned and its binds made independent of the
//! slot, is what `docker compose up` is given, then and when it is gone back to.
//! Invariant: nothing that was not looked at is applied. What is absent: running
//! any of it (`run/stack`), and containers of projects that nobody configured.

mod ground;
mod variable;
mod yaml;

pub mod argv;
pub mod bonds;
pub mod container;
pub mod engine;
pub mod files;
pub mod follow;
pub mod judge;
pub mod model;
pub mod policy;
pub mod printed;
pub mod progress;
pub mod stack;
pub mod stacks;

pub use crate::config::permission;
pub use container::Container;
pub use engine::{Engine, EngineError};
pub use stack::{Part, Stack};
pub use stacks::Stacks;

/// On every container of ours: the project's name in the host's file.
pub const LABEL_PROJECT: &str = "doorstep.project";
/// On every container of ours: the origin of its project.
pub const LABEL_REPO: &str = "doorstep.repo";
/// On every container of ours: by which hash its definition is known.
pub const LABEL_DEFINITION: &str = "doorstep.definition";
/// Where images that were built here are named: a domain that never resolves
/// (RFC 2606), so that no engine asks anybody for them.
pub const IMAGES: &str = "doorstep.invalid";
