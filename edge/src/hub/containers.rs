//! Every service of the fleet, as pages and `/api` show it.
//!
//! It is read from memory, and of the hosts; no row is read for a service.

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::ProjectView;
use worker::Result;

use super::Hub;
use super::read::job_row;
use crate::services;
use crate::view::{ContainersHost, ContainersProject, ContainersView, HostView, JobRow, UsedRow};

impl Hub {
    pub(super) fn containers(&self) -> Result<ContainersView> {
        let known = self.hosts_by_name()?;
        let memory = self.memory()?;
        let mut jobs: BTreeMap<(Name, Name), Vec<JobRow>> = BTreeMap::new();
        for job in memory.queue.jobs() {
            let row = job_row(job, known.get(&job.host), None);
            jobs.entry((job.host.clone(), job.project.clone())).or_default().push(row);
        }
        let mut hosts: BTreeMap<&Name, Vec<ContainersProject>> = BTreeMap::new();
        for (key, project) in memory.projects.iter().filter(|(_, project)| !project.services.is_empty()) {
            let of = project_of(project, jobs.remove(key).unwrap_or_default(), self.used_of(&key.0, &key.1));
            hosts.entry(&key.0).or_default().push(of);
        }
        let hosts = hosts.into_iter().map(|(name, projects)| host_of(name, known.get(name), projects));
        Ok(ContainersView { hosts: hosts.collect() })
    }
}

fn host_of(name: &Name, known: Option<&HostView>, projects: Vec<ContainersProject>) -> ContainersHost {
    ContainersHost {
        name: name.clone(),
        online: known.is_some_and(|host| host.online),
        last_seen: known.and_then(|host| host.last_seen),
        parked: known.and_then(|host| host.parked.clone()),
        projects,
    }
}

fn project_of(project: &ProjectView, jobs: Vec<JobRow>, used: Vec<UsedRow>) -> ContainersProject {
    ContainersProject {
        name: project.name.clone(),
        state: project.state,
        reason: project.reason.clone(),
        remote: project.remote.clone(),
        shows_logs: project.shows_logs,
        problems: services::problems(project.state, project.reason.as_deref(), &project.services),
        services: project.services.clone(),
        used,
        jobs,
    }
}
