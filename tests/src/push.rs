//! What somebody pushes, before GitHub makes a delivery of it.

/// A push of one ref.
#[derive(Clone, Debug)]
pub struct Push {
    pub(crate) git_ref: String,
    pub(crate) commits: Vec<Commit>,
    pub(crate) after: Option<String>,
    pub(crate) forced: bool,
    pub(crate) deleted: bool,
}

/// One commit of it.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) message: String,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) modified: Vec<String>,
}

impl Push {
    /// One commit to a branch, which modifies `README.md`.
    #[must_use]
    pub fn to(branch: &str) -> Self {
        Self::of(format!("refs/heads/{branch}"))
    }

    /// A tag.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self::of(format!("refs/tags/{name}"))
    }

    fn of(git_ref: String) -> Self {
        Self { git_ref, commits: vec![Commit::modifying(&["README.md"])], after: None, forced: false, deleted: false }
    }

    /// The push modifies these files instead, in one commit.
    #[must_use]
    pub fn modifies(mut self, paths: &[&str]) -> Self {
        self.commits = vec![Commit::modifying(paths)];
        self
    }

    /// One more commit, which modifies these files.
    #[must_use]
    pub fn and_modifies(mut self, paths: &[&str]) -> Self {
        self.commits.push(Commit::modifying(paths));
        self
    }

    /// The last commit also adds and removes these files.
    #[must_use]
    pub fn adds_and_removes(mut self, added: &[&str], removed: &[&str]) -> Self {
        if let Some(commit) = self.commits.last_mut() {
            commit.added = owned(added);
            commit.removed = owned(removed);
        }
        self
    }

    /// No commits, as when a branch is pushed that holds nothing new.
    #[must_use]
    pub fn without_commits(mut self) -> Self {
        self.commits.clear();
        self
    }

    /// The message of every commit.
    #[must_use]
    pub fn saying(mut self, message: &str) -> Self {
        for commit in &mut self.commits {
            message.clone_into(&mut commit.message);
        }
        self
    }

    /// The commit the push ends at; GitHub makes one up otherwise.
    #[must_use]
    pub fn at(mut self, commit: &str) -> Self {
        self.after = Some(commit.to_owned());
        self
    }

    /// History was rewritten.
    #[must_use]
    pub fn forced(mut self) -> Self {
        self.forced = true;
        self
    }

    /// The ref was deleted.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        self.deleted = true;
        self.commits.clear();
        self
    }
}

impl Commit {
    fn modifying(paths: &[&str]) -> Self {
        Self { message: "Change a few things".into(), added: Vec::new(), removed: Vec::new(), modified: owned(paths) }
    }
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}
