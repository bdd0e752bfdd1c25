//! Which objects of the source are to be copied, and which pins come with them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::error::{SyncError, SyncObjectError};
use super::options::SyncOptions;
use super::source::{name_at, unreadable};
use crate::block::{Cid, canonical};
use crate::store::error::StoreError;
use crate::store::names::{self, Pin, PinKind};
use crate::store::read::{EntryType, Object, ReadCore};
use crate::store::root;
use crate::store::target::{Head, Target};

/// An object that is to be here.
#[derive(Debug)]
pub(super) struct Wanted {
    /// As the source names it: of the same version.
    pub(super) cid: Cid,
    /// The published object that it was found in, and where.
    pub(super) published: Cid,
    pub(super) path: String,
    pub(super) name: String,
    /// None for a root that cannot be read.
    pub(super) kind: Option<EntryType>,
    pub(super) size: u64,
    pub(super) pins: Vec<(String, PinKind)>,
    /// The caller named it, so it may not be gone.
    pub(super) is_named: bool,
    pub(super) fault: Option<SyncObjectError>,
}

/// The objects, each once, in the order in which they were found.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) wanted: VecDeque<Wanted>,
    numbers: HashMap<Cid, usize>,
}

impl Selection {
    pub(super) fn of(core: &Arc<ReadCore>, options: &SyncOptions) -> Result<Self, SyncError> {
        let mut selection = Self::default();
        match options.targets.is_empty() {
            true => selection.take_all(core, options)?,
            false => {
                for target in &options.targets {
                    selection.take_target(core, target, options)?;
                }
            }
        }
        Ok(selection)
    }

    /// Every published object, and then every pin as it is: one may have been set or moved meanwhile.
    fn take_all(&mut self, core: &Arc<ReadCore>, options: &SyncOptions) -> Result<(), SyncError> {
        for cid in root::published(&core.folder)? {
            if let Some(wanted) = published(core, cid) {
                self.add(wanted);
            }
        }
        if options.no_pins {
            return Ok(());
        }
        for pin in core.pins()? {
            match current(core, &pin.name)? {
                Current::There(pin) => {
                    if let Some(mut wanted) = published(core, pin.cid) {
                        wanted.pins.push((pin.name, pin.kind));
                        self.add(wanted);
                    }
                }
                Current::Dangling(pin) => self.add(dangling(core, pin)),
                Current::Gone => {}
            }
        }
        Ok(())
    }

    fn take_target(
        &mut self,
        core: &Arc<ReadCore>,
        target: &Target,
        options: &SyncOptions,
    ) -> Result<(), SyncError> {
        let named = match target.head() {
            Head::Name(name) if target.path().is_empty() => current(core, name)?,
            _ => Current::Gone,
        };
        let mut wanted = match named {
            Current::There(pin) => {
                let wanted = published(core, pin.cid);
                let mut wanted = wanted.ok_or_else(|| core.not_published(&pin.cid))?;
                wanted.pins.push((pin.name, pin.kind));
                wanted
            }
            // A name that is not there, or points nowhere, is an error here.
            _ => {
                let object = core.resolve(target)?;
                let kind = match object.kind() {
                    EntryType::Block => PinKind::Direct,
                    _ => PinKind::Recursive,
                };
                let mut wanted = inside(&object);
                wanted.pins.push((canonical(&wanted.cid).to_string(), kind));
                wanted
            }
        };
        if options.no_pins {
            wanted.pins.clear();
        }
        wanted.is_named = true;
        self.add(wanted);
        Ok(())
    }

    /// Adds an object, or what is new of one that is there.
    fn add(&mut self, wanted: Wanted) {
        let next = self.wanted.len();
        let number = *self.numbers.entry(canonical(&wanted.cid)).or_insert(next);
        let Some(there) = self.wanted.get_mut(number) else {
            return self.wanted.push_back(wanted);
        };
        for pin in wanted.pins {
            if !there.pins.contains(&pin) {
                there.pins.push(pin);
            }
        }
    }
}

/// What the pins of an object that was removed meanwhile point to now.
pub(super) fn moved_on(core: &Arc<ReadCore>, gone: &Wanted) -> Result<Vec<Wanted>, SyncError> {
    let mut found = Vec::new();
    for (name, _) in &gone.pins {
        if let Current::There(pin) = current(core, name)?
            && pin.cid != canonical(&gone.cid)
            && let Some(mut wanted) = published(core, pin.cid)
        {
            wanted.pins.push((pin.name, pin.kind));
            wanted.is_named = gone.is_named;
            found.push(wanted);
        }
    }
    Ok(found)
}

enum Current {
    There(Pin),
    /// It points to an object that is not there.
    Dangling(Pin),
    Gone,
}

/// A pin whose object is there. One whose object went may have moved to another one.
fn current(core: &ReadCore, name: &str) -> Result<Current, StoreError> {
    let read = || names::read(&core.folder, core.id, name);
    let mut pin = read()?;
    loop {
        let Some(there) = pin else {
            return Ok(Current::Gone);
        };
        if root::object_path(&core.folder, &there.cid).exists() {
            return Ok(Current::There(there));
        }
        let again = read()?;
        if again.as_ref() == Some(&there) {
            return Ok(Current::Dangling(there));
        }
        pin = again;
    }
}

/// A published object as a whole; none if it is not there any more.
fn published(core: &Arc<ReadCore>, cid: Cid) -> Option<Wanted> {
    match core.open_root(&cid, false) {
        Ok(None) => None,
        Ok(Some(root)) => Some(inside(&Object::new(Arc::clone(core), root, String::new()))),
        Err(e) => Some(unreadable_root(cid, e)),
    }
}

fn dangling(core: &ReadCore, pin: Pin) -> Wanted {
    let mut wanted = unreadable_root(pin.cid, core.not_published(&pin.cid));
    wanted.pins.push((pin.name, pin.kind));
    wanted
}

fn unreadable_root(cid: Cid, e: StoreError) -> Wanted {
    Wanted {
        cid,
        published: cid,
        path: String::new(),
        name: String::new(),
        kind: None,
        size: 0,
        pins: Vec::new(),
        is_named: false,
        fault: Some(unreadable(&cid, e)),
    }
}

fn inside(object: &Object) -> Wanted {
    Wanted {
        cid: object.cid(),
        published: object.object_cid(),
        path: object.path().to_owned(),
        name: name_at(object.path(), &object.record().head.name).to_owned(),
        kind: Some(object.kind()),
        size: object.size(),
        pins: Vec::new(),
        is_named: false,
        fault: None,
    }
}
