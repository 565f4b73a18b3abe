//! The wire as it is written, and what old and new peers make of it.

use super::*;

/// Frames as version 1 wrote them; they must be read for ever.
const GOLDEN_TO_EXECUTOR: &[&str] = &[
    r#"{"type":"challenge","nonce":"00","version":1,"version_min":1}"#,
    r#"{"type":"joined","host":"attic"}"#,
    r#"{"type":"welcome","acknowledged":7,"lease_ms":60000}"#,
    r#"{"type":"watch","project":"shop","tail":true}"#,
    r#"{"type":"grant","grant":{"job":1,"attempt":1,"project":"shop","action":"deploy","cause":"push","hint_commit":"ab"}}"#,
    r#"{"type":"cancel","job":1,"attempt":2}"#,
    r#"{"type":"acknowledge","seq":9}"#,
    r#"{"type":"refuse","refusal":"not_authorised","message":"no"}"#,
];
const GOLDEN_TO_EDGE: &[&str] = &[
    r#"{"type":"join","code":"c","host":"attic","public_key":"00","signature":"11"}"#,
    r#"{"type":"hello","version":1,"executor_version":"0.1.0","host":"attic","signature":"11","journal":"j","holding":[{"job":1,"attempt":1}],"projects":[]}"#,
    r#"{"type":"renew","holding":[]}"#,
    r#"{"type":"report","seq":1,"report":{"kind":"log","run":"r","lines":["x"]}}"#,
    r#"{"type":"report","seq":2,"report":{"kind":"outcome","run":"r","job":1,"attempt":1,"state":"rolled_back","failure":{"kind":"health","step":"check","message":"m"},"commit":"c","at":5}}"#,
];

/// What version 2 added.
const GOLDEN_2_TO_EDGE: &[&str] = &[
    r#"{"type":"hello","version":2,"executor_version":"0.2.0","host":"attic","signature":"11","journal":"j","holding":[],"projects":[],"parked":"the disk is full"}"#,
    r#"{"type":"parked","reason":"the disk is full"}"#,
    r#"{"type":"parked","reason":null}"#,
    r#"{"type":"behind","project":"shop","head":"ab","first":false}"#,
    r#"{"type":"printed","project":"shop","first":true,"lines":["listens"]}"#,
    r#"{"type":"report","seq":2,"report":{"kind":"outcome","run":"r","job":1,"attempt":1,"state":"failed","failure":{"kind":"crash","step":"start","message":"m"},"commit":null,"at":5}}"#,
    r#"{"type":"report","seq":3,"report":{"kind":"outcome","run":"r","job":1,"attempt":1,"state":"failed","failure":{"kind":"disk","step":"build","message":"m"},"commit":null,"at":5}}"#,
];

#[test]
fn a_hub_of_version_1_is_told_only_what_it_knows() {
    for text in GOLDEN_2_TO_EDGE {
        let frame: ToEdge = decode(text).unwrap();
        assert_eq!(&encode(&frame).unwrap(), text);
        assert_eq!(fit(frame.clone(), VERSION), Some(frame.clone()));
        let Some(told) = fit(frame, 1).map(|frame| encode(&frame).unwrap()) else { continue };
        for new in ["parked", "behind", "printed", "crash", "disk", "\"version\":2"] {
            assert!(!told.contains(new), "{told}");
        }
    }
    for text in GOLDEN_TO_EDGE {
        assert_eq!(&encode(&fit(decode::<ToEdge>(text).unwrap(), 1).unwrap()).unwrap(), text);
    }
}

/// What a hub of version 2 passes over.
#[test]
fn services_are_fields_that_an_older_hub_need_not_know() {
    let text = r#"{"type":"projects","projects":[{"name":"media","repo":"o/media","branch":"main","paths":[],"remote":[],"state":"running","reason":null,"live":null,"address":null,"shows_logs":false,"services":[{"name":"web","state":"running","health":"healthy","image":"web:1","digest":"sha256:ab","created":1,"started":2,"restarts":0,"ports":["127.0.0.1:80->80/tcp"],"containers":1}]}]}"#;
    let frame: ToEdge = decode(text).unwrap();
    assert_eq!(&encode(&frame).unwrap(), text);
    assert_eq!(fit(frame.clone(), 2), Some(frame));
    let grant = r#"{"type":"grant","grant":{"job":1,"attempt":1,"project":"media","action":"restart","cause":"dashboard","service":"web"}}"#;
    assert_eq!(&encode(&decode::<ToExecutor>(grant).unwrap()).unwrap(), grant);
    assert!(decode::<ToExecutor>(&grant.replace("\"web\"", "\"--all\"")).is_err());
}

/// What a hub of version 4 passes over, and a host of version 4 does not say.
#[test]
fn a_run_that_began_may_say_its_service() {
    let text = r#"{"type":"report","seq":1,"report":{"kind":"started","run":"r","job":null,"attempt":0,"project":"media","action":"restart","cause":"manual","service":"web","at":5}}"#;
    let frame: ToEdge = decode(text).unwrap();
    assert_eq!(&encode(&frame).unwrap(), text);
    assert_eq!(fit(frame.clone(), 4), Some(frame));
    let older = text.replace(r#""service":"web","#, "");
    assert_eq!(encode(&decode::<ToEdge>(&older).unwrap()).unwrap(), older);
}

/// The same of the commit of a step.
#[test]
fn a_step_may_say_the_commit_of_its_run() {
    let text = r#"{"type":"report","seq":1,"report":{"kind":"step","run":"r","index":0,"name":"fetch","state":"succeeded","at":5,"duration_ms":12,"detail":"","commit":"ab"}}"#;
    let frame: ToEdge = decode(text).unwrap();
    assert_eq!(&encode(&frame).unwrap(), text);
    assert_eq!(fit(frame.clone(), 4), Some(frame));
    let older = text.replace(r#","commit":"ab""#, "");
    assert_eq!(encode(&decode::<ToEdge>(&older).unwrap()).unwrap(), older);
}

#[test]
fn golden_frames_are_read_and_written_back() {
    for text in GOLDEN_TO_EXECUTOR {
        assert_eq!(&encode(&decode::<ToExecutor>(text).unwrap()).unwrap(), text);
    }
    for text in GOLDEN_TO_EDGE {
        assert_eq!(&encode(&decode::<ToEdge>(text).unwrap()).unwrap(), text);
    }
}

#[test]
fn bad_frames_are_errors() {
    for bad in ["", "{}", "[]", "null", r#"{"type":"exec","command":"rm"}"#, r#"{"type":"grant","grant":{"job":-1}}"#] {
        assert!(decode::<ToExecutor>(bad).is_err(), "{bad}");
    }
    assert!(matches!(decode::<ToEdge>(&" ".repeat(FRAME_BYTES_MAX + 1)), Err(FrameError::TooLong(_))));
}

#[test]
fn a_grant_carries_no_command_path_address_or_branch() {
    let text = serde_json::to_value(Grant {
        job: JobId(1),
        attempt: 1,
        project: "shop".parse().unwrap(),
        action: Action::Deploy,
        cause: Cause::Push,
        hint_commit: Some("ab".into()),
        service: Some("web".parse().unwrap()),
    })
    .unwrap();
    let mut keys: Vec<_> = text.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["action", "attempt", "cause", "hint_commit", "job", "project", "service"]);
}
