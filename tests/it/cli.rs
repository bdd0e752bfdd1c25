//! The command line, run as a process: what it prints for people and as JSON, its exit codes, and every bad
//! input that reaches it.

mod adding;
mod checking;
mod checkpoints;
mod collecting;
mod configuration;
mod dedup;
mod doctor;
mod help;
mod interrupted;
mod listing;
mod overlay;
mod pin_files;
mod reading;
mod referring;
mod refused;
mod refused_checkpoints;
mod removing;
mod repairing;
mod sharing;
mod syncing;
mod verifying;
mod waiting;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// `hello world`, under every profile with raw leaves.
const HELLO: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

/// A home folder with a store in it, and no variables of the machine.
struct Sandbox {
    dir: TempDir,
}

/// What a run left behind.
struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Sandbox {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The binary in the home folder.
    fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipfs-accelerate"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .env("IPFS_ACCELERATE_STORE", self.store())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Runs what must work, with nothing on standard error.
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
        ran.text()
    }

    /// Runs what must work, and reads its one object.
    fn json(&self, args: &[&str]) -> Value {
        let value: Value = serde_json::from_str(&self.ok(&with_json(args))).unwrap();
        assert_eq!(value["status"], "success", "{args:?}");
        value
    }

    fn piped(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    }

    /// Runs what must be refused, for people and as JSON: exit code 2, one line that begins with `error:`
    /// and perhaps a hint on standard error, the kind in JSON, and a store that stays as it was.
    fn refused(&self, args: &[&str], kind: &str) -> Value {
        let before = snapshot(&self.store());
        let ran = self.run(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.text(), "", "{args:?}");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines[0].starts_with("error: "), "{args:?}: {}", ran.stderr);
        assert!(lines.len() <= 2, "{args:?}: {}", ran.stderr);
        assert!(
            lines[1..].iter().all(|line| line.starts_with("hint: ")),
            "{args:?}: {}",
            ran.stderr
        );

        let again = self.run(&with_json(args));
        assert_eq!(
            (again.code, &again.stderr),
            (Some(2), &ran.stderr),
            "{args:?}"
        );
        let error: Value = serde_json::from_str(&again.text()).unwrap();
        assert_eq!(error["status"], "error", "{args:?}");
        assert_eq!(error["kind"], kind, "{args:?}: {error}");
        assert_eq!(
            format!("error: {}", error["message"].as_str().unwrap()),
            lines[0]
        );
        let hint = lines.get(1).and_then(|line| line.strip_prefix("hint: "));
        assert_eq!(error["hint"].as_str(), hint, "{args:?}");
        assert_eq!(snapshot(&self.store()), before, "{args:?}");
        error
    }

    /// Adds what must be addable; returns its CID.
    fn add(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["add"].iter().chain(args).copied().collect();
        let added = self.json(&args);
        added["cid"].as_str().unwrap().to_owned()
    }
}

impl Ran {
    fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn with_json<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(["--json"]).collect()
}

/// Every path of a store but its index and lock, with its length.
fn snapshot(store: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for folder in ["", "packs", "roots", "names", "tmp"] {
        let Ok(entries) = fs::read_dir(store.join(folder)) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            if entry.file_name() != "lock" && metadata.is_file() {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

/// Bytes that hardly repeat.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A safetensors file from its header and as many bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(noise(data, 7));
    bytes
}

/// The real checkpoint, in one file and in three.
fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}
