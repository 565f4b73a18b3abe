//! Waiting: polls with a deadline that say what they saw.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take. Far above what it takes (milliseconds), since
/// machines that run tests are shared.
pub const DEADLINE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(10);

/// Looks again and again until `is_it` holds, and returns what was seen then.
/// Panics at the deadline with `what` and the last sight.
pub async fn until<T: Debug>(what: &str, look: impl AsyncFnMut() -> T, is_it: impl Fn(&T) -> bool) -> T {
    until_within(DEADLINE, what, look, is_it).await
}

/// [`until`] with a deadline of one's own.
pub async fn until_within<T: Debug>(
    within: Duration,
    what: &str,
    look: impl AsyncFnMut() -> T,
    is_it: impl Fn(&T) -> bool,
) -> T {
    match perhaps(within, what, look, is_it).await {
        Ok(seen) => seen,
        Err(fault) => panic!("{fault}"),
    }
}

/// [`until_within`] for those who go on when it does not come.
///
/// # Errors
///
/// At the deadline: a sentence with the last sight.
pub async fn perhaps<T: Debug>(
    within: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    is_it: impl Fn(&T) -> bool,
) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        let seen = look().await;
        if is_it(&seen) {
            return Ok(seen);
        }
        if begun.elapsed() >= within {
            return Err(format!("waited {within:?} for {what}; the last sight was {seen:#?}"));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Awaits one thing under the common deadline.
pub async fn soon<T>(what: &str, thing: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, thing).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} for {what}, in vain"),
    }
}

/// Waits for a moment; for ever when there is none.
pub(crate) async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
