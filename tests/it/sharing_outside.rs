//! Readers that are not quite like the writer (I8): forked children, another uid, a mount for reading only, a pid
//! namespace of its own. Each reads and loads, and its lease keeps the collector off.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use ipfs_accelerate::checkpoint::{LoadOptions, load_checkpoint_and_dispatch};
use ipfs_accelerate::{Cid, Explain, GcReport, Store, StoreReader, Target};

use super::gc::{gc, remove};
use super::load_files::{in_bytes, on_host};
use super::sharing_processes::checkpoint;
use super::store_kit::*;

const ROLE: &str = "IPFS_ACCELERATE_TEST_ROLE";
const NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
];

/// Run as a process of its own by the tests below.
#[test]
fn a_process_with_a_role() {
    let Some(told) = is_child(ROLE) else { return };
    let words: Vec<&str> = told.split('\n').collect();
    match words[..] {
        ["hold", store, cid] => hold(Path::new(store), &cid.parse().unwrap()),
        ["fork", store, cid] => fork(Path::new(store), &cid.parse().unwrap()),
        ["write", store] => write(Path::new(store)),
        ["collect", store, cid] => collect(Path::new(store), &cid.parse().unwrap()),
        _ => panic!("no such role: {told}"),
    }
}

/// As a line of its own: the test's name may have begun one.
fn say(word: impl std::fmt::Display) {
    println!("\nsays: {word}");
}

fn wait_for_a_word() {
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).unwrap();
}

/// Reads, loads and maps; says how writing was refused; and holds what it has until it is told.
fn hold(store: &Path, target: &Target) {
    let content = checkpoint(1, 2);
    let opened =
        StoreReader::open(store).and_then(|reader| Ok((reader.open_file(target)?, reader)));
    let (file, reader) = match opened {
        Ok(opened) => opened,
        Err(e) => return say(format!("{} {e}", e.kind())),
    };
    assert!(file.read().unwrap() == content);
    let loaded = load_checkpoint_and_dispatch(&reader, target, LoadOptions::default()).unwrap();
    drop(file);
    let error = Store::open(store).unwrap_err();
    say(format!("refused {} {error}", error.kind()));
    wait_for_a_word();
    assert!(on_host(&loaded) == in_bytes(&content));
    say("whole");
}

/// Forks while it holds a map, which it drops; the forked child reads through its own.
#[expect(
    unsafe_code,
    reason = "fork is what is tested, and the language has no safe one"
)]
fn fork(store: &Path, target: &Target) {
    let content = checkpoint(1, 2);
    let file = StoreReader::open(store).unwrap().open_file(target).unwrap();
    let map = file.map().unwrap();
    drop(file);
    let slice = map.get(0..content.len() as u64).unwrap();
    // SAFETY: the child calls nothing but `read` and `_exit`, and compares memory.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut byte = [0_u8];
        // SAFETY: the buffer holds one byte.
        let read = unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) };
        let is_whole = read == 1 && slice == content;
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(if is_whole { 0 } else { 1 }) };
    }
    drop(map);
    say("forked");
    let mut status = 0;
    // SAFETY: the status is a place that can be written to.
    let ended = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!(
        (ended, status),
        (pid, 0),
        "the forked child saw other bytes"
    );
    say("whole");
}

fn write(store: &Path) {
    let store = Store::create(store).unwrap();
    say(add_bytes(&store, &checkpoint(1, 2)).cid);
}

fn collect(store: &Path, target: &Target) {
    let store = Store::open(store).unwrap();
    remove(&store, *target.cid().unwrap());
    let report = gc(&store);
    assert_eq!(report.freed_bytes, 0);
    let pids = report.pending[0].holders.iter().map(|holder| holder.pid);
    say(format!(
        "{} {:?}",
        report.pending.len(),
        pids.collect::<Vec<_>>()
    ));
}

/// A process with a role, and what it says.
struct Other {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    told: ChildStdin,
}

impl Other {
    fn role(words: &[&str]) -> Command {
        again_in_a_child(
            "sharing_outside::a_process_with_a_role",
            ROLE,
            &words.join("\n"),
        )
    }

    fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        Self {
            said: BufReader::new(child.stdout.take().unwrap()),
            told: child.stdin.take().unwrap(),
            child,
        }
    }

    fn says(&mut self) -> String {
        for line in (&mut self.said).lines() {
            if let Some(said) = line.unwrap().strip_prefix("says: ") {
                return said.to_owned();
            }
        }
        panic!("it ended: {}", self.child.wait().unwrap());
    }

    /// Lets it go, and ends with it.
    fn ends_whole(mut self) {
        self.told.write_all(b"\n").unwrap();
        assert_eq!(self.says(), "whole");
        assert!(self.child.wait().unwrap().success());
    }
}

/// A stage that others can look into, and a store with one checkpoint in it.
fn stage() -> (Stage, Store, Cid) {
    let stage = Stage::new();
    fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let store = stage.create();
    let cid = add_bytes(&store, &checkpoint(1, 2)).cid;
    (stage, store, cid)
}

/// Whether this user may do what a test needs; says so otherwise.
fn can(command: &[&str]) -> bool {
    let exe = std::env::current_exe().unwrap();
    let tried = Command::new(command[0])
        .args(&command[1..])
        .args(["test", "-x"])
        .arg(exe)
        .output();
    match tried {
        Ok(output) if output.status.success() => true,
        tried => {
            println!("skipped: {command:?} cannot run this program: {tried:?}");
            false
        }
    }
}

/// Removes what another process holds, and checks that it stays until that lets go.
fn removed_and_held(store: &Store, cid: Cid, other: Other) -> GcReport {
    remove(store, cid);
    let held = gc(store);
    assert_eq!((held.freed_bytes, held.pending.len()), (0, 1), "{held:?}");
    assert_eq!(held.pending[0].cid, Some(cid));
    other.ends_whole();
    let report = gc(store);
    assert!(report.freed_bytes >= 4 << 20, "{report:?}");
    assert_eq!(report.pending.len(), 0);
    held
}

#[test]
fn a_forked_child_keeps_what_its_parent_has_dropped() {
    let (_stage, store, cid) = stage();
    let path = store.path().to_str().unwrap();
    let mut other = Other::start(Other::role(&["fork", path, &cid.to_string()]));
    assert_eq!(other.says(), "forked");
    removed_and_held(&store, cid, other);
}

#[test]
fn another_uid_reads_and_loads_and_holds_and_cannot_write() {
    if !can(&NOBODY) {
        return;
    }
    let (_stage, store, cid) = stage();
    let before = OnDisk::of(store.path());
    let path = store.path().to_str().unwrap();
    let role = Other::role(&["hold", path, &cid.to_string()]);
    let mut other = Other::start(under(&NOBODY, &role));
    let refused = other.says();
    assert!(
        refused.starts_with("refused permission_denied"),
        "{refused}"
    );
    assert!(refused.contains("lock"), "{refused}");
    assert_eq!(OnDisk::of(store.path()), before);
    removed_and_held(&store, cid, other);
}

/// What others may read is what the folders say, and they are made as the writer's umask has it; the files in them
/// are made for all to read.
#[test]
fn a_writer_with_a_private_umask_keeps_others_out_by_its_folders_alone() {
    if !can(&NOBODY) {
        return;
    }
    let stage = Stage::new();
    fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let path = stage.store_path();
    let private = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
    let role = Other::role(&["write", path.to_str().unwrap()]);
    let mut writer = Other::start(under(&private, &role));
    let cid = writer.says();
    assert!(writer.child.wait().unwrap().success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);

    let role = Other::role(&["hold", path.to_str().unwrap(), &cid]);
    let mut other = Other::start(under(&NOBODY, &role));
    let refused = other.says();
    assert!(refused.starts_with("permission_denied"), "{refused}");
    assert!(refused.contains(path.to_str().unwrap()), "{refused}");
    assert!(other.child.wait().unwrap().success());

    let open = |folder: &Path| {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(&path);
    for folder in ["packs", "roots", "names"] {
        assert_eq!(mode(&path.join(folder)), 0o700);
        open(&path.join(folder));
    }
    let mut other = Other::start(under(&NOBODY, &role));
    assert!(other.says().starts_with("refused permission_denied"));
    other.ends_whole();
}

#[test]
fn a_mount_for_reading_only_is_read_from_and_holds_what_it_is_a_mount_of() {
    let (stage, store, cid) = stage();
    let shown = stage.path("shown");
    fs::create_dir(&shown).unwrap();
    let mount =
        "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\" && shift 2 && exec \"$@\"";
    let (from, to) = (store.path().to_str().unwrap(), shown.to_str().unwrap());
    let outer = ["unshare", "--mount", "sh", "-c", mount, "sh", from, to];
    if !can(&outer) {
        return;
    }
    let role = Other::role(&["hold", to, &cid.to_string()]);
    let mut other = Other::start(under(&outer, &role));
    let refused = other.says();
    assert!(
        refused.starts_with("refused read_only_file_system"),
        "{refused}"
    );
    removed_and_held(&store, cid, other);
}

#[test]
fn a_holder_in_a_pid_namespace_of_its_own_is_seen() {
    let outer = ["unshare", "--pid", "--fork", "--mount-proc"];
    if !can(&outer) {
        return;
    }
    let (_stage, store, cid) = stage();
    let path = store.path().to_str().unwrap();
    let role = Other::role(&["hold", path, &cid.to_string()]);
    let mut other = Other::start(under(&outer, &role));
    assert!(other.says().starts_with("refused locked"));
    let held = removed_and_held(&store, cid, other);
    // Under the id that it has here, as far as the kernel says.
    let holders = &held.pending[0].holders;
    assert!(holders.iter().all(|holder| holder.pid > 1), "{holders:?}");
}

#[test]
fn a_collector_in_a_pid_namespace_of_its_own_leaves_what_is_held_outside() {
    let outer = ["unshare", "--pid", "--fork", "--mount-proc"];
    if !can(&outer) {
        return;
    }
    let (stage, store, cid) = stage();
    let file = store.to_reader().open_file(&of(cid)).unwrap();
    let path = store.path().to_str().unwrap().to_owned();
    drop(store);
    let role = Other::role(&["collect", &path, &cid.to_string()]);
    let mut other = Other::start(under(&outer, &role));
    // Its process has no id in there.
    assert_eq!(other.says(), "1 []");
    assert!(other.child.wait().unwrap().success());
    assert!(file.read().unwrap() == checkpoint(1, 2));
    drop(file);
    assert!(gc(&stage.open()).freed_bytes >= 4 << 20);
}
