//! The races of the design, each at its narrowest: what another thread or process could do happens right after the
//! operation where it would do harm. What threads meet by chance stands in `tests/it/gc_races.rs`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use super::events::EventfulDisk;
use super::faults::Kind;
use super::indexes::SharedIndex;
use super::run::collect;
use super::workload::{Pin, Scope, add_options, chunk, cid, content, options};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::index::MemoryIndex;
use crate::store::inner;
use crate::store::read::ReadCore;
use crate::store::root;
use crate::store::{GcOptions, GcReason, GcReport, PinOptions, RemoveOptions, Store, StoreReader};

/// A store on a disk on which things happen.
struct Scene {
    dir: tempfile::TempDir,
    disk: Arc<EventfulDisk>,
    index: Arc<MemoryIndex>,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        Self::with_memory(0)
    }

    fn with_memory(memory_bytes: u64) -> Self {
        let dir = super::scratch();
        let disk = Arc::<EventfulDisk>::default();
        let index = Arc::<MemoryIndex>::default();
        let store = open(&dir, &disk, &index, memory_bytes);
        Self {
            dir,
            disk,
            index,
            store,
        }
    }

    /// The same store, of which nothing is open or in memory.
    fn reopened(self) -> Self {
        let Self {
            dir, disk, index, ..
        } = self;
        drop(self.store);
        let store = open(&dir, &disk, &index, 0);
        Self {
            dir,
            disk,
            index,
            store,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// As another process has it.
    fn reader(&self) -> StoreReader {
        super::open_reader(&self.path(), &self.disk.files()).unwrap()
    }

    fn add(&self, letters: &'static str) {
        add(&self.store, letters);
    }

    /// Collects by a plan that was made before anything happens.
    fn collect_by(&self, arrange: impl FnOnce()) -> GcReport {
        let plan = self.store.plan_gc(&GcOptions::default()).unwrap();
        arrange();
        self.store.apply_gc(&plan).unwrap()
    }

    #[track_caller]
    fn is_whole(&self, letters: &'static str) {
        self.disk.has_all_happened();
        let read = self.reader().read(&cid(letters).into());
        assert!(
            read.unwrap() == content(letters),
            "{letters} has other bytes"
        );
    }
}

fn open(
    dir: &tempfile::TempDir,
    disk: &Arc<EventfulDisk>,
    index: &Arc<MemoryIndex>,
    memory_bytes: u64,
) -> Store {
    let mut options = options();
    options.memory_bytes = memory_bytes;
    // What happens in a thread of the store's may itself need one.
    options.threads = 4;
    let index = Box::new(SharedIndex(Arc::<MemoryIndex>::clone(index)));
    let path = dir.path().join("store");
    super::open_over(&path, &disk.files(), options, index).unwrap()
}

fn add(store: &Store, letters: &'static str) {
    let added = store.add_reader(&content(letters)[..], &add_options(Pin::No));
    assert_eq!(added.unwrap().cid, cid(letters));
}

fn remove(store: &Store, letters: &'static str) {
    let removed = store.remove(&cid(letters).into(), &RemoveOptions::default());
    removed.unwrap();
}

fn remove_and_collect(store: &Store, letters: &'static str) {
    remove(store, letters);
    assert!(collect(store, Scope::Removed).unwrap().freed_bytes > 0);
}

fn root_of(letters: &'static str) -> String {
    format!("roots/{}", cid(letters))
}

#[test]
fn a_block_that_two_adds_write_at_once_is_stored_once() {
    let scene = Scene::new();
    let other = scene.store.clone();
    // Both have found nothing by now.
    scene
        .disk
        .once(Kind::Create, ".pack", move || add(&other, "ab"));
    scene.add("abc");
    scene.is_whole("ab");
    scene.is_whole("abc");
    let core = ReadCore::on(StoreFolder::new(&scene.path())).unwrap();
    let mut seen = HashSet::new();
    for id in inner::list(&core.folder).unwrap() {
        for row in core.packs.open(id).unwrap().table().unwrap().rows {
            assert!(seen.insert(*row.cid.0.hash()), "{:?} twice", row.cid);
        }
    }
}

#[test]
fn a_block_that_an_add_has_found_stays_though_its_object_is_removed_and_collected() {
    let scene = Scene::new();
    scene.add("ab");
    let other = scene.store.clone();
    scene.disk.once(Kind::Create, ".pack", move || {
        remove(&other, "ab");
        assert_eq!(collect(&other, Scope::Removed).unwrap().packs, 0);
    });
    scene.add("abc");
    scene.is_whole("abc");
}

#[test]
fn an_object_that_is_added_during_the_mark_is_not_collected() {
    let scene = Scene::new();
    scene.add("kept");
    scene.add("ab");
    remove(&scene.store, "ab");
    let other = scene.store.clone();
    // The roots are listed by now, and what the add relies on is let go when it returns.
    scene.collect_by(|| {
        let adds = move || add(&other, "ab");
        scene.disk.once(Kind::Open, root_of("kept"), adds);
    });
    scene.is_whole("ab");
}

#[test]
fn an_object_that_is_pinned_during_the_mark_is_not_collected() {
    let scene = Scene::new();
    scene.add("kept");
    scene.add("ab");
    remove(&scene.store, "ab");
    let other = scene.store.clone();
    scene.collect_by(|| {
        let pins = move || {
            let pinned = other.pin(&cid("ab").into(), &PinOptions::named("pinned"));
            pinned.unwrap();
        };
        scene.disk.once(Kind::Open, root_of("kept"), pins);
    });
    scene.is_whole("ab");
    // The root that was removed first named a pack that the pin relied on, so it is taken only now.
    let went = collect(&scene.store, Scope::Unpinned).unwrap().objects;
    let mut reasons: Vec<GcReason> = went.iter().map(|object| object.reason).collect();
    reasons.sort();
    assert_eq!(reasons, [GcReason::Replaced, GcReason::Unpinned]);
    scene.is_whole("ab");
}

#[test]
fn an_object_that_is_removed_while_the_roots_are_read_stays_for_its_reader() {
    let scene = Scene::new();
    scene.add("ab");
    scene.add("cd");
    let held = scene.reader().open_file(&cid("ab").into()).unwrap();
    remove(&scene.store, "cd");
    let (disk, other) = (Arc::clone(&scene.disk), scene.store.clone());
    scene.collect_by(|| {
        // The second listing is of what counts; the root is under neither of its names then.
        let removes = move || remove(&other, "ab");
        let next = move || disk.once(Kind::List, "roots", removes);
        scene.disk.once(Kind::List, "roots", next);
    });
    scene.disk.has_all_happened();
    assert!(held.read().unwrap() == content("ab"));
    drop(held);
    assert!(collect(&scene.store, Scope::Removed).unwrap().packs > 0);
}

#[test]
fn an_object_that_is_removed_while_a_collection_is_planned_is_no_name_without_a_root() {
    let scene = Scene::new();
    scene.add("ab");
    let pin = PinOptions::named("pinned");
    scene.store.pin(&cid("ab").into(), &pin).unwrap();
    let other = scene.store.clone();
    // The names are listed, and the roots not yet.
    scene.disk.once(Kind::List, "names", move || {
        let removed = other.remove(&cid("ab").into(), &RemoveOptions::with_unpin());
        removed.unwrap();
    });
    let plan = scene.store.plan_gc(&GcOptions::default()).unwrap();
    scene.disk.has_all_happened();
    assert_eq!(plan.objects.len(), 1, "that of what was removed");
}

#[test]
fn a_pack_that_stands_there_before_its_root_is_not_collected() {
    let scene = Scene::new();
    scene.add("ab");
    remove(&scene.store, "ab");
    let plan = scene.store.plan_gc(&GcOptions::default()).unwrap();
    let (begins, begin) = channel();
    let (stands, pack_stands) = channel();
    let (ends, end) = channel();
    // The collection has begun, and waits until the add has published its pack; the add, which then has no root
    // yet, waits for the collection to end.
    scene.disk.once(Kind::List, "roots", move || {
        begins.send(()).unwrap();
        pack_stands.recv().unwrap();
    });
    scene.disk.once(Kind::Rename, "packs/", move || {
        stands.send(()).unwrap();
        end.recv().unwrap();
    });
    let (collector, adder) = (scene.store.clone(), scene.store.clone());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let report = collector.apply_gc(&plan).unwrap();
            ends.send(()).unwrap();
            assert_eq!(report.packs, 1, "that of what was removed");
        });
        scope.spawn(move || {
            begin.recv().unwrap();
            add(&adder, "xy");
        });
    });
    scene.is_whole("xy");
}

#[test]
fn a_pack_of_an_add_that_fails_stays_for_another_that_found_a_block_in_it() {
    let scene = Scene::new();
    let cancel = Arc::new(AtomicBool::new(false));
    let mut add_options = add_options(Pin::No);
    add_options.cancel = Some(Arc::clone(&cancel));
    let (disk, other) = (Arc::clone(&scene.disk), scene.store.clone());
    // The second pack is begun when the first one is sealed.
    scene.disk.once(Kind::Create, ".pack", move || {
        disk.once(Kind::Create, ".pack", move || {
            add(&other, "ab");
            cancel.store(true, Ordering::Relaxed);
        });
    });
    let added = scene
        .store
        .add_reader(&content("abcdefghijkl")[..], &add_options);
    assert!(matches!(added, Err(StoreError::Cancelled)), "{added:?}");
    scene.is_whole("ab");
    collect(&scene.store, Scope::Removed).unwrap();
    scene.is_whole("ab");
}

#[test]
fn a_reader_whose_object_goes_before_it_has_the_lock_finds_none() {
    let scene = Scene::new();
    scene.add("ab");
    let other = scene.store.clone();
    let goes = move || remove_and_collect(&other, "ab");
    scene.disk.once(Kind::Open, root_of("ab"), goes);
    let opened = scene.reader().open_file(&cid("ab").into());
    scene.disk.has_all_happened();
    assert!(
        matches!(opened, Err(StoreError::NotPublished { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_reader_whose_root_is_replaced_before_it_has_the_lock_holds_the_new_one() {
    let scene = Scene::new();
    scene.add("ab");
    let other = scene.store.clone();
    let path = root::object_path(&StoreFolder::new(&scene.path()), &cid("ab"));
    scene.disk.once(Kind::Open, root_of("ab"), move || {
        let mut damaged = std::fs::read(&path).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&path, damaged).unwrap();
        add(&other, "ab");
    });
    let held = scene.reader().open_file(&cid("ab").into()).unwrap();
    scene.disk.has_all_happened();
    remove(&scene.store, "ab");
    let report = collect(&scene.store, Scope::Removed).unwrap();
    assert_eq!((report.freed_bytes, report.pending.len()), (0, 1));
    assert!(held.read().unwrap() == content("ab"));
}

#[test]
fn what_a_reader_holds_through_a_root_that_was_replaced_stays() {
    let scene = Scene::new();
    // In two packs, the second of which is lost.
    scene.add("abcdefghijkl");
    let object = cid("abcdefghijkl");
    let held = scene.reader().open_file(&object.into()).unwrap();
    let map = held.slice(0..8 << 10).unwrap();
    let lost = {
        let core = ReadCore::on(StoreFolder::new(&scene.path())).unwrap();
        let root = core.open_root(&object, true).unwrap().unwrap();
        root.record.pack(root.record.extents.last().unwrap().pack)
    };
    std::fs::remove_file(scene.path().join("packs").join(lost.file_name())).unwrap();
    // A pack that is open when it is lost would still be read.
    let scene = scene.reopened();
    scene.add("abcdefghijkl");
    scene.is_whole("abcdefghijkl");
    remove(&scene.store, "abcdefghijkl");
    let report = collect(&scene.store, Scope::Removed).unwrap();
    assert_eq!(report.pending.len(), 1, "{report:?}");
    assert!(map[..] == *chunk(b'a').data());
    assert!(held.slice(0..8 << 10).unwrap()[..] == *chunk(b'a').data());
}

#[test]
fn a_block_that_is_punched_between_its_lookup_and_its_reading_is_absent() {
    let scene = Scene::new();
    scene.add("abc");
    // The pack stays for what they share.
    scene.add("bd");
    let scene = scene.reopened();
    let other = scene.store.clone();
    let goes = move || remove_and_collect(&other, "abc");
    scene.disk.once(Kind::Read, "packs/", goes);
    let block = chunk(b'a');
    let got = scene.store.get_block(block.cid());
    scene.disk.has_all_happened();
    assert!(
        matches!(got, Err(StoreError::BlockAbsent { .. })),
        "{got:?}"
    );
}

#[test]
fn a_block_that_is_collected_after_its_reading_is_not_kept_in_memory() {
    let scene = Scene::with_memory(1 << 20);
    scene.add("abc");
    // Opens the pack, so that what is read of it next is the block.
    scene.store.get_block(chunk(b'b').cid()).unwrap();
    let other = scene.store.clone();
    let goes = move || remove_and_collect(&other, "abc");
    scene.disk.once(Kind::Read, "packs/", goes);
    let block = chunk(b'a');
    assert!(scene.store.get_block(block.cid()).unwrap() == block);
    scene.disk.has_all_happened();
    assert_eq!(scene.store.cache_stats().entries, 0);
    let got = scene.store.get_block(block.cid());
    assert!(
        matches!(got, Err(StoreError::BlockAbsent { .. })),
        "{got:?}"
    );
}
