//! What compose files name before they are resolved.
//!
//! Resolving already reads: environment and label files, included and extended
//! compose files, and it fetches those that are addresses. So the files are
//! looked at before `docker compose config` is run, and what leads outside the
//! release, or is fetched, is refused. Relative paths are joined where Compose
//! joins them: to the folder of the first compose file, to an include's project
//! directory, to the folder of an extended file.
//!
//! Every key that a file may mean is looked at: what an override or `!reset`
//! removes, services that no profile starts, extended files' other services.
//!
//! Absent: what the resolved model asks (`policy`); build contexts, configs and
//! secrets, which resolving does not read; the environment of Compose. The caller
//! runs Compose with the first file's folder as its working directory and with
//! the files named by `--file`, so that `COMPOSE_FILE` of a `.env` names nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::ground::{Ground, Reach, clean, is_remote};
use super::permission::{Permission, Place, Refusal};
use super::policy::{Bounds, outside};
use super::variable::{Variables, fill_in};
use super::yaml::{self, Node};

/// Files followed at most, each as often as it is read from another folder. A
/// project that splits itself up has about ten.
const FILES_MAX: usize = 100;

/// Includes and extensions within each other at most.
const DEPTH_MAX: usize = 20;

/// Refusals kept at most: enough to mend a file by.
const REFUSALS_MAX: usize = 100;

/// What looking needs.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What the project may reach.
    pub bounds: Bounds<'a>,
    /// Reads a file. It is asked only for paths that the bounds allow, and
    /// should stop at 1 MiB.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The variables that Compose will have: its environment's first, then
    /// those of the `.env` beside the first file; `COMPOSE_PROJECT_NAME` too,
    /// which Compose sets by itself.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What may not be asked, the first hundred. Empty: the files may be resolved.
    pub refusals: Vec<Refusal>,
    /// The compose files that were read, symlinks resolved.
    pub followed: BTreeSet<PathBuf>,
}

/// Looks at the main compose files (the later override the earlier; absolute or
/// relative to the release) and at all that they include or extend.
#[must_use]
pub fn look(main: &[PathBuf], source: Source<'_>) -> Seen {
    let ground = Ground::new(source.bounds.release, source.bounds.roots);
    let mut look = Look { source, ground, seen: Seen::default(), ahead: Vec::new(), visited: BTreeSet::new() };
    look.main(main);
    while let Some(file) = look.ahead.pop() {
        if look.visited.len() >= FILES_MAX {
            look.broken(&Place::Model, "include", format!("more than {FILES_MAX} files are included or extended"));
            break;
        }
        look.file(&file);
    }
    look.seen
}

/// What relative paths and variables mean in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    /// Relative paths are joined to it.
    folder: PathBuf,
    /// No environment file can set what the caller's variables do not.
    is_complete: bool,
}

/// A place on disk that may be read.
struct Located {
    /// As it was written, made absolute: what lies beside it is found from here.
    path: PathBuf,
    /// Where it leads.
    target: PathBuf,
}

/// A compose file that waits to be looked at.
struct File {
    target: PathBuf,
    scope: Scope,
    depth: usize,
}

struct Look<'a> {
    source: Source<'a>,
    ground: Ground,
    seen: Seen,
    ahead: Vec<File>,
    visited: BTreeSet<(PathBuf, Scope)>,
}

impl Look<'_> {
    fn main(&mut self, main: &[PathBuf]) {
        let scope = Scope { folder: self.source.bounds.release.to_owned(), is_complete: true };
        let mut folder = None;
        for path in main {
            let place = self.place(&scope.folder.join(path));
            let Some(text) = path.to_str() else {
                self.broken(&place, "path", "its path is not UTF-8".to_owned());
                continue;
            };
            let Some(located) = self.locate(&place, "path", text, &scope) else { continue };
            let folder = folder.get_or_insert_with(|| parent(&located.path)).clone();
            self.ahead.push(File { target: located.target, scope: Scope { folder, is_complete: true }, depth: 0 });
        }
        if let Some(folder) = folder {
            self.environment_beside(&Place::Model, &Scope { folder, is_complete: true });
        }
        // The last is taken first.
        self.ahead.reverse();
    }

    fn file(&mut self, file: &File) {
        if !self.visited.insert((file.target.clone(), file.scope.clone())) {
            return;
        }
        let place = self.place(&file.target);
        if file.depth > DEPTH_MAX {
            return self.broken(&place, "include", format!("files are included or extended more than {DEPTH_MAX} deep"));
        }
        let text = match (self.source.read)(&file.target) {
            Ok(text) => text,
            Err(error) => return self.broken(&place, "file", format!("it cannot be read: {error}")),
        };
        self.seen.followed.insert(file.target.clone());
        match yaml::parse(&text) {
            Ok(documents) => documents.iter().for_each(|document| self.document(&place, document, file)),
            Err(error) => self.broken(&place, "file", format!("it cannot be judged: {error:?}")),
        }
    }

    fn document(&mut self, place: &Place, document: &Node, file: &File) {
        if !matches!(document, Node::Map(_) | Node::Null) {
            return self.broken(place, "file", "it is not a map".to_owned());
        }
        for includes in document.values("include") {
            match includes {
                Node::Null => {}
                Node::List(includes) => includes.iter().enumerate().for_each(|(index, node)| self.include(place, index, node, file)),
                Node::Text(_) | Node::Other | Node::Map(_) => self.broken(place, "include", "it is not a list".to_owned()),
            }
        }
        for services in document.values("services") {
            if !matches!(services, Node::Map(_) | Node::Null) {
                self.broken(place, "services", "it is not a map".to_owned());
            }
            for (name, service) in services.entries() {
                self.service(&Place::Service(name.to_owned()), service, file);
            }
        }
    }

    fn service(&mut self, place: &Place, service: &Node, file: &File) {
        if !matches!(service, Node::Map(_) | Node::Null) {
            self.broken(place, "services", "it is not a map".to_owned());
        }
        for key in ["env_file", "label_file"] {
            for text in self.paths(place, key, &service.values(key)) {
                self.locate(place, key, text, &file.scope);
            }
        }
        for extends in service.values("extends") {
            match extends {
                // A service of the same file.
                Node::Text(_) | Node::Null => {}
                Node::Map(_) => self.extends(place, extends, file),
                Node::Other | Node::List(_) => self.broken(place, "extends", "it is not a map".to_owned()),
            }
        }
    }

    fn extends(&mut self, place: &Place, extends: &Node, file: &File) {
        let key = "extends.file";
        for text in self.paths(place, key, &extends.values("file")) {
            let located = self.locate_local(place, key, text, &file.scope);
            if let Some(located) = located {
                let scope = Scope { folder: parent(&located.path), is_complete: file.scope.is_complete };
                self.ahead.push(File { target: located.target, scope, depth: file.depth + 1 });
            }
        }
    }

    /// An entry of `include`: a path, or `{path, project_directory, env_file}`
    /// where the paths after the first override it.
    fn include(&mut self, place: &Place, index: usize, include: &Node, file: &File) {
        let key = format!("include[{index}]");
        let paths = match include {
            Node::Map(_) => include.values("path"),
            Node::Null => return,
            Node::Text(_) | Node::Other | Node::List(_) => vec![include],
        };
        let texts = self.paths(place, &key, &paths);
        let located: Vec<_> = texts.into_iter().filter_map(|text| self.locate_local(place, &key, text, &file.scope)).collect();
        let mut folders = self.project_folders(place, &key, include, file);
        if folders.is_empty() {
            folders.extend(located.first().map(|first| parent(&first.path)));
        }
        let env_files = include.values("env_file");
        for text in self.paths(place, &key, &env_files) {
            // Compose knows it as "none".
            if text != "/dev/null" {
                self.locate(place, &format!("{key}.env_file"), text, &file.scope);
            }
        }
        for folder in folders {
            let mut scope = Scope { folder, is_complete: file.scope.is_complete && env_files.is_empty() };
            scope.is_complete &= !self.environment_beside(place, &scope);
            let files = located.iter().map(|located| File { target: located.target.clone(), scope: scope.clone(), depth: file.depth + 1 });
            self.ahead.extend(files);
        }
    }

    /// The project directories that an include may mean: none or one, but for merges.
    fn project_folders(&mut self, place: &Place, key: &str, include: &Node, file: &File) -> Vec<PathBuf> {
        let key = format!("{key}.project_directory");
        let texts = self.paths(place, &key, &include.values("project_directory"));
        texts.into_iter().filter_map(|text| self.locate(place, &key, text, &file.scope)).map(|located| located.path).collect()
    }

    /// Looks at the `.env` that Compose reads by itself; says whether there is one.
    fn environment_beside(&mut self, place: &Place, scope: &Scope) -> bool {
        let located = self.locate(place, ".env", ".env", scope);
        located.is_none_or(|located| !matches!((self.source.read)(&located.target), Err(error) if error.kind() == ErrorKind::NotFound))
    }

    /// The paths that a key names: a text, a list of texts, or a list of
    /// `{path}`.
    fn paths<'n>(&mut self, place: &Place, key: &str, values: &[&'n Node]) -> Vec<&'n str> {
        let mut texts = Vec::new();
        let mut ahead: Vec<(&Node, usize)> = values.iter().rev().map(|node| (*node, 0)).collect();
        while let Some((node, depth)) = ahead.pop() {
            match (node, depth) {
                (Node::Null, _) => {}
                (Node::Text(text), _) => texts.push(text.as_str()),
                (Node::List(list), 0) => ahead.extend(list.iter().rev().map(|node| (node, 1))),
                (Node::Map(_), 1) => ahead.extend(node.values("path").into_iter().map(|node| (node, 2))),
                (Node::Other | Node::List(_) | Node::Map(_), _) => self.broken(place, key, "it is not a path".to_owned()),
            }
        }
        texts
    }

    /// Finds a compose file, which must not be fetched.
    fn locate_local(&mut self, place: &Place, key: &str, text: &str, scope: &Scope) -> Option<Located> {
        let filled = self.fill_in(place, key, text, scope)?;
        if is_remote(&filled) {
            self.refuse(place, key, Permission::RemoteInclude, format!("{filled:?} would be fetched, and is not what was pushed"));
            return None;
        }
        self.locate_filled(place, key, &filled, scope)
    }

    fn locate(&mut self, place: &Place, key: &str, text: &str, scope: &Scope) -> Option<Located> {
        let filled = self.fill_in(place, key, text, scope)?;
        self.locate_filled(place, key, &filled, scope)
    }

    fn fill_in(&mut self, place: &Place, key: &str, text: &str, scope: &Scope) -> Option<String> {
        let variables = Variables { value: self.source.variable, is_complete: scope.is_complete };
        match fill_in(text, &variables) {
            Ok(filled) => Some(filled),
            Err(why) => {
                self.refuse(place, key, Permission::OutsideFile, format!("{text:?} cannot be judged: {why}"));
                None
            }
        }
    }

    fn locate_filled(&mut self, place: &Place, key: &str, text: &str, scope: &Scope) -> Option<Located> {
        if text.starts_with('~') {
            self.refuse(place, key, Permission::OutsideFile, format!("{text:?} is in somebody's home"));
            return None;
        }
        let path = scope.folder.join(text);
        let reach = path.to_str().map_or(Reach::Unclear("it is not UTF-8"), |path| self.ground.leads(path).reach);
        let target = match reach {
            Reach::Inside(target) => target,
            Reach::Outside(target) => {
                self.refuse(place, key, Permission::OutsideFile, outside(text, &target));
                // What the host's file allows is read, so that it is looked at too.
                return self.has(place, Permission::OutsideFile).then_some(Located { path: clean(&path), target });
            }
            Reach::Unclear(why) => {
                self.refuse(place, key, Permission::OutsideFile, format!("{text:?} cannot be judged: {why}"));
                return None;
            }
        };
        Some(Located { path: clean(&path), target })
    }

    /// A file of the release by its path in there.
    fn place(&self, path: &Path) -> Place {
        let inside = path.strip_prefix(self.source.bounds.release).unwrap_or(path);
        Place::File(inside.to_string_lossy().into_owned())
    }

    fn has(&self, place: &Place, word: Permission) -> bool {
        self.source.bounds.allow.has(place, word)
    }

    fn refuse(&mut self, place: &Place, key: &str, word: Permission, why: String) {
        if !self.has(place, word) {
            self.add(place, key, why, Some(word));
        }
    }

    /// Refuses what no word can allow, because nobody can say what it is.
    fn broken(&mut self, place: &Place, key: &str, why: String) {
        self.add(place, key, why, None);
    }

    /// Adds a refusal once: a merge shows the same key in many places.
    fn add(&mut self, place: &Place, key: &str, why: String, allow: Option<Permission>) {
        let refusal = Refusal { place: place.clone(), key: key.to_owned(), why, allow };
        if self.seen.refusals.len() < REFUSALS_MAX && !self.seen.refusals.contains(&refusal) {
            self.seen.refusals.push(refusal);
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests;
