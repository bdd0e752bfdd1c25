//! Bad input of the store's commands: one line, exit code 2, and a store that stays as it was.

use std::fs;
use std::os::unix::fs::symlink;

use super::{HELLO, Sandbox, noise};

const OTHER: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

fn with_hello() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.add(&["m", "--pin-name", "model"]);
    sandbox
}

#[test]
fn reading_from_an_absent_store_says_how_to_make_one() {
    let sandbox = Sandbox::new();
    for args in [
        &["get", HELLO][..],
        &["cat", HELLO],
        &["ls"],
        &["stat"],
        &["stat", HELLO],
        &["has", HELLO],
        &["load", HELLO],
        &["plan", HELLO],
        &["pin", "ls"],
        &["rm", HELLO],
        &["pin", "add", HELLO],
        &["pin", "rm", HELLO],
    ] {
        let error = sandbox.refused(args, "no_store");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(sandbox.store().to_str().unwrap()),
            "{message}"
        );
        assert!(
            error["hint"].as_str().unwrap().contains("add PATH"),
            "{error}"
        );
    }
    assert!(!sandbox.store().exists());
}

#[test]
fn a_folder_with_other_files_is_no_store() {
    let sandbox = Sandbox::new();
    let mine = sandbox.write("store/thesis.txt", "mine");
    sandbox.write("hello.txt", "hello world");
    for args in [
        &["add", "hello.txt"][..],
        &["init"],
        &["ls"],
        &["rm", HELLO],
    ] {
        let error = sandbox.refused(args, "not_a_store");
        assert!(
            error["message"].as_str().unwrap().contains("thesis.txt"),
            "{error}"
        );
    }
    assert_eq!(fs::read(mine).unwrap(), b"mine");
    assert_eq!(fs::read_dir(sandbox.store()).unwrap().count(), 1);
    let file = sandbox.path("hello.txt");
    sandbox.refused(&["ls", "--store", file.to_str().unwrap()], "not_a_store");
}

#[test]
fn a_store_of_a_newer_format_is_not_touched() {
    let sandbox = with_hello();
    let format = sandbox.store().join("FORMAT");
    let mut bytes = fs::read(&format).unwrap();
    bytes[12] = 2;
    // With that alone its checksum would tell a bit that flipped.
    bytes[16] ^= 1;
    fs::remove_file(&format).unwrap();
    fs::write(&format, bytes).unwrap();
    for args in [&["ls"][..], &["add", "m"], &["load", "model"], &["init"]] {
        let kind = if args == ["init"] {
            "store_exists"
        } else {
            "newer_format"
        };
        sandbox.refused(args, kind);
    }
    let error = sandbox.refused(&["cat", HELLO], "newer_format");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("format 2; this version reads up to 1"),
        "{message}"
    );
}

#[test]
fn what_is_no_target_is_told_from_what_is_absent() {
    let sandbox = with_hello();
    for command in ["get", "cat", "ls", "stat", "has", "load", "plan", "rm"] {
        sandbox.refused(&[command, "/ipfs/nonsense"], "not_a_cid");
        sandbox.refused(&[command, ""], "empty_target");
        sandbox.refused(&[command, "model/../x"], "bad_target_path");
    }
    for command in ["get", "cat", "ls", "stat", "load", "plan", "rm"] {
        sandbox.refused(&[command, OTHER], "not_published");
        let error = sandbox.refused(&[command, "modell"], "no_such_name");
        assert_eq!(
            error["hint"],
            "did you mean \"model\"? `pin ls` lists the names"
        );
    }
    let error = sandbox.refused(&["cat", "model/hallo.txt"], "no_such_path");
    assert_eq!(error["hint"], "there is: hello.txt");
    sandbox.refused(&["pin", "add", OTHER], "not_published");
}

#[test]
fn a_folder_is_no_file_and_a_file_no_folder() {
    let sandbox = with_hello();
    sandbox.refused(&["cat", "model"], "not_a_file");
    sandbox.refused(&["ls", "model/hello.txt"], "not_a_folder");
    sandbox.refused(&["cat", "model/hello.txt/deeper"], "no_such_path");
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_added() {
    let sandbox = with_hello();
    // A path below a file cannot be opened by anybody, root included.
    let error = sandbox.refused(&["add", "m/hello.txt/below"], "io");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("m/hello.txt/below"),
        "{error}"
    );

    fs::create_dir(sandbox.path("links")).unwrap();
    symlink("/nonexistent", sandbox.path("links/dangling")).unwrap();
    let error = sandbox.refused(
        &["add", "--dereference-symlinks", "links"],
        "file_not_found",
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("links/dangling"),
        "{error}"
    );
    sandbox.refused(&["add", "links/dangling"], "file_not_found");

    symlink(".", sandbox.path("links/loop")).unwrap();
    fs::remove_file(sandbox.path("links/dangling")).unwrap();
    sandbox.refused(&["add", "--dereference-symlinks", "links"], "link_loop");

    let socket = sandbox.path("links/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = sandbox.refused(&["add", "links"], "unsupported_file");
    assert!(
        error["message"].as_str().unwrap().contains("socket"),
        "{error}"
    );
    sandbox.refused(&["add", "m", "--ignore", "[a"], "bad_pattern");
    sandbox.refused(&["add", "m", "--profile", "nonsense"], "profile_unknown");
    let settings = "profile_setting_invalid";
    for args in [
        &["--profile", "kubo-cidv1+chunk=size-0"][..],
        &["--profile", "kubo-cidv1+hash=md5"],
        &["--chunker", "size-2097153"],
        &["--chunker", "size-0"],
        &["--max-links", "1"],
        &["--profile", "unixfs-v0-2015", "--hash", "blake3"],
        &["--cid-version", "0", "--hash", "blake3"],
        &["--raw-leaves=false", "--chunker", "size-2097152"],
    ] {
        let args: Vec<&str> = ["add", "m"].iter().chain(args).copied().collect();
        sandbox.refused(&args, settings);
    }
    for args in [
        ["--chunker", "rabin"],
        ["--hash", "md5"],
        ["--cid-version", "2"],
        ["--max-links", "many"],
    ] {
        sandbox.refused(&["add", "m", args[0], args[1]], "usage");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let sandbox = with_hello();
    let mode = |path: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(sandbox.path(path), mode).unwrap();
    };
    sandbox.write("m/secret", "x");
    mode("m/secret", 0);
    if fs::read(sandbox.path("m/secret")).is_err() {
        let error = sandbox.refused(&["add", "m"], "permission_denied");
        assert!(
            error["message"].as_str().unwrap().contains("m/secret"),
            "{error}"
        );
        return;
    }
    // Root reads everything, so it hands the call to somebody who does not.
    mode("", 0o755);
    let nobody = |args: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .arg(env!("CARGO_BIN_EXE_ipfs-accelerate"))
            .args(args);
        command
            .env_remove("IPFS_ACCELERATE_STORE")
            .env("HOME", sandbox.dir.path());
        command
            .current_dir(sandbox.dir.path())
            .output()
            .map(super::Ran::from)
    };
    // Where there is no such program, or the binary lies where nobody may go, there is nothing to see.
    if nobody(&["--version"]).is_ok_and(|ran| ran.code == Some(0)) {
        let ran = nobody(&["add", "--only-hash", "m", "--json"]).unwrap();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(
            ran.stderr
                .starts_with("error: cannot open m/secret: Permission denied"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.text().contains(r#""kind":"permission_denied""#),
            "{}",
            ran.text()
        );
    }
}

#[test]
fn links_that_leave_the_output_are_not_written() {
    let sandbox = Sandbox::new();
    sandbox.write("secret", "mine");
    fs::create_dir_all(sandbox.path("m/sub")).unwrap();
    for target in ["/etc/passwd", "../../secret"] {
        let _ = fs::remove_file(sandbox.path("m/sub/link"));
        symlink(target, sandbox.path("m/sub/link")).unwrap();
        let ran = sandbox.run(&["add", "m", "-q"]);
        let cid = ran.text().trim().to_owned();
        let error = sandbox.refused(&["get", &cid, "-o", "out"], "escaping_link");
        assert!(
            error["message"].as_str().unwrap().contains(target),
            "{error}"
        );
        assert!(!sandbox.path("out").exists());
        assert!(
            error["hint"].as_str().unwrap().contains("--unsafe-links"),
            "{error}"
        );
        let mut get = vec!["get", &cid, "-f", "-o", "skipped", "--unsafe-links", "skip"];
        let ran = sandbox.run(&get);
        assert_eq!(ran.code, Some(0));
        let warned =
            "warning: left out 1 symbolic link that would lead out of the output: sub/link\n";
        assert_eq!(ran.stderr, warned);
        assert!(fs::symlink_metadata(sandbox.path("skipped/sub/link")).is_err());
        (get[4], get[6]) = ("kept", "keep");
        assert_eq!(sandbox.json(&get)["skipped_links"], serde_json::json!([]));
        let kept = fs::read_link(sandbox.path("kept/sub/link")).unwrap();
        assert_eq!(kept, std::path::Path::new(target));
    }
}

#[test]
fn an_output_without_a_folder_to_stand_in_is_named() {
    let sandbox = with_hello();
    let error = sandbox.refused(&["get", "model", "-o", "no/such/folder"], "file_not_found");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot write into no/such: "),
        "{message}"
    );
    let error = sandbox.refused(&["get", "model", "-o", "m/hello.txt/below"], "io");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot write into m/hello.txt: "),
        "{message}"
    );
}

#[test]
fn a_damaged_root_is_told_with_its_path() {
    let sandbox = with_hello();
    let root = fs::read_dir(sandbox.store().join("roots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&root).unwrap();
    bytes[40] ^= 1;
    fs::remove_file(&root).unwrap();
    fs::write(&root, bytes).unwrap();
    for args in [
        &["cat", "model/hello.txt"][..],
        &["load", "model"],
        &["has", "model"],
    ] {
        let error = sandbox.refused(args, "damaged");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains(root.to_str().unwrap()),
            "{error}"
        );
    }
    // A listing goes on with the other objects, and says so.
    let listed = sandbox.run(&["ls"]);
    assert_eq!(listed.code, Some(1));
    assert!(
        listed.stderr.contains(root.to_str().unwrap()),
        "{}",
        listed.stderr
    );
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let sandbox = with_hello();
    sandbox.write("big", noise(3_000_000, 14));
    let before = super::snapshot(&sandbox.store());
    // A limit on the length of files stands in for the disk. Its signal ends whoever does not ask for errors.
    let ran = limited(&sandbox, "ulimit -f 1000", "--json add big");
    assert_eq!(ran.code, Some(2), "{}{}", ran.text(), ran.stderr);
    assert!(
        ran.stderr.starts_with("error: cannot write "),
        "{}",
        ran.stderr
    );
    assert_eq!(super::snapshot(&sandbox.store()), before);
    sandbox.ok(&["add", "big"]);
}

/// Runs the binary under a limit.
fn limited(sandbox: &Sandbox, limit: &str, args: &str) -> super::Ran {
    let bin = env!("CARGO_BIN_EXE_ipfs-accelerate");
    let ran = std::process::Command::new("/bin/bash")
        .args(["-c", &format!("{limit}; exec {bin} {args}")])
        .env_clear()
        .env("HOME", sandbox.dir.path())
        .env("IPFS_ACCELERATE_STORE", sandbox.store())
        .current_dir(sandbox.dir.path())
        .output()
        .unwrap();
    super::Ran::from(ran)
}

#[test]
fn what_a_limit_of_the_process_refuses_is_not_taken_for_damage() {
    let sandbox = with_hello();
    let db = sandbox.store().join("db/db");
    for args in ["gc", "repair"] {
        let ran = limited(&sandbox, "ulimit -f 0", args);
        assert_eq!(ran.code, Some(0), "{args}: {}", ran.stderr);
        assert!(ran.stderr.contains("stays in memory"), "{}", ran.stderr);
        assert!(fs::metadata(&db).unwrap().len() > 0, "{args}");
    }
    for number in 0..30 {
        let name = format!("f{number}");
        sandbox.write(&name, noise(1_000, number));
        sandbox.ok(&["add", &name]);
    }
    let ran = limited(&sandbox, "ulimit -n 5", "gc");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("\nhint: a limit of the process"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("run `repair`"), "{}", ran.stderr);
    assert!(ran.stderr.lines().count() < 8, "{}", ran.stderr);
    assert!(fs::metadata(&db).unwrap().len() > 0);
    assert_eq!(sandbox.ok(&["repair"]), "nothing is wrong\n");
}

#[test]
fn the_name_of_a_file_that_is_no_pin_is_answered_with_its_object() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt", "--no-pin"]);
    let error = sandbox.refused(&["cat", "hello.txt"], "no_such_name");
    let hint = error["hint"].as_str().unwrap();
    assert!(
        hint.starts_with(&format!("{HELLO} was called so")),
        "{hint}"
    );
}

#[test]
fn a_link_is_not_said_to_hold_anything() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    std::os::unix::fs::symlink("hello.txt", sandbox.path("m/link")).unwrap();
    sandbox.add(&["m", "--pin-name", "m"]);
    let error = sandbox.refused(&["cat", "m/link"], "not_a_file");
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("where it points to"),
        "{error}"
    );
}
