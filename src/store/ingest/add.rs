//! Adding files, folders and streams: hash everything, then commit in one step.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::feed::{Feed, FilesFeed, StreamFeed};
use super::hash::{Bytes, Hashed, Sink, hash_all};
use super::options::{AddNote, AddOptions, AddReport, PinAs, SharedWith};
use super::pin_as::{SetPin, check_pin, pin_name, prepare_pin};
use super::record::RootBuilder;
use super::references;
use super::shared_with::shared_most_with;
use super::tree::{Built, Tree};
use super::walk::{Walk, walk};
use super::writer::{BlockWriter, write_root};
use crate::block::canonical;
use crate::store::error::StoreError;
use crate::store::format::StoredCid;
use crate::store::inner::Inner;
use crate::store::names::{self, PinKind};
use crate::store::pack::{ObjectNote, PackId};
use crate::store::read::EntryType;
use crate::store::root::{self, Head, LeasedRoot, ObjectKind, RootRecord};
use crate::store::time::now_ms;

pub(crate) fn add_path(
    store: &Inner,
    path: &Path,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    check_pin(store, &options.pin, None)?;
    let mut walk = walk(path, options)?;
    if options.reference {
        references::check(store, path, &walk, options)?;
    }
    let feed = files_feed(&mut walk, options);
    let total = Some(walk.total_bytes);
    add(store, walk, feed, total, options)
}

pub(crate) fn add_reader(
    store: &Inner,
    reader: impl Read + Send,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    check_pin(store, &options.pin, None)?;
    if options.reference {
        return Err(references::refuse_stream());
    }
    let feed = StreamFeed::new(reader, options);
    add(store, Walk::of_stream(), feed, None, options)
}

/// Hands the files over: each is closed once its last chunk is hashed, however many there are.
fn files_feed(walk: &mut Walk, options: &AddOptions) -> FilesFeed {
    FilesFeed::new(std::mem::take(&mut walk.files), options.profile.chunker())
}

fn add(
    store: &Inner,
    walk: Walk,
    mut feed: impl Feed,
    total: Option<u64>,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let mut writer = BlockWriter::new(store)?;
    let mut root = RootBuilder::default();
    let mut sink = Sink {
        store,
        writer: &mut writer,
        root: &mut root,
    };
    let pool = store.pool()?;
    let (files, bytes) = hash_all(&mut feed, options, total, pool, &mut sink)?;
    let mut tree = Tree::new(&walk.steps, &options.profile);
    tree.build_up_to_a_file(&mut sink)?;
    for Hashed { root, blocks, .. } in &files {
        tree.file(*root, *blocks);
        tree.build_up_to_a_file(&mut sink)?;
    }
    let built = tree.finish();
    for (path, hashed) in walk.file_paths().zip(files) {
        root.file(path.to_owned(), hashed.root.cid, hashed.spans);
    }
    options.check_cancel()?;
    options.check_expected(&walk.name, &built.cid)?;
    let head = Head {
        cid: StoredCid(built.cid),
        kind: built.kind,
        profile: options.profile.name().to_owned(),
        name: walk.name.clone(),
        created_ms: now_ms(),
        size: built.size,
        blocks: built.blocks,
        tsize: built.tsize,
    };
    let committed = commit(store, writer, root, head, &options.pin)?;
    let mut report = report(&walk, &built, bytes, committed);
    if report.new_bytes > 0 {
        report.notes.extend(damage_on_record(store)?);
    }
    Ok(report)
}

/// Whose damage what was just written may heal.
fn damage_on_record(store: &Inner) -> Result<Option<AddNote>, StoreError> {
    if store.registry.gone().damaged().next().is_none() {
        return Ok(None);
    }
    let mut damaged = store.core.objects()?;
    damaged.retain(|object| object.damaged_bytes > 0);
    let example = damaged.first().map(|object| match object.name.as_str() {
        "" => object.cid.to_string(),
        name => name.to_owned(),
    });
    Ok(example.map(|example| AddNote::DamageOnRecord {
        objects: damaged.len() as u64,
        example,
    }))
}

pub(super) fn report(walk: &Walk, built: &Built, bytes: Bytes, committed: Committed) -> AddReport {
    AddReport {
        cid: built.cid,
        kind: match built.kind {
            ObjectKind::Folder => EntryType::Folder,
            _ => EntryType::File,
        },
        name: walk.name.clone(),
        size: built.size,
        new_bytes: bytes.new,
        shared_bytes: bytes.shared,
        referenced_bytes: bytes.referenced,
        shared_most_with: committed.shared_most_with,
        blocks: built.blocks,
        files: built.files,
        pin: committed.pin,
        notes: walk
            .notes
            .iter()
            .cloned()
            .chain(committed.made_room)
            .collect(),
        was_there: committed.was_there,
    }
}

/// What a commit has to tell.
#[derive(Default)]
pub(crate) struct Committed {
    pin: Option<String>,
    shared_most_with: Option<SharedWith>,
    made_room: Option<AddNote>,
    was_there: bool,
}

/// Publishes the last pack, the root and the pin, in this order.
pub(crate) fn commit(
    store: &Inner,
    mut writer: BlockWriter<'_>,
    root: RootBuilder,
    head: Head,
    pin: &PinAs,
) -> Result<Committed, StoreError> {
    let cid = canonical(&head.cid.0);
    writer.flush()?;
    let guard = store.commit_guard()?;
    check_pin(store, pin, Some(&cid))?;
    let note = ObjectNote {
        cid: head.cid,
        profile: head.profile.clone(),
        name: head.name.clone(),
    };
    let moves = writer.seal_last(vec![note])?;
    let record = root.build(head, moves);
    // All that takes space is written before the commit, so that a full disk is met before it.
    let name = pin_name(pin, &cid);
    let pin = match &name {
        Some(name) => Some(prepare_pin(store, name, &cid, PinKind::Recursive)?),
        None => None,
    };
    let before = match publish_root(store, &record) {
        Ok(before) => before,
        Err(e) => {
            // Where only the sync after the rename failed, the object is there, and keeps its packs. One that cannot
            // be looked at may be there.
            let is_it = |there: LeasedRoot| there.record.packs == record.packs;
            let there = store.core.open_root(&cid, false);
            if there.map_or(true, |there| there.is_some_and(is_it)) {
                writer.finish();
            }
            return Err(e);
        }
    };
    let is_new = before == Before::Nothing;
    let pinned = match pin {
        Some(SetPin::Prepared(pin, _)) => store.durable(pin.publish()),
        Some(SetPin::There(_)) | None => Ok(()),
    };
    let named = |name: &String| {
        let pin = names::read(store.folder(), store.id(), name);
        pin.map_or(true, |pin| pin.is_some_and(|pin| pin.cid == cid))
    };
    // A name that was set though its sync failed, or that may have been, keeps the object: a name never stands
    // without its root.
    if pinned.is_err() && is_new && !name.as_ref().is_some_and(named) {
        // The object goes again. Somebody may read it already, so its packs stay until a collection.
        let retired = root::retired_path(store.folder(), &cid)?;
        let path = root::object_path(store.folder(), &cid);
        let _ = store.folder().files().rename(&path, &retired);
        store.count_retirement();
    }
    // What the index does not learn now it learns when the store is next opened.
    if let Err(e) = writer.index_last() {
        tracing::warn!("{e}");
    }
    if pinned.is_ok() {
        store.left.drop_used_up(store, &cid);
    }
    drop(guard);
    let own = writer.sealed();
    let made_room = AddNote::made_room(&writer.made_way());
    writer.finish();
    pinned?;
    Ok(Committed {
        pin: name,
        made_room,
        was_there: before == Before::Whole,
        shared_most_with: match is_new {
            true => shared_most_with(store, &record, &own),
            false => None,
        },
    })
}

/// What stood where a root was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// The object as one of its own, all of which could be read as far as is known.
    Whole,
    /// A single block, or what cannot be read.
    Less,
}

/// THE COMMIT: one rename makes the object exist. One that is there whole stays as it is.
/// Says what was there before.
pub(crate) fn publish_root(store: &Inner, record: &RootRecord) -> Result<Before, StoreError> {
    let cid = record.head.cid.0;
    let path = root::object_path(store.folder(), &cid);
    let there = store.core.open_root(&cid, true);
    let before = match &there {
        Ok(None) => Before::Nothing,
        Ok(Some(there)) if is_whole_object(store, &there.record) => Before::Whole,
        _ => Before::Less,
    };
    match there {
        Ok(None) => {}
        Ok(Some(there))
            if is_whole(store, &there.record)
                && there.record.head.kind == record.head.kind
                && (has_same_places(&there.record, record) || !refers(store, &there.record)) =>
        {
            there.lease.use_now();
            return Ok(before);
        }
        // A root that is damaged, or over packs that are gone, makes way for the new one; those who read
        // through it keep it. So does one over files of the user's: the new one has payload where there is any,
        // and otherwise files as they were just read.
        Ok(Some(_)) | Err(StoreError::Damaged { .. }) => {
            let retired = root::retired_path(store.folder(), &cid)?;
            store.folder().files().link(&path, &retired)?;
            store.count_retirement();
        }
        Err(e) => return Err(e),
    }
    write_root(store, record, &path)?;
    tracing::debug!(
        "published {cid}: {} bytes in {} blocks",
        record.head.size,
        record.head.blocks
    );
    Ok(before)
}

/// Whether a root is that of a file or folder, and not of a single block, and whole.
pub(crate) fn is_whole_object(store: &Inner, record: &RootRecord) -> bool {
    record.head.kind != ObjectKind::Block && is_whole(store, record)
}

/// Whether a root rests on files outside the store.
pub(crate) fn refers(store: &Inner, record: &RootRecord) -> bool {
    let packs = &record.packs;
    packs
        .iter()
        .any(|&pack| store.core.packs.is_reference(pack))
}

/// Whether the content of two roots lies at the same places.
fn has_same_places(a: &RootRecord, b: &RootRecord) -> bool {
    (&a.packs, &a.extents) == (&b.packs, &b.extents)
}

/// Whether everything that a root covers can be read, as far as is known.
pub(crate) fn is_whole(store: &Inner, record: &RootRecord) -> bool {
    let gone = store.registry.gone();
    let is_good = |place: &(PackId, Range<u64>)| gone.why(place.0, &place.1).is_none();
    let packs = &record.packs;
    packs
        .iter()
        .all(|&pack| store.core.packs.open(pack).is_ok())
        && record.places().all(|place| is_good(&place))
}

/// Makes removals of names or roots durable.
pub(crate) fn sync_folder(store: &Inner, path: &Path) -> Result<(), StoreError> {
    let synced = store.folder().files().sync_dir(path);
    store.durable(synced.map_err(StoreError::from))
}
