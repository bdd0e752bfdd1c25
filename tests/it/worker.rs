//! A process that works at a store without end, and writes down what it begins and what has returned; and what the
//! store has promised by that account.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipfs_accelerate::{
    AddOptions, Block, Cid, Explain, GcOptions, HashFunction, PinAs, PinOptions, Profile, RAW,
    RemoveOptions, Store, StoreError, StoreOptions, hash_path,
};

use super::store_kit::*;

/// Numbers from a seed, each other than the last.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that differs from run to run, said so that a run can be told from another.
    pub(crate) fn seed() -> u64 {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = since.as_nanos() as u64;
        println!("seed {seed}");
        seed
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 += 1;
        let random = bytes(self.0, 8).try_into().unwrap();
        u64::from_le_bytes(random) % limit
    }
}

const OBJECTS: u64 = 12;
const NAMES: u64 = 5;
const BLOCKS: u64 = 8;

/// Small packs, so that larger objects are imports of several.
pub(crate) fn options() -> StoreOptions {
    let mut options = small_packs(150_000);
    options.threads = 2;
    options
}

fn add_options(pin: PinAs) -> AddOptions {
    let profile = Profile::default().with_chunk_bytes(16 << 10).unwrap();
    AddOptions::default().with_profile(profile).with_pin(pin)
}

/// The files of an object, which shares some of them, or a part of them, with others.
fn files(object: u64) -> Vec<(String, Vec<u8>)> {
    let shared = bytes(100 + object % 3, 60_000);
    let own = bytes(200 + object, 20_000 * (1 + object as usize % 7));
    match object % 4 {
        0 => vec![("own".into(), own), ("shared".into(), shared)],
        1 => vec![("both".into(), [own, shared].concat())],
        2 => vec![("both".into(), [&shared[..], &own, &shared].concat())],
        _ => vec![("own".into(), own), ("empty".into(), Vec::new())],
    }
}

/// Writes an object as a folder, once.
fn source(sources: &Path, object: u64) -> PathBuf {
    let folder = sources.join(object.to_string());
    if !folder.exists() {
        let made = sources.join(format!("{object}-unfinished"));
        let _ = fs::remove_dir_all(&made);
        fs::create_dir_all(&made).unwrap();
        for (name, content) in files(object) {
            fs::write(made.join(name), content).unwrap();
        }
        fs::rename(made, &folder).unwrap();
    }
    folder
}

fn cid(sources: &Path, object: u64) -> Cid {
    let report = hash_path(source(sources, object), &add_options(PinAs::No));
    report.unwrap().cid
}

fn block(number: u64) -> Block {
    // Some of them are leaves of objects.
    let data = match number {
        0..3 => bytes(100 + number, 60_000)[..16 << 10].to_vec(),
        _ => bytes(300 + number, 3_000 * number as usize),
    };
    Block::new(RAW, HashFunction::Sha2_256, data)
}

fn name(number: u64) -> String {
    format!("name-{number}")
}

/// What the worker does; each is a line of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Add { object: u64, name: Option<u64> },
    Remove { object: u64, unpin: bool },
    Pin { object: u64, name: u64 },
    Unpin { name: u64 },
    Session { first: u64, count: u64 },
    Collect,
    CollectUnpinned,
    Reopen,
}

impl Call {
    fn random(random: &mut Random) -> Self {
        let object = random.below(OBJECTS);
        match random.below(20) {
            0..8 => Self::Add {
                object,
                name: Some(random.below(2 * NAMES)).filter(|name| *name < NAMES),
            },
            8..11 => Self::Remove {
                object,
                unpin: random.below(2) == 0,
            },
            11..13 => Self::Pin {
                object,
                name: random.below(NAMES),
            },
            13 => Self::Unpin {
                name: random.below(NAMES),
            },
            14..16 => Self::Session {
                first: random.below(BLOCKS),
                count: 1 + random.below(3),
            },
            16..18 => Self::Collect,
            18 => Self::CollectUnpinned,
            _ => Self::Reopen,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Add { object, name: None } => format!("add {object}"),
            Self::Add {
                object,
                name: Some(name),
            } => format!("add {object} {name}"),
            Self::Remove { object, unpin } => format!("remove {object} {}", u64::from(*unpin)),
            Self::Pin { object, name } => format!("pin {object} {name}"),
            Self::Unpin { name } => format!("unpin {name}"),
            Self::Session { first, count } => format!("session {first} {count}"),
            Self::Collect => "collect".into(),
            Self::CollectUnpinned => "collect-unpinned".into(),
            Self::Reopen => "reopen".into(),
        }
    }

    fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let call = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
        match (call, numbers[..].as_ref()) {
            ("add", [object]) => Self::Add {
                object: *object,
                name: None,
            },
            ("add", [object, name]) => Self::Add {
                object: *object,
                name: Some(*name),
            },
            ("remove", [object, unpin]) => Self::Remove {
                object: *object,
                unpin: *unpin == 1,
            },
            ("pin", [object, name]) => Self::Pin {
                object: *object,
                name: *name,
            },
            ("unpin", [name]) => Self::Unpin { name: *name },
            ("session", [first, count]) => Self::Session {
                first: *first,
                count: *count,
            },
            ("collect", []) => Self::Collect,
            ("collect-unpinned", []) => Self::CollectUnpinned,
            ("reopen", []) => Self::Reopen,
            _ => panic!("no such call: {line}"),
        }
    }

    fn blocks(first: u64, count: u64) -> impl Iterator<Item = u64> {
        (first..first + count).map(|number| number % BLOCKS)
    }
}

/// Where a worker works and what it leaves.
#[derive(Clone, Debug)]
pub(crate) struct Workplace {
    pub(crate) store: PathBuf,
    /// What is added, which need not survive with the store.
    pub(crate) sources: PathBuf,
    pub(crate) account: PathBuf,
}

impl Workplace {
    /// As a worker is told, with its seed.
    pub(crate) fn told(&self, seed: u64) -> String {
        let [store, sources, account] =
            [&self.store, &self.sources, &self.account].map(|path| path.to_str().unwrap());
        format!("{seed}\n{store}\n{sources}\n{account}")
    }

    fn parse(told: &str) -> (u64, Self) {
        let mut lines = told.lines();
        let seed = lines.next().unwrap().parse().unwrap();
        let [store, sources, account] = [(); 3].map(|()| lines.next().unwrap().into());
        let place = Self {
            store,
            sources,
            account,
        };
        (seed, place)
    }
}

/// Works until it is killed.
pub(crate) fn work(told: &str) {
    let (seed, place) = Workplace::parse(told);
    let mut random = Random::new(seed);
    let account = File::options()
        .append(true)
        .create(true)
        .open(&place.account);
    let mut account = account.unwrap();
    // One write each, so that a line is there whole or cut off.
    let mut write = |line: String| account.write_all(format!("{line}\n").as_bytes()).unwrap();
    let open = || Store::open_or_create(&place.store, options()).unwrap();
    let mut store = open();
    write("opened".into());
    loop {
        let call = Call::random(&mut random);
        write(format!("begun {}", call.line()));
        if call == Call::Reopen {
            drop(store);
            store = open();
            write("done".into());
            continue;
        }
        match beside_a_collection(&store, random.below(4) == 0, || {
            perform(&store, &place.sources, &call)
        }) {
            Ok(()) => write("done".into()),
            Err(
                StoreError::NotPublished { .. }
                | StoreError::NotPinned { .. }
                | StoreError::NoSuchName { .. }
                | StoreError::Pinned { .. }
                | StoreError::BlockAbsent { .. },
            ) => write("refused".into()),
            Err(e) => panic!("{}: {} {e}", call.line(), e.kind()),
        }
    }
}

/// Does something while another thread collects what was removed, if it is to.
fn beside_a_collection<T>(store: &Store, collects: bool, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        if collects {
            scope.spawn(|| collect(store, &GcOptions::default()).unwrap());
        }
        work()
    })
}

fn collect(store: &Store, options: &GcOptions) -> Result<(), StoreError> {
    store.apply_gc(&store.plan_gc(options)?)?;
    Ok(())
}

fn collect_unpinned(store: &Store) -> Result<(), StoreError> {
    let mut options = GcOptions::default();
    options.unpinned = true;
    options.grace = Duration::ZERO;
    collect(store, &options)
}

fn perform(store: &Store, sources: &Path, call: &Call) -> Result<(), StoreError> {
    match call {
        Call::Add { object, name: pin } => {
            let pin = pin.map_or(PinAs::No, |number| PinAs::Named {
                name: name(number),
                replace: true,
            });
            store.add_path(source(sources, *object), &add_options(pin))?;
        }
        Call::Remove { object, unpin } => {
            let mut options = RemoveOptions::default();
            options.unpin = *unpin;
            store.remove(&of(cid(sources, *object)), &options)?;
        }
        Call::Pin {
            object,
            name: number,
        } => {
            let mut options = PinOptions::named(name(*number));
            options.replace = true;
            store.pin(&of(cid(sources, *object)), &options)?;
        }
        Call::Unpin { name: number } => {
            store.unpin(&target(name(*number)))?;
        }
        Call::Session { first, count } => {
            let mut session = store.session();
            for number in Call::blocks(*first, *count) {
                session.put_block(&block(number))?;
            }
            session.commit()?;
        }
        Call::Collect => collect(store, &GcOptions::default())?,
        Call::CollectUnpinned => collect_unpinned(store)?,
        Call::Reopen => {}
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Must,
    /// In flight when the worker died.
    May,
    MustNot,
}

/// What a store has promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    objects: BTreeMap<u64, Presence>,
    /// What a name may point to.
    names: BTreeMap<u64, BTreeSet<Option<u64>>>,
    /// Blocks of sessions that must be there.
    blocks: BTreeSet<u64>,
    /// How many calls have returned.
    pub(crate) returned: u64,
    /// How often the store was opened.
    pub(crate) opened: u64,
}

impl Promises {
    /// Goes through a worker's account; says how far it got. A last line that is cut off was not written.
    pub(crate) fn follow(&mut self, account: &str) {
        let whole = account.rfind('\n').map_or("", |end| &account[..end]);
        let mut before = self.clone();
        let mut under_way = None;
        for line in whole.lines() {
            match line.split_once(' ') {
                Some(("begun", call)) => {
                    let call = Call::parse(call);
                    before = self.clone();
                    self.begin(&call);
                    under_way = Some(call);
                }
                None if line == "done" => {
                    self.done(&under_way.take().expect("something was begun"));
                    self.returned += 1;
                }
                // Nothing was done.
                None if line == "refused" => {
                    under_way = None;
                    let returned = self.returned + 1;
                    self.clone_from(&before);
                    self.returned = returned;
                }
                None if line == "opened" => self.opened += 1,
                _ => panic!("no line of an account: {line}"),
            }
        }
    }

    fn name_may(&mut self, name: u64, object: Option<u64>) {
        let nothing = || BTreeSet::from([None]);
        let may = self.names.entry(name).or_insert_with(nothing);
        may.insert(object);
    }

    fn names_of(&self, object: u64) -> Vec<u64> {
        let own = self
            .names
            .iter()
            .filter(|(_, may)| may.contains(&Some(object)));
        own.map(|(name, _)| *name).collect()
    }

    fn is_pinned(&self, object: u64) -> bool {
        let only = BTreeSet::from([Some(object)]);
        self.names.values().any(|may| *may == only)
    }

    fn may_come(&mut self, object: u64) {
        if self.objects.get(&object) != Some(&Presence::Must) {
            self.objects.insert(object, Presence::May);
        }
    }

    fn begin(&mut self, call: &Call) {
        match call {
            Call::Add { object, name } => {
                self.may_come(*object);
                if let Some(name) = name {
                    self.name_may(*name, Some(*object));
                }
            }
            Call::Remove { object, .. } => {
                self.objects.insert(*object, Presence::May);
                for name in self.names_of(*object) {
                    self.name_may(name, None);
                }
            }
            Call::Pin { object, name } => {
                // One that was removed is put together from its blocks again.
                self.may_come(*object);
                self.name_may(*name, Some(*object));
            }
            Call::Unpin { name } => self.name_may(*name, None),
            Call::CollectUnpinned => {
                for object in 0..OBJECTS {
                    if !self.is_pinned(object) && self.objects.get(&object) == Some(&Presence::Must)
                    {
                        self.objects.insert(object, Presence::May);
                    }
                }
                self.blocks.clear();
            }
            Call::Session { .. } | Call::Collect | Call::Reopen => {}
        }
    }

    fn done(&mut self, call: &Call) {
        let is = |object: u64| BTreeSet::from([Some(object)]);
        match call {
            Call::Add { object, name } => {
                self.objects.insert(*object, Presence::Must);
                if let Some(name) = name {
                    self.names.insert(*name, is(*object));
                }
            }
            Call::Remove { object, .. } => {
                self.objects.insert(*object, Presence::MustNot);
                for name in self.names_of(*object) {
                    self.names.insert(name, BTreeSet::from([None]));
                }
            }
            Call::Pin { object, name } => {
                self.objects.insert(*object, Presence::Must);
                self.names.insert(*name, is(*object));
            }
            Call::Unpin { name } => {
                self.names.insert(*name, BTreeSet::from([None]));
            }
            Call::CollectUnpinned => {
                for object in 0..OBJECTS {
                    if self.names_of(object).is_empty() {
                        self.objects.insert(object, Presence::MustNot);
                    }
                }
            }
            Call::Session { first, count } => self.blocks.extend(Call::blocks(*first, *count)),
            Call::Collect | Call::Reopen => {}
        }
    }

    /// Checks an open store against all that was promised, and takes what was in flight for what it turned out to
    /// be.
    pub(crate) fn check(&mut self, store: &Store, sources: &Path) {
        self.check_objects(store, sources);
        self.check_names(store, sources);
        for number in &self.blocks {
            let block = block(*number);
            assert!(store.get_block(block.cid()).unwrap() == block, "{number}");
        }
        let left = fs::read_dir(store.path().join("tmp")).unwrap().count();
        assert_eq!(left, 0, "tmp/");
    }

    fn check_objects(&mut self, store: &Store, sources: &Path) {
        let found: BTreeSet<Cid> = store.objects().unwrap().iter().map(|o| o.cid).collect();
        let mut expected = BTreeSet::new();
        for object in 0..OBJECTS {
            let cid = cid(sources, object);
            let there = found.contains(&cid);
            match self.objects.get(&object).unwrap_or(&Presence::MustNot) {
                Presence::Must => assert!(there, "object {object} {cid} is lost"),
                Presence::MustNot => assert!(!there, "object {object} {cid} is back"),
                Presence::May => {}
            }
            let settled = match there {
                true => Presence::Must,
                false => Presence::MustNot,
            };
            self.objects.insert(object, settled);
            if there {
                expected.insert(cid);
                for (name, content) in files(object) {
                    assert!(
                        read(store, &target(format!("{cid}/{name}"))) == content,
                        "{name} of object {object} {cid}"
                    );
                }
            }
        }
        assert_eq!(found, expected);
    }

    fn check_names(&mut self, store: &Store, sources: &Path) {
        let pins = store.pins().unwrap();
        let mut found: BTreeMap<String, Cid> = pins.into_iter().map(|p| (p.name, p.cid)).collect();
        for number in 0..NAMES {
            let name = name(number);
            let points = found.remove(&name);
            let nothing = || BTreeSet::from([None]);
            let may = self.names.entry(number).or_insert_with(nothing);
            let allowed = may.clone();
            may.retain(|object| object.map(|object| cid(sources, object)) == points);
            assert!(!may.is_empty(), "{name} may be {allowed:?}, is {points:?}");
        }
        assert!(found.is_empty(), "{found:?}");
    }

    /// Collects and checks, takes in everything again and checks that too: nothing that is not there is taken for
    /// something that is.
    pub(crate) fn check_that_it_goes_on(&mut self, store: &Store, sources: &Path) {
        collect(store, &GcOptions::default()).unwrap();
        self.check(store, sources);
        for object in 0..OBJECTS {
            let call = Call::Add { object, name: None };
            self.begin(&call);
            perform(store, sources, &call).unwrap();
            self.done(&call);
        }
        self.check(store, sources);
    }
}
