//! `repair`: what it prints, and its exit codes.

use std::os::unix::fs::{FileExt, PermissionsExt};

use super::*;

fn filled() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    let cid = sandbox.json(&["add", "hello.txt", "--pin-name", "greeting"])["cid"].clone();
    (sandbox, cid.as_str().unwrap().to_owned())
}

#[test]
fn repair_says_that_nothing_is_wrong() {
    let (sandbox, _) = filled();
    for args in [
        &["repair"][..],
        &["repair", "--dry-run"],
        &["repair", "--rehash"],
    ] {
        assert_eq!(sandbox.ok(args), "nothing is wrong\n");
    }
    let report = sandbox.json(&["repair"]);
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(
        (&report["repaired"], &report["left"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn repair_says_what_was_wrong_and_exits_with_1_once() {
    let (sandbox, cid) = filled();
    fs::remove_file(sandbox.store().join("roots").join(&cid)).unwrap();
    let ran = sandbox.run(&["get", "greeting", "-o", "-"]);
    assert_eq!(ran.code, Some(2));
    for args in [&["repair", "--dry-run"][..], &["repair"]] {
        let ran = sandbox.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
        let text = ran.text();
        let said = format!(
            "roots/{cid}: file: expected the root of what the name \"greeting\" points to, found no such file\n  \
             restored; concerns greeting ({cid})\n"
        );
        assert!(text.starts_with(&said), "{text}");
        let done = if args.len() == 2 {
            "to be repaired"
        } else {
            "repaired"
        };
        assert!(
            text.ends_with(&format!("1 finding: 1 {done}, 0 left\n")),
            "{text}"
        );
    }
    assert_eq!(sandbox.ok(&["repair"]), "nothing is wrong\n");
    assert_eq!(sandbox.ok(&["cat", "greeting"]), "hello world");
}

#[test]
fn repair_names_what_is_left() {
    let (sandbox, cid) = filled();
    let pack = fs::read_dir(sandbox.store().join("packs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(&pack).unwrap();
    for _ in 0..2 {
        let ran = sandbox.run(&["repair", "-q"]);
        assert_eq!(ran.code, Some(1));
        let root = sandbox.store().join("roots").join(&cid);
        assert_eq!(
            ran.text(),
            format!("{}\n{}\n", pack.display(), root.display())
        );
    }
    let ran = sandbox.run(&["repair"]);
    assert!(
        ran.text().contains(&format!("lacks {cid}\n")),
        "{}",
        ran.text()
    );
    assert!(ran.text().contains("add the same content again"));
    assert_eq!(sandbox.run(&["add", "hello.txt"]).code, Some(0));
    assert_eq!(sandbox.ok(&["repair"]), "nothing is wrong\n");
}

#[test]
fn repair_of_no_store_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.refused(&["repair"], "no_store");
    sandbox.write("store/notes.txt", "notes");
    sandbox.refused(&["repair"], "not_a_store");
}

#[test]
fn what_a_repair_could_not_put_together_is_no_empty_store() {
    let sandbox = Sandbox::new();
    sandbox.write("content", noise(300_000, 1));
    sandbox.add(&["content", "--chunker", "size-65536"]);
    let pack = fs::read_dir(sandbox.store().join("packs")).unwrap().next();
    let pack = pack.unwrap().unwrap().path();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(&pack).unwrap();
    file.write_all_at(b"damage", 70_000).unwrap();
    assert_eq!(sandbox.run(&["verify"]).code, Some(1));
    for folder in ["roots", "names"] {
        for entry in fs::read_dir(sandbox.store().join(folder)).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    assert_eq!(sandbox.run(&["repair"]).code, Some(1));
    let said = sandbox.ok(&["ls"]);
    assert!(said.contains("a repair could not put together"), "{said}");
    let space = sandbox.run(&["df"]).text();
    assert!(space.contains("remains"), "{space}");
    assert!(!space.contains("single blocks"), "{space}");
}
