//! The two clocks: one that people read, one that only goes forward.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use doorstep_shared::time::Timestamp;

/// The wall clock, for reports and pages; it may jump.
pub fn wall() -> Timestamp {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// The steady clock, for engines; it says nothing about the day.
pub fn steady() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let ms = START.get_or_init(Instant::now).elapsed().as_millis();
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(1))
}

/// When this machine was started, if the system says so (proc(5), `btime`).
pub fn booted() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Timestamp(seconds.saturating_mul(1_000)))
}

/// A number nobody guesses twice in one host's life.
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // Without the system's randomness ids only need to differ.
        Err(_) => doorstep_shared::time::mix(wall().0 ^ u64::from(std::process::id())),
    }
}

/// An id that sorts by time: 12 hex digits of milliseconds and 8 random ones.
pub fn new_id() -> String {
    format!("{:012x}{:08x}", wall().0, random_u64() & 0xffff_ffff)
}
