//! Cutting windows of content into the chunks of several profiles at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use super::window::{Piece, Window};
use crate::block::HashFunction;
use crate::dag::{Chunker, Cutter, LeafFormat, Profile};

/// A chunk in a window, to be hashed once for all profiles that have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leaf {
    pub(super) at: Range<usize>,
    pub(super) leaves: LeafFormat,
    pub(super) hash: HashFunction,
}

/// What is to be done with a window.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) leaves: Vec<Leaf>,
    /// One for each piece.
    pub(super) pieces: Vec<PiecePlan>,
    /// The end of the window that is needed again.
    pub(super) carry: Range<usize>,
}

#[derive(Debug)]
pub(super) struct PiecePlan {
    /// Which profiles get which of [`Plan::leaves`] next, in the order of the file.
    pub(super) chunks: Vec<(Arc<[usize]>, Vec<usize>)>,
    /// The file ends with the piece.
    pub(super) ends: bool,
}

/// Cuts the pieces of a list of files.
pub(super) struct Cutting<'p> {
    profiles: &'p [Profile],
    /// The file that goes on.
    file: Option<Vec<Stream>>,
}

impl<'p> Cutting<'p> {
    pub(super) fn new(profiles: &'p [Profile]) -> Self {
        Self {
            profiles,
            file: None,
        }
    }

    /// Plans the next window.
    pub(super) fn cut(&mut self, window: &Window) -> Plan {
        let mut plan = Plan::default();
        let mut known = HashMap::new();
        for piece in &window.pieces {
            let streams = self.file.get_or_insert_with(|| streams(self.profiles));
            decide(streams, &window.data[piece.at.clone()], piece);
            let mut chunks = Vec::with_capacity(streams.len());
            for stream in streams.iter_mut() {
                let ranges = stream.cut(piece);
                let leaves = ranges.into_iter().map(|at| {
                    let (leaves, hash) = (stream.leaves, stream.hash);
                    let leaf = Leaf { at, leaves, hash };
                    match known.entry(leaf) {
                        Entry::Occupied(there) => *there.get(),
                        Entry::Vacant(free) => {
                            plan.leaves.push(free.key().clone());
                            *free.insert(plan.leaves.len() - 1)
                        }
                    }
                });
                chunks.push((Arc::clone(&stream.profiles), leaves.collect()));
            }
            let ends = piece.ends;
            plan.pieces.push(PiecePlan { chunks, ends });
            if ends {
                self.file = None;
            } else {
                let needed = streams.iter().map(|stream| stream.next).min();
                let skipped = needed.map_or(0, |needed| (needed - piece.offset) as usize);
                plan.carry = piece.at.start + skipped..piece.at.end;
            }
        }
        plan
    }
}

/// The chunks of one file as some profiles have them in common.
struct Stream {
    profiles: Arc<[usize]>,
    chunker: Chunker,
    leaves: LeafFormat,
    hash: HashFunction,
    /// None until enough of the file's start was seen.
    cutter: Option<Cutter>,
    /// Where in the file the next chunk begins.
    next: u64,
    /// Its length, if that is known.
    next_bytes: Option<usize>,
}

fn streams(profiles: &[Profile]) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for (i, profile) in profiles.iter().enumerate() {
        let stream = Stream {
            profiles: Arc::new([i]),
            chunker: profile.chunker(),
            leaves: profile.leaves(),
            hash: profile.hash(),
            cutter: None,
            next: 0,
            next_bytes: None,
        };
        join(&mut streams, stream);
    }
    streams
}

/// Adds a stream, or its profiles to the one that cuts and hashes alike and is as far.
fn join(streams: &mut Vec<Stream>, stream: Stream) {
    let key = |stream: &Stream| (stream.chunker, stream.leaves, stream.hash, stream.next);
    match streams.iter_mut().find(|other| key(other) == key(&stream)) {
        Some(other) => other.profiles = [&other.profiles[..], &stream.profiles].concat().into(),
        None => streams.push(stream),
    }
}

/// Lets the chunkers look at the start of a file. What `tensor-v1` finds to be no safetensors file is cut as
/// by another chunker, and then it is not hashed apart.
fn decide(streams: &mut Vec<Stream>, start: &[u8], piece: &Piece) {
    let mut decided = false;
    for stream in streams.iter_mut().filter(|stream| stream.cutter.is_none()) {
        if (start.len() as u64) < stream.chunker.looks_at(start) && !piece.ends {
            continue;
        }
        let cutter = Cutter::new(stream.chunker, start).expect("memory is read without errors");
        stream.chunker = cutter.as_size().unwrap_or(stream.chunker);
        stream.cutter = Some(cutter);
        decided = true;
    }
    if decided {
        for stream in std::mem::take(streams) {
            join(streams, stream);
        }
    }
}

impl Stream {
    /// The chunks that the piece completes, as ranges of the window.
    fn cut(&mut self, piece: &Piece) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let Some(cutter) = &mut self.cutter else {
            return ranges;
        };
        let end = piece.offset + piece.at.len() as u64;
        while self.next < end {
            let len = self.next_bytes.take().unwrap_or_else(|| cutter.next().len);
            let mut chunk_end = self.next + len as u64;
            if chunk_end > end && !piece.ends {
                self.next_bytes = Some(len);
                break;
            }
            chunk_end = chunk_end.min(end);
            let in_window = |offset: u64| piece.at.start + (offset - piece.offset) as usize;
            ranges.push(in_window(self.next)..in_window(chunk_end));
            self.next = chunk_end;
        }
        ranges
    }
}
