//! `add --reference` and `absorb`.

use std::fs;

use serde_json::json;

use super::{HELLO, Sandbox, noise};

#[test]
fn what_is_referenced_is_told_from_what_is_stored() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("model", noise(3 << 20, 1));
    let said = sandbox.ok(&["add", "--reference", "model"]);
    assert!(said.contains("(3.0 MiB, 3.0 MiB referenced, "), "{said}");
    let again = sandbox.json(&["add", "--reference", "model"]);
    assert_eq!(
        (&again["new_bytes"], &again["referenced_bytes"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(again["shared_bytes"], 3 << 20);
    let cid = again["cid"].as_str().unwrap();

    let stat = sandbox.json(&["stat", cid]);
    assert_eq!(
        (&stat["size"], &stat["referenced_bytes"]),
        (&json!(3 << 20), &json!(3 << 20))
    );
    assert!(
        sandbox
            .ok(&["stat", cid])
            .contains("\nreferenced  3.0 MiB (3145728 bytes)\n")
    );
    let stat = sandbox.json(&["stat"]);
    assert_eq!(stat["referenced_bytes"], 3 << 20);
    assert!(stat["pack_disk_bytes"].as_u64().unwrap() < 64 << 10);
    assert!(
        sandbox
            .ok(&["stat"])
            .contains("\nreferenced   3.0 MiB in files outside\n")
    );

    let removed = sandbox.json(&["rm", "--unpin", cid]);
    assert!(
        removed["freeable_bytes"].as_u64().unwrap() <= 8 << 10,
        "{removed}"
    );
    sandbox.ok(&["gc"]);
    assert!(fs::read(path).unwrap() == noise(3 << 20, 1));
}

#[test]
fn absorb_says_what_it_copied() {
    let sandbox = Sandbox::new();
    sandbox.write("m/model", noise(3 << 20, 2));
    sandbox.write("m/config.json", "{}");
    let added = sandbox.json(&["add", "--reference", "--pin-name", "m", "m"]);
    let cid = added["cid"].as_str().unwrap();
    let part = sandbox.json(&["absorb", "m/config.json"]);
    assert_eq!(part["copied_bytes"], 2);
    let said = sandbox.ok(&["absorb", "m"]);
    assert!(
        said.starts_with(&format!("{cid}  (3.0 MiB copied, 1 object rewritten, ")),
        "{said}"
    );
    let again = sandbox.json(&["absorb", "m"]);
    assert_eq!(again["cid"], cid);
    for (field, value) in [("referenced_bytes", 0), ("copied_bytes", 0), ("objects", 0)] {
        assert_eq!(again[field], value);
    }
    assert_eq!(
        sandbox.ok(&["absorb", "m"]),
        format!("{cid} refers to no file outside the store\n")
    );
    fs::remove_dir_all(sandbox.path("m")).unwrap();
    sandbox.ok(&["get", "m", "-o", "out"]);
    assert!(fs::read(sandbox.path("out/model")).unwrap() == noise(3 << 20, 2));
}

#[test]
fn a_file_that_is_not_as_it_was_is_named_with_its_object() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("m/hello.txt", "hello world");
    let cid = sandbox.add(&["--reference", "m"]);
    fs::write(&path, "hello there").unwrap();
    let target = format!("{cid}/hello.txt");
    for args in [vec!["absorb", &cid], vec!["get", &target, "-o", "out"]] {
        let error = sandbox.refused(&args, "source_differs");
        let message = error["message"].as_str().unwrap();
        for part in [cid.as_str(), path.to_str().unwrap(), HELLO] {
            assert!(message.contains(part), "{message}");
        }
        assert!(
            error["hint"]
                .as_str()
                .unwrap()
                .contains("put the file back")
        );
    }
    let ran = sandbox.run(&["cat", &target]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("hint: put the file back"),
        "{}",
        ran.stderr
    );
    fs::remove_file(&path).unwrap();
    sandbox.refused(&["absorb", &cid], "source_gone");
    sandbox.refused(&["absorb", "no such name"], "no_such_name");
    fs::write(&path, "hello world").unwrap();
    assert_eq!(sandbox.ok(&["cat", &target]), "hello world");
}

#[test]
fn what_cannot_be_referred_to_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.ok(&["init"]);
    let framed = [
        "add",
        "--reference",
        "--profile",
        "unixfs-v0-2015",
        "hello.txt",
    ];
    let error = sandbox.refused(&framed, "not_referable");
    assert!(error["hint"].as_str().unwrap().contains("unixfs-v1-2025"));
    sandbox.refused(&["add", "--reference", "-"], "not_referable");
    sandbox.refused(&["add", "--reference", "store"], "not_referable");
    sandbox.refused(&["add", "--reference", "--only-hash", "hello.txt"], "usage");
}

#[test]
fn a_file_that_is_gone_is_one_finding_with_its_whole_path_and_nothing_is_said_to_be_recorded() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("m/weights", noise(3 << 20, 1));
    sandbox.add(&["--reference", "m"]);
    fs::remove_file(&path).unwrap();
    let ran = sandbox.run(&["verify"]);
    assert_eq!(ran.code, Some(1));
    let text = ran.text();
    assert!(text.starts_with("1 finding: "), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let row = text.lines().last().unwrap();
    for part in ["m/weights", "3 blocks", path.to_str().unwrap()] {
        assert!(row.contains(part), "{part}: {text}");
    }
    assert!(
        ran.stderr.contains("nothing is recorded of them"),
        "{}",
        ran.stderr
    );
    assert!(
        !ran.stderr.contains("is recorded, and refused"),
        "{}",
        ran.stderr
    );
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.run(&["verify", "--json"]).text()).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 3);
}
