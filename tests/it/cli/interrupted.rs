//! SIGINT and SIGTERM in the middle of a command, and what a terminal sees.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{HELLO, Ran, Sandbox, noise, snapshot};

const PATIENCE: Duration = Duration::from_secs(60);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until there is work in progress in the store.
fn wait_for_work(store: &Path) {
    let begun = Instant::now();
    let works =
        || fs::read_dir(store.join("tmp")).is_ok_and(|mut entries| entries.next().is_some());
    while !works() {
        assert!(begun.elapsed() < PATIENCE, "nothing appeared in tmp/");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The end of a process, which must come by itself.
fn wait(mut child: Child) -> Ran {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the process went on after the signal");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ran::from(child.wait_with_output().unwrap())
}

fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A file that takes seconds to hash, and no space.
fn large(sandbox: &Sandbox) {
    File::create(sandbox.path("large"))
        .unwrap()
        .set_len(64 << 30)
        .unwrap();
}

#[test]
fn a_signal_during_a_large_add_leaves_the_store_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    large(&sandbox);
    let before = snapshot(&sandbox.store());
    for which in [Signal::INT, Signal::TERM] {
        let child = spawn(&sandbox, &["add", "large", "--pin-name", "large"]);
        wait_for_work(&sandbox.store());
        signal(&child, which);
        let ran = wait(child);
        assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""));
        assert_eq!(ran.stderr, "error: cancelled; nothing of large was kept\n");
        assert_eq!(snapshot(&sandbox.store()), before);
    }
    assert_eq!(sandbox.ok(&["ls", "-q"]), format!("{HELLO}\n"));
}

#[test]
fn a_signal_during_the_second_path_says_that_the_first_stays() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    large(&sandbox);
    let child = spawn(&sandbox, &["add", "hello.txt", "large", "-q"]);
    let begun = Instant::now();
    let pinned = || fs::read_dir(sandbox.store().join("names")).map_or(0, Iterator::count);
    while pinned() == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was pinned");
        std::thread::sleep(Duration::from_millis(2));
    }
    wait_for_work(&sandbox.store());
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    let ran = wait(child);
    assert_eq!((ran.code, ran.text()), (Some(2), format!("{HELLO}\n")));
    let expected = "error: cancelled; nothing of large was kept\n\
                    hint: the paths before it are added and stay\n";
    assert_eq!(ran.stderr, expected);
    assert_eq!(sandbox.ok(&["ls", "-q"]), format!("{HELLO}\n"));
}

#[test]
fn a_signal_while_standard_input_is_silent_ends_the_add() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["init"]);
    let before = snapshot(&sandbox.store());
    let mut child = spawn(&sandbox, &["add", "-", "--json"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(40 << 20, 15)).unwrap();
    wait_for_work(&sandbox.store());
    signal(&child, Signal::INT);
    let ran = wait(child);
    // Only now: an end of the input would have been the end of the file.
    drop(stdin);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.text().contains(r#""kind":"cancelled""#),
        "{}",
        ran.text()
    );
    assert_eq!(snapshot(&sandbox.store()), before);
}

#[test]
fn a_signal_during_a_pin_sync_is_no_entry_that_could_not_be_met() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    sandbox.add(&["hello.txt"]);
    large(&sandbox);
    sandbox.write("pins.toml", "[pins]\nlarge = \"large\"\n");
    let child = spawn(&sandbox, &["--json", "pin", "sync", "pins.toml"]);
    wait_for_work(&sandbox.store());
    signal(&child, Signal::INT);
    let ran = wait(child);
    assert_eq!(ran.code, Some(2), "{} {}", ran.text(), ran.stderr);
    assert!(
        !ran.text().contains(r#""status":"success""#),
        "{}",
        ran.text()
    );
    let child = spawn(&sandbox, &["pin", "sync", "pins.toml"]);
    wait_for_work(&sandbox.store());
    signal(&child, Signal::INT);
    let said = wait(child).text();
    assert!(said.contains("\nstopped before the end: "), "{said}");
}

/// Runs a command that works for some time, with a signal sooner or later, until `is_it` says that it came in between.
fn stopped_once(sandbox: &Sandbox, args: &[&str], is_it: impl Fn(&Ran) -> bool) -> Ran {
    let begun = Instant::now();
    let pauses = (1..=100).cycle().map(|n| Duration::from_millis(4 * n));
    for pause in pauses {
        assert!(begun.elapsed() < PATIENCE, "{args:?} was never stopped");
        let child = spawn(sandbox, args);
        std::thread::sleep(pause);
        signal(&child, Signal::INT);
        let ran = wait(child);
        // By the signal itself ends what does not watch for it yet.
        if ran.code.is_some() && is_it(&ran) {
            return ran;
        }
    }
    unreachable!("there are always more")
}

#[test]
fn a_verify_that_is_stopped_says_so_and_so_does_a_healing() {
    let sandbox = Sandbox::new();
    sandbox.write("noise", noise(64 << 20, 17));
    sandbox.add(&["noise"]);
    let is_stopped = |ran: &Ran| ran.text().contains(r#""status":"stopped""#);
    let ran = stopped_once(&sandbox, &["verify", "--json"], is_stopped);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.text().contains(r#""complete":false"#), "{}", ran.text());

    // Of a file that takes long to be looked through.
    large(&sandbox);
    damage(&sandbox);
    let heals = ["verify", "--json", "--heal", "large"];
    let is_healing = |ran: &Ran| is_stopped(ran) && ran.text().contains(r#""complete":true"#);
    let ran = stopped_once(&sandbox, &heals, is_healing);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
}

/// Changes bytes in the middle of the only large pack.
fn damage(sandbox: &Sandbox) {
    let packs = fs::read_dir(sandbox.store().join("packs")).unwrap();
    let packs = packs.map(|pack| pack.unwrap().path());
    let pack = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = pack.unwrap();
    fs::set_permissions(&pack, Permissions::from_mode(0o644)).unwrap();
    let file = File::options().write(true).open(&pack).unwrap();
    file.write_all_at(b"damage", 1 << 20).unwrap();
}

#[test]
fn a_sync_that_is_stopped_is_cancelled() {
    let sandbox = Sandbox::new();
    sandbox.write("noise", noise(64 << 20, 18));
    let source = sandbox.path("source");
    let source = source.to_str().unwrap();
    sandbox.ok(&["--store", source, "add", "noise"]);
    let is_stopped = |ran: &Ran| {
        // Else it is begun anew.
        let is_done = ran.code == Some(0);
        is_done.then(|| fs::remove_dir_all(sandbox.store()).unwrap());
        !is_done
    };
    let ran = stopped_once(&sandbox, &["sync", source, "--json"], is_stopped);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let said = ran.text();
    assert!(said.contains(r#""kind":"cancelled""#), "{said}");
    assert!(said.contains("what was copied before stays"), "{said}");
}

#[test]
fn a_repair_and_an_absorption_that_are_stopped_changed_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("noise", noise(64 << 20, 19));
    sandbox.add(&["noise"]);
    let before = snapshot(&sandbox.store());
    let is_cancelled = |ran: &Ran| ran.text().contains(r#""kind":"cancelled""#);
    let args = ["repair", "--rehash", "--json"];
    let ran = stopped_once(&sandbox, &args, is_cancelled);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("nothing of it was kept"),
        "{}",
        ran.stderr
    );
    assert_eq!(snapshot(&sandbox.store()), before);

    fs::remove_dir_all(sandbox.store()).unwrap();
    let cid = sandbox.add(&["noise", "--reference"]);
    let is_stopped = |ran: &Ran| {
        let is_done = ran.code == Some(0);
        if is_done {
            fs::remove_dir_all(sandbox.store()).unwrap();
            sandbox.add(&["noise", "--reference"]);
        }
        !is_done
    };
    let ran = stopped_once(&sandbox, &["absorb", &cid, "--json"], is_stopped);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(is_cancelled(&ran), "{}", ran.text());
}

#[test]
fn a_signal_ends_a_check() {
    let sandbox = Sandbox::new();
    // Of standard input: once it took more than a pipe holds, it is at work.
    let mut child = spawn(&sandbox, &["check", "-", HELLO]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(20 << 20, 16)).unwrap();
    signal(&child, Signal::INT);
    let ran = wait(child);
    drop(stdin);
    assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""));
    assert_eq!(ran.stderr, "error: cancelled; nothing of it was kept\n");

    // Of a file, over and over until the signal comes while it is read and not before.
    large(&sandbox);
    let begun = Instant::now();
    for pause in (1..).map(|n| Duration::from_millis(100 * n)) {
        assert!(begun.elapsed() < PATIENCE);
        let child = spawn(&sandbox, &["check", "large", HELLO]);
        std::thread::sleep(pause);
        signal(&child, Signal::TERM);
        let ran = wait(child);
        if ran.code.is_some() {
            assert_eq!(ran.code, Some(2), "{}", ran.stderr);
            assert_eq!(ran.stderr, "error: cancelled; nothing of it was kept\n");
            return;
        }
    }
}

#[test]
fn a_signal_during_get_leaves_the_output_whole_or_not_at_all() {
    let sandbox = Sandbox::new();
    let file = File::create(sandbox.path("half")).unwrap();
    file.set_len(1 << 30).unwrap();
    let cid = sandbox.add(&["half"]);
    let before: Vec<_> = snapshot(sandbox.dir.path());
    let child = spawn(&sandbox, &["get", &cid, "-o", "out"]);
    let begun = Instant::now();
    let is_aside = |name: &str| name.starts_with(".ipfs-accelerate-");
    let aside = || {
        let mut names = fs::read_dir(sandbox.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name());
        names.any(|name| is_aside(&name.to_string_lossy()))
    };
    while !aside() {
        assert!(begun.elapsed() < PATIENCE);
        std::hint::spin_loop();
    }
    signal(&child, Signal::INT);
    let ran = wait(child);
    if ran.code == Some(0) {
        // A file system that shares blocks may be faster than the signal.
        assert_eq!(fs::metadata(sandbox.path("out")).unwrap().len(), 1 << 30);
        fs::remove_file(sandbox.path("out")).unwrap();
    } else {
        assert_eq!(ran.stderr, "error: cancelled; nothing of it was kept\n");
    }
    assert_eq!(snapshot(sandbox.dir.path()), before);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.txt", "hello world");
    // A full pipe that nobody reads, so that the first signal cannot end it.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0; 1 << 16]).unwrap();
    let mut command = sandbox.command(["add", "hello.txt"]);
    let mut child = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while fs::read_dir(sandbox.store().join("names")).map_or(0, Iterator::count) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was pinned");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the first signal ended it"
    );
    signal(&child, Signal::INT);
    while child.try_wait().unwrap().is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "the second signal did not end it"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    drop(reader);
    assert_eq!(sandbox.ok(&["cat", HELLO]), "hello world");
}

#[test]
fn progress_with_rate_and_time_left_is_drawn_on_a_terminal_only() {
    let sandbox = Sandbox::new();
    let file = File::create(sandbox.path("slow")).unwrap();
    file.set_len(4 << 30).unwrap();
    let args = ["add", "--only-hash", "slow"];
    // `script` gives the command a terminal.
    let on_terminal = |options: &str| {
        let binary = env!("CARGO_BIN_EXE_ipfs-accelerate");
        let command = format!("{binary} {options} add --only-hash slow");
        let ran = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .env("HOME", sandbox.dir.path())
            .current_dir(sandbox.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(0));
        String::from_utf8(ran.stdout).unwrap()
    };
    let drawn = on_terminal("");
    for part in ["hashing slow [", " of 4.00 GiB", "/s", " left"] {
        assert!(drawn.contains(part), "{part:?} in {drawn:?}");
    }
    assert!(!on_terminal("-q").contains(" left"));
    let piped = sandbox.run(&args);
    assert_eq!((piped.code, piped.stderr.as_str()), (Some(0), ""));
}

#[test]
fn errors_are_coloured_on_a_terminal_that_wants_it() {
    let on_terminal = |variables: &[(&str, &str)]| {
        let binary = env!("CARGO_BIN_EXE_ipfs-accelerate");
        let command = format!("{binary} --config /nonexistent ls");
        let ran = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2));
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(on_terminal(&[]).contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "));
    assert!(on_terminal(&[("NO_COLOR", "1")]).starts_with("error: "));
    assert!(on_terminal(&[("TERM", "dumb")]).starts_with("error: "));
}
