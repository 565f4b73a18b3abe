//! What the measured use costs a month on Cloudflare's Workers Paid plan.
//!
//! Source of every price: Cloudflare's pricing page, read on 2026-11-18. The
//! plan's $5 include much; both figures are said, the list price of all that is
//! used and what is paid once the included part is taken off.

/// The plan, a month.
pub const PLAN: f64 = 5.0;

/// Something that is counted and billed.
#[derive(Clone, Copy, Debug)]
struct Price {
    what: &'static str,
    /// Dollars for a million (of storage: for a GB-month).
    dollars: f64,
    /// What the plan includes a month, in units.
    included: f64,
    /// Units that `dollars` buys.
    units: f64,
}

const WORKER_REQUESTS: Price = Price { what: "Worker requests", dollars: 0.30, included: 10e6, units: 1e6 };
const OBJECT_REQUESTS: Price = Price { what: "object requests", dollars: 0.15, included: 1e6, units: 1e6 };
const DURATION_GB_S: Price = Price { what: "GB-s", dollars: 12.50, included: 400_000.0, units: 1e6 };
const ROWS_READ: Price = Price { what: "rows read", dollars: 0.001, included: 25e9, units: 1e6 };
const ROWS_WRITTEN: Price = Price { what: "rows written", dollars: 1.0, included: 50e6, units: 1e6 };
const STORED_GB_MONTHS: Price = Price { what: "GB stored", dollars: 0.20, included: 5.0, units: 1.0 };
/// An object is billed as this much memory, whatever it uses.
const OBJECT_GB: f64 = 0.128;
/// Frames that come in are billed as this part of a request.
const FRAMES_A_REQUEST: f64 = 20.0;
/// The most that one object stores.
pub const OBJECT_STORES_GB_MAX: f64 = 10.0;

/// What a month uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Month {
    /// Requests to the Worker; each is one to the object, too.
    pub requests: f64,
    /// Frames from executors.
    pub frames: f64,
    /// Alarms.
    pub alarms: f64,
    /// Seconds that the object is awake.
    pub awake_s: f64,
    /// Rows read.
    pub rows_read: f64,
    /// Rows written.
    pub rows_written: f64,
    /// Bytes stored.
    pub stored_bytes: f64,
}

impl Month {
    fn lines(self) -> [(Price, f64); 6] {
        [
            (WORKER_REQUESTS, self.requests),
            (OBJECT_REQUESTS, self.requests + self.frames / FRAMES_A_REQUEST + self.alarms),
            (DURATION_GB_S, self.awake_s * OBJECT_GB),
            (ROWS_READ, self.rows_read),
            (ROWS_WRITTEN, self.rows_written),
            (STORED_GB_MONTHS, self.stored_bytes / 1e9),
        ]
    }

    /// All that is used, at list price.
    pub fn list_price(self) -> f64 {
        self.lines().iter().map(|(price, used)| used / price.units * price.dollars).sum()
    }

    /// What is paid: the plan, and what goes beyond it.
    pub fn paid(self) -> f64 {
        let beyond = |(price, used): &(Price, f64)| (used - price.included).max(0.0) / price.units * price.dollars;
        PLAN + self.lines().iter().map(beyond).sum::<f64>()
    }

    /// What it is made of, for display.
    pub fn parts(self) -> String {
        let part = |(price, used): &(Price, f64)| {
            let used_said = match *used {
                count if count >= 1e5 => format!("{:.2} M", count / 1e6),
                count if count >= 100.0 => format!("{count:.0}"),
                count => format!("{count:.2}"),
            };
            format!("{used_said} {}", price.what)
        };
        self.lines().iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plan_includes_is_not_paid_twice() {
        let small = Month { requests: 1e5, rows_written: 1e6, ..Month::default() };
        assert!((small.paid() - PLAN).abs() < 1e-9 && (small.list_price() - 1.045).abs() < 1e-9, "{}", small.list_price());
        // 60 million rows written: 10 million beyond, a dollar each.
        let large = Month { rows_written: 60e6, ..Month::default() };
        assert!((large.paid() - 15.0).abs() < 1e-9);
        // 20 frames are one request, and a second awake is 0.128 GB-s.
        let live = Month { frames: 40e6, awake_s: 4e6, ..Month::default() };
        assert!((live.list_price() - (2.0 * 0.15 + 0.512 * 12.5)).abs() < 1e-9);
    }
}
