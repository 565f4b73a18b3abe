//! Is what runs what should run, and is it well? Pure.
//!
//! One sample says little: a crash loop is "running" half of the time. So the
//! caller asks for so many good ones in a row, and a container that was started
//! again meanwhile is bad at once.

use std::collections::{BTreeMap, BTreeSet};

use doorstep_shared::ids::{ContainerHealth, ServiceState};

use super::{Container, Part};

/// What a sample says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Everything is as it should be.
    Well,
    /// Not yet, and what for.
    Waiting(String),
    /// It will not be, and why.
    Bad(String),
}

/// What is known from earlier samples.
#[derive(Debug, Default)]
pub struct Known {
    /// How often each container had been started again when it was seen first.
    restarts: BTreeMap<String, u32>,
    /// Containers whose own health check passed when we ran it.
    pub passed: BTreeSet<String>,
    /// Services that are well only once they have ended.
    pub must_end: BTreeSet<String>,
}

/// Judges what the engine says of a project now.
pub fn judge(containers: &[Container], parts: &BTreeMap<String, Part>, known: &mut Known) -> Judged {
    let mut waiting = None;
    for (service, part) in parts {
        let ours: Vec<&Container> = containers.iter().filter(|container| container.service == *service && part.is_of(container)).collect();
        for container in &ours {
            match one(container, known) {
                Judged::Well => {}
                Judged::Waiting(what) => waiting = waiting.or(Some(what)),
                Judged::Bad(why) => return Judged::Bad(why),
            }
        }
        if ours.len() < part.replicas as usize {
            waiting = waiting.or(Some(format!("service {service} has {} of {} containers", ours.len(), part.replicas)));
        }
    }
    waiting.map_or(Judged::Well, Judged::Waiting)
}

fn one(container: &Container, known: &mut Known) -> Judged {
    let service = &container.service;
    let seen = *known.restarts.entry(container.id.clone()).or_insert(container.restarts);
    let code = container.exit_code.map_or_else(String::new, |code| format!(" with {code}"));
    let memory = if container.oom_killed { ", killed for its memory" } else { "" };
    match container.state {
        _ if container.restarts > seen => Judged::Bad(format!("service {service} ended{code}{memory} and was started again by the engine")),
        ServiceState::Running if known.must_end.contains(service) => Judged::Waiting(format!("service {service} has not ended yet")),
        ServiceState::Running => match container.health {
            Some(ContainerHealth::Unhealthy) => Judged::Bad(format!("service {service} is unhealthy by its own check")),
            Some(ContainerHealth::Starting) if !known.passed.contains(&container.id) => Judged::Waiting(format!("the health check of service {service} has not passed yet")),
            Some(ContainerHealth::Starting | ContainerHealth::Healthy) | None => Judged::Well,
        },
        ServiceState::Created | ServiceState::Absent => Judged::Waiting(format!("service {service} has not been started")),
        ServiceState::Exited if container.is_done() => Judged::Well,
        ServiceState::Exited | ServiceState::Dead => Judged::Bad(format!("service {service} exited{code}{memory}")),
        ServiceState::Restarting => Judged::Bad(format!("service {service} ended{code}{memory} and is started again and again by the engine")),
        ServiceState::Paused => Judged::Bad(format!("service {service} is paused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::container::tests::container;

    fn parts() -> BTreeMap<String, Part> {
        let part = Part { image: "web:1".into(), id: "sha256:aa".into(), built: None, hash: "h1".into(), replicas: 1 };
        [("web".to_owned(), part.clone()), ("init".to_owned(), part)].into()
    }

    fn judged(containers: &[Container]) -> Judged {
        judge(containers, &parts(), &mut Known::default())
    }

    #[test]
    fn all_that_should_run_runs_and_what_is_done_is_done() {
        let (web, init) = (container("web", ServiceState::Running), container("init", ServiceState::Exited));
        assert_eq!(judged(&[web.clone(), init.clone()]), Judged::Well);
        assert!(matches!(judged(std::slice::from_ref(&init)), Judged::Waiting(what) if what.contains("web has 0 of 1")));
        let old = Container { definition: "h0".into(), ..web.clone() };
        assert!(matches!(judged(&[old, init.clone()]), Judged::Waiting(_)), "a container of another definition does not count");
        let other_image = Container { image_id: "sha256:bb".into(), ..web };
        assert!(matches!(judged(&[other_image, init]), Judged::Waiting(_)), "nor does one of another image");
    }

    #[test]
    fn each_way_to_be_bad_is_seen() {
        let init = container("init", ServiceState::Exited);
        let with = |change: &dyn Fn(&mut Container)| {
            let mut web = container("web", ServiceState::Running);
            change(&mut web);
            judged(&[web, init.clone()])
        };
        for (change, why) in [
            (&(|c: &mut Container| c.state = ServiceState::Restarting) as &dyn Fn(&mut Container), "again and again"),
            (&|c| c.state = ServiceState::Dead, "exited"),
            (&|c| c.state = ServiceState::Paused, "paused"),
            (&|c| (c.state, c.exit_code) = (ServiceState::Exited, Some(3)), "exited with 3"),
            (&|c| (c.state, c.exit_code, c.oom_killed) = (ServiceState::Exited, Some(137), true), "killed for its memory"),
            (&|c| (c.state, c.exit_code, c.restarts_always) = (ServiceState::Exited, Some(0), true), "exited with 0"),
            (&|c| c.health = Some(ContainerHealth::Unhealthy), "unhealthy"),
        ] {
            assert!(matches!(with(change), Judged::Bad(said) if said.contains(why)), "{why}");
        }
        assert!(matches!(with(&|c| c.health = Some(ContainerHealth::Starting)), Judged::Waiting(_)));
        assert!(matches!(with(&|c| c.state = ServiceState::Created), Judged::Waiting(_)));
    }

    #[test]
    fn a_crash_loop_is_bad_although_each_sample_runs() {
        let mut known = Known::default();
        let mut web = container("web", ServiceState::Running);
        web.restarts = 4;
        let init = container("init", ServiceState::Exited);
        assert_eq!(judge(&[web.clone(), init.clone()], &parts(), &mut known), Judged::Well, "what was before is not counted");
        web.restarts = 5;
        assert!(matches!(judge(&[web, init], &parts(), &mut known), Judged::Bad(_)));
    }

    #[test]
    fn what_must_end_is_waited_for() {
        let (web, mut init) = (container("web", ServiceState::Running), container("init", ServiceState::Running));
        let mut known = Known { must_end: ["init".to_owned()].into(), ..Known::default() };
        assert!(matches!(judge(&[web.clone(), init.clone()], &parts(), &mut known), Judged::Waiting(what) if what.contains("not ended")));
        (init.state, init.exit_code) = (ServiceState::Exited, Some(0));
        assert_eq!(judge(&[web, init], &parts(), &mut known), Judged::Well);
    }

    #[test]
    fn a_health_check_that_passed_when_we_ran_it_counts() {
        let web = Container { health: Some(ContainerHealth::Starting), ..container("web", ServiceState::Running) };
        let mut known = Known::default();
        known.passed.insert(web.id.clone());
        assert_eq!(judge(&[web, container("init", ServiceState::Exited)], &parts(), &mut known), Judged::Well);
    }
}
