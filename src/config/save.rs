//! Saving: edits the text that was loaded, so that comments and order stay.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::error::ConfigError;
use super::origin::Origin;
use super::value::ConfigValue;
use super::{Config, document, name, schema};
use crate::error::FileError;

/// What a configuration that comes from no file is saved as: the shipped file with its changes.
const SHIPPED: &str = include_str!("../../config.toml");

impl Config {
    /// Writes the configuration to `path`, or to the file it was loaded from.
    ///
    /// Only what the program changed since loading, by [`set`](Config::set),
    /// [`unset`](Config::unset) or in the fields, is changed in the text; comments and order stay.
    /// Lines end with `\n`, and a byte order mark is left out.
    /// (A key that is taken out takes the comment right above it along.) What the environment and
    /// flags gave is not written, so that a key given for one run does not end up in a file. If
    /// there was no file, the shipped one with its comments is the start, and its folder is made.
    ///
    /// The file is replaced in one step: written beside it, synced, renamed. It keeps its
    /// permissions; a new one that holds a secret is for its owner only.
    ///
    /// # Errors
    /// [`ConfigError::File`] if it cannot be written, [`ConfigError::ChangedOnDisk`] if somebody
    /// else has written it since it was loaded, [`ConfigError::NoFile`] if there is no path, and
    /// what loading would say about it; the file is then as it was.
    ///
    /// ```
    /// use ipfs_accelerate::Config;
    ///
    /// # let folder = std::env::temp_dir().join(format!("config-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// let file = folder.join("config.toml");
    /// let mut config = Config::default();
    /// config.set("cache", "max_size_mb", 200)?;
    /// config.save(Some(&file))?;
    /// assert_eq!(Config::load(&file)?.cache.max_size_mb, 200);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&mut self, path: Option<&Path>) -> Result<(), ConfigError> {
        let own = self.source.path.clone();
        let path = path
            .map(PathBuf::from)
            .or(own.clone())
            .ok_or(ConfigError::NoFile)?;
        if own.as_ref() == Some(&path) {
            let now = document::read(&path)?;
            if now.is_some() && now != self.source.text {
                return Err(ConfigError::ChangedOnDisk { path });
            }
        }
        self.check_paths()?;
        let text = self.edited(&path)?;
        replace(
            &path,
            &text,
            self.endpoints.named.values().any(|e| e.api_key.is_some()),
        )?;
        if own.is_none_or(|own| own == path) {
            self.adopt(path, text)?;
        }
        Ok(())
    }

    /// The text to be saved at `path`.
    pub(super) fn edited(&self, path: &Path) -> Result<String, ConfigError> {
        let start = self.source.text.as_deref().unwrap_or(SHIPPED);
        let mut document: DocumentMut = start.parse().map_err(|error: toml_edit::TomlError| {
            let at = error.span().map_or(0, |span| span.start);
            document::syntax(path, start, at, error.message())
        })?;
        let values = self.values();
        for ((section, key), value) in &values {
            if self.origin_of(section, key) == Origin::Set {
                write(&mut document, section, key, value)?;
            }
        }
        let unset = self
            .source
            .origins
            .iter()
            .filter(|(_, origin)| **origin == Origin::Default);
        for (section, key) in self
            .source
            .settled
            .keys()
            .chain(unset.map(|(name, _)| name))
        {
            let lives = values.iter().any(|((s, k), _)| (s, k) == (section, key));
            let is_unset = self.origin_of(section, key) == Origin::Default
                && self.source.origins.contains_key(&name(section, key));
            if !lives || is_unset {
                self.remove(&mut document, section, key);
            }
        }
        // What was relative to the folder of the old file, or to the current one, is not to that of the new.
        let read = self.reread(path, &document.to_string())?;
        for ((section, key), value) in &values {
            let origin = self.origin_of(section, key);
            let saved = matches!(origin, Origin::File { .. } | Origin::Set);
            if saved && read.value(section, key).as_ref() != Some(value) {
                write(&mut document, section, key, &from_root(value)?)?;
            }
        }
        let text = document.to_string();
        self.reread(path, &text)?;
        Ok(text)
    }

    /// What loading the text from `path` gives, `~` standing for what it stands for here.
    fn reread(&self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.source.home.clone_from(&self.source.home);
        let whole = std::path::absolute(path).map_err(FileError::at("resolve", path))?;
        config.apply(&document::parse(path, text)?, whole.parent())?;
        Ok(config)
    }

    fn remove(&self, document: &mut DocumentMut, section: &str, key: &str) {
        let (outer, inner) = section.split_once('.').unwrap_or((section, ""));
        let Some(mut table) = document.get_mut(outer).and_then(Item::as_table_like_mut) else {
            return;
        };
        if !inner.is_empty() {
            let endpoint = schema::endpoint_name(section);
            if endpoint.is_some_and(|name| !self.endpoints.named.contains_key(name)) {
                table.remove(inner);
                return;
            }
            match table.get_mut(inner).and_then(Item::as_table_like_mut) {
                Some(inner) => table = inner,
                None => return,
            }
        }
        table.remove(key);
    }

    /// Makes the file that was just written the one this configuration comes from.
    fn adopt(&mut self, path: PathBuf, text: String) -> Result<(), ConfigError> {
        let lines = document::parse(&path, &text)?;
        let mut origins = std::mem::take(&mut self.source.origins);
        origins.retain(|(section, key), origin| {
            let was = self.source.settled.get(&name(section, key));
            matches!(origin, Origin::Environment { .. } | Origin::Flag)
                && self.value(section, key).as_ref() == was
        });
        for put in lines.into_iter().filter(|put| !put.key.is_empty()) {
            origins.entry((put.section, put.key)).or_insert(put.at);
        }
        self.source.origins = origins;
        (self.source.path, self.source.text) = (Some(path), Some(text));
        self.settle();
        Ok(())
    }
}

/// A path from the root on, if it is relative to the current folder.
fn from_root(value: &ConfigValue) -> Result<ConfigValue, ConfigError> {
    let Some(path) = value.as_str().map(Path::new).filter(|p| p.is_relative()) else {
        return Ok(value.clone());
    };
    let whole = std::path::absolute(path).map_err(FileError::at("resolve", path))?;
    Ok(whole.to_string_lossy().as_ref().into())
}

/// Puts a value into the text where its key is, or at the end of its section.
fn write(
    document: &mut DocumentMut,
    section: &str,
    key: &str,
    value: &ConfigValue,
) -> Result<(), ConfigError> {
    let wrong = |expected| ConfigError::WrongValue {
        at: Origin::Set,
        key: schema::dotted(section, key),
        expected,
        found: value.describe(matches!(value, ConfigValue::Secret(_))),
    };
    // What a path that is not UTF-8 turned into; it would come back as another path.
    if value
        .as_str()
        .is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER))
    {
        return Err(wrong("UTF-8 to be saved"));
    }
    let (outer, inner) = section.split_once('.').unwrap_or((section, ""));
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for (depth, part) in [outer, inner]
        .into_iter()
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
    {
        if !table.contains_key(part) {
            let mut new = Table::new();
            // `[endpoints.NAME]` needs no `[endpoints]` before it.
            new.set_implicit(depth == 0 && !inner.is_empty());
            table.insert(part, Item::Table(new));
        }
        let next = table.get_mut(part).and_then(Item::as_table_like_mut);
        table = next.ok_or_else(|| wrong("in a section"))?;
    }
    let mut new = value.to_toml(true);
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) if same(old, &new) => {}
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
    Ok(())
}

/// Whether both are the same value, however it is written.
fn same(old: &toml_edit::Value, new: &toml_edit::Value) -> bool {
    match (old.as_integer(), old.as_bool(), old.as_str()) {
        (None, None, None) => false,
        all => all == (new.as_integer(), new.as_bool(), new.as_str()),
    }
}

/// Replaces the file in one step; through a symbolic link, not the link itself.
fn replace(path: &Path, text: &str, secret: bool) -> Result<(), FileError> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(FileError::at("create", folder))?;
    let (temporary, mut file) = create_beside(&path, folder, secret)?;
    if let Err(error) = fill_and_rename(&mut file, text, &temporary, &path) {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    let folder_file = File::open(folder).map_err(FileError::at("open", folder))?;
    folder_file
        .sync_all()
        .map_err(FileError::at("sync", folder))
}

fn fill_and_rename(
    file: &mut File,
    text: &str,
    temporary: &Path,
    path: &Path,
) -> Result<(), FileError> {
    if let Ok(old) = fs::metadata(path) {
        let kept = file.set_permissions(old.permissions());
        kept.map_err(FileError::at("write", temporary))?;
    }
    let written = file.write_all(text.as_bytes());
    written.map_err(FileError::at("write", temporary))?;
    file.sync_all().map_err(FileError::at("sync", temporary))?;
    fs::rename(temporary, path).map_err(FileError::at("rename", path))
}

/// A new file in the folder, for its owner only if it is to hold a secret.
fn create_beside(path: &Path, folder: &Path, secret: bool) -> Result<(PathBuf, File), FileError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".{stem}.{}.{count}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o666 });
        match options.open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::new("create", temporary, error)),
        }
    }
}
