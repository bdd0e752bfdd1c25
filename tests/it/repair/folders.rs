//! `FORMAT`, `gone`, the index, and the store's folders.

use std::fs;
use std::os::unix::fs::symlink;

use ipfs_accelerate::{
    Defect, Explain, GcOptions, Profile, Remedy, RemoveOptions, RepairOptions, Store, StoreReader,
};

use super::*;

#[test]
fn a_lost_format_is_made_again_from_what_the_other_files_name() {
    for damage in ["missing", "empty", "torn", "bytes", "version"] {
        let sample = Sample::small();
        let format = sample.store().join("FORMAT");
        let whole = fs::read(&format).unwrap();
        match damage {
            "missing" => fs::remove_file(&format).unwrap(),
            "empty" => change(&format, Vec::clear),
            "torn" => change(&format, |content| content.truncate(60)),
            "bytes" => change(&format, |content| content[whole.len() - 9..].fill(0x5a)),
            _ => change(&format, |content| {
                content[13] ^= 1;
                content[whole.len() - 1] ^= 1;
            }),
        }
        for error in [
            Store::open(sample.store()).unwrap_err(),
            StoreReader::open(sample.store()).unwrap_err(),
            Store::open_or_create(sample.store(), Default::default()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), "damaged", "{damage}: {error}");
            assert!(error.to_string().contains("FORMAT"), "{error}");
            assert!(error.hint().unwrap().contains("repair"));
        }
        let report = sample.repair();
        assert_eq!(said(&report), [(Defect::Format, Remedy::Made)], "{damage}");
        assert_eq!(report.findings[0].path, format);
        sample.assert_whole();
        // The profile is that of most objects.
        let store = sample.stage.open();
        let expected = Profile::default().with_chunk_bytes(CHUNK).unwrap();
        assert_eq!(store.profile().name(), expected.name());
    }
}

#[test]
fn more_packs_of_another_store_than_files_of_its_own_do_not_make_a_store_the_other_one() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(1, 3_000);
    let cid = add_bytes(&store, &content).cid;
    drop(store);
    let gone = fs::read(stage.path("store/gone")).unwrap();
    let format = fs::read(stage.path("store/FORMAT")).unwrap();
    let other = Stage::new();
    let theirs = other.create();
    (2..9).for_each(|seed| drop(add_bytes(&theirs, &bytes(seed, 3_000))));
    drop(theirs);
    for pack in other.stored("packs") {
        let to = stage.path("store/packs").join(pack.file_name().unwrap());
        fs::copy(pack, to).unwrap();
    }
    fs::remove_file(stage.path("store/FORMAT")).unwrap();
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    let report = apply_repair(&plan).unwrap();
    assert_eq!(said(&report)[0], (Defect::Format, Remedy::Made));
    assert_eq!(said(&report)[1..], [(Defect::Foreign, Remedy::Left); 7]);
    assert_eq!(fs::read(stage.path("store/gone")).unwrap(), gone);
    assert_eq!(fs::read(stage.path("store/FORMAT")).unwrap(), format);
    assert_eq!(read(&stage.open(), &of(cid)), content);
}

#[test]
fn files_of_another_store_are_outvoted_and_said() {
    let sample = Sample::small();
    let other = Sample::small();
    let theirs = other.stage.stored("packs").remove(0);
    fs::copy(
        &theirs,
        sample
            .store()
            .join("packs")
            .join(theirs.file_name().unwrap()),
    )
    .unwrap();
    fs::remove_file(sample.store().join("FORMAT")).unwrap();
    let report = sample.repair();
    let expected = [
        (Defect::Format, Remedy::Made),
        (Defect::Foreign, Remedy::Left),
    ];
    assert_eq!(said(&report), expected);
    sample.assert_whole();
}

#[test]
fn a_lost_gone_is_made_again_and_what_no_root_covers_is_dead() {
    let other = Sample::small();
    for damage in ["missing", "torn", "bytes", "foreign"] {
        let sample = Sample::small();
        let store = Store::open_with(sample.store(), small_packs(150_000)).unwrap();
        // Leaves holes in packs that stay: the first file is still in the other object.
        store
            .remove(&target("model"), &RemoveOptions::with_unpin())
            .unwrap();
        let plan = store.plan_gc(&GcOptions::default()).unwrap();
        assert!(store.apply_gc(&plan).unwrap().ranges > 0);
        drop(store);
        let gone = sample.store().join("gone");
        match damage {
            "missing" => fs::remove_file(&gone).unwrap(),
            "torn" => change(&gone, |content| content.truncate(80)),
            "bytes" => change(&gone, |content| content[70..80].fill(0x5a)),
            _ => drop(fs::copy(other.store().join("gone"), &gone).unwrap()),
        }
        for error in [
            Store::open(sample.store()).unwrap_err(),
            StoreReader::open(sample.store()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), "damaged", "{error}");
            assert!(error.hint().unwrap().contains("repair"), "{error}");
        }
        let report = sample.repair();
        assert_eq!(said(&report), [(Defect::Gone, Remedy::Made)], "{damage}");
        assert!(report.needs_verify);
        assert!(!sample.plan().needs_verify, "it is said once");
        // A hole never passes for a block: what was removed is written anew.
        let store = Store::open_with(sample.store(), small_packs(150_000)).unwrap();
        let model = sample.object("model");
        let options = sample.options(model).named("model");
        let again = store
            .add_path(sample.stage.path("model"), &options)
            .unwrap();
        assert!(again.new_bytes > 50_000, "{again:?}");
        drop(store);
        sample.assert_whole();
    }
}

#[test]
fn format_and_gone_of_which_one_byte_was_changed_are_what_they_were() {
    let sample = Sample::small();
    for (file, defect) in [("FORMAT", Defect::Format), ("gone", Defect::Gone)] {
        let path = sample.store().join(file);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(3) {
            flip(&path, at);
            let report = sample.repair();
            assert_eq!(said(&report), [(defect, Remedy::Made)], "{file} {at}");
            assert!(!report.needs_verify);
            assert_eq!(fs::read(&path).unwrap(), whole, "{file} {at}");
        }
    }
    sample.assert_whole();
}

#[test]
fn missing_folders_are_made() {
    let sample = Sample::small();
    fs::remove_dir_all(sample.store().join("tmp")).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::FolderMissing, Remedy::Made)]);
    sample.assert_whole();

    let saved = sample.stage.path("names");
    fs::rename(sample.store().join("names"), &saved).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report), [(Defect::FolderMissing, Remedy::Made)]);
    assert!(report.findings[0].advice.unwrap().contains("pin"));
    fs::remove_dir(sample.store().join("names")).unwrap();
    fs::rename(&saved, sample.store().join("names")).unwrap();
    sample.assert_whole();

    let saved = sample.stage.path("packs");
    fs::rename(sample.store().join("packs"), &saved).unwrap();
    let report = sample.repair();
    assert_eq!(said(&report)[0], (Defect::FolderMissing, Remedy::Made));
    assert!(
        report
            .findings
            .iter()
            .filter(|f| f.defect == Defect::PackMissing)
            .count()
            >= 4
    );
    fs::remove_dir(sample.store().join("packs")).unwrap();
    fs::rename(&saved, sample.store().join("packs")).unwrap();
    assert_eq!(sample.repair().findings, []);
    sample.assert_whole();
}

#[test]
fn links_and_files_in_place_of_folders_are_refused() {
    for folder in ["packs", "roots", "names", "tmp"] {
        let sample = Sample::small();
        let aside = sample.stage.path("aside");
        fs::rename(sample.store().join(folder), &aside).unwrap();
        symlink(&aside, sample.store().join(folder)).unwrap();
        let error = plan_repair(sample.store(), &RepairOptions::default()).unwrap_err();
        assert_eq!(error.kind(), "damaged");
        assert!(error.to_string().contains("symbolic link"), "{error}");
        fs::remove_file(sample.store().join(folder)).unwrap();
        fs::write(sample.store().join(folder), "a file").unwrap();
        let error = plan_repair(sample.store(), &RepairOptions::default()).unwrap_err();
        assert_eq!(error.kind(), "damaged");
        assert_eq!(fs::read(sample.store().join(folder)).unwrap(), b"a file");
    }
}

#[test]
fn an_index_that_is_not_one_is_made_anew() {
    let sample = Sample::small();
    let db = sample.store().join("db");
    for damage in [
        "missing",
        "empty",
        "file",
        "link",
        "link inside",
        "garbage",
        "cut",
        "mark",
    ] {
        let remove = || fs::remove_dir_all(&db).unwrap();
        let data = db.join("db");
        match damage {
            "missing" => remove(),
            "empty" => {
                remove();
                fs::create_dir(&db).unwrap();
            }
            "file" => {
                remove();
                fs::write(&db, "a file").unwrap();
            }
            "link" => {
                remove();
                symlink("nowhere", &db).unwrap();
            }
            "link inside" => symlink("/nowhere", db.join("more")).unwrap(),
            "garbage" => change(&data, |content| content.fill(0x5a)),
            "cut" => change(&data, |content| content.truncate(content.len() / 2)),
            _ => fs::write(db.join("rebuild"), "").unwrap(),
        }
        let report = sample.repair();
        // sled takes a file that was cut off for an older one, which is no defect.
        if damage != "cut" {
            assert_eq!(said(&report), [(Defect::Index, Remedy::Made)], "{damage}");
        }
        assert!(db.join("db").exists());
        sample.assert_whole();
    }
}

#[test]
fn an_older_index_is_no_defect() {
    let stage = Stage::new();
    drop(stage.create());
    let early = snapshot(&stage.store_path().join("db"));
    let store = stage.open();
    let cid = add_bytes(&store, &bytes(1, 100_000)).cid;
    drop(store);
    for (path, (_, content)) in &early {
        if path.is_file() {
            fs::write(path, content).unwrap();
        }
    }
    let plan = plan_repair(stage.store_path(), &RepairOptions::default()).unwrap();
    assert_eq!(apply_repair(&plan).unwrap().findings, []);
    assert!(stage.open().has_block(&cid).unwrap());
}

#[test]
fn opening_warns_of_each_damaged_file() {
    let sample = Sample::small();
    let pack = sample.stage.stored("packs").remove(0);
    flip(&pack, 60);
    let root = sample.root("unpinned");
    change(&root, |content| content.truncate(100));
    let name = sample.store().join("names/tuned");
    flip(&name, 20);
    fs::remove_file(sample.root("framed")).unwrap();
    let lines = warnings(|| drop(sample.stage.open()));
    for path in [&pack, &root, &name] {
        let of_path = lines
            .iter()
            .filter(|line| line.contains(path.to_str().unwrap()));
        let of_path = of_path.filter(|line| line.contains("run `repair`"));
        assert_eq!(of_path.count(), 1, "{path:?}: {lines:#?}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.contains("\"framed\"") && line.contains("run `repair`"))
    );
}

#[test]
fn a_missing_pack_is_warned_of_once_and_named_with_the_object() {
    let sample = Sample::small();
    let pack = sample.pack_with(&bytes(1, 400_000)[..1_000]);
    fs::remove_file(&pack).unwrap();
    let lines = warnings(|| drop(sample.stage.open()));
    let of_pack = |line: &&String| line.contains(pack.to_str().unwrap());
    let lines: Vec<_> = lines.iter().filter(of_pack).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("missing") && lines[0].contains("run `repair`"));
    let model = sample.object("model").cid;
    let reader = StoreReader::open(sample.store()).unwrap();
    let error = reader.read(&target("model/weights/a.bin")).unwrap_err();
    assert_eq!(error.kind(), "pack_missing", "{error}");
    assert!(error.to_string().contains(&model.to_string()), "{error}");
    assert!(error.hint().unwrap().contains("repair"));
}

#[test]
fn with_gone_lost_nothing_good_under_a_root_that_is_not_ours_is_dead() {
    let sample = Sample::small();
    let root = sample.root("framed");
    let whole = fs::read(&root).unwrap();
    // Of the same object in another store.
    fs::copy(Sample::small().root("framed"), &root).unwrap();
    fs::remove_file(sample.store().join("gone")).unwrap();
    let report = sample.repair();
    let said = said(&report);
    assert!(said.contains(&(Defect::Gone, Remedy::Made)), "{said:?}");
    assert!(said.contains(&(Defect::Foreign, Remedy::Left)), "{said:?}");
    fs::write(&root, whole).unwrap();
    sample.assert_whole();
}

/// What is warned of meanwhile in this thread.
fn warnings(work: impl FnOnce()) -> Vec<String> {
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);
    impl Visit for Lines {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }
    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN && metadata.target().starts_with("ipfs_accelerate")
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), work);
    let lines = lines.0.lock().unwrap();
    lines.clone()
}

/// Small blocks before a run that begins at a multiple of 64 KiB leave a gap as long as a padding once they went.
#[test]
fn with_gone_lost_what_was_removed_before_an_aligned_run_is_dead_again() {
    let stage = Stage::new();
    let store = stage.create();
    let (small, run) = (bytes(1, 30_000), bytes(2, 400_000));
    stage.file("g/a", &small);
    stage.file("g/b", &run);
    let options = AddOptions::default().with_pin(ipfs_accelerate::PinAs::No);
    let folder = store.add_path(stage.path("g"), &options).unwrap().cid;
    store
        .pin(&target(format!("{folder}/b")), &PinOptions::named("b"))
        .unwrap();
    store
        .remove(&of(folder), &RemoveOptions::default())
        .unwrap();
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    store.apply_gc(&plan).unwrap();
    drop(store);
    fs::remove_file(stage.store_path().join("gone")).unwrap();
    let mut restoring = RepairOptions::default();
    restoring.restore = true;
    for options in [RepairOptions::default(), restoring] {
        let plan = plan_repair(stage.store_path(), &options).unwrap();
        assert_eq!(apply_repair(&plan).unwrap().left(), 0);
        assert_eq!(plan.restorable, []);
    }
    // As on a file system without holes.
    for pack in stage.stored("packs") {
        let content = fs::read(&pack).unwrap();
        change(&pack, |old| old.clone_from(&content));
    }
    let store = stage.open();
    let added = store
        .add_path(stage.path("g/a"), &AddOptions::default())
        .unwrap();
    assert_eq!(added.new_bytes, 30_000);
    assert_eq!(read(&store, &of(added.cid)), small);
    assert_eq!(read(&store, &target("b")), run);
}
