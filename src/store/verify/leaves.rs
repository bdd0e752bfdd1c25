//! The leaves of one file against its extents.

use super::proof::Proof;
use crate::block::{Cid, verify};
use crate::dag::{MAX_BLOCK_BYTES, Node};
use crate::store::assemble::MAX_FILE_LEVELS;
use crate::store::error::StoreError;
use crate::store::pack::Place;
use crate::store::root::{PathEntry, RootExtent};

/// A block below a file, and what its parent says of it.
struct Step {
    cid: Cid,
    /// Bytes of the file; the root has no parent to say them.
    size: Option<u64>,
    level: usize,
}

/// What comes next of a file.
struct Position<'e> {
    extents: &'e [RootExtent],
    /// Bytes of the first extent that are passed.
    inside: u64,
    at: u64,
}

impl Position<'_> {
    /// Takes the next bytes, if they lie in one piece: the number of the pack, and where in it.
    fn take(&mut self, len: u64) -> Option<(u32, u64)> {
        let first = self.extents.first()?;
        let taken =
            (first.len - self.inside >= len).then_some((first.pack, first.offset + self.inside));
        self.pass(len);
        taken
    }

    fn pass(&mut self, mut len: u64) {
        self.at = self.at.saturating_add(len);
        while let Some(first) = self.extents.first() {
            let left = first.len - self.inside;
            if len < left {
                self.inside += len;
                return;
            }
            len -= left;
            self.extents = &self.extents[1..];
            self.inside = 0;
        }
    }
}

impl Proof<'_, '_> {
    /// Follows a file to its leaves, which in their order are what the root places.
    pub(super) fn file(&mut self, cid: Cid, entry: &PathEntry) -> Result<(), StoreError> {
        let path = entry.path.as_str();
        let record = self.record;
        let mut position = Position {
            extents: record.extents_of(entry),
            inside: 0,
            at: 0,
        };
        if let Some(covered) = &mut self.covered {
            for extent in position.extents {
                let range = extent.offset..extent.offset + extent.len;
                covered.add_range(record.pack(extent.pack), range);
            }
        }
        let mut steps = vec![Step {
            cid,
            size: None,
            level: 0,
        }];
        while let Some(step) = steps.pop() {
            let left = entry.size - position.at;
            let is_too_large = step.size.is_some_and(|size| size > left);
            if is_too_large || step.level > MAX_FILE_LEVELS {
                let expected = format!("a file of {} bytes", entry.size);
                self.differs(path, Some(step.cid), expected, "a larger one".into());
                return Ok(());
            }
            if Self::is_raw(&step.cid) {
                self.raw_leaf(&step.cid, step.size.unwrap_or(left), &mut position, path)?;
                continue;
            }
            let Some((node, place)) = self.node(&step.cid, path)? else {
                match step.size {
                    // What is below it cannot be told; what comes after can.
                    Some(size) => position.pass(size),
                    None => return Ok(()),
                }
                continue;
            };
            let Node::File {
                size,
                data,
                children,
            } = node
            else {
                self.differs(
                    path,
                    Some(step.cid),
                    "a part of a file".into(),
                    "another node".into(),
                );
                return Ok(());
            };
            if step.size.is_some_and(|stated| stated != size) || size > left {
                let expected = format!("{} bytes", step.size.unwrap_or(left));
                self.differs(path, Some(step.cid), expected, format!("{size} bytes"));
                return Ok(());
            }
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                self.framed_leaf(&step.cid, place.part(&data), &mut position, path);
            }
            // One of no bytes says nothing of any byte, and could stand for any number of nodes.
            let children = children.iter().rev().filter(|child| child.size > 0);
            steps.extend(children.map(|child| Step {
                cid: child.cid,
                size: Some(child.size),
                level: step.level + 1,
            }));
        }
        if position.at != entry.size {
            let expected = format!("{} bytes in its leaves", entry.size);
            self.differs(path, Some(cid), expected, format!("{} bytes", position.at));
        }
        Ok(())
    }

    fn raw_leaf(
        &mut self,
        cid: &Cid,
        size: u64,
        position: &mut Position<'_>,
        path: &str,
    ) -> Result<(), StoreError> {
        let start = position.at;
        if size == 0 {
            if verify(cid, &[]).is_err() {
                self.differs(
                    path,
                    Some(*cid),
                    format!("the bytes of {cid}"),
                    "none".into(),
                );
            }
            return Ok(());
        }
        if size > MAX_BLOCK_BYTES as u64 {
            let expected = format!("a leaf of up to {MAX_BLOCK_BYTES} bytes");
            self.differs(path, Some(*cid), expected, format!("{size} bytes"));
            position.pass(size);
            return Ok(());
        }
        let Some((pack, offset)) = position.take(size) else {
            let expected = format!("{cid} in one piece");
            self.differs(
                path,
                Some(*cid),
                expected,
                format!("pieces from byte {start}"),
            );
            return Ok(());
        };
        let place = Place {
            pack: self.record.pack(pack),
            offset,
            len: size as u32,
        };
        self.check_row(cid, place, path).map(drop)
    }

    /// The file's bytes lie inside the block of a node, which was checked.
    fn framed_leaf(&mut self, cid: &Cid, place: Place, position: &mut Position<'_>, path: &str) {
        let start = position.at;
        let taken = position.take(u64::from(place.len));
        let taken = taken.map(|(pack, offset)| (self.record.pack(pack), offset));
        if taken != Some((place.pack, place.offset)) {
            let expected = format!("byte {start} of the file inside {cid}");
            self.differs(path, Some(*cid), expected, "another place".into());
        }
    }
}
