//! Compose projects: a deploy as a transaction.
//!
//! What takes long is done while the old containers run: the model is resolved
//! and looked at, images are pulled and built. Then only the services whose
//! definition or image differs are stopped and made anew, the whole is checked,
//! and if it is not well the old release's own model, with its images by
//! identity, is applied again and checked as well. Invariant: the containers
//! are those of the journal's live release whenever no run is open, as far as
//! the engine can be reached. What is absent: taking care of volumes.

mod apply;
mod changes;
mod check;
mod images;
mod places;
mod prune;
mod resolve;
mod rest;
mod restore;
mod tool;
mod verbs;

use doorstep_shared::ids::{FailureKind, RunState};

use super::steps::Wrong;
use super::{Fault, Runner};
use crate::compose::bonds::Bonds;
use crate::compose::{EngineError, Stack};
use crate::journal::{Point, Release};

type Failed = (Fault, RunState);

fn failed(fault: Fault) -> Failed {
    (fault, RunState::Failed)
}

/// An engine that is away may be back; what it refuses, it refuses.
fn engine_wrong(fault: EngineError) -> Wrong {
    let kind = match &fault {
        EngineError::Unreachable { .. } => FailureKind::Network,
        EngineError::Refused(_) => FailureKind::Host,
    };
    Wrong { kind, message: fault.to_string() }
}

impl Runner {
    /// Is this project one of compose?
    pub(super) fn is_stack(&self) -> bool {
        self.project.compose.is_some()
    }

    /// From a checkout to containers that serve.
    pub(super) async fn deploy_stack(&mut self, release: Release) -> Result<(), Failed> {
        let resolved = self.resolve(&release).await?;
        // What failed pushes left goes before there is more.
        self.prune_stack().await;
        self.images(&release, resolved).await.map_err(failed)?;
        self.before_switch(&release).await.map_err(failed)?;
        self.take_over_stack(release).await
    }

    /// The containers of a release whose images are here take over.
    pub(super) async fn take_over_stack(&mut self, release: Release) -> Result<(), Failed> {
        let stack = self.stack_of(&release).map_err(failed)?;
        self.let_others_rest(&stack).map_err(failed)?;
        let durable = self.make_durable();
        if let Err(fault) = self.is_durable(durable, &release).await {
            return Err(failed(fault));
        }
        let changes = match self.bring(&release, &stack).await {
            Ok(changes) => changes,
            Err(fault) => return Err(self.put_back(None, Some(&release), fault).await),
        };
        // Of one service only what was touched is asked after: others may be stopped.
        let checked = if self.only().is_some() { stack.only(&changes.touched()) } else { stack.clone() };
        if let Err(fault) = self.check_stack(&release, &checked).await {
            return Err(self.put_back(None, Some(&release), fault).await);
        }
        self.begin_switch(&release, &stack).await?;
        self.hand_over(None, &release).await?;
        if changes.beside.is_some() {
            self.retire_beside(&release, &stack).await;
        }
        self.end_rest_anyway();
        self.prune_stack().await;
        Ok(())
    }

    /// What a run that was cut short after its switch left beside the new
    /// containers goes.
    pub(super) async fn tidy_stack(&mut self, release: &Release) {
        if self.is_stack() && let Ok(stack) = self.stack_of(release) {
            self.retire_beside(release, &stack).await;
            self.end_rest_anyway();
            self.prune_stack().await;
        }
    }

    async fn begin_switch(&mut self, release: &Release, stack: &Stack) -> Result<(), Failed> {
        let outcome = match self.begin(Point::Switching, "switch") {
            Ok(()) => {
                let switched = self.switch_stack(release, stack).await;
                self.end(switched)
            }
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.put_back(None, Some(release), fault).await),
        }
    }

    /// Points `current`, the proxy and the journal at a release whose containers
    /// were found well.
    pub(super) async fn switch_stack(&mut self, release: &Release, stack: &Stack) -> Result<((), String), Wrong> {
        self.shared.supervisor.layout(&self.project).switch(release.slot).map_err(Wrong::host)?;
        let upstream = self.upstream_of(stack).await?;
        self.shared.supervisor.route(&self.project, upstream).await.map_err(Wrong::host)?;
        self.written_as_live(release)
    }

    /// The services of a stack that this run is about.
    fn meant_of(&self, stack: &Stack) -> Stack {
        stack.only(&changes::meant(stack, self.only()))
    }

    /// What a release's containers are made of.
    pub(super) fn stack_of(&self, release: &Release) -> Result<Stack, Fault> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let stack = Stack::load(&dir, release.id).map(|stack| Stack { bonds: Bonds::load(&dir, release.id), ..stack });
        stack.ok_or_else(|| self.fault("stack", &format!("what release {} is made of is not on the disk any more ({})", release.id, crate::compose::stack::folder(&dir, release.id).display())))
    }
}
