//! A resolved target: an object, or a path below one, under the object's lease.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::core::ReadCore;
use super::entry::{Entry, EntryType, ObjectStat};
use super::export::{ExportOptions, ExportReport, export};
use super::file::{Backing, Extent, StoredFile};
use super::proof::Prover;
use super::referenced::Referenced;
use crate::block::{Cid, RAW, canonical};
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::gone::Gone;
use crate::store::pack::{PackFile, PackId};
use crate::store::root::{EntryKind, LeasedRoot, ObjectKind, PathEntry, RootRecord};

/// An object of the store, or a file or folder inside one.
///
/// Holds the object's lease: what it names is not collected while the value, or a file or map made from it,
/// lives. It outlives the store it came from.
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) core: Arc<ReadCore>,
    pub(super) root: LeasedRoot,
    /// Below the root's object; empty for the object itself.
    path: String,
    /// The CID that was asked for, and where the root says that it stands, if that is inside the object.
    found: Option<Arc<(Cid, String)>>,
}

impl Object {
    pub(crate) fn new(core: Arc<ReadCore>, root: LeasedRoot, path: String) -> Self {
        Self {
            core,
            root,
            path,
            found: None,
        }
    }

    /// The object was found by a CID inside it.
    pub(crate) fn found_by(mut self, cid: Cid) -> Self {
        self.found = Some(Arc::new((cid, self.path.clone())));
        self
    }

    /// The CID that it was found by, and the path that the root says it has; not proven.
    pub(crate) fn found(&self) -> Option<&(Cid, String)> {
        self.found.as_deref()
    }

    /// The names of what stands directly in this folder, as the root says; not proven.
    pub(crate) fn names(&self) -> Vec<String> {
        self.children().map(|entry| entry.path).collect()
    }

    pub(crate) fn record(&self) -> &RootRecord {
        &self.root.record
    }

    pub(crate) fn touch(&self) {
        self.root.lease.touch();
    }

    /// The CID of what was resolved.
    pub fn cid(&self) -> Cid {
        self.entry()
            .map_or(self.record().head.cid.0, |entry| entry.cid.0)
    }

    /// The published object it was found in.
    pub fn object_cid(&self) -> Cid {
        self.record().head.cid.0
    }

    /// The path below [`Object::object_cid`].
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> EntryType {
        self.entry()
            .map_or(EntryType::Block, |entry| kind_of(&entry.kind))
    }

    /// Bytes of content; for a folder, of all files below it.
    pub fn size(&self) -> u64 {
        self.entry()
            .map_or(self.record().head.size, |entry| entry.size)
    }

    /// The name of the profile that the object was added under; empty for one that was put together from
    /// single blocks.
    pub fn profile(&self) -> &str {
        &self.record().head.profile
    }

    fn entry(&self) -> Option<&PathEntry> {
        self.record().entry(&self.path)
    }

    /// What stands at a path below this one; an empty path is this itself.
    pub(crate) fn at(&self, path: &str) -> Option<Entry> {
        let entry = self.record().entry(&self.whole(path));
        entry.map(|entry| to_entry(entry, path.to_owned()))
    }

    /// The path below the root's object.
    fn whole(&self, path: &str) -> String {
        match (self.path.is_empty(), path.is_empty()) {
            (_, true) => self.path.clone(),
            (true, false) => path.to_owned(),
            (false, false) => format!("{}/{path}", self.path),
        }
    }

    /// The object's CID, and the path below it.
    pub(crate) fn display(&self) -> String {
        let object = self.object_cid();
        if self.path.is_empty() {
            object.to_string()
        } else {
            format!("{object}/{}", self.path)
        }
    }

    /// A file or folder below this one; an empty path is the object itself.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPath`], with what stands in the nearest folder.
    pub fn join(&self, path: &str) -> Result<Self, StoreError> {
        let whole = self.whole(path);
        if self.record().entry(&whole).is_none() && !whole.is_empty() {
            return Err(StoreError::NoSuchPath {
                object: self.object_cid(),
                there: self.nearest_folder(&whole),
                path: whole,
            });
        }
        Ok(Self {
            core: Arc::clone(&self.core),
            root: self.root.clone(),
            path: whole,
            found: self.found.clone(),
        })
    }

    /// The folder that this lies in, inside the same object; none for the object itself.
    pub(crate) fn parent(&self) -> Option<Self> {
        let folder = self.path.rsplit_once('/').map_or("", |(head, _)| head);
        let parent = Self {
            path: folder.to_owned(),
            ..self.clone()
        };
        (!self.path.is_empty()).then_some(parent)
    }

    fn nearest_folder(&self, path: &str) -> Vec<String> {
        let mut folder = path;
        loop {
            folder = folder.rsplit_once('/').map_or("", |(head, _)| head);
            let there = self.record().entry(folder);
            if there.is_some_and(|e| e.kind == EntryKind::Folder) || folder.is_empty() {
                let at = Self {
                    path: folder.to_owned(),
                    ..self.clone()
                };
                return at.children().map(|entry| entry.path).collect();
            }
        }
    }

    /// Everything below this folder, in the byte order of the paths; nothing below a file or link.
    pub fn walk(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries()
            .map(|(path, entry)| to_entry(entry, path.to_owned()))
    }

    /// As [`Object::walk`]: the root's entries, each with its path below this folder.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &PathEntry)> + '_ {
        let prefix = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}/", self.path)
        };
        let paths = &self.record().paths;
        let first = paths.partition_point(|entry| entry.path.as_str() < prefix.as_str());
        let skip = prefix.len();
        paths[first..]
            .iter()
            .take_while(move |entry| entry.path.starts_with(&prefix))
            .filter(|entry| !entry.path.is_empty())
            .map(move |entry| (&entry.path[skip..], entry))
    }

    fn children(&self) -> impl Iterator<Item = Entry> + '_ {
        self.walk().filter(|entry| !entry.path.contains('/'))
    }

    /// What stands directly in this folder.
    ///
    /// # Errors
    /// [`StoreError::NotAFolder`] for a file, a link or a block.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        match self.kind() {
            EntryType::Folder => Ok(self.children().collect()),
            other => Err(StoreError::NotAFolder {
                target: self.display(),
                found: other.name(),
            }),
        }
    }

    /// The target of a symbolic link.
    pub(crate) fn link_target(&self) -> Option<&str> {
        match &self.entry()?.kind {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        }
    }

    /// This file's bytes.
    ///
    /// # Errors
    /// [`StoreError::NotAFile`] for a folder, a link or a block; [`StoreError::Damaged`] when a pack is not
    /// what the root says.
    pub fn file(&self) -> Result<StoredFile, StoreError> {
        let not_a_file = |found| StoreError::NotAFile {
            target: self.display(),
            found,
        };
        let entry = self.entry().ok_or_else(|| not_a_file("block"))?;
        if !matches!(entry.kind, EntryKind::File { .. }) {
            return Err(not_a_file(kind_of(&entry.kind).name()));
        }
        let record = self.record();
        let gone = self.core.gone()?;
        let mut start = 0;
        let mut extents = Vec::new();
        let mut refused = Vec::new();
        let mut sources = Sources::new(self);
        for extent in record.extents_of(entry) {
            let pack = self.core.pack_of(record, extent.pack)?;
            let (offset, len) = (extent.offset, extent.len);
            let range = offset..offset + len;
            for bad in gone.within(pack.id(), &range) {
                let of_file = |at: u64| start + (at.clamp(range.start, range.end) - offset);
                refused.push((of_file(bad.start)..of_file(bad.end), bad.why));
            }
            extents.push(Extent {
                backing: sources.open(&pack, offset, len)?,
                start,
                offset,
                len,
            });
            start += len;
        }
        let name = if self.path.is_empty() {
            self.display()
        } else {
            self.path.clone()
        };
        Ok(StoredFile::new(
            &name,
            Some(entry.cid.0),
            extents,
            Some(Arc::clone(&self.root.lease)),
        )
        .refusing(refused))
    }

    /// The file at a path below this folder, open for reading.
    ///
    /// # Errors
    /// As [`Object::join`] and [`Object::file`].
    pub fn open(&self, path: &str) -> Result<StoredFile, StoreError> {
        self.join(path)?.file()
    }

    /// The whole content of a (small) file below this folder, such as `config.json`.
    ///
    /// # Errors
    /// As [`Object::open`] and [`StoredFile::read`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, StoreError> {
        self.open(path)?.read()
    }

    /// Writes the file or folder to `output`, whole or not at all.
    ///
    /// # Errors
    /// As [`Store::export`](crate::Store::export).
    pub fn export(
        &self,
        output: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport, StoreError> {
        self.touch();
        export(self, output.as_ref(), options)
    }

    /// Size, blocks, codec and pins.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Dag`] when the DAG's nodes cannot be read.
    pub fn stat(&self) -> Result<ObjectStat, StoreError> {
        let record = self.record();
        let cid = self.cid();
        let blocks = match self.path.is_empty() {
            true => record.head.blocks,
            false => self.count_blocks()?,
        };
        let pins = self.core.pins()?;
        let keeps = |pin: &&crate::store::names::Pin| {
            canonical(&pin.cid) == canonical(&cid) || pin.cid == canonical(&record.head.cid.0)
        };
        let prefix = format!("{}/", self.path);
        let inside = |entry: &&PathEntry| {
            entry.path == self.path || self.path.is_empty() || entry.path.starts_with(&prefix)
        };
        Ok(ObjectStat {
            cid,
            kind: self.kind(),
            size: self.size(),
            blocks,
            codec: if cid.codec() == RAW { "raw" } else { "dag-pb" },
            hash: crate::block::hash_name(&cid),
            pinned_by: pins
                .iter()
                .filter(keeps)
                .map(|pin| pin.name.clone())
                .collect(),
            object: record.head.cid.0,
            profile: record.head.profile.clone(),
            extents: record
                .paths
                .iter()
                .filter(inside)
                .map(|entry| record.extents_of(entry).len() as u64)
                .sum(),
            damaged_bytes: self.damaged_bytes()?,
            referenced_bytes: record
                .paths
                .iter()
                .filter(inside)
                .flat_map(|entry| record.extents_of(entry))
                .filter(|extent| self.core.packs.is_reference(record.pack(extent.pack)))
                .map(|extent| extent.len)
                .fold(0, u64::saturating_add),
        })
    }

    /// Bytes at or below this path that are recorded as damaged or given back, and are refused; the nodes of the DAG
    /// count where all of the object is meant.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a root that cannot be read.
    pub fn damaged_bytes(&self) -> Result<u64, StoreError> {
        // A store without the list has nothing on record.
        let gone = self.core.gone().ok();
        let packs = &self.record().packs;
        let concerns = |gone: &Arc<Gone>| packs.iter().any(|pack| !gone.of(*pack).is_empty());
        let Some(gone) = gone.filter(concerns) else {
            return Ok(0);
        };
        let mut covered = Coverage::default();
        if self.path.is_empty() {
            covered.add(&*self.record_with_nodes()?);
        }
        let record = self.record();
        let below = self.entries().map(|(_, entry)| entry);
        for entry in self.entry().into_iter().chain(below) {
            for extent in record.extents_of(entry) {
                let range = extent.offset..extent.offset + extent.len;
                covered.add_range(record.pack(extent.pack), range);
            }
        }
        covered.normalize();
        Ok(gone.bytes_within(&covered))
    }

    /// The root with the places of its nodes.
    pub(crate) fn record_with_nodes(&self) -> Result<Arc<RootRecord>, StoreError> {
        self.root.with_nodes(&self.core.folder, self.core.id)
    }

    /// What proves the bytes of the files of this object.
    pub(crate) fn prover(&self) -> Result<Prover, StoreError> {
        let record = self.record_with_nodes()?;
        Ok(Prover::new(&self.core, record))
    }
}

/// The sources that one file's bytes lie in, each opened once.
struct Sources<'o> {
    object: &'o Object,
    open: HashMap<(PackId, usize), Arc<Referenced>>,
}

impl<'o> Sources<'o> {
    fn new(object: &'o Object) -> Self {
        let open = HashMap::new();
        Self { object, open }
    }

    fn open(&mut self, pack: &Arc<PackFile>, offset: u64, len: u64) -> Result<Backing, StoreError> {
        let core = &self.object.core;
        let Some((number, source)) = pack.source_of(offset, len)? else {
            return Ok(Backing::Pack(Arc::clone(pack)));
        };
        let target = self.object.display();
        if !core.opens_sources {
            let path = source.path().to_path_buf();
            return Err(StoreError::ReferenceRefused { target, path });
        }
        let rows = core.packs.rows(pack)?;
        let opened = self.open.entry((pack.id(), number)).or_insert_with(|| {
            let opened = Referenced::new(pack, source, rows, &target);
            Arc::new(opened)
        });
        Ok(Backing::Referenced(Arc::clone(opened)))
    }
}

pub(crate) fn kind_of(kind: &EntryKind) -> EntryType {
    match kind {
        EntryKind::File { .. } => EntryType::File,
        EntryKind::Folder => EntryType::Folder,
        EntryKind::Symlink { .. } => EntryType::Symlink,
    }
}

pub(crate) fn type_of(kind: ObjectKind) -> EntryType {
    match kind {
        ObjectKind::File => EntryType::File,
        ObjectKind::Folder => EntryType::Folder,
        ObjectKind::Symlink => EntryType::Symlink,
        ObjectKind::Block | ObjectKind::Loose => EntryType::Block,
    }
}

fn to_entry(entry: &PathEntry, path: String) -> Entry {
    Entry {
        path,
        cid: entry.cid.0,
        kind: kind_of(&entry.kind),
        size: entry.size,
        target: match &entry.kind {
            EntryKind::Symlink { target } => Some(target.clone()),
            _ => None,
        },
    }
}
