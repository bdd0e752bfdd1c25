//! What a power cut could leave of a record: at each cut, what was synced and any of what was not.
//!
//! The rules are those that POSIX gives and no file system of ours goes below. The bytes, length and mode of a
//! file are durable after a sync of the file, the names in a folder after a sync of the folder, a folder with
//! its name. What happened to one name happened in order: what is durable of it makes all that went before it
//! durable, and nothing of it is left without that. A rename is one step for both names. All else may have
//! been written or not, each by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::recorder::{FileId, Op};

/// The writer's name in the lock, which is for a message only; it goes with the rest, and is not dropped or
/// kept alone.
const MESSAGE: &str = "lock";

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    /// Of a write only the first half of its bytes.
    FirstHalf,
    /// Of a write only the second half.
    SecondHalf,
    /// Of a write only the length that it gave the file.
    Zeros,
}

/// One folder that a power cut could leave.
pub(crate) struct Crash {
    /// So many operations had been done.
    pub(crate) cut: usize,
    /// What was written of those that were not synced.
    pub(crate) left: String,
    pub(crate) image: Image,
}

/// The folders that a power cut could leave, from the first operation on. Those that differ in nothing come
/// once; after each of `marks`, which are positions in the record, they come again, because something else
/// is expected of them then.
pub(crate) fn crashes<'r>(ops: &'r [Op], marks: &'r [usize]) -> impl Iterator<Item = Crash> + 'r {
    let mut seen = HashSet::new();
    let cuts = (0..=ops.len()).flat_map(|cut| at(&ops[..cut]));
    cuts.filter(move |crash| {
        let era = marks.partition_point(|mark| *mark < crash.cut);
        let at_mark = marks.contains(&crash.cut);
        seen.insert((era, at_mark, crash.image.digest()))
    })
}

/// Of the folders that a power cut could leave at each point, that without anything that was not synced and that
/// with all of it; some may be equal.
pub(crate) fn extremes(ops: &[Op]) -> impl Iterator<Item = Crash> + '_ {
    // They come first.
    (0..=ops.len()).flat_map(|cut| at(&ops[..cut]).take(2))
}

/// All that a power cut after the last of `ops` could leave; some of it may be equal.
pub(crate) fn at(ops: &[Op]) -> impl Iterator<Item = Crash> + '_ {
    fates(ops).into_iter().map(|(left, fates)| Crash {
        cut: ops.len(),
        left,
        image: Image::of(ops, &fates),
    })
}

impl Op {
    /// The file whose bytes, length or mode it changes.
    fn changes(&self) -> Option<FileId> {
        match self {
            Self::Write { file, .. }
            | Self::SetLen { file, .. }
            | Self::Punch { file, .. }
            | Self::Allocate { file, .. }
            | Self::SetMode { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// The names that it changes.
    fn names(&self) -> Vec<&Path> {
        match self {
            Self::Create { path, .. } | Self::Unlink { path, .. } | Self::MakeDir { path } => {
                vec![path]
            }
            Self::Rename { from, to, .. } => vec![from, to],
            Self::Link { to, .. } => vec![to],
            _ => Vec::new(),
        }
    }

    fn is_name_in(&self, folder: &Path) -> bool {
        let mut names = self.names().into_iter();
        names.any(|name| name.parent() == Some(folder))
    }
}

/// Which operations no power cut takes back.
fn durable(ops: &[Op]) -> Vec<bool> {
    let mut durable = vec![false; ops.len()];
    for (i, op) in ops.iter().enumerate() {
        match op {
            Op::SyncFile { file } => {
                for (before, done) in ops[..i].iter().zip(&mut durable) {
                    *done |= before.changes() == Some(*file);
                }
            }
            Op::SyncDir { path } => {
                for j in with_what_they_follow(&ops[..i], |j| ops[j].is_name_in(path)) {
                    durable[j] = true;
                }
            }
            _ => {}
        }
    }
    durable
}

/// Operations on names, and those before them on the same names.
fn with_what_they_follow(ops: &[Op], wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let latest_first = (0..ops.len()).rev();
    closure(ops, latest_first, wanted)
}

/// Operations on names, and those after them on the same names.
fn with_what_follows_them(ops: &[Op], wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    closure(ops, 0..ops.len(), wanted)
}

fn closure(
    ops: &[Op],
    order: impl Iterator<Item = usize>,
    wanted: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut names = HashSet::new();
    let mut chosen = Vec::new();
    for i in order {
        let own = ops[i].names();
        if wanted(i) || own.iter().any(|name| names.contains(name)) {
            names.extend(own);
            chosen.push(i);
        }
    }
    chosen
}

/// What may become of the operations, each way with its name.
fn fates(ops: &[Op]) -> Vec<(String, Vec<Fate>)> {
    let durable = durable(ops);
    let message = message(ops);
    let open: Vec<usize> = (0..ops.len())
        .filter(|&i| !durable[i] && !matches!(ops[i], Op::SyncFile { .. } | Op::SyncDir { .. }))
        .collect();
    let is_data = |i: usize| ops[i].changes().is_some();
    let all = |fate: &dyn Fn(usize) -> Fate| -> Vec<Fate> {
        let mut fates = vec![Fate::Kept; ops.len()];
        for &i in &open {
            fates[i] = fate(i);
        }
        fates
    };
    let kept_if = |kept: bool| match kept {
        true => Fate::Kept,
        false => Fate::Dropped,
    };
    let mut ways = vec![
        ("nothing".to_owned(), all(&|_| Fate::Dropped)),
        ("everything".to_owned(), all(&|_| Fate::Kept)),
        ("names, no data".to_owned(), all(&|i| kept_if(!is_data(i)))),
        ("data, no names".to_owned(), all(&|i| kept_if(is_data(i)))),
        (
            "names and lengths, no bytes".to_owned(),
            all(&|i| match ops[i] {
                Op::Write { .. } => Fate::Zeros,
                _ => Fate::Kept,
            }),
        ),
    ];
    let single = || {
        open.iter()
            .filter(|&&i| ops[i].changes().is_none_or(|file| Some(file) != message))
    };
    let mut last_first = single().rev();
    if let Some(&last) = last_first.find(|&&i| matches!(ops[i], Op::Write { .. })) {
        for (half, fate) in [("first", Fate::FirstHalf), ("second", Fate::SecondHalf)] {
            let torn = all(&|i| if i == last { fate } else { Fate::Kept });
            ways.push((format!("of {:?} the {half} half", ops[last]), torn));
        }
    }
    for &one in single() {
        let dropped = with_what_follows_them(ops, |i| i == one);
        let kept = with_what_they_follow(ops, |i| i == one);
        ways.push((
            format!("all but {:?}", ops[one]),
            all(&|i| kept_if(!dropped.contains(&i))),
        ));
        ways.push((
            format!("only {:?}", ops[one]),
            all(&|i| kept_if(kept.contains(&i))),
        ));
    }
    ways
}

fn message(ops: &[Op]) -> Option<FileId> {
    ops.iter().find_map(|op| match op {
        Op::Create { file, path, .. } if path.file_name() == Some(MESSAGE.as_ref()) => Some(*file),
        _ => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Folder,
    File(FileId),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    /// From the start; the rest of the file is zeros.
    bytes: Vec<u8>,
    len: u64,
    mode: u32,
}

impl Content {
    fn set_len(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.len = len;
    }

    /// A range to be written to, which the file is made long enough for.
    fn range(&mut self, at: usize, len: usize) -> &mut [u8] {
        let end = at + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.len = self.len.max(end as u64);
        &mut self.bytes[at..end]
    }
}

/// A folder and everything in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    nodes: BTreeMap<PathBuf, Node>,
    contents: HashMap<FileId, Content>,
}

impl Image {
    fn of(ops: &[Op], fates: &[Fate]) -> Self {
        let mut image = Self::default();
        for (op, fate) in ops.iter().zip(fates) {
            // A file has a mode, and nothing else, wherever its first name went.
            if let Op::Create { file, mode, .. } = op {
                image.contents.entry(*file).or_default().mode = *mode;
            }
            if *fate != Fate::Dropped {
                image.apply(op, *fate);
            }
        }
        image.leave_out_what_has_no_name();
        image
    }

    fn apply(&mut self, op: &Op, fate: Fate) {
        match op {
            Op::Create { file, path, .. } => {
                self.nodes.insert(path.clone(), Node::File(*file));
            }
            Op::MakeDir { path } => {
                self.nodes.insert(path.clone(), Node::Folder);
            }
            Op::Rename { file, from, to } => {
                self.nodes.remove(from);
                self.nodes.insert(to.clone(), Node::File(*file));
            }
            Op::Link { file, to, .. } => {
                self.nodes.insert(to.clone(), Node::File(*file));
            }
            Op::Unlink { path, .. } => {
                self.nodes.remove(path);
            }
            Op::Write {
                file,
                offset,
                bytes,
            } => {
                let half = bytes.len() / 2;
                let (skip, bytes) = match fate {
                    Fate::FirstHalf => (0, &bytes[..half]),
                    Fate::SecondHalf => (half, &bytes[half..]),
                    _ => (0, &bytes[..]),
                };
                let at = *offset as usize + skip;
                let there = self.content(*file).range(at, bytes.len());
                match fate {
                    Fate::Zeros => there.fill(0),
                    _ => there.copy_from_slice(bytes),
                }
            }
            Op::SetLen { file, len } => self.content(*file).set_len(*len),
            Op::Punch { file, offset, len } => {
                let bytes = &mut self.content(*file).bytes;
                let end = bytes.len().min((offset + len) as usize);
                bytes[(*offset as usize).min(end)..end].fill(0);
            }
            Op::Allocate { file, offset, len } => {
                let content = self.content(*file);
                content.len = content.len.max(offset + len);
            }
            Op::SetMode { file, mode } => self.content(*file).mode = *mode,
            Op::SyncFile { .. } | Op::SyncDir { .. } => {}
        }
    }

    fn content(&mut self, file: FileId) -> &mut Content {
        self.contents.entry(file).or_default()
    }

    fn leave_out_what_has_no_name(&mut self) {
        // Folders come before what is in them.
        let mut folders = HashSet::from([PathBuf::new()]);
        self.nodes.retain(|path, node| {
            let there = path.parent().is_some_and(|parent| folders.contains(parent));
            if there && *node == Node::Folder {
                folders.insert(path.clone());
            }
            there
        });
        let named: HashSet<FileId> = self
            .nodes
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Folder => None,
            })
            .collect();
        self.contents.retain(|file, _| named.contains(file));
    }

    pub(crate) fn digest(&self) -> u128 {
        let mut hash = Xxh3::new();
        for (path, node) in &self.nodes {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(b"\0");
            if let Node::File(file) = node {
                let content = &self.contents[file];
                hash.update(&content.mode.to_le_bytes());
                hash.update(&content.len.to_le_bytes());
                hash.update(&content.bytes.len().to_le_bytes());
                hash.update(&content.bytes);
            }
        }
        hash.digest128()
    }

    /// Writes everything into an empty folder.
    pub(crate) fn write_to(&self, folder: &Path) {
        let mut written: HashMap<FileId, PathBuf> = HashMap::new();
        for (path, node) in &self.nodes {
            let path = folder.join(path);
            match node {
                Node::Folder => fs::create_dir(&path).unwrap(),
                Node::File(file) => match written.get(file) {
                    Some(other) => fs::hard_link(other, &path).unwrap(),
                    None => {
                        self.contents[file].write_to(&path);
                        written.insert(*file, path);
                    }
                },
            }
        }
    }
}

impl Content {
    fn write_to(&self, path: &Path) {
        let mut options = File::options();
        let created = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = created.unwrap();
        file.write_all(&self.bytes).unwrap();
        file.set_len(self.len).unwrap();
        let mode = fs::Permissions::from_mode(self.mode);
        file.set_permissions(mode).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::RecordingDisk;
    use super::*;
    use crate::fsio::Disk;

    /// The folders that a cut at the end can leave, as what is in them.
    fn left(ops: &[Op]) -> HashSet<Vec<(String, String)>> {
        at(ops)
            .map(|crash| {
                let dir = tempfile::tempdir().unwrap();
                crash.image.write_to(dir.path());
                let entries = fs::read_dir(dir.path()).unwrap();
                let mut files: Vec<(String, String)> = entries
                    .map(|entry| {
                        let path = entry.unwrap().path();
                        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                        (name, fs::read_to_string(&path).unwrap_or("folder".into()))
                    })
                    .collect();
                files.sort();
                files
            })
            .collect()
    }

    fn one(name: &str, content: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), content.to_owned())]
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_not_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::new(dir.path());
        let path = |name| dir.path().join(name);
        let file = disk.create_new(&path("a"), 0o644).unwrap();
        disk.write_at(&file, b"1234", 0).unwrap();
        let unsynced = HashSet::from([
            vec![],
            one("a", ""),
            one("a", "12"),
            one("a", "\0\x0034"),
            one("a", "\0\0\0\0"),
            one("a", "1234"),
        ]);
        assert_eq!(left(&disk.ops()), unsynced);
        disk.sync_file(&file).unwrap();
        assert_eq!(left(&disk.ops()), HashSet::from([vec![], one("a", "1234")]));
        disk.sync_dir(dir.path()).unwrap();
        assert_eq!(left(&disk.ops()), HashSet::from([one("a", "1234")]));

        // A rename is one step, in both folders or in none.
        disk.rename(&path("a"), &path("b")).unwrap();
        let either = HashSet::from([one("a", "1234"), one("b", "1234")]);
        assert_eq!(left(&disk.ops()), either);
        disk.sync_dir(dir.path()).unwrap();
        assert_eq!(left(&disk.ops()), HashSet::from([one("b", "1234")]));

        // A longer length without its bytes, and bytes without the cut before them.
        disk.set_len(&file, 1).unwrap();
        disk.write_at(&file, b"5", 1).unwrap();
        let changed = HashSet::from(["1234", "1", "15", "1534", "1\0"].map(|text| one("b", text)));
        assert_eq!(left(&disk.ops()), changed);
    }

    #[test]
    fn what_was_done_to_one_name_is_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::new(dir.path());
        let path = |name| dir.path().join(name);
        disk.make_dir(&path("in")).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        disk.create_new(&path("in/a"), 0o644).unwrap();
        disk.rename(&path("in/a"), &path("b")).unwrap();
        let folder = ("in".to_owned(), "folder".to_owned());
        let (nothing, renamed) = (
            vec![folder.clone()],
            vec![("b".to_owned(), String::new()), folder],
        );
        let open = left(&disk.ops());
        // The file without its second name stands in the folder.
        assert_eq!(open, HashSet::from([nothing.clone(), renamed.clone()]));
        disk.sync_dir(dir.path()).unwrap();
        assert_eq!(left(&disk.ops()), HashSet::from([renamed.clone()]));
        disk.unlink(&path("b")).unwrap();
        disk.create_new(&path("b"), 0o644).unwrap();
        // The second file of that name is not there before the first one went.
        let digests: HashSet<u128> = at(&disk.ops()).map(|c| c.image.digest()).collect();
        assert_eq!(digests.len(), 2, "the first and the second look the same");
        assert_eq!(left(&disk.ops()), HashSet::from([nothing, renamed]));
    }

    #[test]
    fn a_folder_takes_what_is_in_it_along() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::new(dir.path());
        let path = |name| dir.path().join(name);
        disk.make_dir(&path("in")).unwrap();
        let file = disk.create_new(&path("in/a"), 0o644).unwrap();
        disk.sync_file(&file).unwrap();
        disk.sync_dir(&path("in")).unwrap();
        assert_eq!(
            left(&disk.ops()),
            HashSet::from([vec![], one("in", "folder")])
        );
    }

    #[test]
    fn with_everything_left_the_folder_is_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RecordingDisk::new(dir.path());
        let path = |name| dir.path().join(name);
        disk.make_dir(&path("in")).unwrap();
        let file = disk.create_new(&path("in/a"), 0o644).unwrap();
        disk.write_at(&file, &[7; 20_000], 0).unwrap();
        disk.punch(&file, 4_096, 4_096).unwrap();
        disk.allocate(&file, 19_000, 2_000).unwrap();
        disk.set_mode(&file, 0o444).unwrap();
        disk.link(&path("in/a"), &path("b")).unwrap();
        let everything = at(&disk.ops()).find(|crash| crash.left == "everything");
        let copy = tempfile::tempdir().unwrap();
        everything.unwrap().image.write_to(copy.path());
        for name in ["in/a", "b"] {
            let (here, there) = (path(name), copy.path().join(name));
            assert_eq!(fs::read(&here).unwrap(), fs::read(&there).unwrap());
            let mode = |path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode(&here), mode(&there));
        }
    }
}
