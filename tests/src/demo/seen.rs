//! What was seen, and what was not.

use std::fmt;
use std::time::{Duration, Instant};

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Something the demo promises to show did not show; a clause without a full stop.
#[derive(Debug)]
pub struct NotSeen(String);

/// Something seen, or not.
pub type Seen<T> = Result<T, NotSeen>;

impl NotSeen {
    /// From a clause that names it.
    pub fn new(clause: impl Into<String>) -> Self {
        Self(clause.into())
    }
}

impl fmt::Display for NotSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Holds, or was not seen.
pub fn ensure(holds: bool, clause: impl FnOnce() -> String) -> Seen<()> {
    if holds { Ok(()) } else { Err(NotSeen(clause())) }
}

/// Looks again and again until there is something, at most for so long.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Seen<Option<T>>) -> Seen<T> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        ensure(begun.elapsed() < within, || format!("{what}, for which the demo waited {} s", within.as_secs()))?;
        tokio::time::sleep(INTERVAL).await;
    }
}
