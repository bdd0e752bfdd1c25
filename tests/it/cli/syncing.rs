//! `sync`: objects and pins from another store.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{HELLO, Sandbox, noise, snapshot};

/// A store beside the sandbox's own, with two objects.
fn other(sandbox: &Sandbox) -> String {
    sandbox.write("m/weights", noise(300_000, 1));
    sandbox.write("hello.txt", "hello world");
    let there = sandbox.path("there");
    let there = there.to_str().unwrap();
    let profile = "unixfs-v0-2015";
    sandbox.ok(&["--store", there, "init", "--profile", profile]);
    sandbox.ok(&["--store", there, "add", "m", "--pin-name", "m"]);
    sandbox.ok(&[
        "--store",
        there,
        "add",
        "hello.txt",
        "--profile",
        "unixfs-v1-2025",
    ]);
    there.to_owned()
}

fn state(said: &Value, cid: &str) -> Value {
    let objects = said["objects"].as_array().unwrap();
    objects
        .iter()
        .find(|object| object["cid"] == cid)
        .unwrap()
        .clone()
}

#[test]
fn a_store_is_copied_and_followed() {
    let sandbox = Sandbox::new();
    let there = other(&sandbox);
    let before = snapshot(sandbox.path("there").as_path());
    let plan = sandbox.json(&["sync", &there, "--dry-run"]);
    assert!(!sandbox.store().exists(), "a dry run makes no store");
    assert_eq!(
        (&plan["copied"], &plan["dry_run"]),
        (&json!(2), &json!(true))
    );

    let done = sandbox.json(&["sync", &there]);
    assert_eq!(done["objects"], plan["objects"]);
    assert_eq!(
        (&done["copied"], &done["there"], &done["failed"]),
        (&json!(2), &json!(0), &json!(0))
    );
    assert_eq!(done["new_bytes"], plan["new_bytes"]);
    assert!(done["new_bytes"].as_u64().unwrap() > 300_011);
    let hello = state(&done, HELLO);
    assert_eq!(
        hello,
        json!({
            "cid": HELLO, "name": "hello.txt", "kind": "file", "size": 11, "state": "copied",
            "new_blocks": 1, "new_bytes": 11, "there_blocks": 0, "there_bytes": 0,
            "pins": [{"name": HELLO, "change": "set", "was": null, "error": null}], "error": null
        })
    );
    assert_eq!(sandbox.ok(&["cat", HELLO]), "hello world");
    assert_eq!(sandbox.run(&["cat", "m/weights"]).stdout, noise(300_000, 1));
    assert_eq!(sandbox.json(&["stat", "m"])["profile"], "unixfs-v0-2015");
    // The store that was made is like the source.
    sandbox.write("x", "x");
    assert_eq!(sandbox.json(&["add", "x"])["profile"], "unixfs-v0-2015");

    let said = sandbox.ok(&["sync", &there]);
    assert!(
        said.starts_with("copied 0 objects, 2 there already; 0 B in 0 blocks new, "),
        "{said}"
    );
    assert_eq!(sandbox.ok(&["sync", &there, "-q"]), "");
    assert_eq!(snapshot(sandbox.path("there").as_path()), before);

    // What is new there comes along, and with --replace its name moves.
    sandbox.write("m/config", "{}");
    sandbox.ok(&[
        "--store",
        &there,
        "add",
        "m",
        "--pin-name",
        "m",
        "--replace",
    ]);
    let ran = sandbox.run(&["sync", &there]);
    assert_eq!(ran.code, Some(1), "{}", ran.text());
    assert!(
        ran.stderr
            .starts_with("warning: the name \"m\" is taken by "),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("--replace"), "{}", ran.stderr);
    assert!(
        ran.text().contains("  m  (293.0 KiB, 113 B new)"),
        "{}",
        ran.text()
    );
    let said = sandbox.ok(&["sync", &there, "--replace"]);
    assert!(
        said.contains("\"m\" moved from Qm") || said.contains("\"m\" moved from bafy"),
        "{said}"
    );
    assert_eq!(sandbox.ok(&["cat", "m/config"]), "{}");
}

#[test]
fn targets_of_the_other_store_are_copied_alone() {
    let sandbox = Sandbox::new();
    let there = other(&sandbox);
    assert_eq!(
        sandbox.ok(&["sync", &there, HELLO, "--no-pin", "-q"]),
        format!("{HELLO}\n")
    );
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "");
    let done = sandbox.json(&["sync", &there, "m/weights"]);
    assert_eq!(done["copied"], 1);
    let cid = done["objects"][0]["cid"].as_str().unwrap();
    assert_eq!(sandbox.run(&["cat", cid]).stdout, noise(300_000, 1));
    assert_eq!(
        sandbox.json(&["ls"])["entries"].as_array().unwrap().len(),
        2
    );
    sandbox.refused(&["sync", &there, "nobody"], "no_such_name");
    sandbox.refused(&["sync", &there, "m/none"], "no_such_path");
    sandbox.refused(&["sync", "nowhere"], "no_store");
    sandbox.refused(&["sync", "m"], "not_a_store");
    sandbox.refused(&["sync", sandbox.store().to_str().unwrap()], "same_store");
    sandbox.refused(&["sync", &there, "--no-pin", "--replace"], "usage");
}

#[test]
fn what_is_damaged_there_is_told_with_exit_code_1() {
    let sandbox = Sandbox::new();
    let there = other(&sandbox);
    let packs = fs::read_dir(sandbox.path("there/packs")).unwrap();
    let packs = packs.map(|entry| entry.unwrap().path());
    let large = packs
        .max_by_key(|pack| fs::metadata(pack).unwrap().len())
        .unwrap();
    let mut content = fs::read(&large).unwrap();
    content[150_000] ^= 1;
    fs::remove_file(&large).unwrap();
    fs::write(&large, content).unwrap();
    let ran = sandbox.run(&["sync", &there, "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!((&said["copied"], &said["failed"]), (&json!(1), &json!(1)));
    let objects = said["objects"].as_array().unwrap();
    let failed = objects
        .iter()
        .find(|object| object["state"] == "failed")
        .unwrap();
    assert_eq!(failed["error"]["kind"], "corrupt");
    let message = failed["error"]["message"].as_str().unwrap();
    for part in [
        failed["cid"].as_str().unwrap(),
        large.to_str().unwrap(),
        "is damaged in the source",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(
        ran.stderr.starts_with(&format!("warning: {message}")),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.ok(&["cat", HELLO]), "hello world");
    assert_eq!(
        sandbox.json(&["ls"])["entries"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_signal_ends_a_copy_and_the_next_one_goes_on() {
    let sandbox = Sandbox::new();
    let there = sandbox.path("there");
    let there = there.to_str().unwrap();
    sandbox.write("noise", noise(150 << 20, 9));
    sandbox.ok(&["--store", there, "add", "noise"]);
    sandbox.ok(&["init"]);
    let mut child = sandbox.command(["sync", there]);
    let child = child
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    let begun = std::time::Instant::now();
    while fs::read_dir(sandbox.store().join("tmp"))
        .unwrap()
        .next()
        .is_none()
    {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = super::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(2), "{}", ran.text());
    assert_eq!(
        ran.stderr,
        "error: cancelled; what was copied before stays: 0 objects\nhint: the same command goes on from there\n"
    );
    for folder in ["packs", "roots", "names", "tmp"] {
        assert_eq!(
            fs::read_dir(sandbox.store().join(folder)).unwrap().count(),
            0,
            "{folder}"
        );
    }
    assert_eq!(sandbox.json(&["sync", there])["copied"], 1);
}

#[test]
fn a_source_that_is_no_store_is_told_from_the_store_that_is_copied_to() {
    let sandbox = Sandbox::new();
    sandbox.write("m/weights", "weights");
    for (source, kind) in [("m", "not_a_store"), ("nowhere", "no_store")] {
        let error = sandbox.refused(&["sync", source], kind);
        let hint = error["hint"].as_str().unwrap();
        assert!(
            hint.starts_with("SOURCE is the folder of another store"),
            "{hint}"
        );
    }
}
