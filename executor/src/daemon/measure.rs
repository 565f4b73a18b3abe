//! What everything uses, said while somebody looks.
//!
//! Invariant: nothing is read while nobody asks; a link that is slow or gone
//! costs nobody memory. What is absent: keeping any of it.

use std::collections::BTreeMap;

use doorstep_shared::ids::{Name, ServiceName};
use doorstep_shared::protocol::{MEASURE_MS, ToEdge, UsedView, WATCH_MS};
use tracing::warn;

use super::Daemon;
use crate::clock;
use crate::usage::{self, Usage};

/// Entries of one telling: 1,000 of them, each at most 63 + 200 bytes of names
/// and 80 of the rest, are more than a frame holds, so most are far shorter.
const USED_MAX: usize = 600;

/// Who is measured: a project, and one of its services.
type Key = (Name, Option<ServiceName>);

/// Whether somebody looks, and what was seen last.
#[derive(Default)]
pub(super) struct Measures {
    until: u64,
    next_at: u64,
    last: BTreeMap<Key, (u64, Usage)>,
    pinged_at: Option<u64>,
    round_trip_ms: Option<u32>,
}

impl Measures {
    /// When it is said next, if somebody looks.
    pub(super) fn deadline(&self) -> Option<u64> {
        (self.until > 0).then_some(self.next_at)
    }

    /// A heartbeat left.
    pub(super) fn pinged(&mut self, now: u64) {
        self.pinged_at.get_or_insert(now);
    }

    /// It was answered.
    pub(super) fn answered(&mut self, now: u64) {
        if let Some(at) = self.pinged_at.take() {
            self.round_trip_ms = u32::try_from(now.saturating_sub(at)).ok();
        }
    }

    /// What is used since the last look; of what was not seen before, nothing yet.
    fn since_last(&mut self, now: u64, seen: Vec<(Key, Usage)>) -> Vec<UsedView> {
        let mut used = Vec::new();
        let mut fresh = BTreeMap::new();
        for (key, usage) in seen.into_iter().take(USED_MAX) {
            if let Some((at, before)) = self.last.get(&key).filter(|(at, before)| *at < now && before.cpu_ms <= usage.cpu_ms) {
                let cpu = (usage.cpu_ms - before.cpu_ms).saturating_mul(1_000) / (now - at);
                used.push(UsedView { project: key.0.clone(), service: key.1.clone(), cpu_permille: u32::try_from(cpu).unwrap_or(u32::MAX), memory_bytes: usage.memory_bytes });
            }
            fresh.insert(key, (now, usage));
        }
        self.last = fresh;
        used
    }
}

impl Daemon {
    /// Somebody looks.
    pub(super) fn measured(&mut self) {
        let now = clock::steady().0;
        if self.measures.until == 0 {
            self.measures.next_at = now;
            // The round trip of a moment ago may be a minute old.
            if let Some(socket) = &self.socket {
                socket.ping();
                self.measures.pinged(now);
            }
        }
        self.measures.until = now + WATCH_MS;
    }

    /// Says what is used, if it is time.
    pub(super) fn say_what_is_used(&mut self, now: u64) {
        if self.measures.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.measures.until <= now || !self.link.is_up() {
            (self.measures.until, self.measures.last) = (0, BTreeMap::new());
            return;
        }
        let is_first = self.measures.last.is_empty();
        // The first look only says from where to count.
        self.measures.next_at = now + if is_first { MEASURE_MS / 4 } else { MEASURE_MS };
        let seen = self.usage_of_all();
        let used = self.measures.since_last(now, seen);
        let frame = ToEdge::Used { round_trip_ms: self.measures.round_trip_ms, used };
        if let Err(fault) = self.send(&frame) {
            warn!("{fault:#}");
        }
    }

    fn usage_of_all(&self) -> Vec<(Key, Usage)> {
        let supervisor = &self.shared.supervisor;
        let names = self.shared.config.projects.keys().filter_map(|name| name.parse::<Name>().ok());
        let apps: Vec<(Name, i32)> = names.clone().filter_map(|name| Some((name.clone(), supervisor.live_process(name.as_str())?.pid()))).collect();
        let groups: Vec<i32> = apps.iter().map(|(_, group)| *group).collect();
        let of_groups = if groups.is_empty() { BTreeMap::new() } else { usage::of_groups(&groups) };
        let mut seen: Vec<(Key, Usage)> = apps.into_iter().filter_map(|(name, group)| Some(((name, None), *of_groups.get(&group)?))).collect();
        for name in names {
            let services = supervisor.services_usage(name.as_str()).into_iter();
            seen.extend(services.filter_map(|(service, usage)| Some(((name.clone(), Some(service.parse().ok()?)), usage))));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_counted_from_one_look_to_the_next() {
        let mut measures = Measures::default();
        let key = |service: &str| ("shop".parse::<Name>().unwrap(), service.parse::<ServiceName>().ok());
        let usage = |cpu_ms| Usage { processes: 1, memory_bytes: 7, cpu_ms, up_ms: 1 };
        assert_eq!(measures.since_last(1_000, vec![(key("web"), usage(100))]), []);
        let used = measures.since_last(3_000, vec![(key("web"), usage(600)), (key("db"), usage(9_000))]);
        assert_eq!(used.len(), 1, "what was not seen before is not known yet");
        assert_eq!((used[0].cpu_permille, used[0].memory_bytes), (250, 7));
        assert_eq!(measures.since_last(5_000, vec![(key("web"), usage(10))]), [], "it was started again");
    }

    #[test]
    fn a_round_trip_is_from_the_first_heartbeat_to_its_answer() {
        let mut measures = Measures::default();
        measures.answered(5);
        assert_eq!(measures.round_trip_ms, None);
        measures.pinged(10);
        measures.pinged(20);
        measures.answered(42);
        assert_eq!(measures.round_trip_ms, Some(32));
    }
}
