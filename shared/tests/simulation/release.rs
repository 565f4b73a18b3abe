//! What a project has on its host's disk: releases in their slots, and the
//! link `current` that says which one serves.

use doorstep_shared::ids::Name;

use super::branch::Head;

/// A commit in a slot.
#[derive(Clone, Debug)]
pub struct Release {
    pub number: u64,
    pub head: Head,
    /// Its files are all there.
    pub built: bool,
    /// It passed its checks.
    pub checked: bool,
}

/// A project of a host.
#[derive(Clone, Debug)]
pub struct Project {
    pub name: Name,
    pub repo: usize,
    releases: Vec<Release>,
    /// Where the link points.
    pub current: Option<u64>,
    /// What served before.
    previous: Option<u64>,
    /// Something was deployed, so something must serve.
    serves: bool,
    last: u64,
}

impl Project {
    pub fn new(name: Name, repo: usize) -> Self {
        Self { name, repo, releases: Vec::new(), current: None, previous: None, serves: false, last: 0 }
    }

    /// What serves now.
    pub fn live(&self) -> Option<Head> {
        self.current.and_then(|number| self.release(number)).map(|release| release.head)
    }

    fn release(&self, number: u64) -> Option<&Release> {
        self.releases.iter().find(|release| release.number == number)
    }

    fn release_mut(&mut self, number: u64) -> Option<&mut Release> {
        self.releases.iter_mut().find(|release| release.number == number)
    }

    /// A number for a new release.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Its slot is filled from the start; what was there is gone.
    pub fn begin_build(&mut self, number: u64, head: Head) {
        self.releases.retain(|release| release.number != number);
        self.releases.push(Release { number, head, built: false, checked: false });
    }

    pub fn end_build(&mut self, number: u64) {
        if let Some(release) = self.release_mut(number) {
            release.built = true;
        }
    }

    pub fn passed(&mut self, number: u64) {
        if let Some(release) = self.release_mut(number) {
            release.checked = true;
        }
    }

    /// What serves is what the branch says at this moment.
    pub fn still_live(&mut self, head: Head) {
        if let Some(release) = self.current.and_then(|number| self.release_mut(number)) {
            release.head = head;
        }
    }

    /// The deploy succeeded: what served before it is kept, the rest goes.
    pub fn keep(&mut self, before: Option<u64>) {
        self.serves = true;
        self.previous = before.filter(|number| Some(*number) != self.current).or(self.previous);
        let (current, previous) = (self.current, self.previous);
        self.releases.retain(|release| Some(release.number) == current || Some(release.number) == previous);
    }

    /// The slot of a deploy that failed is emptied.
    pub fn clear(&mut self, number: Option<u64>) {
        self.releases.retain(|release| Some(release.number) != number);
    }

    /// What served before goes early: the planted bug.
    pub fn forget_previous(&mut self) {
        let current = self.current;
        self.releases.retain(|release| Some(release.number) == current);
    }

    /// Invariant 8; what is wrong, if something is.
    pub fn wrong(&self) -> Option<String> {
        if !self.serves {
            return None;
        }
        let name = &self.name;
        let Some(current) = self.current else { return Some(format!("nothing of {name} is current")) };
        let Some(release) = self.release(current) else { return Some(format!("current of {name} points nowhere")) };
        if !release.built || !release.checked {
            return Some(format!("release {current} of {name} is current and not complete and checked"));
        }
        let kept = |number: u64| self.release(number).is_some_and(|release| release.built);
        self.previous.filter(|number| !kept(*number)).map(|number| format!("release {number} of {name} is not kept"))
    }
}
