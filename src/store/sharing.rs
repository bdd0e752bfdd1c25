//! What two targets share, told by where their bytes lie.
//!
//! A block is stored once, so what both roots place at the same bytes of the same pack is shared, and nothing
//! else is: no payload is read. Two units are told apart. *Content* is what a reader of the target sees, each
//! occurrence counted; *stored* is what it takes in the packs, each place counted once. A checkpoint with a
//! gigabyte of zeros has a gigabyte of content there, and one block stored.

use std::collections::HashMap;
use std::sync::Arc;

use super::coverage::{Coverage, Covered};
use super::error::StoreError;
use super::pack::PackId;
use super::read::{EntryType, Object};
use super::root::{EntryKind, PathEntry};
use crate::block::Cid;

/// Bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) pack: PackId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// A file or a tensor, and where its bytes lie.
#[derive(Debug)]
pub(crate) struct Part {
    name: Arc<str>,
    bytes: u64,
    /// In the order of the content; those that touch are joined, so that equal places are equal lists.
    spans: Vec<Span>,
}

impl Part {
    pub(crate) fn new(name: Arc<str>, places: impl Iterator<Item = Span>) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        let mut bytes = 0;
        for next in places.filter(|span| span.len > 0) {
            bytes += next.len;
            match spans.last_mut() {
                Some(last) if last.pack == next.pack && last.offset + last.len == next.offset => {
                    last.len += next.len;
                }
                _ => spans.push(next),
            }
        }
        Self { name, bytes, spans }
    }
}

/// Where the bytes of a file or tensor stand on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counterpart {
    /// The one of the same name is the same bytes.
    SameName,
    /// One of another name is the same bytes.
    OtherName(Arc<str>),
    /// None is; [`SharedPart::shared_bytes`] says how many of its bytes stand there all the same.
    None,
}

/// A file or tensor of one side, and what of it the other side has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedPart {
    /// The file's path below the target, or the tensor's name.
    pub name: Arc<str>,
    /// Its length.
    pub bytes: u64,
    /// How many of these bytes the other side has too, anywhere in it.
    pub shared_bytes: u64,
    /// Which file or tensor of the other side is the same as a whole.
    pub counterpart: Counterpart,
}

/// How many files or tensors, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PartCount {
    /// How many.
    pub parts: u64,
    /// Bytes of content in them.
    pub bytes: u64,
    /// Bytes of these that the other side has.
    pub shared_bytes: u64,
}

/// The files or tensors of one side, by what the other side has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PartTotals {
    /// Wholly the same bytes, under the same name.
    pub same_name: PartCount,
    /// Wholly the same bytes, under another name.
    pub other_name: PartCount,
    /// Some of the bytes, or all of them but not as one file or tensor.
    pub partly: PartCount,
    /// None of the bytes.
    pub alone: PartCount,
}

impl PartTotals {
    /// Counts the files or tensors of one side.
    pub fn of(parts: &[SharedPart]) -> Self {
        let mut totals = Self::default();
        for part in parts {
            let count = match part.counterpart {
                Counterpart::SameName => &mut totals.same_name,
                Counterpart::OtherName(_) => &mut totals.other_name,
                Counterpart::None if part.shared_bytes > 0 => &mut totals.partly,
                Counterpart::None => &mut totals.alone,
            };
            count.parts += 1;
            count.bytes = count.bytes.saturating_add(part.bytes);
            count.shared_bytes = count.shared_bytes.saturating_add(part.shared_bytes);
        }
        totals
    }
}

/// One of the two targets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharingSide {
    /// The target.
    pub cid: Cid,
    /// The published object it was found in.
    pub object: Cid,
    /// A file or a folder.
    pub kind: EntryType,
    /// The profile that the object was added under. Under two profiles the same bytes may be cut, framed or
    /// hashed apart; then they are stored twice, and are not shared.
    pub profile: String,
    /// Bytes of content.
    pub content_bytes: u64,
    /// Bytes of content that the other side has too, each occurrence counted.
    pub shared_content_bytes: u64,
    /// Bytes that the content takes in the packs, each place counted once.
    pub stored_bytes: u64,
    /// Bytes in the packs that the other side does not use.
    pub only_bytes: u64,
    /// The files, in the order of their paths; a file that is the target has the last part of its path, the
    /// name it was added under or, failing both, its CID for a name.
    pub files: Vec<SharedPart>,
}

/// What two targets share. Content only: the nodes of the DAGs are not counted.
///
/// ```
/// use ipfs_accelerate::{AddOptions, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::create(dir.path().join("store"))?;
/// let one = store.add_reader(&[vec![1; 1 << 20], vec![2; 1 << 20]].concat()[..], &AddOptions::default())?;
/// let two = store.add_reader(&[vec![1; 1 << 20], vec![3; 9]].concat()[..], &AddOptions::default())?;
///
/// let shared = store.to_reader().compare(&one.cid.into(), &two.cid.into())?;
/// assert_eq!(shared.shared_bytes, 1 << 20);
/// assert_eq!((shared.a.only_bytes, shared.b.only_bytes), (1 << 20, 9));
/// assert_eq!(shared.stored_bytes, (2 << 20) + 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedBytes {
    /// The first target.
    pub a: SharingSide,
    /// The second one.
    pub b: SharingSide,
    /// Bytes in the packs that both use: stored once for the two.
    pub shared_bytes: u64,
    /// Bytes in the packs that either uses.
    pub stored_bytes: u64,
}

/// One side on the way.
pub(crate) struct Side {
    object: Object,
    files: Vec<Part>,
    covered: Covered,
}

impl Side {
    /// Everything from the object's root.
    pub(crate) fn of(object: Object) -> Result<Self, StoreError> {
        let files = files_of(&object)?;
        let mut coverage = Coverage::default();
        for span in files.iter().flat_map(|part| &part.spans) {
            coverage.add_range(span.pack, span.offset..span.offset + span.len);
        }
        Ok(Self {
            object,
            files,
            covered: Covered::from(coverage),
        })
    }
}

impl SharedBytes {
    pub(crate) fn of(a: &Side, b: &Side) -> Self {
        let shared_bytes = a.covered.shared_with(&b.covered);
        let b_only = b.covered.bytes() - shared_bytes;
        let stored_bytes = a.covered.bytes().saturating_add(b_only);
        let sum = |files: &[SharedPart], of: fn(&SharedPart) -> u64| {
            files.iter().map(of).fold(0, u64::saturating_add)
        };
        let (a_files, b_files) = match_parts((&a.files, a), (&b.files, b));
        let side = |side: &Side, files: Vec<SharedPart>| SharingSide {
            cid: side.object.cid(),
            object: side.object.object_cid(),
            kind: side.object.kind(),
            profile: side.object.record().head.profile.clone(),
            content_bytes: sum(&files, |file| file.bytes),
            shared_content_bytes: sum(&files, |file| file.shared_bytes),
            stored_bytes: side.covered.bytes(),
            only_bytes: side.covered.bytes() - shared_bytes,
            files,
        };
        Self {
            a: side(a, a_files),
            b: side(b, b_files),
            shared_bytes,
            stored_bytes,
        }
    }
}

/// Finds the parts of each side on the other: as a whole by their places, in part by what the other covers.
pub(crate) fn match_parts(
    (a, a_side): (&[Part], &Side),
    (b, b_side): (&[Part], &Side),
) -> (Vec<SharedPart>, Vec<SharedPart>) {
    (
        find_parts(a, b, &b_side.covered),
        find_parts(b, a, &a_side.covered),
    )
}

fn find_parts(own: &[Part], other: &[Part], covered: &Covered) -> Vec<SharedPart> {
    let by_name: HashMap<&str, &Part> = other.iter().map(|part| (&*part.name, part)).collect();
    let mut by_place: HashMap<&[Span], &Part> = HashMap::new();
    for part in other {
        by_place.entry(&part.spans).or_insert(part);
    }
    let find = |part: &Part| {
        let of_name = by_name.get(&*part.name);
        let counterpart = if of_name.is_some_and(|other| other.spans == part.spans) {
            Counterpart::SameName
        } else if part.bytes == 0 {
            // Nothing is not the same as any other nothing.
            Counterpart::None
        } else {
            let of_place = by_place.get(&*part.spans);
            of_place.map_or(Counterpart::None, |other| {
                Counterpart::OtherName(Arc::clone(&other.name))
            })
        };
        let within = |span: &Span| covered.within(span.pack, span.offset..span.offset + span.len);
        SharedPart {
            name: Arc::clone(&part.name),
            bytes: part.bytes,
            shared_bytes: part.spans.iter().map(within).sum(),
            counterpart,
        }
    };
    own.iter().map(find).collect()
}

/// The files of a target.
fn files_of(object: &Object) -> Result<Vec<Part>, StoreError> {
    let record = object.record();
    let part = |name: &str, entry: &PathEntry| {
        let spans = record.extents_of(entry).iter().map(|extent| Span {
            pack: record.pack(extent.pack),
            offset: extent.offset,
            len: extent.len,
        });
        Part::new(name.into(), spans)
    };
    match object.kind() {
        EntryType::Folder => Ok(object
            .entries()
            .filter(|(_, entry)| matches!(entry.kind, EntryKind::File { .. }))
            .map(|(path, entry)| part(path, entry))
            .collect()),
        EntryType::File => {
            let entry = record.entry(object.path());
            let cid = object.cid().to_string();
            let last = object.path().rsplit('/').next();
            let names = [last.unwrap_or(""), &record.head.name, &cid];
            let name = names.into_iter().find(|name| !name.is_empty());
            let entry = entry.into_iter();
            Ok(entry.map(|e| part(name.unwrap_or(""), e)).collect())
        }
        // A link and a block have no content of their own.
        other => Err(StoreError::NotAFile {
            target: object.cid().to_string(),
            found: other.name(),
        }),
    }
}
