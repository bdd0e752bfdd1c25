//! A file of pins, read.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{DesiredPath, DesiredPin, DesiredPins, DesiredSource};
use super::error::DesiredPinsError;
use crate::block::{Cid, parse_cid};
use crate::config::{Base, nearest, position};
use crate::fsio;
use crate::store::error::StoreError;
use crate::store::ingest::globs;
use crate::store::names;
use crate::store::target::Target;

/// Far more than a list of names takes.
const LIMIT_BYTES: u64 = 16 << 20;
/// The table that the list stands in.
pub(super) const SECTION: &str = "pins";
/// The keys of one pin.
pub(super) const ENTRY_KEYS: [&str; 6] = [
    "path",
    "cid",
    "profile",
    "hidden",
    "dereference-symlinks",
    "ignore",
];
/// Those that say how a path is added.
const ADDING: Range<usize> = 2..6;
/// The shortest texts of CIDs in use have 46 characters.
const CID_CHARS: usize = 46;

impl DesiredPins {
    /// Reads a file of pins.
    ///
    /// # Errors
    /// [`DesiredPinsError`] with the file and the line of the first fault.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DesiredPinsError> {
        let path = path.as_ref();
        let file = fsio::open_without_waiting(path)?;
        let bytes = fsio::Files::real().read_file(&file, path, LIMIT_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let valid = e.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&e.as_bytes()[..valid]).into_owned();
            let (line, column) = position(&before, before.len());
            let (path, message) = (path.to_path_buf(), "this byte is not UTF-8".into());
            DesiredPinsError::Syntax {
                path,
                line,
                column,
                message,
            }
        })?;
        let home = std::env::home_dir();
        Self::parse(&text, path, home.as_deref())
    }

    /// Reads the text of a file of pins. Relative paths are relative to the folder of `file`, and `~` is `home`.
    ///
    /// # Errors
    /// As [`DesiredPins::read`].
    pub fn parse(text: &str, file: &Path, home: Option<&Path>) -> Result<Self, DesiredPinsError> {
        let document = Document { text, file, home };
        let root = DeTable::parse(text).map_err(|e| {
            let (line, column) = position(text, e.span().map_or(0, |span| span.start));
            let (path, message) = (file.to_path_buf(), e.message().to_owned());
            DesiredPinsError::Syntax {
                path,
                line,
                column,
                message,
            }
        })?;
        document.pins(root.get_ref())
    }
}

struct Document<'d> {
    text: &'d str,
    file: &'d Path,
    home: Option<&'d Path>,
}

type Key<'d> = Spanned<std::borrow::Cow<'d, str>>;
type Value<'d> = Spanned<DeValue<'d>>;

impl Document<'_> {
    fn pins(&self, root: &DeTable<'_>) -> Result<DesiredPins, DesiredPinsError> {
        for (key, _) in in_order(root) {
            if key.get_ref() != SECTION {
                return Err(self.unknown(None, key, [SECTION]));
            }
        }
        let Some((key, list)) = root.get_key_value(SECTION) else {
            let path = self.file.to_path_buf();
            return Err(DesiredPinsError::NoPins { path });
        };
        let DeValue::Table(list) = list.get_ref() else {
            return Err(self.wrong(None, key, "a table of names", list));
        };
        let entry = |(key, value)| self.entry(key, value);
        let entries = in_order(list).into_iter().map(entry);
        Ok(DesiredPins {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    fn entry(&self, key: &Key<'_>, value: &Value<'_>) -> Result<DesiredPin, DesiredPinsError> {
        let name = key.get_ref().to_string();
        let source = match value.get_ref() {
            DeValue::String(text) => self.text(&name, value, text)?,
            DeValue::Table(table) => self.table(&name, key, table)?,
            _ => return Err(self.wrong(None, key, "a CID, a path or a table", value)),
        };
        let cid = match &source {
            DesiredSource::Stored(target) => target.cid().filter(|_| target.path().is_empty()),
            DesiredSource::Path(path) => path.cid.as_ref(),
        };
        match names::check(&name, cid) {
            Err(StoreError::BadName { name, why }) => Err(DesiredPinsError::BadName {
                path: self.file.to_path_buf(),
                line: self.line(key.span()),
                name,
                why,
            }),
            _ => Ok(DesiredPin { name, source }),
        }
    }

    /// A CID if it can be read as one; else a path.
    fn text(
        &self,
        pin: &str,
        value: &Value<'_>,
        text: &str,
    ) -> Result<DesiredSource, DesiredPinsError> {
        let target: Option<Target> = text.parse().ok();
        if let Some(target) = target.filter(|target| target.cid().is_some()) {
            return Ok(DesiredSource::Stored(target));
        }
        let head = text.split('/').next().unwrap_or(text);
        let is_cid_like =
            head.len() >= CID_CHARS && head.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_cid_like || text.starts_with("ipfs://") || text.starts_with("/ipfs/") {
            // A CID that was cut off would else be looked for as a file.
            self.cid(pin, value, text)?;
        }
        let path = self.path(pin, value, text)?;
        Ok(DesiredSource::Path(DesiredPath {
            path,
            ..DesiredPath::default()
        }))
    }

    fn table(
        &self,
        pin: &str,
        key: &Key<'_>,
        table: &DeTable<'_>,
    ) -> Result<DesiredSource, DesiredPinsError> {
        let mut entry = DesiredPath::default();
        let mut path = None;
        let mut how = None;
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            if ENTRY_KEYS[ADDING].contains(&name) {
                how.get_or_insert((name.to_owned(), key.span()));
            }
            match name {
                "path" => path = Some(self.path(pin, value, self.string(pin, key, value)?)?),
                "cid" => entry.cid = Some(self.cid(pin, value, self.string(pin, key, value)?)?),
                "profile" => {
                    let profile = self.string(pin, key, value)?.parse();
                    let profile = profile.map_err(|source| DesiredPinsError::Profile {
                        path: self.file.to_path_buf(),
                        line: self.line(value.span()),
                        pin: pin.to_owned(),
                        source,
                    })?;
                    entry.profile = Some(profile);
                }
                "hidden" => entry.hidden = self.bool(pin, key, value)?,
                "dereference-symlinks" => {
                    entry.dereference_symlinks = self.bool(pin, key, value)?;
                }
                "ignore" => entry.ignore = self.patterns(pin, key, value)?,
                _ => return Err(self.unknown(Some(pin), key, ENTRY_KEYS)),
            }
        }
        let at = self.file.to_path_buf();
        match (path, entry.cid, how) {
            (Some(path), ..) => Ok(DesiredSource::Path(DesiredPath { path, ..entry })),
            (None, _, Some((key, span))) => Err(DesiredPinsError::NothingToAdd {
                path: at,
                line: self.line(span),
                pin: pin.to_owned(),
                key,
            }),
            (None, Some(cid), None) => Ok(DesiredSource::Stored(Target::new(&cid))),
            (None, None, None) => Err(DesiredPinsError::Nothing {
                path: at,
                line: self.line(key.span()),
                pin: pin.to_owned(),
            }),
        }
    }

    fn cid(&self, pin: &str, value: &Value<'_>, text: &str) -> Result<Cid, DesiredPinsError> {
        parse_cid(text).map_err(|source| DesiredPinsError::NotACid {
            path: self.file.to_path_buf(),
            line: self.line(value.span()),
            pin: pin.to_owned(),
            source,
        })
    }

    fn path(&self, pin: &str, value: &Value<'_>, text: &str) -> Result<PathBuf, DesiredPinsError> {
        let bad = |why| DesiredPinsError::BadPath {
            path: self.file.to_path_buf(),
            line: self.line(value.span()),
            pin: pin.to_owned(),
            given: text.to_owned(),
            why,
        };
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        if text.contains('\0') {
            return Err(bad("holds a zero byte"));
        }
        let base = Base {
            folder: self.file.parent(),
            home: self.home,
        };
        let resolved = base.resolve(Path::new(text));
        resolved
            .ok_or_else(|| bad("begins with ~, and there is no home folder to put in its place"))
    }

    fn patterns(
        &self,
        pin: &str,
        key: &Key<'_>,
        value: &Value<'_>,
    ) -> Result<Vec<String>, DesiredPinsError> {
        let wrong = || self.wrong(Some(pin), key, "a list of patterns", value);
        let DeValue::Array(list) = value.get_ref() else {
            return Err(wrong());
        };
        let text = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(wrong()),
        };
        let patterns: Vec<String> = list.iter().map(text).collect::<Result<_, _>>()?;
        match globs(&patterns) {
            Err(StoreError::BadPattern { pattern, why }) => Err(DesiredPinsError::Pattern {
                path: self.file.to_path_buf(),
                line: self.line(value.span()),
                pin: pin.to_owned(),
                pattern,
                why,
            }),
            _ => Ok(patterns),
        }
    }

    fn string<'v>(
        &self,
        pin: &str,
        key: &Key<'_>,
        value: &'v Value<'_>,
    ) -> Result<&'v str, DesiredPinsError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong(Some(pin), key, "a string", value)),
        }
    }

    fn bool(&self, pin: &str, key: &Key<'_>, value: &Value<'_>) -> Result<bool, DesiredPinsError> {
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong(Some(pin), key, "true or false", value)),
        }
    }

    fn line(&self, span: Range<usize>) -> usize {
        position(self.text, span.start).0
    }

    fn wrong(
        &self,
        pin: Option<&str>,
        key: &Key<'_>,
        expected: &'static str,
        value: &Value<'_>,
    ) -> DesiredPinsError {
        DesiredPinsError::WrongValue {
            path: self.file.to_path_buf(),
            line: self.line(value.span()),
            pin: pin.map(str::to_owned),
            key: key.get_ref().to_string(),
            expected,
            found: value.get_ref().type_str().to_owned(),
        }
    }

    fn unknown<const N: usize>(
        &self,
        pin: Option<&str>,
        key: &Key<'_>,
        known: [&str; N],
    ) -> DesiredPinsError {
        let name = key.get_ref().to_string();
        DesiredPinsError::UnknownKey {
            path: self.file.to_path_buf(),
            line: self.line(key.span()),
            pin: pin.map(str::to_owned),
            nearest: nearest(&name, known).map(str::to_owned),
            key: name,
        }
    }
}

/// The keys of a table in the order in which they stand in the file.
fn in_order<'t, 'd>(table: &'t DeTable<'d>) -> Vec<(&'t Key<'d>, &'t Value<'d>)> {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(key, _)| key.span().start);
    all
}
