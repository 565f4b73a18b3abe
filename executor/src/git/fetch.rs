//! Bringing one branch of an origin into the store.
//!
//! The order is: list, download, objects to disk, ref. A crash in between
//! leaves objects that nothing points at, never a ref that points at nothing.
//! One fetch per store at a time is the caller's promise.

use super::claims::{Claims, State};
use super::error::{FetchError, clean};
use super::origin::{Origin, Place};
use super::store::Store;
use super::transport::lend;
use super::web::{Call, Web};
use git2::{Direction, FetchOptions, Oid, Reference, Remote, RemoteCallbacks, RemoteHead};
use std::collections::HashSet;
use std::ffi::{CStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A half pack older than this belongs to a process that died.
const HALF_PACK_AGE: Duration = Duration::from_secs(3600);

/// What ends a fetch from outside.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The whole fetch ends by then.
    pub deadline: Instant,
    /// Setting it ends the fetch within about 100 ms.
    pub cancel: Arc<AtomicBool>,
}

/// How far a fetch is. Counts start at zero and only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects in the pack; zero until it is known.
    pub total_objects: usize,
    /// Objects that have come.
    pub received_objects: usize,
    /// Objects that are checked and indexed.
    pub indexed_objects: usize,
    /// Bytes of the pack that have come.
    pub received_bytes: usize,
}

/// What a fetch found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The head of the branch, 40 hexadecimal digits.
    pub commit: String,
    /// Bytes of the pack; zero when nothing was missing.
    pub received_bytes: usize,
    /// Objects in the pack.
    pub received_objects: usize,
    /// The head that the last fetch found.
    pub previous: Option<String>,
    /// The branch does not contain `previous`: history was rewritten.
    pub forced: bool,
}

impl Store {
    /// Fetches `branch`, and nothing else, to `refs/doorstep/<branch>`.
    ///
    /// `progress` is called on this thread, often. Must be called from a
    /// thread that is not inside async code (`spawn_blocking`).
    pub fn fetch(
        &self,
        web: &Web,
        origin: &Origin,
        branch: &str,
        bounds: &Bounds,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Fetched, FetchError> {
        let mut session = Session::new(web, origin, branch, bounds, Claims::Allowed)?;
        self.drop_half_packs();
        self.drop_stale_locks(branch);
        let previous = self.tip(branch);
        let packs_before = self.pack_names();
        let mut downloaded = session.download(self, progress);
        if downloaded.is_err() && session.call.claims.get() == Claims::Refuted {
            session = Session::new(web, origin, branch, bounds, Claims::None)?;
            downloaded = session.download(self, progress);
        }
        let (commit, received) = downloaded?;
        self.sync_packs(&packs_before)
            .map_err(|e| FetchError::Disk { why: e.to_string() })?;
        let forced = match previous {
            Some(previous) => session.rewrites(self, previous, commit)?,
            None => false,
        };
        session.write_ref(self, commit)?;
        Ok(Fetched {
            commit: commit.to_string(),
            received_bytes: received.received_bytes,
            received_objects: received.received_objects,
            previous: previous.map(|p| p.to_string()),
            forced,
        })
    }

    fn tip(&self, branch: &str) -> Option<Oid> {
        self.repo.refname_to_id(&ours(branch)).ok()
    }

    fn packs(&self) -> PathBuf {
        self.repo.path().join("objects/pack")
    }

    fn pack_names(&self) -> HashSet<OsString> {
        let Ok(entries) = fs::read_dir(self.packs()) else {
            return HashSet::new();
        };
        entries.filter_map(|e| Some(e.ok()?.file_name())).collect()
    }

    /// libgit2 does not sync what it writes; a ref must not outlive its
    /// objects in a power cut.
    fn sync_packs(&self, before: &HashSet<OsString>) -> std::io::Result<()> {
        let new: Vec<_> = self.pack_names().difference(before).cloned().collect();
        for name in &new {
            fs::File::open(self.packs().join(name))?.sync_all()?;
        }
        match new.is_empty() {
            true => Ok(()),
            false => fs::File::open(self.packs())?.sync_all(),
        }
    }

    /// A process that dies while it writes the ref, or the list of shallow
    /// roots that ends every download, leaves a lock behind, and nothing else
    /// holds it: one fetch per store at a time.
    fn drop_stale_locks(&self, branch: &str) {
        for locked in [ours(branch), "shallow".to_owned()] {
            let _ = fs::remove_file(self.repo.path().join(format!("{locked}.lock")));
        }
    }

    /// A process that dies in a fetch leaves its half pack behind, which may
    /// be large. Failing to remove one is no reason not to fetch.
    fn drop_half_packs(&self) {
        for name in self.pack_names() {
            let path = self.packs().join(&name);
            let age = fs::metadata(&path)
                .and_then(|m| m.modified())
                .ok()
                .and_then(|m| m.elapsed().ok());
            let half = name.to_string_lossy().starts_with("pack_git2_");
            if half && age.is_some_and(|age| age > HALF_PACK_AGE) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The head of `branch` at the origin, or `None` when the origin has no such
/// branch. Only refs are listed; nothing is downloaded.
pub fn remote_head(
    web: &Web,
    origin: &Origin,
    branch: &str,
    bounds: &Bounds,
) -> Result<Option<String>, FetchError> {
    let session = Session::new(web, origin, branch, bounds, Claims::None)?;
    let mut remote = Remote::create_detached(origin.url.as_str()).map_err(|e| session.named(&e))?;
    match session.head(&mut remote) {
        Ok(commit) => Ok(Some(commit.to_string())),
        Err(FetchError::NoSuchBranch { .. } | FetchError::EmptyRepository { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The name of a listed ref. `RemoteHead::name` panics at one that is not
/// UTF-8, which any repository may hold.
#[expect(unsafe_code, reason = "git2 has no way to a name that cannot panic")]
fn name_of<'a>(head: &'a RemoteHead<'_>) -> &'a [u8] {
    type Raw = *const libgit2_sys::git_remote_head;
    const { assert!(size_of::<RemoteHead<'_>>() == size_of::<Raw>()) };
    // SAFETY: `Remote::list` makes its slice of `RemoteHead` by the same cast,
    // from an array of these pointers, and asserts the same size. The name is
    // a C string that lives as long as the list.
    unsafe {
        let raw: Raw = *std::ptr::from_ref(head).cast::<Raw>();
        match (*raw).name.is_null() {
            true => b"",
            false => CStr::from_ptr((*raw).name).to_bytes(),
        }
    }
}

/// The ref that a branch is fetched to.
pub(super) fn ours(branch: &str) -> String {
    format!("refs/doorstep/{branch}")
}

/// One conversation with one origin about one branch.
struct Session<'a> {
    call: Arc<Call>,
    url: &'a str,
    branch: &'a str,
    local: bool,
}

impl<'a> Session<'a> {
    fn new(
        web: &Web,
        origin: &'a Origin,
        branch: &'a str,
        bounds: &Bounds,
        claims: Claims,
    ) -> Result<Self, FetchError> {
        let shown = origin.shown();
        super::prepare().map_err(|e| FetchError::from_git(&shown, &e))?;
        let home = match origin.place()? {
            Place::Web(url) => Some(url),
            Place::Local => None,
        };
        // Also keeps a `*` out of the refspec.
        if !Reference::is_valid_name(&format!("refs/heads/{branch}")) {
            return Err(FetchError::NoSuchBranch {
                url: shown,
                branch: clean(branch),
            });
        }
        let local = home.is_none();
        let call = Arc::new(Call {
            web: web.clone(),
            home,
            shown,
            token: origin.token.clone(),
            bounds: bounds.clone(),
            claims: State::new(claims),
            failure: Mutex::default(),
        });
        call.check()?;
        Ok(Self {
            call,
            url: &origin.url,
            branch,
            local,
        })
    }

    /// Connects, and finds the branch in the list of refs.
    fn head(&self, remote: &mut Remote<'_>) -> Result<Oid, FetchError> {
        lend(&self.call, || remote.connect(Direction::Fetch))
            .map_err(|e| self.not_connected(&e))?;
        let heads = remote.list().map_err(|e| self.named(&e))?;
        let url = self.call.shown.clone();
        if heads.is_empty() {
            return Err(FetchError::EmptyRepository { url });
        }
        let wanted = format!("refs/heads/{}", self.branch);
        let found = heads.iter().find(|head| name_of(head) == wanted.as_bytes());
        found
            .map(|head| head.oid())
            .ok_or_else(|| FetchError::NoSuchBranch {
                url,
                branch: self.branch.to_owned(),
            })
    }

    fn download(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Oid, Progress), FetchError> {
        let mut remote = store
            .repo
            .remote_anonymous(self.url)
            .map_err(|e| self.named(&e))?;
        let commit = self.head(&mut remote)?;
        let mut last = Progress::default();
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|stats| {
            last = Progress {
                total_objects: stats.total_objects(),
                received_objects: stats.received_objects(),
                indexed_objects: stats.indexed_objects(),
                received_bytes: stats.received_bytes(),
            };
            progress(last);
            self.call.check().map_err(|e| self.call.fail(e)).is_ok()
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks);
        let spec = format!("+refs/heads/{}:{}", self.branch, ours(self.branch));
        let done = lend(&self.call, || remote.download(&[spec], Some(&mut options)));
        drop(options);
        let _ = remote.disconnect();
        done.map_err(|e| self.named(&e))?;
        // A download that came to its end counts, even if it was cancelled in
        // the last moment; the caller looks at the flag before the next step.
        Ok((commit, last))
    }

    /// Whether `previous` is not part of the history of `commit`.
    fn rewrites(&self, store: &Store, previous: Oid, commit: Oid) -> Result<bool, FetchError> {
        if previous == commit {
            return Ok(false);
        }
        let contained = store
            .repo
            .graph_descendant_of(commit, previous)
            .map_err(|e| self.damaged(&e))?;
        Ok(!contained)
    }

    fn write_ref(&self, store: &Store, commit: Oid) -> Result<(), FetchError> {
        store
            .repo
            .find_commit(commit)
            .map_err(|e| self.damaged(&e))?;
        self.drop_rivals(store)?;
        let name = ours(self.branch);
        store
            .repo
            .reference(&name, commit, true, "fetch")
            .map_err(|e| self.named(&e))?;
        Ok(())
    }

    /// `a` and `a/b` cannot both be refs; the one tracked before gives way.
    fn drop_rivals(&self, store: &Store) -> Result<(), FetchError> {
        let name = ours(self.branch);
        let refs = store
            .repo
            .references_glob("refs/doorstep/*")
            .map_err(|e| self.named(&e))?;
        for mut other in refs.flatten() {
            let inside =
                |a: &str, b: &str| b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'));
            let rival = other
                .name()
                .is_ok_and(|other| inside(other, &name) || inside(&name, other));
            if rival {
                other.delete().map_err(|e| self.named(&e))?;
            }
        }
        Ok(())
    }

    /// Our own code knows better than libgit2 what happened to it.
    fn named(&self, error: &git2::Error) -> FetchError {
        let ours = self
            .call
            .failure
            .lock()
            .ok()
            .and_then(|mut failure| failure.take());
        ours.unwrap_or_else(|| FetchError::from_git(&self.call.shown, error))
    }

    fn not_connected(&self, error: &git2::Error) -> FetchError {
        if !self.local {
            return self.named(error);
        }
        let (url, why) = (self.call.shown.clone(), clean(error.message()));
        match why.contains("Permission denied") {
            true => FetchError::Denied { url, why },
            false => FetchError::NotFound { url, why },
        }
    }

    fn damaged(&self, error: &git2::Error) -> FetchError {
        FetchError::Corrupt {
            url: self.call.shown.clone(),
            why: clean(error.message()),
        }
    }
}
