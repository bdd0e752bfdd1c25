//! `--lock-timeout`: a second writer waits for the first one.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ipfs_accelerate::{Config, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{HELLO, Ran, Sandbox, snapshot};

/// Every command that writes, each of which succeeds on a store that holds `hello.txt`, in this order.
const WRITING: [&[&str]; 4] = [
    &["add", "hello.txt"],
    &["pin", "add", HELLO, "--name", "n"],
    &["pin", "rm", "n"],
    &["rm", "--unpin", HELLO],
];

fn with_hello() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    sandbox
}

fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads what says that the child waits; the rest of its standard error comes later.
fn is_waiting(child: &mut Child) -> (String, impl FnOnce() -> String + use<>) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let rest = move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        rest
    };
    (line, rest)
}

#[test]
fn every_writing_command_waits_for_the_writer_and_then_does_its_work() {
    let sandbox = with_hello();
    for args in WRITING {
        let writer = Store::open(sandbox.store()).unwrap();
        let args = [args, &["--lock-timeout", "5m"]].concat();
        let mut child = spawn(&sandbox, &args);
        let (said, rest) = is_waiting(&mut child);
        let by = format!("by process {} on ", std::process::id());
        assert!(said.contains(&by), "{args:?}: {said}");
        assert!(
            said.trim_end().ends_with("; waiting up to 5m"),
            "{args:?}: {said}"
        );
        assert!(child.try_wait().unwrap().is_none(), "{args:?}");
        drop(writer);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{args:?}");
        // Said once.
        assert_eq!(rest(), "", "{args:?}");
    }
    assert_eq!(sandbox.ok(&["ls", "-q"]), "");
}

#[test]
fn two_processes_that_add_at_once_both_succeed_if_they_wait() {
    let sandbox = Sandbox::new();
    let children: Vec<Child> = (0..4)
        .map(|n| {
            let name = format!("file-{n}");
            sandbox.write(&name, &name);
            spawn(&sandbox, &["add", "-q", &name, "--lock-timeout", "2m"])
        })
        .collect();
    for child in children {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    }
    assert_eq!(sandbox.ok(&["ls", "-q"]).lines().count(), 4);
}

#[test]
fn every_writing_command_gives_up_after_the_time_and_says_how_long_it_was() {
    let sandbox = with_hello();
    sandbox.ok(&["pin", "add", HELLO, "--name", "n"]);
    let _writer = Store::open(sandbox.store()).unwrap();
    let before = snapshot(&sandbox.store());
    for args in WRITING {
        let args = [args, &["--lock-timeout", "150ms", "--json"]].concat();
        let ran = sandbox.run(&args);
        assert_eq!(ran.code, Some(2), "{args:?}");
        let error: Value = serde_json::from_str(&ran.text()).unwrap();
        assert_eq!(error["kind"], "locked", "{args:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with("; waited 150ms for it"), "{message}");
        assert!(
            error["hint"].as_str().unwrap().contains("--lock-timeout"),
            "{error}"
        );
        assert_eq!(snapshot(&sandbox.store()), before, "{args:?}");
        // Quietly, only the error is said.
        let quiet = [&args[..], &["-q"]].concat();
        assert!(sandbox.run(&quiet).stderr.starts_with("error: "));
    }
}

#[test]
fn init_waits_for_whoever_makes_the_store() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.store()).unwrap();
    let lock = fs::File::create(sandbox.store().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = sandbox.run(&["init", "--lock-timeout", "100ms"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("; waited 100ms for it"),
        "{}",
        ran.stderr
    );
    let mut child = spawn(&sandbox, &["init", "--lock-timeout", "5m"]);
    let (said, _rest) = is_waiting(&mut child);
    assert!(said.contains("waiting up to 5m"), "{said}");
    drop(lock);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    sandbox.ok(&["ls"]);
}

#[test]
fn the_time_may_stand_in_the_configuration_and_the_flag_goes_before_it() {
    let sandbox = with_hello();
    let _writer = Store::open(sandbox.store()).unwrap();
    let waited = |args: &[&str], environment: &[(&str, &str)]| {
        let mut command = sandbox.command(args);
        let ran = Ran::from(command.envs(environment.iter().copied()).output().unwrap());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        ran.stderr.contains("; waited 120ms for it")
    };
    let variable = ("IPFS_ACCELERATE__STORE__LOCK_TIMEOUT", "120ms");
    assert!(waited(&["rm", HELLO], &[variable]));
    assert!(!waited(&["rm", HELLO, "--lock-timeout", "0"], &[variable]));
    sandbox.ok(&["--config", "c.toml", "config", "path"]);
    sandbox.write("c.toml", "[store]\nlock_timeout = \"120ms\"\n");
    assert!(waited(&["rm", HELLO, "--config", "c.toml"], &[]));
    assert!(!waited(&["rm", HELLO], &[]));
    assert!(Config::keys().any(|key| key == ("store", "lock_timeout")));
}

#[test]
fn what_is_no_time_is_a_usage_error_and_reading_commands_do_not_wait() {
    let sandbox = with_hello();
    for wrong in ["30", "soon", "-1s", "5M", ""] {
        let ran = sandbox.run(&["rm", HELLO, &format!("--lock-timeout={wrong}")]);
        assert_eq!(ran.code, Some(2), "{wrong}");
        assert!(
            ran.stderr.contains("--lock-timeout"),
            "{wrong}: {}",
            ran.stderr
        );
    }
    for reading in [
        "ls", "stat", "cat", "get", "has", "load", "plan", "dedup", "doctor", "check",
    ] {
        assert!(
            !sandbox.ok(&[reading, "--help"]).contains("--lock-timeout"),
            "{reading}"
        );
    }
    for writing in [
        &["add"][..],
        &["rm"],
        &["pin", "add"],
        &["pin", "rm"],
        &["init"],
    ] {
        let help = sandbox.ok(&[writing, &["--help"]].concat());
        assert!(help.contains("--lock-timeout <DURATION>"), "{writing:?}");
    }
}

#[test]
fn a_signal_ends_the_wait() {
    let sandbox = with_hello();
    let _writer = Store::open(sandbox.store()).unwrap();
    let before = snapshot(&sandbox.store());
    for args in WRITING {
        for signal in [Signal::INT, Signal::TERM] {
            let args = [args, &["--lock-timeout", "1h"]].concat();
            let mut child = spawn(&sandbox, &args);
            let (said, rest) = is_waiting(&mut child);
            assert!(said.contains("waiting up to 1h"), "{said}");
            let begun = Instant::now();
            kill_process(Pid::from_child(&child), signal).unwrap();
            let ran = Ran::from(child.wait_with_output().unwrap());
            assert!(begun.elapsed() < Duration::from_secs(60));
            assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""), "{args:?}");
            assert_eq!(rest(), "error: cancelled; nothing of it was kept\n");
            assert_eq!(snapshot(&sandbox.store()), before);
        }
    }
}
