//! Every input of the queue that the model makes, in one place.

use doorstep_shared::ids::{Action, Cause, JobId};
use doorstep_shared::queue::{Input, NewJob, Verdict};

use super::state::{Held, Said, holding, host, project};

pub fn enqueue(id: JobId, cause: Cause) -> Input {
    Input::Enqueue(NewJob { id, host: host(), project: project(), action: Action::Deploy, cause, hint_commit: None, service: None })
}

pub fn connected(held: &[Held]) -> Input {
    Input::Connected { host: host(), holding: held.iter().copied().map(holding).collect() }
}

pub fn disconnected() -> Input {
    Input::Disconnected { host: host() }
}

pub fn renew(held: &[Held]) -> Input {
    Input::Renew { host: host(), holding: held.iter().copied().map(holding).collect() }
}

/// What a report means to the queue.
pub fn settle(said: Said) -> Option<Input> {
    let Said::Outcome(held, failure) = said else { return None };
    let verdict = failure.map_or(Verdict::Done, |kind| Verdict::Failed { kind, reason: kind.to_string() });
    Some(Input::Settle { host: host(), holding: holding(held), verdict })
}
