//! Every file of the fuzzer's corpus, without the fuzzer: what was found once
//! stays found.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

use doorstep_properties::{TARGETS, Target};

/// Runs the corpus of one target; a property that does not hold panics.
fn run(target: &str) {
    let (name, check): &Target = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let files = files(&corpus().join(name));
    assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
    for file in files {
        let data = std::fs::read(&file).unwrap();
        // Shown only when the test fails.
        println!("{}", file.display());
        check(&data);
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_corpus_has_a_target_and_every_target_a_test() {
    let folders: Vec<String> =
        files(&corpus()).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, targets);
    assert_eq!(targets, ["config", "log_line", "queue", "webhook", "wire"]);
}

#[test]
fn config() {
    run("config");
}

#[test]
fn log_line() {
    run("log_line");
}

#[test]
fn queue() {
    run("queue");
}

#[test]
fn webhook() {
    run("webhook");
}

#[test]
fn wire() {
    run("wire");
}
