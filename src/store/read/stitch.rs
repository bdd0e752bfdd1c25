//! Which maps a file's content becomes: its extents stitched where pages allow it, inside the process's budget.

use std::ops::Range;

use super::file::{Direct, Extent, StoredFile};
use crate::dag::MAX_BLOCK_BYTES;
use crate::fsio::{self, MapError, Mapping, Piece};
use crate::store::error::StoreError;

/// A stretch of the content that is contiguous in memory.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) memory: Mapping,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.start + self.memory.len() as u64
    }
}

/// From so many references to one block in a row on it is worth a read to see whether it is all zeros.
const REPEATS: usize = 16;

/// Maps what of a file is wanted. A run of extents that pages can stitch is mapped whole; if that takes more
/// maps than there are, the wanted ranges are mapped one by one, those first that need the fewest for their
/// bytes. What then has no map is copied when it is asked for.
pub(super) fn segments(
    file: &StoredFile,
    wanted: &[Range<u64>],
) -> Result<Vec<Segment>, StoreError> {
    let wanted = apart(wanted);
    let mut segments = Vec::new();
    let mut single = Vec::new();
    for run in runs(file.extents()) {
        // What crosses the end of a run is contiguous nowhere.
        let first = wanted.partition_point(|range| range.start < run.start);
        let inside = wanted[first..]
            .iter()
            .take_while(|range| range.end <= run.end);
        let inside: Vec<&Range<u64>> = inside.collect();
        if inside.is_empty() {
            continue;
        }
        match map(file, &run)? {
            Some(segment) => segments.push(segment),
            None => single.extend(inside.into_iter().cloned()),
        }
    }
    let maps_per_byte = |range: &Range<u64>| {
        let maps = file.overlaps(range.clone()).count() as f64;
        maps / (range.end - range.start) as f64
    };
    single.sort_by(|a, b| maps_per_byte(a).total_cmp(&maps_per_byte(b)));
    for range in single {
        segments.extend(map(file, &range)?);
    }
    segments.sort_by_key(|segment| segment.start);
    Ok(segments)
}

/// The ranges in order, none empty and none over another.
fn apart(wanted: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = wanted.iter().filter(|r| !r.is_empty()).cloned().collect();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// The stretches of the content whose extents meet at page boundaries. What is referenced is in none: files of the
/// user's may change at any time, so they are read and hashed.
fn runs(extents: &[Extent]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut last_end = None;
    for extent in extents {
        if extent.backing.direct().is_none() {
            last_end = None;
            continue;
        }
        let end = extent.start + extent.len;
        match runs.last_mut() {
            Some(run) if last_end.is_some_and(|last| fsio::stitches(last, extent.offset)) => {
                run.end = end;
            }
            _ => runs.push(extent.start..end),
        }
        last_end = Some(extent.offset + extent.len);
    }
    runs
}

/// Whether pages could stitch a range, so that only a lack of maps keeps it from being contiguous.
pub(super) fn is_one_run(file: &StoredFile, range: &Range<u64>) -> bool {
    let mut last_end = None;
    file.overlaps(range.clone()).all(|(extent, part)| {
        let offset = extent.offset + (part.start - extent.start);
        let meets = last_end.is_none_or(|last| fsio::stitches(last, offset));
        last_end = Some(offset + (part.end - part.start));
        meets
    })
}

/// None where there are not enough maps left.
fn map(file: &StoredFile, range: &Range<u64>) -> Result<Option<Segment>, StoreError> {
    let mapped = announce(file, range)
        .map_err(MapError::from)
        .and_then(|()| Mapping::new(&pieces(file, range)));
    match mapped {
        Ok(memory) => Ok(Some(Segment {
            start: range.start,
            memory,
        })),
        Err(MapError::Budget { .. } | MapError::Unaligned) => Ok(None),
        Err(MapError::Io(source)) => Err(StoreError::Map {
            name: file.name().to_owned(),
            source,
        }),
    }
}

/// Tells the disk what is about to be mapped.
fn announce(file: &StoredFile, range: &Range<u64>) -> std::io::Result<()> {
    for (extent, part) in file.overlaps(range.clone()) {
        let offset = extent.offset + (part.start - extent.start);
        if let Some(Direct { files, file, .. }) = extent.backing.direct() {
            files.before_map(file, offset, part.end - part.start)?;
        }
    }
    Ok(())
}

fn pieces<'f>(file: &'f StoredFile, range: &Range<u64>) -> Vec<Piece<'f>> {
    let parts: Vec<(Direct<'_>, u64, u64)> = file
        .overlaps(range.clone())
        .filter_map(|(extent, part)| {
            let offset = extent.offset + (part.start - extent.start);
            Some((extent.backing.direct()?, offset, part.end - part.start))
        })
        .collect();
    let same = |a: &(Direct<'_>, u64, u64), b: &(Direct<'_>, u64, u64)| {
        (a.1, a.2) == (b.1, b.2) && a.0.path == b.0.path
    };
    let mut pieces = Vec::with_capacity(parts.len());
    for group in parts.chunk_by(same) {
        let (direct, offset, len) = group[0];
        if group.len() >= REPEATS && is_zeros(direct, offset, len) {
            pieces.push(Piece::Zeros(len * group.len() as u64));
            continue;
        }
        let piece = Piece::File {
            file: direct.file,
            offset,
            len,
        };
        pieces.extend(std::iter::repeat_n(piece, group.len()));
    }
    pieces
}

/// A file of zeros is one block, however long it is, and would take a map for each reference to it.
fn is_zeros(direct: Direct<'_>, offset: u64, len: u64) -> bool {
    if len > MAX_BLOCK_BYTES as u64 {
        return false;
    }
    let mut bytes = vec![1; len as usize];
    let Direct { files, file, path } = direct;
    // What cannot be read is said by whoever reads it for its content.
    let read = files.read_exact_at(file, &mut bytes, offset, path);
    read.is_ok() && bytes.iter().all(|byte| *byte == 0)
}
