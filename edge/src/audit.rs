//! What people did: the words that are kept of it.
//!
//! Pure. Invariant: an entry holds no secret, and whatever somebody else chose
//! of it was cut and cleaned. What pushes and hosts do is not here: deliveries,
//! jobs and runs tell that.

use doorstep_shared::ids::{Action, JobId, Name, ServiceName};

/// Entries that are kept at most.
pub const ENTRIES_MAX: u64 = 10_000;
/// Of these, sign-ins that were refused: who guesses cannot push out the rest.
pub const REFUSED_SIGN_INS_MAX: u64 = 1_000;
/// And for so long: 90 days.
pub const KEPT_MS: u64 = 90 * 24 * 3_600 * 1_000;
/// What is refused again and again is written once in this time, for one
/// address, action and target.
pub const REFUSED_AGAIN_MS: u64 = 60 * 1_000;
/// Refusals that are written in that time, of all addresses: 10 × 1,440 rows a
/// day, and as many when they go again, of the 100,000 of a free account.
pub const REFUSED_MAX: u64 = 10;
/// Longest word that is searched for.
const SEARCH_BYTES_MAX: usize = 64;
/// Longest target: two names of 64 bytes and a service of 200, with their words.
const TARGET_BYTES_MAX: usize = 400;

/// What refused entries begin with.
const REFUSED: &str = "refused: ";

/// What somebody did or wanted to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// The action, in one word.
    pub action: String,
    /// To what.
    pub target: String,
    /// The project that it is about, if it is one.
    pub project: Option<(Name, Name)>,
}

impl Deed {
    /// An action, and to what.
    #[must_use]
    pub fn new(action: &str, target: &str) -> Self {
        let target = doorstep_shared::text::clean_line(target);
        Self { action: action.to_owned(), target: doorstep_shared::text::cut(&target, TARGET_BYTES_MAX).to_owned(), project: None }
    }

    /// An action of a project, or of one service of it.
    #[must_use]
    pub fn of_project(action: Action, (host, name): &(Name, Name), service: Option<&ServiceName>) -> Self {
        let target = match service {
            Some(service) => format!("{service} of {name} on {host}"),
            None => format!("{name} on {host}"),
        };
        Self { project: Some((host.clone(), name.clone())), ..Self::new(action.as_str(), &target) }
    }

    /// The same, to a commit that was named.
    #[must_use]
    pub fn to_commit(self, commit: Option<&str>) -> Self {
        let target = commit.map_or_else(|| self.target.clone(), |commit| format!("{}, to {}", self.target, doorstep_shared::text::cut(commit, 7)));
        Self { target, ..self }
    }

    /// What is done to a job.
    #[must_use]
    pub fn of_job(action: &str, id: JobId, of: Option<(&Name, &Name)>) -> Self {
        match of {
            Some((host, name)) => {
                let project = Some((host.clone(), name.clone()));
                Self { project, ..Self::new(action, &format!("job {id}, {name} on {host}")) }
            }
            None => Self::new(action, &format!("job {id}")),
        }
    }
}

/// What became of it: it was refused.
#[must_use]
pub fn refused(code: &str) -> String {
    format!("{REFUSED}{code}")
}

/// What became of it: these jobs.
#[must_use]
pub fn queued(jobs: &[JobId]) -> String {
    match jobs {
        [] => "nothing follows".to_owned(),
        [job] => format!("queued job {job}"),
        [first, .., last] => format!("queued {} jobs, {first} to {last}", jobs.len()),
    }
}

/// The job that was made, as [`queued`] says it; of several, none.
#[must_use]
pub fn job_of(result: &str) -> Option<JobId> {
    result.strip_prefix("queued job ")?.parse().ok().map(JobId)
}

/// A word to search for, as entries are compared with it.
#[must_use]
pub fn search_word(typed: &str) -> String {
    doorstep_shared::text::cut(typed.trim(), SEARCH_BYTES_MAX).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (Name, Name) {
        ("attic".parse().unwrap(), "shop".parse().unwrap())
    }

    #[test]
    fn deeds_say_what_was_done_to_what() {
        let deed = Deed::of_project(Action::Restart, &key(), Some(&"web".parse().unwrap()));
        assert_eq!((deed.action.as_str(), deed.target.as_str(), deed.project), ("restart", "web of shop on attic", Some(key())));
        assert_eq!(Deed::of_project(Action::Deploy, &key(), None).target, "shop on attic");
        let (host, name) = key();
        assert_eq!(Deed::of_job("cancel", JobId(7), Some((&host, &name))).target, "job 7, shop on attic");
        assert_eq!(Deed::of_job("cancel", JobId(7), None), Deed::new("cancel", "job 7"));
    }

    #[test]
    fn what_somebody_else_chose_is_cleaned_and_cut() {
        assert_eq!(Deed::new("replay", "a\u{1b}[31mb\nc").target, "abc");
        assert!(Deed::new("replay", &"x".repeat(9_999)).target.len() <= TARGET_BYTES_MAX);
    }

    #[test]
    fn results_name_jobs_and_codes() {
        assert_eq!(refused("not_allowed"), "refused: not_allowed");
        assert_eq!(queued(&[]), "nothing follows");
        assert_eq!(queued(&[JobId(12)]), "queued job 12");
        assert_eq!(queued(&[JobId(12), JobId(13), JobId(14)]), "queued 3 jobs, 12 to 14");
    }

    #[test]
    fn a_search_is_one_short_word() {
        assert_eq!(search_word("  Deploy "), "deploy");
        assert_eq!(search_word(&"é".repeat(99)).len(), SEARCH_BYTES_MAX);
    }
}
