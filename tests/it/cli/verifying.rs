//! `verify`: what it prints, what it puts on record, and its exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Sandbox, noise};

/// A store with one file of three chunks, the middle one of which the disk changed.
fn damaged() -> (Sandbox, String, Vec<u8>) {
    let sandbox = Sandbox::new();
    let content = noise(3 << 20, 1);
    sandbox.write("model/weights", &content);
    let cid = sandbox.add(&["model", "--pin-name", "m"]);
    let pack = fs::read_dir(sandbox.store().join("packs")).unwrap();
    let pack = pack.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let chunk = &content[1 << 20..(1 << 20) + 4096];
    let at = bytes.windows(4096).position(|w| w == chunk).unwrap();
    bytes[at + 7] ^= 1;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&pack, bytes).unwrap();
    (sandbox, cid, content)
}

#[test]
fn a_whole_store_is_said_to_be_one() {
    let sandbox = Sandbox::new();
    sandbox.write("model/weights", noise(3 << 20, 1));
    sandbox.add(&["model", "--pin-name", "m"]);
    let text = sandbox.ok(&["verify"]);
    assert!(
        text.starts_with("nothing is damaged: 5 blocks in 1 object and 1 pack"),
        "{text}"
    );
    assert_eq!(sandbox.ok(&["-q", "verify"]), "");
    let json = sandbox.json(&["verify", "m/weights"]);
    assert_eq!(json["findings"], serde_json::json!([]));
    assert_eq!(
        (&json["blocks"], &json["of_blocks"]),
        (&json["of_blocks"], &Value::from(5))
    );
    assert_eq!(
        (&json["complete"], &json["recorded"]),
        (&true.into(), &true.into())
    );
    let text = sandbox.ok(&["verify", "--sample", "20%"]);
    assert!(text.contains("1 of 5 blocks"), "{text}");
    let json = sandbox.json(&["verify", "--read-only"]);
    assert_eq!(json["recorded"], false);
    sandbox.refused(&["verify", "nothing"], "no_such_name");
    for bad in ["0%", "200%", "some"] {
        let ran = sandbox.run(&["verify", "--sample", bad]);
        assert_eq!(ran.code, Some(2), "{bad}");
        assert!(ran.stderr.contains("5%"), "{}", ran.stderr);
    }
}

#[test]
fn damage_is_shown_with_its_file_recorded_and_refused() {
    let (sandbox, cid, content) = damaged();
    let ran = sandbox.run(&["verify", "--read-only", "--json"]);
    assert_eq!(ran.code, Some(1));
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!(
        (&json["status"], &json["recorded"]),
        (&"success".into(), &false.into())
    );
    assert!(
        sandbox.run(&["cat", "m/weights"]).code == Some(0),
        "nothing is on record yet"
    );

    let ran = sandbox.run(&["verify"]);
    assert_eq!(ran.code, Some(1));
    let text = ran.text();
    assert!(text.starts_with("1 finding: "), "{text}");
    for word in ["corrupt block", "model/weights", ".pack at "] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(
        ran.stderr.contains("note: what is damaged is recorded"),
        "{}",
        ran.stderr
    );

    let ran = sandbox.run(&["verify", "--json"]);
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["kind"], "corrupt_block");
    assert_eq!(finding["affected"][0]["object"], cid.as_str());
    assert_eq!(finding["affected"][0]["name"], "model");
    assert_eq!(finding["affected"][0]["path"], "weights");
    assert_eq!(finding["len"], 1 << 20);
    assert_eq!(finding["expected"], finding["block"]);
    assert_ne!(finding["found"], finding["block"]);
    assert_eq!(sandbox.run(&["verify", "-q"]).text(), format!("{cid}\n"));

    let ran = sandbox.run(&["cat", "m/weights"]);
    assert_eq!((ran.code, &ran.stdout[..]), (Some(2), &content[..1 << 20]));
    assert!(ran.stderr.contains("recorded as damaged"), "{}", ran.stderr);
    let error = sandbox.refused(&["get", "m", "-o", "out"], "known_damage");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("verify --heal"), "{hint}");
    let stat = sandbox.json(&["stat", "m"]);
    assert_eq!(stat["damaged_bytes"], 1 << 20);
    let ran = sandbox.run(&["has", "m/weights"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "yes\n"));
    assert!(
        ran.stderr.starts_with("warning: 1.0 MiB of it"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.run(&["ls"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.starts_with("warning: 1.0 MiB of "),
        "{}",
        ran.stderr
    );

    sandbox.add(&["model"]);
    assert_eq!(sandbox.run(&["cat", "m/weights"]).stdout, content);
    let ran = sandbox.run(&["verify"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("nothing needs 1 damaged block"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_locked_store_is_verified_by_reading_only() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "content");
    sandbox.add(&["f"]);
    let held = ipfs_accelerate::Store::open(sandbox.store()).unwrap();
    let error = sandbox.refused(&["verify"], "locked");
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("verify --read-only"),
        "{error}"
    );
    sandbox.ok(&["verify", "--read-only"]);
    drop(held);
}

#[test]
fn damaged_blocks_are_healed_from_the_original() {
    let (sandbox, cid, content) = damaged();
    sandbox.refused(&["verify", "--heal", "nowhere"], "file_not_found");
    let ran = sandbox.run(&["verify", "--heal", "model", "--read-only"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    sandbox.write("other/weights", noise(3 << 20, 2));
    let ran = sandbox.run(&["verify", "--json", "--heal", "other"]);
    assert_eq!(ran.code, Some(1));
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!(json["healed"], serde_json::json!([]));
    assert_eq!(json["left"], json["findings"]);

    let ran = sandbox.run(&["verify", "--json", "--heal", "other", "--heal", "model"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!(json["left"], serde_json::json!([]));
    assert_eq!(json["healed"][0]["block"], json["findings"][0]["block"]);
    assert_eq!(json["healed"][0]["by"], "file");
    assert_eq!(json["heal_error"], Value::Null);
    for field in ["affected", "file", "offset", "len"] {
        assert_eq!(json["healed"][0][field], json["findings"][0][field]);
    }
    let from = json["healed"][0]["from"].as_str().unwrap();
    assert!(from.ends_with("model/weights"), "{from}");
    assert_eq!(sandbox.run(&["cat", "m/weights"]).stdout, content);
    assert_eq!(
        sandbox.json(&["pin", "ls"])["entries"][0]["cid"],
        cid.as_str()
    );
    sandbox.ok(&["gc"]);
    sandbox.ok(&["verify"]);
    let text = sandbox.ok(&["verify", "--heal", "model"]);
    assert!(text.contains("healed 0 blocks"), "{text}");
}

#[test]
fn what_was_healed_is_named_with_its_file_its_place_and_where_it_came_from() {
    let (sandbox, _, _) = damaged();
    let text = sandbox.ok(&["verify", "--heal", "model"]);
    let healed: Vec<&str> = text.lines().skip(1).collect();
    assert!(
        healed[0].starts_with("healed 1 block, 1.0 MiB written"),
        "{text}"
    );
    for column in ["HEALED", "IN", "BLOCK", "WAS", "FROM"] {
        assert!(healed[1].contains(column), "{text}");
    }
    for word in [
        "corrupt block",
        "model/weights",
        ".pack at ",
        "model/weights",
    ] {
        assert!(healed[2].contains(word), "{word}: {text}");
    }
    assert!(healed[2].trim_end().ends_with("model/weights"), "{text}");
}

#[test]
fn a_source_that_has_nothing_is_named() {
    let (sandbox, _, _) = damaged();
    sandbox.write("other/weights", noise(3 << 20, 2));
    let ran = sandbox.run(&["verify", "--heal", "other"]);
    assert_eq!(ran.code, Some(1));
    let note = "note: there are no good bytes for what is left in other: `sync` takes it";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let ran = sandbox.run(&["verify", "--heal"]);
    let note = "note: the store has no other good bytes for what is left; --heal FROM";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
}

#[test]
fn what_was_found_is_told_though_the_healing_fails() {
    let (sandbox, cid, content) = damaged();
    // It passes for a store, and is none that can be read.
    sandbox.write("broken/FORMAT", "nothing");
    let ran = sandbox.run(&["verify", "--heal", "broken"]);
    let text = ran.text();
    assert_eq!(ran.code, Some(1), "{text} {}", ran.stderr);
    for word in [
        "1 finding",
        "corrupt block",
        "model/weights",
        "the healing failed",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(ran.stderr.starts_with("warning: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("broken/FORMAT"), "{}", ran.stderr);
    let ran = sandbox.run(&["verify", "--heal", "broken", "--json"]);
    let json: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!(json["heal_error"]["kind"], "damaged");
    assert_eq!(
        (&json["healed"], &json["left"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(json["findings"][0]["affected"][0]["object"], cid.as_str());
    sandbox.ok(&["verify", "--heal", "model"]);
    assert_eq!(sandbox.run(&["cat", "m/weights"]).stdout, content);
}

#[test]
fn what_shares_a_damaged_block_is_healed_from_the_store_itself_once_it_was_written_anew() {
    let (sandbox, _, content) = damaged();
    sandbox.write("tuned/weights", &content);
    sandbox.write("tuned/notes", "tuned");
    sandbox.add(&["tuned", "--pin-name", "tuned"]);
    assert_eq!(sandbox.run(&["verify"]).code, Some(1));
    let ran = sandbox.run(&["verify", "--heal", "--json"]);
    assert_eq!(
        ran.code,
        Some(1),
        "the store has no good bytes yet: {}",
        ran.stderr
    );

    let ran = sandbox.run(&["add", "model"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let note = "note: 1 object has bytes on record as damaged (tuned); `verify --heal`";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["cat", "tuned/weights"]).code, Some(2));
    let healed = sandbox.json(&["verify", "tuned", "--heal"]);
    assert_eq!(healed["healed"][0]["by"], "stored");
    assert_eq!(healed["left"], serde_json::json!([]));
    assert_eq!(sandbox.run(&["cat", "tuned/weights"]).stdout, content);
    // With nothing on record there is nothing to say.
    sandbox.write("more", "more");
    assert_eq!(sandbox.run(&["add", "more"]).stderr, "");
}

/// A store whose pack has a damaged header, and no index.
fn without_header() -> (Sandbox, String) {
    let (sandbox, _, _) = damaged();
    let pack = fs::read_dir(sandbox.store().join("packs")).unwrap();
    let pack = pack.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[30] ^= 1;
    fs::write(&pack, bytes).unwrap();
    fs::remove_dir_all(sandbox.store().join("db")).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    (sandbox, name)
}

#[test]
fn a_damaged_pack_is_told_once_and_by_verify_as_a_finding_only() {
    let (sandbox, pack) = without_header();
    let times = |text: &str| text.lines().filter(|line| line.contains(&pack)).count();
    for command in [&["verify"][..], &["verify", "m"]] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, Some(1));
        assert!(times(&ran.text()) >= 1, "{}", ran.text());
        assert_eq!(times(&ran.stderr), 0, "{}", ran.stderr);
    }
    // The others warn of it, whether the index knows the pack or not.
    for _ in 0..2 {
        sandbox.write("other", noise(100, 2));
        let ran = sandbox.run(&["add", "other"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(times(&ran.stderr), 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("; run `repair`"), "{}", ran.stderr);
    }
}
