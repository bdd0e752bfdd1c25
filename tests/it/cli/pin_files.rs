//! `pin sync`: the pins that a file lists.

use std::fs;

use serde_json::json;

use super::{HELLO, Sandbox, noise, snapshot};

#[test]
fn the_pins_of_a_file_are_had_and_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("models/m/weights", noise(200_000, 1));
    sandbox.write("models/hello.txt", "hello world");
    let file = "[pins]\nm = '../models/m'\nhello = { path = '../models/hello.txt', cid = 'CID' }\n";
    sandbox.write("conf/pins.toml", file.replace("CID", HELLO));

    // A dry run makes no store.
    let plan = sandbox.json(&["pin", "sync", "conf/pins.toml", "--dry-run"]);
    assert!(!sandbox.store().exists());
    assert_eq!(
        (&plan["dry_run"], &plan["changed"]),
        (&json!(true), &json!(2))
    );
    let leftovers = fs::read_dir(sandbox.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    assert!(
        leftovers
            .into_iter()
            .all(|name| !name.to_string_lossy().contains("dry-run"))
    );

    let done = sandbox.json(&["pin", "sync", "conf/pins.toml"]);
    assert_eq!(done["entries"], plan["entries"]);
    let [m, hello] = &done["entries"].as_array().unwrap()[..] else {
        panic!("{done}")
    };
    assert_eq!(
        (&m["action"], &m["name"], &m["was"]),
        (&json!("add"), &json!("m"), &json!(null))
    );
    assert_eq!(
        (&hello["cid"], &hello["error"]),
        (&json!(HELLO), &json!(null))
    );
    assert_eq!(
        (&done["kept"], &done["failed"], &done["unlisted"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "hello\nm\n");

    // Again: nothing to do, and nothing for cron to mail with -q.
    let before = snapshot(&sandbox.store());
    assert_eq!(sandbox.ok(&["pin", "sync", "conf/pins.toml", "-q"]), "");
    let said = sandbox.ok(&["pin", "sync", "conf/pins.toml", "--prune"]);
    assert!(said.starts_with("nothing to change, 2 kept, "), "{said}");
    assert_eq!(snapshot(&sandbox.store()), before);

    // One moves, another one is not listed any more.
    sandbox.write("conf/pins.toml", format!("[pins]\nm = '{HELLO}'\n"));
    let said = sandbox.ok(&["pin", "sync", "conf/pins.toml"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("ACTION  NAME  CID"), "{said}");
    assert!(
        lines[1].starts_with(&format!("move    m     {HELLO}  bafy")),
        "{said}"
    );
    assert!(
        lines[2].starts_with("1 changed, 0 kept, 1 pin not in the file, "),
        "{said}"
    );
    let plan = sandbox.json(&["pin", "sync", "conf/pins.toml", "--dry-run", "--prune"]);
    assert_eq!(
        plan["entries"][1],
        json!({
            "name": "hello", "action": "unpin", "cid": null, "was": HELLO, "error": null
        })
    );
    assert_eq!(
        sandbox.ok(&["pin", "sync", "conf/pins.toml", "--prune", "-q"]),
        "hello\n"
    );
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "m\n");
}

#[test]
fn an_entry_that_cannot_be_met_is_told_with_exit_code_1() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "other"]);
    let content = format!(
        "[pins]\ngood = '{HELLO}'\nbad = 'nowhere'\nthere = {{ path = 'pins.toml', cid = '{HELLO}' }}"
    );
    sandbox.write("pins.toml", content);
    for dry_run in [true, false] {
        let mut args = vec!["pin", "sync", "pins.toml", "--prune"];
        args.extend(dry_run.then_some("--dry-run"));
        args.push("--json");
        let ran = sandbox.run(&args);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let said: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
        assert_eq!(said["status"], "success");
        let entries = said["entries"].as_array().unwrap();
        let brief: Vec<_> = entries
            .iter()
            .map(|e| {
                (
                    e["name"].as_str().unwrap(),
                    e["action"].as_str().unwrap(),
                    e["error"]["kind"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("good", "pin", None),
                ("bad", "failed", Some("file_not_found")),
                // Its object is there, so that the path is not read.
                ("there", "pin", None),
            ]
        );
        assert_eq!((&said["failed"], &said["unlisted"]), (&json!(1), &json!(1)));
        let warnings: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(warnings.len(), 1, "{}", ran.stderr);
        assert!(
            warnings[0].starts_with("warning: bad: cannot open "),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(
        sandbox.ok(&["pin", "ls", "-q"]),
        "good\nother\nthere\n",
        "nothing was removed"
    );
    let ran = sandbox.run(&["pin", "sync", "pins.toml", "--prune"]);
    assert_eq!(ran.code, Some(1));
    let said = "nothing to change, 2 kept, 1 failed, 1 pin not in the file, kept because an entry failed, ";
    assert!(ran.text().contains(said), "{}", ran.text());
}

#[test]
fn a_file_that_is_not_right_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["init"]);
    for (content, kind) in [
        ("", "pins_missing"),
        ("[pins]\na = 1", "pins_wrong_value"),
        ("[pins]\nllama-3.1 = 'x'", "pins_unknown_key"),
        ("[pins]\na = 'x'\na = 'y'", "pins_syntax"),
    ] {
        sandbox.write("pins.toml", content);
        let error = sandbox.refused(&["pin", "sync", "pins.toml", "--prune"], kind);
        assert!(
            error["message"].as_str().unwrap().starts_with("pins.toml"),
            "{error}"
        );
    }
    sandbox.refused(&["pin", "sync", "none.toml"], "file_not_found");
    sandbox.refused(&["pin", "sync"], "usage");
}

#[test]
fn a_file_that_lists_nothing_prunes_nothing_unless_told() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--pin-name", "hello"]);
    sandbox.write("pins.toml", "[pins]\n");
    let error = sandbox.refused(&["pin", "sync", "pins.toml", "--prune"], "no_pins_listed");
    assert!(
        error["hint"].as_str().unwrap().contains("--allow-empty"),
        "{error}"
    );
    sandbox.ok(&["pin", "sync", "pins.toml"]);
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "hello\n");
    sandbox.ok(&["pin", "sync", "pins.toml", "--prune", "--allow-empty"]);
    assert_eq!(sandbox.ok(&["pin", "ls", "-q"]), "");
}

#[test]
fn an_entry_that_cannot_be_met_stands_in_the_table_too() {
    let sandbox = Sandbox::new();
    sandbox.write("pins.toml", "[pins]\nlost = 'nowhere'\n");
    let ran = sandbox.run(&["pin", "sync", "pins.toml"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.text().contains("failed  lost"), "{}", ran.text());
}

#[test]
fn a_dry_run_without_a_store_names_the_one_that_is_meant() {
    let sandbox = Sandbox::new();
    sandbox.write("pins.toml", format!("[pins]\nx = '{HELLO}'\n"));
    let ran = sandbox.run(&["pin", "sync", "pins.toml", "--dry-run"]);
    assert_eq!(ran.code, Some(1));
    let said = format!("is not in the store at {}", sandbox.store().display());
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert!(!sandbox.store().exists());
}
