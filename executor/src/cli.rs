//! What is typed: verbs, flags, exit codes.
//!
//! Data goes to stdout, everything else to stderr. Every verb that reads takes
//! `--json`. A verb that acts talks to the running daemon over the Unix socket
//! in the state directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use doorstep_shared::ids::ServiceName;

/// Where state lives when nothing says otherwise.
const STATE_DIR_DEFAULT: &str = "/var/lib/doorstep";

/// Push to deploy, for machines with no open ports.
#[derive(Debug, Parser)]
#[command(name = "doorstep", version, max_term_width = 100)]
pub struct Cli {
    /// The host's file [default: $DOORSTEP_CONFIG, /etc/doorstep/doorstep.toml, ./doorstep.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where state lives [default: $DOORSTEP_STATE_DIR, /var/lib/doorstep]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the edge here, on workerd: webhooks, hub and dashboard
    Edge(EdgeArgs),
    /// Enrol this host at an edge, with a one-time code from its dashboard
    Join(JoinArgs),
    /// Run the daemon: keep the link to the edge, deploy, keep the apps up
    Run,
    /// Show the projects of this host
    Status(StatusArgs),
    /// Bring projects to the newest commit of their branches, now
    Deploy(DeployArgs),
    /// Go back to the release before the live one, or to another that is kept
    Rollback(RollbackArgs),
    /// Start a project's live release again: beside the old process where it can be
    Restart(ServiceArgs),
    /// Stop a project's app until it is started, or another release is deployed
    Stop(ServiceArgs),
    /// Start a project's live release, if it does not run
    Start(ServiceArgs),
    /// Deploy the newest commit in a fresh checkout and a fresh environment, or build one service again
    Rebuild(ServiceArgs),
    /// Show the releases and the last runs of a project
    History(HistoryArgs),
    /// Show what a project's app, or one of its runs, printed
    Logs(LogsArgs),
    /// The switching proxy; the daemon starts it by itself
    #[command(hide = true)]
    Proxy,
    /// workerd, dying with its parent; `edge` starts it by itself
    #[command(hide = true)]
    Workerd {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Flags of `edge`.
#[derive(Debug, Args)]
pub struct EdgeArgs {
    /// Port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = 8787)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub address: std::net::IpAddr,
    /// Folder of the built Worker [default: $DOORSTEP_WORKER_DIR, beside the binary, edge/build]
    #[arg(long, value_name = "DIR")]
    pub worker: Option<PathBuf>,
    /// The workerd binary [default: $DOORSTEP_WORKERD, beside the binary, node_modules, PATH]
    #[arg(long, value_name = "FILE")]
    pub workerd: Option<PathBuf>,
}

/// Arguments of `join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Address of the edge, https://… (http:// only on this machine or its private network)
    pub edge: String,
    /// The one-time code
    pub code: String,
    /// Name of this host [default: the machine's name]
    #[arg(long)]
    pub name: Option<String>,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The projects [default: all]
    pub projects: Vec<String>,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of the verbs that do one thing to one project.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The project
    pub project: String,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of the verbs that may mean one service of a compose project.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// What, and how it is told.
    #[command(flatten)]
    pub act: ActArgs,
    /// One service of a compose project [default: all]
    pub service: Option<ServiceName>,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// What, and how it is told.
    #[command(flatten)]
    pub act: ActArgs,
    /// Number of the release, as `history` shows it [default: the good one before the live one]
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<u64>,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The project
    pub project: String,
    /// Runs and releases, at most so many of each
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub lines: u16,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The project
    pub project: String,
    /// One service of a compose project [default: all]
    #[arg(conflicts_with_all = ["run", "process"])]
    pub service: Option<ServiceName>,
    /// Nothing older than this, such as 10m (of a compose project)
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration::parse, conflicts_with_all = ["run", "process"])]
    pub since: Option<std::time::Duration>,
    /// Go on as more is printed
    #[arg(short, long)]
    pub follow: bool,
    /// That of this process of [project.P.processes] instead of the main one
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
    /// The log of this run instead of the app's own
    #[arg(long, conflicts_with = "process")]
    pub run: Option<String>,
    /// Lines from the end [default: 200; of a run: all]
    #[arg(short = 'n', long)]
    pub lines: Option<usize>,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok,
    /// Something went wrong.
    Error,
    /// The host's file is wrong.
    Config,
    /// A run failed, and the old release serves.
    RolledBack,
    /// Going back failed.
    RollbackFailed,
    /// The edge cannot be reached.
    Unreachable,
    /// The edge does not accept this host or code.
    NotAuthorised,
    /// Something else is at it.
    Busy,
}

impl Exit {
    /// The number that a script sees; 2 is clap's, for wrong usage.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Config => 3,
            Self::RolledBack => 4,
            Self::RollbackFailed => 5,
            Self::Unreachable => 6,
            Self::NotAuthorised => 7,
            Self::Busy => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A fault with the number the program ends with.
#[derive(Debug)]
pub struct Failure {
    /// What is printed.
    pub fault: anyhow::Error,
    /// How the program ends.
    pub exit: Exit,
}

impl From<anyhow::Error> for Failure {
    fn from(fault: anyhow::Error) -> Self {
        Self { fault, exit: Exit::Error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(fault: std::io::Error) -> Self {
        Self { fault: fault.into(), exit: Exit::Error }
    }
}

/// A failure from a sentence.
pub fn failure(exit: Exit, message: impl Into<String>) -> Failure {
    Failure { fault: anyhow::Error::msg(message.into()), exit }
}

/// The state directory.
#[must_use]
pub fn state_dir(flag: Option<&Path>) -> PathBuf {
    flag.map(Path::to_path_buf)
        .or_else(|| std::env::var_os("DOORSTEP_STATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(STATE_DIR_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [Exit::Ok, Exit::Error, Exit::Config, Exit::RolledBack, Exit::RollbackFailed, Exit::Unreachable, Exit::NotAuthorised, Exit::Busy];
        assert_eq!(codes.map(Exit::code), [0, 1, 3, 4, 5, 6, 7, 8]);
    }
}
