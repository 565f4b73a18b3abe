//! Where a project comes from: an address and perhaps a token.
//!
//! An address is parsed once, here. What is not http, https, file or an
//! absolute path is refused with the reason; credentials inside an address are
//! refused too, since addresses are shown.

use super::error::FetchError;
use crate::config::{self, Project, Repo, Vars};
use reqwest::Url;
use std::fmt;

/// A secret of the host. Its text is in no `Debug` output.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Wraps the text of a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A repository to fetch from.
#[derive(Clone)]
pub struct Origin {
    /// `https://…`, `http://…`, `file://…` or an absolute path.
    pub url: String,
    /// Sent as the password of the user `x-access-token`, over http and https
    /// only, to the host of `url` only. Over plain http it can be read on the
    /// way.
    pub token: Option<Token>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("url", &shown(&self.url))
            .field("token", &self.token)
            .finish()
    }
}

impl Origin {
    /// The origin of a project of the host's file.
    ///
    /// # Errors
    ///
    /// When its token cannot be read.
    pub fn of(project: &Project, vars: &Vars) -> anyhow::Result<Self> {
        let token = config::git_token(project, vars).map_err(anyhow::Error::msg)?;
        let url = match &project.repo {
            Repo::Http(url) | Repo::Ssh(url) | Repo::File(url) => url.clone(),
            Repo::Path(path) => path.to_string_lossy().into_owned(),
        };
        Ok(Self { url, token: token.map(|token| Token::new(token.expose())) })
    }
}

/// What an address turned out to be.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Carried by our transport.
    Web(Url),
    /// A repository on this machine, carried by libgit2 itself.
    Local,
}

impl Origin {
    /// Sorts the address, or says why it cannot be used.
    pub(super) fn place(&self) -> Result<Place, FetchError> {
        let url = self.url.as_str();
        let bad = |why: &str| FetchError::BadUrl {
            url: shown(url),
            why: why.to_owned(),
        };
        if url.starts_with('/') || has_scheme(url, "file://") {
            return Ok(Place::Local);
        }
        if ["ssh://", "git+ssh://", "ssh+git://"]
            .iter()
            .any(|s| has_scheme(url, s))
            || is_scp(url)
        {
            return Err(FetchError::SshUnsupported { url: shown(url) });
        }
        if !has_scheme(url, "http://") && !has_scheme(url, "https://") {
            return Err(bad("only https, http, file and absolute paths are known"));
        }
        let parsed = Url::parse(url).map_err(|e| bad(&e.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad(
                "it holds a user name or a password; give a token instead",
            ));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(bad("it has a ? or # part"));
        }
        Ok(Place::Web(parsed))
    }

    /// The address as people may see it.
    pub(super) fn shown(&self) -> String {
        shown(&self.url)
    }
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// `user@host:path` or `host:path`, the short way to write ssh.
fn is_scp(url: &str) -> bool {
    match url.split_once(':') {
        Some((host, path)) => !host.is_empty() && !host.contains('/') && !path.starts_with("//"),
        None => false,
    }
}

/// Leaves out user, password, query and fragment, also of an address that does
/// not parse.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    // A local path may hold an @ that is no credential.
    if scheme.is_empty() && rest.starts_with('/') {
        return super::error::clean(rest);
    }
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    super::error::clean(&format!("{scheme}{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, FetchError> {
        Origin {
            url: url.into(),
            token: None,
        }
        .place()
    }

    #[test]
    fn addresses_are_sorted() {
        assert!(matches!(place("https://github.com/a/b"), Ok(Place::Web(_))));
        assert!(matches!(
            place("HTTP://localhost:8080/a"),
            Ok(Place::Web(_))
        ));
        assert!(matches!(place("/srv/git/a.git"), Ok(Place::Local)));
        assert!(matches!(place("file:///srv/git/a.git"), Ok(Place::Local)));
        for ssh in [
            "git@github.com:a/b.git",
            "ssh://git@github.com/a/b",
            "host:path",
        ] {
            let e = place(ssh).unwrap_err();
            assert!(matches!(e, FetchError::SshUnsupported { .. }), "{ssh}: {e}");
            assert!(e.to_string().contains("https:// with a token"), "{e}");
        }
        for bad in [
            "",
            "git://x/y",
            "ftp://x/y",
            "relative/path",
            "https://",
            "https://x/y?z=1",
        ] {
            assert!(
                matches!(place(bad), Err(FetchError::BadUrl { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_shown() {
        for url in [
            "https://me:hunter2@host/a",
            "https://hunter2@host/a",
            "https://x:hunter2@[bad/a",
            "ssh://me:hunter2@host/a",
            "https://host/a?token=hunter2",
            "ftp://me:hunter2@host",
        ] {
            let e = place(url).unwrap_err();
            let origin = Origin {
                url: url.into(),
                token: Some(Token::new("hunter2")),
            };
            let texts = format!("{e} {e:?} {origin:?}");
            assert!(!texts.contains("hunter2"), "{texts}");
        }
    }
}
