//! Writing objects out: whole or not at all, and never outside of the output.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ipfs_accelerate::{ExportOptions, PinKind, PinOptions, RemoveOptions, Store, StoreError};

use super::store_kit::*;

fn forced() -> ExportOptions {
    let mut options = ExportOptions::default();
    options.force = true;
    options
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn with_folder(stage: &Stage) -> (Store, ipfs_accelerate::Target) {
    stage.file("m/a", &bytes(1, 2_100_000));
    stage.file("m/sub/b", b"b");
    stage.file("m/sub/empty", b"");
    symlink("sub/b", stage.path("m/link")).unwrap();
    symlink("../a", stage.path("m/sub/up")).unwrap();
    fs::create_dir(stage.path("m/nothing")).unwrap();
    let store = stage.create();
    let added = store.add_path(stage.path("m"), &unpinned()).unwrap();
    (store, of(added.cid))
}

#[test]
fn a_folder_comes_out_as_it_went_in_and_its_size_is_said() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let written = Arc::new(AtomicU64::new(0));
    let mut options = ExportOptions::default();
    let count = Arc::clone(&written);
    options.progress = Some(Arc::new(move |bytes| {
        count.fetch_add(bytes, Ordering::Relaxed);
    }));
    let report = store.export(&folder, stage.path("out"), &options).unwrap();
    assert_eq!((report.files, report.bytes), (3, 2_100_001));
    assert_eq!(written.load(Ordering::Relaxed), 2_100_001);
    assert_eq!(names(&stage.path("out")), ["a", "link", "nothing", "sub"]);
    assert!(fs::read(stage.path("out/a")).unwrap() == bytes(1, 2_100_000));
    assert_eq!(fs::read(stage.path("out/link")).unwrap(), b"b");
    assert_eq!(
        fs::read_link(stage.path("out/sub/up")).unwrap(),
        Path::new("../a")
    );
    assert_eq!(fs::read(stage.path("out/sub/empty")).unwrap(), b"");
    // A part of it alone, and a single file.
    store
        .export(
            &folder.join("nothing").unwrap(),
            stage.path("none"),
            &options,
        )
        .unwrap();
    assert!(names(&stage.path("none")).is_empty());
    store
        .export(&folder.join("sub/b").unwrap(), stage.path("b"), &options)
        .unwrap();
    assert_eq!(fs::read(stage.path("b")).unwrap(), b"b");
    // What comes out is writable.
    fs::write(stage.path("b"), b"mine").unwrap();
    assert_eq!(read(&store, &folder.join("sub/b").unwrap()), b"b");
}

#[test]
fn an_existing_output_is_refused_and_replaced_with_force() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let file = folder.join("sub/b").unwrap();
    fs::create_dir(stage.path("there")).unwrap();
    fs::write(stage.path("there/file"), b"old").unwrap();
    fs::create_dir(stage.path("there/folder")).unwrap();
    fs::write(stage.path("there/folder/inside"), b"old").unwrap();
    symlink("nowhere", stage.path("there/dangling")).unwrap();
    let before = names(&stage.path("there"));
    for output in [
        "there/file",
        "there/folder",
        "there/dangling",
        ".",
        "there/..",
    ] {
        for object in [&file, &folder] {
            let error = refused(&stage, || {
                store.export(object, stage.path(output), &Default::default())
            });
            assert!(
                matches!(error, StoreError::OutputExists { .. }),
                "{output}: {error}"
            );
        }
    }
    assert_eq!(names(&stage.path("there")), before);
    assert_eq!(fs::read(stage.path("there/file")).unwrap(), b"old");
    for output in ["there/file", "there/dangling"] {
        // A folder is not thrown away for a file, nor the other way round.
        let error = refused(&stage, || {
            store.export(&folder, stage.path(output), &forced())
        });
        assert!(matches!(error, StoreError::OutputKind { .. }), "{error}");
        store.export(&file, stage.path(output), &forced()).unwrap();
        assert_eq!(fs::read(stage.path(output)).unwrap(), b"b");
        assert!(
            !fs::symlink_metadata(stage.path(output))
                .unwrap()
                .is_symlink()
        );
    }
    let error = refused(&stage, || {
        store.export(&file, stage.path("there/folder"), &forced())
    });
    assert!(matches!(error, StoreError::OutputKind { .. }), "{error}");
    assert_eq!(fs::read(stage.path("there/folder/inside")).unwrap(), b"old");
    store
        .export(&folder, stage.path("there/folder"), &forced())
        .unwrap();
    assert_eq!(fs::read(stage.path("there/folder/sub/b")).unwrap(), b"b");
    assert!(!stage.path("there/folder/inside").exists());
    assert_eq!(names(&stage.path("there")), before, "nothing else is left");
    store.export(&file, stage.path("fresh"), &forced()).unwrap();
    assert_eq!(fs::read(stage.path("fresh")).unwrap(), b"b");
}

#[test]
fn nothing_takes_the_place_of_a_pipe_or_a_device() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let made = Command::new("mkfifo").arg(stage.path("pipe")).status();
    assert!(made.unwrap().success());
    symlink("pipe", stage.path("to_pipe")).unwrap();
    symlink("/dev/null", stage.path("to_device")).unwrap();
    let there = [
        ("pipe", "a named pipe"),
        ("to_pipe", "a named pipe"),
        ("to_device", "a device"),
    ];
    for options in [ExportOptions::default(), forced()] {
        for (output, expected) in there {
            let path = stage.path(output);
            let before = fs::symlink_metadata(&path).unwrap().ino();
            let error = store.export(&folder, &path, &options).unwrap_err();
            let StoreError::OutputKind { there, .. } = error else {
                panic!("{output}: {error}");
            };
            assert_eq!(there, expected, "{output}");
            assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
        }
    }
}

#[test]
fn with_force_the_output_is_never_missing_and_never_half() {
    let stage = Stage::new();
    let store = stage.create();
    let contents = [bytes(2, 400_000), bytes(3, 700_000)];
    let cids = [
        add_bytes(&store, &contents[0]).cid,
        add_bytes(&store, &contents[1]).cid,
    ];
    let output = stage.path("out");
    store.export(&of(cids[0]), &output, &forced()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let got = fs::read(&output).unwrap();
                assert!(contents.contains(&got), "{} bytes", got.len());
            }
        });
        for i in 0..60 {
            store.export(&of(cids[i % 2]), &output, &forced()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn links_that_leave_the_output_are_refused_before_anything_is_written() {
    for (link, to) in [
        ("l", "/etc/passwd"),
        ("l", ".."),
        ("l", "../outside"),
        ("sub/l", "../../x"),
        // Through another link, nobody knows where a step up leads.
        ("l", "sub/../../x"),
    ] {
        let stage = Stage::new();
        stage.file("m/sub/a", b"a");
        symlink(to, stage.path("m").join(link)).unwrap();
        let store = stage.create();
        let added = store.add_path(stage.path("m"), &unpinned()).unwrap();
        let before = names(&stage.path("."));
        for options in [ExportOptions::default(), forced()] {
            let error = refused(&stage, || {
                store.export(&of(added.cid), stage.path("out"), &options)
            });
            assert!(
                matches!(&error, StoreError::EscapingLink { link: l, target } if l == link && target == to),
                "{error}"
            );
        }
        assert_eq!(names(&stage.path(".")), before);
        // The files that are no links can be had one by one.
        let one = target(format!("{}/sub/a", added.cid));
        store
            .export(&one, stage.path("out"), &Default::default())
            .unwrap();
    }
}

#[test]
fn a_cancelled_export_leaves_nothing_and_the_old_output() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = forced();
    options.cancel = Some(Arc::clone(&cancel));
    let seen = Arc::clone(&cancel);
    options.progress = Some(Arc::new(move |_| seen.store(true, Ordering::Relaxed)));
    fs::create_dir(stage.path("place")).unwrap();
    fs::create_dir(stage.path("place/out")).unwrap();
    fs::write(stage.path("place/out/file"), b"old").unwrap();
    let error = refused(&stage, || {
        store.export(&folder, stage.path("place/out"), &options)
    });
    assert!(matches!(error, StoreError::Cancelled), "{error}");
    assert_eq!(names(&stage.path("place")), ["out"]);
    assert_eq!(fs::read(stage.path("place/out/file")).unwrap(), b"old");
}

#[test]
fn an_output_in_a_folder_that_is_not_there_is_an_error_that_names_it() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    for output in ["missing/out", "m/a/out"] {
        let error = refused(&stage, || {
            store.export(&folder, stage.path(output), &Default::default())
        });
        let parent = stage.path(output).parent().unwrap().display().to_string();
        assert!(error.to_string().contains(&parent), "{error}");
        assert!(!stage.path("missing").exists());
    }
}

#[test]
fn an_output_may_have_the_longest_name_that_there_is() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let output = stage.path(&"n".repeat(255));
    store.export(&folder, &output, &Default::default()).unwrap();
    store.export(&folder, &output, &forced()).unwrap();
    assert_eq!(names(&output).len(), 4);
}

#[test]
fn a_single_block_cannot_be_written_out() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let mut direct = PinOptions::default();
    direct.kind = PinKind::Direct;
    let sub = store.stat(&folder.join("sub").unwrap()).unwrap().cid;
    store.pin(&of(sub), &direct).unwrap();
    store.remove(&folder, &RemoveOptions::default()).unwrap();
    let reader = store.to_reader();
    let error = refused(&stage, || {
        reader.export(&of(sub), stage.path("out"), &Default::default())
    });
    assert!(
        matches!(error, StoreError::NotAFile { found: "block", .. }),
        "{error}"
    );
    assert!(!stage.path("out").exists());
}

#[test]
fn a_store_is_neither_replaced_nor_written_into() {
    let stage = Stage::new();
    let (store, folder) = with_folder(&stage);
    let file = store.add_reader(&b"x"[..], &unpinned()).unwrap().cid;
    let other = stage.path("other");
    drop(Store::create(&other).unwrap());
    symlink(stage.store_path(), stage.path("link")).unwrap();
    let own = stage.store_path();
    let above = own.parent().unwrap();
    let outputs = [
        own.clone(),
        above.to_path_buf(),
        own.join("roots/x"),
        own.join("new"),
        own.join("gone"),
        own.join("packs/../x"),
        stage.path("link/roots/x"),
        stage.path("link"),
        other.clone(),
        other.join("names/x"),
    ];
    for output in outputs {
        for target in [&folder, &of(file)] {
            let error = refused(&stage, || store.export(target, &output, &forced()));
            assert!(
                matches!(error, StoreError::OutputInStore { .. }),
                "{}: {error}",
                output.display()
            );
        }
    }
    assert!(!other.join("names/x").exists());
    // A file that is called FORMAT makes no store.
    stage.file("plain/FORMAT", b"of something else");
    store
        .export(&folder, stage.path("plain/out"), &forced())
        .unwrap();
    assert_eq!(store.objects().unwrap().len(), 2);
}
