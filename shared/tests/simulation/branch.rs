//! A branch at its origin: which commit was its head, from its first moment
//! on. Moments only rise; commits come back when somebody pushes by force.

use doorstep_shared::time::mix;

use super::stage::Rates;

/// Where a branch stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts the pushes, from 1.
    pub moment: u64,
    /// The first moment of this commit, which is its name.
    pub commit: u64,
}

pub struct Branch {
    heads: Vec<u64>,
    seed: u64,
    sick: u64,
    poison: u64,
}

impl Branch {
    /// A branch with one commit.
    pub fn new(seed: u64, rates: &Rates) -> Self {
        Self { heads: vec![1], seed, sick: rates.sick, poison: rates.poison }
    }

    pub fn head(&self) -> Head {
        let moment = self.heads.len() as u64;
        Head { moment, commit: self.heads.last().copied().unwrap_or(1) }
    }

    /// A new commit becomes the head.
    pub fn push(&mut self) -> Head {
        self.heads.push(self.heads.len() as u64 + 1);
        self.head()
    }

    /// The head goes back to what it was at a moment.
    pub fn push_back_to(&mut self, moment: u64) -> Head {
        self.heads.push(self.commit_at(moment));
        self.head()
    }

    pub fn commit_at(&self, moment: u64) -> u64 {
        self.heads.get(moment.saturating_sub(1) as usize).copied().unwrap_or(1)
    }

    /// Is it never healthy?
    pub fn is_sick(&self, commit: u64) -> bool {
        self.draw(commit, 1) < self.sick
    }

    /// Does building it kill the daemon?
    pub fn is_poison(&self, commit: u64) -> bool {
        self.draw(commit, 2) < self.poison
    }

    fn draw(&self, commit: u64, what: u64) -> u64 {
        mix(self.seed ^ mix(commit * 2 + what)) % 10_000
    }
}
