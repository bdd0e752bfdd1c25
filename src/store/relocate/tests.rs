//! Moving blocks that are whole: joining packs, and failures on the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::block::{HashFunction, RAW};
use crate::dag::Profile;
use crate::fsio::{Files, RealDisk};
use crate::store::collect;
use crate::store::folder::StoreFolder;
use crate::store::index::{IndexSlot, MemoryIndex};
use crate::store::inner;
use crate::store::read::ReadCore;
use crate::store::trials::faults::{Failure, Fault, FaultyDisk};
use crate::store::trials::scratch;
use crate::store::{
    AddOptions, Finding, FindingKind, GcOptions, Store, StoreOptions, StoreReader, VerifyOptions,
    writer_lock,
};

const CHUNK: usize = 70_000;

fn options() -> StoreOptions {
    StoreOptions {
        threads: 1,
        memory_bytes: 0,
        // A child that another test starts may hold a copy of the lock for a moment.
        lock_timeout: Duration::from_secs(30),
        ..StoreOptions::default()
    }
}

fn open(path: &Path, files: &Files) -> Result<Inner, StoreError> {
    let core = ReadCore::on(StoreFolder::on(path, files.clone()))?;
    let lock = writer_lock::take(&core.folder, &options())?;
    let memory = |folder: &StoreFolder| IndexSlot::with(Box::<MemoryIndex>::default(), folder);
    Inner::open_over(core, lock, options(), memory)
}

fn content(seed: u8, chunks: usize) -> Vec<u8> {
    (0..chunks * CHUNK)
        .map(|i| (i * 7 + i / 251 + i / CHUNK) as u8 ^ seed)
        .collect()
}

fn add(store: &Store, content: &[u8]) -> Cid {
    let profile = Profile::default().with_chunk_bytes(CHUNK).unwrap();
    let options = AddOptions::default().with_profile(profile);
    store.add_reader(content, &options).unwrap().cid
}

/// Three packs: a file, another that shares half of it, and blocks of a session.
fn sample(path: &Path) -> Vec<(Cid, Vec<u8>)> {
    let store = Store::create(path).unwrap();
    let first = content(1, 4);
    let second = [
        content(2, 1),
        first[CHUNK..3 * CHUNK].to_vec(),
        content(3, 1),
    ]
    .concat();
    let mut session = store.session();
    for seed in 5..8 {
        let block = Block::new(RAW, HashFunction::Sha2_256, content(seed, 1));
        session.put_block(&block).unwrap();
    }
    let objects = vec![(add(&store, &first), first), (add(&store, &second), second)];
    session.commit().unwrap();
    objects
}

/// Every block of every pack that is not dead.
fn all(store: &Inner) -> Result<Vec<(Cid, Place)>, StoreError> {
    let mut all = Vec::new();
    for id in inner::list(store.folder())? {
        let table = store.core.packs.open(id)?.table()?;
        all.extend(table.rows.iter().map(|row| {
            let place = Place {
                pack: id,
                offset: row.offset,
                len: row.len,
            };
            (row.cid.0, place)
        }));
    }
    all.retain(|(_, place)| store.registry.is_good(place));
    Ok(all)
}

/// The bytes of a block from where it lies.
fn from_its_place(store: &Inner, block: &Relocated) -> Result<Option<Good>, StoreError> {
    let pack = store.core.packs.open(block.from.pack)?;
    let data = pack.read(block.from.offset, block.from.len as usize)?;
    Ok(Some(Good::Block(Block::verified(block.cid, data)?)))
}

/// Moves everything that is alive into new packs.
pub(crate) fn move_all(store: &Inner) -> Result<Relocation, StoreError> {
    let blocks = arrange(&store.core, all(store)?)?;
    relocate(
        store,
        &blocks,
        &|block, _| from_its_place(store, block),
        None,
    )
}

fn collect(store: &Inner) {
    let plan = collect::plan(&store.core, &GcOptions::default()).unwrap();
    collect::collect(store, &plan).unwrap();
}

fn check(path: &Path, objects: &[(Cid, Vec<u8>)]) {
    assert_eq!(findings(path, objects), []);
}

/// As [`check`], where a move may have failed: the index of these tests is a new one at each opening, so what that left
/// is not told from a pack whose root is lost.
fn check_but_left(path: &Path, objects: &[(Cid, Vec<u8>)]) {
    let mut found = findings(path, objects);
    found.retain(|finding| finding.kind != FindingKind::UnrootedPack);
    assert_eq!(found, []);
}

/// What a verification finds; all objects are whole.
fn findings(path: &Path, objects: &[(Cid, Vec<u8>)]) -> Vec<Finding> {
    let reader = StoreReader::open(path).unwrap();
    for (cid, content) in objects {
        assert!(reader.read(&(*cid).into()).unwrap() == *content);
    }
    let report = reader.verify(&VerifyOptions::default());
    report.unwrap().findings
}

#[test]
fn packs_are_joined_into_one_and_files_become_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let objects = sample(&path);
    let store = open(&path, Files::real()).unwrap();
    let before: BTreeSet<PackId> = inner::list(store.folder()).unwrap().into_iter().collect();
    assert_eq!(before.len(), 3);
    let used = |cid: &Cid| {
        let root = crate::store::root::object_path(store.folder(), cid);
        std::fs::metadata(root).unwrap().modified().unwrap()
    };
    let times: Vec<_> = objects.iter().map(|(cid, _)| used(cid)).collect();
    let relocation = move_all(&store).unwrap();
    assert_eq!((relocation.left.len(), relocation.roots), (0, 3));
    // Whoever looks a block up is led to its new place, before and after the old ones are gone.
    let placed = |store: &Inner| {
        for (block, to) in &relocation.moved {
            assert_eq!(store.place(block.cid.hash()).unwrap(), Some(*to));
        }
    };
    placed(&store);
    assert_eq!(
        objects.iter().map(|(cid, _)| used(cid)).collect::<Vec<_>>(),
        times
    );
    check(&path, &objects);
    collect(&store);
    let after = inner::list(store.folder()).unwrap();
    assert_eq!(after.len(), 1);
    assert!(after.iter().all(|id| !before.contains(id)));
    placed(&store);
    check(&path, &objects);
    // The first of them is one run now, and what it shares makes the other one three pieces.
    let extents = |cid: &Cid| {
        let root = store.core.open_root(cid, true).unwrap().unwrap();
        root.record.extents.len()
    };
    let mut pieces: Vec<usize> = objects.iter().map(|(cid, _)| extents(cid)).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [1, 3]);
    // What a lost root could be made again from came along.
    let id = *after.iter().next().unwrap();
    let notes = store.core.packs.open(id).unwrap().table().unwrap().objects;
    let noted: BTreeSet<Cid> = notes.iter().map(|note| note.cid.0).collect();
    assert_eq!(noted, objects.iter().map(|(cid, _)| *cid).collect());
}

#[test]
fn a_block_that_lies_in_two_packs_is_known_whichever_of_them_an_index_learned_first() {
    // Which one that is goes by their ids, which are random.
    for _ in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        sample(&path);
        let store = open(&path, Files::real()).unwrap();
        let blocks = all(&store).unwrap();
        move_all(&store).unwrap();
        drop(store);
        let store = open(&path, Files::real()).unwrap();
        collect(&store);
        for (cid, _) in blocks {
            assert!(store.place(cid.hash()).unwrap().is_some(), "{cid}");
        }
    }
}

#[test]
fn what_the_source_has_nothing_for_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let objects = sample(&path);
    let store = open(&path, Files::real()).unwrap();
    let blocks = arrange(&store.core, all(&store).unwrap()).unwrap();
    let some =
        |block: &Relocated| block.from.offset.is_multiple_of(128) && block.cid.codec() == RAW;
    let source = |block: &Relocated, _: &Holder| match some(block) {
        true => from_its_place(&store, block),
        false => Ok(None),
    };
    let relocation = relocate(&store, &blocks, &source, None).unwrap();
    assert!(!relocation.moved.is_empty() && !relocation.left.is_empty());
    collect(&store);
    check(&path, &objects);
    // Bytes of another block are none.
    let other = Block::new(RAW, HashFunction::Sha2_256, vec![0; 10]);
    let wrong = |_: &Relocated, _: &Holder| Ok(Some(Good::Block(other.clone())));
    let relocation = relocate(&store, &blocks, &wrong, None).unwrap();
    assert_eq!(
        (relocation.moved.len(), relocation.left.len()),
        (0, blocks.len())
    );
}

#[test]
fn a_pack_keeps_a_block_that_stays_though_as_many_move_as_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    sample(&path);
    let store = open(&path, Files::real()).unwrap();
    let single = |seed| Block::new(RAW, HashFunction::Sha2_256, content(seed, 1));
    let mut blocks = all(&store).unwrap();
    let in_session = |cid: &Cid| (5..8).any(|seed| single(seed).cid() == cid);
    blocks.retain(|(cid, _)| in_session(cid));
    let (stays, place) = blocks.pop().unwrap();
    // Where a table lost a row, that is healed too.
    let lost = single(9);
    let beyond = Place {
        offset: place.offset + (64 << 20),
        ..place
    };
    blocks.push((*lost.cid(), beyond));
    let blocks = arrange(&store.core, blocks).unwrap();
    let source = |block: &Relocated, _: &Holder| match block.cid == *lost.cid() {
        true => Ok(Some(Good::Block(lost.clone()))),
        false => from_its_place(&store, block),
    };
    let relocation = relocate(&store, &blocks, &source, None).unwrap();
    assert_eq!((relocation.moved.len(), relocation.roots), (3, 1));
    collect(&store);
    assert_eq!(store.place(stays.hash()).unwrap(), Some(place));
}

#[test]
fn an_operation_that_fails_leaves_roots_that_are_old_or_new_and_whole() {
    let dir = scratch();
    let template = dir.path().join("template");
    let objects = sample(&template);
    let listed = |path: &Path, folder: &str| -> BTreeSet<std::ffi::OsString> {
        let entries = std::fs::read_dir(path.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    // A loose root is rewritten under its own name.
    let roots_in = |path: &Path| -> Vec<_> {
        let read = |name| {
            let content = std::fs::read(path.join("roots").join(&name)).unwrap();
            (name, content)
        };
        listed(path, "roots").into_iter().map(read).collect()
    };
    for lasting in [false, true] {
        let mut failures = 0;
        for nth in 1.. {
            let path = dir.path().join("store");
            let _ = std::fs::remove_dir_all(&path);
            copy(&template, &path);
            let disk = FaultyDisk::new(
                Arc::new(RealDisk),
                Fault {
                    kinds: &[],
                    nth,
                    failure: Failure::Errno(Errno::IO),
                    lasting,
                },
            );
            let Ok(store) = open(&path, &disk.files()) else {
                continue;
            };
            let opened = disk.has_failed();
            let moved = move_all(&store);
            let is_past = !disk.has_failed();
            drop(store);
            if moved.is_err() && !opened {
                failures += 1;
                // Of a sync that failed nobody knows what it did, so nothing is undone.
                let is_sync = matches!(&moved, Err(StoreError::File(e)) if e.action == "sync");
                if !lasting && !is_sync && roots_in(&path) == roots_in(&template) {
                    let packs = listed(&path, "packs");
                    assert_eq!(packs, listed(&template, "packs"), "{nth}: {moved:?}");
                }
            }
            check_but_left(&path, &objects);
            let store = open(&path, Files::real()).unwrap();
            collect(&store);
            check_but_left(&path, &objects);
            // It can be done again.
            move_all(&store).unwrap();
            collect(&store);
            drop(store);
            check_but_left(&path, &objects);
            if is_past {
                break;
            }
        }
        assert!(failures > 20, "{failures}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
