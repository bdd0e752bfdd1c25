//! The good blocks of all packs, found without the index.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::pack::Pack;
use super::raw::RawReader;
use super::survey::Survey;
use crate::block::{Block, Cid, Multihash, RAW, inline_data};
use crate::dag::{self, Node};
use crate::store::assemble::{Blocks, MAX_BLOCKS};
use crate::store::coverage::{Coverage, Covered};
use crate::store::error::StoreError;
use crate::store::gone::{Gone, Why};
use crate::store::pack::{PackId, Place, Row};

/// Why a block cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// No pack lists it.
    Absent,
    /// A collection took it.
    Dead,
    /// It is recorded as damaged, or is damaged.
    Damaged,
}

pub(super) struct KnownBlocks<'a> {
    path: &'a Path,
    reader: &'a RawReader,
    packs: Vec<&'a Pack>,
    proven: HashSet<PackId>,
    /// Pack and row, in the order of the hashes.
    order: Vec<(u32, u32)>,
    gone: &'a Gone,
    /// While it is not known what is gone, what these bytes hold is: roots cover them, so nobody has taken them.
    vouched: Option<Covered>,
}

impl<'a> KnownBlocks<'a> {
    /// With `vouched`, blocks outside it are hashed before they count.
    pub(super) fn new(survey: &'a Survey, gone: &'a Gone, vouched: Option<Coverage>) -> Self {
        let packs: Vec<&Pack> = survey.packs.values().filter(|p| p.is_readable()).collect();
        let mut order = Vec::new();
        for (number, pack) in packs.iter().enumerate() {
            order.extend((0..pack.rows.len()).map(|row| (number as u32, row as u32)));
        }
        let hash = |&(pack, row): &(u32, u32)| packs[pack as usize].rows[row as usize].cid.0;
        // What the store has itself comes before what lies in the user's files.
        let rank = |at: &(u32, u32)| (packs[at.0 as usize].is_reference(), *at);
        order.sort_unstable_by(|a, b| {
            let by_hash = by_hash(hash(a).hash(), hash(b).hash());
            by_hash.then_with(|| rank(a).cmp(&rank(b)))
        });
        Self {
            path: survey.folder.path(),
            reader: &survey.reader,
            proven: packs.iter().filter(|p| p.is_proven).map(|p| p.id).collect(),
            packs,
            order,
            gone,
            vouched: vouched.map(Covered::from),
        }
    }

    /// Every place that a table lists for a block.
    fn places(&self, hash: Multihash) -> impl Iterator<Item = Place> + '_ {
        let row = |&(pack, row): &(u32, u32)| -> (&Pack, &Row) {
            let pack = self.packs[pack as usize];
            (pack, &pack.rows[row as usize])
        };
        let is_before = |at: &(u32, u32)| by_hash(row(at).1.cid.0.hash(), &hash) == Ordering::Less;
        let first = self.order.partition_point(is_before);
        let same = self.order[first..]
            .iter()
            .map(row)
            .take_while(move |(_, row)| *row.cid.0.hash() == hash);
        same.map(|(pack, row)| Place {
            pack: pack.id,
            offset: row.offset,
            len: row.len,
        })
    }

    fn is_good(&self, cid: &Cid, place: &Place) -> Result<bool, StoreError> {
        if self.gone.why_not(place).is_some() {
            return Ok(false);
        }
        let is_known = match &self.vouched {
            None => true,
            Some(vouched) => {
                self.proven.contains(&place.pack)
                    || vouched.within(place.pack, place.range()) == u64::from(place.len)
            }
        };
        match is_known {
            true => Ok(true),
            false => self.reader.holds(cid, *place),
        }
    }

    /// Why a block that is not here is not.
    fn lack(&self, cid: &Cid) -> Lack {
        let why = self.places(*cid.hash()).map(|place| {
            let why = self.gone.why_not(&place);
            why.unwrap_or(Why::Damaged)
        });
        why.map(|why| match why {
            Why::Dead => Lack::Dead,
            Why::Damaged => Lack::Damaged,
        })
        .max_by_key(|lack| *lack == Lack::Damaged)
        .unwrap_or(Lack::Absent)
    }

    /// Which blocks of an object are here, each once, and which are not.
    pub(super) fn census(&self, top: &Cid) -> Result<Census, StoreError> {
        let mut census = Census::default();
        let mut seen = HashSet::new();
        let mut open = vec![*top];
        while let Some(cid) = open.pop() {
            if inline_data(&cid).is_some() || !seen.insert(*cid.hash()) {
                continue;
            }
            if seen.len() as u64 > MAX_BLOCKS {
                let (what, limit) = ("blocks", MAX_BLOCKS as usize);
                return Err(StoreError::TooDeep { cid, what, limit });
            }
            let Some(place) = self.find(&cid)? else {
                census.lacking.push((cid, self.lack(&cid)));
                continue;
            };
            if cid.codec() == RAW {
                census.present.push(place);
                continue;
            }
            match self.node(&cid) {
                Ok(node) => {
                    census.present.push(place);
                    open.extend(children(&node));
                }
                Err(_) => census.lacking.push((cid, Lack::Damaged)),
            }
        }
        census
            .lacking
            .sort_by_cached_key(|(cid, _)| cid.to_string());
        Ok(census)
    }
}

fn children(node: &Node) -> Vec<Cid> {
    match node {
        Node::Raw | Node::Symlink { .. } => Vec::new(),
        Node::File { children, .. } => children.iter().map(|child| child.cid).collect(),
        Node::Folder { entries } => entries.iter().map(|entry| entry.cid).collect(),
        Node::Shard { links, .. } => links.iter().map(|link| link.cid).collect(),
    }
}

/// What of an object is here.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) present: Vec<Place>,
    pub(super) lacking: Vec<(Cid, Lack)>,
}

fn by_hash(a: &Multihash, b: &Multihash) -> Ordering {
    (a.code(), a.digest()).cmp(&(b.code(), b.digest()))
}

impl Blocks for KnownBlocks<'_> {
    fn find(&self, cid: &Cid) -> Result<Option<Place>, StoreError> {
        for place in self.places(*cid.hash()) {
            if self.is_good(cid, &place)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn node(&self, cid: &Cid) -> Result<Arc<Node>, StoreError> {
        if let Some(data) = inline_data(cid) {
            return Ok(Arc::new(dag::decode(cid, data)?));
        }
        let absent = || StoreError::BlockAbsent {
            cid: *cid,
            path: self.path.to_path_buf(),
        };
        let place = self.find(cid)?.ok_or_else(absent)?;
        let pack = self.reader.open(place.pack)?;
        let block = Block::verified(*cid, pack.bytes(place.offset, place.len as usize)?)?;
        Ok(Arc::new(dag::decode(cid, block.data())?))
    }

    fn path(&self) -> &Path {
        self.path
    }
}
