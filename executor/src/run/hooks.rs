//! Programs that the host's file names, run around the switch.
//!
//! Argv, never a shell; in the folder of the new release, with the environment
//! of its app and no port. A run that a crash cut short runs them again, so
//! what they do must be good to do twice. What is absent: hooks from the
//! repository or the edge.

use std::collections::VecDeque;

use doorstep_shared::ids::FailureKind;

use super::steps::{Wrong, told};
use super::{Fault, Runner};
use crate::child::{self, End, Tool};
use crate::journal::{Point, Release};

/// Last lines of a hook's output that its failure shows.
const LAST_LINES: usize = 20;

impl Runner {
    /// What is to be done before the new release starts, such as migrations.
    pub(super) async fn before_switch(&mut self, release: &Release) -> Result<(), Fault> {
        if self.project.hooks.before_switch.is_empty() {
            return Ok(());
        }
        self.begin(Point::BeforeSwitch, "before_switch")?;
        let commands = self.project.hooks.before_switch.clone();
        let outcome = self.hooks(&commands, release, FailureKind::Build).await;
        self.end(outcome)
    }

    /// What is to be done once the new release serves.
    pub(super) async fn after_switch(&mut self, release: &Release) -> Result<(), Fault> {
        if self.project.hooks.after_switch.is_empty() {
            return Ok(());
        }
        self.begin(Point::Settling, "after_switch")?;
        let commands = self.project.hooks.after_switch.clone();
        // Tried again it would move the traffic forth and back once more.
        let outcome = self.hooks(&commands, release, FailureKind::Health).await;
        self.end(outcome)
    }

    async fn hooks(&mut self, commands: &[Vec<String>], release: &Release, kind: FailureKind) -> Result<((), String), Wrong> {
        for argv in commands {
            self.hook(argv, release, kind).await?;
        }
        let plural = if commands.len() == 1 { "command" } else { "commands" };
        Ok(((), format!("{} {plural} ended well", commands.len())))
    }

    async fn hook(&mut self, argv: &[String], release: &Release, kind: FailureKind) -> Result<(), Wrong> {
        let Some((program, args)) = argv.split_first() else { return Ok(()) };
        let supervisor = &self.shared.supervisor;
        let layout = supervisor.layout(&self.project);
        let (dir, bin) = (layout.slot(release.slot), layout.env(release.slot).join("bin"));
        let missing = || Wrong { kind: FailureKind::Source, message: format!("the hook `{program}` was not found in the release's environment nor in PATH") };
        let tool = Tool {
            program: child::find(program, &[bin], &dir).ok_or_else(missing)?,
            args: args.iter().map(Into::into).collect(),
            dir,
            env: supervisor.environment(&self.project, release, None, Some(&self.record.id)).map_err(Wrong::host)?,
            limit: self.project.hooks.within,
        };
        let words = argv.join(" ");
        self.say(&format!("$ {words}"));
        let mut last: VecDeque<String> = VecDeque::new();
        let cancel = self.cancel.clone();
        let end = child::run(&tool, cancel.cancelled(), |line| {
            self.hear(line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        });
        let how = match end.await {
            Ok(End::Good) => return Ok(()),
            Ok(End::Bad(how)) => how,
            Ok(End::TimedOut) => format!("did not end within {:?}", tool.limit),
            Ok(End::Cancelled) => return Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            Err(fault) => return Err(Wrong::host(format!("`{words}` does not start: {fault}"))),
        };
        Err(Wrong { kind, message: told(&format!("`{words}` {how}"), last.make_contiguous()) })
    }
}
