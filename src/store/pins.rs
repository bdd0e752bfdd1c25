//! Setting and removing pins.

use std::sync::Arc;

use super::assemble::{HeldBlocks, assemble, single_block};
use super::error::StoreError;
use super::ingest::{PinAs, check_pin, publish_root, set_pin, sync_folder};
use super::inner::Inner;
use super::lookup::resolve;
use super::names::{self, Pin, PinKind};
use super::root::{ObjectKind, RootRecord};
use super::target::{Head, Target};
use crate::block::canonical;

/// How [`Store::pin`](crate::Store::pin) pins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinOptions {
    /// The pin's name; without one it is named by the CID.
    pub name: Option<String>,
    /// How far it reaches.
    pub kind: PinKind,
    /// Move a name that points elsewhere.
    pub replace: bool,
}

impl Default for PinOptions {
    fn default() -> Self {
        Self {
            name: None,
            kind: PinKind::Recursive,
            replace: false,
        }
    }
}

impl PinOptions {
    /// A recursive pin under a name that must be free.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }
}

pub(crate) fn pin(
    store: &Arc<Inner>,
    target: &Target,
    options: &PinOptions,
) -> Result<Pin, StoreError> {
    let cid = match options.kind {
        PinKind::Direct if target.path().is_empty() => store.core.cid_of(target)?,
        _ => resolve(store, target)?.cid(),
    };
    let cid = canonical(&cid);
    let name = options.name.clone().unwrap_or_else(|| cid.to_string());
    let wanted = PinAs::Named {
        name: name.clone(),
        replace: options.replace,
    };
    check_pin(store, &wanted, Some(&cid))?;
    let holder = store.registry.holder();
    // A pin stands for a root, so what is inside another object gets one of its own first. It is put
    // together before the guard is taken: a large one takes its time.
    let blocks = HeldBlocks {
        store,
        holder: &holder,
    };
    let missing = || -> Result<Option<RootRecord>, StoreError> {
        let there = store.core.open_root(&cid, false)?;
        let kind = there.map(|root| root.record.head.kind);
        Ok(match (options.kind, kind) {
            (PinKind::Recursive, None | Some(ObjectKind::Block)) => Some(assemble(&blocks, &cid)?),
            (PinKind::Direct, None) => Some(single_block(&blocks, &cid)?),
            _ => None,
        })
    };
    let record = missing()?;
    let guard = store.commit_guard()?;
    check_pin(store, &wanted, Some(&cid))?;
    // An object that was removed meanwhile is put together now.
    let record = match record {
        None => missing()?,
        made => made,
    };
    if let Some(record) = record {
        publish_root(store, &record)?;
    }
    let pin = set_pin(store, &name, &cid, options.kind)?;
    drop(guard);
    Ok(pin)
}

pub(crate) fn unpin(store: &Inner, target: &Target) -> Result<Pin, StoreError> {
    let not_pinned = || StoreError::NotPinned {
        target: target.to_string(),
    };
    if !target.path().is_empty() {
        return Err(not_pinned());
    }
    let guard = store.commit_guard()?;
    let pin = match target.head() {
        Head::Name(name) => {
            let pin = names::read(store.folder(), store.id(), name)?;
            pin.ok_or_else(not_pinned)?
        }
        Head::Cid(cid) => {
            let mut pins = store.core.pins()?;
            pins.retain(|pin| pin.cid == *cid);
            let own = pins.iter().position(|pin| pin.name == cid.to_string());
            match (own, pins.len()) {
                (_, 0) => return Err(not_pinned()),
                (Some(own), _) => pins.swap_remove(own),
                (None, 1) => pins.swap_remove(0),
                (None, _) => {
                    let names = pins.into_iter().map(|pin| pin.name).collect();
                    return Err(StoreError::ManyPins { cid: *cid, names });
                }
            }
        }
    };
    names::unlink(store.folder(), &pin.name)?;
    sync_folder(store, &store.folder().names())?;
    drop(guard);
    Ok(pin)
}
