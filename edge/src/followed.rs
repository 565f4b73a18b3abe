//! What every host announced, found by the repository that a push names.
//!
//! Pure. Invariant: the index holds each project once, under the key of its
//! `repo`. So a push is compared with the few projects whose repository has the
//! last part of its name, not with every project of the fleet.

use std::collections::{BTreeMap, BTreeSet};

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::ProjectView;
use doorstep_shared::source::{self, Named};

/// A project by its host and name.
pub type Key = (Name, Name);

/// The projects of a fleet.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    views: BTreeMap<Key, ProjectView>,
    by_repo: BTreeMap<String, BTreeSet<Key>>,
}

impl Followed {
    /// What a host says of this project, if it is known.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&ProjectView> {
        self.views.get(key)
    }

    /// Every project, by host and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &ProjectView)> {
        self.views.iter()
    }

    /// Every project's host and name.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.views.keys()
    }

    /// Takes in what a host says of its project, in place of what it said before.
    pub fn insert(&mut self, host: Name, view: ProjectView) {
        let key = (host, view.name.clone());
        self.remove(&key);
        self.by_repo.entry(source::key(&view.repo)).or_default().insert(key.clone());
        self.views.insert(key, view);
    }

    /// Forgets a project.
    pub fn remove(&mut self, key: &Key) {
        let Some(view) = self.views.remove(key) else { return };
        let repo = source::key(&view.repo);
        if let Some(keys) = self.by_repo.get_mut(&repo) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_repo.remove(&repo);
            }
        }
    }

    /// Forgets every project of a host.
    pub fn remove_host(&mut self, host: &Name) {
        let gone: Vec<Key> = self.keys().filter(|(of, _)| of == host).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// The projects that follow this repository, by host and name.
    pub fn of_repository<'a>(&'a self, named: &Named<'_>) -> impl Iterator<Item = (&'a Name, &'a ProjectView)> {
        let keys: BTreeSet<&Key> = named.keys().filter_map(|repo| self.by_repo.get(&repo)).flatten().collect();
        let views = keys.into_iter().filter_map(|key| self.views.get_key_value(key));
        let followers: Vec<_> = views.filter(|(_, view)| source::same(&view.repo, named)).collect();
        followers.into_iter().map(|((host, _), view)| (host, view))
    }
}

impl FromIterator<(Name, ProjectView)> for Followed {
    fn from_iter<T: IntoIterator<Item = (Name, ProjectView)>>(views: T) -> Self {
        let mut followed = Self::default();
        for (host, view) in views {
            followed.insert(host, view);
        }
        followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorstep_shared::ids::ProjectState;

    fn view(name: &str, repo: &str) -> ProjectView {
        ProjectView {
            name: name.parse().unwrap(),
            repo: repo.into(),
            branch: "main".into(),
            paths: vec![],
            remote: vec![],
            state: ProjectState::Running,
            reason: None,
            live: None,
            address: None,
            shows_logs: false,
            services: Vec::new(),
            behind: None,
            quarantined: None,
            back: None,
        }
    }

    fn names(followed: &Followed, full_name: &str) -> Vec<String> {
        let named = Named { full_name, addresses: vec![] };
        followed.of_repository(&named).map(|(host, view)| format!("{host}/{}", view.name)).collect()
    }

    #[test]
    fn a_push_finds_its_projects_and_no_others() {
        let (attic, cellar): (Name, Name) = ("attic".parse().unwrap(), "cellar".parse().unwrap());
        let mut followed: Followed = [
            (cellar.clone(), view("shop", "git@github.com:Me/Shop.git")),
            (attic.clone(), view("shop", "https://github.com/me/shop")),
            (attic.clone(), view("fork", "https://github.com/you/shop")),
            (attic.clone(), view("site", "https://github.com/me/site")),
        ]
        .into_iter()
        .collect();
        assert_eq!(names(&followed, "me/shop"), ["attic/shop", "cellar/shop"]);
        // It follows another repository now.
        followed.insert(attic, view("shop", "/srv/git/site.git"));
        assert_eq!(names(&followed, "me/shop"), ["cellar/shop"]);
        assert_eq!(names(&followed, "me/site"), ["attic/shop", "attic/site"]);
        followed.remove_host(&cellar);
        assert!(names(&followed, "me/shop").is_empty());
        assert_eq!(followed.iter().count(), 3);
    }
}
