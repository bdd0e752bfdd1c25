//! Sources that cannot be added: each a typed error, and the store as it was (promise I7).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipfs_accelerate::{AddOptions, Explain, Store, StoreError, hash_path};

use super::store_kit::*;

fn refused_path(stage: &Stage, store: &Store, path: &Path, options: &AddOptions) -> StoreError {
    let hashed = hash_path(path, options).unwrap_err();
    let error = refused(stage, || store.add_path(path, options));
    assert_eq!(
        error.to_string(),
        hashed.to_string(),
        "the same with and without a store"
    );
    error
}

#[test]
fn what_is_not_there_or_not_readable_is_named() {
    let stage = Stage::new();
    let store = stage.create();
    let missing = stage.path("missing");
    let error = refused_path(&stage, &store, &missing, &unpinned());
    assert_eq!(error.kind(), "file_not_found");
    assert!(
        error.to_string().contains(missing.to_str().unwrap()),
        "{error}"
    );
    fs::create_dir(stage.path("m")).unwrap();
    symlink("nowhere", stage.path("m/dangling")).unwrap();
    let mut follow = unpinned();
    follow.dereference_symlinks = true;
    let error = refused_path(&stage, &store, &stage.path("m"), &follow);
    assert_eq!(error.kind(), "file_not_found");
    assert!(error.to_string().contains("dangling"), "{error}");
}

#[test]
fn a_file_without_permission_is_named() {
    const CHILD: &str = "STORE_SOURCES_NO_PERMISSION";
    if let Some(path) = is_child(CHILD) {
        for (path, named) in [
            (format!("{path}/m"), "m/secret"),
            (format!("{path}/n"), "n/closed"),
        ] {
            let error = hash_path(&path, &unpinned()).unwrap_err();
            assert_eq!(error.kind(), "permission_denied", "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
        return;
    }
    let stage = Stage::new();
    let secret = stage.file("m/secret", b"x");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    stage.file("n/closed/x", b"x");
    fs::set_permissions(stage.path("n/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = stage.path("test-binary");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut child = std::process::Command::new(binary);
    child
        .args([
            "--exact",
            "store_sources::a_file_without_permission_is_named",
        ])
        .current_dir("/")
        .env(CHILD, stage.path("."));
    if rustix::process::getuid().is_root() {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().unwrap();
    fs::set_permissions(stage.path("n/closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_passed(&output);
}

#[test]
fn special_files_are_refused_by_their_kind() {
    let stage = Stage::new();
    let store = stage.create();
    fs::create_dir(stage.path("m")).unwrap();
    stage.file("m/a", &bytes(1, 100_000));
    let fifo = stage.path("m/z-pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    for path in [stage.path("m"), fifo.clone()] {
        let error = refused_path(&stage, &store, &path, &unpinned());
        assert!(
            matches!(&error, StoreError::UnsupportedFile { path, found: "named pipe" } if *path == fifo),
            "{error}"
        );
    }
    fs::remove_file(&fifo).unwrap();
    let _socket = UnixListener::bind(stage.path("m/z-socket")).unwrap();
    let error = refused_path(&stage, &store, &stage.path("m"), &unpinned());
    assert!(
        matches!(
            error,
            StoreError::UnsupportedFile {
                found: "socket",
                ..
            }
        ),
        "{error}"
    );
    let error = refused_path(&stage, &store, Path::new("/dev/zero"), &unpinned());
    assert!(
        matches!(
            error,
            StoreError::UnsupportedFile {
                found: "device",
                ..
            }
        ),
        "{error}"
    );
    // Left out, the rest is added.
    let mut options = unpinned();
    options.ignore = vec!["z-*".into()];
    assert_eq!(store.add_path(stage.path("m"), &options).unwrap().files, 1);
}

#[test]
fn a_name_that_is_not_utf8_is_refused_and_can_be_left_out() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/a", b"a");
    let name = OsStr::from_bytes(b"caf\xe9.bin");
    fs::write(stage.path("m").join(name), b"x").unwrap();
    let error = refused_path(&stage, &store, &stage.path("m"), &unpinned());
    assert!(matches!(&error, StoreError::NameNotUtf8 { .. }), "{error}");
    assert!(error.to_string().contains("caf"), "{error}");
    let mut options = unpinned();
    options.ignore = vec!["*.bin".into()];
    assert_eq!(store.add_path(stage.path("m"), &options).unwrap().files, 1);
    fs::remove_file(stage.path("m").join(name)).unwrap();
    symlink(name, stage.path("m/link")).unwrap();
    let error = refused_path(&stage, &store, &stage.path("m"), &unpinned());
    assert!(matches!(&error, StoreError::NameNotUtf8 { .. }), "{error}");
}

#[test]
fn links_that_lead_back_are_loops_only_when_followed() {
    let stage = Stage::new();
    let store = stage.create();
    stage.file("m/sub/a", b"a");
    symlink("..", stage.path("m/sub/back")).unwrap();
    symlink("self", stage.path("m/self")).unwrap();
    assert!(hash_path(stage.path("m"), &unpinned()).is_ok());
    let mut follow = unpinned();
    follow.dereference_symlinks = true;
    let error = refused_path(&stage, &store, &stage.path("m"), &follow);
    assert!(error.to_string().contains("self"), "{error}");
    fs::remove_file(stage.path("m/self")).unwrap();
    let error = refused_path(&stage, &store, &stage.path("m"), &follow);
    assert!(
        matches!(&error, StoreError::LinkLoop { path } if path.ends_with("sub/back")),
        "{error}"
    );
    // Twice the same folder beside itself is none.
    fs::remove_file(stage.path("m/sub/back")).unwrap();
    symlink("sub", stage.path("m/twin")).unwrap();
    assert_eq!(store.add_path(stage.path("m"), &follow).unwrap().files, 2);
}

#[test]
fn files_that_hold_more_than_they_say_are_not_cut_short() {
    let stage = Stage::new();
    let store = stage.create();
    let error = refused_path(&stage, &store, Path::new("/proc/self/status"), &unpinned());
    assert!(
        matches!(&error, StoreError::SourceChanged { .. }),
        "{error}"
    );
    let error = refused_path(
        &stage,
        &store,
        Path::new("/sys/kernel/mm/transparent_hugepage/enabled"),
        &unpinned(),
    );
    assert!(
        matches!(&error, StoreError::SourceChanged { .. }),
        "{error}"
    );
}

/// Adds a folder whose first file fills the first batches, and changes its last one, which is not open yet
/// or half read, after the first.
fn changed_meanwhile(change: impl Fn(&Path) + Send + Sync + 'static, which: &str) -> StoreError {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 << 20));
    add_bytes(&store, b"there before");
    stage.file("m/a", &bytes(1, 40 << 20));
    stage.file("m/z", &bytes(2, 1_000_000));
    let path: PathBuf = stage.path("m").join(which);
    let done = AtomicBool::new(false);
    let mut options = AddOptions::default().named("never");
    let changed = path.clone();
    options.progress = Some(Arc::new(move |_| {
        if !done.swap(true, Ordering::Relaxed) {
            change(&changed);
        }
    }));
    let error = refused(&stage, || store.add_path(stage.path("m"), &options));
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    // At rest again, it is added.
    let again = store.add_path(stage.path("m"), &unpinned());
    match again {
        Ok(added) => assert_eq!(
            added.cid,
            hash_path(stage.path("m"), &unpinned()).unwrap().cid
        ),
        Err(e) => assert_eq!(e.kind(), error.kind(), "{e}"),
    }
    error
}

#[test]
fn a_file_that_changes_while_it_is_added_is_refused() {
    let append = |path: &Path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
    };
    let truncate = |path: &Path| {
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(500)
            .unwrap()
    };
    let rewrite = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"other bytes", 3).unwrap();
        // A clock tick is coarse, so the time of the change is set apart from the old one.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        file.set_modified(later).unwrap();
    };
    let replace = |path: &Path| {
        let new = path.with_file_name("new");
        fs::write(&new, fs::read(path).unwrap()).unwrap();
        fs::rename(new, path).unwrap();
    };
    let changes: [fn(&Path); 3] = [append, truncate, rewrite];
    for which in ["a", "z"] {
        for change in changes {
            let error = changed_meanwhile(change, which);
            assert!(
                matches!(error, StoreError::SourceChanged { .. }),
                "{which}: {error}"
            );
        }
    }
    let error = changed_meanwhile(replace, "z");
    assert!(error.to_string().contains("another file"), "{error}");
    let error = changed_meanwhile(|path| fs::remove_file(path).unwrap(), "z");
    assert_eq!(error.kind(), "file_not_found");
}
