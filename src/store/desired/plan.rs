//! What has to be done so that a store has the pins that a file lists: a pure function of the file, the pins and
//! what was found of each entry.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::{DesiredPin, DesiredPins};
use crate::block::{Cid, canonical};
use crate::store::error::StoreError;
use crate::store::ingest::AddProgress;
use crate::store::names::{Pin, PinKind};

/// How [`Store::plan_pins`](crate::Store::plan_pins) and [`Store::apply_pins`](crate::Store::apply_pins) work.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct PinSyncOptions {
    /// Remove every pin that the file does not list, those that are named by their CID among them. The objects stay,
    /// unpinned. It is done last, and not at all if an entry could not be met.
    pub prune: bool,
    /// Hash paths for the plan already, so that it says which CIDs they have; otherwise they are read once, when they
    /// are added.
    pub hash_paths: bool,
    /// Checked as it goes; once set, the entries that are left fail.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told from time to time how far the reading of a path is.
    pub progress: Option<Arc<PinSyncProgress>>,
}

/// Told the name of an entry, and how far the reading of its path is.
pub type PinSyncProgress = dyn Fn(&str, AddProgress) + Send + Sync;

impl PinSyncOptions {
    pub(super) fn check_cancel(&self) -> Result<(), StoreError> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(StoreError::Cancelled),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for PinSyncOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinSyncOptions")
            .field("prune", &self.prune)
            .field("hash_paths", &self.hash_paths)
            .finish_non_exhaustive()
    }
}

/// What is done about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinAction {
    /// A file or folder is added, and pinned. Of a plan that has not hashed it, it may turn out to be there.
    Add,
    /// An object that is there is pinned under a name that is free.
    Pin,
    /// The name moves to another object that is there; the one it pointed to stays, without this pin.
    Move,
    /// All is as it should be.
    Keep,
    /// The pin is not in the file, and is removed.
    Unpin,
    /// The entry could not be met. Of a plan that has not hashed paths, it may be met by what another entry adds.
    Failed,
}

impl PinAction {
    /// `add`, `pin`, `move`, `keep`, `unpin` or `failed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Pin => "pin",
            Self::Move => "move",
            Self::Keep => "keep",
            Self::Unpin => "unpin",
            Self::Failed => "failed",
        }
    }
}

/// What is done, or was, about one name.
#[derive(Debug)]
#[non_exhaustive]
pub struct PinChange {
    /// The pin's name.
    pub name: String,
    /// What is done about it.
    pub action: PinAction,
    /// What it points to then, as far as that is known.
    pub cid: Option<Cid>,
    /// What it pointed to before, if that was something else.
    pub was: Option<Cid>,
    /// Why the entry could not be met.
    pub error: Option<StoreError>,
}

/// What has to be done, in its order.
#[derive(Debug)]
pub struct PinPlan {
    /// About the entries of the file, and then about the pins that are removed if all of them are met.
    pub(super) steps: Vec<Step>,
    /// Pins that the file does not list.
    pub(super) unlisted: u64,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) change: PinChange,
    /// What the file says; none of a pin that is to be removed.
    pub(super) entry: Option<DesiredPin>,
    /// What the name is before.
    pub(super) pin: Option<Pin>,
}

impl PinPlan {
    /// What is to be done about each entry of the file, and then about the pins that are removed.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = &PinChange> {
        let is_entry = |step: &&Step| step.entry.is_some();
        let has_failed = |step: &Step| step.change.action == PinAction::Failed;
        let count = match self.steps.iter().any(has_failed) {
            true => self.steps.iter().take_while(is_entry).count(),
            false => self.steps.len(),
        };
        self.steps[..count].iter().map(|step| &step.change)
    }

    /// How many pins the file does not list, and stay: all of them without `prune`, or when an entry fails.
    pub fn unlisted(&self) -> u64 {
        let unpinned = self.changes().filter(|c| c.action == PinAction::Unpin);
        self.unlisted - unpinned.count() as u64
    }
}

/// What [`Store::apply_pins`](crate::Store::apply_pins) did.
#[derive(Debug)]
#[non_exhaustive]
pub struct PinSyncReport {
    /// What was done about each entry of the file, and then about the pins that were removed.
    pub changes: Vec<PinChange>,
    /// How many pins the file does not list, and are still there.
    pub unlisted: u64,
}

impl PinSyncReport {
    /// Whether every entry of the file was met.
    pub fn is_complete(&self) -> bool {
        self.count(PinAction::Failed) == 0
    }

    /// How many names had that done about them.
    pub fn count(&self, action: PinAction) -> u64 {
        let changes = self.changes.iter();
        changes.filter(|change| change.action == action).count() as u64
    }
}

/// What the store has of an entry.
pub(super) enum Found {
    /// The object.
    There(Cid),
    /// It has to be added; its CID is known if the file says it, or it was hashed.
    Missing(Option<Cid>),
    Failed(StoreError),
}

/// Compares the file with the pins; `found` has what the store has of each entry.
pub(super) fn plan(desired: &DesiredPins, found: Vec<Found>, pins: &[Pin], prune: bool) -> PinPlan {
    let by_name: HashMap<&str, &Pin> = pins.iter().map(|pin| (&*pin.name, pin)).collect();
    let mut steps: Vec<Step> = desired
        .entries
        .iter()
        .zip(found)
        .map(|(entry, found)| {
            let pin = by_name.get(&*entry.name).copied();
            Step {
                change: change(&entry.name, found, pin),
                entry: Some(entry.clone()),
                pin: pin.cloned(),
            }
        })
        .collect();
    let listed: HashSet<&str> = desired.entries.iter().map(|entry| &*entry.name).collect();
    let unlisted: Vec<&Pin> = pins
        .iter()
        .filter(|pin| !listed.contains(&*pin.name))
        .collect();
    let count = unlisted.len() as u64;
    if prune {
        let unpin = |pin: &Pin| Step {
            change: PinChange {
                name: pin.name.clone(),
                action: PinAction::Unpin,
                cid: None,
                was: Some(pin.cid),
                error: None,
            },
            entry: None,
            pin: Some(pin.clone()),
        };
        steps.extend(unlisted.into_iter().map(unpin));
    }
    PinPlan {
        steps,
        unlisted: count,
    }
}

/// What has to be done about a name, which is a pin now or none.
pub(super) fn change(name: &str, found: Found, pin: Option<&Pin>) -> PinChange {
    let points_to = |cid: &Cid| {
        pin.is_some_and(|pin| pin.cid == canonical(cid) && pin.kind == PinKind::Recursive)
    };
    let (action, cid, error) = match found {
        Found::Failed(e) => (PinAction::Failed, None, Some(e)),
        Found::Missing(cid) => (PinAction::Add, cid, None),
        Found::There(cid) if points_to(&cid) => (PinAction::Keep, Some(cid), None),
        Found::There(cid) => match pin {
            Some(pin) if pin.cid != canonical(&cid) => (PinAction::Move, Some(cid), None),
            _ => (PinAction::Pin, Some(cid), None),
        },
    };
    let was = pin.map(|pin| pin.cid);
    PinChange {
        name: name.to_owned(),
        action,
        was: was.filter(|was| cid.is_none_or(|cid| canonical(&cid) != *was)),
        cid,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::desired::entry::{DesiredPath, DesiredSource};

    fn cid(content: &[u8]) -> Cid {
        crate::dag::leaf(content, &crate::dag::Profile::default()).cid
    }

    fn pin(name: &str, content: &[u8], kind: PinKind) -> Pin {
        let cid = cid(content);
        Pin {
            name: name.into(),
            cid,
            kind,
            created_ms: 0,
        }
    }

    fn desired(names: &[&str]) -> DesiredPins {
        let entry = |name: &&str| DesiredPin {
            name: name.to_string(),
            source: DesiredSource::Path(DesiredPath::default()),
        };
        DesiredPins {
            entries: names.iter().map(entry).collect(),
        }
    }

    type Said = (String, PinAction, Option<Cid>, Option<Cid>);

    fn said(plan: &PinPlan) -> Vec<Said> {
        let said = |c: &PinChange| (c.name.clone(), c.action, c.cid, c.was);
        plan.changes().map(said).collect()
    }

    fn failed() -> Found {
        Found::Failed(StoreError::Cancelled)
    }

    #[test]
    fn each_entry_gets_what_it_lacks() {
        let (a, b) = (cid(b"a"), cid(b"b"));
        let pins = [
            pin("moves", b"b", PinKind::Recursive),
            pin("stays", b"a", PinKind::Recursive),
            pin("direct", b"a", PinKind::Direct),
            pin("unread", b"b", PinKind::Recursive),
        ];
        let names = ["new", "moves", "stays", "direct", "unread", "known", "bad"];
        let found = vec![
            Found::There(a),
            Found::There(a),
            Found::There(a),
            Found::There(a),
            Found::Missing(None),
            Found::Missing(Some(a)),
            failed(),
        ];
        let plan = plan(&desired(&names), found, &pins, false);
        let expected = [
            ("new", PinAction::Pin, Some(a), None),
            ("moves", PinAction::Move, Some(a), Some(b)),
            ("stays", PinAction::Keep, Some(a), None),
            ("direct", PinAction::Pin, Some(a), None),
            ("unread", PinAction::Add, None, Some(b)),
            ("known", PinAction::Add, Some(a), None),
            ("bad", PinAction::Failed, None, None),
        ];
        let expected = expected.map(|(name, action, cid, was)| (name.to_owned(), action, cid, was));
        assert_eq!(said(&plan), expected);
        assert_eq!(plan.unlisted(), 0);
    }

    #[test]
    fn what_is_not_listed_goes_last_and_only_if_asked_and_if_nothing_fails() {
        let (a, b) = (cid(b"a"), cid(b"b"));
        let unnamed = a.to_string();
        let pins = [
            pin("listed", b"a", PinKind::Recursive),
            pin("other", b"b", PinKind::Direct),
            pin(&unnamed, b"a", PinKind::Recursive),
        ];
        let of = |found, prune| plan(&desired(&["listed"]), vec![found], &pins, prune);
        let kept = ("listed".to_owned(), PinAction::Keep, Some(a), None);

        let plan = of(Found::There(a), false);
        assert_eq!((said(&plan), plan.unlisted()), (vec![kept.clone()], 2));

        let plan = of(Found::There(a), true);
        let unpins = [
            ("other".to_owned(), PinAction::Unpin, None, Some(b)),
            (unnamed, PinAction::Unpin, None, Some(a)),
        ];
        let expected: Vec<Said> = [kept].into_iter().chain(unpins).collect();
        assert_eq!((said(&plan), plan.unlisted()), (expected, 0));

        let plan = of(failed(), true);
        assert_eq!((plan.changes().len(), plan.unlisted()), (1, 2));
    }
}
