//! Folders that are sharded (HAMT), through the store: added, resolved, listed, written out, put
//! together from single blocks; and shards that no writer makes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ipfs_accelerate::{
    Block, Cid, DAG_PB, DagError, EntryType, Explain, ExportOptions, FolderEntry, HashFunction,
    Node, Profile, RAW, ShardFault, Store, StoreError, StoreReader, build_folder, cid_of_reader,
    decode, hash_path,
};

use super::store_kit::*;

/// A folder of that many small files; returns it and what is in it.
fn many(stage: &Stage, name: &str, count: usize) -> (PathBuf, BTreeMap<String, Vec<u8>>) {
    let folder = stage.path(name);
    fs::create_dir_all(&folder).unwrap();
    let mut files = BTreeMap::new();
    for number in 0..count {
        let name = format!("weights-é-{number:05}.bin");
        let content = bytes(number as u64, number % 40);
        fs::write(folder.join(&name), &content).unwrap();
        files.insert(name, content);
    }
    (folder, files)
}

/// All blocks of a folder of those files, by the functions of the DAG layer, and its CID.
fn blocks_of(files: &BTreeMap<String, Vec<u8>>) -> (Cid, Vec<Block>) {
    let profile = Profile::default();
    let mut blocks = Vec::new();
    let mut entries = Vec::new();
    for (name, content) in files {
        let leaf = Block::new(RAW, HashFunction::Sha2_256, content.clone());
        entries.push(FolderEntry {
            name: name.clone(),
            cid: *leaf.cid(),
            tsize: content.len() as u64,
        });
        blocks.push(leaf);
    }
    let mut keep = |block| {
        blocks.push(block);
        Ok::<_, DagError>(())
    };
    let root = build_folder(entries, &profile, &mut keep).unwrap();
    (root.cid, blocks)
}

fn put_all<'b>(store: &Store, blocks: impl IntoIterator<Item = &'b Block>) {
    let mut session = store.session();
    for block in blocks {
        session.put_block(block).unwrap();
    }
    session.commit().unwrap();
}

fn assert_at(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(fs::read_dir(folder).unwrap().count(), files.len());
    for (name, content) in files {
        assert!(fs::read(folder.join(name)).unwrap() == *content, "{name}");
    }
}

#[test]
fn a_folder_of_6000_files_is_sharded_and_everything_in_it_is_found_by_name() {
    let stage = Stage::new();
    let store = stage.create();
    let (folder, files) = many(&stage, "many", 6_000);
    let (cid, blocks) = blocks_of(&files);
    let added = store.add_path(&folder, &unpinned()).unwrap();
    assert_eq!(added.cid, cid);
    assert_eq!((added.kind, added.files), (EntryType::Folder, 6_000));
    assert_eq!(added.blocks, blocks.len() as u64);
    assert_eq!(hash_path(&folder, &unpinned()).unwrap().cid, cid);
    let top = store.get_node(&cid).unwrap();
    assert!(matches!(&*top, Node::Shard { fanout: 256, .. }));

    drop(store);
    let store = stage.open();
    let reader = StoreReader::open(stage.store_path()).unwrap();
    let listed = reader.list(&of(cid)).unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(names, files.keys().map(String::as_str).collect::<Vec<_>>());
    let size: usize = files.values().map(Vec::len).sum();
    let stat = reader.stat(&of(cid)).unwrap();
    assert_eq!((stat.kind, stat.size), (EntryType::Folder, size as u64));
    assert_eq!(stat.blocks, blocks.len() as u64);
    let object = reader.resolve(&of(cid)).unwrap();
    for (name, content) in &files {
        assert!(object.read(name).unwrap() == *content, "{name}");
        assert_eq!(object.join(name).unwrap().size(), content.len() as u64);
    }
    let absent = reader.read(&target(format!("{cid}/weights-é-06000.bin")));
    assert!(matches!(absent, Err(StoreError::NoSuchPath { .. })));
    // A slot of the topmost shard is no name of the folder.
    assert!(reader.resolve(&target(format!("{cid}/00"))).is_err());
    for block in &blocks {
        assert_eq!(store.get_block(block.cid()).unwrap(), *block);
    }
    let output = stage.path("out");
    reader
        .export(&of(cid), &output, &ExportOptions::default())
        .unwrap();
    assert_at(&output, &files);
}

#[test]
fn a_sharded_folder_inside_a_sharded_folder_can_be_reached_counted_and_pinned() {
    let stage = Stage::new();
    let store = stage.create();
    let (_, inner) = many(&stage, "outer/in", 5_000);
    let (folder, outer) = many(&stage, "outer", 5_000);
    let added = store.add_path(&folder, &unpinned()).unwrap();
    let (inner_cid, inner_blocks) = blocks_of(&inner);
    let below = target(format!("{}/in", added.cid));
    let reader = store.to_reader();
    assert_eq!(reader.list(&of(added.cid)).unwrap().len(), outer.len() + 1);
    for stat in [reader.stat(&below), reader.stat(&of(inner_cid))] {
        let stat = stat.unwrap();
        assert_eq!((stat.cid, stat.object), (inner_cid, added.cid));
        assert_eq!(stat.blocks, inner_blocks.len() as u64);
    }
    // The pin walks the DAG again and has a record of its own.
    let pin = store.pin(&below, &Default::default()).unwrap();
    assert_eq!(pin.cid, inner_cid);
    store.remove(&of(added.cid), &Default::default()).unwrap();
    let stat = reader.stat(&of(inner_cid)).unwrap();
    assert_eq!((stat.object, stat.kind), (inner_cid, EntryType::Folder));
    assert_eq!(stat.blocks, inner_blocks.len() as u64);
    assert_eq!(reader.list(&of(inner_cid)).unwrap().len(), inner.len());
    for (name, content) in &inner {
        let path = target(format!("{inner_cid}/{name}"));
        assert!(reader.read(&path).unwrap() == *content, "{name}");
    }
}

#[test]
fn shards_that_came_as_single_blocks_are_a_folder() {
    let stage = Stage::new();
    let store = stage.create();
    let files = (0..6_000).map(|n| (format!("f{n:05}"), bytes(n, n as usize % 9)));
    let files: BTreeMap<_, _> = files.collect();
    let (cid, blocks) = blocks_of(&files);
    put_all(&store, &blocks);
    let object = store.resolve(&of(cid)).unwrap();
    assert_eq!(object.kind(), EntryType::Folder);
    assert_eq!(object.stat().unwrap().blocks, blocks.len() as u64);
    assert_eq!(object.list().unwrap().len(), files.len());
    for (name, content) in &files {
        assert!(object.read(name).unwrap() == *content, "{name}");
    }
    let path = target(format!("{cid}/f04321"));
    assert_eq!(store.resolve(&path).unwrap().size(), 4321 % 9);
    store.pin(&of(cid), &Default::default()).unwrap();
    assert!(read(&store, &path) == files["f04321"]);
}

#[test]
fn a_shard_that_is_missing_is_named() {
    let stage = Stage::new();
    let store = stage.create();
    let files = (0..6_000).map(|n| (format!("f{n:05}"), Vec::new()));
    let (cid, blocks) = blocks_of(&files.collect());
    let is_shard = |block: &&Block| block.cid().codec() == DAG_PB && *block.cid() != cid;
    let lost = *blocks.iter().find(is_shard).unwrap().cid();
    put_all(&store, blocks.iter().filter(|block| *block.cid() != lost));
    let error = store.resolve(&of(cid)).unwrap_err();
    let StoreError::BlockAbsent { cid: absent, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(absent, lost);
}

/// A shard of 256 slots, written by hand; the links ascend by slot.
fn shard(links: &[(usize, &str, Cid)]) -> Block {
    let mut block = Vec::new();
    let mut bits = [0_u8; 32];
    for (slot, name, cid) in links {
        bits[31 - slot / 8] |= 1 << (slot % 8);
        let (cid, name) = (cid.to_bytes(), format!("{slot:02X}{name}"));
        let mut link = vec![0x0a, cid.len() as u8];
        link.extend_from_slice(&cid);
        link.extend_from_slice(&[0x12, name.len() as u8]);
        link.extend_from_slice(name.as_bytes());
        link.extend_from_slice(&[0x18, 0]);
        block.extend_from_slice(&[0x12, link.len() as u8]);
        block.extend_from_slice(&link);
    }
    block.extend_from_slice(&[0x0a, 41, 0x08, 5, 0x12, 32]);
    block.extend_from_slice(&bits);
    block.extend_from_slice(&[0x28, 0x22, 0x30, 0x80, 0x02]);
    Block::new(DAG_PB, HashFunction::Sha2_256, block)
}

#[test]
fn shards_that_no_writer_makes_are_refused_and_do_not_take_forever() {
    let stage = Stage::new();
    let store = stage.create();
    let file = Block::new(RAW, HashFunction::Sha2_256, b"x".to_vec());
    let empty = shard(&[]);
    let every_slot = |name, below: &Block| {
        let links: Vec<_> = (0..256).map(|slot| (slot, name, *below.cid())).collect();
        shard(&links)
    };
    let misplaced = every_slot("a", &file);
    let mut repeated = vec![every_slot("", &empty)];
    for _ in 0..6 {
        repeated.push(every_slot("", repeated.last().unwrap()));
    }
    let last = repeated.last().unwrap();
    let deepest = every_slot("", last);
    let too_deep = every_slot("", &deepest);
    let other = shard(&[(0, "", *file.cid())]);
    put_all(
        &store,
        [&file, &empty, &misplaced, &deepest, &too_deep, &other],
    );
    put_all(&store, &repeated);
    for (top, is_expected) in [
        (
            &misplaced,
            (|f| matches!(f, ShardFault::Misplaced { .. })) as fn(&ShardFault) -> bool,
        ),
        (last, |f| *f == ShardFault::Empty),
        (&deepest, |f| *f == ShardFault::Empty),
        (&too_deep, |f| *f == ShardFault::TooDeep { bits: 72 }),
        (&other, |f| *f == ShardFault::OtherNode),
    ] {
        assert!(decode(top.cid(), top.data()).is_ok());
        let error = refused(&stage, || store.pin(&of(*top.cid()), &Default::default()));
        let StoreError::Dag(DagError::Shard { cid, fault }) = &error else {
            panic!("{error}")
        };
        assert!(is_expected(fault), "{error}");
        assert!(error.to_string().contains(&cid.to_string()), "{error}");
        assert!(store.resolve(&of(*top.cid())).is_err());
    }
    // The topmost shard of an empty folder is one.
    assert_eq!(store.list(&of(*empty.cid())).unwrap(), []);
}

#[test]
fn names_that_no_shard_can_tell_apart_are_refused_and_nothing_stays() {
    let stage = Stage::new();
    let store = stage.create();
    let folder = stage.path("many");
    fs::create_dir(&folder).unwrap();
    for number in 0..1_500 {
        fs::write(folder.join(format!("{number:0200}")), b"").unwrap();
    }
    let same = [
        "the-first-name-of-32-bytes....!!",
        "040yaaaaaaaaaaaa'=.|t^<)#K)eq~I$",
    ];
    for name in same {
        fs::write(folder.join(name), b"").unwrap();
    }
    let error = refused(&stage, || store.add_path(&folder, &unpinned()));
    assert_eq!(error.kind(), "name_collision");
    for name in same {
        let shown = name.escape_debug().to_string();
        assert!(error.to_string().contains(&shown), "{error}");
    }
    fs::remove_file(folder.join(same[0])).unwrap();
    let added = store.add_path(&folder, &unpinned()).unwrap();
    assert!(
        store
            .has(&target(format!("{}/{}", added.cid, same[1])))
            .unwrap()
    );
}

#[test]
fn every_profile_shards_what_is_over_its_limit_and_reads_it_back() {
    let stage = Stage::new();
    let store = stage.create();
    let (folder, files) = many(&stage, "many", 7_000);
    for profile in Profile::all() {
        let options = unpinned().with_profile(profile.clone());
        let added = store.add_path(&folder, &options).unwrap();
        let node = store.get_node(&added.cid).unwrap();
        assert!(matches!(&*node, Node::Shard { .. }), "{profile}");
        let cids: HashMap<String, Cid> = store
            .list(&of(added.cid))
            .unwrap()
            .into_iter()
            .map(|entry| (entry.path, entry.cid))
            .collect();
        assert_eq!(cids.len(), files.len());
        for (name, content) in &files {
            let file = cid_of_reader(&content[..], &profile).unwrap();
            assert_eq!(cids[name], file.cid, "{name} under {profile}");
        }
    }
}
