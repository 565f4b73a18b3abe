//! The demo: push to deploy, seen from beginning to end on this machine.
//!
//! `./demo` builds what this needs and starts it. Its standard input is a pipe
//! that `./demo` holds open: when that ends, for whatever reason, so does the
//! demo, with everything it started. What it shows is checked as it happens;
//! what was not seen ends it with a sentence that says so.

#![expect(clippy::unwrap_used, reason = "what cannot fail here would be a fault of the demo")]

#[path = "../demo/clean_up.rs"]
mod clean_up;
#[path = "../demo/follow.rs"]
mod follow;
#[path = "../demo/hub.rs"]
mod hub;
#[path = "../demo/prober.rs"]
mod prober;
#[path = "../demo/seen.rs"]
mod seen;
#[path = "../demo/stage.rs"]
mod stage;
#[path = "../demo/story.rs"]
mod story;
#[path = "../demo/terminal.rs"]
mod terminal;

use std::io::Read;
use std::process::ExitCode;

use tokio::sync::oneshot;

use seen::{NotSeen, Seen};
use stage::Stage;
use terminal::Terminal;

/// How a program ends that was interrupted: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// What the demo came to.
enum Came {
    /// Everything was seen.
    Through,
    /// Something was not.
    Short(NotSeen),
    /// Somebody wanted it to end.
    Interrupted,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let once = std::env::args().any(|argument| argument == "--once");
    let mut terminal = Terminal::new();
    let mut over = watch_stdin();
    let mut stage = Stage::new();
    let came = tokio::select! {
        played = play(&mut stage, &mut terminal, once) => match played {
            Ok(()) => Came::Through,
            Err(short) => Came::Short(short),
        },
        _ = &mut over => Came::Interrupted,
    };
    if let Came::Short(_) = came {
        terminal.say(&stage.last_words());
    }
    let stopped = stage.stop(matches!(came, Came::Through)).await;
    match (came, stopped) {
        (Came::Through, Ok(())) => {
            terminal.good("All of this was seen, and nothing is left behind.");
            ExitCode::SUCCESS
        }
        (Came::Through, Err(left)) => not_seen(&mut terminal, &[left]),
        (Came::Short(short), stopped) => not_seen(&mut terminal, &[Some(short), stopped.err()].into_iter().flatten().collect::<Vec<_>>()),
        (Came::Interrupted, Ok(())) => {
            terminal.say("\nEverything that the demo started has ended.");
            ExitCode::from(INTERRUPTED)
        }
        (Came::Interrupted, Err(left)) => not_seen(&mut terminal, &[left]),
    }
}

async fn play(stage: &mut Stage, terminal: &mut Terminal, once: bool) -> Seen<()> {
    let (hub, scenes) = story::tell(stage, terminal).await?;
    story::sum_up(stage, terminal, &scenes);
    if once { Ok(()) } else { story::stay(stage, terminal, &hub).await }
}

fn not_seen(terminal: &mut Terminal, sentences: &[NotSeen]) -> ExitCode {
    for sentence in sentences {
        terminal.bad(&format!("Not seen: {sentence}."));
    }
    ExitCode::FAILURE
}

/// Resolves when standard input ends.
fn watch_stdin() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        let _ = tell.send(());
    });
    told
}
