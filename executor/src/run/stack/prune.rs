//! What no kept release needs goes: models, copies of what was mounted, and
//! names of images that were built here. Invariant: an image of somebody else,
//! and any volume, is never touched; what cannot be removed now is removed later.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use super::super::Runner;
use super::places::remove;
use crate::compose::Stack;
use crate::compose::model::image_name;
use crate::journal::{Release, ReleaseState};

impl Runner {
    /// Tidies up after a release has gone live.
    pub(super) async fn prune_stack(&mut self) {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let Ok(releases) = self.shared.journal.releases(&self.project.name) else { return };
        // What cannot be read now is needed all the same.
        let is_lost = |release: &&Release| release.state == ReleaseState::Live && Stack::load(&dir, release.id).is_none();
        if releases.iter().any(|release| is_lost(&release)) {
            return;
        }
        let kept: BTreeSet<u64> = releases.iter().filter(|release| release.state != ReleaseState::Pruned).map(|release| release.id).collect();
        let stacks: Vec<Stack> = kept.iter().filter_map(|release| Stack::load(&dir, *release)).collect();
        let binds: BTreeSet<String> = stacks.iter().flat_map(|stack| stack.binds.iter().cloned()).collect();
        let numbers: BTreeSet<String> = kept.iter().map(ToString::to_string).collect();
        let swept = tokio::task::spawn_blocking(move || {
            sweep(&dir.join("stacks"), &numbers);
            sweep(&dir.join("binds"), &binds);
        });
        let _ = swept.await;
        self.prune_images(&stacks).await;
    }

    async fn prune_images(&mut self, stacks: &[Stack]) {
        let names: BTreeSet<&String> = stacks.iter().flat_map(|stack| &stack.names).collect();
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        let any = image_name(&self.project.name, "any");
        let repository = any.strip_suffix("/any").unwrap_or(&any);
        for name in engine.names_below(repository).await.unwrap_or_default() {
            if !names.contains(&name) {
                match engine.untag(&name).await {
                    Ok(()) => self.say(&format!("the image {name} is not needed any more and was removed")),
                    Err(fault) => tracing::warn!(project = self.project.name, "{fault}"),
                }
            }
        }
    }
}

fn sweep(folder: &Path, kept: &BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_kept = entry.file_name().to_str().is_some_and(|name| kept.contains(name));
        if !is_kept && let Err(fault) = remove(&entry.path()) {
            tracing::warn!("{} cannot be removed: {fault}", entry.path().display());
        }
    }
}
