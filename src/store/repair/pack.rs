//! What state a pack is in.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::raw::{RawPack, pack_path};
use super::{references, tables};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{StoreId, hex};
use crate::store::pack::{Header, ObjectNote, PackId, PackKind, Row, Sources, Table};

/// What is wrong with a pack, in the order in which it is looked for.
#[derive(Debug)]
pub(super) enum Condition {
    /// Header and table are good.
    Sound,
    /// Another store's, a later version's, or no file.
    Foreign(StoreError),
    /// The header names another pack.
    Misnamed(PackId),
    /// The header is damaged. `is_ours` if it begins as one of a pack does.
    NoHeader { why: StoreError, is_ours: bool },
    /// The file is shorter than the header says.
    Short(StoreError),
    /// The file is longer than the header says, and good up to there.
    Long(StoreError),
    /// The table is damaged.
    NoTable(StoreError),
    /// The disk refuses to be read there.
    Unreadable(StoreError),
    /// The list of the user's files is damaged in which the blocks lie.
    NoSources(StoreError),
}

/// A file in `packs/`.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) id: PackId,
    pub(super) path: PathBuf,
    /// Of the file.
    pub(super) len: u64,
    pub(super) header: Option<Header>,
    pub(super) condition: Condition,
    pub(super) kind: PackKind,
    /// The blocks that count, in the order of their offsets; of a damaged pack those that were found good.
    pub(super) rows: Vec<Row>,
    pub(super) notes: Vec<ObjectNote>,
    /// The rows need no other proof: each was hashed, or is at every reading.
    pub(super) is_proven: bool,
    /// It was damaged, and is good once what is planned for it is done.
    pub(super) is_rebuilt: bool,
    /// Where the table begins, before which the blocks of a pack with payload end.
    pub(super) payload_end: u64,
}

impl Pack {
    /// Whether its blocks lie in files outside the store, which no repair looks at.
    pub(super) fn is_reference(&self) -> bool {
        self.kind == PackKind::References
    }

    /// The offsets that blocks can have.
    pub(super) fn offsets(&self) -> Range<u64> {
        match self.kind {
            PackKind::Payload => Header::BYTES as u64..self.payload_end,
            PackKind::References => 0..u64::MAX,
        }
    }

    /// Whether its header or table is lost.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(
            self.condition,
            Condition::NoHeader { .. } | Condition::Short(_) | Condition::NoTable(_)
        )
    }

    /// Whether a reader who has its root opens it, though its table is lost.
    pub(super) fn opens(&self) -> bool {
        matches!(self.condition, Condition::Short(_) | Condition::NoTable(_))
    }

    /// Whether blocks can be read from it, once what is planned for it is done.
    pub(super) fn is_readable(&self) -> bool {
        match &self.condition {
            Condition::Sound | Condition::Long(_) => true,
            Condition::Foreign(_)
            | Condition::Misnamed(_)
            | Condition::Unreadable(_)
            | Condition::NoSources(_) => false,
            Condition::NoHeader { .. } | Condition::Short(_) | Condition::NoTable(_) => {
                self.is_rebuilt
            }
        }
    }

    fn of(id: PackId, path: PathBuf, len: u64, condition: Condition) -> Self {
        Self {
            id,
            path,
            len,
            header: None,
            condition,
            kind: PackKind::Payload,
            rows: Vec::new(),
            notes: Vec::new(),
            is_proven: false,
            is_rebuilt: false,
            payload_end: len.max(Header::BYTES as u64),
        }
    }

    pub(super) fn take(&mut self, table: Table) {
        self.rows = table.rows;
        self.notes = table.objects;
        if !self.rows.is_sorted_by_key(|row| row.offset) {
            self.rows.sort_by_key(|row| row.offset);
        }
    }
}

/// Looks at the pack that stands at `at`, or is to stand there under its id; none if it went meanwhile.
pub(super) fn examine(
    folder: &StoreFolder,
    store: StoreId,
    id: PackId,
    at: &Path,
) -> Result<Option<Pack>, StoreError> {
    let path = pack_path(folder, id);
    let raw = match RawPack::open(folder, at.to_path_buf()) {
        Ok(raw) => raw,
        Err(e) if super::raw::is_absent(&e) => return Ok(None),
        Err(e @ StoreError::Damaged { .. }) => {
            return Ok(Some(Pack::of(id, path, 0, Condition::Foreign(e))));
        }
        Err(e) => return Err(e),
    };
    let len = raw.len();
    let header = match raw.header() {
        Ok(header) => header,
        Err(why @ StoreError::NewerFormat { .. }) => {
            return Ok(Some(Pack::of(id, path, len, Condition::Foreign(why))));
        }
        Err(why @ StoreError::File(_)) => {
            return Ok(Some(Pack::of(id, path, len, Condition::Unreadable(why))));
        }
        Err(why) => {
            let is_ours = !matches!(why, StoreError::Damaged { what: "magic", .. });
            let condition = Condition::NoHeader { why, is_ours };
            return Ok(Some(Pack::of(id, path, len, condition)));
        }
    };
    let mut pack = Pack::of(id, path, len, Condition::Sound);
    let damaged = |what, expected: String, found: String| StoreError::Damaged {
        path: pack_path(folder, id),
        what,
        expected,
        found,
    };
    if header.store != store {
        let why = damaged("store id", hex(&store.0), hex(&header.store.0));
        pack.condition = Condition::Foreign(why);
        return Ok(Some(pack));
    }
    if header.pack != id {
        pack.condition = Condition::Misnamed(header.pack);
        return Ok(Some(pack));
    }
    let table_end = header.table_offset.checked_add(header.table_len);
    if table_end != Some(header.file_len) || header.table_offset < Header::BYTES as u64 {
        let found = format!("{} from {}", header.table_len, header.table_offset);
        let why = damaged("table place", format!("up to {}", header.file_len), found);
        let is_ours = true;
        pack.condition = Condition::NoHeader { why, is_ours };
        return Ok(Some(pack));
    }
    pack.header = Some(header);
    pack.kind = header.kind;
    pack.payload_end = header.table_offset;
    pack.is_proven = pack.is_reference();
    let mut sources = None;
    if pack.is_reference() {
        match references::sources(&raw) {
            Ok(found) => sources = Some(found),
            Err(why) => {
                pack.condition = match why {
                    StoreError::File(_) => Condition::Unreadable(why),
                    _ => Condition::NoSources(why),
                };
                return Ok(Some(pack));
            }
        }
    }
    let length = || {
        damaged(
            "length",
            format!("{} bytes", header.file_len),
            format!("{len} bytes"),
        )
    };
    if len < header.file_len {
        pack.condition = Condition::Short(length());
        return Ok(Some(pack));
    }
    match table(&raw, &header, sources.as_ref()) {
        Ok(table) => pack.take(table),
        Err(why) => {
            pack.condition = match why {
                StoreError::File(_) => Condition::Unreadable(why),
                _ => Condition::NoTable(why),
            };
            return Ok(Some(pack));
        }
    }
    if len > header.file_len {
        pack.condition = Condition::Long(length());
    }
    Ok(Some(pack))
}

fn table(raw: &RawPack, header: &Header, sources: Option<&Sources>) -> Result<Table, StoreError> {
    let table = raw.table(header)?;
    if let Some(sources) = sources {
        return match references::is_sound(&table, sources) {
            true => Ok(table),
            false => Err(StoreError::Damaged {
                path: raw.path().to_path_buf(),
                what: "table",
                expected: "blocks apart, each in one source".into(),
                found: "others".into(),
            }),
        };
    }
    let is_good = |row: &Row| tables::row_fits(row, header.table_offset);
    match table.rows.iter().find(|row| !is_good(row)) {
        None => Ok(table),
        Some(row) => Err(StoreError::Damaged {
            path: raw.path().to_path_buf(),
            what: "row of the table",
            expected: format!("a block before {}", header.table_offset),
            found: format!("{} bytes from {}", row.len, row.offset),
        }),
    }
}
