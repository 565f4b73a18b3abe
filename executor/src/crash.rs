//! Places where this program may be killed, for the stories that do so.
//!
//! Every transaction of the journal and every other effect of a run passes
//! [`before`] and [`after`] with its label. In an ordinary build both are
//! empty. With the feature `crash-points`:
//!
//! - `DOORSTEP_CRASH_AT=LABEL#N:before|after`: this process kills itself with
//!   SIGKILL the Nth time it comes by.
//! - `DOORSTEP_CRASH_LOG=FILE`: each label that is passed is added to the
//!   file as `LABEL#N`, one a line, before its effect.

use std::fmt::Arguments;

/// Its effect comes next.
#[inline]
pub fn before(label: Arguments<'_>) {
    #[cfg(feature = "crash-points")]
    points::before(&label.to_string());
    #[cfg(not(feature = "crash-points"))]
    let _ = label;
}

/// Its effect is done.
#[inline]
pub fn after(label: Arguments<'_>) {
    #[cfg(feature = "crash-points")]
    points::after(&label.to_string());
    #[cfg(not(feature = "crash-points"))]
    let _ = label;
}

#[cfg(feature = "crash-points")]
mod points {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    /// How often each label was passed by this process.
    static PASSED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

    fn crash_at() -> Option<&'static str> {
        static AT: OnceLock<Option<String>> = OnceLock::new();
        AT.get_or_init(|| std::env::var("DOORSTEP_CRASH_AT").ok()).as_deref()
    }

    pub fn before(label: &str) {
        let number = {
            let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
            let number = passed.entry(label.to_owned()).or_default();
            *number += 1;
            *number
        };
        if let Some(path) = std::env::var_os("DOORSTEP_CRASH_LOG")
            && let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path)
        {
            let _ = writeln!(file, "{label}#{number}");
        }
        crash_if(&format!("{label}#{number}:before"));
    }

    pub fn after(label: &str) {
        let number = PASSED.lock().unwrap_or_else(PoisonError::into_inner).get(label).copied().unwrap_or_default();
        crash_if(&format!("{label}#{number}:after"));
    }

    fn crash_if(here: &str) {
        if crash_at() == Some(here) {
            let _ = kill_process(getpid(), Signal::KILL);
            // The signal takes a moment; nothing may be done meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}
