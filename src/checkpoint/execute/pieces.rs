//! Cutting the work: which ranges of the files are read in which order, and for which tensors.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use super::Job;
use super::ways::Buffer;
use crate::checkpoint::modules::natural_order;
use crate::checkpoint::select::SelectedBytes;
use crate::checkpoint::shards::Shard;
use crate::fsio::{Part, parts};
use crate::store::{Leaves, StoredFile};

/// Selected bytes that one thread reads at a time where nothing is hashed; otherwise it is a chunk. What is
/// brought into a map comes in huge pages, several at a time; what is copied is better asked for in smaller
/// parts, so that reading and copying go on side by side.
const MAP_STEP: u64 = 4 << 20;
const COPY_STEP: u64 = 1 << 20;

/// A range of a file that is read once.
pub(super) struct Piece {
    pub(super) shard: usize,
    pub(super) window: Range<u64>,
    /// The leaf or the referenced block that the window is, if it is hashed.
    pub(super) leaf: Option<usize>,
    pub(super) uses: Vec<Use>,
}

/// What a piece is read for.
pub(super) struct Use {
    /// Counts into the jobs.
    pub(super) job: usize,
    /// The part of the tensor that lies in the piece.
    pub(super) part: Part<Buffer>,
}

/// The order in which a model uses its tensors, as far as names tell: module by module, numbers by value.
pub(super) fn order_of_use(jobs: &[Job], mut order: Vec<usize>) -> Vec<usize> {
    let name = |job: usize| &*jobs[job].selection.info.name;
    let by_name = |a: &usize, b: &usize| -> Ordering { natural_order(name(*a), name(*b)) };
    order.sort_by(by_name);
    order
}

/// Cuts the given jobs, in their order. A chunk that several of them touch is one piece, at the first one's
/// place.
pub(super) fn cut(
    jobs: &[Job],
    order: &[usize],
    shards: &[Shard],
    is_copied: impl Fn(usize) -> bool,
) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut of_leaf: HashMap<(usize, usize), usize> = HashMap::new();
    for &number in order {
        let job = &jobs[number];
        let source = &job.selection.source;
        let range = job.selection.info.range.clone();
        let windows = match &shards[job.shard].leaves {
            Some(leaves) => leaf_windows(source, range, leaves),
            None if shards[job.shard].file.is_referenced(&range) => {
                block_windows(source, range, &shards[job.shard].file)
            }
            None if is_copied(number) => even_windows(source, range, COPY_STEP),
            None => even_windows(source, range, MAP_STEP),
        };
        let ends: Vec<usize> = windows
            .iter()
            .map(|(_, window)| source.before(window.end) as usize)
            .collect();
        for ((leaf, window), part) in windows.into_iter().zip(parts(&ends)) {
            let one = Use { job: number, part };
            let shard = job.shard;
            let known = leaf.and_then(|leaf| of_leaf.get(&(shard, leaf)).copied());
            if let Some(piece) = known {
                pieces[piece].uses.push(one);
                continue;
            }
            if let Some(leaf) = leaf {
                of_leaf.insert((shard, leaf), pieces.len());
            }
            pieces.push(Piece {
                shard,
                window,
                leaf,
                uses: vec![one],
            });
        }
    }
    pieces
}

/// The leaves that hold selected bytes; a tensor of no bytes has one window without a leaf.
fn leaf_windows(
    source: &SelectedBytes,
    range: Range<u64>,
    leaves: &Leaves,
) -> Vec<(Option<usize>, Range<u64>)> {
    let windows = leaves.covering(range.clone());
    let holds = |window: &Range<u64>| source.before(window.end) > source.before(window.start);
    let mut windows: Vec<_> = windows
        .filter(|(_, window)| holds(window))
        .map(|(number, window)| (Some(number), window))
        .collect();
    if windows.is_empty() {
        windows.push((None, range));
    }
    windows
}

/// The referenced blocks that hold selected bytes: each is read and hashed as a whole, so it is one piece for all
/// that touch it. They are numbered by where they begin.
fn block_windows(
    source: &SelectedBytes,
    range: Range<u64>,
    file: &StoredFile,
) -> Vec<(Option<usize>, Range<u64>)> {
    let mut windows = Vec::new();
    for (window, is_block) in file.referenced_blocks(range.clone()) {
        if source.before(window.end) == source.before(window.start) {
            continue;
        }
        match is_block {
            true => windows.push((Some(window.start as usize), window)),
            false => windows.extend(even_windows(source, window, COPY_STEP)),
        }
    }
    if windows.is_empty() {
        windows.push((None, range));
    }
    windows
}

/// Windows that end at multiples of a step, so that two of them do not want the same page.
fn even_windows(
    source: &SelectedBytes,
    range: Range<u64>,
    step: u64,
) -> Vec<(Option<usize>, Range<u64>)> {
    // Of what is selected in pieces a window holds as much, and so is longer.
    let step = match source {
        SelectedBytes::Contiguous(_) => step,
        SelectedBytes::Pieces(pieces) => {
            let count = (step / pieces.piece_len().max(1)).max(1);
            pieces.stride().saturating_mul(count)
        }
    };
    let mut windows = Vec::new();
    let mut start = range.start;
    loop {
        let end = (start + 1).checked_next_multiple_of(step);
        let end = end.unwrap_or(range.end).min(range.end);
        windows.push((None, start..end));
        if end == range.end {
            return windows;
        }
        start = end;
    }
}
