//! Releases: our checkouts, each of one commit, each in a slot on disk.

use anyhow::Result;
use doorstep_shared::time::Timestamp;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

use super::{Journal, KEPT_MAX};

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its slot is being filled, or is filled and was never live.
    Built,
    /// `current` points at it.
    Live,
    /// It was live before the live one, and is kept.
    Previous,
    /// Its checks failed.
    Bad,
    /// Its slot belongs to another release now.
    Pruned,
}

impl ReleaseState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Live => "live",
            Self::Previous => "previous",
            Self::Bad => "bad",
            Self::Pruned => "pruned",
        }
    }
}

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its number on this host.
    pub id: u64,
    /// Its project.
    pub project: String,
    /// Its commit, 40 hex digits.
    pub commit: String,
    /// First line of the commit's message.
    pub subject: String,
    /// Its slot.
    pub slot: u32,
    /// Where it stands.
    pub state: ReleaseState,
    /// When it last went live.
    pub live_since: Option<Timestamp>,
    /// It was bad when its slot went to another: its commit stays away.
    #[serde(default)]
    pub was_bad: bool,
}

impl Release {
    /// Was it built and never live? Only such a one is its run's to remove.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state == ReleaseState::Built && self.live_since.is_none()
    }

    /// Was it live, is in its slot, and was not found bad?
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self.state {
            ReleaseState::Live | ReleaseState::Previous => true,
            ReleaseState::Built => self.live_since.is_some(),
            ReleaseState::Bad | ReleaseState::Pruned => false,
        }
    }

    /// May a person make it live again?
    ///
    /// # Errors
    ///
    /// Why not, in a sentence.
    pub fn may_come_back(&self) -> std::result::Result<(), String> {
        let id = self.id;
        match self.state {
            ReleaseState::Live => Err(format!("release {id} is live already")),
            ReleaseState::Pruned => Err(format!("release {id} is not kept any more; its commit is {}", doorstep_shared::text::cut(&self.commit, 7))),
            _ if self.live_since.is_none() => Err(format!("release {id} was never live")),
            ReleaseState::Built | ReleaseState::Previous | ReleaseState::Bad => Ok(()),
        }
    }

    /// Was it found bad, whatever became of its slot?
    fn is_bad(&self) -> bool {
        self.state == ReleaseState::Bad || self.was_bad
    }
}

impl Journal {
    /// Makes a release in a slot; whatever was in the slot is pruned.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn create_release(&self, project: &str, commit: &str, subject: &str, slot: u32) -> Result<Release> {
        self.transaction(format_args!("create_release"), |db| {
            for mut old in all(db, project)?.into_iter().filter(|r| r.slot == slot && r.state != ReleaseState::Pruned) {
                old.was_bad = old.state == ReleaseState::Bad;
                old.state = ReleaseState::Pruned;
                save(db, &old)?;
            }
            db.execute("INSERT INTO releases (project, state, body) VALUES (?1, '', '')", [project])?;
            let release = Release {
                id: u64::try_from(db.last_insert_rowid())?,
                project: project.to_owned(),
                commit: commit.to_owned(),
                subject: subject.to_owned(),
                slot,
                state: ReleaseState::Built,
                live_since: None,
                was_bad: false,
            };
            save(db, &release)?;
            db.execute(
                "DELETE FROM releases WHERE project = ?1 AND state = 'pruned' AND id < (SELECT max(id) FROM releases) - ?2",
                (project, KEPT_MAX),
            )?;
            Ok(release)
        })
    }

    /// Releases of a project, oldest first.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn releases(&self, project: &str) -> Result<Vec<Release>> {
        all(&self.db.borrow(), project)
    }

    /// The live release of a project.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn live_release(&self, project: &str) -> Result<Option<Release>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT body FROM releases WHERE project = ?1 AND state = 'live'")?;
        let body: Option<String> = query.query_row([project], |row| row.get(0)).optional()?;
        Ok(body.map(|body| serde_json::from_str(&body)).transpose()?)
    }

    /// Names of all projects that ever had a release.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn project_names(&self) -> Result<Vec<String>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT DISTINCT project FROM releases ORDER BY project")?;
        let names = query.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// The bad release of a commit, if that is what became of the commit here
    /// last; one that was built and came no further says nothing about it. The
    /// commit that is live is not bad, whatever became of another release of it.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn bad_release_of(&self, project: &str, commit: &str) -> Result<Option<Release>> {
        let mut known = self.releases(project)?;
        known.retain(|release| release.commit == commit);
        let judged = known.iter().rev().find(|release| release.is_bad() || release.live_since.is_some());
        let Some(bad) = judged.filter(|release| release.is_bad()) else { return Ok(None) };
        let is_well = |other: &Release| other.state == ReleaseState::Live || (!other.is_bad() && bad.live_since.is_some() && other.live_since > bad.live_since);
        Ok((!known.iter().any(is_well)).then(|| bad.clone()))
    }

    /// Marks a release bad.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn mark_bad(&self, release: &Release) -> Result<()> {
        self.transaction(format_args!("mark_bad"), |db| save(db, &Release { state: ReleaseState::Bad, ..release.clone() }))
    }
}

/// This release is live now, and the one that was is `away`: the previous one,
/// or a bad one. Then the newest of those that were good before it is the
/// previous one.
pub(super) fn make_live(db: &Transaction<'_>, release: &Release, away: ReleaseState, now: Timestamp) -> Result<()> {
    let mut others = all(db, &release.project)?;
    if !others.iter().any(|other| other.state == ReleaseState::Live && other.id != release.id) && release.state == ReleaseState::Live {
        // A restart of what is live changes nothing about the others.
        return Ok(());
    }
    others.retain(|other| other.id != release.id);
    let before = if away == ReleaseState::Previous { None } else { to_go_back_to(&others, Some(release)).map(|other| other.id) };
    for mut other in others {
        let state = match other.state {
            _ if Some(other.id) == before => ReleaseState::Previous,
            ReleaseState::Live => away,
            ReleaseState::Previous => ReleaseState::Built,
            same => same,
        };
        if state != other.state {
            other.state = state;
            save(db, &other)?;
        }
    }
    save(db, &Release { state: ReleaseState::Live, live_since: Some(now), ..release.clone() })
}

/// The release that one goes back to from the live one: the newest older one that
/// is of another commit, was live, was not found bad and is in its slot. Nobody
/// gets a commit back this way that somebody went away from.
#[must_use]
pub fn to_go_back_to<'a>(releases: &'a [Release], live: Option<&Release>) -> Option<&'a Release> {
    let was_left = |release: &Release| releases.iter().any(|other| other.commit == release.commit && other.is_bad() && other.live_since > release.live_since);
    let is_other = |release: &Release| live.is_none_or(|live| release.id < live.id && release.commit != live.commit);
    let may = |release: &&Release| is_other(release) && release.state != ReleaseState::Live && release.is_good();
    let previous = releases.iter().rev().filter(may).find(|release| release.state == ReleaseState::Previous);
    previous.or_else(|| releases.iter().rev().filter(may).find(|release| !was_left(release)))
}

/// This release was live and is `away` now, bad as a rule; the one that was live
/// before it is live again.
pub(super) fn restore_previous(db: &Transaction<'_>, release: &Release, away: ReleaseState, now: Timestamp) -> Result<Option<Release>> {
    let previous = all(db, &release.project)?.into_iter().find(|other| other.state == ReleaseState::Previous && other.id != release.id);
    // What is no fault of its own was as good as never live.
    let live_since = release.live_since.filter(|_| away == ReleaseState::Bad);
    save(db, &Release { state: away, live_since, ..release.clone() })?;
    let Some(previous) = previous else { return Ok(None) };
    let restored = Release { state: ReleaseState::Live, live_since: Some(now), ..previous };
    save(db, &restored)?;
    Ok(Some(restored))
}

fn save(db: &Transaction<'_>, release: &Release) -> Result<()> {
    db.execute(
        "UPDATE releases SET state = ?1, body = ?2 WHERE id = ?3",
        (release.state.as_str(), serde_json::to_string(release)?, release.id),
    )?;
    Ok(())
}

fn all(db: &rusqlite::Connection, project: &str) -> Result<Vec<Release>> {
    let mut query = db.prepare_cached("SELECT body FROM releases WHERE project = ?1 AND body <> '' ORDER BY id")?;
    let rows = query.query_map([project], |row| row.get::<_, String>(0))?;
    let mut releases = Vec::new();
    for row in rows {
        releases.push(serde_json::from_str(&row?)?);
    }
    Ok(releases)
}
