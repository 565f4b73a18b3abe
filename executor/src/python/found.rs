//! What a repository says about its Python: which files count.
//!
//! Read from the checkout alone. A file that cannot be understood is left to
//! uv, whose error names it; what is absent here is resolving anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lists of requirements in `requirements/`, the one for a server first.
const LISTS: [&str; 6] = ["production.txt", "prod.txt", "main.txt", "requirements.txt", "base.txt", "common.txt"];
/// Files that one list may include; a longer chain is not followed.
const INCLUDED_MAX: usize = 50;
/// How `uv.lock` begins the source of a package that is copied from the repository.
const COPIED: [&str; 2] = ["source = { directory = ", "source = { path = "];
/// The files by whose times uv knows a package in a folder.
const OF_PACKAGES: [&str; 3] = ["pyproject.toml", "setup.py", "setup.cfg"];
/// Folders that are looked through for the members of a workspace, and how deep.
const FOLDERS_MAX: usize = 5_000;
const DEPTH_MAX: usize = 4;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `pyproject.toml` describes a project or a workspace, and not only tools.
    pub is_project: bool,
    /// Its members are to be installed too.
    pub is_workspace: bool,
    /// It overrides what packages want of each other.
    pub overrides: bool,
    /// Lists of requirements, relative to the checkout.
    pub requirements: Vec<String>,
    /// The Python that `.python-version` asks for, such as `3.12`.
    pub python: Option<String>,
}

/// Looks through a checkout; `named` are the lists that the host's file names.
///
/// # Errors
///
/// A sentence when there are lists and none of them is the obvious one.
pub fn look(dir: &Path, named: &[String]) -> Result<Found, String> {
    let (is_project, is_workspace, overrides) = pyproject(dir);
    let requirements = if !named.is_empty() {
        named.to_vec()
    } else if is_project {
        Vec::new()
    } else {
        lists(dir)?
    };
    // What the host's file names is meant instead of the project.
    let is_project = is_project && named.is_empty();
    Ok(Found { is_project, is_workspace, overrides, requirements, python: python_version(dir) })
}

/// Is there a project or a workspace in `pyproject.toml`, and with overrides?
fn pyproject(dir: &Path) -> (bool, bool, bool) {
    let Ok(text) = fs::read_to_string(dir.join("pyproject.toml")) else { return (false, false, false) };
    let Ok(table) = text.parse::<toml::Table>() else { return (true, false, false) };
    let uv = table.get("tool").and_then(|tool| tool.get("uv"));
    let has = |key: &str| uv.is_some_and(|uv| uv.get(key).is_some());
    let is_workspace = has("workspace");
    (is_workspace || table.contains_key("project"), is_workspace, has("override-dependencies"))
}

fn lists(dir: &Path) -> Result<Vec<String>, String> {
    if dir.join("requirements.txt").is_file() {
        return Ok(vec!["requirements.txt".to_owned()]);
    }
    let folder = dir.join("requirements");
    let names = fs::read_dir(&folder).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let there: BTreeSet<String> = names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "txt")).collect();
    let obvious = LISTS.iter().find(|name| there.contains(**name)).map(|name| (*name).to_owned());
    match (obvious, there.len()) {
        (_, 0) => Ok(Vec::new()),
        (Some(name), _) => Ok(vec![format!("requirements/{name}")]),
        (None, 1) => Ok(there.into_iter().map(|name| format!("requirements/{name}")).collect()),
        (None, _) => {
            let names: Vec<String> = there.into_iter().collect();
            Err(format!("requirements/ holds {}, and none of them is the obvious one; name it in the host's file: python.requirements = [\"requirements/{}\"]", names.join(", "), names.first().map_or("", String::as_str)))
        }
    }
}

fn python_version(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(".python-version")).ok()?;
    let wanted = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    wanted.chars().all(|c| c.is_ascii_digit() || c == '.').then(|| wanted.to_owned())
}

/// What lists of requirements come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Included {
    /// They, and all that they include (`-r`, `-c`).
    pub files: Vec<PathBuf>,
    /// Something in them lies in the repository itself.
    pub has_local: bool,
    /// They say what the packages must hash to.
    pub has_hashes: bool,
}

/// Follows lists of requirements.
#[must_use]
pub fn included(dir: &Path, lists: &[String]) -> Included {
    let (mut all, mut next) = (Included::default(), lists.iter().map(|list| dir.join(list)).collect::<Vec<PathBuf>>());
    while let Some(file) = next.pop() {
        if all.files.contains(&file) || all.files.len() == INCLUDED_MAX {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        for line in text.lines().map(str::trim) {
            all.has_hashes |= line.contains("--hash=");
            all.has_local |= ["-e", "--editable", ".", "/", "file:"].iter().any(|sign| line.starts_with(sign)) || line.contains("@ file:");
            let signs = ["-r", "--requirement", "-c", "--constraint"];
            if let Some(rest) = signs.iter().find_map(|sign| line.strip_prefix(sign)) {
                let name = rest.trim_start_matches(['=', ' ']);
                next.push(file.parent().unwrap_or(dir).join(name));
            }
        }
        all.files.push(file);
    }
    all.files.sort();
    all
}

/// Does `uv.lock` copy packages of the repository itself into the environment?
/// Those that it links (editable ones) follow their code by themselves.
#[must_use]
pub fn copies(dir: &Path) -> bool {
    let lock = fs::read_to_string(dir.join("uv.lock")).unwrap_or_default();
    lock.lines().any(|line| COPIED.iter().any(|sign| line.starts_with(sign)))
}

/// Every file that builds a package, of the checkout and of those inside it.
#[must_use]
pub fn build_files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders, mut looked) = (Vec::new(), vec![(dir.to_path_buf(), 0)], 0);
    while let Some((folder, depth)) = folders.pop() {
        looked += 1;
        if looked > FOLDERS_MAX {
            break;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_hidden = name.to_str().is_some_and(|name| name.starts_with('.') || name == "node_modules");
            if OF_PACKAGES.iter().any(|known| name == *known) {
                found.push(entry.path());
            } else if depth < DEPTH_MAX && !is_hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(files: &[(&str, &str)]) -> Found {
        look(repository(files).path(), &[]).unwrap()
    }

    #[test]
    fn a_pyproject_of_tools_alone_is_no_project() {
        let tools = "[tool.ruff]\nline-length = 100\n";
        assert_eq!(found(&[]), Found::default());
        assert_eq!(found(&[("pyproject.toml", tools)]), Found::default());
        assert_eq!(found(&[("pyproject.toml", tools), ("requirements.txt", "six")]).requirements, ["requirements.txt"]);
        let project = found(&[("pyproject.toml", "[project]\nname='x'\n"), ("requirements.txt", "six")]);
        assert!(project.is_project && project.requirements.is_empty());
        let workspace = found(&[("pyproject.toml", "[tool.uv.workspace]\nmembers = ['a']\n[tool.uv]\noverride-dependencies = []\n")]);
        assert!(workspace.is_project && workspace.is_workspace && workspace.overrides);
        assert!(found(&[("pyproject.toml", "not toml")]).is_project, "uv says what is wrong with it");
    }

    #[test]
    fn the_list_for_a_server_is_taken() {
        assert_eq!(found(&[("requirements/dev.txt", ""), ("requirements/prod.txt", ""), ("requirements/base.txt", "")]).requirements, ["requirements/prod.txt"]);
        assert_eq!(found(&[("requirements/web.txt", ""), ("requirements/notes.md", "")]).requirements, ["requirements/web.txt"]);
        let several = repository(&[("requirements/a.txt", ""), ("requirements/b.txt", "")]);
        assert!(look(several.path(), &[]).unwrap_err().contains("requirements/ holds a.txt, b.txt"));
        let named = look(several.path(), &["requirements/b.txt".to_owned()]).unwrap();
        assert_eq!(named.requirements, ["requirements/b.txt"]);
    }

    #[test]
    fn included_lists_count_and_a_circle_ends() {
        let dir = repository(&[("requirements.txt", "-r requirements/a.txt\n"), ("requirements/a.txt", "six\n-c b.txt\n"), ("requirements/b.txt", "-r a.txt\n")]);
        let all = included(dir.path(), &["requirements.txt".to_owned()]);
        assert_eq!((all.files.len(), all.has_local, all.has_hashes), (3, false, false));
        let hashed = repository(&[("requirements.txt", "six==1.17.0 \\\n    --hash=sha256:4721\n")]);
        assert!(included(hashed.path(), &["requirements.txt".to_owned()]).has_hashes);
        for local in ["-e .", "./pkg", "pkg @ file:///x", "--editable=."] {
            let dir = repository(&[("requirements.txt", local)]);
            assert!(included(dir.path(), &["requirements.txt".to_owned()]).has_local, "{local}");
        }
    }

    #[test]
    fn a_python_is_asked_for_by_its_number() {
        assert_eq!(found(&[(".python-version", "# ours\n3.12\n")]).python.as_deref(), Some("3.12"));
        assert_eq!(found(&[(".python-version", "pypy3.10\n")]).python, None);
    }

    #[test]
    fn members_are_found_and_environments_are_not() {
        let dir = repository(&[("pyproject.toml", ""), ("packages/a/pyproject.toml", ""), (".venv/x/pyproject.toml", ""), ("a/b/c/d/e/f/pyproject.toml", "")]);
        assert_eq!(build_files(dir.path()).len(), 2);
    }

    #[test]
    fn what_a_lock_copies_is_told_from_what_it_links() {
        let lock = |source: &str| copies(repository(&[("uv.lock", &format!("[[package]]\nname = \"x\"\nsource = {{ {source} }}\n"))]).path());
        assert!(lock("directory = \"part\"") && lock("path = \"x.whl\""));
        assert!(!lock("editable = \".\"") && !lock("virtual = \".\"") && !lock("registry = \"x\""));
    }
}
