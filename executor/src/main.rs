//! `doorstep`: the executor's daemon and its command line, one binary.
//!
//! Pure: [`cli`], [`config`], [`plan`]. Shells: the rest. The daemon is one
//! loop on one thread ([`daemon`]); what blocks (git) runs beside it. Exit
//! codes are in [`cli::Exit`].

#[macro_use]
mod say;

mod child;
mod cli;
mod clock;
mod compose;
mod config;
mod control;
mod crash;
mod daemon;
mod data;
mod disk;
mod edge;
mod environment;
mod git;
mod health;
mod history;
mod identity;
mod join;
mod journal;
mod logs;
mod plan;
mod process;
mod proxy;
mod python;
mod reach;
mod redact;
mod release;
mod run;
mod socket;
mod standing;
mod status;
mod supervisor;
mod systemd;
mod usage;

use clap::Parser;

use cli::{Cli, Exit, Verb};
use doorstep_shared::ids::Action;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    prepare(matches!(cli.verb, Verb::Run | Verb::Proxy));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(64).build() {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("doorstep: the runtime did not start: {fault}");
            return Exit::Error.into();
        }
    };
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, dispatch(cli));
    // Git may still wait for a network; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(exit) => exit.into(),
        Err(fault) => {
            eprintln!("doorstep: {:#}", fault.fault);
            fault.exit.into()
        }
    }
}

/// Sets what is global: the TLS provider and the log.
fn prepare(is_daemon: bool) {
    // A second call finds it set, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let level = std::env::var("DOORSTEP_LOG").ok().and_then(|text| text.parse().ok());
    let level = level.unwrap_or(if is_daemon { tracing::Level::INFO } else { tracing::Level::WARN });
    let colours = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(colours).with_target(false).init();
}

async fn dispatch(cli: Cli) -> Result<Exit, cli::Failure> {
    let Cli { config, state, verb } = cli;
    let state = cli::state_dir(state.as_deref());
    match verb {
        Verb::Edge(args) => edge::run(&args, &state).await,
        Verb::Join(args) => join::run(&args, &state).await,
        Verb::Run => daemon::run(config.as_deref(), &state).await,
        Verb::Status(args) => status::run(&args, &state).await,
        Verb::Deploy(args) => control::deploy(&args, &state).await,
        Verb::Rollback(args) => control::roll_back(&args, &state).await,
        Verb::Restart(args) => control::act(&args, Action::Restart, &state).await,
        Verb::Stop(args) => control::act(&args, Action::Stop, &state).await,
        Verb::Start(args) => control::act(&args, Action::Start, &state).await,
        Verb::Rebuild(args) => control::act(&args, Action::Rebuild, &state).await,
        Verb::History(args) => history::run(&args, &state),
        Verb::Logs(args) => logs::run(&args, &state).await,
        Verb::Workerd { command } => Err(edge::become_workerd(&command)),
        Verb::Proxy => proxy::run(&state).await.map(|()| Exit::Ok).map_err(Into::into),
    }
}
