//! What an opening sees of damage, without reading more than a bounded number of small files and beginnings of files.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;

use crate::block::Cid;
use crate::error::{Explain, FileError};
use crate::store::error::StoreError;
use crate::store::format::{Envelope, FileKind};
use crate::store::inner;
use crate::store::names;
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::root::{self, RootName, RootRecord};

/// So many packs, roots and names are looked at; of more than that some, spread over all of them.
const LOOKED_AT: usize = 1_000;
/// The packs of a larger root than this are not looked for.
const SMALL_ROOT: u64 = 64 << 10;

/// The target under which the library logs what it sees to be damaged in passing. [`Store::verify`] and
/// [`plan_repair`] look at everything and report it: who shows their findings may leave these events out.
///
/// [`Store::verify`]: crate::Store::verify
/// [`plan_repair`]: crate::plan_repair
pub const DAMAGE_LOG: &str = "ipfs_accelerate::damage";

/// Warns of the packs, roots and names that are seen to be damaged, and of packs that are missing, a line each; of packs
/// that were told already not again. At a limit of the process it ends: it is no more than a look.
pub(crate) fn warn_of_damage(core: &ReadCore, told: &HashSet<PackId>) {
    if let Err(e) = look(core, told) {
        tracing::warn!(target: DAMAGE_LOG, "{}", advised(&e.into(), ""));
    }
}

fn look(core: &ReadCore, told: &HashSet<PackId>) -> Result<(), FileError> {
    let folder = &core.folder;
    let packs = inner::list(folder).unwrap_or_default();
    for id in some(packs.difference(told).copied().collect()) {
        if let Err(e) = core.packs.open(id).map(drop) {
            warn(e)?;
        }
    }
    let roots = folder.files().list(&folder.roots()).unwrap_or_default();
    let rooted: HashSet<Cid> = roots.iter().filter_map(object).collect();
    let mut missing = HashSet::new();
    for name in some(roots).filter(|name| object(name).is_some()) {
        match look_at_root(core, &folder.roots().join(&name), &packs) {
            Ok(Some((record, pack))) if missing.insert(pack) => {
                warn(core.pack_missing(&record, pack))?;
            }
            Ok(_) => {}
            Err(e) => warn(e)?,
        }
    }
    for name in some(folder.files().list(&folder.names()).unwrap_or_default()) {
        let Some(name) = name.to_str() else { continue };
        match names::read(folder, core.id, name) {
            Ok(Some(pin)) if !rooted.contains(&pin.cid) => {
                // It may have been set after the roots were listed.
                if !folder.files().exists(&root::object_path(folder, &pin.cid)) {
                    let (name, cid) = (pin.name, pin.cid);
                    warn(StoreError::NameWithoutRoot { name, cid })?;
                }
            }
            Ok(_) => {}
            Err(e) => warn(e)?,
        }
    }
    Ok(())
}

/// What went since it was listed is not damaged.
fn warn(error: StoreError) -> Result<(), FileError> {
    match error {
        StoreError::File(e) if e.is_of_a_limit() => return Err(e),
        e if super::raw::is_absent(&e) => {}
        e => tracing::warn!(target: DAMAGE_LOG, "{}", advised(&e, "")),
    }
    Ok(())
}

/// What is said of an error in passing: what is wrong, what comes of it, and what to do. Damage is what a repair is for;
/// what the system refuses is not.
pub(crate) fn advised(error: &StoreError, effect: &str) -> String {
    let advice = match error {
        StoreError::File(e) => e.hint(),
        _ => Some("run `repair`".into()),
    };
    let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
    format!("{error}{effect}{advice}")
}

fn some<T>(all: Vec<T>) -> impl Iterator<Item = T> {
    let step = all.len().div_ceil(LOOKED_AT).max(1);
    all.into_iter().step_by(step)
}

fn object(name: &OsString) -> Option<Cid> {
    match name.to_str().and_then(RootName::parse)? {
        RootName::Object(cid) => Some(cid),
        RootName::Retired(_) | RootName::Loose => None,
    }
}

/// Checks the first bytes of a root. Of a small one says a pack that it needs and that is not there.
fn look_at_root(
    core: &ReadCore,
    path: &Path,
    packs: &HashSet<PackId>,
) -> Result<Option<(RootRecord, PackId)>, StoreError> {
    let files = core.folder.files();
    let file = files.open(path)?;
    let len = files.file_metadata(&file, path)?.len();
    if len <= SMALL_ROOT {
        let bytes = files.read_file(&file, path, SMALL_ROOT)?;
        let record = RootRecord::parse_any(&bytes, core.id, path, false)?;
        let missing = record.packs.iter().find(|pack| !packs.contains(pack));
        return Ok(missing.copied().map(|pack| (record, pack)));
    }
    let mut bytes = vec![0; len.min(Envelope::MAX_HEAD as u64) as usize];
    let read = files.read_exact_at(&file, &mut bytes, 0, path);
    read.map_err(|e: FileError| StoreError::from(e))?;
    Envelope::check_head(&bytes, len, FileKind::Root, core.id, path)?;
    Ok(None)
}
