//! Writing objects out of the store: whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::EntryType;
use super::file::{Direct, StoredFile};
use super::object::Object;
use crate::error::FileError;
use crate::fsio::{self, Files};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::format::{hex, random_id};

/// How [`Store::export`](crate::Store::export) writes.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Replace an existing output in one step, instead of refusing.
    pub force: bool,
    /// What becomes of symbolic links that lead out of the output.
    pub unsafe_links: UnsafeLinks,
    /// Checked between pieces; once set, the export stops and leaves nothing behind.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told how many more bytes were written, as it goes.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

/// What becomes of symbolic links that are absolute or lead out of the output, which rsync calls unsafe: whoever
/// follows or writes through one reaches what the object has no word about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsafeLinks {
    /// The export is refused.
    #[default]
    Refuse,
    /// They are left out, and counted.
    Skip,
    /// They are written as they are.
    Keep,
}

impl std::fmt::Debug for ExportOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportOptions")
            .field("force", &self.force)
            .field("unsafe_links", &self.unsafe_links)
            .finish_non_exhaustive()
    }
}

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Files, links left out.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// The paths of links that were left out, by [`UnsafeLinks::Skip`].
    pub skipped_links: Vec<String>,
}

/// Bytes copied between two looks at the cancel flag.
const STEP: u64 = 64 << 20;

/// Writes beside the output, then renames: an output is there whole or not at all.
pub(crate) fn export(
    object: &Object,
    output: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, StoreError> {
    let taken = fs::symlink_metadata(output).is_ok();
    if taken {
        check_kind(object, output)?;
    }
    if taken && !options.force {
        return Err(StoreError::OutputExists {
            path: output.to_path_buf(),
        });
    }
    // `.`, `..` and `/` name folders that are there.
    if output.file_name().is_none() {
        let path = output.to_path_buf();
        return Err(StoreError::OutputExists { path });
    }
    refuse_store(object, output)?;
    if taken {
        check_replaceable(object, output)?;
    }
    let skipped = match options.unsafe_links {
        UnsafeLinks::Keep => HashSet::new(),
        how => {
            let mut unsafe_links = unsafe_links(object);
            match unsafe_links.next() {
                // A link that is the object itself leaves nothing to be written.
                Some((link, target)) if how == UnsafeLinks::Refuse || link.is_empty() => {
                    return Err(StoreError::EscapingLink { link, target });
                }
                first => first
                    .into_iter()
                    .chain(unsafe_links)
                    .map(|(link, _)| link)
                    .collect(),
            }
        }
    };
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Said here, where the name beside the output is not in the message yet.
    let into = "write into";
    let folder = fs::metadata(parent).map_err(FileError::at(into, parent))?;
    if !folder.is_dir() {
        let source = std::io::ErrorKind::NotADirectory.into();
        return Err(FileError::new(into, parent, source).into());
    }
    // A name of its own, because one with the output's in it could be too long.
    let aside = parent.join(format!(".ipfs-accelerate-{}", hex(&random_id()?)));
    let mut aside = Aside {
        path: aside,
        keep: false,
    };
    let report = Writer {
        options,
        skipped,
        report: ExportReport::default(),
    }
    .write(object, &aside.path)?;
    if taken {
        // Both names stay valid throughout; the old output then stands aside and is removed.
        fsio::rename_exchange(&aside.path, output)?;
    } else if let Err(e) = Files::real().rename_new(&aside.path, output) {
        return Err(match e.source.kind() {
            std::io::ErrorKind::AlreadyExists => StoreError::OutputExists {
                path: output.to_path_buf(),
            },
            _ => e.into(),
        });
    } else {
        aside.keep = true;
    }
    Ok(report)
}

/// Refuses an output that would change a store's own folder, or replace this store with what is around it.
fn refuse_store(object: &Object, output: &Path) -> Result<(), StoreError> {
    let refused = |store: &Path| StoreError::OutputInStore {
        path: output.to_path_buf(),
        store: store.to_path_buf(),
    };
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // What is not there is said further on, and holds no store.
    let Ok(parent) = fs::canonicalize(parent) else {
        return Ok(());
    };
    let place = parent.join(output.file_name().unwrap_or_default());
    let own = object.core.folder.path();
    if fs::canonicalize(own).is_ok_and(|own| own.starts_with(&place)) {
        return Err(refused(own));
    }
    match place
        .ancestors()
        .find(|path| StoreFolder::new(path).has_format())
    {
        Some(store) => Err(refused(store)),
        None => Ok(()),
    }
}

/// Nothing takes the place of a device, a pipe or a socket, nor of a link to one.
fn check_kind(object: &Object, output: &Path) -> Result<(), StoreError> {
    match fs::metadata(output) {
        Ok(there) if !there.is_file() && !there.is_dir() => Err(StoreError::OutputKind {
            path: output.to_path_buf(),
            there: fsio::kind(there.file_type()),
            by: object.kind().name(),
        }),
        _ => Ok(()),
    }
}

/// A folder is not thrown away for a file, nor a file for a folder: that is more likely a slip.
fn check_replaceable(object: &Object, output: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(output).is_ok_and(|m| m.is_dir());
    let becomes_folder = object.kind() == EntryType::Folder;
    if is_folder == becomes_folder {
        return Ok(());
    }
    Err(StoreError::OutputKind {
        path: output.to_path_buf(),
        there: if is_folder { "a folder" } else { "a file" },
        by: object.kind().name(),
    })
}

/// Removed when dropped, unless it became the output.
struct Aside {
    path: PathBuf,
    keep: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let is_folder = fs::symlink_metadata(&self.path).is_ok_and(|m| m.is_dir());
        let _ = match is_folder {
            true => fs::remove_dir_all(&self.path),
            false => fs::remove_file(&self.path),
        };
    }
}

/// The links that lead out of the output, with where they point to.
fn unsafe_links(object: &Object) -> impl Iterator<Item = (String, String)> + '_ {
    let own = object
        .link_target()
        .map(|target| (String::new(), target.to_owned()));
    let below = object
        .walk()
        .filter_map(|entry| entry.target.map(|target| (entry.path, target)));
    own.into_iter()
        .chain(below)
        .filter(|(link, target)| leads_out(link, target))
}

fn leads_out(link: &str, target: &str) -> bool {
    let mut depth = link.matches('/').count();
    let mut below = false;
    Path::new(target)
        .components()
        .any(|component| match component {
            Component::Normal(_) => {
                below = true;
                false
            }
            Component::CurDir => false,
            // Behind a name, which may be a link itself, a step up leads nobody knows where.
            Component::ParentDir if below || depth == 0 => true,
            Component::ParentDir => {
                depth -= 1;
                false
            }
            Component::RootDir | Component::Prefix(_) => true,
        })
}

struct Writer<'a> {
    options: &'a ExportOptions,
    /// Links that are left out.
    skipped: HashSet<String>,
    report: ExportReport,
}

impl Writer<'_> {
    fn write(mut self, object: &Object, output: &Path) -> Result<ExportReport, StoreError> {
        match object.kind() {
            EntryType::File => self.write_file(&object.file()?, output)?,
            EntryType::Symlink => make_link(object.link_target().unwrap_or_default(), output)?,
            EntryType::Folder => {
                fs::create_dir(output).map_err(FileError::at("create the folder", output))?;
                // Parents come before what they hold in the order of the walk; links come last, so that
                // nothing is ever written through one.
                for entry in object.walk().filter(|e| e.kind != EntryType::Symlink) {
                    let path = output.join(&entry.path);
                    match entry.kind {
                        EntryType::Folder => fs::create_dir(&path)
                            .map_err(FileError::at("create the folder", &path))?,
                        _ => self.write_file(&object.open(&entry.path)?, &path)?,
                    }
                }
                for entry in object.walk() {
                    if let Some(target) = &entry.target
                        && !self.skipped.contains(&entry.path)
                    {
                        make_link(target, &output.join(&entry.path))?;
                    }
                }
            }
            EntryType::Block => {
                let target = object.cid().to_string();
                return Err(StoreError::NotAFile {
                    target,
                    found: "block",
                });
            }
        }
        self.report.skipped_links = self.skipped.into_iter().collect();
        self.report.skipped_links.sort();
        Ok(self.report)
    }

    fn write_file(&mut self, file: &StoredFile, output: &Path) -> Result<(), StoreError> {
        let mut to = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(output)
            .map_err(FileError::at("create", output))?;
        let mut done = 0;
        while done < file.size() {
            let cancelled = self
                .options
                .cancel
                .as_ref()
                .is_some_and(|c| c.load(Ordering::Relaxed));
            if cancelled {
                return Err(StoreError::Cancelled);
            }
            let end = file.size().min(done + STEP);
            self.copy(file, done..end, &mut to, output)?;
            if let Some(progress) = &self.options.progress {
                progress(end - done);
            }
            done = end;
        }
        self.report.files += 1;
        self.report.bytes += file.size();
        Ok(())
    }

    fn copy(
        &self,
        file: &StoredFile,
        range: std::ops::Range<u64>,
        to: &mut File,
        output: &Path,
    ) -> Result<(), StoreError> {
        file.check_good(&range)?;
        for (extent, part) in file.overlaps(range) {
            let from = extent.offset + (part.start - extent.start);
            match extent.backing.direct() {
                Some(Direct { files, file, .. }) => files
                    .copy_out(file, from, to, part.end - part.start)
                    .map_err(FileError::at("write", output))?,
                None => copy_checked(file, part, to, output)?,
            }
        }
        Ok(())
    }
}

/// Copies what is referenced, block by block as it is hashed.
fn copy_checked(
    file: &StoredFile,
    range: std::ops::Range<u64>,
    to: &mut File,
    output: &Path,
) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    for (block, _) in file.referenced_blocks(range.clone()) {
        let part = block.start.max(range.start)..block.end.min(range.end);
        bytes.resize((part.end - part.start) as usize, 0);
        file.read_at(part.start, &mut bytes)?;
        to.write_all(&bytes)
            .map_err(FileError::at("write", output))?;
    }
    Ok(())
}

fn make_link(target: &str, output: &Path) -> Result<(), StoreError> {
    Ok(symlink(target, output).map_err(FileError::at("create the link", output))?)
}
