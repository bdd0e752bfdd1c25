//! `doctor`: what it prints, and its exit codes.

use std::fs;

use ipfs_accelerate::Store;

use super::{Sandbox, snapshot};

#[test]
fn a_sound_store_ends_with_0_and_every_check_has_its_fields() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    let before = snapshot(&sandbox.store());
    let shown = sandbox.json(&["doctor"]);
    assert_eq!(shown["store"], sandbox.store().to_str().unwrap());
    assert_eq!(shown["looked_at"], shown["store"]);
    assert_eq!(shown["problems"], 0);
    let checks = shown["checks"].as_array().unwrap();
    assert!(checks.len() > 20);
    for check in checks {
        let fields: Vec<_> = check
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(fields, ["advice", "figures", "found", "name", "status"]);
        assert!(
            ["ok", "note"].contains(&check["status"].as_str().unwrap()),
            "{check}"
        );
    }
    let notes = checks
        .iter()
        .filter(|check| check["status"] == "note")
        .count();
    assert_eq!(shown["notes"], notes);

    let said = sandbox.ok(&["doctor"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["STATUS", "WHAT", "FOUND"]
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("ok ") && line.contains("foreign files")),
        "{said}"
    );
    let last = *lines.last().unwrap();
    assert!(
        last == "Nothing is wrong." || last.starts_with("No problems, "),
        "{last}"
    );
    assert_eq!(sandbox.ok(&["doctor", "-q"]), "");
    assert_eq!(snapshot(&sandbox.store()), before);
}

#[test]
fn a_problem_ends_with_1_its_advice_below_it_and_its_name_for_scripts() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["init"]);
    fs::remove_dir(sandbox.store().join("roots")).unwrap();
    let ran = sandbox.run(&["doctor"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let said = ran.text();
    let lines: Vec<&str> = said.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("problem  folders"));
    assert!(
        lines[at.unwrap() + 1].trim_start().starts_with("-> "),
        "{said}"
    );
    assert!(lines.last().unwrap().starts_with("2 problems"), "{said}");
    let quiet = sandbox.run(&["doctor", "-q"]);
    assert_eq!(
        (quiet.code, quiet.text().as_str()),
        (Some(1), "reading\nfolders\n")
    );
    let json = sandbox.run(&["doctor", "--json"]);
    assert_eq!(json.code, Some(1));
    assert!(
        json.text().starts_with(r#"{"status":"success","store":"#),
        "{}",
        json.text()
    );
}

#[test]
fn it_works_without_a_store_and_beside_a_writer_and_says_when_it_cannot() {
    let sandbox = Sandbox::new();
    let shown = sandbox.json(&["doctor", "--store", "a/b"]);
    assert_eq!(shown["looked_at"], sandbox.dir.path().to_str().unwrap());
    assert!(!sandbox.path("a").exists());
    let left: Vec<_> = fs::read_dir(sandbox.dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    let _writer = Store::create(sandbox.store()).unwrap();
    let said = sandbox.ok(&["doctor"]);
    assert!(
        said.contains(&format!("by process {} on ", std::process::id())),
        "{said}"
    );

    sandbox.write("broken.toml", "[store]\npth = 1\n");
    let ran = sandbox.run(&["doctor", "--config", "broken.toml"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""));
}
