//! Checkouts, compared with what git itself makes of the commit.

use super::super::*;
use super::harness::{World, git, listing, noise};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::SystemTime;

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn small_world() -> World {
    let world = World::new();
    world.put("a", "one\n");
    world.put("d/e/f", "deep\n");
    world.put("run.sh", "#!/bin/sh\n");
    mode(&world.work().join("run.sh"), 0o755);
    symlink("d/e", world.work().join("link")).unwrap();
    world.commit("one");
    world
}

#[test]
fn a_checkout_is_the_commit_and_the_next_writes_only_the_change() {
    let world = small_world();
    let first = world.deploy();
    assert_eq!((first.files, first.written, first.removed), (4, 4, 0));
    assert_eq!(first.bytes, 4 + 5 + 10);
    let inode = fs::metadata(world.slot().join("d/e/f")).unwrap().ino();
    world.commit_file("a", "two\n");
    let second = world.deploy();
    assert_eq!((second.files, second.written), (4, 1));
    assert_eq!(
        fs::metadata(world.slot().join("d/e/f")).unwrap().ino(),
        inode
    );
    assert_eq!(world.deploy().written, 0);
    assert!(!world.slot().join(".git").exists());
}

#[test]
fn nothing_of_before_stays() {
    let world = small_world();
    world.put(".gitignore", "*.pyc\nbuild/\n");
    world.commit("ignore");
    world.deploy();
    let slot = world.slot();
    fs::create_dir_all(slot.join("d/__pycache__")).unwrap();
    fs::write(slot.join("d/__pycache__/x.pyc"), "x").unwrap();
    fs::write(slot.join("d/e/read-only"), "x").unwrap();
    mode(&slot.join("d/e/read-only"), 0o444);
    for nested in ["build/.git", "d/.git", ".git", "d/e/.git/objects"] {
        fs::create_dir_all(slot.join(nested)).unwrap();
        fs::write(slot.join(nested).join("HEAD"), "ref: x").unwrap();
    }
    git(&slot.join("build"), &["init", "-q", "inner"]);
    fs::create_dir(slot.join("empty")).unwrap();
    symlink("/etc", slot.join("etc")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(slot.join("sock")).unwrap();
    mode(&slot.join("d/__pycache__"), 0o555);
    assert_eq!(world.deploy().written, 0);
    assert!(fs::exists("/etc/passwd").unwrap());
}

#[test]
fn removed_and_renamed_files_go() {
    let world = small_world();
    world.deploy();
    git(&world.work(), &["mv", "d/e/f", "g"]);
    git(&world.work(), &["rm", "-q", "a"]);
    world.commit("move");
    world.deploy();
    assert!(!world.slot().join("d").exists());
}

#[test]
fn every_type_becomes_every_other() {
    let world = World::new();
    let kinds = ["file", "exec", "folder", "link", "dir-link"];
    let make = |kind: &str, path: &std::path::Path| match kind {
        "file" => fs::write(path, "plain").unwrap(),
        "exec" => {
            fs::write(path, "plain").unwrap();
            mode(path, 0o755);
        }
        "folder" => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("x"), "inside").unwrap();
        }
        "link" => symlink("target", path).unwrap(),
        _ => symlink("folder", path).unwrap(),
    };
    world.put("folder/x", "not to be touched");
    world.put("target", "not to be touched");
    for (round, _) in kinds.iter().chain(&kinds).enumerate() {
        for (n, _) in kinds.iter().enumerate() {
            for step in [0, 1, 2] {
                let path = world.work().join(format!("p{n}{step}"));
                let _ = fs::remove_file(&path);
                let _ = fs::remove_dir_all(&path);
                make(kinds[(n + round * (step + 1)) % kinds.len()], &path);
            }
        }
        world.commit("round");
        world.deploy();
    }
}

#[test]
fn bytes_are_exact_whatever_the_attributes_say() {
    let world = World::new();
    world.put("crlf.txt", "a\r\nb\r\n");
    world.put("lf.txt", "a\nb\n");
    world.put("ident", "$Id$\n");
    world.put("binary", [0u8, 255, 13, 10, 13]);
    world.commit("one");
    world.put(".gitattributes", "* text=auto eol=crlf ident\n");
    git(&world.work(), &["add", ".gitattributes"]);
    git(&world.work(), &["commit", "-q", "-m", "attributes"]);
    world.deploy();
    assert_eq!(fs::read(world.slot().join("lf.txt")).unwrap(), b"a\nb\n");
    // An edit that a filter would call no edit at all.
    fs::write(world.slot().join("lf.txt"), "a\r\nb\r\n").unwrap();
    world.deploy();
}

#[test]
fn a_slot_changed_by_hand_is_put_right() {
    let world = small_world();
    world.deploy();
    let slot = world.slot();
    fs::write(slot.join("a"), "other length").unwrap();
    fs::remove_file(slot.join("d/e/f")).unwrap();
    mode(&slot.join("run.sh"), 0o644);
    fs::remove_file(slot.join("link")).unwrap();
    symlink("d/x", slot.join("link")).unwrap();
    assert_eq!(world.deploy().written, 4);
    fs::rename(slot.join("a"), slot.join("b")).unwrap();
    fs::rename(slot.join("d/e/f"), slot.join("a")).unwrap();
    fs::rename(slot.join("b"), slot.join("d/e/f")).unwrap();
    world.deploy();
}

#[test]
fn a_change_in_the_same_moment_with_the_same_size_is_noticed() {
    use std::io::Write;
    let world = World::new();
    let commit = world.commit_file("f", "good");
    world.fetch(&world.local(), "main").unwrap();
    let (store, path) = (world.store(), world.slot().join("f"));
    let mut options = fs::OpenOptions::new();
    // Right behind our own write, with the same size and inode. Kernels before
    // 6.13 tick every 4 ms and give both writes one time; newer ones do not,
    // and there only the test of the backdated time can turn red.
    for _ in 0..200 {
        store.checkout(&commit, &world.slot()).unwrap();
        let mut file = options.write(true).open(&path).unwrap();
        file.write_all(b"evil").unwrap();
        drop(file);
        assert_eq!(store.checkout(&commit, &world.slot()).unwrap().written, 1);
        assert_eq!(fs::read(&path).unwrap(), b"good");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_change_that_restores_the_file_time_is_noticed() {
    let world = small_world();
    world.deploy();
    let path = world.slot().join("a");
    let before = fs::metadata(&path).unwrap();
    // The inode's own time is the kernel's; wait until it has moved on.
    loop {
        fs::write(&path, "bad\n").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        let now = fs::metadata(&path).unwrap();
        if (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec()) {
            break;
        }
    }
    assert_eq!(
        fs::metadata(&path).unwrap().modified().unwrap(),
        before.modified().unwrap()
    );
    assert_eq!(world.deploy().written, 1);
}

#[test]
fn a_written_file_has_a_time_of_its_own_in_the_past() {
    let world = small_world();
    world.deploy();
    let time = |name: &str| {
        fs::metadata(world.slot().join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert!(time("a") < SystemTime::now() - std::time::Duration::from_secs(2));
    let before = time("a");
    world.commit_file("a", "two\n");
    world.deploy();
    assert!(
        time("a") > before,
        "the same size never comes with the same time"
    );
}

#[test]
fn no_symlink_is_written_through() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("b"), "precious").unwrap();
    world.put("a/b", "mine");
    world.put("c", "mine");
    world.commit("one");
    let slot = world.slot();
    for _ in 0..2 {
        let _ = fs::remove_dir_all(slot.join("a"));
        let _ = fs::remove_file(slot.join("c"));
        fs::create_dir_all(&slot).unwrap();
        symlink(&outside, slot.join("a")).unwrap();
        symlink(outside.join("b"), slot.join("c")).unwrap();
        world.deploy();
        assert_eq!(listing(&outside), ["b = \"precious\""]);
    }
}

#[test]
fn a_hard_link_is_not_written_through() {
    let world = small_world();
    world.deploy();
    let kept = world.dir.path().join("kept");
    fs::hard_link(world.slot().join("a"), &kept).unwrap();
    world.commit_file("a", "two\n");
    world.deploy();
    assert_eq!(fs::read_to_string(kept).unwrap(), "one\n");
}

#[test]
fn a_lost_or_damaged_index_means_a_full_checkout() {
    let world = small_world();
    world.deploy();
    let index = world.dir.path().join("repo.git/slots/a.index");
    fs::remove_file(&index).unwrap();
    assert_eq!(
        world.deploy().written,
        3,
        "three files; the link needs no index"
    );
    let mut bytes = fs::read(&index).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&index, bytes).unwrap();
    assert_eq!(world.deploy().written, 3);
    fs::write(&index, "").unwrap();
    assert_eq!(world.deploy().written, 3);
    assert_eq!(world.deploy().written, 0);
}

#[test]
fn a_checkout_that_died_is_put_right_by_the_next() {
    let world = World::new();
    for n in 0..40 {
        world.put(&format!("d{}/f{n}", n % 5), noise(100, n));
    }
    world.commit("one");
    world.deploy();
    let index = world.dir.path().join("repo.git/slots/a.index");
    let before = fs::read(&index).unwrap();
    for n in 0..40 {
        world.put(&format!("d{}/f{n}", n % 5), noise(100, n + 1000));
    }
    world.commit("two");
    world.deploy();
    // As if it had died before its index was saved, with files half written.
    for n in 0..10 {
        let path = world.slot().join(format!("d{}/f{n}", n % 5));
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(50)
            .unwrap();
    }
    fs::remove_dir_all(world.slot().join("d4")).unwrap();
    fs::write(&index, before).unwrap();
    world.deploy();
    git(&world.work(), &["reset", "-q", "--hard", "HEAD~1"]);
    world.deploy();
}

#[test]
fn folders_without_rights_are_opened_up() {
    let world = small_world();
    world.deploy();
    let slot = world.slot();
    fs::create_dir_all(slot.join("junk/in/side")).unwrap();
    for folder in ["junk/in/side", "junk/in", "junk", "d/e", "d"] {
        mode(&slot.join(folder), 0o000);
    }
    world.commit_file("d/e/f", "new\n");
    world.deploy();
    assert_eq!(
        fs::metadata(slot.join("d")).unwrap().permissions().mode() & 0o700,
        0o700
    );
}

#[test]
fn a_slot_that_is_a_symlink_or_a_file_is_refused() {
    let world = small_world();
    world.fetch(&world.local(), "main").unwrap();
    let (store, head) = (world.store(), git(&world.work(), &["rev-parse", "HEAD"]));
    let elsewhere = world.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("x"), "keep").unwrap();
    symlink(&elsewhere, world.dir.path().join("s")).unwrap();
    fs::write(world.dir.path().join("f"), "").unwrap();
    for slot in ["s", "f"] {
        assert!(matches!(
            store.checkout(&head, &world.dir.path().join(slot)),
            Err(StoreError::Io { .. })
        ));
    }
    assert!(elsewhere.join("x").exists());
    assert!(store.checkout(&head, std::path::Path::new("/")).is_err());
}

#[test]
fn odd_names_and_a_submodule_come_out_right() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    world.put("with space/new\nline", "x");
    let odd = world.work().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    fs::write(odd, "not utf-8").unwrap();
    let base = world.commit("one");
    git(
        &world.work(),
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{base},sub"),
        ],
    );
    git(&world.work(), &["commit", "-q", "-m", "sub"]);
    assert_eq!(world.deploy().written, 2);
    fs::create_dir_all(world.slot().join("sub/.git")).unwrap();
    assert_eq!(world.deploy().written, 0);
    assert!(
        fs::read_dir(world.slot().join("sub"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn random_histories_and_random_damage_come_out_right() {
    let world = World::new();
    let mut bytes = noise(4000, 99).into_iter();
    let mut dice = |sides: u8| bytes.next().unwrap() % sides;
    for _ in 0..12 {
        for _ in 0..8 {
            let path = format!("d{}/e{}/f{}", dice(3), dice(2), dice(4));
            match dice(3) {
                0 => drop(fs::remove_file(world.work().join(&path))),
                _ => world.put(&path, [b'a' + dice(26)]),
            }
        }
        world.commit("step");
        world.deploy();
        for _ in 0..4 {
            let path = world
                .slot()
                .join(format!("d{}/e{}/f{}", dice(3), dice(2), dice(4)));
            match dice(3) {
                0 => drop(fs::remove_file(path)),
                1 => drop(fs::write(path, [b'a' + dice(26)])),
                _ => drop(fs::remove_dir_all(path.parent().unwrap())),
            }
        }
    }
}
