//! `rm`, `pin add` and `pin rm`.

use serde_json::json;

use super::{HELLO, Sandbox, noise};

#[test]
fn rm_refuses_what_is_pinned_and_names_the_pin() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "greeting"]);
    let error = sandbox.refused(&["rm", HELLO], "pinned");
    assert_eq!(error["message"], format!("{HELLO} is pinned as greeting"));
    assert!(error["hint"].as_str().unwrap().contains("--unpin"));

    let said = sandbox.ok(&["rm", "greeting", "--unpin"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("removed {HELLO}, unpinned greeting"));
    assert_eq!(lines[1], "`gc` will free 4.0 KiB");
    let planned = sandbox.ok(&["gc", "--dry-run"]);
    assert!(
        planned.contains("would free 4.0 KiB of 4.0 KiB, 1 pack as a whole"),
        "{planned}"
    );
    assert_eq!(sandbox.run(&["has", HELLO]).code, Some(1));
    let said = "There is no object; the packs take 4.0 KiB, and `df` says what for.\n";
    assert_eq!(sandbox.ok(&["ls"]), said);
    sandbox.ok(&["gc"]);
    assert_eq!(sandbox.ok(&["ls"]), "The store is empty.\n");
}

#[test]
fn rm_says_how_much_goes_and_how_much_others_share() {
    let sandbox = Sandbox::new();
    let shared = noise(1 << 20, 11);
    sandbox.write("a", [&shared[..], &noise(1000, 12)].concat());
    sandbox.write("b", [&shared[..], &noise(2000, 13)].concat());
    let a = sandbox.add(&["a", "--no-pin"]);
    sandbox.add(&["b", "--no-pin"]);
    let removed = sandbox.json(&["rm", &a]);
    assert_eq!(removed["cid"], a.as_str());
    assert_eq!(removed["unpinned"], json!([]));
    assert_eq!(removed["freed_bytes"], 0);
    assert_eq!(removed["shared_bytes"], 1 << 20);
    // The tail, and the node above it.
    let own = removed["freeable_bytes"].as_u64().unwrap()
        + removed["not_freeable_bytes"].as_u64().unwrap();
    assert!((1000..8192).contains(&own), "{removed}");
}

#[test]
fn by_one_of_its_names_an_object_is_not_removed_with_the_others() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "mine"]);
    sandbox.ok(&["pin", "add", HELLO, "--name", "theirs"]);
    let error = sandbox.refused(&["rm", "mine", "--unpin"], "other_names");
    assert_eq!(
        error["message"],
        format!("\"mine\" is {HELLO}, which is pinned as theirs too")
    );
    let hint = error["hint"].as_str().unwrap();
    assert!(
        hint.contains("`pin rm mine`") && hint.contains(HELLO),
        "{hint}"
    );
    assert_eq!(sandbox.ok(&["cat", "theirs"]), "hello world");
    sandbox.ok(&["rm", HELLO, "--unpin"]);
    assert_eq!(sandbox.ok(&["pin", "ls"]), "There are no pins.\n");
}

#[test]
fn only_whole_objects_are_removed() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.add(&["m", "--no-pin"]);
    sandbox.refused(&["rm", HELLO], "not_an_object");
}

#[test]
fn a_pin_is_added_moved_and_removed_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.write("other", "other");
    sandbox.add(&["hello.txt", "--no-pin"]);
    let other = sandbox.add(&["other", "--no-pin"]);

    let said = sandbox.ok(&["pin", "add", HELLO, "--name", "n"]);
    assert_eq!(said, format!("pinned {HELLO} as \"n\"\n"));
    sandbox.refused(&["pin", "add", &other, "--name", "n"], "name_taken");
    let moved = sandbox.json(&["pin", "add", &other, "--name", "n", "--replace"]);
    let created = moved["created"].clone();
    let expected = json!({
        "status": "success", "name": "n", "cid": other, "kind": "recursive", "created": created,
    });
    assert_eq!(moved, expected);
    assert_eq!(sandbox.ok(&["cat", "n"]), "other");

    assert_eq!(
        sandbox.ok(&["pin", "add", "-q", HELLO]),
        format!("{HELLO}\n")
    );
    assert_eq!(sandbox.json(&["pin", "rm", "n"])["cid"], other.as_str());
    let said = sandbox.ok(&["pin", "rm", HELLO]);
    assert_eq!(said, format!("removed the pin \"{HELLO}\" of {HELLO}\n"));
    assert_eq!(sandbox.ok(&["pin", "ls"]), "There are no pins.\n");
    sandbox.refused(&["pin", "rm", "n"], "not_pinned");
    assert_eq!(sandbox.ok(&["has", HELLO]), "yes\n");
}

#[test]
fn a_file_inside_an_object_can_be_pinned_and_outlives_it() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    let m = sandbox.add(&["m", "--no-pin"]);
    sandbox.ok(&["pin", "add", &format!("{m}/hello.txt"), "--name", "hello"]);
    sandbox.ok(&["rm", &m]);
    assert_eq!(sandbox.ok(&["cat", "hello"]), "hello world");
}

#[test]
fn a_name_that_cannot_be_a_pins_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    for name in ["a/b", ".hidden", ""] {
        sandbox.refused(&["pin", "add", HELLO, "--name", name], "bad_name");
        sandbox.refused(&["add", "hello.txt", "--pin-name", name], "bad_name");
    }
}
