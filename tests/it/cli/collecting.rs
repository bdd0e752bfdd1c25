//! `gc` and `df`.

use ipfs_accelerate::StoreReader;
use serde_json::{Value, json};

use super::{Ran, Sandbox, noise};

const MIB: u64 = 1 << 20;

/// A pinned object, and one that shares half of its own with it.
fn two(sandbox: &Sandbox) -> (String, String) {
    let shared = noise(2 << 20, 1);
    sandbox.write("a", [&shared[..], &noise(1 << 20, 2)].concat());
    sandbox.write("b", [&shared[..], &noise(2 << 20, 3)].concat());
    (
        sandbox.add(&["a", "--pin-name", "a"]),
        sandbox.add(&["b", "--no-pin"]),
    )
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

#[test]
fn gc_says_what_goes_and_frees_it() {
    let sandbox = Sandbox::new();
    let (_, b) = two(&sandbox);
    let nothing = sandbox.ok(&["gc"]);
    assert!(
        nothing.starts_with("freed 0 B: 0 packs unlinked, 0 ranges"),
        "{nothing}"
    );
    sandbox.ok(&["rm", &b]);

    let before = number(&sandbox.json(&["df"]), "disk_bytes");
    let planned = sandbox.json(&["gc", "--dry-run"]);
    assert_eq!(planned["dry_run"], true);
    let objects = planned["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["cid"], b.as_str());
    assert_eq!(objects[0]["name"], "b");
    assert_eq!(objects[0]["reason"], "removed");
    assert_eq!(number(&objects[0], "shared_bytes"), 2 * MIB);
    assert!(number(&objects[0], "exclusive_bytes") >= 2 * MIB);
    assert!(number(&planned, "freeable_bytes") >= 2 * MIB);
    assert_eq!(
        number(&sandbox.json(&["df"]), "disk_bytes"),
        before,
        "a plan changes nothing"
    );
    let said = sandbox.ok(&["gc", "-n"]);
    assert!(
        said.contains("removed") && said.contains("would free 2.0"),
        "{said}"
    );

    let done = sandbox.json(&["gc"]);
    assert_eq!(done["objects"], planned["objects"]);
    let freed = number(&done, "freed_bytes");
    assert!(freed >= 2 * MIB);
    assert_eq!(done["pending"], json!([]));
    let after = sandbox.json(&["df"]);
    assert_eq!(number(&after, "disk_bytes"), before - freed);
    assert_eq!(number(&after, "disk_bytes"), number(&done, "used_bytes"));
    assert_eq!(sandbox.run(&["cat", "a"]).stdout.len(), 3 << 20);
    assert_eq!(sandbox.ok(&["gc", "-q"]), "0\n");
}

#[test]
fn gc_takes_unpinned_objects_only_when_told_and_only_after_the_grace_time() {
    let sandbox = Sandbox::new();
    let (_, b) = two(&sandbox);
    let said = sandbox.ok(&["gc", "--unpinned"]);
    assert_eq!(sandbox.ok(&["has", &b]), "yes\n", "it was used today");
    let spared = "1 object without a pin was used within the grace time and stays";
    assert!(said.contains(spared), "{said}");
    for args in [&["gc", "--unpinned"][..], &["gc", "--unpinned", "-n"]] {
        let said = sandbox.json(args);
        assert_eq!(said["spared"], 1, "{said}");
        assert_eq!(said["max_size"], Value::Null, "{said}");
    }
    sandbox.refused(&["gc", "--grace", "30"], "usage");
    let done = sandbox.json(&["gc", "--unpinned", "--grace", "0"]);
    assert_eq!(done["objects"][0]["reason"], "unpinned");
    assert_eq!(sandbox.run(&["has", &b]).code, Some(1));
    assert_eq!(sandbox.ok(&["has", "a"]), "yes\n");
}

#[test]
fn the_grace_time_and_the_quota_come_from_the_configuration() {
    let sandbox = Sandbox::new();
    let (_, b) = two(&sandbox);
    sandbox.ok(&["config", "set", "store.grace", "0s"]);
    sandbox.ok(&["gc", "--unpinned"]);
    assert_eq!(sandbox.run(&["has", &b]).code, Some(1));
    sandbox.ok(&["config", "set", "store.max_size", "8MiB"]);
    for seed in 10..14 {
        sandbox.write("c", noise(3 << 20, seed));
        let added = sandbox.run(&["add", "c", "--no-pin", "--json"]);
        let said: Value = serde_json::from_str(&added.text()).unwrap();
        let notes = said["notes"].as_array().unwrap();
        assert_eq!(notes.len(), usize::from(seed > 10), "{said}");
        let space = sandbox.json(&["df"]);
        assert!(number(&space, "disk_bytes") <= 8 * MIB, "{space}");
        assert_eq!(space["max_size"], 8 * MIB);
    }
    assert_eq!(sandbox.ok(&["has", "a"]), "yes\n");
    sandbox.write("d", noise(6 << 20, 20));
    let ran = sandbox.run(&["add", "d", "--json"]);
    assert_eq!(ran.code, Some(2));
    let error: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!(error["kind"], "quota_exceeded", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("is full: it may take 8.0 MiB, takes "),
        "{message}"
    );
    sandbox.ok(&["config", "set", "store.max_size", "1MiB"]);
    let said = sandbox.ok(&["gc"]);
    assert!(
        said.contains("of the 1.0 MiB that max_size allows"),
        "{said}"
    );
    let said = sandbox.json(&["gc"]);
    assert_eq!(said["max_size"], MIB);
    assert!(number(&said, "used_bytes") > MIB, "{said}");
    let doctor = sandbox.run(&["doctor", "-q"]);
    assert!(
        doctor.text().lines().any(|line| line == "quota"),
        "{}",
        doctor.text()
    );
    assert!(error["hint"].as_str().unwrap().contains("max_size"));
}

#[test]
fn gc_that_meets_an_unreadable_root_stops_and_says_what_to_do() {
    let sandbox = Sandbox::new();
    let (a, b) = two(&sandbox);
    sandbox.ok(&["rm", &b]);
    std::fs::write(sandbox.store().join("roots").join(a), b"x").unwrap();
    let error = sandbox.refused(&["gc", "--dry-run"], "damaged");
    assert!(
        error["hint"].as_str().unwrap().contains("repair"),
        "{error}"
    );
    // Opening for writing says so first.
    let ran = sandbox.run(&["gc"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("; run `repair`"), "{}", ran.stderr);
    sandbox.refused(&["df"], "damaged");
}

#[test]
fn df_tells_exclusive_and_shared_bytes_and_what_a_removal_would_free() {
    let sandbox = Sandbox::new();
    let (a, b) = two(&sandbox);
    let space = sandbox.json(&["df"]);
    let entry = |cid: &str| {
        let entries = space["entries"].as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["cid"] == cid)
            .unwrap()
            .clone()
    };
    assert_eq!(entry(&a)["pins"], json!(["a"]));
    assert_eq!(number(&entry(&a), "shared_bytes"), 2 * MIB);
    assert!((MIB..MIB + 4_096).contains(&number(&entry(&a), "exclusive_bytes")));
    let only_b = sandbox.json(&["df", &b]);
    // Its pack goes as a whole, header and table with it.
    let exclusive = number(&entry(&b), "exclusive_bytes");
    let freeable = number(&only_b, "freeable_bytes");
    assert!(
        (exclusive..exclusive + 131_072).contains(&freeable),
        "{only_b}"
    );
    let both = sandbox.json(&["df", "a", &b]);
    assert!(number(&both, "freeable_bytes") >= 5 * MIB);
    assert_eq!(number(&both, "shared_bytes"), 0);
    let said = sandbox.ok(&["df"]);
    let first = said.lines().next().unwrap();
    assert_eq!(
        first.split_whitespace().collect::<Vec<_>>(),
        ["OBJECT", "NAME", "SIZE", "EXCLUSIVE", "SHARED"]
    );
    assert!(said.contains("on disk"), "{said}");
    sandbox.refused(&["df", "nobody"], "no_such_name");
}

#[test]
fn what_is_in_use_is_pending_before_and_after_a_collection() {
    let sandbox = Sandbox::new();
    let (_, b) = two(&sandbox);
    let reader = StoreReader::open(sandbox.store()).unwrap();
    let file = reader.open_file(&b.parse().unwrap()).unwrap();
    sandbox.ok(&["rm", &b]);
    let is_pending = |said: &Value| {
        assert_eq!(said["objects"], json!([]), "{said}");
        assert_eq!(said["pending"][0]["cid"], b.as_str(), "{said}");
        assert!(number(&said["pending"][0], "bytes") >= 2 * MIB, "{said}");
    };
    is_pending(&sandbox.json(&["gc", "-n"]));
    is_pending(&sandbox.json(&["gc"]));
    // What is there again keeps all of it, so that what is held keeps nothing.
    sandbox.add(&["b", "--no-pin"]);
    for args in [&["gc", "-n"][..], &["gc"]] {
        let said = sandbox.json(args);
        assert_eq!(
            (&said["objects"], &said["pending"]),
            (&json!([]), &json!([]))
        );
        assert!(!sandbox.ok(args).contains("pending"), "{args:?}");
    }
    drop(file);
    let said = sandbox.ok(&["gc", "-n"]);
    let now = sandbox.json(&["ls"])["entries"][0]["last_used"].clone();
    let day = &now.as_str().unwrap()[..11].replace('T', " ");
    assert!(said.contains("replaced") && said.contains(day), "{said}");
}

/// What a command says that made something make way: its notes, which stand on standard error too.
fn notes(ran: &Ran) -> Vec<String> {
    let said: Value = serde_json::from_str(&ran.text()).unwrap();
    let notes = said["notes"].as_array().unwrap_or_else(|| panic!("{said}"));
    let notes = notes.iter().map(|note| note.as_str().unwrap().to_owned());
    let notes: Vec<String> = notes.collect();
    for note in &notes {
        assert!(
            ran.stderr.contains(&format!("note: {note}\n")),
            "{}",
            ran.stderr
        );
    }
    notes
}

#[test]
fn what_made_way_is_said_by_whatever_it_made_way_for() {
    let sandbox = Sandbox::new();
    let other = sandbox.path("other").display().to_string();
    sandbox.write("new", noise(8 << 20, 1));
    sandbox.write("pins.toml", "[pins]\nnew = \"new\"\n");
    sandbox.ok(&["--store", &other, "add", "new"]);
    sandbox.ok(&["config", "set", "store.max_size", "12MiB"]);
    sandbox.write("huge", noise(30 << 20, 2));
    let cid = sandbox.json(&["add", "new", "--only-hash"])["cid"].clone();
    let cid = cid.as_str().unwrap();
    let makes_room = |args: &[&str], code: i32| {
        let _ = std::fs::remove_dir_all(sandbox.store());
        sandbox.write("old", noise(6 << 20, 3));
        sandbox.add(&["old", "--no-pin"]);
        if args[0] == "absorb" {
            sandbox.add(&["new", "--reference"]);
        }
        let ran = sandbox.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        let notes = notes(&ran);
        let [note] = &notes[..] else {
            panic!("{args:?}: {notes:?}");
        };
        assert!(
            note.starts_with("1 unpinned object made room (old)"),
            "{note}"
        );
    };
    makes_room(&["add", "new"], 0);
    makes_room(&["add", "huge"], 2);
    makes_room(&["absorb", cid], 0);
    makes_room(&["sync", &other], 0);
    makes_room(&["pin", "sync", "pins.toml"], 0);
}
