//! The check step: are the containers well, and does the service answer?
//!
//! The engine says `healthy` up to an interval late, so a container's own check
//! is run here as well, and the service is asked at its own port. Each is asked
//! again and again, and one bad sign ends the wait.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use doorstep_shared::ids::{ContainerHealth, FailureKind};

use super::super::steps::Wrong;
use super::super::{Fault, LAST_LINES, LAST_LINES_FOLLOW, Runner};
use crate::compose::judge::{Judged, Known, judge};
use crate::compose::{Container, Engine, Stack, stacks};
use crate::config::{Health, Probe};
use crate::health::{self, Asked, Verdict, default_health};
use crate::journal::{Point, Release};

/// How often the engine is asked while a release is checked.
const SAMPLE: Duration = Duration::from_millis(50);
/// For so long it may be asked more often.
const QUICK: Duration = Duration::from_millis(500);
/// The same while it soaks.
const SOAK_SAMPLE: Duration = Duration::from_secs(1);
/// Without a `[health]`: how long everything must stay well.
const STAY_UP: Duration = Duration::from_secs(1);
/// How long one run of a container's own check may take.
const EXAMINE_LIMIT: Duration = Duration::from_secs(10);

/// Asks the engine about one project.
struct Sampler {
    engine: Rc<Engine>,
    label: String,
    stack: Stack,
    known: Known,
    /// The engine did not answer once.
    missed: Rc<Cell<bool>>,
}

impl Sampler {
    async fn sample(&mut self) -> Judged {
        match self.engine.containers(std::slice::from_ref(&self.label)).await {
            Ok(containers) => {
                self.examine(&containers).await;
                judge(&containers, &self.stack.parts, &mut self.known)
            }
            // It may be back in time.
            Err(fault) => {
                self.missed.set(true);
                Judged::Waiting(fault.to_string())
            }
        }
    }

    /// Runs the own checks of containers of which the engine does not know yet.
    async fn examine(&mut self, containers: &[Container]) {
        for container in containers.iter().filter(|container| container.health == Some(ContainerHealth::Starting)) {
            let is_ours = self.stack.parts.get(&container.service).is_some_and(|part| part.is_of(container));
            let Some(test) = container.health_test.as_ref().filter(|_| is_ours && !self.known.passed.contains(&container.id)) else { continue };
            if let Ok((0, _)) = self.engine.examine(&container.id, test, EXAMINE_LIMIT).await {
                self.known.passed.insert(container.id.clone());
            }
        }
    }

    /// Ends with why, as soon as there is a bad sign.
    async fn until_bad(&mut self, pause: Duration) -> String {
        loop {
            if let Judged::Bad(why) = self.sample().await {
                return why;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// So many good samples in a row, over so long a time at least.
    async fn until_well(&mut self, good: u32, stay_up: Duration, within: Duration, pause: Duration) -> Result<u32, String> {
        let begun = Instant::now();
        let (mut count, mut since) = (0, Instant::now());
        loop {
            match self.sample().await {
                Judged::Bad(why) => return Err(why),
                Judged::Well => {
                    if count == 0 {
                        since = Instant::now();
                    }
                    count += 1;
                    if count >= good && since.elapsed() >= stay_up {
                        return Ok(count);
                    }
                }
                Judged::Waiting(what) => {
                    count = 0;
                    if begun.elapsed() >= within {
                        return Err(format!("not well within {within:?}: {what}"));
                    }
                }
            }
            tokio::time::sleep(if begun.elapsed() < QUICK { pause } else { SAMPLE }).await;
        }
    }
}

impl Runner {
    fn sampler(&self, stack: &Stack) -> Sampler {
        Sampler { engine: Rc::clone(self.shared.supervisor.stacks().engine()), label: stacks::label(&stack.name), stack: stack.clone(), known: Known::default(), missed: Rc::clone(&self.engine_missed) }
    }

    /// Waits for these services, which must be well or have ended well (true), as
    /// Compose would before it starts what needs them.
    pub(super) async fn wait_for(&self, stack: &Stack, needs: &BTreeMap<String, bool>, within: Duration) -> Result<(), Wrong> {
        let needed = stack.only(&needs.keys().cloned().collect());
        if needed.parts.is_empty() {
            return Ok(());
        }
        let mut sampler = self.sampler(&needed);
        sampler.known.must_end = needs.iter().filter(|(_, ends)| **ends).map(|(name, _)| name.clone()).collect();
        let cancelled = async { if self.restoring { std::future::pending().await } else { self.cancel.cancelled().await } };
        tokio::select! {
            biased;
            () = cancelled => Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            well = sampler.until_well(1, Duration::ZERO, within, SAMPLE) => well.map(drop).map_err(|message| Wrong { kind: FailureKind::Health, message }),
        }
    }

    /// Checks the containers of a release.
    pub(super) async fn check_stack(&mut self, release: &Release, stack: &Stack) -> Result<(), Fault> {
        self.begin(Point::Checking, "check")?;
        self.engine_missed.set(false);
        let cancel = self.cancel.clone();
        let verdict = tokio::select! {
            biased;
            () = cancel.cancelled() => Verdict::Cancelled,
            verdict = self.stack_verdict(release, stack) => verdict,
        };
        let outcome = self.judged_stack(verdict, |good| format!("{good} good samples in a row")).await;
        self.end(outcome)
    }

    /// Is it well? Not cancelled by anything.
    pub(super) async fn stack_verdict(&self, release: &Release, stack: &Stack) -> Verdict {
        let health = self.stack_health(stack).await;
        let mut sampler = self.sampler(stack);
        let settings = health.clone().unwrap_or_else(|| default_health(None));
        let asks = health.as_ref().is_some_and(|health| health.probe != Probe::Stays);
        if asks {
            let (client, place) = (health::client(), self.place(release, None));
            let asked = Asked { health: health.as_ref(), process: None, place: &place, client: &client };
            let verdict = tokio::select! {
                verdict = health::check(asked, std::future::pending()) => verdict,
                why = sampler.until_bad(SAMPLE) => Verdict::Unwell(why),
            };
            if !matches!(verdict, Verdict::Well(_)) {
                return verdict;
            }
        }
        // What answers well already is not kept waiting.
        let pause = if asks { settings.interval.min(SAMPLE) } else { SAMPLE };
        let stay_up = if asks { Duration::ZERO } else { settings.grace.unwrap_or(STAY_UP) };
        match sampler.until_well(settings.good, stay_up, settings.within, pause).await {
            Ok(good) => Verdict::Well(good),
            Err(why) => Verdict::Unwell(why),
        }
    }

    /// The project's health check, asking the container itself.
    async fn stack_health(&self, stack: &Stack) -> Option<Health> {
        let health = self.project.health.clone()?;
        let serves = self.project.compose.as_ref()?.serves.clone();
        // What rests does not answer.
        if serves.as_ref().is_some_and(|serves| self.rests(&serves.service)) {
            return Some(Health { probe: Probe::Stays, ..health });
        }
        let Probe::HttpPath(path) = &health.probe else { return Some(health) };
        let serves = serves?;
        let containers = self.containers_now().await.unwrap_or_default();
        let probe = match stack.address(&serves, &containers) {
            Some(address) => Probe::HttpUrl(format!("http://{address}{path}")),
            // It does not run: the samples say why.
            None => Probe::Stays,
        };
        Some(Health { probe, ..health })
    }

    /// Watches a release that serves, for its time of soaking.
    pub(in super::super) async fn soak_stack(&mut self, release: &Release, health: &Health) -> Result<((), String), Wrong> {
        self.engine_missed.set(false);
        let stack = self.stack_of(release).map_err(|fault| Wrong { kind: fault.kind, message: fault.message })?;
        let stack = self.meant_of(&stack);
        let asked_health = self.stack_health(&stack).await.unwrap_or_else(|| health.clone());
        let (client, place, cancel) = (health::client(), self.place(release, None), self.cancel.clone());
        let mut sampler = self.sampler(&stack);
        let asked = Asked { health: Some(&asked_health), process: None, place: &place, client: &client };
        let verdict = tokio::select! {
            verdict = health::soak(asked, cancel.cancelled()) => verdict,
            why = sampler.until_bad(SOAK_SAMPLE) => Verdict::Unwell(why),
        };
        self.judged_stack(verdict, |good| format!("well for {:?}, {good} good answers", health.soak)).await
    }

    /// A verdict as the outcome of a step, with the last lines of what is not well.
    async fn judged_stack(&mut self, verdict: Verdict, say: impl FnOnce(u32) -> String) -> Result<((), String), Wrong> {
        match verdict {
            Verdict::Well(good) => Ok(((), say(good))),
            Verdict::Cancelled => Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            Verdict::Unwell(why) => {
                self.shared.supervisor.stacks().engine().ping().await.map_err(super::engine_wrong)?;
                // What was not well while the engine came and went says nothing of
                // the release.
                if self.engine_missed.get() {
                    return Err(Wrong { kind: FailureKind::Network, message: format!("the Docker engine went away meanwhile: {why}") });
                }
                let lines = self.last_words(&why).await;
                let message = if lines.is_empty() { why } else { format!("{why}{LAST_LINES_FOLLOW}\n{}", lines.join("\n")) };
                Err(Wrong { kind: FailureKind::Health, message })
            }
        }
    }

    /// The last lines of the service that a sentence is about, or else of the one
    /// that answers.
    async fn last_words(&self, why: &str) -> Vec<String> {
        let named = why.split("service ").nth(1).and_then(|rest| rest.split(' ').next());
        let serves = self.project.compose.as_ref().and_then(|compose| compose.serves.as_ref()).map(|serves| serves.service.as_str());
        let Some(service) = named.or(serves) else { return Vec::new() };
        let containers = self.containers_now().await.unwrap_or_default();
        let newest = containers.iter().filter(|container| container.service == service).max_by_key(|container| container.created);
        match newest {
            Some(container) => self.shared.supervisor.stacks().engine().last_lines(&container.id, LAST_LINES).await,
            None => Vec::new(),
        }
    }
}
