//! Whether a file or folder has a CID, whatever the profile that made it.

mod compare;
mod error;
mod report;

use std::io::Read;
use std::path::Path;

pub use error::CheckError;
pub use report::{CheckOptions, CheckReport, ComputedCid, Difference, EntrySummary};

use self::compare::Comparison;
use super::ingest::{Built, Walk, compute_path, compute_reader};
use super::read::{EntryType, type_of};
use crate::block::{Cid, canonical};
use crate::dag::Profile;

/// Tells whether a file or folder has a CID under any of the usual profiles. It is read once, as
/// [`Store::add_path`](crate::Store::add_path) would read it, and hashed on all cores under all profiles
/// side by side; no store is needed. A CIDv0 and its CIDv1 form are the same.
///
/// ```
/// use ipfs_accelerate::{CheckOptions, check_path, parse_cid};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("hello.txt");
/// std::fs::write(&path, b"hello world")?;
///
/// // What `ipfs add` prints.
/// let cid = parse_cid("Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD")?;
/// let report = check_path(&path, &cid, &CheckOptions::default())?;
/// assert_eq!(report.profile.as_ref().unwrap().name(), "unixfs-v0-2015");
///
/// std::fs::write(&path, b"hello w0rld")?;
/// let report = check_path(&path, &cid, &CheckOptions::default())?;
/// assert!(!report.is_match());
/// for computed in &report.computed {
///     println!("{} {}", computed.profile, computed.cid);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With what a store has under the CID, the report says which files differ. To tell the first byte that does, a
/// file that was checked by itself is read again up to there, as are files whose object was put together from
/// single blocks, which does not say how it cut them.
///
/// ```
/// use ipfs_accelerate::{AddOptions, CheckOptions, Store, check_path};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("model");
/// # std::fs::create_dir(&path)?;
/// # std::fs::write(path.join("config.json"), b"{}")?;
/// let store = Store::create(dir.path().join("store"))?;
/// let cid = store.add_path(&path, &AddOptions::default())?.cid;
/// std::fs::write(path.join("config.json"), b"{ }")?;
///
/// let options = CheckOptions::default().with_stored(store.resolve(&cid.into())?);
/// let differences = check_path(&path, &cid, &options)?.differences.unwrap();
/// assert_eq!((&*differences[0].path, differences[0].name()), ("config.json", "differs"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`CheckError::Codec`], [`CheckError::Identity`], [`CheckError::Hash`] and [`CheckError::Digest`] for a
/// CID that no profile can make; [`CheckError::Store`] for content that cannot be read, with the errors of
/// [`Store::add_path`](crate::Store::add_path) for that. That the content is another one is no error.
pub fn check_path(
    path: impl AsRef<Path>,
    cid: &Cid,
    options: &CheckOptions,
) -> Result<CheckReport, CheckError> {
    let path = path.as_ref();
    let (profiles, mut comparison) = prepared(cid, options, Some(path))?;
    let mut on_file = |path: &str, roots: &[_]| {
        if let Some(comparison) = &mut comparison {
            comparison.file(path, roots);
        }
    };
    let (walk, built) = compute_path(path, &profiles, &options.reading(), &mut on_file)?;
    report(cid, profiles, &walk, &built, comparison)
}

/// As [`check_path`], for the content of a stream.
///
/// # Errors
///
/// As [`check_path`].
pub fn check_reader(
    reader: impl Read,
    cid: &Cid,
    options: &CheckOptions,
) -> Result<CheckReport, CheckError> {
    let (profiles, mut comparison) = prepared(cid, options, None)?;
    let mut on_file = |path: &str, roots: &[_]| {
        if let Some(comparison) = &mut comparison {
            comparison.file(path, roots);
        }
    };
    let (walk, built) = compute_reader(reader, &profiles, &options.reading(), &mut on_file)?;
    report(cid, profiles, &walk, &built, comparison)
}

/// The profiles to try, each once, and what to compare with.
fn prepared<'o>(
    cid: &Cid,
    options: &'o CheckOptions,
    top: Option<&'o Path>,
) -> Result<(Vec<Profile>, Option<Comparison<'o>>), CheckError> {
    let hash = error::hash_of(cid)?;
    let stored = options.stored.as_ref();
    // A single block says nothing of files.
    let stored = stored.filter(|stored| stored.kind() != EntryType::Block);
    let recorded: Option<Profile> = stored.and_then(|stored| stored.profile().parse().ok());
    let same_profile = recorded.is_some();
    let wanted = match options.profiles.is_empty() {
        true => Profile::candidates(hash),
        false => options.profiles.clone(),
    };
    let mut profiles: Vec<Profile> = Vec::with_capacity(wanted.len() + 1);
    for profile in recorded.into_iter().chain(wanted) {
        if !profiles.contains(&profile) {
            profiles.push(profile);
        }
    }
    let comparison = stored.map(|stored| Comparison::new(stored, top, same_profile));
    Ok((profiles, comparison))
}

fn report(
    cid: &Cid,
    profiles: Vec<Profile>,
    walk: &Walk,
    built: &[Built],
    comparison: Option<Comparison<'_>>,
) -> Result<CheckReport, CheckError> {
    let computed = profiles.into_iter().zip(built);
    let computed: Vec<ComputedCid> = computed
        .map(|(profile, built)| ComputedCid {
            profile,
            cid: built.cid,
        })
        .collect();
    let literal = computed.iter().find(|computed| computed.cid == *cid);
    let same = |computed: &&ComputedCid| canonical(&computed.cid) == canonical(cid);
    let found = literal.or_else(|| computed.iter().find(same));
    let profile = found.map(|computed| computed.profile.clone());
    let differences = match comparison.filter(|_| profile.is_none()) {
        Some(comparison) => Some(comparison.finish(walk)?),
        None => None,
    };
    let first = &built[0];
    Ok(CheckReport {
        cid: *cid,
        profile,
        computed,
        kind: type_of(first.kind),
        name: walk.name.clone(),
        size: first.size,
        files: first.files,
        differences,
        notes: walk.notes.clone(),
    })
}
