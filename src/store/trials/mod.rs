//! Stores on disks that lose power and on disks that fail.
//!
//! [`recorder`] notes what a store does to its files, [`replay`] makes of that the folders that a power cut
//! could leave, [`faults`] lets single operations fail; [`indexes`] does the same for the index, whose files are
//! not among them. [`workload`] is what the store is put to meanwhile, by [`run`]; [`ledger`] keeps what was
//! promised on the way, and [`check`] compares what is left with it. [`events`] lets something else happen
//! between two operations, for [`races`].

mod check;
mod crash;
mod events;
mod failing;
pub(crate) mod faults;
mod going_on;
mod indexes;
mod ledger;
mod races;
mod recorder;
mod repairing;
mod replay;
mod run;
mod workload;

use std::path::Path;

use super::error::StoreError;
use super::folder::StoreFolder;
use super::index::{Index, IndexSlot};
use super::inner::Inner;
use super::read::ReadCore;
use super::{Store, StoreOptions, StoreReader, writer_lock};
use crate::fsio::Files;

/// Opens a store on a disk, with an index that may know something; makes it where there is none, as
/// [`Store::open_or_create`] does.
pub(crate) fn open_over(
    path: &Path,
    files: &Files,
    options: StoreOptions,
    index: Box<dyn Index>,
) -> Result<Store, StoreError> {
    let folder = StoreFolder::on(path, files.clone());
    let made = match folder.is_vacant()? {
        true => Some(folder.create(&options)?),
        false => None,
    };
    let core = ReadCore::on(folder)?;
    let lock = match made {
        Some(lock) => lock,
        None => writer_lock::take(&core.folder, &options)?,
    };
    let slot = |folder: &StoreFolder| IndexSlot::with(index, folder);
    Ok(Store::over(Inner::open_over(core, lock, options, slot)?))
}

/// Opens a store for reading on a disk.
pub(crate) fn open_reader(path: &Path, files: &Files) -> Result<StoreReader, StoreError> {
    let core = ReadCore::on(StoreFolder::on(path, files.clone()))?;
    Ok(StoreReader::from_core(core.into()))
}

/// An empty folder in memory where there is such a file system: what is tried here is tried often.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}
