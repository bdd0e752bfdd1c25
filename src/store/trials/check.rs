//! Whether what is left of a store keeps what the store has promised, and goes on doing so.

use std::path::Path;
use std::sync::Arc;

use super::ledger::Ledger;
use super::run::{Run, collect};
use super::workload::{Pin, Scope, Step};
use crate::block::Block;
use crate::fsio::Files;
use crate::store::folder::StoreFolder;
use crate::store::gone::Why;
use crate::store::index::Index;
use crate::store::inner;
use crate::store::read::ReadCore;
use crate::store::{Store, StoreError, VerifyOptions};

/// Opens what is left of a store on a disk that is well, over an index that may know anything older, and checks
/// that it keeps what it has promised; that it takes in all of `letters`, again or for the first time; and that
/// it collects, and takes them in once more.
pub(super) fn check_what_is_left(
    path: &Path,
    ledger: &Ledger,
    letters: &[&'static str],
    index: Arc<dyn Index>,
) -> Result<(), String> {
    let files = Files::real();
    match super::open_reader(path, files) {
        Ok(reader) => ledger.check_reader(&reader)?,
        Err(StoreError::Absent { .. }) if !ledger.is_made() => {}
        Err(e) => return Err(format!("a reader: {e}")),
    }
    let mut run = Run::over(path, files.clone(), index);
    run.ledger = ledger.clone();
    run.step(Step::Reopen, |_| {}).map_err(|e| e.to_string())?;
    if ledger.has_damage() {
        // What is damaged and not found to be is taken for content.
        verify(&run).map_err(|e| e.to_string())?;
    }
    check(&run).map_err(|e| format!("opened: {e}"))?;
    add_all(&mut run, letters)?;
    // Adding writes again what is on record as damaged.
    run.ledger.is_healed();
    check(&run).map_err(|e| format!("added again: {e}"))?;
    for scope in [Scope::Removed, Scope::Unpinned] {
        collect_twice(&mut run, scope).map_err(|e| format!("collecting {scope:?}: {e}"))?;
        check(&run).map_err(|e| format!("collected {scope:?}: {e}"))?;
    }
    add_all(&mut run, letters)?;
    check(&run).map_err(|e| format!("added again after a collection: {e}"))
}

fn verify(run: &Run) -> Result<(), StoreError> {
    let store = run.store().expect("open since the first step");
    store.verify(&VerifyOptions::default()).map(drop)
}

fn add_all(run: &mut Run, letters: &[&'static str]) -> Result<(), String> {
    for letters in letters {
        let added = run.step(Step::Add(letters, Pin::No), |_| {});
        added.map_err(|e| format!("adding {letters}: {e}"))?;
    }
    Ok(())
}

fn collect_twice(run: &mut Run, scope: Scope) -> Result<(), String> {
    let said = |e: StoreError| e.to_string();
    run.step(Step::Collect(scope), |_| {}).map_err(said)?;
    let store = run.store().expect("open since the first step");
    let again = collect(store, scope).map_err(said)?;
    match again.objects.is_empty() && again.pending.is_empty() && again.freed_bytes == 0 {
        true => Ok(()),
        false => Err(format!("and again: {again:?}")),
    }
}

fn check(run: &Run) -> Result<(), String> {
    let store = run.store().expect("open since the first step");
    run.ledger.check(store)?;
    let said = |e: StoreError| e.to_string();
    let core = ReadCore::on(StoreFolder::new(store.path())).map_err(said)?;
    is_content_or_gone(&core).map_err(said)?;
    roots_rest_on_content(&core, store)
}

/// Every block that is in a pack's table and not in `gone` has its bytes: a hole is never taken for content.
fn is_content_or_gone(core: &ReadCore) -> Result<(), StoreError> {
    let gone = core.gone()?;
    for id in inner::list(&core.folder)? {
        let pack = core.packs.open(id)?;
        // What lies in files of the user's is hashed whenever it is read.
        if pack.is_reference() {
            continue;
        }
        for row in pack.table()?.rows {
            let range = row.offset..row.offset + u64::from(row.len);
            if gone.why(id, &range).is_none() {
                let bytes = pack.read(row.offset, row.len as usize)?;
                Block::verified(row.cid.0, bytes)?;
            }
        }
    }
    Ok(())
}

fn roots_rest_on_content(core: &ReadCore, store: &Store) -> Result<(), String> {
    let said = |e: StoreError| e.to_string();
    let gone = core.gone().map_err(said)?;
    for object in store.objects().map_err(said)? {
        // What lists an object may not see that the places of its nodes are damaged.
        let root = match core.open_root(&object.cid, true) {
            Ok(root) => root.ok_or("an object without a root")?,
            Err(StoreError::Damaged { .. }) => continue,
            Err(e) => return Err(said(e)),
        };
        let on_hole = |(pack, range): &_| gone.why(*pack, range) == Some(Why::Dead);
        if let Some((pack, range)) = root.record.places().find(on_hole) {
            return Err(format!(
                "{} rests on {range:?} of {pack}, which is dead",
                object.cid
            ));
        }
    }
    Ok(())
}
