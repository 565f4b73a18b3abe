//! The module against the real `git` command, on disk and over HTTP.

mod fetching;
mod full;
mod harness;
mod looking;
mod serving;
mod slots;
mod wire;
