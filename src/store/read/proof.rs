//! What a file's bytes must hash to: found from the object's CID down, each node checked against its CID.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::core::ReadCore;
use super::file::{Backing, StoredFile};
use super::object::Object;
use crate::block::{Block, BlockError, Cid, RAW, canonical, verify};
use crate::dag::{self, MAX_BLOCK_BYTES, Node, ShardPosition};
use crate::store::assemble::MAX_FILE_LEVELS;
use crate::store::error::StoreError;
use crate::store::pack::PackFile;
use crate::store::root::{NodePlace, RootRecord};

/// Follows the DAG of one object.
pub(crate) struct Prover {
    core: Arc<ReadCore>,
    record: Arc<RootRecord>,
    places: HashMap<Cid, NodePlace>,
}

/// The leaves of one file, in order: which bytes of it are which block.
#[derive(Debug)]
pub(crate) struct Leaves {
    name: Arc<str>,
    leaves: Vec<Leaf>,
    framed: Vec<Framed>,
}

/// Where a leaf that is framed in dag-pb lies.
#[derive(Debug)]
struct Framed {
    pack: Arc<PackFile>,
    place: NodePlace,
    /// It was not read yet, and taken for a leaf because the file's bytes lie in it.
    is_assumed: bool,
}

#[derive(Debug)]
struct Leaf {
    start: u64,
    cid: Cid,
    /// Counts into the framed ones.
    framed: Option<u32>,
    len: u32,
}

impl Prover {
    pub(crate) fn new(core: &Arc<ReadCore>, record: Arc<RootRecord>) -> Self {
        let place = |node: &NodePlace| (node.cid.0, *node);
        Self {
            core: Arc::clone(core),
            places: record.nodes.iter().map(place).collect(),
            record,
        }
    }

    /// The leaves of the file that an object of the same root stands for.
    pub(crate) fn leaves(&self, object: &Object, file: &StoredFile) -> Result<Leaves, StoreError> {
        self.check_found(object)?;
        let cid = self.descend(object.path())?;
        self.check_same(&cid, &object.cid())?;
        let mut leaves = Leaves {
            name: file.name().into(),
            leaves: Vec::new(),
            framed: Vec::new(),
        };
        let mut end = 0;
        self.collect(&cid, None, 0, &mut end, file, &mut leaves)?;
        if end != file.size() {
            let (expected, found) = (end.to_string(), file.size().to_string());
            return Err(self.damaged("size of a file", expected, found));
        }
        Ok(leaves)
    }

    /// Checks that an object that was found by a CID inside another one has that CID.
    fn check_found(&self, object: &Object) -> Result<(), StoreError> {
        match object.found() {
            Some((cid, path)) => self.check_same(&self.descend(path)?, cid),
            None => Ok(()),
        }
    }

    fn check_same(&self, proven: &Cid, stated: &Cid) -> Result<(), StoreError> {
        match canonical(proven) == canonical(stated) {
            true => Ok(()),
            false => {
                let (expected, found) = (proven.to_string(), stated.to_string());
                Err(self.damaged("CID of a path", expected, found))
            }
        }
    }

    /// Checks that a folder holds the names that the root says, no more and no fewer.
    pub(crate) fn check_names(&self, object: &Object) -> Result<(), StoreError> {
        self.check_found(object)?;
        let mut proven = Vec::new();
        let mut open = vec![(self.descend(object.path())?, ShardPosition::top())];
        while let Some((cid, position)) = open.pop() {
            match self.node(&cid)?.0 {
                Node::Folder { entries } => proven.extend(entries.into_iter().map(|e| e.name)),
                ref node @ Node::Shard { fanout, ref links } => {
                    position.check(&cid, node)?;
                    for link in links {
                        match &link.name {
                            Some(name) => proven.push(name.clone()),
                            None => open.push((link.cid, position.below(fanout, link.slot))),
                        }
                    }
                }
                _ => {
                    let (target, found) = (cid.to_string(), "file");
                    return Err(StoreError::NotAFolder { target, found });
                }
            }
        }
        let mut stated = object.names();
        proven.sort_unstable();
        stated.sort_unstable();
        if proven != stated {
            let (expected, found) = (proven.len(), stated.len());
            return Err(self.damaged(
                "names in a folder",
                format!("the {expected} of its nodes"),
                format!("{found}, not all of them the same"),
            ));
        }
        Ok(())
    }

    /// The CID at a path below the object.
    fn descend(&self, path: &str) -> Result<Cid, StoreError> {
        let mut cid = self.record.head.cid.0;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            cid = self.entry(cid, name)?.ok_or_else(|| {
                let expected = format!("an entry {name:?} in folder {cid}");
                self.damaged("path", expected, "none".into())
            })?;
        }
        Ok(cid)
    }

    /// The entry of a folder, through its shards.
    fn entry(&self, mut folder: Cid, name: &str) -> Result<Option<Cid>, StoreError> {
        let mut position = ShardPosition::top();
        loop {
            let (node, _) = self.node(&folder)?;
            let (fanout, links) = match node {
                Node::Folder { entries } => {
                    let found = entries.iter().find(|entry| entry.name == name);
                    return Ok(found.map(|entry| entry.cid));
                }
                Node::Shard { .. } => {
                    position.check(&folder, &node)?;
                    let Node::Shard { fanout, links } = node else {
                        return Ok(None);
                    };
                    (fanout, links)
                }
                _ => return Ok(None),
            };
            let slot = position.slot_of(fanout, name);
            match links.into_iter().find(|link| link.slot == slot) {
                Some(link) if link.name.is_none() => {
                    // Deeper than a hash has bits is refused by the position.
                    position = position.below(fanout, slot);
                    folder = link.cid;
                }
                link => {
                    let found = link.filter(|link| link.name.as_deref() == Some(name));
                    return Ok(found.map(|link| link.cid));
                }
            }
        }
    }

    /// A node that was checked against its CID, and where it lies.
    fn node(&self, cid: &Cid) -> Result<(Node, NodePlace), StoreError> {
        let place = self
            .places
            .get(cid)
            .ok_or_else(|| StoreError::BlockAbsent {
                cid: *cid,
                path: self.core.folder.path().to_path_buf(),
            })?;
        let pack = self.core.pack_of(&self.record, place.pack)?;
        self.core.refuse_gone(cid, pack.id(), place)?;
        let block = Block::verified(*cid, pack.read(place.offset, place.len as usize)?);
        let block = block.map_err(|e| match e {
            BlockError::Mismatch { cid, found } => StoreError::CorruptNode {
                expected: Box::new(cid),
                found,
                pack: pack.path().to_path_buf(),
                pack_offset: place.offset,
            },
            other => other.into(),
        })?;
        Ok((dag::decode(cid, block.data())?, *place))
    }

    /// Whether the root says that so many bytes of the file lie in one piece inside a node. Then it is a leaf,
    /// and need not be read to know what is below it; that it is one is seen when it is checked.
    fn holds(&self, place: &NodePlace, start: u64, size: u64, file: &StoredFile) -> bool {
        let Some((extent, part)) = file.overlaps(start..start.saturating_add(size)).next() else {
            return false;
        };
        let offset = extent.offset + (part.start - extent.start);
        let pack = self.core.packs.open(self.record.pack(place.pack));
        part.end - part.start == size
            && place.offset <= offset
            && offset + size <= place.offset + u64::from(place.len)
            && pack.is_ok_and(|pack| pack.path() == extent.backing.path())
    }

    /// Adds the leaves below a block. `size` is what its parent says that it stands for; nodes that repeat
    /// each other cannot pass the size of the whole file.
    fn collect(
        &self,
        cid: &Cid,
        size: Option<u64>,
        level: usize,
        end: &mut u64,
        file: &StoredFile,
        leaves: &mut Leaves,
    ) -> Result<(), StoreError> {
        let limit = file.size();
        // A file of one leaf has no parent to say its size.
        let stated = size.unwrap_or(limit);
        if level > MAX_FILE_LEVELS {
            let (cid, what, limit) = (*cid, "levels of nodes", MAX_FILE_LEVELS);
            return Err(StoreError::TooDeep { cid, what, limit });
        }
        let start = *end;
        if cid.codec() == RAW {
            self.push(*cid, stated, None, end, limit, leaves)?;
        } else if let Some(place) = self.places.get(cid)
            && stated > 0
            && self.holds(place, start, stated, file)
        {
            let number = self.frame(*place, true, leaves)?;
            self.push(*cid, stated, Some(number), end, limit, leaves)?;
        } else {
            let (node, place) = self.node(cid)?;
            let Node::File { data, children, .. } = node else {
                let target = cid.to_string();
                let found = "folder node inside a file";
                return Err(StoreError::NotAFile { target, found });
            };
            if let Some(data) = data {
                let number = self.frame(place, false, leaves)?;
                self.push(*cid, data.len() as u64, Some(number), end, limit, leaves)?;
            }
            // One of no bytes says nothing of any byte, and could stand for any number of nodes.
            for child in children.iter().filter(|child| child.size > 0) {
                self.collect(&child.cid, Some(child.size), level + 1, end, file, leaves)?;
            }
        }
        match size {
            Some(size) if *end - start != size => {
                let found = (*end - start).to_string();
                Err(self.damaged("size of a part of a file", size.to_string(), found))
            }
            _ => Ok(()),
        }
    }

    fn frame(
        &self,
        place: NodePlace,
        is_assumed: bool,
        leaves: &mut Leaves,
    ) -> Result<u32, StoreError> {
        leaves.framed.push(Framed {
            pack: self.core.pack_of(&self.record, place.pack)?,
            place,
            is_assumed,
        });
        Ok(leaves.framed.len() as u32 - 1)
    }

    fn push(
        &self,
        cid: Cid,
        len: u64,
        framed: Option<u32>,
        end: &mut u64,
        limit: u64,
        leaves: &mut Leaves,
    ) -> Result<(), StoreError> {
        let next = end.checked_add(len).filter(|next| *next <= limit);
        let short = u32::try_from(len).ok();
        let short = short.filter(|len| *len as usize <= MAX_BLOCK_BYTES);
        let (Some(next), Some(short)) = (next, short) else {
            let expected = format!("up to {MAX_BLOCK_BYTES} bytes of the {limit} of the file");
            let found = format!("{len} bytes at {end}");
            return Err(self.damaged("size of a leaf", expected, found));
        };
        // An empty file is one empty leaf; elsewhere empty ones say nothing of any byte.
        if len > 0 {
            leaves.leaves.push(Leaf {
                start: *end,
                cid,
                framed,
                len: short,
            });
        } else if framed.is_none() {
            verify(&cid, &[])?;
        }
        *end = next;
        Ok(())
    }

    fn damaged(&self, what: &'static str, expected: String, found: String) -> StoreError {
        StoreError::Damaged {
            path: crate::store::root::object_path(&self.core.folder, &self.record.head.cid.0),
            what,
            expected,
            found,
        }
    }
}

impl Leaves {
    /// The bytes of the file that each leaf is, by number, for all that a range touches.
    pub(crate) fn covering(
        &self,
        range: Range<u64>,
    ) -> impl Iterator<Item = (usize, Range<u64>)> + '_ {
        let first = self
            .leaves
            .partition_point(|leaf| leaf.start + u64::from(leaf.len) <= range.start);
        let touched = self.leaves[first..]
            .iter()
            .take_while(move |leaf| leaf.start < range.end && !range.is_empty());
        touched
            .zip(first..)
            .map(|(leaf, number)| (number, leaf.start..leaf.start + u64::from(leaf.len)))
    }

    /// Checks the bytes of a leaf against its CID.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for other bytes; what makes a CID impossible to check.
    pub(crate) fn check(
        &self,
        number: usize,
        bytes: &[u8],
        file: &StoredFile,
    ) -> Result<(), StoreError> {
        let leaf = &self.leaves[number];
        let found = match leaf.framed {
            None => match verify(&leaf.cid, bytes) {
                Ok(()) => return Ok(()),
                Err(BlockError::Mismatch { found, .. }) => found,
                Err(e) => return Err(e.into()),
            },
            Some(framed) => {
                let Framed {
                    pack,
                    place,
                    is_assumed,
                } = &self.framed[framed as usize];
                let block = Block::verified(leaf.cid, pack.read(place.offset, place.len as usize)?);
                let block = match block {
                    Ok(block) => block,
                    Err(BlockError::Mismatch { found, .. }) => {
                        let (path, offset) = (pack.path().to_path_buf(), place.offset);
                        return Err(self.corrupt(leaf, *found, path, offset));
                    }
                    Err(e) => return Err(e.into()),
                };
                match dag::decode(&leaf.cid, block.data())? {
                    Node::File {
                        data: Some(range),
                        size,
                        ..
                    } if block.data()[range.clone()] == *bytes
                        && (!is_assumed || size == bytes.len() as u64) =>
                    {
                        return Ok(());
                    }
                    // The block is right, and the bytes are not its.
                    _ => Box::new(Block::new(RAW, Default::default(), bytes).cid().to_owned()),
                }
            }
        };
        let at = file.overlaps(leaf.start..leaf.start + 1).next();
        if let Some((extent, part)) = &at
            && let Backing::Referenced(source) = &extent.backing
        {
            let offset = extent.offset + (part.start - extent.start);
            return Err(source.differs(&leaf.cid, offset, leaf.len as usize));
        }
        let (pack, offset) = at.map_or_else(
            || (PathBuf::new(), 0),
            |(extent, part)| {
                let offset = extent.offset + (part.start - extent.start);
                (extent.backing.path().to_path_buf(), offset)
            },
        );
        Err(self.corrupt(leaf, *found, pack, offset))
    }

    fn corrupt(&self, leaf: &Leaf, found: Cid, pack: PathBuf, pack_offset: u64) -> StoreError {
        StoreError::Corrupt {
            name: self.name.to_string(),
            offset: leaf.start,
            len: u64::from(leaf.len),
            expected: Box::new(leaf.cid),
            found: Box::new(found),
            pack,
            pack_offset,
        }
    }

    /// Reads a leaf and checks it.
    ///
    /// # Errors
    /// As [`Leaves::check`]; those of reading.
    pub(crate) fn read_leaf(
        &self,
        number: usize,
        file: &StoredFile,
    ) -> Result<Vec<u8>, StoreError> {
        let leaf = &self.leaves[number];
        let mut bytes = vec![0; leaf.len as usize];
        file.read_unchecked_at(leaf.start, &mut bytes)?;
        self.check(number, &bytes, file)?;
        Ok(bytes)
    }

    /// Reads a range, and hands it out only when every leaf that it touches is what its CID names.
    ///
    /// # Errors
    /// As [`Leaves::read_leaf`].
    pub(crate) fn read(&self, file: &StoredFile, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for (number, leaf) in self.covering(range.clone()) {
            let whole = self.read_leaf(number, file)?;
            let from = range.start.max(leaf.start) - leaf.start;
            let to = range.end.min(leaf.end) - leaf.start;
            bytes.extend_from_slice(&whole[from as usize..to as usize]);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::StoredCid;
    use crate::store::ingest::{AddOptions, hash_path};
    use crate::store::root::{object_path, open_root};
    use crate::store::{Store, StoreReader};

    /// A folder with a folder in it, and its root rewritten by somebody who keeps the checksums right.
    struct Hostile {
        _dir: tempfile::TempDir,
        reader: StoreReader,
        /// What a folder that is not in the store has as its CID.
        other: Cid,
        top: Cid,
    }

    fn hostile(change: impl FnOnce(&mut RootRecord, Cid)) -> Hostile {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in [("top/p/f", "content"), ("other/f", "something else")] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let options = AddOptions::default();
        let store = Store::create(dir.path().join("store")).unwrap();
        let top = store
            .add_path(dir.path().join("top"), &options)
            .unwrap()
            .cid;
        let other = hash_path(&dir.path().join("other"), &options).unwrap().cid;
        let reader = store.to_reader();
        let core = ReadCore::open(store.path()).unwrap();
        let root = open_root(&core.folder, core.id, &top, true)
            .unwrap()
            .unwrap();
        let mut record = (*root.record).clone();
        change(&mut record, other);
        std::fs::write(object_path(&core.folder, &top), record.to_bytes(core.id)).unwrap();
        Hostile {
            _dir: dir,
            reader,
            other,
            top,
        }
    }

    fn leaves(object: &Object) -> Result<Leaves, StoreError> {
        object.prover()?.leaves(object, &object.file()?)
    }

    #[test]
    fn what_a_root_says_of_a_cid_inside_it_is_not_believed() {
        let there = hostile(|_, _| {});
        let object = there.reader.resolve(&there.top.into()).unwrap();
        leaves(&object.join("p/f").unwrap()).unwrap();
        object.prover().unwrap().check_names(&object).unwrap();

        let there = hostile(|record, other| {
            let inner = record.paths.iter_mut().find(|entry| entry.path == "p");
            inner.unwrap().cid = StoredCid(other);
        });
        let object = there.reader.resolve(&there.other.into()).unwrap();
        assert_eq!(
            object.path(),
            "p",
            "the root is believed where nothing is verified"
        );
        let inner = object.join("f").unwrap();
        assert!(matches!(leaves(&inner), Err(StoreError::Damaged { .. })));
        let names = object.prover().unwrap().check_names(&object);
        assert!(matches!(names, Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_root_that_leaves_a_name_out_or_adds_one_is_seen() {
        let there = hostile(|record, _| record.paths.retain(|entry| entry.path != "p/f"));
        let object = there.reader.resolve(&there.top.into()).unwrap();
        let prover = object.prover().unwrap();
        prover.check_names(&object).unwrap();
        assert!(prover.check_names(&object.join("p").unwrap()).is_err());

        let there = hostile(|record, _| {
            let mut more = record.paths.last().unwrap().clone();
            more.path = "p/g".into();
            record.paths.push(more);
        });
        let object = there.reader.resolve(&there.top.into()).unwrap();
        let prover = object.prover().unwrap();
        assert!(prover.check_names(&object.join("p").unwrap()).is_err());
        assert!(leaves(&object.join("p/g").unwrap()).is_err());
    }
}
