//! What a daemon needs before its loop begins: the lock, the journal, and
//! folders that nobody else reads.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::error;

use crate::cli::{Exit, Failure, failure};
use crate::disk;
use crate::journal::{self, Journal};

/// How often a file that cannot be opened now is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// Opens the journal. On a disk that takes nothing now that waits until it does;
/// a journal that is damaged, or of a newer version, is for a person to decide.
pub(super) async fn open_journal(state: &Path) -> Result<Journal> {
    let mut said = false;
    loop {
        match Journal::open(state) {
            Err(fault) if journal::may_pass(&fault) => wait(&fault, &mut said).await,
            opened => return opened,
        }
    }
}

/// Logs and the journal are for this user alone. The state directory itself may
/// hold releases that a web server serves.
pub(super) fn keep_private(state: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let logs = state.join("logs");
    std::fs::create_dir_all(&logs)?;
    std::fs::set_permissions(&logs, std::fs::Permissions::from_mode(0o700))?;
    let journal = state.join("journal.db");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&journal)?;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(0o600))?)
}

/// Takes the lock of the state directory; waits where the disk takes nothing now.
pub(super) async fn lock(state: &Path) -> Result<std::fs::File, Failure> {
    let path = state.join("daemon.lock");
    let mut said = false;
    let file = loop {
        let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        match opened.with_context(|| format!("{} cannot be opened", path.display())) {
            Err(fault) if disk::is_full(&format!("{fault:#}")) => wait(&fault, &mut said).await,
            opened => break opened?,
        }
    };
    // Not `flock`, which a child holds on to between fork and exec, also when we are killed then.
    match rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(failure(Exit::Busy, format!("a daemon runs on {} already", state.display()))),
    }
}

async fn wait(fault: &anyhow::Error, said: &mut bool) {
    if !std::mem::replace(said, true) {
        error!("{fault:#}; waiting for that to pass");
    }
    tokio::time::sleep(FULL_PAUSE).await;
}
