//! Packs: sealed, aligned, spanned by large files, and kept or dropped with the add that wrote them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use ipfs_accelerate::{
    AddOptions, Cid, Explain, GcOptions, HealOptions, Profile, RemoveOptions, RepairOptions, Store,
    StoreError, StoreReader, VerifyOptions, apply_repair, plan_repair,
};

use super::store_kit::*;

const MIB: usize = 1 << 20;

/// Where a piece of content stands in the packs.
fn offsets_of(stage: &Stage, piece: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    for path in stage.stored("packs") {
        let pack = fs::read(path).unwrap();
        found.extend(
            (0..pack.len())
                .step_by(64)
                .filter(|&at| pack[at..].starts_with(piece)),
        );
    }
    found
}

#[test]
fn a_file_over_several_packs_reads_back_and_maps_as_one_slice() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(2 * MIB as u64));
    let content = bytes(1, 7 * MIB + 12_345);
    let added = store.add_reader(&content[..], &unpinned()).unwrap();
    assert_eq!(stage.stored("packs").len(), 4);
    assert!(read(&store, &of(added.cid)) == content);
    let stat = store.stat(&of(added.cid)).unwrap();
    assert_eq!(stat.extents, 4);
    let reader = store.reader(&of(added.cid)).unwrap();
    for range in [
        0..content.len(),
        MIB + 7..5 * MIB + 3,
        2 * MIB - 1..2 * MIB + 1,
    ] {
        let slice = reader.slice(range.start as u64..range.end as u64).unwrap();
        assert_eq!(slice.copied(), None, "{range:?}");
        assert!(slice[..] == content[range.clone()], "{range:?}");
    }
    assert!(stage.stored("roots").len() == 1, "the loose root is gone");
}

#[test]
fn chunks_smaller_than_a_page_boundary_stitch_across_packs_too() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(300_000));
    let profile = Profile::default().with_chunk_bytes(32 << 10).unwrap();
    let content = bytes(2, 1_500_000);
    let options = unpinned().with_profile(profile.clone());
    let path = stage.file("f", &content);
    let added = store.add_path(&path, &options).unwrap();
    assert!(stage.stored("packs").len() > 3);
    let slice = store
        .reader(&of(added.cid))
        .unwrap()
        .slice(0..1_500_000)
        .unwrap();
    assert_eq!(slice.copied(), None);
    assert!(slice[..] == content);
}

#[test]
fn runs_of_64_kib_start_on_65536_bytes_and_smaller_ones_on_64() {
    let stage = Stage::new();
    let store = stage.create();
    let cases = [
        (10, 65_536, Profile::default(), 65_536),
        (11, 65_537, Profile::default(), 65_536),
        (12, 3 * MIB + 1, Profile::default(), 65_536),
        // A run of small chunks is as long as the file.
        (
            13,
            70_000,
            Profile::default().with_chunk_bytes(1_000).unwrap(),
            65_536,
        ),
        (14, 65_535, Profile::default(), 64),
        (15, 100, Profile::default(), 64),
    ];
    // All in one pack, each behind something that leaves the cursor odd.
    for (seed, len, _, _) in &cases {
        stage.file(&format!("all/{seed}-a"), &bytes(100 + seed, 333));
        stage.file(&format!("all/{seed}-b"), &bytes(*seed, *len));
    }
    for (seed, len, profile, align) in cases {
        let options = unpinned().with_profile(profile);
        let added = store
            .add_path(stage.path(&format!("all/{seed}-b")), &options)
            .unwrap();
        assert_eq!(added.new_bytes, len as u64);
        let content = bytes(seed, len);
        let offsets = offsets_of(&stage, &content[..content.len().min(1_000)]);
        let [offset] = offsets[..] else {
            panic!("{seed}: {offsets:?}")
        };
        assert_eq!(offset % align, 0, "{len} bytes at {offset}");
    }
    let other = Stage::new();
    let store = other.create();
    store.add_path(stage.path("all"), &unpinned()).unwrap();
    assert_eq!(other.stored("packs").len(), 1);
    for (seed, len, align) in [
        (10, 65_536, 65_536),
        (12, 3 * MIB + 1, 65_536),
        (15, 100, 64),
    ] {
        let offsets = offsets_of(&other, &bytes(seed, len));
        let [offset] = offsets[..] else {
            panic!("{seed}: {offsets:?}")
        };
        assert_eq!(offset % align, 0, "{len} bytes at {offset}");
    }
}

#[test]
fn a_pack_is_read_only_and_takes_little_more_than_its_payload() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(3, 40 * MIB);
    add_bytes(&store, &content);
    let [pack] = &stage.stored("packs")[..] else {
        panic!("one pack")
    };
    let metadata = fs::metadata(pack).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o444);
    let on_disk = metadata.blocks() * 512;
    assert!(on_disk as f64 <= 1.01 * content.len() as f64, "{on_disk}");
    let totals = store.totals().unwrap();
    assert_eq!(totals.pack_disk_bytes, on_disk);
    assert_eq!((totals.packs, totals.objects, totals.pins), (1, 1, 0));
    assert_eq!(totals.content_bytes, content.len() as u64);
}

/// Adds content until the process is killed after a given number of bytes.
#[test]
fn a_killed_import_keeps_its_sealed_packs_and_adding_again_finds_them() {
    const CHILD: &str = "STORE_PACKS_KILLED";
    let content = bytes(4, 64 * MIB);
    if let Some(store) = is_child(CHILD) {
        let store = Store::open_with(store, small_packs(8 * MIB as u64)).unwrap();
        let mut options = AddOptions::default();
        options.progress = Some(Arc::new(|p| {
            if p.done_bytes >= 40 << 20 {
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
            }
        }));
        let _ = store.add_reader(&content[..], &options);
        panic!("it should have been killed");
    }
    let stage = Stage::new();
    drop(stage.create());
    let child = again_in_a_child(
        "store_packs::a_killed_import_keeps_its_sealed_packs_and_adding_again_finds_them",
        CHILD,
        stage.store_path().to_str().unwrap(),
    )
    .output()
    .unwrap();
    assert!(!child.status.success());
    assert!(!String::from_utf8_lossy(&child.stdout).contains("should have been"));

    let sealed = stage.stored("packs");
    assert!((3..=5).contains(&sealed.len()), "{sealed:?}");
    let roots = stage.stored("roots");
    assert!(
        matches!(&roots[..], [one] if one.file_name().unwrap().to_str().unwrap().starts_with("loose-")),
        "{roots:?}"
    );
    assert!(!stage.stored("tmp").is_empty(), "work in progress");
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert!(reader.objects().unwrap().is_empty() && reader.pins().unwrap().is_empty());

    let store = stage.open();
    assert!(stage.stored("tmp").is_empty());
    let added = store
        .add_reader(&content[..], &AddOptions::default())
        .unwrap();
    assert!(
        added.shared_bytes >= 8 * MIB as u64 * sealed.len() as u64,
        "{added:?}"
    );
    assert!(read(&store, &of(added.cid)) == content);
    assert!(sealed.iter().all(|pack| pack.exists()));
}

#[test]
fn an_add_that_is_cancelled_or_panics_leaves_the_store_as_it_was() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 * MIB as u64));
    add_bytes(&store, b"something is there");
    let content = bytes(5, 64 * MIB);

    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = AddOptions::default().named("never");
    options.cancel = Some(Arc::clone(&cancel));
    let packs = stage.store_path().join("packs");
    options.progress = Some(Arc::new(move |p| {
        if p.done_bytes >= 40 << 20 {
            assert!(
                fs::read_dir(&packs).unwrap().count() > 5,
                "packs were sealed"
            );
            cancel.store(true, Ordering::Relaxed);
        }
    }));
    let error = refused(&stage, || store.add_reader(&content[..], &options));
    assert_eq!(error.kind(), "cancelled");

    options.cancel = None;
    options.progress = Some(Arc::new(|p| {
        assert!(p.done_bytes < 40 << 20, "the caller's own panic")
    }));
    let before = stage.on_disk();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        store.add_reader(&content[..], &options)
    }));
    assert!(panic.is_err());
    assert_eq!(stage.on_disk(), before);
    // Nothing is locked for good, and nothing is known that is not there.
    let added = add_bytes(&store, &content);
    assert_eq!(added.new_bytes, 64 << 20);
    assert!(read(&store, &of(added.cid)) == content);
}

/// A stream that hands out what it is sent, and fails at the end.
struct Fed(Receiver<Vec<u8>>, Vec<u8>);

impl Read for Fed {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self
                .0
                .recv()
                .map_err(|_| std::io::Error::other("the line was cut"))?;
        }
        let len = out.len().min(self.1.len());
        out[..len].copy_from_slice(&self.1[..len]);
        self.1.drain(..len);
        Ok(len)
    }
}

#[test]
fn packs_of_a_failed_add_stay_only_if_another_add_found_a_block_in_them() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 * MIB as u64));
    let content = bytes(6, 64 * MIB);
    let (feed, line) = channel();
    let (sealed, reached) = channel();
    let mut options = unpinned();
    options.progress = Some(Arc::new(move |p| sealed.send(p.done_bytes).unwrap()));
    let failing = {
        let store = store.clone();
        std::thread::spawn(move || store.add_reader(Fed(line, Vec::new()), &options))
    };
    feed.send(content.clone()).unwrap();
    while reached.recv().unwrap() < 32 << 20 {}
    let early = stage.stored("packs").len();
    assert!(early >= 4, "{early}");

    // The first MiB lies in the first pack of the add that goes on.
    let kept = store.add_reader(&content[..MIB], &unpinned()).unwrap();
    assert_eq!((kept.new_bytes, kept.shared_bytes), (0, MIB as u64));
    drop(feed);
    let error = failing.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("the line was cut"), "{error}");
    assert_eq!(
        stage.stored("packs").len(),
        1,
        "the one that was found stays"
    );
    assert!(stage.stored("tmp").is_empty());
    assert!(read(&store, &of(kept.cid)) == content[..MIB]);
    drop(store);
    let store = stage.open();
    assert!(read(&store, &of(kept.cid)) == content[..MIB]);
    let again = add_bytes(&store, &content);
    assert!(again.shared_bytes >= 4 << 20, "{again:?}");
    assert!(read(&store, &of(again.cid)) == content);
}

#[test]
fn a_pin_inside_an_add_that_fails_keeps_what_it_needs() {
    let stage = Stage::new();
    let store = stage.create_with(small_packs(4 * MIB as u64));
    let content = bytes(7, 64 * MIB);
    let leaf = ipfs_accelerate::leaf(&content[..MIB], &Profile::default()).cid;
    let (feed, line) = channel();
    let (sealed, reached) = channel();
    let mut options = unpinned();
    options.progress = Some(Arc::new(move |p| sealed.send(p.done_bytes).unwrap()));
    let failing = {
        let store = store.clone();
        std::thread::spawn(move || store.add_reader(Fed(line, Vec::new()), &options))
    };
    feed.send(content.clone()).unwrap();
    while reached.recv().unwrap() < 32 << 20 {}
    // A leaf of the unfinished add becomes an object of its own.
    store.pin(&of(leaf), &Default::default()).unwrap();
    drop(feed);
    assert!(failing.join().unwrap().is_err());
    assert!(read(&store, &of(leaf)) == content[..MIB]);
    drop(store);
    assert!(read(&stage.open(), &of(leaf)) == content[..MIB]);
}

#[test]
fn a_damaged_pack_is_not_taken_for_content_that_is_there() {
    let stage = Stage::new();
    let store = stage.create();
    let content = bytes(8, 2 * MIB);
    let added = add_bytes(&store, &content);
    drop(store);
    let [pack] = &stage.stored("packs")[..] else {
        panic!("one pack")
    };
    fs::set_permissions(pack, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(pack).unwrap();
    file.set_len(MIB as u64).unwrap();

    let store = stage.open();
    let error = store.to_reader().read(&of(added.cid)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { path, .. } if path == pack),
        "{error}"
    );
    // Adding it again writes it again, and the object is whole.
    let again = add_bytes(&store, &content);
    assert_eq!((again.cid, again.new_bytes), (added.cid, 2 * MIB as u64));
    assert!(read(&store, &of(added.cid)) == content);
    for cid in [
        added.cid,
        ipfs_accelerate::leaf(&content[..MIB], &Profile::default()).cid,
    ] {
        assert_eq!(*store.get_block(&cid).unwrap().cid(), cid);
    }
    drop(store);
    assert!(read(&stage.open(), &of(added.cid)) == content);
}

const FEW_FILES: &str = "IPFS_ACCELERATE_TEST_FEW_FILES";

/// Run again as a process that may open few files.
#[test]
fn a_store_of_more_packs_than_files_can_be_open_is_used_in_every_way() {
    if is_child(FEW_FILES).is_none() {
        let name = "store_packs::a_store_of_more_packs_than_files_can_be_open_is_used_in_every_way";
        let child = again_in_a_child(name, FEW_FILES, "1");
        let limit = ["sh", "-c", "ulimit -n 80 && exec \"$0\" \"$@\""];
        let ran = under(&limit, &child).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}{errors}");
        return;
    }
    let stage = Stage::new();
    let store = stage.create();
    let contents: Vec<Vec<u8>> = (0..200).map(|seed| bytes(seed, 300)).collect();
    let cids: Vec<Cid> = contents
        .iter()
        .map(|content| add_bytes(&store, content).cid)
        .collect();
    assert_eq!(stage.stored("packs").len(), 200);
    let damaged = super::verify::damage(&stage, &contents[7]);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!((report.findings.len(), report.packs), (1, 200));
    let good = stage.file("good", &contents[7]);
    let healed = store.heal(&report, &[good], &HealOptions::default());
    assert_eq!(healed.unwrap().remaining, [], "{damaged:?}");
    drop(store);
    let reader = StoreReader::open(stage.store_path()).unwrap();
    assert_eq!(reader.list_objects().unwrap().entries.len(), 200);
    reader.verify(&VerifyOptions::default()).unwrap();
    reader.space().unwrap();
    drop(reader);
    fs::remove_dir_all(stage.store_path().join("db")).unwrap();
    let mut options = RepairOptions::default();
    options.rehash = true;
    apply_repair(&plan_repair(stage.store_path(), &options).unwrap()).unwrap();
    let store = stage.open();
    for cid in &cids[..199] {
        store
            .remove(&of(*cid), &RemoveOptions::with_unpin())
            .unwrap();
    }
    let plan = store.plan_gc(&GcOptions::default()).unwrap();
    assert!(store.apply_gc(&plan).unwrap().packs >= 199);
    assert_eq!(read(&store, &of(cids[199])), contents[199]);
}
