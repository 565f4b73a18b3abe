//! Repositories of a given size with a long history, made once and kept.
//!
//! Their content is real: the sources of the crates that this program was
//! built from. A commit brings or changes a few files of one crate; a changed
//! file is the real one with some lines of another in its middle. `git
//! fast-import` writes them as one pack. The last commit of `main` keeps a
//! small part of the files, so that what is checked out is an app's size; the
//! history, which is what a fetch has to do with, stays whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};
use doorstep_tests::git;

/// Names the folder where the repositories are kept; `bench/run` sets it.
const KEPT_IN: &str = "DOORSTEP_BENCH_GIT_DIR";
/// Changes when the repositories would be made otherwise.
const EDITION: &str = "1";
/// Files of one commit.
const CHANGED_FILES: usize = 3;
/// Larger files are left out: none should be most of a repository.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const FILE_BYTES_MIN: u64 = 200;
/// Bytes of the other file that a changed file gets.
const SPLICE_BYTES: usize = 400;
/// Files that the last commit of `main` keeps.
const KEPT_FILES: usize = 2_000;
/// Refs that are tags, of three; the rest are branches with a commit of their own.
const TAGS_OF_THREE: usize = 2;
/// Seconds since the epoch of the first commit, and between two.
const FIRST_SECOND: u64 = 1_400_000_000;
const SECONDS_BETWEEN: u64 = 900;

/// How large a repository is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// As it is called, about the megabytes of its pack.
    pub name: &'static str,
    /// Megabytes of the files that are committed, before they are compressed.
    pub content_mb: usize,
    /// Tags and branches.
    pub refs: usize,
}

/// A repository that is kept.
#[derive(Clone, Debug)]
pub struct History {
    /// Its bare repository.
    pub path: PathBuf,
    /// What it holds, for display.
    pub said: String,
}

impl History {
    /// The one of this size; made if there is none yet.
    pub fn of(size: &Size) -> Result<Self> {
        let kept_in = std::env::var_os(KEPT_IN).with_context(|| format!("{KEPT_IN} is not set: run bench/run"))?;
        let kept_in = PathBuf::from(kept_in);
        let path = kept_in.join(format!("{}-{EDITION}.git", size.name.replace(' ', "")));
        if !path.is_dir() {
            fs::create_dir_all(&kept_in)?;
            eprintln!("  making the repository of {} (once; some seconds for each 10 MB)", size.name);
            let new = tempfile::tempdir_in(&kept_in)?;
            make(new.path(), size)?;
            fs::rename(new.keep(), &path)?;
        }
        let said = said(&path)?;
        Ok(Self { path, said })
    }

    /// Gives its objects to another bare repository: as links where that is
    /// possible, else as copies.
    pub fn lend_objects(&self, bare: &Path) -> Result<()> {
        for folder in ["pack", "info"] {
            let (from, to) = (self.path.join("objects").join(folder), bare.join("objects").join(folder));
            fs::create_dir_all(&to)?;
            for file in fs::read_dir(from)? {
                let file = file?;
                let to = to.join(file.file_name());
                if fs::hard_link(file.path(), &to).is_err() {
                    fs::copy(file.path(), &to)?;
                }
            }
        }
        Ok(())
    }

    /// Gives its refs to another bare repository, which has its objects.
    pub fn lend_refs(&self, bare: &Path) -> Result<()> {
        fs::copy(self.path.join("packed-refs"), bare.join("packed-refs"))?;
        Ok(())
    }

    /// The head of `main`.
    pub fn head(&self) -> String {
        git(&self.path, &["rev-parse", "refs/heads/main"])
    }
}

/// `35 MB, 71 refs, 40123 objects`, as git counts them.
fn said(bare: &Path) -> Result<String> {
    let counts = git(bare, &["count-objects", "-v"]);
    let count = |name: &str| counts.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).context("git does not count");
    let refs = git(bare, &["for-each-ref", "--format=x"]).lines().count();
    Ok(format!("{} MB, {refs} refs, {} objects", count("size-pack:")? * 1024 / 1_000_000, count("in-pack:")?))
}

fn make(bare: &Path, size: &Size) -> Result<()> {
    let crates = crates()?;
    git(bare, &["init", "-q", "--bare"]);
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet", "--done"]).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let mut import = import.current_dir(bare).stdin(Stdio::piped()).spawn().context("git does not start")?;
    let written = Stream::into(&mut import).and_then(|mut stream| stream.tell(&crates, size));
    let status = import.wait()?;
    written?;
    if !status.success() {
        bail!("git fast-import: {status}");
    }
    git(bare, &["pack-refs", "--all"]);
    // As every repository has it that was ever tidied up.
    git(bare, &["commit-graph", "write", "--reachable"]);
    Ok(())
}

/// A crate's name and its files, by their paths in it.
struct Crate {
    name: String,
    dir: PathBuf,
    files: Vec<String>,
}

/// The crates whose sources cargo unpacked on this machine.
fn crates() -> Result<Vec<Crate>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).context("neither CARGO_HOME nor HOME is set")?;
    let mut crates = Vec::new();
    for registry in fs::read_dir(home.join("registry/src")).context("cargo keeps no sources here")? {
        for dir in fs::read_dir(registry?.path())? {
            let dir = dir?;
            let mut files = Vec::new();
            list(&dir.path(), "", &mut files)?;
            files.sort();
            if let (Ok(name), false) = (dir.file_name().into_string(), files.is_empty()) {
                crates.push(Crate { name, dir: dir.path(), files });
            }
        }
    }
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    crates.dedup_by(|one, other| one.name == other.name);
    if crates.is_empty() {
        bail!("cargo unpacked no sources here: build something first");
    }
    Ok(crates)
}

fn list(dir: &Path, below: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Hidden ones may mean something to git; others could not be written plainly.
        if name.starts_with('.') || name.contains(['"', '\n', '\\']) {
            continue;
        }
        let (kind, path) = (entry.file_type()?, format!("{below}{name}"));
        if kind.is_dir() {
            list(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && (FILE_BYTES_MIN..=FILE_BYTES_MAX).contains(&entry.metadata()?.len()) {
            files.push(path);
        }
    }
    Ok(())
}

/// What `git fast-import` reads.
struct Stream {
    out: BufWriter<ChildStdin>,
    /// Bytes of files written so far.
    content: usize,
    commits: usize,
    /// The crates that `main` has by now.
    known: BTreeSet<usize>,
}

impl Stream {
    fn into(import: &mut Child) -> Result<Self> {
        let out = BufWriter::with_capacity(1024 * 1024, import.stdin.take().context("no pipe")?);
        Ok(Self { out, content: 0, commits: 0, known: BTreeSet::new() })
    }

    fn tell(&mut self, crates: &[Crate], size: &Size) -> Result<()> {
        let budget = size.content_mb * 1_000_000;
        let mut refs = 0;
        while self.content < budget {
            self.commit("main", crates, None)?;
            let mark = self.commits;
            // Evenly spread over the content.
            while refs < size.refs && refs * budget <= self.content * size.refs {
                refs += 1;
                if refs % 3 < TAGS_OF_THREE {
                    write!(self.out, "tag v0.{refs}\nfrom :{mark}\ntagger {}\ndata 0\n\n", self.person())?;
                } else {
                    self.commit(&format!("topic/{refs}"), crates, Some(mark))?;
                }
            }
        }
        self.keep_a_part(crates)?;
        self.out.write_all(b"done\n")?;
        Ok(self.out.flush()?)
    }

    /// One commit of [`CHANGED_FILES`] files; on `main`, or from a mark.
    fn commit(&mut self, branch: &str, crates: &[Crate], from: Option<usize>) -> Result<()> {
        let number = self.begin(branch, "Change a few things", from)?;
        let index = mixed(number) % crates.len();
        let Some(chosen) = crates.get(index) else { return Ok(()) };
        if from.is_none() {
            self.known.insert(index);
        }
        for file in 0..CHANGED_FILES {
            let seed = mixed(number * CHANGED_FILES + file);
            let (Some(path), Some(other)) = (pick(&chosen.files, seed), pick(crates, mixed(seed))) else { continue };
            let other = pick(&other.files, mixed(seed + 1)).map(|path| other.dir.join(path)).unwrap_or_default();
            let text = spliced(fs::read(chosen.dir.join(path))?, &fs::read(other).unwrap_or_default(), seed);
            write!(self.out, "M 100644 inline {}/{path}\ndata {}\n", chosen.name, text.len())?;
            self.out.write_all(&text)?;
            self.out.write_all(b"\n")?;
            self.content += text.len();
        }
        Ok(())
    }

    fn keep_a_part(&mut self, crates: &[Crate]) -> Result<()> {
        self.begin("main", "Move most of it elsewhere", None)?;
        let mut files = 0;
        for (index, one) in crates.iter().enumerate().filter(|(index, _)| self.known.contains(index)) {
            files += one.files.len();
            // A crate more than fits is no harm, one with nothing would be.
            if files > KEPT_FILES && index > 0 {
                writeln!(self.out, "D {}", one.name)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, branch: &str, message: &str, from: Option<usize>) -> Result<usize> {
        self.commits += 1;
        let (number, person) = (self.commits, self.person());
        write!(self.out, "commit refs/heads/{branch}\nmark :{number}\ncommitter {person}\ndata {}\n{message}\n", message.len())?;
        if let Some(mark) = from {
            writeln!(self.out, "from :{mark}")?;
        }
        Ok(number)
    }

    fn person(&self) -> String {
        let seconds = FIRST_SECOND + SECONDS_BETWEEN * u64::try_from(self.commits).unwrap_or_default();
        format!("Ann <ann@example.org> {seconds} +0000")
    }
}

/// A file with some bytes of another in its middle.
fn spliced(mut text: Vec<u8>, other: &[u8], seed: usize) -> Vec<u8> {
    let at = seed % text.len().max(1);
    let from = mixed(seed + 2) % other.len().max(1);
    let piece: Vec<u8> = other.iter().skip(from).take(SPLICE_BYTES).copied().collect();
    let end = (at + piece.len()).min(text.len());
    text.splice(at..end, piece);
    text
}

fn pick<T>(all: &[T], seed: usize) -> Option<&T> {
    all.get(seed % all.len().max(1))
}

/// The same for the same number on every machine, and spread over all numbers
/// (the finalizer of `SplitMix64`).
fn mixed(number: usize) -> usize {
    let mut bits = u64::try_from(number).unwrap_or_default().wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // Half of the bits, so that sums of them fit everywhere.
    usize::try_from((bits ^ (bits >> 31)) >> 33).unwrap_or_default()
}
