//! Is this the repository that a project follows?
//!
//! A project's `repo` is whatever the host's file says: an https or ssh
//! address, or a path on the host. GitHub names the same repository by a full
//! name and several addresses. A wrong "yes" costs one needless fetch of the
//! host's own branch and nothing else, since the edge never says what to
//! fetch; so mirrors and paths are matched by their last parts.

/// What a payload says about its repository; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// `owner/name`.
    pub full_name: &'a str,
    /// Every address it gives: `clone_url`, `html_url`, `ssh_url`, …
    pub addresses: Vec<&'a str>,
}

impl Named<'_> {
    /// Every [`key`] that a `repo` can have which means this repository.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let full = self.full_name.trim_matches('/').to_ascii_lowercase();
        let name = full.rsplit_once('/').map(|(_, name)| name.to_owned());
        name.into_iter().chain(self.addresses.iter().filter(|a| !a.is_empty()).map(|a| key(a)))
    }
}

/// The last part of a `repo`'s path: what all spellings of one repository
/// share, so that a push is compared with few projects and not with all.
#[must_use]
pub fn key(repo: &str) -> String {
    tail(&Address::of(repo).path, 1)
}

/// `owner/name` in lower case as far as a `repo` says so: what the spellings of
/// one repository have in common when it is to be counted once.
#[must_use]
pub fn name(repo: &str) -> String {
    tail(&Address::of(repo).path, 2)
}

/// Does the project's `repo` mean the repository that a payload names?
#[must_use]
pub fn same(repo: &str, named: &Named<'_>) -> bool {
    let ours = Address::of(repo);
    if named.addresses.iter().filter(|a| !a.is_empty()).any(|a| Address::of(a) == ours) {
        return true;
    }
    let full = named.full_name.trim_matches('/').to_ascii_lowercase();
    let Some((_, name)) = full.rsplit_once('/') else { return false };
    match ours.host {
        // The same host under another name, a mirror, a test server.
        Some(host) if host != "github.com" => tail(&ours.path, 2) == full,
        Some(_) => ours.path == full,
        None => tail(&ours.path, 2) == full || tail(&ours.path, 1) == name,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    host: Option<String>,
    path: String,
}

impl Address {
    fn of(text: &str) -> Self {
        let (host, path) = if let Some(path) = text.strip_prefix("file://") {
            (None, path)
        } else if let Some((_, rest)) = text.split_once("://") {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            (Some(authority), path)
        } else {
            // scp-like: user@host:path, but not a path that holds a colon.
            match text.split_once(':') {
                Some((authority, path)) if !authority.contains('/') => (Some(authority), path),
                _ => (None, text),
            }
        };
        Self {
            host: host.map(|h| h.rsplit('@').next().unwrap_or(h).to_ascii_lowercase()),
            path: path.trim_matches('/').trim_end_matches(".git").trim_end_matches('/').to_ascii_lowercase(),
        }
    }
}

fn tail(path: &str, parts: usize) -> String {
    let all: Vec<&str> = path.split('/').collect();
    all[all.len().saturating_sub(parts)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github() -> Named<'static> {
        Named {
            full_name: "Me/Shop",
            addresses: vec!["https://github.com/Me/Shop.git", "git@github.com:Me/Shop.git", "https://github.com/Me/Shop"],
        }
    }

    #[test]
    fn one_repository_has_many_spellings() {
        for repo in [
            "https://github.com/me/shop",
            "https://github.com/Me/Shop.git",
            "https://github.com/me/shop/",
            "git@github.com:me/shop.git",
            "ssh://git@github.com/me/shop",
            "http://127.0.0.1:3000/me/shop.git",
            "/srv/git/me/shop.git",
            "/srv/git/shop.git",
            "file:///srv/git/shop",
        ] {
            assert!(same(repo, &github()), "{repo}");
            assert!(github().keys().any(|named| named == key(repo)), "{repo}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_the_same_has_a_key_in_common(
            repo in "(https://|git@|file://|/)?[gG](ithub.com|h)?[:/]?(a|A/b|/c|b.git|B){0,3}/?",
            full_name in "/?[aA]?/?(a|b|B|c)(.git)?/?",
            address in "(https://|git@)?g?(ithub.com)?[:/]?(a|A/b|/c|b.git){0,3}/?",
        ) {
            let named = Named { full_name: &full_name, addresses: vec![&address] };
            let shares = named.keys().any(|named| named == key(&repo));
            proptest::prop_assert!(shares || !same(&repo, &named), "{repo} {named:?}");
        }
    }

    #[test]
    fn others_are_others() {
        for repo in ["https://github.com/you/shop", "https://github.com/me/shop2", "http://127.0.0.1/x/you/shop", "/srv/git/shopping.git", ""] {
            assert!(!same(repo, &github()), "{repo}");
        }
        assert!(!same("/srv/git/shop.git", &Named::default()));
    }
}
