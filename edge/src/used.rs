//! What apps and services use, as their hosts said lately.
//!
//! Pure. Only in memory and only while somebody looks: the last two minutes, for
//! small charts. Invariant: a host takes up no more room than its limit here,
//! whatever it says.

use std::collections::BTreeMap;

use doorstep_shared::ids::{Name, ServiceName};
use doorstep_shared::protocol::UsedView;
use doorstep_shared::time::Timestamp;
use serde::Serialize;

use crate::view::UsedRow;

/// Points of a chart: two minutes, one each two seconds.
pub const POINTS_MAX: usize = 60;
/// What is older than this is another look: 10 s without a word.
const GAP_MS: u64 = 10_000;
/// Charts of one host.
const CHARTS_MAX: usize = 600;

/// What one app or service used lately, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Chart {
    /// Processor time, in thousandths of a core.
    pub cpu_permille: Vec<u32>,
    /// Memory, in bytes.
    pub memory_bytes: Vec<u64>,
}

/// Which app or service.
type Key = (Name, Option<ServiceName>);

/// What one host said lately.
#[derive(Debug, Default)]
pub struct Used {
    /// How long its last heartbeat took, in milliseconds.
    pub round_trip_ms: Option<u32>,
    at: Timestamp,
    charts: BTreeMap<Key, Chart>,
}

impl Used {
    /// Adds what it says now.
    pub fn add(&mut self, now: Timestamp, round_trip_ms: Option<u32>, used: &[UsedView]) {
        if now.ms_since(self.at) > GAP_MS {
            self.charts.clear();
        }
        self.at = now;
        self.round_trip_ms = round_trip_ms;
        let mut fresh = BTreeMap::new();
        for one in used.iter().take(CHARTS_MAX) {
            let key = (one.project.clone(), one.service.clone());
            let mut chart = self.charts.remove(&key).unwrap_or_default();
            chart.cpu_permille.push(one.cpu_permille);
            chart.memory_bytes.push(one.memory_bytes);
            let too_many = chart.cpu_permille.len().saturating_sub(POINTS_MAX);
            chart.cpu_permille.drain(..too_many);
            chart.memory_bytes.drain(..too_many);
            fresh.insert(key, chart);
        }
        // Of what it is silent about nothing is known any more.
        self.charts = fresh;
    }

    /// What a project's app and services used; nothing when it is not of this moment.
    #[must_use]
    pub fn of(&self, now: Timestamp, project: &Name) -> Vec<UsedRow> {
        if now.ms_since(self.at) > GAP_MS {
            return Vec::new();
        }
        let all = self.charts.range((project.clone(), None)..).take_while(|((of, _), _)| of == project);
        all.map(|((_, service), chart)| UsedRow { service: service.clone(), chart: chart.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(service: Option<&str>, cpu: u32) -> UsedView {
        UsedView { project: "shop".parse().unwrap(), service: service.map(|name| name.parse().unwrap()), cpu_permille: cpu, memory_bytes: 7 }
    }

    #[test]
    fn a_chart_is_of_the_last_two_minutes() {
        let (mut used, shop) = (Used::default(), "shop".parse().unwrap());
        for second in 0..100 {
            used.add(Timestamp(second * 2_000), Some(9), &[view(None, u32::try_from(second).unwrap())]);
        }
        let now = Timestamp(99 * 2_000);
        let chart = used.of(now, &shop).remove(0).chart;
        assert_eq!((chart.cpu_permille.len(), chart.cpu_permille[0], chart.memory_bytes.len()), (POINTS_MAX, 40, POINTS_MAX));
        assert_eq!(used.round_trip_ms, Some(9));
        assert_eq!(used.of(now.plus_ms(GAP_MS + 1), &shop), [], "nobody has looked since");
        used.add(now.plus_ms(60_000), None, &[view(None, 1)]);
        assert_eq!(used.of(now.plus_ms(60_000), &shop)[0].chart.cpu_permille, [1], "a gap begins anew");
        used.add(now.plus_ms(62_000), None, &[view(None, 1), view(Some("db"), 2), view(Some("web"), 3)]);
        let services: Vec<_> = used.of(now.plus_ms(62_000), &shop).into_iter().map(|row| row.service.map(|name| name.to_string())).collect();
        assert_eq!(services, [None, Some("db".to_owned()), Some("web".to_owned())]);
        assert!(used.of(now.plus_ms(62_000), &"shops".parse().unwrap()).is_empty());
    }

    #[test]
    fn a_host_takes_no_more_room_than_it_may() {
        let mut used = Used::default();
        let many: Vec<UsedView> = (0..10_000).map(|n| view(Some(&format!("s{n}")), 1)).collect();
        used.add(Timestamp(5), None, &many);
        assert_eq!(used.charts.len(), CHARTS_MAX);
        used.add(Timestamp(6), None, &[]);
        assert!(used.charts.is_empty(), "what is not named is gone");
    }
}
