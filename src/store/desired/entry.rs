//! What a file of pins says.

use std::path::PathBuf;

use crate::block::Cid;
use crate::dag::Profile;
use crate::store::target::Target;

/// The pins that a store is to have, as a file lists them.
///
/// ```toml
/// [pins]
/// # A CID, whose object has to be there (or inside another one) already.
/// llama = "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"
/// # A file or folder, relative to this file: added, which hashes it each time.
/// mistral = "../models/mistral-7b"
/// # Both: added if the object is missing, and refused if it gets another CID. Not read while it is there.
/// "whisper-v3.1" = { path = "~/models/whisper", cid = "bafy…", profile = "unixfs-v1-2025", hidden = true }
/// ```
///
/// A text is a CID (with a path below it perhaps) if it can be read as one, and a path otherwise; `./NAME` is always
/// a path. Names with dots are quoted. The keys of a table are `path`, `cid`, and, as the flags of `add`, `profile`,
/// `hidden`, `dereference-symlinks` and `ignore`, a list.
///
/// ```
/// use ipfs_accelerate::{AddOptions, DesiredPins, PinAction, PinSyncOptions, Store};
/// # let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("greeting.txt"), "hello world")?;
/// let file = dir.path().join("pins.toml");
/// std::fs::write(&file, "[pins]\ngreeting = 'greeting.txt'")?;
///
/// let desired = DesiredPins::read(&file)?;
/// let store = Store::create(dir.path().join("store"))?;
/// for action in [PinAction::Add, PinAction::Keep] {
///     let options = PinSyncOptions::default();
///     let plan = store.plan_pins(&desired, &options)?;
///     let report = store.apply_pins(plan, &options)?;
///     assert_eq!(report.changes[0].action, action);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredPins {
    /// The entries, in the order of the file.
    pub entries: Vec<DesiredPin>,
}

/// One name, and what it is to point to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredPin {
    /// The pin's name.
    pub name: String,
    /// What it is to point to.
    pub source: DesiredSource,
}

/// Where an object is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DesiredSource {
    /// From the store: a CID, and a path below it.
    Stored(Target),
    /// From a file or folder.
    Path(DesiredPath),
}

/// A file or folder that is to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DesiredPath {
    /// Where it is.
    pub path: PathBuf,
    /// The CID that it has to have.
    pub cid: Option<Cid>,
    /// The profile to add it under; without one, that of the store.
    pub profile: Option<Profile>,
    /// As in [`AddOptions`](crate::AddOptions::hidden).
    pub hidden: bool,
    /// As in [`AddOptions`](crate::AddOptions::dereference_symlinks).
    pub dereference_symlinks: bool,
    /// As in [`AddOptions`](crate::AddOptions::ignore).
    pub ignore: Vec<String>,
}
