//! Fetching, over HTTP and from disk.

use super::super::*;
use super::harness::{World, bounds, git, noise, serve, soon};
use super::serving::Manners;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn a_first_fetch_brings_the_branch_and_the_second_only_what_is_new() {
    let world = World::new();
    for n in 0..30 {
        world.commit_file(&format!("f{n}"), noise(2000, n));
    }
    let (_server, origin) = serve(&world, Manners::default());
    let first = world.fetch(&origin, "main").unwrap();
    assert!(
        first.received_objects >= 90 && first.received_bytes > 60_000 && first.previous.is_none()
    );
    let head = world.commit_file("f1", "new");
    let second = world.fetch(&origin, "main").unwrap();
    assert_eq!(
        (second.commit.as_str(), second.previous),
        (head.as_str(), Some(first.commit))
    );
    assert!(second.received_objects <= 3, "{}", second.received_objects);
    assert!(!second.forced);
    let third = world.fetch(&origin, "main").unwrap();
    assert_eq!(
        (third.commit, third.received_objects, third.received_bytes),
        (head, 0, 0)
    );
}

#[test]
fn only_the_one_branch_and_no_tag_is_fetched() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    git(&world.work(), &["tag", "-a", "-m", "t", "v1"]);
    git(&world.work(), &["checkout", "-q", "-b", "other"]);
    let other = world.commit_file("b", "2");
    let (_server, origin) = serve(&world, Manners::default());
    world.fetch(&origin, "main").unwrap();
    let bare = world.dir.path().join("repo.git");
    assert_eq!(
        git(
            &bare,
            &["for-each-ref", "--format=%(refname) %(objectname)"]
        ),
        format!("refs/doorstep/main {head}")
    );
    assert!(world.store().commit_info(&other).is_err());
    assert!(!bare.join("FETCH_HEAD").exists());
    git(&bare, &["fsck", "--strict"]);
}

#[test]
fn a_forced_push_is_followed_and_said() {
    let world = World::new();
    world.commit_file("a", "1");
    let (_server, origin) = serve(&world, Manners::default());
    let old = world.commit_file("a", "2");
    world.fetch(&origin, "main").unwrap();
    git(&world.work(), &["reset", "-q", "--hard", "HEAD~1"]);
    let back = git(&world.work(), &["rev-parse", "HEAD"]);
    let fetched = world.fetch(&origin, "main").unwrap();
    assert_eq!(
        (fetched.commit, fetched.previous, fetched.forced),
        (back, Some(old), true)
    );
    git(&world.work(), &["checkout", "-q", "--orphan", "fresh"]);
    let fresh = world.commit_file("a", "3");
    git(&world.work(), &["branch", "-f", "main", "fresh"]);
    let fetched = world.fetch(&origin, "main").unwrap();
    assert!(fetched.forced && fetched.commit == fresh);
}

#[test]
fn a_deleted_branch_is_its_own_error_and_keeps_what_was_fetched() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    let (_server, origin) = serve(&world, Manners::default());
    world.fetch(&origin, "main").unwrap();
    git(&world.work(), &["branch", "-m", "main", "trunk"]);
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(
        matches!(&error, FetchError::NoSuchBranch { branch, .. } if branch == "main"),
        "{error}"
    );
    assert!(!error.retryable());
    assert_eq!(world.store().commit_info(&head).unwrap().id, head);
}

#[test]
fn an_empty_repository_is_its_own_error() {
    let world = World::new();
    let (_server, origin) = serve(&world, Manners::default());
    for origin in [origin, world.local()] {
        let error = world.fetch(&origin, "main").unwrap_err();
        assert!(
            matches!(error, FetchError::EmptyRepository { .. }),
            "{error}"
        );
        assert_eq!(
            remote_head(&world.web, &origin, "main", &soon()).unwrap(),
            None
        );
    }
}

#[test]
fn local_paths_and_file_urls_work() {
    let world = World::new();
    let first = world.commit_file("a", "1");
    assert_eq!(world.fetch(&world.local(), "main").unwrap().commit, first);
    let second = world.commit_file("a", "2");
    let origin = Origin {
        url: format!("file://{}", world.work().display()),
        token: None,
    };
    let fetched = world.fetch(&origin, "main").unwrap();
    assert_eq!(
        (fetched.commit, fetched.previous, fetched.forced),
        (second, Some(first), false)
    );
    let nowhere = Origin {
        url: "/no/such/place".into(),
        token: None,
    };
    assert!(matches!(
        world.fetch(&nowhere, "main"),
        Err(FetchError::NotFound { .. })
    ));
}

#[test]
fn a_local_origin_of_another_user_is_fetched() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    // Only root can give files away; for others the folder stays their own.
    for path in [world.work(), world.work().join(".git")] {
        let _ = std::os::unix::fs::chown(path, Some(12345), None);
    }
    assert_eq!(world.fetch(&world.local(), "main").unwrap().commit, head);
}

#[test]
fn a_silent_origin_is_given_up_after_the_idle_time() {
    let idle = Duration::from_millis(300);
    let world = World::with_limits(WebLimits {
        idle,
        ..WebLimits::default()
    });
    world.commit_file("a", "1");
    let (_server, origin) = serve(
        &world,
        Manners {
            silent: true,
            ..Manners::default()
        },
    );
    let started = Instant::now();
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(
        error.retryable() && error.to_string().contains("silent"),
        "{error}"
    );
    assert!(started.elapsed() >= idle && started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_deadline_ends_a_fetch_that_waits() {
    let world = World::new();
    let (_server, origin) = serve(
        &world,
        Manners {
            silent: true,
            ..Manners::default()
        },
    );
    let store = world.store();
    let within = bounds(Duration::from_millis(200));
    let error = store
        .fetch(&world.web, &origin, "main", &within, &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, FetchError::TimedOut { .. }) && error.retryable(),
        "{error}"
    );
    let past = bounds(Duration::ZERO);
    assert!(matches!(
        remote_head(&world.web, &origin, "main", &past),
        Err(FetchError::TimedOut { .. })
    ));
}

#[test]
fn a_cancelled_fetch_ends_while_it_waits_and_while_it_reads() {
    let world = World::new();
    world.commit_file("a", noise(3_000_000, 3));
    let (server, origin) = serve(
        &world,
        Manners {
            silent: true,
            ..Manners::default()
        },
    );
    let (store, waiting) = (world.store(), soon());
    let flag = std::sync::Arc::clone(&waiting.cancel);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.seen().is_empty() {
                std::thread::yield_now();
            }
            flag.store(true, Ordering::Relaxed);
        });
        store
            .fetch(&world.web, &origin, "main", &waiting, &mut |_| {})
            .unwrap_err()
    });
    assert!(matches!(error, FetchError::Cancelled) && !error.retryable());
    server.set(Manners::default());
    let reading = soon();
    let mut calls = 0;
    let mut progress = |_| {
        calls += 1;
        reading.cancel.store(true, Ordering::Relaxed);
    };
    let error = store
        .fetch(&world.web, &origin, "main", &reading, &mut progress)
        .unwrap_err();
    assert!(matches!(error, FetchError::Cancelled), "{error}");
    assert_eq!(calls, 1);
}

#[test]
fn a_large_pack_is_read_as_it_comes() {
    let world = World::new();
    for n in 0..30 {
        world.put(&format!("f{n}"), noise(1_000_000, n));
    }
    let head = world.commit("30 MB");
    // The server holds the rest back until the client has seen a part of it.
    let (server, origin) = serve(
        &world,
        Manners {
            hold_after: Some(5_000_000),
            ..Manners::default()
        },
    );
    let store = world.store();
    let mut at_release = None;
    let mut progress = |p: Progress| {
        if p.received_bytes > 2_000_000 && at_release.is_none() {
            at_release = Some(p.received_bytes);
            server.release();
        }
    };
    let fetched = store
        .fetch(&world.web, &origin, "main", &soon(), &mut progress)
        .unwrap();
    assert_eq!(fetched.commit, head);
    assert!(fetched.received_bytes > 30_000_000);
    assert!(at_release.unwrap() < 6_000_000);
}

#[test]
fn the_remote_head_is_listed_without_a_store() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    let (server, origin) = serve(&world, Manners::default());
    for origin in [&origin, &world.local()] {
        assert_eq!(
            remote_head(&world.web, origin, "main", &soon()).unwrap(),
            Some(head.clone())
        );
        assert_eq!(
            remote_head(&world.web, origin, "nope", &soon()).unwrap(),
            None
        );
    }
    assert_eq!(server.seen().len(), 2);
    server.set(Manners {
        status: Some(404),
        ..Manners::default()
    });
    assert!(matches!(
        remote_head(&world.web, &origin, "main", &soon()),
        Err(FetchError::NotFound { .. })
    ));
}

#[test]
fn odd_branch_names_are_taken_literally() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    git(&world.work(), &["branch", "feat/ünï+1"]);
    // A ref that is not UTF-8 lies about as well.
    let packed = [format!("{head} refs/heads/").as_bytes(), b"\xff\xfe\n"].concat();
    std::fs::write(world.work().join(".git/packed-refs"), packed).unwrap();
    let (_server, origin) = serve(&world, Manners::default());
    assert_eq!(world.fetch(&origin, "feat/ünï+1").unwrap().commit, head);
    for none in [
        "*",
        "m*",
        "",
        "../main",
        "a..b",
        "main:refs/heads/x",
        "MAIN",
        "HEAD",
    ] {
        let error = world.fetch(&origin, none).unwrap_err();
        assert!(
            matches!(error, FetchError::NoSuchBranch { .. }),
            "{none}: {error}"
        );
    }
}

#[test]
fn a_branch_may_become_a_folder_of_branches() {
    let world = World::new();
    world.commit_file("a", "1");
    git(&world.work(), &["branch", "-m", "main", "x"]);
    world.fetch(&world.local(), "x").unwrap();
    git(&world.work(), &["branch", "-m", "x", "tmp"]);
    git(&world.work(), &["branch", "-m", "tmp", "x/y"]);
    world.fetch(&world.local(), "x/y").unwrap();
    git(&world.work(), &["branch", "-m", "x/y", "tmp"]);
    git(&world.work(), &["branch", "-m", "tmp", "x"]);
    world.fetch(&world.local(), "x").unwrap();
}

#[test]
fn it_runs_in_spawn_blocking() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    let (_server, origin) = serve(&world, Manners::default());
    let (store, web) = (world.store(), world.web.clone());
    let work = move || {
        store
            .fetch(&web, &origin, "main", &soon(), &mut |_| {})
            .unwrap()
            .commit
    };
    let got = world
        .runtime
        .block_on(async { tokio::task::spawn_blocking(work).await.unwrap() });
    assert_eq!(got, head);
}

#[test]
fn old_half_packs_go_and_fresh_ones_stay() {
    let world = World::new();
    world.commit_file("a", "1");
    world.store();
    let packs = world.dir.path().join("repo.git/objects/pack");
    for (name, age_s) in [("pack_git2_old", 7200), ("pack_git2_new", 10)] {
        let file = std::fs::File::create(packs.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age_s))
            .unwrap();
    }
    world.fetch(&world.local(), "main").unwrap();
    assert!(!packs.join("pack_git2_old").exists() && packs.join("pack_git2_new").exists());
}

#[test]
fn a_lock_that_a_dead_process_left_does_not_stop_the_next_fetch() {
    let world = World::new();
    world.commit_file("a", "1");
    world.fetch(&world.local(), "main").unwrap();
    for (lock, content) in [("refs/doorstep/main.lock", "2"), ("shallow.lock", "3")] {
        let lock = world.dir.path().join("repo.git").join(lock);
        std::fs::write(&lock, "").unwrap();
        let head = world.commit_file("a", content);
        assert_eq!(world.fetch(&world.local(), "main").unwrap().commit, head);
        assert!(!lock.exists());
    }
}
