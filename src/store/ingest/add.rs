//! Adding files, folders and streams: hash everything, then commit in one step.

use std::io::Read;
use std::path::Path;

use super::feed::{Feed, FilesFeed, StreamFeed};
use super::hash::{Bytes, Hashed, Sink, hash_all};
use super::options::{AddOptions, AddReport, PinAs, SharedWith};
use super::pin_as::{SetPin, check_pin, pin_name, prepare_pin};
use super::record::RootBuilder;
use super::shared_with::shared_most_with;
use super::walk::{Found, Step, Walk, walk};
use super::writer::{BlockWriter, write_root};
use crate::block::{Cid, canonical};
use crate::dag::{self, FolderEntry, FolderRoot};
use crate::fsio;
use crate::store::error::StoreError;
use crate::store::format::StoredCid;
use crate::store::inner::{Inner, build_pool};
use crate::store::names::{self, PinKind};
use crate::store::pack::ObjectNote;
use crate::store::read::EntryType;
use crate::store::root::{self, Head, ObjectKind, RootRecord};
use crate::store::time::now_ms;

/// An object, once everything below it is hashed.
struct Built {
    cid: Cid,
    kind: ObjectKind,
    size: u64,
    tsize: u64,
    blocks: u64,
    files: u64,
}

pub(crate) fn add_path(
    store: &Inner,
    path: &Path,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    check_pin(store, &options.pin, None)?;
    let mut walk = walk(path, options)?;
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
    let feed = StreamFeed::new(reader, options);
    add(store, stream_walk(), feed, None, options)
}

pub(crate) fn hash_path(path: &Path, options: &AddOptions) -> Result<AddReport, StoreError> {
    let mut walk = walk(path, options)?;
    let feed = files_feed(&mut walk, options);
    let total = Some(walk.total_bytes);
    only_hash(walk, feed, total, options)
}

pub(crate) fn hash_reader(
    reader: impl Read + Send,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let feed = StreamFeed::new(reader, options);
    only_hash(stream_walk(), feed, None, options)
}

/// Hands the files over: each is closed once its last chunk is hashed, however many there are.
fn files_feed(walk: &mut Walk, options: &AddOptions) -> FilesFeed {
    FilesFeed::new(std::mem::take(&mut walk.files), options.profile.chunker())
}

fn stream_walk() -> Walk {
    Walk {
        steps: vec![Step {
            path: String::new(),
            found: Found::File(0),
        }],
        name: String::new(),
        files: Vec::new(),
        total_bytes: 0,
        notes: Vec::new(),
    }
}

fn only_hash(
    walk: Walk,
    mut feed: impl Feed,
    total: Option<u64>,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let mut sink = Sink::Nowhere;
    let pool = build_pool(0)?;
    let (files, _) = hash_all(&mut feed, options, total, &pool, &mut sink)?;
    let (built, _) = build(&walk, files, options, &mut sink)?;
    let bytes = Bytes {
        new: built.size,
        shared: 0,
    };
    Ok(report(&walk, &built, bytes, Committed::default()))
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
    let mut sink = Sink::Store {
        store,
        writer: &mut writer,
        root: &mut root,
    };
    let pool = store.pool()?;
    let (files, bytes) = hash_all(&mut feed, options, total, pool, &mut sink)?;
    let (built, named) = build(&walk, files, options, &mut sink)?;
    for (path, hashed) in named {
        root.file(path, hashed.root.cid, hashed.spans);
    }
    options.check_cancel()?;
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
    Ok(report(&walk, &built, bytes, committed))
}

fn report(walk: &Walk, built: &Built, bytes: Bytes, committed: Committed) -> AddReport {
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
        shared_most_with: committed.shared_most_with,
        blocks: built.blocks,
        files: built.files,
        pin: committed.pin,
        notes: walk.notes.clone(),
    }
}

/// Builds the folders over the files, from the leaves up, and names every path.
fn build(
    walk: &Walk,
    files: Vec<Hashed>,
    options: &AddOptions,
    sink: &mut Sink<'_, '_>,
) -> Result<(Built, Vec<(String, Hashed)>), StoreError> {
    let mut files: Vec<Option<Hashed>> = files.into_iter().map(Some).collect();
    let mut named = Vec::with_capacity(files.len());
    // What is built and has no folder over it yet, in the order of the steps.
    let mut built: Vec<(&str, Built)> = Vec::new();
    for Step { path, found } in &walk.steps {
        let one = match found {
            Found::File(index) => {
                let hashed = files[*index].take().expect("each file is listed once");
                let one = Built {
                    cid: hashed.root.cid,
                    kind: ObjectKind::File,
                    size: hashed.root.size,
                    tsize: hashed.root.tsize,
                    blocks: hashed.blocks,
                    files: 1,
                };
                named.push((path.clone(), hashed));
                one
            }
            Found::Symlink(target) => symlink(path, target, options, sink)?,
            Found::Folder { entries } => {
                let below = built.split_off(built.len() - entries);
                folder(path, below, options, sink)?
            }
        };
        built.push((name_in(path), one));
    }
    let (_, top) = built.pop().expect("a walk ends with its top");
    Ok((top, named))
}

fn name_in(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn symlink(
    path: &str,
    target: &str,
    options: &AddOptions,
    sink: &mut Sink<'_, '_>,
) -> Result<Built, StoreError> {
    let block = dag::symlink_node(target, &options.profile);
    let (cid, tsize) = (*block.cid(), block.data().len() as u64);
    if let Sink::Store { root, .. } = sink {
        root.symlink(path.to_owned(), cid, target.to_owned());
    }
    sink.node(block)?;
    Ok(Built {
        cid,
        kind: ObjectKind::Symlink,
        size: 0,
        tsize,
        blocks: 1,
        files: 0,
    })
}

fn folder(
    path: &str,
    below: Vec<(&str, Built)>,
    options: &AddOptions,
    sink: &mut Sink<'_, '_>,
) -> Result<Built, StoreError> {
    let size = below.iter().map(|(_, built)| built.size).sum();
    let mut blocks = below.iter().map(|(_, built)| built.blocks).sum();
    let files = below.iter().map(|(_, built)| built.files).sum();
    let links = below.into_iter().map(|(name, built)| FolderEntry {
        name: name.to_owned(),
        cid: built.cid,
        tsize: built.tsize,
    });
    let mut put = |block| -> Result<(), StoreError> {
        blocks += 1;
        sink.node(block)
    };
    let FolderRoot { cid, tsize } = dag::build_folder(links.collect(), &options.profile, &mut put)?;
    if let Sink::Store { root, .. } = sink {
        root.folder(path.to_owned(), cid, size);
    }
    Ok(Built {
        cid,
        kind: ObjectKind::Folder,
        size,
        tsize,
        blocks,
        files,
    })
}

/// What a commit has to tell.
#[derive(Default)]
struct Committed {
    pin: Option<String>,
    shared_most_with: Option<SharedWith>,
}

/// Publishes the last pack, the root and the pin, in this order.
fn commit(
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
    let is_new = match publish_root(store, &record) {
        Ok(is_new) => is_new,
        Err(e) => {
            // Where only the sync after the rename failed, the object is there, and keeps its packs.
            let there = store.core.open_root(&cid, false);
            if there.is_ok_and(|there| there.is_some_and(|t| t.record.packs == record.packs)) {
                writer.finish();
            }
            return Err(e);
        }
    };
    let pinned = match pin {
        Some(SetPin::Prepared(pin, _)) => store.durable(pin.publish()),
        Some(SetPin::There(_)) | None => Ok(()),
    };
    let named = |name: &String| {
        let pin = names::read(store.folder(), store.id(), name);
        pin.is_ok_and(|pin| pin.is_some_and(|pin| pin.cid == cid))
    };
    // A name that was set though its sync failed keeps the object: a name never stands without its root.
    if pinned.is_err() && is_new && !name.as_ref().is_some_and(named) {
        // The object goes again. Somebody may read it already, so its packs stay until a collection.
        let retired = root::retired_path(store.folder(), &cid)?;
        let _ = fsio::rename(&root::object_path(store.folder(), &cid), &retired);
    }
    // What the index does not learn now it learns when the store is next opened.
    if let Err(e) = writer.index_last() {
        tracing::warn!("{e}");
    }
    drop(guard);
    let own = writer.sealed();
    writer.finish();
    pinned?;
    Ok(Committed {
        pin: name,
        shared_most_with: match is_new {
            true => shared_most_with(store, &record, &own),
            false => None,
        },
    })
}

/// THE COMMIT: one rename makes the object exist. One that is there whole stays as it is.
/// Says whether there was none before.
pub(crate) fn publish_root(store: &Inner, record: &RootRecord) -> Result<bool, StoreError> {
    let cid = record.head.cid.0;
    let path = root::object_path(store.folder(), &cid);
    let is_new = match store.core.open_root(&cid, true) {
        Ok(None) => true,
        Ok(Some(there))
            if is_whole(store, &there.record) && there.record.head.kind == record.head.kind =>
        {
            return Ok(false);
        }
        // A root that is damaged, or over packs that are gone, makes way for the new one; those who read
        // through it keep it.
        Ok(Some(_)) | Err(StoreError::Damaged { .. }) => {
            let retired = root::retired_path(store.folder(), &cid)?;
            std::fs::hard_link(&path, &retired)
                .map_err(crate::error::FileError::at("link to", &retired))?;
            false
        }
        Err(e) => return Err(e),
    };
    write_root(store, record, &path)?;
    tracing::debug!(
        "published {cid}: {} bytes in {} blocks",
        record.head.size,
        record.head.blocks
    );
    Ok(is_new)
}

fn is_whole(store: &Inner, record: &RootRecord) -> bool {
    record
        .packs
        .iter()
        .all(|&pack| store.core.packs.open(pack).is_ok())
}

/// Makes removals of names or roots durable.
pub(crate) fn sync_folder(store: &Inner, path: &Path) -> Result<(), StoreError> {
    store.durable(fsio::sync_dir(path).map_err(StoreError::from))
}
