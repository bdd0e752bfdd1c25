//! Everything in `roots/`, as a collection and the accounts of space need it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use super::retire;
use crate::block::Cid;
use crate::error::FileError;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::names::{self, Pin};
use crate::store::pack::PackId;
use crate::store::read::ReadCore;
use crate::store::root::{self, ObjectKind, ROOT_LIMIT, RootName, RootRecord};

/// One file in `roots/`.
#[derive(Debug)]
pub(crate) struct Rooted {
    pub(crate) name: RootName,
    pub(crate) path: PathBuf,
    pub(crate) cid: Cid,
    pub(crate) title: String,
    pub(crate) kind: ObjectKind,
    pub(crate) size: u64,
    pub(crate) used: SystemTime,
    /// What it covers of packs with payload, normalized. Of a reference pack nothing is to be given back, and what
    /// it takes is not what it covers, so there it counts only that the root names it.
    pub(crate) coverage: Coverage,
    /// The packs it names, those included of which it only needs empty blocks.
    pub(crate) packs: Vec<PackId>,
}

impl Rooted {
    /// Whether it goes as an object without a pin does: not with time alone.
    pub(crate) fn is_remains(&self) -> bool {
        root::is_remains(self.kind, &self.title)
    }

    /// Whether it keeps packs whose roots are lost until a repair has put those together.
    pub(super) fn is_of_lost(&self) -> bool {
        root::is_of_lost(self.kind, &self.title)
    }
}

/// All of `roots/` and `names/`.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) roots: Vec<Rooted>,
    pins: HashMap<Cid, Vec<String>>,
}

impl Roots {
    /// The names that an object is pinned under.
    pub(crate) fn pins_of(&self, cid: &Cid) -> &[String] {
        self.pins.get(cid).map_or(&[], Vec::as_slice)
    }

    /// The packs that any of them names.
    pub(super) fn packs(&self) -> HashSet<PackId> {
        let packs = self.roots.iter().flat_map(|root| &root.packs);
        packs.copied().collect()
    }

    /// The packs that only stay because their roots are lost, but for those of the roots that are left out.
    pub(super) fn lost_packs(&self, goes: &[usize]) -> BTreeSet<PackId> {
        let roots = self.roots.iter().enumerate();
        let lost = roots.filter(|(index, root)| root.is_of_lost() && !goes.contains(index));
        lost.flat_map(|(_, root)| root.packs.iter().copied())
            .collect()
    }

    /// Takes out those of these paths.
    pub(super) fn take_out(&mut self, paths: &HashSet<PathBuf>) -> Vec<Rooted> {
        self.roots
            .extract_if(.., |root| paths.contains(&root.path))
            .collect()
    }

    /// What all of them cover together, and the packs they name.
    pub(crate) fn coverage(&self) -> Coverage {
        let mut all = Coverage::default();
        for root in &self.roots {
            all.extend(&root.coverage);
        }
        all.normalize();
        all
    }
}

/// Reads all roots and names strictly: what may be a root and cannot be read is an error, and so is a name whose
/// object has no root.
pub(crate) fn read(core: &ReadCore) -> Result<Roots, StoreError> {
    let listed_pins = names::list_strictly(&core.folder, core.id)?;
    let folder = core.folder.roots();
    let mut roots = Vec::new();
    for name in core.folder.files().list(&folder)? {
        let path = folder.join(&name);
        roots.extend(read_one(core, &name, path)?);
    }
    roots.sort_by(|a, b| a.path.cmp(&b.path));
    let listed: HashSet<RootName> = roots.iter().map(|root| root.name.clone()).collect();
    let mut pins: HashMap<Cid, Vec<String>> = HashMap::new();
    for pin in listed_pins {
        if listed.contains(&RootName::Object(pin.cid)) {
            pins.entry(pin.cid).or_default().push(pin.name);
        } else if is_without_root(core, &pin)? {
            return Err(StoreError::NameWithoutRoot {
                name: pin.name,
                cid: pin.cid,
            });
        }
    }
    Ok(Roots { roots, pins })
}

/// Whether a name stands there without its object's root, and not only because both went, or came, between the two
/// listings.
fn is_without_root(core: &ReadCore, pin: &Pin) -> Result<bool, StoreError> {
    let now = names::read(&core.folder, core.id, &pin.name)?;
    let root = root::object_path(&core.folder, &pin.cid);
    let root = core.folder.files().metadata_if_there(&root)?;
    Ok(root.is_none() && now.is_some_and(|now| now.cid == pin.cid))
}

/// None for one that went since it was listed, for what a network file system leaves of an unlinked file, and for
/// one that is retired and damaged: it made way for a new one, and keeps nothing unless somebody holds it.
fn read_one(
    core: &ReadCore,
    name: &std::ffi::OsStr,
    path: PathBuf,
) -> Result<Option<Rooted>, StoreError> {
    let text = name.to_str().unwrap_or_default();
    if text.starts_with(".nfs") {
        return Ok(None);
    }
    let Some(name) = RootName::parse(text) else {
        return Err(StoreError::Damaged {
            path,
            what: "name",
            expected: "that of a root".into(),
            found: format!("{name:?}"),
        });
    };
    let files = core.folder.files();
    let Some(file) = files.open_if_there(&path)? else {
        return Ok(None);
    };
    let used = files.modified(&file);
    let used = used.map_err(FileError::at("stat", &path))?;
    let bytes = format::read_sealed(files, &file, &path, ROOT_LIMIT)?;
    let record = match &name {
        RootName::Object(cid) => RootRecord::parse(&bytes, core.id, cid, &path, true)?,
        RootName::Retired(cid) => match RootRecord::parse(&bytes, core.id, cid, &path, true) {
            Err(StoreError::Damaged { .. }) if !retire::is_held(files, &path)? => return Ok(None),
            parsed => parsed?,
        },
        RootName::Loose => RootRecord::parse_any(&bytes, core.id, &path, true)?,
    };
    Ok(Some(rooted(core, name, path, used, record)?))
}

fn rooted(
    core: &ReadCore,
    name: RootName,
    path: PathBuf,
    used: SystemTime,
    record: RootRecord,
) -> Result<Rooted, StoreError> {
    let mut coverage = Coverage::default();
    coverage.add(&record);
    if record.head.kind == ObjectKind::Loose {
        for pack in record.whole_packs() {
            match core.packs.open(pack) {
                Ok(open) if open.is_reference() => {}
                Ok(open) => coverage.add_range(pack, open.payload()),
                // A pack that is announced first may never have come, and one that is damaged is not touched.
                Err(e) => tracing::debug!("{}: {e}", path.display()),
            }
        }
    }
    coverage.retain(|pack| !core.packs.is_reference(pack));
    coverage.normalize();
    Ok(Rooted {
        name,
        path,
        cid: record.head.cid.0,
        title: record.head.name,
        kind: record.head.kind,
        size: record.head.size,
        used,
        coverage,
        packs: record.packs,
    })
}
