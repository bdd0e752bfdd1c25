//! `ls`, `stat` and `pin ls`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::{HELLO, Sandbox, noise};

#[test]
fn ls_shows_every_object_with_its_pins() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.write("other", noise(2_000_000, 8));
    sandbox.add(&["hello.txt", "--pin-name", "greeting"]);
    let other = sandbox.add(&["other", "--no-pin"]);

    let listed = sandbox.ok(&["ls"]);
    let lines: Vec<_> = listed.lines().collect();
    let heads: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["CID", "NAME", "SIZE", "PINNED", "LAST", "USED"]);
    assert_eq!(lines.len(), 3);
    let row = |cid: &str| -> Vec<_> {
        let line = lines.iter().find(|line| line.starts_with(cid)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row(HELLO)[1..5], ["hello.txt", "11", "B", "greeting"]);
    assert_eq!(row(&other)[1..5], ["other", "1.9", "MiB", "no"]);

    let entries = sandbox.json(&["ls"])["entries"].clone();
    let hello = entries
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["cid"] == HELLO)
        .unwrap();
    let times = [&hello["created"], &hello["last_used"]];
    for time in times {
        assert!(time.as_str().unwrap().starts_with("20") && time.as_str().unwrap().ends_with('Z'));
    }
    let expected = json!({
        "cid": HELLO, "name": "hello.txt", "kind": "file", "size": 11, "profile": "unixfs-v1-2025",
        "pinned": true, "pins": ["greeting"], "created": times[0], "last_used": times[1],
        "damaged_bytes": 0,
    });
    assert_eq!(*hello, expected);
    let unpinned = entries
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["cid"] == other.as_str())
        .unwrap();
    assert_eq!(
        (&unpinned["pinned"], &unpinned["pins"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(sandbox.ok(&["ls", "-q"]).lines().count(), 2);
}

#[test]
fn ls_of_a_folder_shows_what_stands_in_it() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.write("m/sub/inner", "x");
    symlink("hello.txt", sandbox.path("m/link")).unwrap();
    sandbox.add(&["m", "--pin-name", "m"]);
    let listed = sandbox.ok(&["ls", "m"]);
    let rows: Vec<Vec<_>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["KIND", "SIZE", "NAME", "CID"]);
    assert_eq!(rows[1], ["file", "11", "B", "hello.txt", HELLO]);
    assert_eq!(rows[2][3..6], ["link", "->", "hello.txt"]);
    assert_eq!(rows[3][..4], ["folder", "1", "B", "sub"]);
    assert_eq!(rows.len(), 4);

    let entries = sandbox.json(&["ls", "m"])["entries"].clone();
    let hello =
        json!({"name": "hello.txt", "kind": "file", "size": 11, "cid": HELLO, "link": null});
    assert_eq!(entries[0], hello);
    assert_eq!(
        (&entries[1]["kind"], &entries[1]["link"]),
        (&json!("symlink"), &json!("hello.txt"))
    );
    assert_eq!(sandbox.ok(&["ls", "-q", "m/sub"]), "inner\n");
}

#[test]
fn an_empty_folder_and_an_empty_store_are_said_to_be_empty() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("nothing")).unwrap();
    sandbox.ok(&["init"]);
    assert_eq!(sandbox.ok(&["ls"]), "The store is empty.\n");
    assert_eq!(
        sandbox.json(&["ls"]),
        json!({"status": "success", "entries": [], "damaged": []})
    );
    sandbox.add(&["nothing", "--pin-name", "nothing"]);
    assert_eq!(sandbox.ok(&["ls", "nothing"]), "The folder is empty.\n");
}

#[test]
fn a_name_cannot_steer_the_terminal_it_is_listed_on() {
    let sandbox = Sandbox::new();
    sandbox.write("m/a\u{1b}[31mred", "x");
    sandbox.add(&["m", "--pin-name", "m"]);
    let listed = sandbox.ok(&["ls", "m"]);
    assert!(
        !listed.contains('\u{1b}') && listed.contains("a\\u{1b}[31mred"),
        "{listed:?}"
    );
    assert_eq!(
        sandbox.json(&["ls", "m"])["entries"][0]["name"],
        "a\u{1b}[31mred"
    );
}

#[test]
fn stat_of_a_target_says_what_it_is_and_what_keeps_it() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.write("m/big", noise(3_000_000, 9));
    let cid = sandbox.add(&["m", "--pin-name", "model"]);
    let expected = json!({
        "status": "success", "cid": HELLO, "size": 11, "blocks": 1, "kind": "file", "pinned": true,
        "codec": "raw", "hash": "sha2-256", "pins": ["model"], "object": cid,
        "profile": "unixfs-v1-2025", "extents": 1, "damaged_bytes": 0, "referenced_bytes": 0,
    });
    assert_eq!(sandbox.json(&["stat", "model/hello.txt"]), expected);
    let folder = sandbox.json(&["stat", "model"]);
    assert_eq!(folder["size"], 3_000_011);
    // The folder, the small file, the root of the big one and its three leaves.
    assert_eq!(
        (&folder["blocks"], &folder["codec"]),
        (&json!(6), &json!("dag-pb"))
    );

    let shown = sandbox.ok(&["stat", "model/hello.txt"]);
    for line in [
        format!("cid      {HELLO}"),
        "size     11 bytes".into(),
        "pinned   as model".into(),
        format!("part of  {cid}"),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line:?} in\n{shown}"
        );
    }
    assert_eq!(
        sandbox.ok(&["stat", "-q", "model/hello.txt"]),
        format!("{HELLO}\n")
    );
}

#[test]
fn stat_of_the_store_counts_objects_packs_index_and_cache() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(3_000_000, 10));
    sandbox.add(&["big"]);
    sandbox.add(&["big", "--pin-name", "again"]);
    let stat = sandbox.json(&["stat"]);
    assert_eq!(stat["store"], sandbox.store().to_str().unwrap());
    let counts: Vec<_> = ["objects", "pins", "packs", "blocks", "content_bytes"]
        .map(|field| stat[field].as_u64().unwrap())
        .into();
    assert_eq!(counts, [1, 2, 1, 4, 3_000_000]);
    assert!(stat["pack_bytes"].as_u64().unwrap() >= 3_000_000);
    assert!(stat["pack_disk_bytes"].as_u64().unwrap() > 0);
    assert!(stat["index_disk_bytes"].as_u64().unwrap() > 0);
    let cache = json!({
        "hits": 0, "misses": 0, "evictions": 0, "entries": 0, "bytes": 0, "budget_bytes": 500_000_000,
    });
    assert_eq!(stat["cache"], cache);

    let shown = sandbox.ok(&["stat"]);
    assert!(
        shown.contains("objects      1, 2.9 MiB of content"),
        "{shown}"
    );
    assert!(shown.contains("0 hits, 0 misses, 0 evictions"), "{shown}");
}

#[test]
fn pins_are_listed_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "zoo"]);
    sandbox.add(&["hello.txt", "--pin-name", "ant"]);
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "ant\nzoo\n");
    let entries = sandbox.json(&["pin", "ls"])["entries"].clone();
    let created = entries[0]["created"].clone();
    let ant = json!({"name": "ant", "cid": HELLO, "kind": "recursive", "created": created});
    assert_eq!(entries[0], ant);
    assert_eq!(entries.as_array().map(Vec::len), Some(2));
    let table = sandbox.ok(&["pin", "ls"]);
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "CID", "KIND", "CREATED"]);
    assert_eq!(rows[1][..3], ["ant", HELLO, "recursive"]);
    assert_eq!(created, Value::from(rows[1][3]));
}

#[test]
fn one_damaged_file_does_not_hide_the_rest_of_a_listing() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.write("other", noise(200_000, 8));
    sandbox.add(&["hello.txt", "--pin-name", "greeting"]);
    let other = sandbox.add(&["other", "--pin-name", "second"]);
    let name = sandbox.store().join("names/second");
    let mut bytes = fs::read(&name).unwrap();
    bytes[70] ^= 1;
    fs::write(&name, bytes).unwrap();
    for args in [&["ls"][..], &["pin", "ls"]] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert!(ran.text().contains("greeting"), "{}", ran.text());
        let said = &ran.stderr;
        assert!(said.contains("names/second is damaged"), "{said}");
    }
    let json = |args: &[&str]| -> Value {
        let ran = sandbox.run(&[args, &["--json"]].concat());
        serde_json::from_slice(&ran.stdout).unwrap()
    };
    let listed = json(&["ls"]);
    assert_eq!(listed["entries"].as_array().unwrap().len(), 2);
    assert_eq!(listed["damaged"][0]["kind"], "damaged");
    let hint = listed["damaged"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("`repair --drop-names`"), "{hint}");
    assert_eq!(json(&["pin", "ls"])["entries"][0]["name"], "greeting");
    // A name that is wrong is guessed at all the same.
    let ran = sandbox.run(&["cat", "greetin"]);
    assert!(ran.stderr.contains("did you mean"), "{}", ran.stderr);

    let root = sandbox.store().join("roots").join(&other);
    fs::write(&root, "nothing").unwrap();
    let listed = json(&["ls"]);
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    assert_eq!(listed["damaged"].as_array().unwrap().len(), 2);
}

/// A damaged root is spoken of in the log, with the path of its store.
#[test]
fn what_is_logged_is_a_line_whatever_the_store_is_called() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let name = "a\u{1b}[31mred\nERROR all is lost";
    let store = sandbox.path(name);
    let store = store.to_str().unwrap();
    sandbox.ok(&["--store", store, "add", "hello.txt"]);
    let root = sandbox.path(name).join("roots").join(HELLO);
    fs::write(root, "nothing").unwrap();
    let ran = sandbox.run(&["--store", store, "cat", "bafkqaaa"]);
    assert!(ran.stderr.contains(" WARN "), "{}", ran.stderr);
    for line in ran.stderr.lines() {
        let begins = ["error: ", "hint: ", " WARN "].iter();
        assert!(
            begins.clone().any(|begin| line.starts_with(begin)),
            "{line}"
        );
    }
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}

/// What was given a CIDv0 when it was added is called by it, whoever speaks of it.
#[test]
fn an_object_has_the_cid_that_add_gave_it_in_every_command() {
    let sandbox = Sandbox::new();
    sandbox.write("d/x", noise(1_000_000, 9));
    sandbox.write("d/y", "hello world");
    let v0 = ["--profile", "unixfs-v0-2015"];
    let cid = sandbox.add(&[&["d"][..], &v0].concat());
    let part = sandbox.add(&[&["d/x"][..], &v0, &["--pin-name", "x"]].concat());
    assert!(cid.starts_with("Qm") && part.starts_with("Qm"));

    let listed = sandbox.ok(&["ls"]);
    let row = listed.lines().find(|line| line.starts_with(&cid)).unwrap();
    assert!(row.contains("  yes  "), "{row}");
    let space = sandbox.ok(&["df"]);
    let row = space.lines().find(|line| line.starts_with(&cid)).unwrap();
    assert_eq!(row.split_whitespace().nth(1), Some("d"), "{row}");
    let pins = sandbox.json(&["pin", "ls"])["entries"].clone();
    let pinned: Vec<&str> = (0..2).map(|at| pins[at]["cid"].as_str().unwrap()).collect();
    assert_eq!(pinned, [&*cid, &part]);
    assert_eq!(sandbox.ok(&["pin", "add", &cid]), format!("pinned {cid}\n"));
    let named = sandbox.json(&["pin", "add", &cid, "--name", "d"]);
    assert_eq!(named["cid"], cid);
    assert_eq!(sandbox.json(&["pin", "rm", "d"])["cid"], cid);
    let inside = sandbox.json(&["pin", "add", &format!("{cid}/x"), "--name", "also"]);
    assert_eq!(inside["cid"], part);
    let refused = sandbox.refused(&["rm", &cid], "pinned");
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with(&cid), "{message}");
    assert_eq!(sandbox.json(&["rm", &cid, "--unpin"])["cid"], cid);
    let plan = sandbox.json(&["gc", "--dry-run"]);
    assert_eq!(plan["objects"][0]["cid"], cid);
    let found = sandbox.run(&["repair", "--restore", "--json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["findings"][0]["objects"][0]["cid"], cid);
    let names = fs::read_dir(sandbox.store().join("roots")).unwrap();
    for root in names {
        fs::write(root.unwrap().path(), "nothing").unwrap();
    }
    let found = sandbox.run(&["repair", "--dry-run"]).text();
    assert!(found.contains(&format!("\"d\" ({cid})")), "{found}");
}

#[test]
fn a_name_whose_object_has_lost_its_root_is_said_by_a_listing() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "greeting"]);
    fs::remove_file(sandbox.store().join("roots").join(HELLO)).unwrap();
    let is_said = |objects: usize| {
        let ran = sandbox.run(&["ls", "--json"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let said: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
        assert_eq!(said["entries"].as_array().unwrap().len(), objects);
        assert_eq!(said["damaged"][0]["kind"], "name_without_root", "{said}");
        assert!(!sandbox.run(&["ls"]).text().contains("empty"));
    };
    is_said(0);
    sandbox.write("other.txt", "another one");
    sandbox.run(&["add", "other.txt"]);
    is_said(1);
}
