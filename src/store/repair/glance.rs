//! What an opening sees of damage, without reading more than the first bytes of each file.

use std::collections::HashSet;
use std::path::Path;

use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::format::{Envelope, FileKind};
use crate::store::inner;
use crate::store::names;
use crate::store::read::ReadCore;
use crate::store::root::{self, RootName};

/// Warns of every pack, root and name that is seen to be damaged, a line each. The whole of a root is not read here:
/// what is wrong further in is said where it is met.
pub(crate) fn warn_of_damage(core: &ReadCore) {
    let warn = |what: &dyn std::fmt::Display| tracing::warn!("{what}; run `repair`");
    let folder = &core.folder;
    for id in inner::list(folder).unwrap_or_default() {
        if let Err(e) = core.packs.open(id).map(drop)
            && !is_gone(&e)
        {
            warn(&e);
        }
    }
    let files = folder.files();
    let mut rooted = HashSet::new();
    for name in files.list(&folder.roots()).unwrap_or_default() {
        let path = folder.roots().join(&name);
        match name.to_str().and_then(RootName::parse) {
            Some(RootName::Object(cid)) => {
                rooted.insert(cid);
                if let Err(e) = head(core, &path)
                    && !is_gone(&e)
                {
                    warn(&e);
                }
            }
            Some(RootName::Retired(_) | RootName::Loose) | None => {}
        }
    }
    for name in files.list(&folder.names()).unwrap_or_default() {
        let Some(name) = name.to_str() else { continue };
        match names::read(folder, core.id, name) {
            Ok(Some(pin)) if !rooted.contains(&pin.cid) => {
                // It may have been set after the roots were listed.
                if !files.exists(&root::object_path(folder, &pin.cid)) {
                    let (name, cid) = (pin.name, pin.cid);
                    warn(&StoreError::NameWithoutRoot { name, cid });
                }
            }
            Ok(_) => {}
            Err(e) => warn(&e),
        }
    }
}

fn is_gone(error: &StoreError) -> bool {
    super::raw::is_absent(error)
}

/// Checks the first bytes of a root.
fn head(core: &ReadCore, path: &Path) -> Result<(), StoreError> {
    let files = core.folder.files();
    let file = files.open(path)?;
    let len = files.file_metadata(&file, path)?.len();
    let mut bytes = vec![0; len.min(Envelope::MAX_HEAD as u64) as usize];
    let read = files.read_exact_at(&file, &mut bytes, 0, path);
    read.map_err(|e: FileError| StoreError::from(e))?;
    Envelope::check_head(&bytes, len, FileKind::Root, core.id, path)
}
