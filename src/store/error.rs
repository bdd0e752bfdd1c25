//! What can go wrong in a store, with the path or CID, the expected and the found.

mod explain;

use std::path::PathBuf;
use std::time::Duration;

use crate::block::{BlockError, Cid, CidError};
use crate::config::{ByteSize, TimeSpan};
use crate::dag::DagError;
use crate::error::FileError;
use crate::fsio::Unfit;
use crate::store::target::TargetError;

/// An error of a [`Store`](crate::Store) or a [`StoreReader`](crate::StoreReader).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused an operation on a file.
    #[error(transparent)]
    File(FileError),
    /// The text is no CID.
    #[error(transparent)]
    Cid(#[from] CidError),
    /// The text is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A block does not hash to its CID.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A DAG node could not be built or read.
    #[error(transparent)]
    Dag(#[from] DagError),
    /// There is no store at the path.
    #[error("there is no store at {}", path.display())]
    Absent {
        /// The folder that was looked at.
        path: PathBuf,
    },
    /// The folder holds files that are not a store's.
    #[error("{} is no store: it holds {found:?}", path.display())]
    NotAStore {
        /// The folder that was looked at.
        path: PathBuf,
        /// One of the foreign files.
        found: String,
    },
    /// `create` was asked for a folder that is a store already.
    #[error("{} is a store already", path.display())]
    Exists {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store was written in a format that this version does not know.
    #[error("the store at {} has format {found}; this version reads up to {supported}", path.display())]
    NewerFormat {
        /// The store's folder.
        path: PathBuf,
        /// The format the store names.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// The store needs a feature that this version does not have.
    #[error("the store at {} needs the feature {feature:?}, which this version does not have", path.display())]
    MissingFeature {
        /// The store's folder.
        path: PathBuf,
        /// The feature it names.
        feature: String,
    },
    /// Another process has the store open for writing.
    #[error(
        "the store at {} is {}{}",
        path.display(), holding([pid, host, since], *is_writer, *holder), waiting(*waited)
    )]
    Locked {
        /// The store's folder.
        path: PathBuf,
        /// The process, as it named itself.
        pid: String,
        /// Its host.
        host: String,
        /// When it opened the store, in UTC.
        since: String,
        /// Whether the lock is held by that process, as far as can be told from here. If not, the process is what the
        /// last writer noted, and whoever holds the lock has not opened the store for writing.
        is_writer: bool,
        /// The process that holds the lock, where the system tells.
        holder: Option<u32>,
        /// How long it was waited for; zero where it was not.
        waited: Duration,
    },
    /// The store was to be written to, and lies on a file system that is mounted read-only.
    #[error("the store at {} lies on a file system that is mounted read-only", path.display())]
    ReadOnly {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store lies on an overlay file system, and its last writer did not work through the same overlay: the
    /// content may have come with a layer below. Locks that are taken here are not seen there, so a collector
    /// that works there would free what is being read here, or built upon.
    #[error("the store at {} lies on an overlay file system, and was last written outside of it", path.display())]
    Overlay {
        /// The store's folder.
        path: PathBuf,
    },
    /// A write failed in a way after which nothing may be trusted until the store is opened again.
    #[error("the store at {} refuses writes since one failed: {cause}", path.display())]
    Poisoned {
        /// The store's folder.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
    /// A file of the store is not what it should be.
    #[error("{} is damaged: {what}: expected {expected}, found {found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        what: &'static str,
        /// What stands there in a good file.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Bytes of a stored file are not those of their block.
    #[error(
        "{name}: the {len} bytes at offset {offset} are not those of block {expected} but of {found} \
         ({} at {pack_offset})", pack.display()
    )]
    Corrupt {
        /// The file's path in its object, or its CID.
        name: String,
        /// Where in the file the block's bytes begin.
        offset: u64,
        /// How many they are.
        len: u64,
        /// The block that they should be.
        expected: Box<Cid>,
        /// The block that they are.
        found: Box<Cid>,
        /// The file of the store that they lie in.
        pack: PathBuf,
        /// Where in it they begin.
        pack_offset: u64,
    },
    /// Bytes of a stored file are recorded as damaged, by a verification or a repair.
    #[error(
        "{name}: the {len} bytes at offset {offset} are recorded as damaged ({} at {pack_offset})",
        pack.display()
    )]
    KnownDamage {
        /// The file's path in its object, or its CID.
        name: String,
        /// Where in the file the damaged bytes begin.
        offset: u64,
        /// How many they are.
        len: u64,
        /// The file of the store that they lie in.
        pack: PathBuf,
        /// Where in it they begin.
        pack_offset: u64,
    },
    /// A root places bytes of a pack that a collection gave back: the root was put back from a copy that is older.
    #[error(
        "{name}: a collection gave the {len} bytes at offset {offset} back, and the root that places them is older \
         ({} at {pack_offset})",
        pack.display()
    )]
    Collected {
        /// The file's path in its object, or its CID.
        name: String,
        /// Where in the file the bytes begin.
        offset: u64,
        /// How many they are.
        len: u64,
        /// The file of the store that they lay in.
        pack: PathBuf,
        /// Where in it they began.
        pack_offset: u64,
    },
    /// An object needs a pack that is not there.
    #[error("{object}: a pack that it needs is missing: {}", pack.display())]
    PackMissing {
        /// The object.
        object: Box<Cid>,
        /// Where the pack was to be.
        pack: PathBuf,
    },
    /// A node of an object's DAG is not what its CID names.
    #[error(
        "node {expected} is damaged: the bytes are those of {found} ({} at {pack_offset})",
        pack.display()
    )]
    CorruptNode {
        /// The node.
        expected: Box<Cid>,
        /// What the bytes are.
        found: Box<Cid>,
        /// The file of the store that they lie in.
        pack: PathBuf,
        /// Where in it they begin.
        pack_offset: u64,
    },
    /// A file that an object refers to cannot be read.
    #[error(
        "{target}: block {block} lies in {} at {offset}, which cannot be read: {source}", path.display()
    )]
    SourceGone {
        /// What was asked for: an object and a path below it, or a block.
        target: String,
        /// The file that was added by reference.
        path: PathBuf,
        /// Where in it the block begins.
        offset: u64,
        /// The block.
        block: Box<Cid>,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that an object refers to is not what it was when it was added.
    #[error(
        "{target}: {} no longer holds the {len} bytes of block {block} at {offset}: {what}", path.display()
    )]
    SourceDiffers {
        /// What was asked for: an object and a path below it, or a block.
        target: String,
        /// The file that was added by reference.
        path: PathBuf,
        /// Where in it the block began.
        offset: u64,
        /// How long it is.
        len: u64,
        /// The block.
        block: Box<Cid>,
        /// What else tells that the file was changed.
        what: String,
    },
    /// The object refers to files outside the store, which this reader was told not to open.
    #[error("{target} refers to {}, and this reader opens no file outside the store", path.display())]
    ReferenceRefused {
        /// What was asked for: an object and a path below it.
        target: String,
        /// The file that it refers to.
        path: PathBuf,
    },
    /// What was to be added by reference cannot be referred to.
    #[error("{} cannot be added by reference: {why}", path.display())]
    NotReferable {
        /// What was to be added.
        path: PathBuf,
        /// Why not.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// No published object is, or contains, the CID.
    #[error("{cid} is not in the store at {}", path.display())]
    NotPublished {
        /// The CID that was asked for.
        cid: Cid,
        /// The store's folder.
        path: PathBuf,
    },
    /// A block is not in the store.
    #[error("block {cid} is not in the store at {}", path.display())]
    BlockAbsent {
        /// The block.
        cid: Cid,
        /// The store's folder.
        path: PathBuf,
    },
    /// No pin has the name.
    #[error("{name:?} is neither a CID nor the name of a pin")]
    NoSuchName {
        /// The name that was asked for.
        name: String,
        /// A pin with a similar name.
        nearest: Option<String>,
        /// An object that was called so when it was added.
        titled: Option<Cid>,
    },
    /// The object has no such path.
    #[error("{object} has no file or folder {path:?}")]
    NoSuchPath {
        /// The object's CID.
        object: Cid,
        /// The path below it.
        path: String,
        /// What stands in the nearest folder that does exist.
        there: Vec<String>,
    },
    /// A file was wanted and the target is something else.
    #[error("{target} is a {found}, and a file is wanted")]
    NotAFile {
        /// What was asked for.
        target: String,
        /// What it is.
        found: &'static str,
    },
    /// A folder was wanted and the target is something else.
    #[error("{target} is a {found}, and a folder is wanted")]
    NotAFolder {
        /// What was asked for.
        target: String,
        /// What it is.
        found: &'static str,
    },
    /// The name cannot be a pin's.
    #[error("{name:?} cannot be the name of a pin: {why}")]
    BadName {
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// The name is another object's.
    #[error("the name {name:?} is taken by {cid}")]
    NameTaken {
        /// The name.
        name: String,
        /// What it points to.
        cid: Cid,
    },
    /// Which object the name points to cannot be read.
    #[error("the name {name:?} is taken, and which object has it cannot be read: {source}")]
    NameDamaged {
        /// The name.
        name: String,
        /// What is wrong with its file.
        source: Box<StoreError>,
    },
    /// The object is pinned, so it is not removed.
    #[error("{cid} is pinned as {}", names.join(", "))]
    Pinned {
        /// The object.
        cid: Cid,
        /// Its pins' names.
        names: Vec<String>,
    },
    /// The object was to be removed with the name it was asked for by, and has other pins too.
    #[error("{name:?} is {cid}, which is pinned as {} too", others.join(", "))]
    OtherNames {
        /// The name that was asked for.
        name: String,
        /// The object.
        cid: Cid,
        /// Its other pins' names.
        others: Vec<String>,
    },
    /// There is no such pin.
    #[error("{target} is not pinned")]
    NotPinned {
        /// What was asked for.
        target: String,
    },
    /// Only whole objects can be removed.
    #[error("{target} is part of {object}")]
    NotAnObject {
        /// What was asked for.
        target: String,
        /// The object that holds it.
        object: Cid,
    },
    /// Several pins point to the CID, and one was to be named.
    #[error("{cid} has several pins: {}", names.join(", "))]
    ManyPins {
        /// The object.
        cid: Cid,
        /// Their names.
        names: Vec<String>,
    },
    /// What was to be added has another CID than the one that was asked for.
    #[error("{name} has the CID {found}, and {expected} is wanted")]
    OtherCid {
        /// The file or folder.
        name: String,
        /// The CID that was asked for.
        expected: Box<Cid>,
        /// The CID that it has, under the profile that it was to be added under.
        found: Box<Cid>,
    },
    /// A file or folder changed while it was read.
    #[error("{} changed while it was read: {what}", path.display())]
    SourceChanged {
        /// The file.
        path: PathBuf,
        /// What was seen to change.
        what: String,
    },
    /// Only files, folders and symbolic links can be added.
    #[error("{} is a {found}, and neither file nor folder", path.display())]
    UnsupportedFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A name inside a folder is not UTF-8, which a UnixFS link must be.
    #[error("the name of {} is not UTF-8", path.display())]
    NameNotUtf8 {
        /// The path, shown as far as it can be.
        path: PathBuf,
    },
    /// A folder leads back into itself through a symbolic link.
    #[error("{} leads back to a folder above it", path.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// A DAG is nested deeper than any file or folder needs.
    #[error("{cid} is nested too deep: more than {limit} {what}")]
    TooDeep {
        /// The block at which it was given up.
        cid: Cid,
        /// What there are too many of.
        what: &'static str,
        /// The most that is followed.
        limit: usize,
    },
    /// The output is there already.
    #[error("{} exists", path.display())]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The output would be replaced by something of another kind.
    #[error("{} is {there}, and would be replaced by a {by}", path.display())]
    OutputKind {
        /// The output.
        path: PathBuf,
        /// What stands there.
        there: &'static str,
        /// What would stand there.
        by: &'static str,
    },
    /// The output would lie in a store's own folder, or in its place.
    #[error("{} is, lies in or holds the store at {}", path.display(), store.display())]
    OutputInStore {
        /// The output.
        path: PathBuf,
        /// The store's folder.
        store: PathBuf,
    },
    /// A symbolic link in the object points out of the folder it would be written to.
    #[error("the symbolic link {link:?} points to {target:?}, out of the output folder")]
    EscapingLink {
        /// The link's path in the object.
        link: String,
        /// Where it points.
        target: String,
    },
    /// The packs may not take more space, and nothing is left that could make way.
    #[error(
        "the store at {} is full: it may take {}, takes {} with what is being added, and the next {} do not fit",
        path.display(), ByteSize::new(*max_bytes), ByteSize::new(*used_bytes), ByteSize::new(*needed_bytes)
    )]
    QuotaExceeded {
        /// The store's folder.
        path: PathBuf,
        /// The most that its packs may take.
        max_bytes: u64,
        /// What they take, with what running adds have asked for.
        used_bytes: u64,
        /// What was to be written next, after which there may be more.
        needed_bytes: u64,
    },
    /// A name points to an object that has no root, so nobody can say what it is to keep.
    #[error("the name {name:?} points to {cid}, which has no root in the store")]
    NameWithoutRoot {
        /// The name.
        name: String,
        /// The object that it points to.
        cid: Cid,
    },
    /// The bytes could not be mapped.
    #[error("cannot map {name}: {source}")]
    Map {
        /// The file in the store.
        name: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The `ignore` pattern is no glob.
    #[error("{pattern:?} is no pattern: {why}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// The caller asked to stop. Nothing is kept of what was at work; what had made way for it under a quota is gone
    /// ([`StoreOptions::made_way`](crate::StoreOptions::made_way)).
    #[error("cancelled; nothing of it was kept")]
    Cancelled,
}

/// The part of a file that is wrong when no file stands there but something else.
pub(crate) const NOT_A_FILE: &str = "type";

impl From<FileError> for StoreError {
    /// What stands in a file's place and cannot be one is damage; the rest is the operating system's.
    fn from(error: FileError) -> Self {
        let (what, expected, found) = match Unfit::of(&error.source) {
            None => return Self::File(error),
            Some(Unfit::Kind(found)) => (NOT_A_FILE, "a file".into(), (*found).into()),
            Some(Unfit::Length { len, limit }) => (
                "length",
                format!("up to {limit} bytes"),
                format!("{len} bytes"),
            ),
        };
        Self::Damaged {
            path: error.path,
            what,
            expected,
            found,
        }
    }
}

/// Who holds the lock of a store.
pub(crate) fn holding(
    [pid, host, since]: [&str; 3],
    is_writer: bool,
    holder: Option<u32>,
) -> String {
    match (is_writer, holder) {
        (true, _) => format!("open for writing by process {pid} on {host} since {since}"),
        (false, Some(holder)) => {
            format!("locked by process {holder}, which has not opened it for writing")
        }
        (false, None) => "locked by a process that has not opened it for writing".into(),
    }
}

/// In whole seconds, or milliseconds below one.
fn waiting(waited: Duration) -> String {
    let round = match waited.as_secs() {
        0 => Duration::from_millis(waited.as_millis() as u64),
        seconds => Duration::from_secs(seconds),
    };
    match round.is_zero() {
        true => String::new(),
        false => format!("; waited {} for it", TimeSpan::from(round)),
    }
}
