//! Figures, printed on request: `cargo test --release -- --ignored --nocapture figures`.

use super::super::*;
use super::harness::{World, git, noise, soon};
use super::serving::{Manners, Server};
use std::time::{Duration, Instant};

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{what}: median {:?} min {:?} max {:?}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
}

#[test]
#[ignore = "measures; proves nothing"]
fn figures() {
    let world = World::new();
    for n in 0..2000 {
        world.put(&format!("d{}/s{}/f{n}", n % 40, n % 7), noise(8000, n));
    }
    world.commit("one");
    for n in 0..40 {
        world.commit_file("d1/s1/f1", noise(8000, 10_000 + n));
    }
    git(&world.work(), &["gc", "-q"]);
    let server = Server::start(world.dir.path(), Manners::default());
    let origin = Origin {
        url: server.url("work/.git"),
        token: None,
    };
    git(
        world.dir.path(),
        &["clone", "-q", "--bare", &origin.url, "cli.git"],
    );
    let started = Instant::now();
    let store = world.store();
    let first = store
        .fetch(&world.web, &origin, "main", &soon(), &mut |_| {})
        .unwrap();
    println!(
        "first fetch {} bytes in {:?}",
        first.received_bytes,
        started.elapsed()
    );
    println!(
        "first checkout {:?}",
        store.checkout(&first.commit, &world.slot()).unwrap()
    );
    let (mut ours, mut cli, mut disk, mut checkouts, mut same) =
        (vec![], vec![], vec![], vec![], vec![]);
    for n in 0..21 {
        world.commit_file("d1/s1/f1", noise(8000, 20_000 + n));
        let started = Instant::now();
        git(
            &world.dir.path().join("cli.git"),
            &[
                "fetch",
                "-q",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-auto-gc",
                &origin.url,
                "+refs/heads/main:refs/heads/main",
            ],
        );
        cli.push(started.elapsed());
        let started = Instant::now();
        let fetched = store
            .fetch(&world.web, &origin, "main", &soon(), &mut |_| {})
            .unwrap();
        ours.push(started.elapsed());
        let done = store.checkout(&fetched.commit, &world.slot()).unwrap();
        assert_eq!((done.files, done.written), (2000, 1));
        checkouts.push(done.duration);
        same.push(
            store
                .checkout(&fetched.commit, &world.slot())
                .unwrap()
                .duration,
        );
        world.commit_file("d1/s1/f1", noise(8000, 30_000 + n));
        let started = Instant::now();
        store
            .fetch(&world.web, &world.local(), "main", &soon(), &mut |_| {})
            .unwrap();
        disk.push(started.elapsed());
    }
    show("fetch over http, git2 module", ours);
    show("fetch over http, git command", cli);
    show("fetch from disk, git2 module", disk);
    show("checkout, one file of 2000", checkouts);
    show("checkout, nothing of 2000", same);
    println!(
        "{} requests, {} connections",
        server.seen().len(),
        server.connections()
    );
}

/// Needs the internet: a real certificate, checked by the platform's roots.
#[test]
#[ignore = "needs the internet"]
fn a_real_tls_server_is_spoken_to() {
    let world = World::new();
    let origin = Origin {
        url: "https://github.com/no-such-owner-of-doorstep/none".into(),
        token: Some(Token::new("x")),
    };
    let error = world.fetch(&origin, "main").unwrap_err();
    println!("{error}");
    assert!(!matches!(error, FetchError::Network { .. }), "{error}");
}

/// Needs root: a file system of 4 MB that a fetch fills.
#[test]
#[ignore = "needs root to mount"]
fn a_full_disk_is_said() {
    let world = World::new();
    world.commit_file("a", noise(8_000_000, 1));
    let small = world.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&small)
        .status();
    assert!(mount.unwrap().success());
    let store = open_store(&small).unwrap();
    let server = Server::start(world.dir.path(), Manners::default());
    let origin = Origin {
        url: server.url("work/.git"),
        token: None,
    };
    let over_http = store.fetch(&world.web, &origin, "main", &soon(), &mut |_| {});
    let from_disk = store.fetch(&world.web, &world.local(), "main", &soon(), &mut |_| {});
    drop(store);
    std::process::Command::new("umount")
        .arg(&small)
        .status()
        .unwrap();
    for error in [over_http.unwrap_err(), from_disk.unwrap_err()] {
        println!("{error}");
        assert!(matches!(error, FetchError::Disk { .. }), "{error:?}");
    }
}
