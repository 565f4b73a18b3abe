//! What is believed, and what follows from it.

use super::*;
use doorstep_shared::ids::ProjectState;
use doorstep_shared::protocol::ProjectView;

const SHA: &str = "1111111111111111111111111111111111111111";

fn project(name: &str, branch: &str, paths: &[&str]) -> ProjectView {
    ProjectView {
        name: name.parse().unwrap(),
        repo: "https://github.com/me/shop".into(),
        branch: branch.into(),
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        remote: vec![],
        state: ProjectState::Running,
        reason: None,
        live: None,
        address: None,
        shows_logs: false,
        services: Vec::new(),
        behind: None,
        quarantined: None,
        back: None,
    }
}

fn push(git_ref: &str, extra: &str) -> String {
    format!(
        r#"{{"ref":"{git_ref}","before":"{SHA}","after":"{SHA}","repository":{{"full_name":"me/shop","clone_url":"https://github.com/me/shop.git"}},"commits":[{{"added":["a/x.py"],"removed":[],"modified":["b/y.py"]}}]{extra}}}"#
    )
}

fn after(body: &str, projects: &[ProjectView]) -> Consequence {
    let host: Name = "attic".parse().unwrap();
    let projects = projects.iter().map(|p| (host.clone(), p.clone())).collect();
    derive("push", body, &projects).unwrap().consequence
}

fn why(consequence: Consequence) -> String {
    match consequence {
        Consequence::Nothing(reason) => reason,
        other @ (Consequence::Pong | Consequence::Deploy(_)) => panic!("{other:?}"),
    }
}

#[test]
fn githubs_published_vector_passes() {
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(verify(secret, Some(header), body).as_deref(), Ok(&header[7..]));
    let shouted = format!("sha256={}", header[7..].to_uppercase());
    assert_eq!(verify(secret, Some(&shouted), body).as_deref(), Ok(&header[7..]), "one body, one name");
    assert_eq!(verify(secret, Some(header), b"Hello, World?"), Err(Disbelief::SignatureWrong));
}

#[test]
fn every_bit_of_a_signature_counts() {
    let good = hex::decode("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17").unwrap();
    for bit in 0..256 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let header = format!("sha256={}", hex::encode(bad));
        assert!(verify("It's a Secret to Everybody", Some(&header), b"Hello, World!").is_err());
    }
}

#[test]
fn signatures_of_other_shapes_are_wrong() {
    for header in ["", "sha256=", "sha1=757107ea", "757107ea", "sha256=zz", "SHA256=00", "sha256=00", &format!("sha256={}", "0".repeat(63))] {
        assert_eq!(verify("s", Some(header), b""), Err(Disbelief::SignatureWrong), "{header}");
    }
    assert_eq!(verify("s", None, b""), Err(Disbelief::SignatureMissing));
    assert_eq!(verify("", Some("sha256=00"), b""), Err(Disbelief::SecretNotSet));
}

#[test]
fn headers_are_words() {
    let some = |t: &str| Some(t.to_owned());
    assert!(Headers::check(some("push"), some("72d3162e-cc78-11e3-81ab-4c9367dc0958")).is_ok());
    for bad in ["", "a b", "a\nb", "pu/sh", "ä", &"x".repeat(65)] {
        assert_eq!(Headers::check(some(bad), some("g")), Err(Disbelief::EventMissing), "{bad:?}");
        assert_eq!(Headers::check(some("push"), some(bad)), Err(Disbelief::GuidMissing), "{bad:?}");
    }
    assert_eq!(Headers::check(None, some("g")), Err(Disbelief::EventMissing));
}

#[test]
fn a_push_to_a_followed_branch_deploys_every_follower() {
    let projects = [project("shop", "main", &[]), project("shop2", "main", &["a/**"]), project("dev", "dev", &[])];
    let Consequence::Deploy(jobs) = after(&push("refs/heads/main", ""), &projects) else { panic!() };
    assert_eq!(jobs.iter().map(|(_, p)| p.as_str()).collect::<Vec<_>>(), ["shop", "shop2"]);
}

#[test]
fn what_starts_nothing_says_why() {
    let shop = [project("shop", "main", &["docs/**"])];
    assert_eq!(why(after(&push("refs/heads/dev", ""), &shop)), "no project follows branch dev (shop follows main)");
    assert_eq!(why(after(&push("refs/tags/v1", ""), &shop)), "refs/tags/v1 is not a branch; only branches are deployed");
    assert_eq!(why(after(&push("refs/heads/main", r#","deleted":true"#), &shop)), "branch main was deleted");
    assert_eq!(why(after(&push("refs/heads/main", ""), &shop)), "no changed path matches `paths` of shop");
    assert_eq!(why(after(&push("refs/heads/main", ""), &[])), "no project follows me/shop");
}

#[test]
fn in_doubt_about_paths_it_deploys() {
    let shop = [project("shop", "main", &["docs/**"])];
    for extra in [r#","forced":true"#, r#","created":true"#] {
        assert!(matches!(after(&push("refs/heads/main", extra), &shop), Consequence::Deploy(_)));
    }
    let many = vec![r#"{"added":["q"]}"#; COMMITS_MAX].join(",");
    let body = push("refs/heads/main", "").replace(r#"{"added":["a/x.py"],"removed":[],"modified":["b/y.py"]}"#, &many);
    assert!(matches!(after(&body, &shop), Consequence::Deploy(_)));
}

#[test]
fn a_body_must_fit_its_events_name() {
    let none = Followed::default();
    let push_body = push("refs/heads/main", "");
    for (event, body, fault) in [
        ("push", "", Disbelief::NotJson),
        ("push", "not json", Disbelief::NotJson),
        ("push", "{", Disbelief::NotJson),
        ("push", "null", Disbelief::WrongShape),
        ("push", "[]", Disbelief::WrongShape),
        ("push", "{}", Disbelief::WrongShape),
        ("push", r#"{"zen":"x","hook_id":1}"#, Disbelief::WrongShape),
        ("push", r#"{"ref":1}"#, Disbelief::WrongShape),
        ("ping", "{}", Disbelief::WrongShape),
        ("ping", &push_body, Disbelief::WrongShape),
        ("issues", &push_body, Disbelief::WrongShape),
        ("push", "payload=%7B%7D", Disbelief::Form),
    ] {
        assert_eq!(derive(event, body, &none).unwrap_err(), fault, "{event} {body}");
    }
    assert_eq!(derive("ping", r#"{"zen":"x","hook_id":1}"#, &none).unwrap().consequence, Consequence::Pong);
    assert_eq!(why(derive("issues", r#"{"action":"opened"}"#, &none).unwrap().consequence), "`issues` events start nothing");
}

proptest::proptest! {
    #[test]
    fn no_body_panics(event in "push|ping|issues", body in "\\PC{0,200}") {
        let _ = derive(&event, &body, &Followed::default());
    }
}
