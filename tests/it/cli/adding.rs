//! `add` and `init`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::{HELLO, Sandbox, fixture, noise, with_json};

#[test]
fn add_says_the_cid_what_was_new_and_that_it_is_pinned() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let said = sandbox.ok(&["add", "hello.txt"]);
    assert!(
        said.starts_with(&format!("{HELLO}  hello.txt  (11 B, 11 B new, ")),
        "{said}"
    );
    assert!(said.ends_with(", pinned)\n"), "{said}");
    let again = sandbox.ok(&["add", "hello.txt"]);
    assert!(again.contains("nothing new"), "{again}");

    let added = sandbox.json(&["add", "hello.txt", "--pin-name", "greeting"]);
    let seconds = added["seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0);
    let expected = json!({
        "status": "success", "cid": HELLO, "name": "hello.txt", "kind": "file", "size": 11,
        "new_bytes": 0, "shared_bytes": 11, "referenced_bytes": 0,
            "shared_most_with": null, "blocks": 1, "files": 1, "pin": "greeting",
        "profile": "unixfs-v1-2025", "stored": true, "notes": [], "seconds": seconds,
    });
    assert_eq!(added, expected);
    assert_eq!(
        sandbox.ok(&["add", "-q", "hello.txt"]),
        format!("{HELLO}\n")
    );
}

#[test]
fn add_of_several_paths_prints_one_object_a_line() {
    let sandbox = Sandbox::new();
    let first = sandbox.write("a", "first");
    sandbox.write("b", "second");
    let out = sandbox.ok(&["add", first.to_str().unwrap(), "b", "--json"]);
    let objects: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = objects
        .iter()
        .map(|o| o["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let sizes: Vec<_> = objects
        .iter()
        .map(|o| o["new_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [5, 6]);
    assert_eq!(sandbox.ok(&["add", "a", "b"]).lines().count(), 2);
}

#[test]
fn add_reads_standard_input() {
    let sandbox = Sandbox::new();
    let ran = sandbox.piped(&["add", "-", "--json"], b"hello world");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let added: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!((&added["cid"], &added["name"]), (&json!(HELLO), &json!("")));
    assert_eq!(sandbox.ok(&["cat", HELLO]), "hello world");

    let big = noise(5_000_000, 1);
    let ran = sandbox.piped(&["add", "-q", "--pin-name", "big", "-"], &big);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(sandbox.run(&["cat", "big"]).stdout == big);
}

#[test]
fn only_hash_gives_the_cid_and_leaves_no_store() {
    let sandbox = Sandbox::new();
    sandbox.write("folder/hello.txt", "hello world");
    let folder = sandbox.json(&["add", "--only-hash", "folder"]);
    assert_eq!(
        (&folder["stored"], &folder["pin"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(folder["new_bytes"], 0);
    let ran = sandbox.piped(&["add", "--only-hash", "-q", "-"], b"hello world");
    assert_eq!(ran.text(), format!("{HELLO}\n"));
    assert!(!sandbox.store().exists());
    assert_eq!(sandbox.add(&["folder"]), folder["cid"].as_str().unwrap());
}

#[test]
fn a_profile_changes_the_cid_whether_by_flag_or_configuration() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(400_000, 2));
    let default = sandbox.add(&["--only-hash", "big"]);
    let kubo = sandbox.add(&["--only-hash", "--profile", "kubo-cidv1", "big"]);
    assert_ne!(default, kubo);
    let by_config = sandbox
        .command(["add", "--only-hash", "-q", "big"])
        .env("IPFS_ACCELERATE__STORE__PROFILE", "kubo-cidv1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(by_config.stdout).unwrap().trim(), kubo);
}

#[test]
fn single_settings_change_the_profile_and_are_named_in_it() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(400_000, 2));
    for (args, profile, cid) in [
        (&["--profile", "unixfs-v0-2015"][..], "unixfs-v0-2015", "Qm"),
        (
            &["--hash", "blake3"],
            "unixfs-v1-2025+hash=blake3",
            "bafkr4i",
        ),
        (
            &["--raw-leaves=false"],
            "unixfs-v1-2025+leaves=dag-pb",
            "bafybei",
        ),
        (
            &["--chunker", "size-4096", "--max-links", "9"],
            "unixfs-v1-2025+chunk=size-4096+links=9",
            "bafybei",
        ),
        (
            &[
                "--profile",
                "unixfs-v0-2015",
                "--raw-leaves",
                "--chunker",
                "tensor-v1",
            ],
            "unixfs-v0-2015+chunk=tensor-v1+leaves=raw",
            "bafkrei",
        ),
        (
            &[
                "--cid-version",
                "1",
                "--profile",
                "unixfs-v0-2015",
                "--hash=blake3",
            ],
            "unixfs-v0-2015+hash=blake3+cid=1",
            "bafyb4i",
        ),
    ] {
        let args: Vec<&str> = ["add", "big"].iter().chain(args).copied().collect();
        let added = sandbox.json(&args);
        assert_eq!(added["profile"], profile);
        let found = added["cid"].as_str().unwrap();
        assert!(found.starts_with(cid), "{args:?}: {found}");
        let again = sandbox.add(&["--only-hash", "--profile", profile, "big"]);
        assert_eq!(again, found, "the name stands for all of it");
        let out = sandbox.command(["cat", found]).output().unwrap();
        assert!(out.stdout == noise(400_000, 2), "{args:?}");
    }
}

#[test]
fn a_file_of_cid_v0_is_pinned_listed_and_removed_by_it() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let said = sandbox.ok(&["add", "--profile", "unixfs-v0-2015", "hello.txt"]);
    let cid = said.split_whitespace().next().unwrap();
    assert_eq!(cid, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD");
    assert!(said.ends_with(", pinned)\n"), "{said}");
    let listed = sandbox.json(&["ls"]);
    assert_eq!(listed["entries"][0]["cid"], cid);
    assert_eq!(listed["entries"][0]["pinned"], true);
    assert_eq!(sandbox.json(&["stat", cid])["pinned"], true);
    assert_eq!(sandbox.ok(&["cat", cid]), "hello world");
    sandbox.ok(&["rm", cid, "--unpin"]);
    assert_eq!(sandbox.run(&["has", cid]).code, Some(1));
}

#[test]
fn a_checkpoint_that_will_load_by_copying_is_mentioned() {
    let sandbox = Sandbox::new();
    let model = fixture("silero-vad");
    let ran = sandbox.run(&["add", "--profile", "unixfs-v0-2015", &model]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.starts_with("warning: 1 safetensors file"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("load by copying"), "{}", ran.stderr);
}

#[test]
fn what_is_ignored_or_hidden_stays_out_and_is_mentioned() {
    let sandbox = Sandbox::new();
    sandbox.write("m/config.json", "{}");
    sandbox.write("m/pytorch_model.bin", "pickle");
    sandbox.write("m/logs/a.txt", "log");
    sandbox.write("m/.git/HEAD", "ref");
    let args = [
        "add",
        "m",
        "--ignore",
        "*.bin",
        "--ignore",
        "logs",
        "--pin-name",
        "m",
    ];
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr
            .starts_with("note: 1 hidden entry was left out (m/.git)"),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.ok(&["ls", "m", "-q"]), "config.json\n");
    let noted = sandbox.run(&["add", "m", "--json"]);
    let noted: Value = serde_json::from_str(&noted.text()).unwrap();
    assert!(noted["notes"][0].as_str().unwrap().contains("--hidden"));

    sandbox.ok(&["add", "m", "--hidden", "--pin-name", "all"]);
    let listed = sandbox.ok(&["ls", "all", "-q"]);
    assert_eq!(listed, ".git\nconfig.json\nlogs\npytorch_model.bin\n");
    // Quiet leaves notes out.
    assert_eq!(sandbox.run(&["add", "m", "-q"]).stderr, "");
}

#[test]
fn links_out_of_the_folder_are_warned_of_and_followed_on_request() {
    let sandbox = Sandbox::new();
    sandbox.write("blob", "hello world");
    fs::create_dir(sandbox.path("m")).unwrap();
    symlink("../blob", sandbox.path("m/file")).unwrap();
    for quiet in [false, true] {
        let args: &[&str] = if quiet {
            &["add", "-q", "m"]
        } else {
            &["add", "m"]
        };
        let ran = sandbox.run(args);
        assert_eq!(ran.code, Some(0));
        assert!(
            ran.stderr
                .starts_with("warning: 1 symbolic link leads out of the folder (m/file)"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("--dereference-symlinks"),
            "{}",
            ran.stderr
        );
    }
    sandbox.ok(&[
        "add",
        "m",
        "--dereference-symlinks",
        "--pin-name",
        "followed",
    ]);
    assert_eq!(sandbox.ok(&["cat", "followed/file"]), "hello world");
}

#[test]
fn a_hugging_face_snapshot_is_followed_to_its_blobs_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("models--a--b/blobs/0123", "hello world");
    let snapshot = sandbox.path("models--a--b/snapshots/rev");
    fs::create_dir_all(&snapshot).unwrap();
    symlink("../../blobs/0123", snapshot.join("hello.txt")).unwrap();
    let ran = sandbox.run(&["add", snapshot.to_str().unwrap(), "--pin-name", "hf"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr
            .starts_with("note: a Hugging Face snapshot: 1 link was followed"),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.ok(&["cat", "hf/hello.txt"]), "hello world");
}

#[test]
fn a_pin_name_moves_with_replace_only() {
    let sandbox = Sandbox::new();
    sandbox.write("one", "1");
    sandbox.write("two", "2");
    sandbox.ok(&["add", "one", "--pin-name", "n"]);
    let error = sandbox.refused(&["add", "two", "--pin-name", "n"], "name_taken");
    assert!(error["hint"].as_str().unwrap().contains("--replace"));
    assert_eq!(sandbox.ok(&["cat", "n"]), "1");
    sandbox.ok(&["add", "two", "--pin-name", "n", "--replace"]);
    assert_eq!(sandbox.ok(&["cat", "n"]), "2");
}

#[test]
fn a_damaged_name_is_set_anew_with_replace_only() {
    let sandbox = Sandbox::new();
    sandbox.write("one", "1");
    sandbox.write("two", "2");
    sandbox.ok(&["add", "one", "--pin-name", "n"]);
    let two = sandbox.add(&["two", "--no-pin"]);
    let name = sandbox.store().join("names/n");
    let good = fs::read(&name).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[at] ^= 0x20;
        for args in [
            &["add", "two", "--pin-name", "n"][..],
            &["pin", "add", &two, "--name", "n"],
        ] {
            fs::write(&name, &damaged).unwrap();
            // That it is damaged is said at the opening too.
            let ran = sandbox.run(args);
            assert_eq!(ran.code, Some(2), "{}", ran.stderr);
            let hint = "hint: `repair` puts the name right, as far as that can be; --replace";
            assert!(ran.stderr.contains(hint), "{}", ran.stderr);
            assert!(fs::read(&name).unwrap() == damaged);
            let ran = sandbox.run(&[args, &["--replace"]].concat());
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert_eq!(sandbox.ok(&["cat", "n"]), "2");
        }
    }
}

#[test]
fn without_a_pin_add_says_so() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    assert!(
        sandbox
            .ok(&["add", "--no-pin", "hello.txt"])
            .ends_with(", not pinned)\n")
    );
    assert_eq!(sandbox.ok(&["pin", "ls"]), "There are no pins.\n");
}

#[test]
fn of_several_paths_the_earlier_ones_stay_when_a_later_one_fails() {
    let sandbox = Sandbox::new();
    sandbox.write("good", "hello world");
    sandbox.write("bad/file", "x");
    symlink("loop", sandbox.path("bad/loop")).unwrap();
    let ran = sandbox.run(&["add", "--dereference-symlinks", "good", "bad", "--json"]);
    assert_eq!(ran.code, Some(2));
    let objects: Vec<Value> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["cid"], HELLO);
    assert_eq!(objects[1]["status"], "error");
    assert_eq!(sandbox.ok(&["ls", "-q"]), format!("{HELLO}\n"));
}

#[test]
fn a_path_that_is_missing_is_found_before_anything_is_added() {
    let sandbox = Sandbox::new();
    sandbox.write("good", "hello world");
    let error = sandbox.refused(&["add", "good", "missing"], "file_not_found");
    assert!(error["message"].as_str().unwrap().contains("missing"));
    assert!(!sandbox.store().exists());
}

#[test]
fn init_makes_an_empty_store_once() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().display().to_string();
    assert_eq!(
        sandbox.ok(&["init"]),
        format!("created an empty store at {store}, profile unixfs-v1-2025\n")
    );
    assert_eq!(sandbox.ok(&["ls"]), "The store is empty.\n");
    sandbox.refused(&["init"], "store_exists");

    let other = sandbox.path("other").display().to_string();
    let made = sandbox.json(&["init", "--store", &other]);
    let expected = json!({
        "status": "success", "store": other, "profile": "unixfs-v1-2025",
    });
    assert_eq!(made, expected);
}

#[test]
fn init_with_a_profile_makes_later_adds_use_it() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(400_000, 3));
    let made = sandbox.json(&["init", "--profile", "kubo-cidv1"]);
    assert_eq!(made["profile"], "kubo-cidv1");
    // It is the store's, and no other store is touched by it.
    assert!(!sandbox.path(".config/ipfs-accelerate/config.toml").exists());
    let added = sandbox.json(&["add", "big"]);
    assert_eq!(added["profile"], "kubo-cidv1");
    assert_eq!(
        sandbox
            .run(&with_json(&["init", "--profile", "nonsense"]))
            .code,
        Some(2)
    );
}
