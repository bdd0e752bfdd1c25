//! The pin that an add sets.

use super::options::PinAs;
use crate::block::{Cid, canonical};
use crate::store::error::StoreError;
use crate::store::inner::Inner;
use crate::store::names::{self, Pin, PinKind, PreparedPin};
use crate::store::time::now_ms;

/// Refuses a pin's name that cannot be set; without a CID only what can be known before hashing.
pub(crate) fn check_pin(store: &Inner, pin: &PinAs, cid: Option<&Cid>) -> Result<(), StoreError> {
    let PinAs::Named { name, replace } = pin else {
        return Ok(());
    };
    names::check(name, cid)?;
    if *replace {
        return names::read_to_replace(store.folder(), store.id(), name).map(drop);
    }
    match names::read(store.folder(), store.id(), name) {
        Ok(Some(there)) if cid.is_some_and(|cid| there.cid != *cid) => Err(StoreError::NameTaken {
            name: name.clone(),
            cid: there.cid,
        }),
        Err(e @ StoreError::Damaged { .. }) => Err(StoreError::NameDamaged {
            name: name.clone(),
            source: Box::new(e),
        }),
        there => there.map(drop),
    }
}

pub(super) fn pin_name(pin: &PinAs, cid: &Cid) -> Option<String> {
    match pin {
        PinAs::No => None,
        PinAs::Unnamed => Some(canonical(cid).to_string()),
        PinAs::Named { name, .. } => Some(name.clone()),
    }
}

/// Sets or moves a name. One that says so already stays, and a recursive pin is not made a direct one of
/// the same object, which it covers.
pub(crate) fn set_pin(
    store: &Inner,
    name: &str,
    cid: &Cid,
    kind: PinKind,
) -> Result<Pin, StoreError> {
    match prepare_pin(store, name, cid, kind)? {
        SetPin::There(pin) => Ok(pin),
        SetPin::Prepared(prepared, pin) => {
            store.durable(prepared.publish())?;
            Ok(pin)
        }
    }
}

pub(super) enum SetPin {
    There(Pin),
    Prepared(PreparedPin, Pin),
}

/// Writes a name aside, unless it says so already.
pub(super) fn prepare_pin(
    store: &Inner,
    name: &str,
    cid: &Cid,
    kind: PinKind,
) -> Result<SetPin, StoreError> {
    let there = names::read_to_replace(store.folder(), store.id(), name)?;
    let says_so =
        |pin: &Pin| pin.cid == *cid && (pin.kind == kind || pin.kind == PinKind::Recursive);
    if let Some(pin) = there.filter(says_so) {
        return Ok(SetPin::There(pin));
    }
    let pin = Pin {
        name: name.to_owned(),
        cid: *cid,
        kind,
        created_ms: now_ms(),
    };
    let prepared = store.durable(names::prepare(store.folder(), store.id(), &pin))?;
    Ok(SetPin::Prepared(prepared, pin))
}
