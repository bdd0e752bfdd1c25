//! A store and a plain map are driven by the same operations, with the store opened again at random, its database
//! lost at random, and collections in between. Whatever the map has, the store has, whole; and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ipfs_accelerate::{
    AbsorbOptions, AddOptions, Block, Cid, GcOptions, HashFunction, PinOptions, Profile, RAW,
    RemoveOptions, RepairOptions, Store, StoreError, StoreOptions, VerifyOptions, plan_repair,
};
use proptest::prelude::*;

use super::gc::gc_with;
use super::store_kit::*;

#[derive(Clone, Debug)]
enum Op {
    Add {
        content: usize,
        pin: Option<usize>,
    },
    Refer {
        content: usize,
    },
    Absorb {
        content: usize,
    },
    Remove {
        content: usize,
        unpin: bool,
    },
    Pin {
        content: usize,
        name: usize,
        replace: bool,
    },
    Unpin {
        name: usize,
    },
    Session {
        blocks: Vec<usize>,
    },
    Collect,
    CollectAll,
    Verify,
    Reopen {
        lose_database: bool,
    },
    Hold {
        content: usize,
    },
    LetGo,
}

const CONTENTS: usize = 8;
const NAMES: usize = 4;
const BLOCKS: usize = 6;

fn op() -> impl Strategy<Value = Op> {
    let content = 0..CONTENTS;
    let name = 0..NAMES;
    prop_oneof![
        6 => (content.clone(), proptest::option::of(name.clone()))
            .prop_map(|(content, pin)| Op::Add { content, pin }),
        2 => content.clone().prop_map(|content| Op::Refer { content }),
        1 => content.clone().prop_map(|content| Op::Absorb { content }),
        4 => (content.clone(), any::<bool>())
            .prop_map(|(content, unpin)| Op::Remove { content, unpin }),
        2 => (content.clone(), name.clone(), any::<bool>())
            .prop_map(|(content, name, replace)| Op::Pin { content, name, replace }),
        2 => name.prop_map(|name| Op::Unpin { name }),
        2 => proptest::collection::vec(0..BLOCKS, 1..4).prop_map(|blocks| Op::Session { blocks }),
        3 => Just(Op::Collect),
        1 => Just(Op::CollectAll),
        1 => Just(Op::Verify),
        2 => any::<bool>().prop_map(|lose_database| Op::Reopen { lose_database }),
        1 => content.prop_map(|content| Op::Hold { content }),
        1 => Just(Op::LetGo),
    ]
}

/// Contents of several blocks that share some of them.
fn content(number: usize) -> Vec<u8> {
    let shared = bytes(100 + number as u64 % 3, 40_000);
    let own = bytes(number as u64, 3_000 + 20_000 * number);
    match number % 4 {
        0 => own,
        1 => [&shared[..], &own].concat(),
        2 => [&own[..], &shared].concat(),
        _ => [&shared[..], &own, &shared].concat(),
    }
}

fn block(number: usize) -> Block {
    // Some of them are blocks of contents too.
    let data = match number {
        0..3 => bytes(100 + number as u64, 40_000)[..4_096].to_vec(),
        _ => bytes(500 + number as u64, 5_000),
    };
    Block::new(RAW, HashFunction::Sha2_256, data)
}

struct Run {
    stage: Stage,
    store: Store,
    cids: Vec<Cid>,
    /// What is published.
    there: BTreeSet<usize>,
    pins: BTreeMap<String, usize>,
    /// Blocks of sessions that no collection may have taken yet.
    blocks: BTreeSet<usize>,
    held: Vec<(usize, ipfs_accelerate::StoredFile)>,
}

fn name(number: usize) -> String {
    format!("name-{number}")
}

fn options() -> StoreOptions {
    let mut options = small_packs(50_000);
    options.threads = 1;
    options
}

fn profile() -> Profile {
    Profile::default().with_chunk_bytes(4_096).unwrap()
}

impl Run {
    fn new() -> Self {
        let stage = Stage::new();
        let store = stage.create_with(options());
        let cid = |number| ipfs_accelerate::cid_of_reader(&content(number)[..], &profile());
        let cids = (0..CONTENTS)
            .map(|number| cid(number).unwrap().cid)
            .collect();
        Self {
            stage,
            store,
            cids,
            there: BTreeSet::new(),
            pins: BTreeMap::new(),
            blocks: BTreeSet::new(),
            held: Vec::new(),
        }
    }

    /// A file of the user's with this content.
    fn source(&self, number: usize) -> PathBuf {
        let path = self.stage.path(&format!("source-{number}"));
        if !path.exists() {
            fs::write(&path, content(number)).unwrap();
        }
        path
    }

    fn is_pinned(&self, content: usize) -> bool {
        self.pins.values().any(|pinned| *pinned == content)
    }

    fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Add {
                content: number,
                pin,
            } => {
                let mut options = unpinned().with_profile(profile());
                if let Some(pin) = pin {
                    options = AddOptions::default()
                        .with_profile(profile())
                        .named(name(pin));
                }
                let added = self.store.add_reader(&content(number)[..], &options);
                let taken = pin.and_then(|pin| self.pins.get(&name(pin)));
                if taken.is_some_and(|taken| *taken != number) {
                    assert!(
                        matches!(added, Err(StoreError::NameTaken { .. })),
                        "{added:?}"
                    );
                    return;
                }
                assert_eq!(added.unwrap().cid, self.cids[number]);
                self.there.insert(number);
                if let Some(pin) = pin {
                    self.pins.insert(name(pin), number);
                }
            }
            Op::Refer { content: number } => {
                let mut options = unpinned().with_profile(profile());
                options.reference = true;
                let source = self.source(number);
                let added = self.store.add_path(source, &options).unwrap();
                assert_eq!(added.cid, self.cids[number]);
                self.there.insert(number);
            }
            Op::Absorb { content } => {
                let options = AbsorbOptions::default();
                let absorbed = self.store.absorb(&of(self.cids[content]), &options);
                assert_eq!(absorbed.is_ok(), self.there.contains(&content));
                if absorbed.is_ok() {
                    let stat = self.store.stat(&of(self.cids[content])).unwrap();
                    assert_eq!(stat.referenced_bytes, 0);
                }
            }
            Op::Remove { content, unpin } => {
                let options = match unpin {
                    true => RemoveOptions::with_unpin(),
                    false => RemoveOptions::default(),
                };
                let removed = self.store.remove(&of(self.cids[content]), &options);
                if !self.there.contains(&content) {
                    assert!(removed.is_err());
                } else if self.is_pinned(content) && !unpin {
                    assert!(
                        matches!(removed, Err(StoreError::Pinned { .. })),
                        "{removed:?}"
                    );
                } else {
                    removed.unwrap();
                    self.there.remove(&content);
                    self.pins.retain(|_, pinned| *pinned != content);
                }
            }
            Op::Pin {
                content,
                name: number,
                replace,
            } => {
                let mut options = PinOptions::named(name(number));
                options.replace = replace;
                let pinned = self.store.pin(&of(self.cids[content]), &options);
                let taken = self
                    .pins
                    .get(&name(number))
                    .is_some_and(|taken| *taken != content);
                match pinned {
                    Ok(_) => {
                        assert!(replace || !taken);
                        // One that was removed is put together again from its blocks while they are there.
                        self.there.insert(content);
                        self.pins.insert(name(number), content);
                    }
                    Err(StoreError::NameTaken { .. }) => assert!(taken && !replace),
                    Err(StoreError::NotPublished { .. } | StoreError::BlockAbsent { .. }) => {
                        assert!(!self.there.contains(&content));
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            Op::Unpin { name: number } => {
                let unpinned = self.store.unpin(&target(name(number)));
                assert_eq!(unpinned.is_ok(), self.pins.remove(&name(number)).is_some());
            }
            Op::Session { blocks } => {
                let mut session = self.store.session();
                for number in &blocks {
                    session.put_block(&block(*number)).unwrap();
                }
                session.commit().unwrap();
                self.blocks.extend(blocks);
            }
            Op::Collect => {
                gc_with(&self.store, &GcOptions::default());
            }
            Op::CollectAll => {
                let mut options = GcOptions::default();
                options.unpinned = true;
                options.grace = Duration::ZERO;
                gc_with(&self.store, &options);
                let pinned = self.pins.values().copied();
                // What is held is in use.
                let held = self.held.iter().map(|(content, _)| *content);
                let stays: BTreeSet<usize> = pinned.chain(held).collect();
                self.there.retain(|content| stays.contains(content));
                self.blocks.clear();
            }
            Op::Verify => {
                let report = self.store.verify(&VerifyOptions::default()).unwrap();
                assert!(report.findings.is_empty(), "{:?}", report.findings);
                let plan = plan_repair(self.stage.store_path(), &RepairOptions::default());
                let found = plan.unwrap().findings;
                assert!(found.is_empty(), "{found:?}");
            }
            Op::Reopen { lose_database } => {
                // Files that are held have what they need without the store.
                let path = self.stage.store_path();
                let other = Stage::new();
                let store = std::mem::replace(&mut self.store, other.create());
                drop(store);
                if lose_database {
                    fs::remove_dir_all(path.join("db")).unwrap();
                }
                self.store = Store::open_with(path, options()).unwrap();
            }
            Op::Hold { content } => {
                if self.there.contains(&content) {
                    let reader = self.store.to_reader();
                    let file = reader.open_file(&of(self.cids[content])).unwrap();
                    self.held.push((content, file));
                }
            }
            Op::LetGo => self.held.clear(),
        }
    }

    fn check(&self) {
        let published: BTreeSet<Cid> = self
            .store
            .objects()
            .unwrap()
            .iter()
            .map(|object| object.cid)
            .collect();
        let expected: BTreeSet<Cid> = self
            .there
            .iter()
            .map(|content| self.cids[*content])
            .collect();
        assert_eq!(published, expected);
        for number in &self.there {
            assert!(read(&self.store, &of(self.cids[*number])) == content(*number));
        }
        let pins: BTreeMap<String, Cid> = self
            .store
            .pins()
            .unwrap()
            .into_iter()
            .map(|pin| (pin.name, pin.cid))
            .collect();
        let expected = self
            .pins
            .iter()
            .map(|(name, number)| (name.clone(), self.cids[*number]));
        assert_eq!(pins, expected.collect());
        for number in &self.blocks {
            let block = block(*number);
            assert_eq!(self.store.get_block(block.cid()).unwrap(), block);
        }
        for (number, file) in &self.held {
            assert!(file.read().unwrap() == content(*number));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_does_what_a_plain_map_does(ops in proptest::collection::vec(op(), 1..40)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.check();
        }
        run.apply(&Op::LetGo);
        run.apply(&Op::Reopen { lose_database: true });
        run.check();
        // With everything removed and collected nothing is left.
        run.apply(&Op::CollectAll);
        for number in 0..CONTENTS {
            run.apply(&Op::Remove { content: number, unpin: true });
        }
        run.apply(&Op::CollectAll);
        run.check();
        prop_assert_eq!(run.stage.stored("packs").len(), 0);
        prop_assert_eq!(run.stage.stored("roots").len(), 0);
    }
}
