//! What goes over the wire: requests, tokens, statuses, redirects.

use super::super::*;
use super::harness::{SECRET, World, git, noise, serve, with_token};
use super::serving::Manners;

/// base64 of `x-access-token:ghp_s3cret`
const BASIC: &str = "Basic eC1hY2Nlc3MtdG9rZW46Z2hwX3MzY3JldA==";

/// An error with everything anybody could print of it.
fn texts(error: &FetchError) -> String {
    format!("{error} {error:?} {error:#?}")
}

#[test]
fn the_requests_are_those_of_a_git_client() {
    let world = World::new();
    world.commit_file("a", "1");
    let (server, origin) = serve(
        &world,
        Manners {
            auth: Some(BASIC.into()),
            ..Manners::default()
        },
    );
    world.fetch(&with_token(&origin, SECRET), "main").unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].line,
        "GET /site/.git/info/refs?service=git-upload-pack HTTP/1.1"
    );
    assert_eq!(seen[1].line, "POST /site/.git/git-upload-pack HTTP/1.1");
    assert_eq!(
        seen[1].header("content-type"),
        Some("application/x-git-upload-pack-request")
    );
    for request in &seen {
        assert_eq!(request.header("authorization"), Some(BASIC));
        assert!(
            request
                .header("user-agent")
                .unwrap()
                .starts_with("git/2.0 (doorstep ")
        );
        assert_eq!(request.header("git-protocol"), None);
    }
}

#[test]
fn fetches_share_connections() {
    let world = World::new();
    let (server, origin) = serve(&world, Manners::default());
    for n in 0..10 {
        world.commit_file("a", n.to_string());
        world.fetch(&origin, "main").unwrap();
    }
    assert_eq!(server.seen().len(), 20);
    // A connection goes back to the pool in the background, so the next
    // request may just miss it; most do not.
    assert!(server.connections() <= 5, "{}", server.connections());
}

#[test]
fn a_long_history_costs_no_request_more_unless_it_begins_anew() {
    let world = World::new();
    let (server, origin) = serve(&world, Manners::default());
    for n in 0..30 {
        world.commit_file("a", n.to_string());
    }
    world.fetch(&origin, "main").unwrap();
    let before = server.seen().len();
    let commit = world.commit_file("a", "new");
    let fetched = world.fetch(&origin, "main").unwrap();
    assert_eq!((&fetched.commit, fetched.forced), (&commit, false));
    assert!(fetched.received_objects <= 3, "{fetched:?}");
    assert_eq!(server.seen().len() - before, 2, "the list and the pack");
    // Some of what is offered is unknown to the origin, and some is known.
    git(&world.work(), &["reset", "-q", "--hard", "HEAD~3"]);
    let commit = world.commit_file("a", "instead");
    let before = server.seen().len();
    let fetched = world.fetch(&origin, "main").unwrap();
    assert_eq!((&fetched.commit, fetched.forced), (&commit, true));
    assert!(fetched.received_objects <= 3, "{fetched:?}");
    assert_eq!(server.seen().len() - before, 2);
    // None is known to it.
    git(&world.work(), &["checkout", "-q", "--orphan", "anew"]);
    git(&world.work(), &["branch", "-q", "-D", "main"]);
    git(&world.work(), &["checkout", "-q", "-b", "main"]);
    let commit = world.commit_file("b", "a beginning");
    git(&world.work(), &["reflog", "expire", "--expire=now", "--all"]);
    git(&world.work(), &["gc", "-q", "--prune=now"]);
    let before = server.seen().len();
    let fetched = world.fetch(&origin, "main").unwrap();
    assert_eq!((&fetched.commit, fetched.forced), (&commit, true));
    assert!(server.seen().len() - before > 3, "it began again");
}

#[test]
fn a_wrong_or_missing_token_is_denied_in_words_and_never_shown() {
    let world = World::new();
    world.commit_file("a", "1");
    let (server, origin) = serve(
        &world,
        Manners {
            auth: Some("Basic right".into()),
            ..Manners::default()
        },
    );
    let error = world
        .fetch(&with_token(&origin, SECRET), "main")
        .unwrap_err();
    let sentence = format!(
        "the origin refused access to {}: 401; is the token right and does it reach this repository?",
        server.url("site/.git")
    );
    assert_eq!(error.to_string(), sentence);
    assert!(matches!(error, FetchError::Denied { .. }) && !error.retryable());
    assert!(matches!(
        world.fetch(&origin, "main"),
        Err(FetchError::Denied { .. })
    ));
    assert!(!texts(&error).contains(SECRET) && !texts(&error).contains(&BASIC[6..]));
}

#[test]
fn no_failure_shows_the_token() {
    let world = World::new();
    world.commit_file("a", noise(500_000, 1));
    let (server, origin) = serve(&world, Manners::default());
    let origin = with_token(&origin, SECRET);
    let manners = |status| Manners {
        status: Some(status),
        ..Manners::default()
    };
    let mut kinds = vec![
        manners(401),
        manners(403),
        manners(404),
        manners(418),
        manners(500),
    ];
    kinds.push(Manners {
        html: true,
        ..Manners::default()
    });
    kinds.push(Manners {
        cut_after: Some(1000),
        ..Manners::default()
    });
    kinds.push(Manners {
        redirect: Some("ftp://x/".into()),
        ..Manners::default()
    });
    for kind in kinds {
        server.set(kind);
        let error = world.fetch(&origin, "main").unwrap_err();
        assert!(
            !texts(&error).contains(SECRET) && !texts(&error).contains(&BASIC[6..]),
            "{error:?}"
        );
        assert!(texts(&error).contains("127.0.0.1"), "{error:?}");
    }
    assert!(!format!("{origin:?} {:?} {:?}", origin.token, world.web).contains(SECRET));
}

#[test]
fn statuses_are_named_after_what_to_do() {
    let world = World::new();
    world.commit_file("a", "1");
    let (server, origin) = serve(&world, Manners::default());
    let answer = |status| {
        server.set(Manners {
            status: Some(status),
            ..Manners::default()
        });
        world.fetch(&origin, "main").unwrap_err()
    };
    assert!(matches!(answer(403), FetchError::Denied { .. }));
    assert!(matches!(answer(404), FetchError::NotFound { .. }));
    for status in [500, 502, 503, 429] {
        assert!(answer(status).retryable());
    }
    assert!(matches!(answer(418), FetchError::Other { .. }));
    server.set(Manners {
        html: true,
        ..Manners::default()
    });
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(
        matches!(error, FetchError::BadUrl { .. }) && error.to_string().contains("text/html"),
        "{error}"
    );
}

#[test]
fn a_pack_cut_in_the_middle_can_be_fetched_again() {
    let world = World::new();
    let head = world.commit_file("a", noise(3_000_000, 7));
    let (server, origin) = serve(
        &world,
        Manners {
            cut_after: Some(1_000_000),
            ..Manners::default()
        },
    );
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(
        matches!(error, FetchError::Network { .. }) && error.retryable(),
        "{error}"
    );
    let bare = world.dir.path().join("repo.git");
    assert_eq!(git(&bare, &["for-each-ref"]), "");
    assert_eq!(
        std::fs::read_dir(bare.join("objects/pack"))
            .unwrap()
            .count(),
        0,
        "no half pack stays"
    );
    server.set(Manners::default());
    assert_eq!(world.fetch(&origin, "main").unwrap().commit, head);
}

#[test]
fn a_closed_port_is_the_network() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let origin = Origin {
        url: format!("http://127.0.0.1:{port}/x"),
        token: Some(Token::new(SECRET)),
    };
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(
        error.retryable() && error.to_string().contains("refused"),
        "{error}"
    );
    assert!(!texts(&error).contains(SECRET));
    let tls = Origin {
        url: format!("https://127.0.0.1:{port}/x"),
        token: None,
    };
    assert!(
        matches!(world.fetch(&tls, "main"), Err(FetchError::Network { .. })),
        "https is carried too"
    );
}

#[test]
fn https_to_a_server_without_tls_fails_as_network() {
    let world = World::new();
    let (server, _) = serve(&world, Manners::default());
    let origin = Origin {
        url: server.url("site/.git").replace("http:", "https:"),
        token: Some(Token::new(SECRET)),
    };
    let error = world.fetch(&origin, "main").unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[test]
fn redirects_lead_the_whole_fetch_and_the_token_stays_on_its_host() {
    let world = World::new();
    let head = world.commit_file("a", "1");
    let (target, there) = serve(&world, Manners::default());
    let to = format!("{}/info/refs?service=git-upload-pack", there.url);
    let (door, origin) = serve(
        &world,
        Manners {
            redirect: Some(to),
            ..Manners::default()
        },
    );
    // The same host by name, another port: followed, without the token.
    let fetched = world.fetch(&with_token(&origin, SECRET), "main").unwrap();
    assert_eq!(fetched.commit, head);
    assert_eq!((door.seen().len(), target.seen().len()), (1, 2));
    assert_eq!(door.seen()[0].header("authorization"), Some(BASIC));
    assert!(
        target
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[test]
fn redirects_to_other_plain_hosts_and_in_circles_are_refused() {
    let world = World::new();
    world.commit_file("a", "1");
    let (server, origin) = serve(&world, Manners::default());
    let port = server.port;
    for (to, said) in [
        (
            format!("http://localhost:{port}/site/.git/info/refs"),
            "not https",
        ),
        ("file:///etc/passwd".into(), "not https"),
        (format!("http://127.0.0.1:{port}/again"), "too often"),
    ] {
        server.set(Manners {
            redirect: Some(to),
            ..Manners::default()
        });
        let error = world
            .fetch(&with_token(&origin, SECRET), "main")
            .unwrap_err();
        assert!(
            matches!(error, FetchError::BadUrl { .. }) && error.to_string().contains(said),
            "{error}"
        );
    }
}

#[test]
fn fetches_of_several_threads_keep_their_own_tokens() {
    let worlds: Vec<_> = (0..4).map(|_| World::new()).collect();
    std::thread::scope(|scope| {
        for (n, world) in worlds.iter().enumerate() {
            scope.spawn(move || {
                let head = world.commit_file("a", n.to_string());
                let (server, origin) = serve(world, Manners::default());
                let origin = if n % 2 == 0 {
                    with_token(&origin, SECRET)
                } else {
                    origin
                };
                assert_eq!(world.fetch(&origin, "main").unwrap().commit, head);
                let sent = server
                    .seen()
                    .iter()
                    .all(|seen| seen.header("authorization").is_some());
                assert_eq!(sent, n % 2 == 0);
            });
        }
    });
}
