//! What can go wrong, named after what the caller then does.
//!
//! Texts are sentences for the page and the log. They name the origin without
//! any credentials, and text that came from the other end is cleaned first.

use std::path::{Path, PathBuf};

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The origin could not be reached, stopped talking, or broke off.
    #[error("the origin at {url} could not be read: {why}")]
    Network {
        /// The origin, without credentials.
        url: String,
        /// What happened.
        why: String,
    },
    /// The origin knows us and refuses, or wants a token.
    #[error(
        "the origin refused access to {url}: {why}; is the token right and does it reach this repository?"
    )]
    Denied {
        /// The origin, without credentials.
        url: String,
        /// The HTTP status, or what the system said.
        why: String,
    },
    /// There is no repository at this address, or none that we may see.
    #[error(
        "the origin has no repository at {url}: {why}; is the address right and, if it is private, does the token reach it?"
    )]
    NotFound {
        /// The origin, without credentials.
        url: String,
        /// The HTTP status, or what the system said.
        why: String,
    },
    /// The repository is there, the branch is not.
    #[error("the origin at {url} has no branch {branch}")]
    NoSuchBranch {
        /// The origin, without credentials.
        url: String,
        /// The branch that was asked for.
        branch: String,
    },
    /// The repository is there and has no commit at all.
    #[error("the origin at {url} is empty: it has no commit yet")]
    EmptyRepository {
        /// The origin, without credentials.
        url: String,
    },
    /// The address cannot be used as it is written.
    #[error("the origin's address {url} cannot be used: {why}")]
    BadUrl {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The address is an ssh one.
    #[error(
        "the origin's address {url} is an ssh address, which is not supported yet; use https:// with a token"
    )]
    SshUnsupported {
        /// The address, without credentials.
        url: String,
    },
    /// The disk is full, over its quota, read-only, or fails.
    #[error("the fetched objects could not be written: {why}")]
    Disk {
        /// What the system said.
        why: String,
    },
    /// The caller cancelled.
    #[error("the fetch was cancelled")]
    Cancelled,
    /// The caller's deadline passed.
    #[error("the fetch from {url} did not end within its time")]
    TimedOut {
        /// The origin, without credentials.
        url: String,
    },
    /// What came, or what was here already, is not sound git data.
    #[error("the objects from {url} are damaged: {why}")]
    Corrupt {
        /// The origin, without credentials.
        url: String,
        /// What is damaged.
        why: String,
    },
    /// Anything else.
    #[error("the fetch from {url} failed: {why}")]
    Other {
        /// The origin, without credentials.
        url: String,
        /// What happened.
        why: String,
    },
}

impl FetchError {
    /// Whether the same fetch may well succeed later with nothing changed.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Network { .. } | Self::TimedOut { .. } => true,
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::NoSuchBranch { .. }
            | Self::EmptyRepository { .. }
            | Self::BadUrl { .. }
            | Self::SshUnsupported { .. }
            | Self::Disk { .. }
            | Self::Cancelled
            | Self::Corrupt { .. }
            | Self::Other { .. } => false,
        }
    }

    /// Names what libgit2 reported while it talked to `url`.
    pub(super) fn from_git(url: &str, error: &git2::Error) -> Self {
        use git2::ErrorClass as Class;
        let why = clean(error.message());
        let url = url.to_owned();
        if is_disk(&why) {
            return Self::Disk { why };
        }
        // A pack that ends early is the network's doing, whoever notices it.
        if ["early EOF", "unexpected EOF", "incomplete pack"]
            .iter()
            .any(|m| why.contains(m))
        {
            return Self::Network { url, why };
        }
        match error.class() {
            Class::Net | Class::Http | Class::Ssl => Self::Network { url, why },
            Class::Indexer
            | Class::Odb
            | Class::Object
            | Class::Zlib
            | Class::Sha1
            | Class::Tree => Self::Corrupt { url, why },
            _ => Self::Other { url, why },
        }
    }
}

/// Why the store or a slot could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is there but is not a sound object store. It is left as it
    /// is; a person, or a caller who knows better, removes it.
    #[error("the object store {} is damaged: {why}", path.display())]
    Corrupt {
        /// The store's folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A commit id that is not 40 hexadecimal digits, or is not in the store.
    #[error("there is no commit {commit} in the object store")]
    NoSuchCommit {
        /// What was asked for.
        commit: String,
    },
    /// A file is larger than the caller wants to read.
    #[error("the file {path} has {bytes} bytes, more than the {bytes_max} that are read")]
    TooLarge {
        /// The path in the tree.
        path: String,
        /// Its size.
        bytes: usize,
        /// The caller's limit.
        bytes_max: usize,
    },
    /// The tree holds a name that must not be written to a slot.
    #[error("the commit cannot be checked out: {path}: {why}")]
    Refused {
        /// The path in the tree.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file operation failed.
    #[error("could not {what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// libgit2 failed otherwise.
    #[error("could not {what}: {why}")]
    Git {
        /// What was tried, as a verb.
        what: &'static str,
        /// What libgit2 said.
        why: String,
    },
}

impl StoreError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    pub(super) fn git(what: &'static str) -> impl FnOnce(git2::Error) -> Self {
        move |e| Self::Git {
            what,
            why: clean(e.message()),
        }
    }
}

/// libgit2 hands on the system's errors as text only. The process never sets a
/// locale, so the text is the C one.
fn is_disk(why: &str) -> bool {
    [
        "No space left on device",
        "Disk quota exceeded",
        "Read-only file system",
        "Input/output error",
        "File too large",
    ]
    .iter()
    .any(|m| why.contains(m))
}

/// Longest text of the other end that is passed on.
const WHY_CHARS_MAX: usize = 300;

/// One line without control characters, of bounded length.
pub(super) fn clean(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    spaced
        .take(WHY_CHARS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::{Error, ErrorClass, ErrorCode};

    fn named(class: ErrorClass, text: &str) -> FetchError {
        FetchError::from_git("u", &Error::new(ErrorCode::GenericError, class, text))
    }

    #[test]
    fn a_full_disk_is_the_disk_whatever_part_of_libgit2_says_it() {
        for class in [ErrorClass::Os, ErrorClass::Indexer, ErrorClass::Odb] {
            let e = named(class, "cannot extend packfile: No space left on device");
            assert!(
                matches!(e, FetchError::Disk { .. }) && !e.retryable(),
                "{e}"
            );
        }
    }

    #[test]
    fn a_pack_that_ends_early_is_the_network() {
        assert!(named(ErrorClass::Indexer, "early EOF").retryable());
        assert!(named(ErrorClass::Net, "remote error: upload-pack: not our ref").retryable());
        assert!(!named(ErrorClass::Indexer, "packfile trailer mismatch").retryable());
    }

    #[test]
    fn text_from_the_other_end_is_one_bounded_line() {
        let text = clean(&format!("a\x1b[31m\nb{}", "x".repeat(1000)));
        assert!(
            text.starts_with("a [31m b") && text.len() <= WHY_CHARS_MAX,
            "{text}"
        );
    }
}
