//! Beside a writer: reading goes on, a second writer is told who the first one is.

use ipfs_accelerate::Store;

use super::{HELLO, Sandbox, fixture};

#[test]
fn a_second_writer_is_told_who_holds_the_store_and_since_when() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    let writer = Store::open(sandbox.store()).unwrap();
    for args in [
        &["add", "hello.txt"][..],
        &["rm", HELLO],
        &["pin", "add", HELLO, "--name", "n"],
        &["pin", "rm", HELLO],
    ] {
        let error = sandbox.refused(args, "locked");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("by process {} on ", std::process::id())),
            "{message}"
        );
        let since = message.rsplit("since ").next().unwrap();
        assert!(
            since.starts_with("20") && since.ends_with('Z') && since.len() == 20,
            "{since}"
        );
        assert!(
            error["hint"].as_str().unwrap().contains("reading"),
            "{error}"
        );
    }
    drop(writer);
    sandbox.ok(&["pin", "add", HELLO, "--name", "n"]);
}

#[test]
fn every_reading_command_works_beside_a_writer() {
    let sandbox = Sandbox::new();
    let model = fixture("silero-vad");
    sandbox.add(&[&model, "--pin-name", "vad"]);
    let _writer = Store::open(sandbox.store()).unwrap();
    for args in [
        &["get", "vad", "-o", "out"][..],
        &["cat", "vad/LICENSE"],
        &["ls"],
        &["ls", "vad"],
        &["stat"],
        &["stat", "vad"],
        &["has", "vad"],
        &["load", "vad"],
        &["plan", "vad"],
        &["dedup", "vad", "vad"],
        &["pin", "ls"],
    ] {
        sandbox.ok(args);
    }
    // Needs no store at all.
    sandbox.ok(&["add", "--only-hash", &model]);
}

#[test]
fn what_a_writer_adds_is_seen_at_once() {
    let sandbox = Sandbox::new();
    let writer = Store::create(sandbox.store()).unwrap();
    assert_eq!(sandbox.run(&["has", HELLO]).code, Some(1));
    writer
        .add_reader(&b"hello world"[..], &Default::default())
        .unwrap();
    assert_eq!(sandbox.ok(&["cat", HELLO]), "hello world");
}
