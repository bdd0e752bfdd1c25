//! What `doctor` finds of file systems, mounts and other users.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use ipfs_accelerate::{ExamineOptions, Health, examine};

use super::doctor::{check, look, store_with_content, tree, with};
use super::mounts::{Layers, Mounted};
use super::store_kit::*;

#[test]
fn a_tmpfs_is_told_to_be_memory_and_a_full_one_is_a_problem() {
    let Some(disk) = Mounted::tmpfs(160 << 20) else {
        return;
    };
    let path = disk.path().join("store");
    drop(store_with_content(&path));
    let examined = look(&path);
    let kind = check(&examined, "file_system");
    assert_eq!(kind.status, Health::Note);
    assert!(
        kind.found.starts_with("tmpfs, mounted at ") && kind.found.contains("memory"),
        "{kind:?}"
    );
    for works in ["locks", "holes", "maps", "space"] {
        assert_eq!(check(&examined, works).status, Health::Ok, "{examined:#?}");
    }
    assert_eq!(check(&examined, "space").figures["total_bytes"], 160 << 20);

    let ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, 150 << 20).unwrap();
    assert_eq!(with(&look(&path), Health::Problem), [""; 0]);
    assert_eq!(check(&look(&path), "space").status, Health::Problem);
    // Full to the last byte, nothing can be tried any more, and the rest is said all the same.
    let left = fs::File::create(disk.path().join("more")).unwrap();
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    let free = free.f_bavail * free.f_frsize;
    rustix::fs::fallocate(&left, rustix::fs::FallocateFlags::empty(), 0, free).unwrap();
    let examined = look(&path);
    let holes = check(&examined, "holes");
    assert!(
        holes.status == Health::Note && holes.found.contains("not tried"),
        "{holes:?}"
    );
    assert_eq!(check(&examined, "locks").status, Health::Ok);
    assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    assert_eq!(check(&examined, "reading").status, Health::Ok);
}

#[test]
fn an_ext4_is_known_and_can_do_everything() {
    let Some(disk) = Mounted::ext4(256 << 20) else {
        return;
    };
    let examined = look(disk.path());
    let kind = check(&examined, "file_system");
    assert_eq!(kind.status, Health::Ok);
    let place = format!("ext4, mounted at {} (/dev/loop", disk.path().display());
    assert!(kind.found.starts_with(&place), "{kind:?}");
    for works in [
        "access", "space", "inodes", "locks", "holes", "copies", "maps",
    ] {
        assert_eq!(check(&examined, works).status, Health::Ok, "{examined:#?}");
    }
    let holes = &check(&examined, "holes").figures;
    assert_eq!(holes["freed_bytes"], holes["punched_bytes"]);
    assert!(check(&examined, "inodes").figures["total"] > 1_000);
    // A file system that was just made is as good as an empty folder.
    assert!(check(&examined, "store").found.starts_with("none yet"));
}

#[test]
fn an_overlay_is_explained_and_a_store_of_its_lower_layer_is_a_problem() {
    let Some(layers) = Layers::new(true) else {
        return;
    };
    drop(store_with_content(&layers.lower().join("store")));
    let Some(overlay) = layers.mount() else {
        return;
    };
    let path = overlay.path().join("store");
    let examined = look(&path);
    let kind = check(&examined, "file_system");
    assert_eq!(kind.status, Health::Note);
    assert!(kind.found.starts_with("overlay, mounted at "), "{kind:?}");
    assert!(
        kind.advice.as_ref().unwrap().contains("not seen below it"),
        "{kind:?}"
    );
    assert_eq!(with(&examined, Health::Problem), ["reading"]);
    let reading = check(&examined, "reading");
    assert!(
        reading
            .advice
            .as_ref()
            .unwrap()
            .contains("--nobody-collects"),
        "{reading:?}"
    );
    // Trying did not copy the store up.
    let in_upper: BTreeSet<_> = tree(&layers.upper())
        .into_iter()
        .map(|(path, ..)| path)
        .collect();
    let folders = ["store", "store/tmp"].map(|name| layers.upper().join(name));
    assert_eq!(in_upper, BTreeSet::from(folders));

    let mut told = ExamineOptions::default();
    told.reader.nobody_collects = true;
    assert_eq!(with(&examine(&path, &told), Health::Problem), [""; 0]);
    for works in ["locks", "maps"] {
        assert_eq!(check(&examined, works).status, Health::Ok, "{examined:#?}");
    }
}

#[test]
fn a_store_that_is_mounted_read_only_can_be_read() {
    let stage = Stage::new();
    drop(store_with_content(&stage.store_path()));
    let Some(shown) = Mounted::read_only(&stage.store_path()) else {
        return;
    };
    let examined = look(shown.path());
    assert_eq!(with(&examined, Health::Problem), [""; 0], "{examined:#?}");
    let access = check(&examined, "access");
    assert_eq!(access.status, Health::Note);
    assert!(access.found.contains("mounted read-only"), "{access:?}");
    assert_eq!(check(&examined, "reading").status, Health::Ok);
    assert!(
        check(&examined, "locks")
            .found
            .starts_with("shared locks work")
    );
    assert_eq!(check(&examined, "maps").status, Health::Ok);
    assert!(check(&examined, "holes").found.starts_with("not tried: "));
    // Where nothing can be made, that is the problem.
    let examined = look(shown.path().join("packs/inside"));
    assert_eq!(with(&examined, Health::Problem), ["access"]);
}

#[test]
fn what_another_user_may_not_do_is_said() {
    const CHILD: &str = "DOCTOR_OTHER_USER";
    if let Some(store) = is_child(CHILD) {
        let (store, expected) = store.split_once(' ').unwrap();
        let examined = look(store);
        let mut problems = with(&examined, Health::Problem);
        problems.sort_unstable();
        assert_eq!(problems.join(","), expected, "{examined:#?}");
        let access = check(&examined, "access");
        let uid = rustix::process::getuid().as_raw();
        assert!(
            access.found.contains(&format!("(uid {uid}) may not")),
            "{access:?}"
        );
        return;
    }
    if !rustix::process::getuid().is_root() {
        println!("skipped: only root becomes another user");
        return;
    }
    let stage = Stage::new();
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let readable = stage.path("test-binary");
    fs::copy(std::env::current_exe().unwrap(), &readable).unwrap();
    let store = stage.store_path();
    drop(store_with_content(&store));
    let look_as_nobody = |path: &Path, expected: &str| {
        let output = std::process::Command::new(&readable)
            .args([
                "--exact",
                "doctor_file_systems::what_another_user_may_not_do_is_said",
            ])
            .current_dir("/")
            .env(CHILD, format!("{} {expected}", path.display()))
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap();
        assert_passed(&output);
    };
    // It may read, which is no problem; where nothing is, it may not make one.
    look_as_nobody(&store, "");
    look_as_nobody(&stage.path("other"), "access");
    for (closed, expected) in [("roots", "access,contents"), (".", "access,store")] {
        let folder = store.join(closed);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        look_as_nobody(&store, expected);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
