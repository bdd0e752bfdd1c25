//! Names, roots, and what the roots say, against each other and against the tables of the packs.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::access::{Access, is_lost};
use super::findings::Findings;
use super::proof::Proof;
use super::report::{FindingKind, VerifyOptions};
use super::tables::Tables;
use crate::block::Cid;
use crate::store::collect;
use crate::store::coverage::Coverage;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::gone::Gone;
use crate::store::names::{self, Pin};
use crate::store::root::{ObjectKind, ROOT_LIMIT, RootName, RootRecord, object_path};
use crate::store::target::Target;

/// Checks the structure of a store.
pub(super) struct Structure<'a> {
    pub(super) access: &'a Access<'a>,
    pub(super) options: &'a VerifyOptions,
    pub(super) tables: Tables<'a>,
    /// As it was before any root was read: no root that is read later covers what is dead in it.
    gone: Arc<Gone>,
    pub(super) findings: Findings,
    /// Objects that were followed from their CID down.
    pub(super) objects: u64,
}

impl<'a> Structure<'a> {
    pub(super) fn new(
        access: &'a Access<'a>,
        options: &'a VerifyOptions,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            gone: access.gone()?,
            access,
            options,
            tables: Tables::new(access),
            findings: Findings::default(),
            objects: 0,
        })
    }

    /// Everything in `names/` and `roots/`.
    pub(super) fn everything(&mut self) -> Result<(), StoreError> {
        let pins = self.names()?;
        let folder = self.access.core.folder.roots();
        let mut objects = HashSet::new();
        let mut listed = self.access.core.folder.files().list(&folder)?;
        listed.sort();
        for name in listed {
            if self.options.is_cancelled() {
                return Ok(());
            }
            let path = folder.join(&name);
            match name.to_str().and_then(RootName::parse) {
                Some(RootName::Object(cid)) => {
                    objects.insert(cid);
                    self.object(&cid, &path)?;
                }
                Some(other) => self.kept(&other, &path)?,
                None => self.foreign(&name, &path),
            }
        }
        for pin in pins.iter().filter(|pin| !objects.contains(&pin.cid)) {
            self.has_root(pin)?;
        }
        self.unrooted()
    }

    /// Packs whose roots are lost. While a root or a name cannot be read, which was said, it may be the one.
    fn unrooted(&mut self) -> Result<(), StoreError> {
        let access = self.access;
        let packs = match collect::unrooted_packs(access.core, access.store.map(|store| &**store)) {
            Ok(packs) => packs,
            Err(e) if is_lost(&e) || matches!(e, StoreError::NameWithoutRoot { .. }) => {
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        for pack in packs {
            let path = access.core.folder.packs().join(pack.file_name());
            let expected = "a root that names it".into();
            let found = "none: roots are lost, and `repair` puts them together again".into();
            self.findings
                .differs(FindingKind::UnrootedPack, path, None, expected, found, None);
        }
        Ok(())
    }

    /// What a network file system leaves of an unlinked file is no root; anything else may have been one.
    fn foreign(&mut self, name: &OsStr, path: &Path) {
        if !name.as_encoded_bytes().starts_with(b".nfs") {
            let (expected, found) = ("the name of a root".into(), format!("{name:?}"));
            let kind = FindingKind::Root;
            self.findings
                .differs(kind, path.to_path_buf(), None, expected, found, None);
        }
    }

    fn names(&mut self) -> Result<Vec<Pin>, StoreError> {
        let folder = &self.access.core.folder;
        let mut pins = Vec::new();
        for name in folder.files().list(&folder.names())? {
            let Some(text) = name.to_str() else { continue };
            match names::read(folder, self.access.core.id, text) {
                Ok(pin) => pins.extend(pin),
                Err(e) if is_lost(&e) => {
                    let path = folder.names().join(&name);
                    self.findings.file(FindingKind::Name, &path, &e);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(pins)
    }

    /// A name goes before its root does, so a name that is still there has one.
    fn has_root(&mut self, pin: &Pin) -> Result<(), StoreError> {
        let core = self.access.core;
        let root = object_path(&core.folder, &pin.cid);
        let there = names::read(&core.folder, core.id, &pin.name)?;
        let is_same = there.is_some_and(|there| there.cid == pin.cid);
        let found = core.folder.files().metadata_if_there(&root);
        if is_same && matches!(found, Ok(None)) {
            let path = core.folder.names().join(&pin.name);
            let error = StoreError::NameWithoutRoot {
                name: pin.name.clone(),
                cid: pin.cid,
            };
            self.findings.file(FindingKind::Name, &path, &error);
        }
        Ok(())
    }

    fn object(&mut self, cid: &Cid, path: &Path) -> Result<(), StoreError> {
        // Its lease is held until it was followed.
        let root = match self.access.core.open_root(cid, true) {
            Ok(Some(root)) => root,
            Ok(None) => return Ok(()),
            Err(e) if is_lost(&e) => {
                self.findings.file(FindingKind::Root, path, &e);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        self.follow(&root.record, None)
    }

    fn follow(
        &mut self,
        record: &RootRecord,
        within: Option<(&str, &mut Coverage)>,
    ) -> Result<(), StoreError> {
        let is_cancelled = || self.options.is_cancelled();
        let mut proof = Proof::new(
            self.access,
            &mut self.tables,
            &mut self.findings,
            &self.gone,
            record,
            &is_cancelled,
        );
        if within.as_ref().is_none_or(|(path, _)| path.is_empty()) {
            proof.place_nodes()?;
        }
        let is_file_or_folder = !matches!(record.head.kind, ObjectKind::Block | ObjectKind::Loose);
        match within {
            Some((path, covered)) => {
                if !is_file_or_folder {
                    covered.add(record);
                    return Ok(());
                }
                proof.covering(covered).follow(path)?;
            }
            None if is_file_or_folder => proof.follow("")?,
            None => return Ok(()),
        }
        self.objects += 1;
        Ok(())
    }

    /// A retired root only has to be readable, and a loose one to place its blocks.
    fn kept(&mut self, name: &RootName, path: &Path) -> Result<(), StoreError> {
        let core = self.access.core;
        let read = || -> Result<Option<RootRecord>, StoreError> {
            let files = core.folder.files();
            let Some(file) = files.open_if_there(path)? else {
                return Ok(None);
            };
            let bytes = format::read_sealed(files, &file, path, ROOT_LIMIT)?;
            match name {
                RootName::Retired(cid) => RootRecord::parse(&bytes, core.id, cid, path, true),
                _ => RootRecord::parse_any(&bytes, core.id, path, true),
            }
            .map(Some)
        };
        match read() {
            Ok(Some(record)) if *name == RootName::Loose => self.follow(&record, None),
            Ok(_) => Ok(()),
            Err(e) if is_lost(&e) => {
                self.findings.file(FindingKind::Root, path, &e);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Follows targets, and says what they cover.
    pub(super) fn targets(&mut self, targets: &[Target]) -> Result<Coverage, StoreError> {
        let mut covered = Coverage::default();
        for target in targets {
            let object = match self.access.resolve(target) {
                Ok(object) => object,
                Err(StoreError::Damaged {
                    path,
                    what,
                    expected,
                    found,
                }) => {
                    let error = StoreError::Damaged {
                        path: path.clone(),
                        what,
                        expected,
                        found,
                    };
                    self.findings.file(FindingKind::Root, &path, &error);
                    continue;
                }
                Err(e) => return Err(e),
            };
            let record = object.record_with_nodes()?;
            self.follow(&record, Some((object.path(), &mut covered)))?;
        }
        covered.normalize();
        Ok(covered)
    }
}
