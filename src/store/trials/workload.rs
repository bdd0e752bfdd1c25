//! What a store is put to: steps in order, each entered in the ledger before and after.

use std::path::{Path, PathBuf};

use super::ledger::{Ledger, Presence};
use crate::block::{Block, Cid, HashFunction, RAW};
use crate::dag::Profile;
use crate::fsio::Files;
use crate::store::{
    AddOptions, PinAs, PinOptions, RemoveOptions, Store, StoreError, StoreOptions, hash_reader,
};

/// Small, so that a few files are several chunks and several packs.
const CHUNK_BYTES: usize = 8 << 10;
const PACK_BYTES: u64 = (64 + 16) << 10;

/// One call. Contents are named by letters, each other bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Add(&'static str, Pin),
    /// With its pins.
    Remove(&'static str),
    Pin(&'static str, &'static str),
    Unpin(&'static str),
    /// Puts each letter as a block, and commits.
    Session(&'static str),
    Read(&'static str),
    /// Closes the store and opens it again.
    Reopen,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Pin {
    No,
    Named(&'static str),
    /// Moves the name.
    Moves(&'static str),
}

/// Every step there is, and what shares what with another.
pub(super) const ALL_KINDS: [Step; 10] = [
    Step::Add("ab", Pin::Named("first")),
    Step::Read("ab"),
    Step::Add("abcdef", Pin::No),
    Step::Add("ab", Pin::No),
    Step::Remove("ab"),
    Step::Add("ab", Pin::Moves("first")),
    Step::Session("xy"),
    Step::Reopen,
    Step::Pin("second", "abcdef"),
    Step::Unpin("first"),
];

/// What the steps add.
pub(super) fn letters_of(steps: &[Step]) -> Vec<&'static str> {
    let added = steps.iter().filter_map(|step| match step {
        Step::Add(letters, _) => Some(*letters),
        _ => None,
    });
    added.collect()
}

/// A content: for each letter a chunk of its own, so that two contents share the chunks of a letter.
pub(super) fn content(letters: &str) -> Vec<u8> {
    let chunks = letters.bytes().map(|letter| chunk(letter, CHUNK_BYTES));
    let mut content = chunks.collect::<Vec<_>>().concat();
    // So that not all ends at a chunk's end.
    content.truncate(content.len() - 100);
    content
}

fn chunk(letter: u8, len: usize) -> Vec<u8> {
    let bytes = (0..len).map(|i| (i * 7 + i / 251) as u8 ^ letter);
    bytes.collect()
}

fn profile() -> Profile {
    Profile::default().with_chunk_bytes(CHUNK_BYTES).unwrap()
}

fn add_options(pin: Pin) -> AddOptions {
    let named = |name: &str, replace| PinAs::Named {
        name: name.to_owned(),
        replace,
    };
    AddOptions::default()
        .with_profile(profile())
        .with_pin(match pin {
            Pin::No => PinAs::No,
            Pin::Named(name) => named(name, false),
            Pin::Moves(name) => named(name, true),
        })
}

pub(super) fn cid(letters: &str) -> Cid {
    let report = hash_reader(&content(letters)[..], &add_options(Pin::No));
    report.unwrap().cid
}

fn block(letter: u8) -> Block {
    Block::new(RAW, HashFunction::Sha2_256, chunk(letter, 500))
}

pub(super) fn options() -> StoreOptions {
    StoreOptions {
        memory_bytes: 0,
        threads: 1,
        pack_bytes: PACK_BYTES,
        profile: profile(),
        ..StoreOptions::default()
    }
}

/// A store on some disk, and what it has promised so far.
pub(super) struct Run {
    path: PathBuf,
    files: Files,
    store: Option<Store>,
    pub(super) ledger: Ledger,
}

impl Run {
    pub(super) fn new(path: &Path, files: Files) -> Self {
        Self {
            path: path.to_path_buf(),
            files,
            store: None,
            ledger: Ledger::default(),
        }
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
            None => super::open(&self.path, &self.files, options())?,
        };
        self.ledger.made();
        Ok(self.store.insert(store))
    }

    fn begin(&mut self, step: Step) {
        let ledger = &mut self.ledger;
        match step {
            Step::Add(letters, pin) => {
                let cid = cid(letters);
                if ledger.presence(&cid) != Presence::Must {
                    ledger.object(cid, &content(letters), Presence::May);
                }
                if let Pin::Named(name) | Pin::Moves(name) = pin {
                    ledger.name_may(name, Some(cid));
                }
            }
            Step::Remove(letters) => {
                let cid = cid(letters);
                ledger.object(cid, &content(letters), Presence::May);
                for name in ledger.names_of(&cid) {
                    ledger.name_may(&name, None);
                }
            }
            Step::Pin(name, letters) => ledger.name_may(name, Some(cid(letters))),
            Step::Unpin(name) => ledger.name_may(name, None),
            Step::Session(letters) => {
                for block in letters.bytes().map(block) {
                    if ledger.presence(block.cid()) != Presence::Must {
                        ledger.block(*block.cid(), block.data(), Presence::May);
                    }
                }
            }
            Step::Read(_) | Step::Reopen => {}
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
            Step::Remove(letters) => {
                let cid = cid(letters);
                ledger.object(cid, &content(letters), Presence::MustNot);
                for name in ledger.names_of(&cid) {
                    ledger.name_is(&name, None);
                }
            }
            Step::Pin(name, letters) => ledger.name_is(name, Some(cid(letters))),
            Step::Unpin(name) => ledger.name_is(name, None),
            Step::Session(letters) => {
                for block in letters.bytes().map(block) {
                    ledger.block(*block.cid(), block.data(), Presence::Must);
                }
            }
            Step::Read(_) | Step::Reopen => {}
        }
    }

    fn perform(&mut self, step: Step) -> Result<(), StoreError> {
        if matches!(step, Step::Reopen) {
            self.store = None;
        }
        let store = self.opened()?;
        match step {
            Step::Add(letters, pin) => {
                let added = store.add_reader(&content(letters)[..], &add_options(pin))?;
                assert_eq!(added.cid, cid(letters));
            }
            Step::Remove(letters) => {
                store.remove(&cid(letters).into(), &RemoveOptions::with_unpin())?;
            }
            Step::Pin(name, letters) => {
                store.pin(&cid(letters).into(), &PinOptions::named(name))?;
            }
            Step::Unpin(name) => {
                store.unpin(&name.parse().unwrap())?;
            }
            Step::Session(letters) => {
                let mut session = store.session();
                for block in letters.bytes().map(block) {
                    session.put_block(&block)?;
                }
                session.commit()?;
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

/// Opens what is left of a store on a disk that is well, and checks that it keeps what it has promised, goes
/// on doing so, and takes in all of `letters`, again or for the first time.
pub(super) fn check_what_is_left(
    path: &Path,
    ledger: &Ledger,
    letters: &[&'static str],
) -> Result<(), String> {
    let files = Files::real();
    let said = |e: StoreError| e.to_string();
    match super::open_reader(path, files) {
        Ok(reader) => ledger.check_reader(&reader)?,
        Err(StoreError::Absent { .. }) if !ledger.is_made() => {}
        Err(e) => return Err(format!("a reader: {e}")),
    }
    let store = super::open(path, files, options()).map_err(said)?;
    ledger.check(&store)?;
    drop(store);
    let mut run = Run::new(path, files.clone());
    run.ledger = ledger.clone();
    for letters in letters {
        let again = run.step(Step::Add(letters, Pin::No), |_| {});
        again.map_err(|e| format!("adding {letters} again: {e}"))?;
    }
    let store = run.store().expect("open since the first step");
    run.ledger.check(store)
}
