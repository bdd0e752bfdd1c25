//! Carrying a plan out.

use std::fs::File;
use std::path::Path;

use super::finding::RepairFinding;
use super::plan::plan;
use super::salvage::Rebuilt;
use super::steps::{NameStep, PackStep, RootStep, Seen};
use super::{Defect, Remedy, RepairPlan, RepairReport, index};
use crate::error::FileError;
use crate::fsio::{self, Files, Unfit};
use crate::store::error::StoreError;
use crate::store::folder::StoreFolder;
use crate::store::index::clear;
use crate::store::inner::Inner;
use crate::store::names;
use crate::store::options::StoreOptions;
use crate::store::read::ReadCore;
use crate::store::reserve::with_space;
use crate::store::root::{self, RootName};
use crate::store::writer_lock;

/// Carries a plan out, under the writer's lock, and opens the store to see that it does. A store that changed since
/// the plan was made is looked at anew, and what is found then is what is done.
///
/// On a full disk what it writes takes the space that the store has set aside. Cut off at any moment and begun again it
/// comes to the same end. A load that opens a damaged pack in the moment in which its header is written may still be
/// told that it is damaged.
///
/// ```
/// use ipfs_accelerate::{AddOptions, RepairOptions, Store, StoreReader, apply_repair, plan_repair};
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("store");
/// let store = Store::create(&path)?;
/// let added = store.add_reader(&b"weights"[..], &AddOptions::default().named("model"))?;
/// drop(store);
/// std::fs::remove_dir_all(path.join("roots"))?;
///
/// let plan = plan_repair(&path, &RepairOptions::default())?;
/// assert_eq!(plan.left(), 0);
/// apply_repair(&plan)?;
/// assert_eq!(StoreReader::open(&path)?.read(&"model".parse()?)?, b"weights");
/// assert!(plan_repair(&path, &RepairOptions::default())?.findings.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`StoreError::Locked`] while another process has the store open for writing, [`StoreError::File`] when the disk
/// refuses, and those of [`plan_repair`](super::plan_repair). Nothing is lost by an error; what was done by then
/// stays done.
pub fn apply_repair(made: &RepairPlan) -> Result<RepairReport, StoreError> {
    apply_on(&StoreFolder::new(&made.path), made)
}

/// As [`apply_repair`], on the disk that the plan was made on.
pub(crate) fn apply_on(
    folder: &StoreFolder,
    made: &RepairPlan,
) -> Result<RepairReport, StoreError> {
    let options = StoreOptions {
        lock_timeout: made.options.lock_timeout,
        cancel: made.options.cancel.clone(),
        ..StoreOptions::default()
    };
    let lock = writer_lock::take(folder, &options)?;
    if made.seen == Seen::of(folder)? {
        return carry_out(folder, made, lock);
    }
    let anew = plan(folder, &made.options)?;
    carry_out(folder, &anew, lock)
}

fn carry_out(
    folder: &StoreFolder,
    plan: &RepairPlan,
    lock: fsio::Locked,
) -> Result<RepairReport, StoreError> {
    let mut report = plan.report();
    let (files, steps) = (folder.files(), &plan.steps);
    for path in &steps.folders {
        with_space(folder, || Ok(files.make_dir(path)?))?;
    }
    if !steps.folders.is_empty() {
        files.sync_dir(folder.path())?;
    }
    folder.refuse_others()?;
    folder.empty_tmp()?;
    if let Some(bytes) = &steps.format {
        with_space(folder, || folder.publish(&folder.format(), bytes))?;
    }
    // Before the packs, so that a block that is lost is recorded before anything is written where it was.
    if let Some(gone) = &steps.gone {
        let bytes = gone.to_bytes(steps.id);
        with_space(folder, || folder.publish(&folder.gone(), &bytes))?;
    }
    for step in &steps.packs {
        mend_pack(folder, step)?;
    }
    for step in steps.remains_first.iter().chain(&steps.roots) {
        publish_root(folder, plan, step)?;
    }
    for step in &steps.names {
        mend_name(folder, plan, step)?;
    }
    for path in &steps.retired {
        remove_retired(folder, path, &mut report.findings)?;
    }
    if let Some(step) = &steps.remains_last {
        publish_root(folder, plan, step)?;
    }
    for path in &steps.used_up {
        files.remove_file(path)?;
    }
    for path in [folder.packs(), folder.roots(), folder.names()] {
        files.sync_dir(&path)?;
    }
    let mut is_bad = steps.index;
    if !is_bad && let Some(finding) = index::compare(folder, steps.id)? {
        report.findings.push(finding);
        is_bad = true;
    }
    if is_bad {
        clear(files, &folder.db())?;
    }
    // The index is filled by this.
    let core = ReadCore::on(folder.clone())?;
    drop(Inner::open(core, lock, StoreOptions::default())?);
    Ok(report)
}

fn mend_pack(folder: &StoreFolder, step: &PackStep) -> Result<(), StoreError> {
    let files = folder.files();
    match step {
        PackStep::Rename { from, to } => {
            with_space(folder, || Ok(files.rename_new(from, to)?))?;
            files.sync_dir(&folder.packs())?;
        }
        PackStep::Cut { path, len } => {
            let file = files.open_sealed(path)?;
            files.set_len(&file, *len, path)?;
            files.sync_file(&file, path)?;
        }
        PackStep::Rebuild { path, rebuilt } => {
            with_space(folder, || rebuild(folder, path, rebuilt))?
        }
    }
    Ok(())
}

/// The table goes behind everything that is there, and is durable before the header speaks of it: cut off in
/// between, the pack is as it was, and longer.
fn rebuild(folder: &StoreFolder, path: &Path, rebuilt: &Rebuilt) -> Result<(), StoreError> {
    let files = folder.files();
    let file = files.open_sealed(path)?;
    let header = &rebuilt.header;
    if let Some(table) = &rebuilt.table {
        let before = files.file_metadata(&file, path)?.len();
        let written = files
            .write_all_at(&file, table, header.table_offset, path)
            .and_then(|()| files.set_len(&file, header.file_len, path))
            .and_then(|()| files.sync_file(&file, path));
        if let Err(e) = written {
            // On a full disk, what was taken of it is given back.
            let _ = files.set_len(&file, before, path);
            return Err(e.into());
        }
    }
    files.write_all_at(&file, &header.to_bytes(), 0, path)?;
    Ok(files.sync_file(&file, path)?)
}

fn publish_root(
    folder: &StoreFolder,
    plan: &RepairPlan,
    step: &RootStep,
) -> Result<(), StoreError> {
    let files = folder.files();
    let there = old(files, &step.path)?;
    // Who reads by the old one keeps it. One that is damaged would only stop the next collection.
    let is_held = match there {
        Old::Nothing | Old::NoFile => false,
        Old::File(_) if step.keeps_old => true,
        Old::File(file) => {
            let locked = fsio::try_lock_exclusive(file);
            locked.map_err(FileError::at("lock", &step.path))?.is_err()
        }
    };
    let name = step.path.file_name().and_then(|name| name.to_str());
    if let Some(RootName::Object(cid)) = name.and_then(RootName::parse).filter(|_| is_held) {
        let retired = root::retired_path(folder, &cid)?;
        with_space(folder, || Ok(files.link(&step.path, &retired)?))?;
    }
    let bytes = step.record.to_bytes(plan.steps.id);
    with_space(folder, || folder.publish(&step.path, &bytes))
}

fn mend_name(folder: &StoreFolder, plan: &RepairPlan, step: &NameStep) -> Result<(), StoreError> {
    match step {
        NameStep::Set(pin) => with_space(folder, || {
            names::prepare(folder, plan.steps.id, pin)?.publish()
        }),
        NameStep::Drop(name) => names::unlink(folder, name),
    }
}

/// What stands where a root is to be published or removed.
enum Old {
    Nothing,
    File(File),
    /// A pipe, a socket or a device, which nobody reads by.
    NoFile,
}

fn old(files: &Files, path: &Path) -> Result<Old, FileError> {
    match files.open_if_there(path) {
        Err(e) if Unfit::of(&e.source).is_some() => Ok(Old::NoFile),
        there => Ok(there?.map_or(Old::Nothing, Old::File)),
    }
}

/// Removes a damaged root of a removed object, unless somebody reads by it.
fn remove_retired(
    folder: &StoreFolder,
    path: &Path,
    findings: &mut [RepairFinding],
) -> Result<(), StoreError> {
    let files = folder.files();
    let file = match old(files, path)? {
        Old::File(file) => file,
        Old::Nothing => return Ok(()),
        Old::NoFile => return Ok(files.remove_file(path)?),
    };
    match fsio::try_lock_exclusive(file).map_err(FileError::at("lock", path))? {
        Ok(locked) => {
            files.remove_file(path)?;
            drop(locked);
        }
        Err(_) => {
            let of_it = |f: &&mut RepairFinding| f.defect == Defect::RetiredRoot && f.path == path;
            if let Some(finding) = findings.iter_mut().find(of_it) {
                finding.remedy = Remedy::Left;
                finding.advice = Some("somebody reads by it; it goes when that has ended");
            }
        }
    }
    Ok(())
}
