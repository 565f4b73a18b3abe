//! Files on disk: where they are found, the `.env`, the secrets.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::super::load::load_from;
use super::super::{LoadError, Loaded, Project, Repo, Vars, git_token};
use super::{SHOP, read};

/// A directory of files, and the environment of a process that looks at it.
struct Host {
    dir: tempfile::TempDir,
    vars: Vec<(OsString, OsString)>,
}

impl Host {
    fn with(files: &[(&str, &[u8])]) -> Host {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let vars = Vec::new();
        Host { dir, vars }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(mut self, name: &str, value: impl Into<OsString>) -> Host {
        self.vars.push((name.into(), value.into()));
        self
    }

    fn load(&self, explicit: Option<&Path>) -> Result<Loaded, LoadError> {
        let places = [self.path("etc/d.toml"), self.path("d.toml")];
        load_from(explicit, self.vars.clone().into_iter(), &places)
    }

    fn fails(&self) -> String {
        let message = self.load(None).unwrap_err().to_string();
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn the_first_place_that_has_the_file_wins() {
    let host = Host::with(&[
        ("named.toml", b"edge = 'https://named'"),
        ("var.toml", b"edge = 'https://var'"),
        ("etc/d.toml", b"edge = 'https://etc'"),
        ("d.toml", b"edge = 'https://local'"),
    ]);
    let var = host.path("var.toml");
    let host = host.set("DOORSTEP_CONFIG", var);
    let edge = |host: &Host, explicit: Option<&Path>| {
        let loaded = host.load(explicit).unwrap();
        assert!(loaded.file.is_absolute());
        loaded.config.edge.unwrap()
    };
    assert_eq!(edge(&host, Some(&host.path("named.toml"))), "https://named");
    assert_eq!(edge(&host, None), "https://var");
    let host = Host {
        vars: Vec::new(),
        ..host
    };
    assert_eq!(edge(&host, None), "https://etc");
    fs::remove_file(host.path("etc/d.toml")).unwrap();
    assert_eq!(edge(&host, None), "https://local");
    fs::remove_file(host.path("d.toml")).unwrap();
    assert_eq!(
        host.fails(),
        "no doorstep.toml found; looked at etc/d.toml, d.toml"
    );
}

#[test]
fn a_named_file_that_is_not_there_is_not_replaced() {
    let host = Host::with(&[("d.toml", b"")]).set("DOORSTEP_CONFIG", "/nowhere/x.toml");
    assert_eq!(
        host.fails(),
        "no doorstep.toml found; looked at /nowhere/x.toml"
    );
    let host = Host::with(&[("d.toml", b"")]).set("DOORSTEP_CONFIG", "");
    assert!(host.load(None).is_ok());
    let directory = host.dir.path();
    let error = host.load(Some(directory)).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
}

#[test]
fn the_dot_env_beside_the_file_is_under_the_environment() {
    let host = Host::with(&[
        ("d.toml", SHOP.as_bytes()),
        (
            ".env",
            b"export DOORSTEP_EDGE=\"https://dot\"\nDOORSTEP_PROJECT_SHOP_BRANCH='dot'\nDOORSTEP_GIT_TOKEN=t\n",
        ),
    ])
    .set("DOORSTEP_PROJECT_SHOP_BRANCH", "real")
    .set("HOME", OsString::from_vec(vec![0xff]));
    let loaded = host.load(None).unwrap();
    assert_eq!(loaded.config.edge.as_deref(), Some("https://dot"));
    assert_eq!(loaded.config.projects["shop"].branch, "real");
    assert_eq!(loaded.vars.get("DOORSTEP_GIT_TOKEN"), Some("t"));
    let printed = format!("{:?}", loaded.vars);
    assert!(printed.contains("DOORSTEP_GIT_TOKEN") && !printed.contains("\"t\""));
    assert_ne!(std::env::var("DOORSTEP_EDGE").as_deref(), Ok("https://dot"));
}

#[test]
fn faults_of_both_files_are_in_one_report() {
    let host = Host::with(&[
        ("d.toml", b"edge = 1"),
        (".env", b"\nnonsense\nDOORSTEP_POLICY_REMOTE=x\n"),
    ]);
    let report = host.fails();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(
        lines[0],
        "d.toml:1:8: expected a string, found a whole number"
    );
    assert!(lines[1].starts_with("environment variable DOORSTEP_POLICY_REMOTE: "));
    assert_eq!(lines[2], ".env:2:1: expected KEY=VALUE");
    let host = Host::with(&[("d.toml", b""), (".env", b"nonsense")]);
    assert_eq!(host.fails(), ".env:1:1: expected KEY=VALUE");
}

#[test]
fn bytes_that_are_not_text_have_a_place() {
    let host = Host::with(&[("d.toml", b"edge = 'x'\n\t\xff\xfe")]);
    assert_eq!(host.fails(), "d.toml:2:2: this byte is not UTF-8");
    let host = Host::with(&[("d.toml", b""), (".env", b"A=\xff")]);
    assert_eq!(host.fails(), ".env:1:3: this byte is not UTF-8");
    let host = Host::with(&[("d.toml", &vec![b'#'; 1024 * 1024 + 1])]);
    assert_eq!(
        host.fails(),
        "d.toml: the file is larger than 1048576 bytes"
    );
    let host = Host::with(&[("d.toml", b"")]).set("DOORSTEP_EDGE", OsString::from_vec(vec![0xff]));
    assert_eq!(
        host.fails(),
        "environment variable DOORSTEP_EDGE is not UTF-8"
    );
}

#[test]
fn relative_paths_are_those_of_the_file() {
    let text = "[project.shop]\nrepo = 'https://x/shop'\ntoken_file = 'shop.token'\n";
    let host = Host::with(&[
        ("etc/d.toml", text.as_bytes()),
        ("etc/shop.token", b"abc\n"),
    ]);
    let loaded = host.load(None).unwrap();
    let shop = &loaded.config.projects["shop"];
    assert_eq!(shop.token_file, Some(host.path("etc/shop.token")));
    let token = git_token(shop, &loaded.vars).unwrap().unwrap();
    assert_eq!(token.expose(), "abc");
}

fn shop(repo: Repo, token_file: Option<PathBuf>) -> Project {
    let project = read(SHOP).unwrap().projects["shop"].clone();
    Project {
        repo,
        token_file,
        ..project
    }
}

fn http() -> Repo {
    Repo::Http("https://x/y".to_owned())
}

#[test]
fn a_token_comes_from_the_nearest_source() {
    let host = Host::with(&[("token", b" from-file\n"), ("git_token", b"from-systemd")]);
    let all = [
        ("DOORSTEP_PROJECT_SHOP_TOKEN", "from-project".to_owned()),
        ("DOORSTEP_GIT_TOKEN", "from-all".to_owned()),
        (
            "CREDENTIALS_DIRECTORY",
            host.dir.path().display().to_string(),
        ),
    ];
    let vars = |from: usize| -> Vars {
        all[from..]
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.clone()))
            .collect()
    };
    let file = Some(host.path("token"));
    for (token_file, from, expected) in [
        (file.clone(), 0, Some("from-project")),
        (file, 1, Some("from-file")),
        (None, 1, Some("from-all")),
        (None, 2, Some("from-systemd")),
        (None, 3, None),
    ] {
        let token = git_token(&shop(http(), token_file), &vars(from)).unwrap();
        assert_eq!(token.as_ref().map(super::super::Secret::expose), expected);
    }
    let path = Repo::Path(PathBuf::from("/x"));
    assert_eq!(git_token(&shop(path, None), &vars(0)), Ok(None));
    let elsewhere = [("CREDENTIALS_DIRECTORY".to_owned(), "/nowhere".to_owned())];
    let vars = elsewhere.into_iter().collect();
    assert_eq!(git_token(&shop(http(), None), &vars), Ok(None));
}

#[test]
fn a_source_that_fails_is_named_and_not_skipped() {
    let host = Host::with(&[
        ("empty", b"\n"),
        ("two", b"hunter2 hunter2"),
        ("bytes", b"\xff"),
        ("long", &[b'x'; 5000]),
    ]);
    let vars = [("DOORSTEP_GIT_TOKEN".to_owned(), "from-all".to_owned())];
    let vars: Vars = vars.into_iter().collect();
    for (name, part) in [
        ("absent", "No such file"),
        ("empty", "it is empty"),
        ("two", "it holds a space"),
        ("bytes", "it is not text"),
        ("long", "longer than 4096 bytes"),
    ] {
        let project = shop(http(), Some(host.path(name)));
        let message = git_token(&project, &vars).unwrap_err();
        assert!(
            message.contains(part) && message.contains(name),
            "{message}"
        );
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn a_secret_does_not_print() {
    let vars: Vars = [("DOORSTEP_GIT_TOKEN".to_owned(), "hunter2".to_owned())]
        .into_iter()
        .collect();
    let secret = git_token(&shop(http(), None), &vars).unwrap().unwrap();
    assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    assert_eq!(format!("{:?}", Some(&secret)), "Some([secret])");
}
