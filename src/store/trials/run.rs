//! Doing the steps to a store, each entered in the ledger before and after.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::indexes::SharedIndex;
use super::ledger::{Ledger, Presence};
use super::workload::{Pin, Scope, Step, add_options, block, chunk, cid, content, options};
use crate::block::{Block, Cid};
use crate::error::FileError;
use crate::fsio::Files;
use crate::store::folder::StoreFolder;
use crate::store::index::{Index, MemoryIndex};
use crate::store::relocate::tests::move_all;
use crate::store::root;
use crate::store::{
    AbsorbOptions, GcOptions, GcReport, HealOptions, PinOptions, RemoveOptions, Store, StoreError,
    VerifyOptions,
};

/// A store on some disk, and what it has promised so far.
pub(super) struct Run {
    path: PathBuf,
    files: Files,
    index: Arc<dyn Index>,
    max_bytes: Option<u64>,
    store: Option<Store>,
    pub(super) ledger: Ledger,
}

impl Run {
    /// Over an index that is empty, and stays when the store is opened again.
    pub(super) fn new(path: &Path, files: Files) -> Self {
        Self::over(path, files, Arc::<MemoryIndex>::default())
    }

    pub(super) fn over(path: &Path, files: Files, index: Arc<dyn Index>) -> Self {
        Self {
            path: path.to_path_buf(),
            files,
            index,
            max_bytes: None,
            store: None,
            ledger: Ledger::default(),
        }
    }

    /// With a quota.
    pub(super) fn within(mut self, max_bytes: Option<u64>) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Does a step, opening the store first where that is still to be done. What fails has promised nothing,
    /// and may have been done all the same.
    pub(super) fn step(
        &mut self,
        step: Step,
        begun: impl FnOnce(&Ledger),
    ) -> Result<(), StoreError> {
        self.begin(step);
        begun(&self.ledger);
        self.perform(step)?;
        self.done(step);
        Ok(())
    }

    /// The store, if it is open.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn opened(&mut self) -> Result<&Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => {
                let mut options = options();
                options.max_bytes = self.max_bytes;
                let index = Box::new(SharedIndex(Arc::clone(&self.index)));
                super::open_over(&self.path, &self.files, options, index)?
            }
        };
        self.ledger.made();
        Ok(self.store.insert(store))
    }

    fn begin(&mut self, step: Step) {
        let ledger = &mut self.ledger;
        if self.max_bytes.is_some() {
            ledger.unpinned_may_go();
        }
        match step {
            Step::Add(letters, pin) => {
                let cid = cid(letters);
                ledger.object_may_come(cid, &content(letters));
                if let Pin::Named(name) | Pin::Moves(name) = pin {
                    ledger.name_may(name, Some(cid));
                }
            }
            Step::Refer(letters) => ledger.object_may_come(cid(letters), &content(letters)),
            Step::Remove(letters) => {
                let cid = cid(letters);
                ledger.object(cid, &content(letters), Presence::May);
                for name in ledger.names_of(&cid) {
                    ledger.name_may(&name, None);
                }
            }
            Step::Pin(name, letters) | Step::Move(name, letters) => {
                ledger.name_may(name, Some(cid(letters)));
            }
            Step::PinInside(name, letter) => {
                let chunk = the_chunk(letter);
                ledger.object_may_come(*chunk.cid(), chunk.data());
                ledger.name_may(name, Some(*chunk.cid()));
            }
            Step::Unpin(name) => ledger.name_may(name, None),
            Step::Session(letters) => ledger.blocks_may_come(letters.bytes().map(block)),
            Step::SessionOfChunks(letters) => ledger.blocks_may_come(letters.bytes().map(chunk)),
            Step::Collect(Scope::Unpinned) => ledger.unpinned_may_go(),
            Step::Heal(letters) => ledger.may_be_damaged(cid(letters)),
            Step::Collect(Scope::Removed)
            | Step::MoveAll
            | Step::Absorb(_)
            | Step::BreakOff(_)
            | Step::AddOverDamage(_)
            | Step::Read(_)
            | Step::Reopen => {}
        }
    }

    fn done(&mut self, step: Step) {
        let ledger = &mut self.ledger;
        match step {
            Step::Add(letters, pin) => {
                let cid = cid(letters);
                ledger.object(cid, &content(letters), Presence::Must);
                if let Pin::Named(name) | Pin::Moves(name) = pin {
                    ledger.name_is(name, Some(cid));
                }
            }
            Step::Refer(letters) => {
                ledger.object(cid(letters), &content(letters), Presence::Must);
            }
            Step::Remove(letters) => {
                let cid = cid(letters);
                ledger.object(cid, &content(letters), Presence::MustNot);
                for name in ledger.names_of(&cid) {
                    ledger.name_is(&name, None);
                }
            }
            Step::Pin(name, letters) | Step::Move(name, letters) => {
                ledger.name_is(name, Some(cid(letters)));
            }
            Step::PinInside(name, letter) => {
                let chunk = the_chunk(letter);
                ledger.object(*chunk.cid(), chunk.data(), Presence::Must);
                ledger.name_is(name, Some(*chunk.cid()));
            }
            Step::Unpin(name) => ledger.name_is(name, None),
            Step::Session(letters) => ledger.blocks(letters.bytes().map(block)),
            Step::SessionOfChunks(letters) => ledger.blocks(letters.bytes().map(chunk)),
            Step::Collect(Scope::Unpinned) => ledger.unpinned_are_gone(),
            Step::Heal(_) => ledger.is_healed(),
            Step::Collect(Scope::Removed)
            | Step::MoveAll
            | Step::Absorb(_)
            | Step::BreakOff(_)
            | Step::AddOverDamage(_)
            | Step::Read(_)
            | Step::Reopen => {}
        }
    }

    fn perform(&mut self, step: Step) -> Result<(), StoreError> {
        if matches!(step, Step::Reopen) {
            self.store = None;
        }
        let files = self.files.clone();
        let store = self.opened()?;
        match step {
            Step::Add(letters, pin) => add(store, letters, pin)?,
            Step::BreakOff(letters) => break_off(store, letters)?,
            Step::AddOverDamage(letters) => {
                damage(&files, store.path(), &cid(letters))?;
                add(store, letters, Pin::No)?;
            }
            Step::Refer(letters) => refer(store, letters)?,
            Step::Absorb(letters) => {
                store.absorb(&cid(letters).into(), &AbsorbOptions::default())?;
            }
            Step::Remove(letters) => {
                store.remove(&cid(letters).into(), &RemoveOptions::with_unpin())?;
            }
            Step::Pin(name, letters) => {
                store.pin(&cid(letters).into(), &PinOptions::named(name))?;
            }
            Step::Move(name, letters) => {
                let mut options = PinOptions::named(name);
                options.replace = true;
                store.pin(&cid(letters).into(), &options)?;
            }
            Step::PinInside(name, letter) => {
                let chunk = *the_chunk(letter).cid();
                store.pin(&chunk.into(), &PinOptions::named(name))?;
            }
            Step::Unpin(name) => {
                store.unpin(&name.parse().unwrap())?;
            }
            Step::Session(letters) => put(store, letters.bytes().map(block))?,
            Step::SessionOfChunks(letters) => put(store, letters.bytes().map(chunk))?,
            Step::Collect(scope) => {
                collect(store, scope)?;
            }
            Step::MoveAll => {
                move_all(store.inner())?;
            }
            Step::Heal(letters) => {
                damage_first_chunk(&files, store, &cid(letters))?;
                heal(store, letters)?;
            }
            Step::Read(letters) => {
                let expected = content(letters);
                let file = store.to_reader().open_file(&cid(letters).into())?;
                assert_eq!(file.read()?, expected);
                let map = file.slice(0..file.size())?;
                assert_eq!(map[..], expected);
            }
            Step::Reopen => {}
        }
        Ok(())
    }
}

fn the_chunk(letter: &str) -> Block {
    chunk(letter.as_bytes()[0])
}

fn add(store: &Store, letters: &'static str, pin: Pin) -> Result<(), StoreError> {
    let added = store.add_reader(&content(letters)[..], &add_options(pin))?;
    assert_eq!(added.cid, cid(letters));
    Ok(())
}

/// The file stands beside the store, and goes with its folder.
fn refer(store: &Store, letters: &'static str) -> Result<(), StoreError> {
    let above = store.path().parent().expect("a folder of its own");
    let folder = above.join("sources");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(letters);
    if !path.exists() {
        std::fs::write(&path, content(letters)).unwrap();
    }
    let mut options = add_options(Pin::No);
    options.reference = true;
    assert_eq!(store.add_path(path, &options)?.cid, cid(letters));
    Ok(())
}

/// Fails at its end.
struct BrokenSource;

impl Read for BrokenSource {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(BROKEN))
    }
}

const BROKEN: &str = "the source broke off";

fn break_off(store: &Store, letters: &str) -> Result<(), StoreError> {
    let content = content(&letters[..letters.len() - 1]);
    let source = (&content[..]).chain(BrokenSource);
    match store.add_reader(source, &add_options(Pin::No)) {
        Err(StoreError::File(e)) if e.source.to_string().contains(BROKEN) => Ok(()),
        Err(e) => Err(e),
        Ok(added) => panic!("added {} from half a source", added.cid),
    }
}

/// Changes a byte of a root that readers pass over.
fn damage(files: &Files, store: &Path, cid: &Cid) -> Result<(), StoreError> {
    let path = root::object_path(&StoreFolder::new(store), cid);
    let file = files.open_write(&path, None)?;
    let last = files.file_metadata(&file, &path)?.len() - 1;
    let mut byte = [0];
    files.read_exact_at(&file, &mut byte, last, &path)?;
    files.write_all_at(&file, &[byte[0] ^ 1], last, &path)?;
    Ok(())
}

fn damage_first_chunk(files: &Files, store: &Store, cid: &Cid) -> Result<(), StoreError> {
    let not_there = || store.inner().core.not_published(cid);
    let root = store.inner().core.open_root(cid, false)?;
    let root = root.ok_or_else(not_there)?.record;
    let place = root.extents.first().expect("it has chunks");
    let pack = root.pack(place.pack);
    let path = store.inner().packs_folder().join(pack.file_name());
    let file = files.open_sealed(&path)?;
    let mut byte = [0];
    files.read_exact_at(&file, &mut byte, place.offset, &path)?;
    files.write_all_at(&file, &[byte[0] ^ 1], place.offset, &path)?;
    Ok(())
}

fn heal(store: &Store, letters: &str) -> Result<(), StoreError> {
    let folder = super::scratch();
    let good = folder.path().join("good");
    std::fs::write(&good, content(letters)).unwrap();
    let found = store.verify(&VerifyOptions::default())?;
    let healed = store.heal(&found, &[good], &HealOptions::default())?;
    match healed.remaining.first() {
        None => Ok(()),
        Some(finding) => {
            let source = io::Error::other(format!("{finding:?}"));
            Err(FileError::new("heal", store.path(), source).into())
        }
    }
}

fn put(store: &Store, blocks: impl Iterator<Item = Block>) -> Result<(), StoreError> {
    let mut session = store.session();
    for block in blocks {
        session.put_block(&block)?;
    }
    session.commit()?;
    Ok(())
}

pub(super) fn collect(store: &Store, scope: Scope) -> Result<GcReport, StoreError> {
    let mut options = GcOptions::default();
    if scope == Scope::Unpinned {
        options.unpinned = true;
        options.grace = Duration::ZERO;
    }
    store.apply_gc(&store.plan_gc(&options)?)
}
