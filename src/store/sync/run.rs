//! One object after the other.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::copy::copy;
use super::count::{Counted, count};
use super::error::{Stop, SyncError, SyncObjectError};
use super::options::{SyncOptions, SyncProgress};
use super::pins::bring;
use super::report::{SyncCounts, SyncReport, SyncState, SyncedObject};
use super::selection::{Selection, Wanted, moved_on};
use super::source::SourceObject;
use crate::block::canonical;
use crate::error::FileError;
use crate::store::error::StoreError;
use crate::store::ingest::{BlockWriter, is_whole, refers};
use crate::store::inner::Inner;
use crate::store::quota;
use crate::store::read::{EntryType, ReadCore, StoreReader};
use crate::store::root::{LeasedRoot, ObjectKind};
use crate::store::spare::Spared;

/// Names of a source in use may move faster than their objects are copied.
const MOST_FOLLOWED: usize = 1_024;

pub(crate) fn sync_from(
    store: &Inner,
    source: &StoreReader,
    options: &SyncOptions,
) -> Result<SyncReport, SyncError> {
    if is_same_folder(store.folder().path(), source.path())? {
        let path = source.path().to_path_buf();
        return Err(SyncError::SameStore { path });
    }
    let core = source.core();
    let Selection { mut wanted, .. } = Selection::of(core, options)?;
    let mut run = Run {
        store,
        core,
        options,
        spared: Spared::new(&store.spares),
        counted: Counted::default(),
        report: SyncReport::default(),
        progress: SyncProgress::default(),
    };
    run.expect(wanted.make_contiguous());
    let mut followed = 0;
    while let Some(next) = wanted.pop_front() {
        let Some(gone) = run.object(next)? else {
            continue;
        };
        let moved = match followed < MOST_FOLLOWED {
            true => moved_on(core, &gone)?,
            false => Vec::new(),
        };
        followed += moved.len();
        if moved.is_empty() && gone.is_named {
            let object = Box::new(gone.cid);
            run.failed(gone, SyncObjectError::Removed { object });
        }
        run.expect(&moved);
        wanted.extend(moved);
    }
    Ok(run.report)
}

/// Sees to it that what an object lacks here would find room under the quota; what relies on the rest of it.
fn foreseen<'s>(store: &'s Inner, source: &SourceObject) -> Result<Option<BlockWriter<'s>>, Stop> {
    if store.quota.is_none() {
        return Ok(None);
    }
    let mut writer = BlockWriter::new(store)?;
    let mut counted = Counted::default();
    let counts = count(&mut writer, source, &mut counted, &mut |_, _| Ok(()))?;
    quota::foresee(store, counts.new_bytes)?;
    Ok(Some(writer))
}

/// A store that is bound to another path has the same folder; a copy of it has not, though it has the same id.
fn is_same_folder(a: &Path, b: &Path) -> Result<bool, StoreError> {
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(FileError::at("stat", path))?;
        Ok::<_, StoreError>((metadata.dev(), metadata.ino()))
    };
    Ok(of(a)? == of(b)?)
}

struct Run<'r> {
    store: &'r Inner,
    core: &'r Arc<ReadCore>,
    options: &'r SyncOptions,
    /// What was brought makes no way for what is brought after it.
    spared: Spared,
    counted: Counted,
    report: SyncReport,
    progress: SyncProgress,
}

impl Run<'_> {
    /// Copies one object and sets its pins. Gives back one that was removed from the source meanwhile.
    fn object(&mut self, mut wanted: Wanted) -> Result<Option<Wanted>, SyncError> {
        self.options.check_cancel(self.report.copied())?;
        self.spared.add(&wanted.cid);
        let (done, new) = (self.progress.done_bytes, self.progress.new_bytes);
        let outcome = match wanted.fault.take() {
            Some(fault) => Err(fault.into()),
            None => self.bytes_of(&wanted, done, new),
        };
        self.progress.done_objects += 1;
        self.progress.done_bytes = done.saturating_add(wanted.size);
        let (state, counts) = match outcome {
            Ok(Some(copied)) => copied,
            Ok(None) => return Ok(Some(wanted)),
            Err(Stop::Object(fault)) => {
                self.failed(wanted, fault);
                return Ok(None);
            }
            Err(Stop::All(e)) => return Err(e),
        };
        self.progress.new_bytes = new + counts.new_bytes;
        let cid = canonical(&wanted.cid);
        let pins = bring(self.store, &cid, &wanted.pins, self.options)?;
        self.report.objects.push(SyncedObject {
            cid: wanted.cid,
            name: wanted.name,
            kind: wanted.kind,
            size: wanted.size,
            state,
            counts,
            pins,
        });
        self.tell();
        Ok(None)
    }

    fn failed(&mut self, wanted: Wanted, fault: SyncObjectError) {
        self.report.objects.push(SyncedObject {
            cid: wanted.cid,
            name: wanted.name,
            kind: wanted.kind,
            size: wanted.size,
            state: SyncState::Failed(fault),
            counts: SyncCounts::default(),
            pins: Vec::new(),
        });
        self.tell();
    }

    /// So much is to be looked at.
    fn expect(&mut self, wanted: &[Wanted]) {
        let at = &mut self.progress;
        for wanted in wanted {
            at.total_objects += 1;
            at.total_bytes = at.total_bytes.saturating_add(wanted.size);
        }
    }

    /// Sees to it that an object is here; none if it is not in the source any more.
    fn bytes_of(
        &mut self,
        wanted: &Wanted,
        done: u64,
        new: u64,
    ) -> Result<Option<(SyncState, SyncCounts)>, Stop> {
        if let Some(there) = self.whole(wanted)? {
            if !self.options.dry_run {
                there.lease.use_now();
            }
            let head = &there.record.head;
            let counts = SyncCounts {
                there_blocks: head.blocks,
                there_bytes: head.tsize,
                ..SyncCounts::default()
            };
            return Ok(Some((SyncState::There, counts)));
        }
        let Some(source) = SourceObject::open(self.core, &wanted.published, &wanted.path)? else {
            return Ok(None);
        };
        let options = self.options;
        let copied = self.report.copied();
        let at = &mut self.progress;
        let mut tell = |counts: SyncCounts, bytes: u64| {
            options.check_cancel(copied)?;
            at.done_bytes = done.saturating_add(bytes);
            at.new_bytes = new + counts.new_bytes;
            if let Some(progress) = &options.progress {
                progress(*at);
            }
            Ok(())
        };
        let counts = match options.dry_run {
            true => {
                let mut writer = BlockWriter::new(self.store)?;
                count(&mut writer, &source, &mut self.counted, &mut tell)?
            }
            false => {
                // What the copy will find here makes no way for it, neither as it is foreseen nor as it is copied.
                let _relied_on = foreseen(self.store, &source)?;
                copy(self.store, &source, &mut tell)?
            }
        };
        Ok(Some((SyncState::Copied, counts)))
    }

    /// The object as it is here already, if it is whole.
    fn whole(&self, wanted: &Wanted) -> Result<Option<LeasedRoot>, StoreError> {
        let there = match self.store.core.open_root(&wanted.cid, false) {
            // A damaged root makes way for the copy.
            Err(StoreError::Damaged { .. }) => None,
            there => there?,
        };
        let is_it = |root: &LeasedRoot| {
            let is_block = root.record.head.kind == ObjectKind::Block;
            let wants_block = wanted.kind == Some(EntryType::Block);
            // What is over files of the user's is no copy yet.
            (!is_block || wants_block)
                && is_whole(self.store, &root.record)
                && !refers(self.store, &root.record)
        };
        Ok(there.filter(is_it))
    }

    fn tell(&self) {
        if let Some(progress) = &self.options.progress {
            progress(self.progress);
        }
    }
}
