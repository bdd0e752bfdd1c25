//! What a store is put to: steps in order, and the contents that they are about.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::block::{Block, Cid, HashFunction, RAW};
use crate::dag::Profile;
use crate::store::{AddOptions, PinAs, StoreOptions, hash_reader};

/// Small, so that a few files are several chunks and several packs.
const CHUNK_BYTES: usize = 8 << 10;
const PACK_BYTES: u64 = (64 + 16) << 10;

/// One call. Contents are named by letters, each other bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Add(&'static str, Pin),
    /// An add whose source breaks off before its last letter.
    BreakOff(&'static str),
    /// The object's root is damaged behind the store's back, and the object added again.
    AddOverDamage(&'static str),
    /// Added by reference, from a file that stays.
    Refer(&'static str),
    /// What it refers to is copied in.
    Absorb(&'static str),
    /// With its pins.
    Remove(&'static str),
    Pin(&'static str, &'static str),
    /// Sets the name, or moves it.
    Move(&'static str, &'static str),
    /// Pins the one chunk of a letter, which may be inside objects.
    PinInside(&'static str, &'static str),
    Unpin(&'static str),
    /// Puts each letter as a block, and commits.
    Session(&'static str),
    /// As [`Step::Session`], with the chunks that contents are made of.
    SessionOfChunks(&'static str),
    Collect(Scope),
    /// Moves every block into new packs.
    MoveAll,
    /// A byte of the object's first chunk, which no other one has, is damaged behind the store's back, found by a
    /// verification, and healed from a file.
    Heal(&'static str),
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

/// What a collection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// What was removed or replaced.
    Removed,
    /// Everything that is not pinned, and all blocks of sessions too.
    Unpinned,
}

/// Steps, and the quota of the store that they are done to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub(super) steps: &'static [Step],
    pub(super) max_bytes: Option<u64>,
}

/// Every step there is, and what shares what with another. Several, because what can be left after a cut grows
/// with the square of the steps.
pub(super) const WORKLOADS: [Workload; 7] = [
    of(&ADDS),
    of(&COLLECTIONS),
    of(&ROOTS),
    of(&IMPORTS),
    of(&RELOCATIONS),
    of(&REFERENCES),
    Workload {
        steps: &MAKING_ROOM,
        max_bytes: Some(QUOTA_BYTES),
    },
];

const fn of(steps: &'static [Step]) -> Workload {
    Workload {
        steps,
        max_bytes: None,
    }
}

pub(super) const ADDS: [Step; 10] = [
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

/// Packs that go as a whole, packs that lose a part, and what was collected added again.
pub(super) const COLLECTIONS: [Step; 13] = [
    Step::Add("ab", Pin::Named("kept")),
    Step::Add("abcd", Pin::No),
    Step::Remove("abcd"),
    // The pack of what "abcd" had besides.
    Step::Collect(Scope::Removed),
    Step::Add("efgh", Pin::No),
    Step::Add("fg", Pin::Named("inner")),
    Step::Remove("efgh"),
    // A part at either end of the pack of "fg".
    Step::Collect(Scope::Removed),
    Step::Reopen,
    Step::Add("efgh", Pin::No),
    Step::Unpin("inner"),
    Step::Collect(Scope::Unpinned),
    Step::Add("fg", Pin::No),
];

/// Roots that are replaced, names that move, and what lies inside an object.
pub(super) const ROOTS: [Step; 11] = [
    Step::Add("ab", Pin::Named("first")),
    Step::AddOverDamage("ab"),
    Step::Collect(Scope::Removed),
    Step::PinInside("inside", "a"),
    Step::Remove("ab"),
    Step::Collect(Scope::Removed),
    Step::Add("cd", Pin::No),
    Step::Move("inside", "cd"),
    Step::Collect(Scope::Unpinned),
    Step::Read("cd"),
    Step::Unpin("inside"),
];

/// Imports of several packs, one of which breaks off, and sessions.
pub(super) const IMPORTS: [Step; 8] = [
    Step::BreakOff("abcdefghijkl"),
    Step::SessionOfChunks("ab"),
    Step::Add("abcdefghijkl", Pin::Named("import")),
    Step::Session("xy"),
    Step::BreakOff("abmnopqrstuv"),
    Step::Collect(Scope::Removed),
    Step::Remove("abcdefghijkl"),
    Step::Collect(Scope::Unpinned),
];

/// Blocks that get another place.
pub(super) const RELOCATIONS: [Step; 8] = [
    Step::Add("abc", Pin::Named("kept")),
    Step::Add("dbe", Pin::No),
    Step::Session("xy"),
    Step::MoveAll,
    Step::Read("abc"),
    Step::Collect(Scope::Removed),
    Step::Heal("dbe"),
    Step::Collect(Scope::Removed),
];

/// Blocks that lie in files of the user's, beside some that the store has.
pub(super) const REFERENCES: [Step; 9] = [
    Step::Add("ab", Pin::Named("kept")),
    Step::Refer("bcd"),
    Step::Refer("ef"),
    Step::Absorb("bcd"),
    Step::Collect(Scope::Removed),
    Step::Remove("ef"),
    Step::Collect(Scope::Removed),
    Step::Refer("eg"),
    Step::Add("eg", Pin::No),
];

/// Room for two of the three contents.
const QUOTA_BYTES: u64 = 96 << 10;
pub(super) const MAKING_ROOM: [Step; 5] = [
    Step::Add("ab", Pin::Named("kept")),
    Step::Add("cdef", Pin::No),
    Step::Session("x"),
    Step::Add("ghij", Pin::No),
    Step::Add("cdef", Pin::No),
];

/// What the steps add.
pub(super) fn letters_of(steps: &[Step]) -> Vec<&'static str> {
    let added = steps.iter().filter_map(|step| match step {
        Step::Add(letters, _)
        | Step::BreakOff(letters)
        | Step::AddOverDamage(letters)
        | Step::Refer(letters) => Some(*letters),
        _ => None,
    });
    let mut letters: Vec<&str> = added.collect();
    letters.sort_unstable();
    letters.dedup();
    letters
}

/// A content: for each letter a chunk of its own, so that two contents share the chunks of a letter.
pub(super) fn content(letters: &str) -> Vec<u8> {
    let chunks = letters.bytes().map(|letter| bytes(letter, CHUNK_BYTES));
    let mut content = chunks.collect::<Vec<_>>().concat();
    // So that not all ends at a chunk's end.
    content.truncate(content.len() - 100);
    content
}

fn bytes(letter: u8, len: usize) -> Vec<u8> {
    let bytes = (0..len).map(|i| (i * 7 + i / 251) as u8 ^ letter);
    bytes.collect()
}

fn profile() -> Profile {
    Profile::default().with_chunk_bytes(CHUNK_BYTES).unwrap()
}

pub(super) fn add_options(pin: Pin) -> AddOptions {
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

/// Asked for often, and hashed once.
pub(super) fn cid(letters: &'static str) -> Cid {
    static KNOWN: Mutex<BTreeMap<&str, Cid>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(letters).or_insert_with(|| {
        let report = hash_reader(&content(letters)[..], &add_options(Pin::No));
        report.unwrap().cid
    })
}

/// The block that a session puts for a letter.
pub(super) fn block(letter: u8) -> Block {
    Block::new(RAW, HashFunction::Sha2_256, bytes(letter, 500))
}

/// The block of a letter in the contents; none of them ends with it.
pub(super) fn chunk(letter: u8) -> Block {
    Block::new(RAW, HashFunction::Sha2_256, bytes(letter, CHUNK_BYTES))
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
