//! Putting a root together while blocks come in.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::block::Cid;
use crate::store::format::StoredCid;
use crate::store::pack::{PackId, Place};
use crate::store::root::{EntryKind, Head, NodePlace, PathEntry, RootExtent, RootRecord};

/// Blocks that lie elsewhere than they did, or than they were to lie: from where to where.
#[derive(Debug, Default)]
pub(crate) struct Moves(HashMap<PackId, Vec<(u64, Place)>>);

impl Moves {
    /// Moves of one pack come in the order of their offsets.
    pub(crate) fn add(&mut self, pack: PackId, offset: u64, to: Place) {
        self.0.entry(pack).or_default().push((offset, to));
    }

    /// The parts of a range, moved where they were.
    fn follow(&self, from: Span, mut emit: impl FnMut(Span)) {
        let Some(moves) = self.0.get(&from.pack) else {
            return emit(from);
        };
        let end = from.offset + from.len;
        let mut at = from.offset;
        // A span may begin and end inside a block: of a framed leaf only the content is part of the file.
        let first = moves.partition_point(|(offset, to)| *offset + u64::from(to.len) <= at);
        for (offset, to) in moves[first..]
            .iter()
            .take_while(|(offset, _)| *offset < end)
        {
            if *offset > at {
                emit(Span {
                    pack: from.pack,
                    offset: at,
                    len: offset - at,
                });
                at = *offset;
            }
            let inside = at - offset;
            let len = (u64::from(to.len) - inside).min(end - at);
            emit(Span {
                pack: to.pack,
                offset: to.offset + inside,
                len,
            });
            at += len;
        }
        if at < end || from.len == 0 {
            emit(Span {
                pack: from.pack,
                offset: at,
                len: end - at,
            });
        }
    }

    /// Where a block lies now.
    pub(crate) fn place(&self, place: Place) -> Place {
        let Some(moves) = self.0.get(&place.pack) else {
            return place;
        };
        let first = moves.partition_point(|(offset, _)| *offset < place.offset);
        // An empty block takes no room, so another one may begin where it does.
        let here = moves[first..]
            .iter()
            .take_while(|(offset, _)| *offset == place.offset);
        here.map(|(_, to)| *to)
            .find(|to| to.len == place.len)
            .unwrap_or(place)
    }

    /// Whether anything in a range of a pack was moved.
    pub(crate) fn touch(&self, pack: PackId, range: &Range<u64>) -> bool {
        let Some(moves) = self.0.get(&pack) else {
            return false;
        };
        let end = |(offset, to): &(u64, Place)| *offset + u64::from(to.len);
        let first = moves.partition_point(|one| end(one) < range.start);
        let mut near = moves[first..]
            .iter()
            .take_while(|(offset, _)| *offset <= range.end);
        // Blocks that only touch the range are not in it, an empty one at its own place is.
        near.any(|one| {
            let overlaps = one.0 < range.end && end(one) > range.start;
            overlaps || (range.is_empty() && one.0 == range.start && one.1.len == 0)
        })
    }

    /// The record with everything at its place now. `whole` are packs that it covers as a whole; `further` are
    /// blocks that it is to cover besides.
    pub(crate) fn follow_all(
        &self,
        record: &RootRecord,
        whole: &[PackId],
        further: &[(Cid, Place)],
    ) -> RootRecord {
        let mut packs = Packs::default();
        for pack in whole {
            packs.number(*pack);
        }
        let mut extents = Vec::with_capacity(record.extents.len());
        let paths = record.paths.iter().map(|entry| {
            let mut spans = Vec::new();
            for extent in record.extents_of(entry) {
                let span = Span {
                    pack: record.pack(extent.pack),
                    offset: extent.offset,
                    len: extent.len,
                };
                self.follow(span, |moved| push(&mut spans, moved));
            }
            let kind = match &entry.kind {
                EntryKind::File { .. } => file_kind(&spans, &mut extents, &mut packs),
                other => other.clone(),
            };
            PathEntry {
                kind,
                ..entry.clone()
            }
        });
        let paths = paths.collect();
        let own = record.nodes.iter().map(|node| {
            let place = Place {
                pack: record.pack(node.pack),
                offset: node.offset,
                len: node.len,
            };
            (node.cid.0, self.place(place))
        });
        // A pack that a node lies in is no longer covered as a whole.
        let nodes = own.chain(further.iter().copied());
        let nodes = nodes.filter(|(_, place)| !whole.contains(&place.pack));
        let nodes = nodes.map(|(cid, place)| node_place(cid, place, &mut packs));
        RootRecord {
            head: record.head.clone(),
            paths,
            nodes: nodes.collect(),
            packs: packs.list,
            extents,
        }
    }
}

/// Appends a file's extents to the list.
fn file_kind(spans: &[Span], extents: &mut Vec<RootExtent>, packs: &mut Packs) -> EntryKind {
    let first = extents.len() as u32;
    extents.extend(spans.iter().map(|span| RootExtent {
        pack: packs.number(span.pack),
        offset: span.offset,
        len: span.len,
    }));
    EntryKind::File {
        first,
        count: spans.len() as u32,
    }
}

fn node_place(cid: Cid, place: Place, packs: &mut Packs) -> NodePlace {
    NodePlace {
        cid: StoredCid(cid),
        pack: packs.number(place.pack),
        offset: place.offset,
        len: place.len,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    pack: PackId,
    offset: u64,
    len: u64,
}

/// The bytes of one file: its extents, and its size.
#[derive(Debug, Default)]
pub(crate) struct FileSpans {
    spans: Vec<Span>,
    size: u64,
}

impl FileSpans {
    /// Adds the next leaf; one that touches its predecessor makes the extent longer.
    pub(crate) fn push(&mut self, place: Place) {
        let len = u64::from(place.len);
        self.size += len;
        push(
            &mut self.spans,
            Span {
                pack: place.pack,
                offset: place.offset,
                len,
            },
        );
    }
}

fn push(spans: &mut Vec<Span>, next: Span) {
    match spans.last_mut() {
        _ if next.len == 0 => {}
        Some(last) if last.pack == next.pack && last.offset + last.len == next.offset => {
            last.len += next.len;
        }
        _ => spans.push(next),
    }
}

/// Collects paths, extents and nodes; made into a record once every block has its final place.
#[derive(Debug, Default)]
pub(crate) struct RootBuilder {
    paths: Vec<(String, Cid, u64, Content)>,
    nodes: Vec<(Cid, Place)>,
    known_nodes: HashSet<Cid>,
}

#[derive(Debug)]
enum Content {
    File(FileSpans),
    Folder,
    Symlink(String),
}

impl RootBuilder {
    pub(crate) fn file(&mut self, path: String, cid: Cid, spans: FileSpans) {
        self.paths
            .push((path, cid, spans.size, Content::File(spans)));
    }

    pub(crate) fn folder(&mut self, path: String, cid: Cid, size: u64) {
        self.paths.push((path, cid, size, Content::Folder));
    }

    pub(crate) fn symlink(&mut self, path: String, cid: Cid, target: String) {
        self.paths.push((path, cid, 0, Content::Symlink(target)));
    }

    /// A block that is not a leaf of a file, or is one on its own.
    pub(crate) fn node(&mut self, cid: Cid, place: Place) {
        if self.known_nodes.insert(cid) {
            self.nodes.push((cid, place));
        }
    }

    pub(crate) fn build(self, head: Head, moves: &Moves) -> RootRecord {
        self.record(Packs::default(), head, moves)
    }

    /// A record that covers whole packs besides.
    pub(crate) fn build_over(self, whole: Vec<PackId>, head: Head) -> RootRecord {
        let mut packs = Packs::default();
        for pack in whole {
            packs.number(pack);
        }
        self.record(packs, head, &Moves::default())
    }

    fn record(mut self, mut packs: Packs, head: Head, moves: &Moves) -> RootRecord {
        self.paths.sort_by(|a, b| a.0.cmp(&b.0));
        let mut extents: Vec<RootExtent> = Vec::new();
        let mut paths = Vec::with_capacity(self.paths.len());
        for (path, cid, size, content) in self.paths {
            let kind = match content {
                Content::Folder => EntryKind::Folder,
                Content::Symlink(target) => EntryKind::Symlink { target },
                Content::File(file) => {
                    let mut spans = Vec::with_capacity(file.spans.len());
                    for span in file.spans {
                        moves.follow(span, |moved| push(&mut spans, moved));
                    }
                    file_kind(&spans, &mut extents, &mut packs)
                }
            };
            paths.push(PathEntry {
                path,
                cid: StoredCid(cid),
                kind,
                size,
            });
        }
        let node = |(cid, place): (Cid, Place)| node_place(cid, moves.place(place), &mut packs);
        let nodes = self.nodes.into_iter().map(node).collect();
        RootRecord {
            head,
            paths,
            packs: packs.list,
            extents,
            nodes,
        }
    }
}

#[derive(Default)]
struct Packs {
    list: Vec<PackId>,
    numbers: HashMap<PackId, u32>,
}

impl Packs {
    fn number(&mut self, pack: PackId) -> u32 {
        *self.numbers.entry(pack).or_insert_with(|| {
            self.list.push(pack);
            (self.list.len() - 1) as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_blocks_split_an_extent_and_touching_ones_join() {
        let (a, b) = (PackId([1; 16]), PackId([2; 16]));
        let mut moves = Moves::default();
        moves.add(
            a,
            200,
            Place {
                pack: b,
                offset: 1_000,
                len: 100,
            },
        );
        moves.add(
            a,
            300,
            Place {
                pack: b,
                offset: 1_100,
                len: 50,
            },
        );
        let mut spans = Vec::new();
        moves.follow(
            Span {
                pack: a,
                offset: 100,
                len: 300,
            },
            |s| push(&mut spans, s),
        );
        let expected = [
            Span {
                pack: a,
                offset: 100,
                len: 100,
            },
            Span {
                pack: b,
                offset: 1_000,
                len: 150,
            },
            Span {
                pack: a,
                offset: 350,
                len: 50,
            },
        ];
        assert_eq!(spans, expected);
        let moved = moves.place(Place {
            pack: a,
            offset: 300,
            len: 50,
        });
        assert_eq!(
            moved,
            Place {
                pack: b,
                offset: 1_100,
                len: 50
            }
        );
    }

    #[test]
    fn a_part_of_a_block_moves_with_it() {
        let (a, b) = (PackId([1; 16]), PackId([2; 16]));
        let place = |pack, offset, len| Place { pack, offset, len };
        let span = |pack, offset, len| Span { pack, offset, len };
        let mut moves = Moves::default();
        moves.add(a, 128, place(b, 640, 50));
        moves.add(a, 178, place(b, 64, 50));
        let follow = |from| {
            let mut spans = Vec::new();
            moves.follow(from, |s| push(&mut spans, s));
            spans
        };
        assert_eq!(follow(span(a, 130, 40)), [span(b, 642, 40)]);
        assert_eq!(follow(span(a, 170, 20)), [span(b, 682, 8), span(b, 64, 12)]);
        let past = [
            span(a, 100, 28),
            span(b, 640, 50),
            span(b, 64, 50),
            span(a, 228, 2),
        ];
        assert_eq!(follow(span(a, 100, 130)), past);
        assert_eq!(follow(span(a, 128, 0)), []);
    }

    #[test]
    fn an_empty_block_moves_alone_though_another_begins_where_it_does() {
        let (a, b) = (PackId([1; 16]), PackId([2; 16]));
        let place = |pack, offset, len| Place { pack, offset, len };
        let mut moves = Moves::default();
        moves.add(a, 128, place(b, 640, 0));
        assert_eq!(moves.place(place(a, 128, 0)), place(b, 640, 0));
        assert_eq!(moves.place(place(a, 128, 50)), place(a, 128, 50));
        moves.add(a, 128, place(b, 704, 50));
        assert_eq!(moves.place(place(a, 128, 0)), place(b, 640, 0));
        assert_eq!(moves.place(place(a, 128, 50)), place(b, 704, 50));
    }
}
