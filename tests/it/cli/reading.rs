//! `get`, `cat` and `has`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use serde_json::json;

use super::{HELLO, Ran, Sandbox, noise};

#[test]
fn get_writes_the_bytes_that_were_added() {
    let sandbox = Sandbox::new();
    let big = noise(3_500_000, 4);
    sandbox.write("m/big.bin", &big);
    sandbox.write("m/sub/config.json", "{}");
    fs::create_dir(sandbox.path("m/empty")).unwrap();
    symlink("sub/config.json", sandbox.path("m/link")).unwrap();
    let cid = sandbox.add(&["m", "--pin-name", "model"]);

    let got = sandbox.json(&["get", "model", "-o", "out"]);
    let seconds = got["seconds"].clone();
    let expected = json!({
        "status": "success", "cid": cid, "output": "out", "kind": "folder", "files": 2,
        "bytes": big.len() + 2, "skipped_links": [], "seconds": seconds,
    });
    assert_eq!(got, expected);
    assert!(fs::read(sandbox.path("out/big.bin")).unwrap() == big);
    assert_eq!(
        fs::read_link(sandbox.path("out/link")).unwrap().to_str(),
        Some("sub/config.json")
    );
    assert!(sandbox.path("out/empty").is_dir());

    let said = sandbox.ok(&["get", "model/big.bin", "-o", "copy"]);
    assert!(said.starts_with("copy  (1 file, 3.3 MiB, "), "{said}");
    assert!(fs::read(sandbox.path("copy")).unwrap() == big);
    assert_eq!(sandbox.ok(&["get", "-q", "model/sub/config.json"]), "");
    assert_eq!(fs::read(sandbox.path("config.json")).unwrap(), b"{}");
    sandbox.ok(&["get", "model"]);
    assert!(sandbox.path("model/big.bin").exists());
}

#[test]
fn get_replaces_an_output_with_force_only() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    sandbox.write("out", "mine");
    let error = sandbox.refused(&["get", HELLO, "-o", "out"], "output_exists");
    assert_eq!(error["hint"], "--force replaces it");
    assert_eq!(fs::read(sandbox.path("out")).unwrap(), b"mine");
    sandbox.ok(&["get", HELLO, "-o", "out", "--force"]);
    assert_eq!(fs::read(sandbox.path("out")).unwrap(), b"hello world");
    let left: Vec<_> = fs::read_dir(sandbox.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn get_to_standard_output_writes_the_content_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.add(&["m", "--pin-name", "m"]);
    assert_eq!(
        sandbox.ok(&["get", "m/hello.txt", "-o", "-"]),
        "hello world"
    );
    assert_eq!(
        sandbox.ok(&["get", "m/hello.txt", "-o", "-", "--json"]),
        "hello world"
    );
    sandbox.refused(&["get", "m", "-o", "-"], "not_a_file");
    assert!(!sandbox.path("-").exists());
}

#[test]
fn cat_prints_ranges_to_the_byte() {
    let sandbox = Sandbox::new();
    let big = noise(2_500_000, 5);
    sandbox.write("big", &big);
    sandbox.add(&["big", "--pin-name", "big"]);
    let cat = |args: &[&str]| {
        let args: Vec<&str> = ["cat", "big"].iter().chain(args).copied().collect();
        let ran = sandbox.run(&args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
        ran.stdout
    };
    assert!(cat(&[]) == big);
    assert!(cat(&["--offset", "1MiB"]) == big[1 << 20..]);
    assert!(cat(&["--offset", "1048570", "--length", "20"]) == big[1_048_570..1_048_590]);
    assert!(cat(&["--length", "0"]).is_empty());
    assert!(cat(&["--offset", "2499999", "--length", "1GiB"]) == big[2_499_999..]);
    assert!(cat(&["--offset", "2500000"]).is_empty());
    assert!(cat(&["--offset", "99999999999"]).is_empty());
}

#[test]
fn has_answers_with_its_exit_code() {
    let sandbox = Sandbox::new();
    sandbox.write("m/hello.txt", "hello world");
    sandbox.add(&["m", "--pin-name", "m"]);
    for there in [
        "m",
        "m/hello.txt",
        HELLO,
        &format!("/ipfs/{HELLO}"),
        &format!("ipfs://{HELLO}"),
    ] {
        assert_eq!(sandbox.ok(&["has", there]), "yes\n", "{there}");
    }
    let other = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";
    for absent in ["n", "m/other", other] {
        let ran = sandbox.run(&["has", absent]);
        assert_eq!(
            (ran.code, ran.text().as_str()),
            (Some(1), "no\n"),
            "{absent}"
        );
        assert_eq!(ran.stderr, "");
        let quiet = sandbox.run(&["has", "-q", absent]);
        assert_eq!(
            (quiet.code, quiet.text().as_str()),
            (Some(1), ""),
            "{absent}"
        );
    }
    assert_eq!(sandbox.ok(&["has", "-q", "m"]), "");
    let yes = json!({"status": "success", "has": true, "target": "m", "damaged_bytes": 0});
    assert_eq!(sandbox.json(&["has", "m"]), yes);
    let no = sandbox.run(&["has", "n", "--json"]);
    let expected = "{\"status\":\"success\",\"has\":false,\"target\":\"n\",\"damaged_bytes\":0}\n";
    assert_eq!((no.code, no.text().as_str()), (Some(1), expected));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    sandbox.write("big", noise(4_000_000, 6));
    sandbox.add(&["big", "--pin-name", "big"]);

    for args in [&["cat", "big"][..], &["get", "big", "-o", "-"]] {
        let mut child = sandbox
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 1]).unwrap();
        drop(stdout);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    // Nobody reads from the start.
    for args in [
        &["ls"][..],
        &["stat", "--json"],
        &["--help"],
        &["has", "nothing"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::from(sandbox.command(args).stdout(writer).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    for args in [&["cat", HELLO][..], &["ls"]] {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ran = Ran::from(sandbox.command(args).stdout(full).output().unwrap());
        assert_eq!(ran.code, Some(2), "{args:?}");
        assert!(
            ran.stderr
                .starts_with("error: cannot write to standard output: No space left"),
            "{}",
            ran.stderr
        );
    }
}
