//! Listing what is to be added, in the order in which it will be hashed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{GlobSet, GlobSetBuilder};

use super::options::{AddNote, AddOptions};
use super::source::SourceFile;
use crate::dag::LeafFormat;
use crate::error::FileError;
use crate::store::error::StoreError;

/// What was found at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// The next one of [`Walk::files`].
    File,
    Symlink(String),
    /// The last `entries` steps that no folder has taken yet stand in it.
    Folder {
        entries: usize,
    },
}

/// One path of what is to be added. A list of them needs no recursion, however deep the folders are.
#[derive(Debug)]
pub(crate) struct Step {
    /// Below the top, components joined by `/`; empty for the top itself.
    pub(crate) path: String,
    pub(crate) found: Found,
}

/// Everything that is to be added.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Folders come after what they hold, and the entries of one in the byte order of their names.
    pub(crate) steps: Vec<Step>,
    pub(crate) name: String,
    pub(crate) files: Vec<Arc<SourceFile>>,
    pub(crate) total_bytes: u64,
    pub(crate) notes: Vec<AddNote>,
}

impl Walk {
    /// One file that is read from a stream.
    pub(crate) fn of_stream() -> Self {
        Self {
            steps: vec![Step {
                path: String::new(),
                found: Found::File,
            }],
            name: String::new(),
            files: Vec::new(),
            total_bytes: 0,
            notes: Vec::new(),
        }
    }

    /// The paths of the files, in their order.
    pub(crate) fn file_paths(&self) -> impl Iterator<Item = &str> {
        let is_file = |step: &&Step| matches!(step.found, Found::File);
        self.steps
            .iter()
            .filter(is_file)
            .map(|step| step.path.as_str())
    }
}

/// Lists a file or folder. The path itself is followed when it is a link.
pub(crate) fn walk(path: &Path, options: &AddOptions) -> Result<Walk, StoreError> {
    walk_with(path, options, false)
}

/// As [`walk`], for one who looks for bytes: what in a folder is no file is passed over, and names need not be text.
pub(crate) fn walk_for_bytes(path: &Path, options: &AddOptions) -> Result<Walk, StoreError> {
    walk_with(path, options, true)
}

fn walk_with(path: &Path, options: &AddOptions, passes_over: bool) -> Result<Walk, StoreError> {
    let metadata = fs::metadata(path).map_err(FileError::at("open", path))?;
    let snapshot = metadata.is_dir() && !options.dereference_symlinks && is_snapshot(path);
    let mut walker = Walker {
        top: path,
        follow: options.dereference_symlinks || snapshot,
        hidden: options.hidden,
        passes_over,
        ignore: globs(&options.ignore)?,
        options,
        steps: Vec::new(),
        files: Vec::new(),
        total_bytes: 0,
        above: Vec::new(),
        followed: 0,
        leaving: Tally::default(),
        skipped: Tally::default(),
    };
    walker.walk(path, &metadata)?;
    let mut notes = Vec::new();
    if snapshot && walker.followed > 0 {
        notes.push(AddNote::FollowedSnapshotLinks {
            links: walker.followed,
        });
    }
    if let Tally {
        count: links @ 1..,
        example,
    } = walker.leaving
    {
        notes.push(AddNote::LinksLeaveFolder { links, example });
    }
    if let Tally {
        count: entries @ 1..,
        example,
    } = walker.skipped
    {
        notes.push(AddNote::SkippedHidden { entries, example });
    }
    let mut framed = Tally::default();
    if options.profile.leaves() == LeafFormat::DagPb {
        let files = walker.files.iter().map(|file| file.path.as_path());
        let is_checkpoint = |path: &&Path| path.extension() == Some(OsStr::new("safetensors"));
        files
            .filter(is_checkpoint)
            .for_each(|path| framed.add(path));
    }
    if let Tally {
        count: files @ 1..,
        example,
    } = framed
    {
        notes.push(AddNote::LoadsByCopying { files, example });
    }
    let name = path.canonicalize().ok();
    let named = path
        .file_name()
        .or_else(|| name.as_deref().and_then(Path::file_name));
    Ok(Walk {
        steps: walker.steps,
        name: named.unwrap_or_default().to_string_lossy().into_owned(),
        files: walker.files,
        total_bytes: walker.total_bytes,
        notes,
    })
}

#[derive(Default)]
struct Tally {
    count: u64,
    example: PathBuf,
}

impl Tally {
    fn add(&mut self, path: &Path) {
        if self.count == 0 {
            self.example = path.to_path_buf();
        }
        self.count += 1;
    }
}

struct Walker<'a> {
    top: &'a Path,
    follow: bool,
    hidden: bool,
    /// See [`walk_for_bytes`].
    passes_over: bool,
    ignore: GlobSet,
    options: &'a AddOptions,
    steps: Vec<Step>,
    files: Vec<Arc<SourceFile>>,
    total_bytes: u64,
    /// Device and inode of the folders that lead here.
    above: Vec<(u64, u64)>,
    followed: u64,
    leaving: Tally,
    skipped: Tally,
}

/// A folder whose entries are being visited.
struct OpenFolder {
    path: PathBuf,
    /// Below the top, as in [`Step::path`].
    below_top: String,
    names: std::vec::IntoIter<OsString>,
    entries: usize,
}

impl Walker<'_> {
    fn walk(&mut self, top: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        let mut open = Vec::new();
        self.visit(top, String::new(), metadata, &mut open)?;
        while let Some(folder) = open.last_mut() {
            let Some(name) = folder.names.next() else {
                let (path, entries) = (std::mem::take(&mut folder.below_top), folder.entries);
                let found = Found::Folder { entries };
                self.steps.push(Step { path, found });
                self.above.pop();
                open.pop();
                continue;
            };
            let path = folder.path.join(&name);
            if self.leaves_out(&path, &name) {
                continue;
            }
            let text = match name.to_str() {
                None if !self.passes_over => return Err(StoreError::NameNotUtf8 { path }),
                _ => name.to_string_lossy(),
            };
            let below_top = match folder.below_top.as_str() {
                "" => text.into_owned(),
                above => format!("{above}/{text}"),
            };
            let metadata = fs::symlink_metadata(&path).map_err(FileError::at("stat", &path))?;
            if self.passes_over && special(metadata.file_type()).is_some() {
                continue;
            }
            folder.entries += 1;
            self.visit(&path, below_top, &metadata, &mut open)?;
        }
        Ok(())
    }

    /// Takes one path in; a folder is opened, and what stands in it is visited next.
    fn visit(
        &mut self,
        path: &Path,
        below_top: String,
        metadata: &Metadata,
        open: &mut Vec<OpenFolder>,
    ) -> Result<(), StoreError> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            open.push(self.open_folder(path, below_top, metadata)?);
            return Ok(());
        }
        if kind.is_symlink() && self.follow {
            let metadata = fs::metadata(path).map_err(FileError::at("follow the link", path))?;
            self.followed += 1;
            return self.visit(path, below_top, &metadata, open);
        }
        let found = if kind.is_file() {
            self.total_bytes += metadata.len();
            self.files
                .push(Arc::new(SourceFile::new(path.to_path_buf(), metadata)));
            Found::File
        } else if kind.is_symlink() {
            self.read_link(path)?
        } else {
            let found = special(kind).unwrap_or("file of an unknown kind");
            let path = path.to_path_buf();
            return Err(StoreError::UnsupportedFile { path, found });
        };
        let path = below_top;
        self.steps.push(Step { path, found });
        Ok(())
    }

    fn open_folder(
        &mut self,
        path: &Path,
        below_top: String,
        metadata: &Metadata,
    ) -> Result<OpenFolder, StoreError> {
        self.options.check_cancel()?;
        let id = (metadata.dev(), metadata.ino());
        if self.above.contains(&id) {
            return Err(StoreError::LinkLoop {
                path: path.to_path_buf(),
            });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(FileError::at("list", path))? {
            names.push(entry.map_err(FileError::at("list", path))?.file_name());
        }
        names.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        self.above.push(id);
        Ok(OpenFolder {
            path: path.to_path_buf(),
            below_top,
            names: names.into_iter(),
            entries: 0,
        })
    }

    fn leaves_out(&mut self, path: &Path, name: &OsStr) -> bool {
        let relative = path.strip_prefix(self.top).unwrap_or(path);
        if self.ignore.is_match(relative) || self.ignore.is_match(Path::new(name)) {
            return true;
        }
        let hidden = !self.hidden && name.as_encoded_bytes().starts_with(b".");
        if hidden {
            self.skipped.add(path);
        }
        hidden
    }

    fn read_link(&mut self, path: &Path) -> Result<Found, StoreError> {
        let target = fs::read_link(path).map_err(FileError::at("read the link", path))?;
        if leaves(self.top, path, &target) {
            self.leaving.add(path);
        }
        match target.into_os_string().into_string() {
            Ok(target) => Ok(Found::Symlink(target)),
            Err(_) => Err(StoreError::NameNotUtf8 {
                path: path.to_path_buf(),
            }),
        }
    }
}

/// What something is that is neither file nor folder nor link.
fn special(kind: FileType) -> Option<&'static str> {
    Some(match () {
        () if kind.is_file() || kind.is_dir() || kind.is_symlink() => return None,
        () if kind.is_fifo() => "named pipe",
        () if kind.is_socket() => "socket",
        () if kind.is_block_device() || kind.is_char_device() => "device",
        () => "file of an unknown kind",
    })
}

/// Whether a link's text leads out of the folder, judged without following other links.
fn leaves(top: &Path, link: &Path, target: &Path) -> bool {
    let mut depth = link.strip_prefix(top).unwrap_or(link).components().count() - 1;
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// `…/models--ORG--NAME/snapshots/REVISION` with `blobs` beside `snapshots`: the Hugging Face cache.
fn is_snapshot(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    path.parent().is_some_and(|parent| {
        parent.file_name() == Some(OsStr::new("snapshots"))
            && parent
                .parent()
                .is_some_and(|model| model.join("blobs").is_dir())
    })
}

/// What is left out.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet, StoreError> {
    let bad = |pattern: &str, e: globset::Error| StoreError::BadPattern {
        pattern: pattern.to_owned(),
        why: e.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(globset::Glob::new(pattern).map_err(|e| bad(pattern, e))?);
    }
    set.build().map_err(|e| bad("the patterns together", e))
}
