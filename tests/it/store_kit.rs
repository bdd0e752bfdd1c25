//! What the store's tests share: content, stores in temporary folders, and what a store has on disk.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipfs_accelerate::{
    AddOptions, AddReport, Cid, DagError, Explain, FolderEntry, FolderRoot, PinAs, Profile, Store,
    StoreError, StoreOptions, Target, build_folder,
};

/// A temporary folder with room for sources and one store.
pub(crate) struct Stage(tempfile::TempDir);

impl Stage {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn create(&self) -> Store {
        Store::create(self.store_path()).unwrap()
    }

    pub(crate) fn create_with(&self, options: StoreOptions) -> Store {
        Store::create_with(self.store_path(), options).unwrap()
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.store_path()).unwrap()
    }

    /// Writes a source file, with the folders above it.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The paths of the files in a folder of the store.
    pub(crate) fn stored(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.store_path().join(folder)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths
    }

    pub(crate) fn on_disk(&self) -> OnDisk {
        OnDisk::of(&self.store_path())
    }
}

/// Content that neither compresses nor repeats: splitmix64.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    let mut state = seed.wrapping_mul(0x2545_F491_4F6C_DD1D);
    while out.len() < len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}

pub(crate) fn target(text: impl AsRef<str>) -> Target {
    text.as_ref().parse().unwrap()
}

/// What a folder of such entries becomes.
pub(crate) fn folder_of(entries: Vec<FolderEntry>, profile: &Profile) -> FolderRoot {
    build_folder(entries, profile, &mut |_| Ok::<_, DagError>(())).unwrap()
}

/// The target of an object.
pub(crate) fn of(cid: Cid) -> Target {
    Target::from(cid)
}

pub(crate) fn small_packs(pack_bytes: u64) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.pack_bytes = pack_bytes;
    options
}

pub(crate) fn unpinned() -> AddOptions {
    AddOptions::default().with_pin(PinAs::No)
}

pub(crate) fn add_bytes(store: &Store, content: &[u8]) -> AddReport {
    store.add_reader(content, &unpinned()).unwrap()
}

pub(crate) fn read(store: &Store, target: &Target) -> Vec<u8> {
    store.to_reader().read(target).unwrap()
}

/// What a store holds in the folders that count: for each file its length, mode and a hash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OnDisk(BTreeMap<PathBuf, (u64, u32, u64)>);

impl OnDisk {
    pub(crate) fn of(store: &Path) -> Self {
        let mut files = BTreeMap::new();
        for folder in ["packs", "roots", "names", "tmp"] {
            for entry in fs::read_dir(store.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let content = fs::read(&path).unwrap();
                let mut hasher = DefaultHasher::new();
                content.hash(&mut hasher);
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                files.insert(path, (content.len() as u64, mode, hasher.finish()));
            }
        }
        Self(files)
    }

    pub(crate) fn has_nothing_in_tmp(&self) -> bool {
        !self
            .0
            .keys()
            .any(|path| path.parent().unwrap().ends_with("tmp"))
    }
}

/// Runs what must fail, and checks that nothing of the store changed and nothing stays in `tmp/`.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    stage: &Stage,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> StoreError {
    let before = stage.on_disk();
    assert!(before.has_nothing_in_tmp(), "{before:?}");
    let error = work().unwrap_err();
    assert_eq!(stage.on_disk(), before, "after {error}");
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    assert!(!error.kind().is_empty());
    error
}

/// Runs a test of this binary again in a process of its own, where the variable is set.
pub(crate) fn again_in_a_child(test: &str, variable: &str, value: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value);
    command
}

/// The child ran its test, no other one, and the test passed.
#[track_caller]
pub(crate) fn assert_passed(child: &Output) {
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// A command run by another one, as `unshare --mount`.
pub(crate) fn under(outer: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(outer[0]);
    command
        .args(&outer[1..])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

/// The child half of [`again_in_a_child`]: what the variable was set to.
pub(crate) fn is_child(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
