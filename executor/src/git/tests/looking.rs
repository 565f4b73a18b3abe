//! The store itself, and what is read from commits.

use super::super::*;
use super::harness::{World, git};
use std::fs;

fn fetched(world: &World) -> (Store, String) {
    let commit = world.fetch(&world.local(), "main").unwrap().commit;
    (world.store(), commit)
}

#[test]
fn a_store_is_made_once_and_opened_again() {
    let world = World::new();
    let dir = world.dir.path().join("deep/project");
    open_store(&dir).unwrap();
    assert!(dir.join("repo.git/HEAD").exists());
    fs::write(dir.join("repo.git/mark"), "").unwrap();
    open_store(&dir).unwrap();
    assert!(dir.join("repo.git/mark").exists());
}

#[test]
fn a_creation_that_died_is_begun_again() {
    let world = World::new();
    let half = world.dir.path().join("repo.git.new/objects");
    fs::create_dir_all(&half).unwrap();
    world.store();
    assert!(!world.dir.path().join("repo.git.new").exists());
}

#[test]
fn a_damaged_store_is_said_and_left_alone() {
    type Damage = fn(&std::path::Path);
    let break_it: [(&str, Damage); 6] = [
        ("no HEAD", |p| fs::remove_file(p.join("HEAD")).unwrap()),
        ("empty folder", |p| {
            fs::remove_dir_all(p).unwrap();
            fs::create_dir(p).unwrap();
        }),
        ("a file", |p| {
            fs::remove_dir_all(p).unwrap();
            fs::write(p, "x").unwrap();
        }),
        ("no packs", |p| {
            fs::remove_dir_all(p.join("objects/pack")).unwrap()
        }),
        ("bad config", |p| {
            fs::write(p.join("config"), "[core\nrep").unwrap()
        }),
        ("empty ref", |p| {
            fs::write(p.join("refs/doorstep/main"), "").unwrap()
        }),
    ];
    for (what, damage) in break_it {
        let world = World::new();
        world.commit_file("a", "1");
        fetched(&world);
        let path = world.dir.path().join("repo.git");
        damage(&path);
        let Err(error) = open_store(world.dir.path()) else {
            panic!("{what} was not noticed")
        };
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{what}: {error}"
        );
        assert!(path.exists(), "{what}");
    }
}

#[test]
fn a_ref_whose_objects_are_gone_is_damage() {
    let world = World::new();
    world.commit_file("a", "1");
    fetched(&world);
    let objects = world.dir.path().join("repo.git/objects");
    fs::remove_dir_all(&objects).unwrap();
    fs::create_dir_all(objects.join("pack")).unwrap();
    assert!(matches!(
        open_store(world.dir.path()),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn a_commit_is_described() {
    let world = World::new();
    world.put("a", "1");
    let id = world.commit("fix: the thing\n\nand a body");
    let (store, _) = fetched(&world);
    let info = store.commit_info(&id).unwrap();
    assert_eq!(
        (
            info.id.as_str(),
            info.subject.as_str(),
            info.author.as_str()
        ),
        (id.as_str(), "fix: the thing", "Ann")
    );
    assert_eq!(
        info.time_s.to_string(),
        git(&world.work(), &["log", "-1", "--format=%ct"])
    );
    for bad in [
        "",
        "abc",
        &id[..39],
        "zz",
        &"0".repeat(40),
        &"g".repeat(40),
        "main",
    ] {
        assert!(
            matches!(store.commit_info(bad), Err(StoreError::NoSuchCommit { .. })),
            "{bad}"
        );
    }
}

#[test]
fn changed_files_are_listed() {
    let world = World::new();
    for path in ["keep", "edit", "gone", "dir/deep", "mode", "type"] {
        world.put(path, path);
    }
    let from = world.commit("one");
    world.put("edit", "x");
    world.put("new/file", "x");
    fs::remove_file(world.work().join("gone")).unwrap();
    git(&world.work(), &["rm", "-q", "type"]);
    std::os::unix::fs::symlink("keep", world.work().join("type")).unwrap();
    fs::set_permissions(
        world.work().join("mode"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let to = world.commit("two");
    let (store, _) = fetched(&world);
    let changes = store.changed_files(&from, &to, 100).unwrap();
    assert_eq!(changes.added, ["new/file"]);
    assert_eq!(changes.modified, ["edit", "mode", "type"]);
    assert_eq!(changes.removed, ["gone"]);
    assert!(!changes.truncated);
    let some = store.changed_files(&from, &to, 2).unwrap();
    assert!(some.truncated && some.added.len() + some.modified.len() + some.removed.len() == 2);
    assert_eq!(
        store.changed_files(&to, &to, 2).unwrap(),
        Changes::default()
    );
}

#[test]
fn one_file_is_read_without_a_checkout() {
    let world = World::new();
    world.put("sub/uv.lock", b"a\r\n\0b");
    std::os::unix::fs::symlink("uv.lock", world.work().join("sub/link")).unwrap();
    let id = world.commit("x");
    let (store, _) = fetched(&world);
    assert_eq!(
        store.read_file(&id, "sub/uv.lock", 100).unwrap().unwrap(),
        b"a\r\n\0b"
    );
    for none in ["sub", "sub/link", "nope", "sub/nope/x", "sub/uv.lock/x"] {
        assert_eq!(store.read_file(&id, none, 100).unwrap(), None, "{none}");
    }
    let error = store.read_file(&id, "sub/uv.lock", 4).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                bytes: 5,
                bytes_max: 4,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn links_that_leave_are_refused_with_their_path() {
    let world = World::new();
    world.put("a", "1");
    for (path, target) in [
        ("ok", "a"),
        ("d/ok", "../a"),
        ("abs", "/etc/passwd"),
        ("d/up", "../../x"),
        ("sub/root", ".."),
        ("through", "sub/root/../x"),
        ("loop", "loop"),
    ] {
        let path = world.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    let id = world.commit("links");
    let (store, _) = fetched(&world);
    let check = store.check_tree(&id).unwrap();
    let paths: Vec<_> = check.refusals.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["abs", "d/up", "through"]);
    assert_eq!(
        check.refusals[0].to_string(),
        "the symlink abs leaves the release: it points at /etc/passwd"
    );
    assert_eq!(
        check.warnings,
        [Finding {
            path: "loop".into(),
            kind: FindingKind::LinkLoops
        }]
    );
    assert_eq!(check.entries, 10);
}

#[test]
fn names_of_git_are_refused_and_submodules_are_a_warning() {
    let world = World::new();
    let base = world.commit_file("a", "1");
    let blob = git(&world.work(), &["rev-parse", "HEAD:a"]);
    let evil = world.dir.path().join("evil");
    // `git mktree` does not mind such names; a pushed pack may hold them.
    fs::write(
        &evil,
        format!("100644 blob {blob}\t.GiT\n100644 blob {blob}\tb\n160000 commit {base}\tsub\n"),
    )
    .unwrap();
    let script = format!("git mktree --missing < {}", evil.display());
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(world.work())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let id = git(&world.work(), &["commit-tree", "-m", "evil", &tree]);
    git(&world.work(), &["update-ref", "refs/heads/main", &id]);
    let (store, _) = fetched(&world);
    let check = store.check_tree(&id).unwrap();
    assert_eq!(
        check.refusals,
        [Finding {
            path: ".GiT".into(),
            kind: FindingKind::BadName
        }]
    );
    assert_eq!(
        check.warnings,
        [Finding {
            path: "sub".into(),
            kind: FindingKind::Submodule
        }]
    );
    let error = store.checkout(&id, &world.slot()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Refused { path, .. } if path == ".GiT"),
        "{error}"
    );
}

#[test]
fn a_commit_is_compared_with_its_branch() {
    let world = World::new();
    let live = world.commit_file("shop/a", "1");
    let (store, _) = fetched(&world);
    let of = |patterns: &[&str], max| {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let found = store.behind(&live, "main", &patterns, max, 2).unwrap();
        (found.behind, found.ahead, found.newest.into_iter().map(|info| info.subject).collect::<Vec<_>>())
    };
    assert_eq!(of(&[], 99), (0, 0, vec![]));
    world.commit_file("docs/b", "1");
    world.commit_file("shop/a", "2");
    world.commit_file("shop/c", "3");
    world.fetch(&world.local(), "main").unwrap();
    assert_eq!(of(&[], 99), (3, 0, vec!["change shop/c".to_owned(), "change shop/a".to_owned()]));
    assert_eq!(of(&["docs/**"], 99), (1, 0, vec!["change docs/b".to_owned()]), "only what concerns the project");
    assert_eq!(of(&[], 2).0, 2);
    git(&world.work(), &["checkout", "-q", "--orphan", "new"]);
    world.commit("begun anew");
    git(&world.work(), &["branch", "-q", "-M", "main"]);
    world.fetch(&world.local(), "main").unwrap();
    assert_eq!(of(&[], 99), (1, 1, vec!["begun anew".to_owned()]), "a forced push leaves what is live beside the branch");
    assert!(store.behind(&live, "other", &[], 99, 2).is_err());
}
