//! Stories about the proxy, on real sockets of this machine.

mod app;
mod control;
mod forwarding;
mod harness;
mod process;
mod streaming;
mod switching;
mod waiting;
