//! Pins: `names/<name>` points to an object and keeps it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{NOT_A_FILE, StoreError};
use super::folder::StoreFolder;
use super::format::{self, Envelope, FileKind, StoreId, StoredCid};
use crate::block::{Cid, canonical, parse_cid};
use crate::fsio::SyncedFile;

const LIMIT: u64 = 1 << 16;
/// The longest name that every file system of ours takes.
const MAX_NAME_BYTES: usize = 255;

/// How far a pin reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PinKind {
    /// The object and everything below it.
    Recursive,
    /// The one block that the CID names.
    Direct,
}

impl PinKind {
    /// `recursive` or `direct`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recursive => "recursive",
            Self::Direct => "direct",
        }
    }
}

/// A pin, as [`Store::pins`](crate::Store::pins) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The name; an unnamed pin is named by its CID.
    pub name: String,
    /// The object, in the form in which it was added.
    pub cid: Cid,
    /// How far it reaches.
    pub kind: PinKind,
    /// When it was set, in milliseconds since 1970.
    pub created_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    cid: StoredCid,
    kind: PinKind,
    created_ms: u64,
}

/// Refuses what cannot be a file's name, and what would be taken for another object's CID. While it is not
/// known which object it will be, a CID may turn out to be its own.
pub(crate) fn check(name: &str, cid: Option<&Cid>) -> Result<(), StoreError> {
    let why = if name.is_empty() {
        Some("it is empty")
    } else if name.contains('/') {
        Some("it holds a slash, which separates a target's path")
    } else if name.contains('\0') {
        Some("it holds a zero byte")
    } else if name.starts_with('.') {
        Some("it begins with a dot")
    } else if name.len() > MAX_NAME_BYTES {
        Some("it is longer than 255 bytes")
    } else if name.chars().any(char::is_control) {
        Some("it holds a control character")
    } else if parse_cid(name).is_ok_and(|named| canonical(&named).to_string() != name) {
        Some("it is a CID in another form")
    } else if cid
        .is_some_and(|cid| parse_cid(name).is_ok_and(|named| canonical(&named) != canonical(cid)))
    {
        Some("it is the CID of another object")
    } else {
        None
    };
    match why {
        Some(why) => Err(StoreError::BadName {
            name: name.to_owned(),
            why,
        }),
        None => Ok(()),
    }
}

fn path(folder: &StoreFolder, name: &str) -> PathBuf {
    folder.names().join(name)
}

/// The pin of that name, if there is one.
pub(crate) fn read(
    folder: &StoreFolder,
    store: StoreId,
    name: &str,
) -> Result<Option<Pin>, StoreError> {
    // What cannot be a name is not one; in particular nothing is opened outside `names/`.
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with('.') {
        return Ok(None);
    }
    if name.contains(['/', '\0']) {
        return Ok(None);
    }
    let path = path(folder, name);
    let files = folder.files();
    let Some(file) = files.open_if_there(&path)? else {
        return Ok(None);
    };
    let bytes = format::read_sealed(files, &file, &path, LIMIT)?;
    parse(&bytes, store, name, &path).map(Some)
}

/// As [`read`], for who writes the name anew: none of a file that says nothing, and whose place can be taken.
pub(crate) fn read_to_replace(
    folder: &StoreFolder,
    store: StoreId,
    name: &str,
) -> Result<Option<Pin>, StoreError> {
    match read(folder, store, name) {
        Err(StoreError::Damaged { what, .. }) if what != NOT_A_FILE => Ok(None),
        pin => pin,
    }
}

/// The pin that the bytes of its file say.
pub(super) fn parse(
    bytes: &[u8],
    store: StoreId,
    name: &str,
    path: &Path,
) -> Result<Pin, StoreError> {
    let envelope = Envelope::open(bytes, FileKind::Name, Some(store), path)?;
    let record: Record = format::decode(envelope.section(bytes, 0, path, "pin")?, path, "pin")?;
    Ok(Pin {
        name: name.to_owned(),
        cid: record.cid.0,
        kind: record.kind,
        created_ms: record.created_ms,
    })
}

/// The bytes of a pin's file.
pub(super) fn to_bytes(pin: &Pin, store: StoreId) -> Vec<u8> {
    let record = Record {
        cid: StoredCid(canonical(&pin.cid)),
        kind: pin.kind,
        created_ms: pin.created_ms,
    };
    format::seal(FileKind::Name, store, &[format::section(&record)])
}

/// All pins, in the order of their names. A file that does not begin as a pin does is somebody else's.
pub(crate) fn list(folder: &StoreFolder, store: StoreId) -> Result<Vec<Pin>, StoreError> {
    list_but(folder, store, |error| match error {
        StoreError::Damaged { what: "kind", .. } => {
            tracing::warn!("{error}");
            Ok(())
        }
        other => Err(other),
    })
}

/// As [`list`], for those who throw away what has no pin: whatever cannot be read may be one.
pub(crate) fn list_strictly(folder: &StoreFolder, store: StoreId) -> Result<Vec<Pin>, StoreError> {
    list_but(folder, store, Err)
}

/// All pins that can be read, and what is wrong with the others.
pub(crate) fn list_readable(
    folder: &StoreFolder,
    store: StoreId,
) -> Result<(Vec<Pin>, Vec<StoreError>), StoreError> {
    let mut damaged = Vec::new();
    let pins = list_but(folder, store, |error| match error {
        StoreError::Damaged { .. } => {
            damaged.push(error);
            Ok(())
        }
        other => Err(other),
    });
    Ok((pins?, damaged))
}

/// What cannot be read is handed to `meets`, which may pass over it.
fn list_but(
    folder: &StoreFolder,
    store: StoreId,
    mut meets: impl FnMut(StoreError) -> Result<(), StoreError>,
) -> Result<Vec<Pin>, StoreError> {
    let mut pins = Vec::new();
    for name in folder.files().list(&folder.names())? {
        // A pin unlinked since the listing is simply not there any more.
        match name.to_str().map(|n| read(folder, store, n)) {
            Some(Ok(pin)) => pins.extend(pin),
            Some(Err(e)) => meets(e)?,
            None => {}
        }
    }
    pins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pins)
}

/// A name that is written and synced, and not there yet.
pub(crate) struct PreparedPin {
    file: SyncedFile,
    path: PathBuf,
}

/// Writes a name aside.
pub(crate) fn prepare(
    folder: &StoreFolder,
    store: StoreId,
    pin: &Pin,
) -> Result<PreparedPin, StoreError> {
    let mut temp = folder.temp_file()?;
    temp.write_all(&to_bytes(pin, store))?;
    Ok(PreparedPin {
        file: temp.sync(0o644)?,
        path: path(folder, &pin.name),
    })
}

impl PreparedPin {
    /// Sets or moves the name in one step.
    pub(crate) fn publish(self) -> Result<(), StoreError> {
        Ok(self.file.publish(&self.path, true)?)
    }
}

/// Unlinks a name; the caller syncs the folder once for all.
pub(crate) fn unlink(folder: &StoreFolder, name: &str) -> Result<(), StoreError> {
    Ok(folder.files().remove_file(&path(folder, name))?)
}
