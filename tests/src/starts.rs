//! How often an engine started the containers of each service.
//!
//! Followed as it happens: of the past an engine remembers some 256 events, and
//! health checks fill that within seconds. A mark among the events says up to
//! where they were read.

use std::process::Command;

use crate::{Child, Docker, wait};

/// One line for each event: what happened, to which service, under which name.
const LINE: &str = "{{.Action}} {{index .Actor.Attributes \"com.docker.compose.service\"}} {{.Actor.ID}}";

/// The starts since this was made.
#[derive(Debug)]
pub struct Starts {
    events: Child,
    marks: usize,
}

impl Starts {
    /// Follows an engine from now on.
    pub async fn follow(docker: &Docker) -> Self {
        let mut command = Command::new("docker");
        command.args(["events", "--filter", "event=start", "--filter", "event=create", "--format", LINE]);
        let events = Child::start("events", &docker.logs(), &mut command, &docker.environment());
        let mut starts = Self { events, marks: 0 };
        // Of those before it listened it hears nothing.
        let is_heard = async || {
            starts.mark(docker);
            starts.events.stdout().contains("mark-")
        };
        wait::until("the events", is_heard, |heard| *heard).await;
        starts
    }

    fn mark(&mut self, docker: &Docker) -> String {
        self.marks += 1;
        docker.said(&["volume", "create", &format!("mark-{}-", self.marks)])
    }

    /// How often containers of these services were started so far.
    pub async fn of<const N: usize>(&mut self, docker: &Docker, services: [&str; N]) -> [usize; N] {
        let mark = self.mark(docker);
        let heard = wait::until("the mark among the events", async || self.events.stdout(), |heard| heard.contains(&mark)).await;
        services.map(|service| heard.lines().filter(|line| line.starts_with(&format!("start {service} "))).count())
    }
}
