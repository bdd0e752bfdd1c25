//! `check`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::{HELLO, Ran, Sandbox, fixture, noise, with_json};

const V0: &str = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD";
const OTHER: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.text()).unwrap()
}

/// The CID that an add prints, which may say something on standard error too.
fn hashed(sandbox: &Sandbox, args: &[&str]) -> String {
    let args: Vec<&str> = ["add", "-q", "--only-hash"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
    ran.text().trim_end().to_owned()
}

/// Runs a check that finds no match.
fn no_match(sandbox: &Sandbox, args: &[&str]) -> (String, Value) {
    let ran = sandbox.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{args:?}");
    let in_json = sandbox.run(&with_json(args));
    assert_eq!((in_json.code, in_json.stderr.as_str()), (Some(1), ""));
    (ran.text(), json_of(&in_json))
}

#[test]
fn a_match_names_the_profile_and_needs_no_store() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let said = sandbox.ok(&["check", "hello.txt", V0]);
    assert!(
        said.starts_with(&format!(
            "match: hello.txt is {V0} under unixfs-v0-2015  (11 B, "
        )),
        "{said}"
    );
    for cid in [
        HELLO.to_owned(),
        format!("/ipfs/{HELLO}"),
        format!("ipfs://{HELLO}/"),
        "f01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9".to_owned(),
    ] {
        let found = sandbox.json(&["check", "hello.txt", &cid]);
        assert_eq!(found["profile"], "unixfs-v1-2025", "{cid}");
    }
    let found = sandbox.json(&["check", "hello.txt", HELLO]);
    let seconds = found["seconds"].as_f64().unwrap();
    let computed = found["computed"].as_object().unwrap();
    assert_eq!(computed.len(), 10);
    assert_eq!(computed["unixfs-v0-2015"], V0);
    let expected = json!({
        "status": "success", "match": true, "profile": "unixfs-v1-2025", "cid": HELLO,
        "name": "hello.txt", "kind": "file", "size": 11, "files": 1, "computed": computed,
        "differences": null, "notes": [], "seconds": seconds,
    });
    assert_eq!(found, expected);
    assert_eq!(sandbox.ok(&["check", "-q", "hello.txt", HELLO]), "");
    assert!(!sandbox.store().exists());
}

#[test]
fn no_match_prints_the_cid_under_each_profile_with_exit_code_1() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let (said, found) = no_match(&sandbox, &["check", "hello.txt", OTHER]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with(&format!("no match: hello.txt is not {OTHER}  (")),
        "{said}"
    );
    assert!(
        lines[1].starts_with("PROFILE ") && lines[1].ends_with("  CID"),
        "{said}"
    );
    assert_eq!(lines.len(), 12, "{said}");
    for line in &lines[2..] {
        let (profile, cid) = line.split_once(' ').unwrap();
        let added = sandbox.add(&["--only-hash", "--profile", profile, "hello.txt"]);
        assert_eq!(cid.trim(), added);
        assert_eq!(found["computed"][profile], added);
    }
    assert_eq!(
        (&found["match"], &found["profile"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        (&found["status"], &found["differences"]),
        (&json!("success"), &Value::Null)
    );
    let quiet = sandbox.run(&["check", "-q", "hello.txt", OTHER]);
    assert_eq!((quiet.code, quiet.text().as_str()), (Some(1), ""));
    // In the order of the profiles, also as JSON.
    let text = sandbox.run(&["check", "--json", "hello.txt", OTHER]).text();
    let at = |name: &str| text.find(&format!("\"{name}\":")).unwrap();
    assert!(at("unixfs-v1-2025") < at("unixfs-v0-2015") && at("unixfs-v0-2015") < at("kubo-cidv1"));
}

#[test]
fn standard_input_is_checked_as_a_file() {
    let sandbox = Sandbox::new();
    let ran = sandbox.piped(&["check", "-", HELLO, "--json"], b"hello world");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        (&json_of(&ran)["match"], &json_of(&ran)["name"]),
        (&json!(true), &json!(""))
    );
    let ran = sandbox.piped(&["check", "-", HELLO], b"hello world\n");
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.text().starts_with("no match: standard input is not "),
        "{}",
        ran.text()
    );
}

#[test]
fn a_folder_in_the_store_is_compared_file_by_file() {
    let sandbox = Sandbox::new();
    sandbox.write("m/config.json", "{}");
    sandbox.write("m/weights/one", noise(300_000, 1));
    sandbox.write("m/weights/two", "two");
    symlink("config.json", sandbox.path("m/link")).unwrap();
    let cid = sandbox.add(&["m", "--pin-name", "model", "--profile", "kubo-cidv1"]);
    let found = sandbox.json(&["check", "m", "model"]);
    assert_eq!(
        (&found["cid"], &found["profile"]),
        (&json!(cid), &json!("kubo-cidv1"))
    );

    sandbox.write("m/weights/one", noise(299_999, 1));
    fs::remove_file(sandbox.path("m/weights/two")).unwrap();
    sandbox.write("m/new\nname", "new");
    fs::remove_file(sandbox.path("m/link")).unwrap();
    sandbox.write("m/link", "no link");
    let (said, found) = no_match(&sandbox, &["check", "m", &cid]);
    let side = |kind: &str, size: Option<u64>, target: Option<&str>| json!({"kind": kind, "size": size, "target": target});
    let expected = json!([
        {"path": "link", "difference": "kind", "stored": side("symlink", None, Some("config.json")),
         "found": side("file", Some(7), None), "offset": null},
        {"path": "new\nname", "difference": "extra", "stored": null,
         "found": side("file", Some(3), None), "offset": null},
        {"path": "weights/one", "difference": "differs", "stored": side("file", Some(300_000), None),
         "found": side("file", Some(299_999), None), "offset": null},
        {"path": "weights/two", "difference": "lacks", "stored": side("file", Some(3), None),
         "found": null, "offset": null},
    ]);
    assert_eq!(found["differences"], expected);
    let shown: Vec<Vec<&str>> = said
        .lines()
        .skip_while(|line| !line.starts_with("DIFFERENCE"))
        .skip(1)
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        shown,
        [
            ["kind", "link", "link to config.json", "7 bytes"],
            ["extra", "new\\nname", "-", "3 bytes"],
            ["differs", "weights/one", "300000 bytes", "299999 bytes"],
            ["lacks", "weights/two", "3 bytes", "-"],
        ]
    );
    // A file of it, by its path and by its CID: the first byte that differs.
    for target in [
        "model/weights/one".to_owned(),
        sandbox.json(&["stat", "model/weights/one"])["cid"]
            .as_str()
            .unwrap()
            .to_owned(),
    ] {
        let (said, found) = no_match(&sandbox, &["check", "m/weights/one", &target]);
        assert_eq!(found["differences"][0]["offset"], 299_999, "{found}");
        assert!(
            said.ends_with("299999 bytes, differs from byte 299999\n"),
            "{said}"
        );
    }
}

#[test]
fn the_profile_of_the_store_and_of_the_configuration_are_tried_too() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(400_000, 2));
    let profile = "unixfs-v1-2025+chunk=size-5000+links=9";
    let cid = sandbox.add(&["--only-hash", "--profile", profile, "big"]);
    let args = ["check", "big", &cid];
    assert_eq!(sandbox.run(&args).code, Some(1));
    let variable = "IPFS_ACCELERATE__STORE__PROFILE";
    let configured = sandbox
        .command(args)
        .env(variable, profile)
        .output()
        .unwrap();
    assert_eq!(configured.status.code(), Some(0));
    sandbox.ok(&["init", "--profile", profile]);
    assert_eq!(sandbox.json(&args)["profile"], profile);
    // One of another hash function is not.
    let found = sandbox.run(&[
        "check",
        "big",
        "bafkr4iciek2yb5fyhlolzrxivpqtysykzl3tfxnexqlxkds7angkm727ju",
        "--json",
    ]);
    let computed = json_of(&found)["computed"].as_object().unwrap().clone();
    assert!(computed.len() == 6 && computed.keys().all(|name| name.contains("blake3")));
}

#[test]
fn flags_narrow_what_is_tried() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(400_000, 2));
    let tried = |args: &[&str]| -> Vec<String> {
        let args: Vec<&str> = ["check", "big", OTHER, "--json"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let ran = sandbox.run(&args);
        assert_eq!(ran.code, Some(1), "{args:?}: {}", ran.stderr);
        let mut names: Vec<_> = json_of(&ran)["computed"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        names.sort();
        names
    };
    assert_eq!(tried(&["--profile", "kubo-cidv1"]), ["kubo-cidv1"]);
    assert_eq!(
        tried(&["--profile", "kubo-cidv1", "--max-links", "9"]),
        ["kubo-cidv1+links=9"]
    );
    assert_eq!(
        tried(&["--chunker", "size-5000"]),
        [
            "kubo-cidv1+chunk=size-5000",
            "unixfs-v0-2015+chunk=size-5000",
            "unixfs-v0-2015+chunk=size-5000+cid=1",
            "unixfs-v0-2015+chunk=size-5000+leaves=raw",
            "unixfs-v1-2025+chunk=size-5000",
        ]
    );
    // CIDv0 goes with sha2-256 only.
    let blake3 = tried(&["--hash", "blake3"]);
    assert_eq!(blake3.len(), 6);
    let cid = sandbox.add(&[
        "--only-hash",
        "--chunker",
        "size-5000",
        "--hash",
        "blake3",
        "big",
    ]);
    assert_eq!(sandbox.run(&["check", "big", &cid]).code, Some(1));
    let found = sandbox.json(&["check", "big", &cid, "--chunker", "size-5000"]);
    assert_eq!(
        found["profile"],
        "unixfs-v1-2025+chunk=size-5000+hash=blake3"
    );
    sandbox.refused(
        &["check", "big", OTHER, "--profile", "nonsense"],
        "profile_unknown",
    );
    sandbox.refused(
        &[
            "check",
            "big",
            OTHER,
            "--profile",
            "unixfs-v0-2015",
            "--hash",
            "blake3",
        ],
        "profile_setting_invalid",
    );
}

#[test]
fn links_hidden_entries_and_globs_are_those_of_add() {
    let sandbox = Sandbox::new();
    sandbox.write("m/a", "a");
    sandbox.write("m/.hidden", "h");
    sandbox.write("m/x.bin", "x");
    symlink("a", sandbox.path("m/link")).unwrap();
    for flags in [
        &["--hidden"][..],
        &["--dereference-symlinks"],
        &["--ignore", "*.bin", "--hidden"],
    ] {
        let add: Vec<&str> = ["m"].iter().chain(flags).copied().collect();
        let cid = hashed(&sandbox, &add);
        let with: Vec<&str> = ["check", "m", &cid].iter().chain(flags).copied().collect();
        assert_eq!(sandbox.run(&with).code, Some(0), "{flags:?}");
        assert_eq!(
            sandbox.run(&["check", "m", &cid]).code,
            Some(1),
            "{flags:?}"
        );
    }
    let cid = hashed(&sandbox, &["m"]);
    let ran = sandbox.run(&["check", "m", &cid]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.starts_with("note: 1 hidden entry was left out"),
        "{}",
        ran.stderr
    );
    symlink("m", sandbox.path("to-m")).unwrap();
    assert_eq!(sandbox.run(&["check", "to-m", &cid]).code, Some(0));
}

#[test]
fn checkpoints_cut_at_their_tensors_are_recognised() {
    let sandbox = Sandbox::new();
    let path = fixture("silero-vad-sharded");
    for profile in [
        "unixfs-v1-2025+chunk=tensor-v1",
        "unixfs-v0-2015+chunk=tensor-v1",
        "kubo-cidv1+chunk=tensor-v1",
    ] {
        let cid = hashed(&sandbox, &["--profile", profile, &path]);
        let found = sandbox.json(&["check", &path, &cid]);
        assert_eq!(found["computed"][profile], cid);
        assert_eq!(found["match"], true);
    }
}

#[test]
fn a_store_that_cannot_be_read_is_mentioned_and_not_needed() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.write("store/thesis.txt", "mine");
    let ran = sandbox.run(&["check", "hello.txt", V0]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.stderr.starts_with("note: checked without the store: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert_eq!(sandbox.ok(&["check", "-q", "hello.txt", V0]), "");
    let ran = sandbox.run(&["check", "hello.txt", OTHER]);
    assert_eq!(ran.code, Some(1));
    // A name and a path below a CID are in a store only.
    sandbox.refused(&["check", "hello.txt", "name"], "not_a_store");

    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.refused(&["check", "m", "name"], "no_store");
    sandbox.refused(&["check", "m", &format!("{HELLO}/a")], "no_store");
    let cid = sandbox.add(&["m"]);
    let root = sandbox.store().join("roots").join(&cid);
    let mut damaged = fs::read(&root).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::remove_file(&root).unwrap();
    fs::write(&root, damaged).unwrap();
    let ran = sandbox.run(&["check", "m", &cid]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("note: checked without the store: "),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("damaged"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_checked_is_refused_in_one_line() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.ok(&["init"]);
    for (args, kind) in [
        (&["check", "missing", HELLO][..], "file_not_found"),
        (&["check", "hello.txt", "no-such-name"], "no_such_name"),
        (&["check", "hello.txt", "/ipfs/nonsense"], "not_a_cid"),
        (
            &["check", "hello.txt", "bafkqac3imvwgy3zao5xxe3de"],
            "identity_cid",
        ),
        (
            &[
                "check",
                "hello.txt",
                "bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
            ],
            "not_a_file_cid",
        ),
        (
            &["check", "hello.txt", HELLO, "--ignore", "a{"],
            "bad_pattern",
        ),
    ] {
        sandbox.refused(args, kind);
    }
}

#[test]
fn a_mistyped_cid_is_told_so_with_and_without_a_store() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "hello world");
    let mistyped = format!("{HELLO}x");
    for _ in 0..2 {
        let ran = sandbox.run(&["check", "f", &mistyped]);
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains(&mistyped), "{}", ran.stderr);
        assert!(!ran.stderr.contains("no store"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("name of a pin"), "{}", ran.stderr);
        sandbox.add(&["f"]);
    }
}
