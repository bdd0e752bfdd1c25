//! Adding files, folders and streams: hash everything, then commit in one step.

use std::io::Read;
use std::path::Path;

use super::feed::{Feed, FilesFeed, StreamFeed};
use super::hash::{Bytes, Hashed, Sink, hash_all};
use super::options::{AddOptions, AddReport, PinAs};
use super::record::RootBuilder;
use super::walk::{Found, Walk, walk};
use super::writer::{BlockWriter, write_root};
use crate::block::Cid;
use crate::dag::{self, FolderEntry};
use crate::fsio;
use crate::store::error::StoreError;
use crate::store::format::StoredCid;
use crate::store::inner::{Inner, build_pool};
use crate::store::names::{self, Pin, PinKind};
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
    store
        .pool()?
        .install(|| add(store, walk, feed, total, options))
}

pub(crate) fn add_reader(
    store: &Inner,
    reader: impl Read + Send,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    check_pin(store, &options.pin, None)?;
    let feed = StreamFeed::new(reader, options.profile.chunk_bytes());
    store
        .pool()?
        .install(|| add(store, stream_walk(), feed, None, options))
}

pub(crate) fn hash_path(path: &Path, options: &AddOptions) -> Result<AddReport, StoreError> {
    let mut walk = walk(path, options)?;
    let feed = files_feed(&mut walk, options);
    let total = Some(walk.total_bytes);
    build_pool(0)?.install(|| only_hash(walk, feed, total, options))
}

pub(crate) fn hash_reader(
    reader: impl Read + Send,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let feed = StreamFeed::new(reader, options.profile.chunk_bytes());
    build_pool(0)?.install(|| only_hash(stream_walk(), feed, None, options))
}

/// Hands the files over: each is closed once its last chunk is hashed, however many there are.
fn files_feed(walk: &mut Walk, options: &AddOptions) -> FilesFeed {
    FilesFeed::new(
        std::mem::take(&mut walk.files),
        options.profile.chunk_bytes(),
    )
}

fn stream_walk() -> Walk {
    Walk {
        root: Found::File(0),
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
    let (files, _) = hash_all(&mut feed, options, total, &mut sink)?;
    let (built, _) = build(&walk, files, options, &mut sink)?;
    let bytes = Bytes {
        new: built.size,
        shared: 0,
    };
    Ok(report(&walk, &built, bytes, None))
}

fn add(
    store: &Inner,
    walk: Walk,
    mut feed: impl Feed,
    total: Option<u64>,
    options: &AddOptions,
) -> Result<AddReport, StoreError> {
    let mut writer = BlockWriter::new(store);
    let mut root = RootBuilder::default();
    let mut sink = Sink::Store {
        store,
        writer: &mut writer,
        root: &mut root,
    };
    let (files, bytes) = hash_all(&mut feed, options, total, &mut sink)?;
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
    let pin = commit(store, writer, root, head, &options.pin)?;
    Ok(report(&walk, &built, bytes, pin))
}

fn report(walk: &Walk, built: &Built, bytes: Bytes, pin: Option<String>) -> AddReport {
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
        blocks: built.blocks,
        files: built.files,
        pin,
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
    let mut builder = Folders {
        options,
        files: &mut files,
        named: &mut named,
    };
    let built = builder.build(&walk.root, String::new(), sink)?;
    Ok((built, named))
}

struct Folders<'a> {
    options: &'a AddOptions,
    files: &'a mut [Option<Hashed>],
    named: &'a mut Vec<(String, Hashed)>,
}

impl Folders<'_> {
    fn build(
        &mut self,
        found: &Found,
        path: String,
        sink: &mut Sink<'_, '_>,
    ) -> Result<Built, StoreError> {
        match found {
            Found::File(index) => {
                let hashed = self.files[*index].take().expect("each file is listed once");
                let (cid, size, tsize) = (hashed.root.cid, hashed.root.size, hashed.root.tsize);
                let blocks = hashed.blocks;
                self.named.push((path, hashed));
                Ok(Built {
                    cid,
                    kind: ObjectKind::File,
                    size,
                    tsize,
                    blocks,
                    files: 1,
                })
            }
            Found::Symlink(target) => {
                let block = dag::symlink_node(target, &self.options.profile);
                let (cid, tsize) = (*block.cid(), block.data().len() as u64);
                if let Sink::Store { root, .. } = sink {
                    root.symlink(path, cid, target.clone());
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
            Found::Folder(entries) => {
                let mut links = Vec::with_capacity(entries.len());
                let (mut size, mut blocks, mut files) = (0, 1, 0);
                for (name, below) in entries {
                    let below_path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}/{name}")
                    };
                    let built = self.build(below, below_path, sink)?;
                    size += built.size;
                    blocks += built.blocks;
                    files += built.files;
                    links.push(FolderEntry {
                        name: name.clone(),
                        cid: built.cid,
                        tsize: built.tsize,
                    });
                }
                let block = dag::folder_node(links, &self.options.profile)?;
                let (cid, tsize) = (*block.cid(), dag::cumulative_size(&block)?);
                if let Sink::Store { root, .. } = sink {
                    root.folder(path, cid, size);
                }
                sink.node(block)?;
                Ok(Built {
                    cid,
                    kind: ObjectKind::Folder,
                    size,
                    tsize,
                    blocks,
                    files,
                })
            }
        }
    }
}

/// Publishes the last pack, the root and the pin, in this order; returns the pin's name.
fn commit(
    store: &Inner,
    mut writer: BlockWriter<'_>,
    root: RootBuilder,
    head: Head,
    pin: &PinAs,
) -> Result<Option<String>, StoreError> {
    let cid = head.cid.0;
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
    publish_root(store, &record)?;
    // From here on the object is there, whatever happens to its pin.
    let pinned = publish_pin(store, pin, &cid);
    drop(guard);
    writer.finish()?;
    pinned
}

/// THE COMMIT: one rename makes the object exist. One that is there whole stays as it is.
pub(crate) fn publish_root(store: &Inner, record: &RootRecord) -> Result<(), StoreError> {
    let cid = record.head.cid.0;
    let path = root::object_path(store.folder(), &cid);
    match store.core.open_root(&cid, true) {
        Ok(None) => {}
        Ok(Some(there))
            if is_whole(store, &there.record) && there.record.head.kind == record.head.kind =>
        {
            return Ok(());
        }
        // A root that is damaged, or over packs that are gone, makes way for the new one; those who read
        // through it keep it.
        Ok(Some(_)) | Err(StoreError::Damaged { .. }) => {
            let retired = root::retired_path(store.folder(), &cid)?;
            std::fs::hard_link(&path, &retired)
                .map_err(crate::error::FileError::at("link to", &retired))?;
        }
        Err(e) => return Err(e),
    }
    write_root(store, record, &path)
}

fn is_whole(store: &Inner, record: &RootRecord) -> bool {
    record
        .packs
        .iter()
        .all(|&pack| store.core.packs.open(pack).is_ok())
}

/// Refuses a pin's name that cannot be set; without a CID only what can be known before hashing.
pub(crate) fn check_pin(store: &Inner, pin: &PinAs, cid: Option<&Cid>) -> Result<(), StoreError> {
    let PinAs::Named { name, replace } = pin else {
        return Ok(());
    };
    // Which object it will be is not known yet, and a CID as a name is judged when it is.
    let any = dag::leaf(&[], &dag::Profile::default());
    match names::check(name, cid.unwrap_or(&any)) {
        Err(e) if cid.is_some() || crate::block::parse_cid(name).is_err() => return Err(e),
        _ => {}
    }
    let taken = names::read(store.folder(), store.id(), name)?;
    match taken {
        Some(there) if !replace && cid.is_some_and(|cid| there.cid != *cid) => {
            Err(StoreError::NameTaken {
                name: name.clone(),
                cid: there.cid,
            })
        }
        _ => Ok(()),
    }
}

fn publish_pin(store: &Inner, pin: &PinAs, cid: &Cid) -> Result<Option<String>, StoreError> {
    let name = match pin {
        PinAs::No => return Ok(None),
        PinAs::Unnamed => cid.to_string(),
        PinAs::Named { name, .. } => name.clone(),
    };
    set_pin(store, &name, cid, PinKind::Recursive)?;
    Ok(Some(name))
}

/// Sets or moves a name; one that says so already stays.
pub(crate) fn set_pin(
    store: &Inner,
    name: &str,
    cid: &Cid,
    kind: PinKind,
) -> Result<Pin, StoreError> {
    if let Some(there) = names::read(store.folder(), store.id(), name)? {
        if there.cid == *cid && there.kind == kind {
            return Ok(there);
        }
    }
    let pin = Pin {
        name: name.to_owned(),
        cid: *cid,
        kind,
        created_ms: now_ms(),
    };
    store.durable(names::publish(store.folder(), store.id(), &pin))?;
    Ok(pin)
}

/// Makes removals of names or roots durable.
pub(crate) fn sync_folder(store: &Inner, path: &Path) -> Result<(), StoreError> {
    store.durable(fsio::sync_dir(path).map_err(StoreError::from))
}
