//! What is asked over the Unix socket, answered.
//!
//! Invariant: of deploys that a person asks for, one waits at most; it deploys
//! whatever the branch is at then. What is absent: speaking to the socket
//! ([`control`](crate::control)).

use doorstep_shared::ids::{Action, Cause};

use super::{Ask, Daemon, Work, view};
use crate::clock;
use crate::journal::Goal;
use crate::run::Request;

impl Daemon {
    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Status(reply) => {
                let _ = reply.send(view::status(&self.shared, self.identity.as_ref(), self.edge.as_deref(), &self.link, self.refused.as_deref(), self.parked.as_deref()));
            }
            Ask::Projects(reply) => {
                let _ = reply.send(self.shared.config.projects.keys().cloned().collect());
            }
            Ask::Act { project, action, to, service, reply } => {
                if !self.shared.config.projects.contains_key(&project) {
                    let _ = reply.send(Err(format!("{project} is not in the host's file")));
                    return;
                }
                if let Some(why) = &self.parked {
                    let _ = reply.send(Err(format!("no run begins: {why}")));
                    return;
                }
                // At most one waits: it will deploy whatever the branch is at then.
                if action == Action::Deploy
                    && let Some(id) = self.waiting_deploy(&project)
                {
                    let _ = reply.send(Ok(id));
                    return;
                }
                let id = clock::new_id();
                let request = Request { project: project.clone(), action, cause: Cause::Manual, job: None, to: to.map(Goal::Release), service };
                let _ = reply.send(Ok(id.clone()));
                self.enqueue(project, Work::Fresh { request, id });
            }
        }
    }
}
