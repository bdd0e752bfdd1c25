//! Handing a tensor over once all its bytes are there, and what the whole load comes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::begun::failed;
use super::pass::{Pass, RELAXED, lock};
use super::ways::{Buffer, Way};
use super::{Done, Job, Outcome};
use crate::checkpoint::device::{Device, TensorBytes, TensorData};
use crate::checkpoint::device_map::DeviceKind;
use crate::checkpoint::dispatched::{Placed, Slot};
use crate::checkpoint::error::LoadError;
use crate::checkpoint::options::LoadProgress;
use crate::checkpoint::shards::Shard;
use crate::checkpoint::tensor::{LazyTensor, Tensor, borrow};
use crate::store::{CopyReason, FileMap};

impl<D: Device> Pass<'_, D> {
    pub(super) fn place(&self, number: usize, buffer: Option<Buffer>) -> Result<(), LoadError> {
        let Job {
            shard,
            selection,
            device,
        } = &self.setup.jobs[number];
        let bytes = selection.bytes();
        let info = Arc::new(selection.info.clone());
        let why = match *lock(&self.ways[number]) {
            Some(Way::Fill(why)) => Some(why),
            _ => None,
        };
        let placed = match (self.setup.plan.devices[*device].kind, buffer) {
            (DeviceKind::Disk, _) => {
                let Shard { file, leaves, .. } = &self.setup.shards[*shard];
                Placed::Disk(LazyTensor::new(
                    Arc::clone(&info),
                    selection.source.clone(),
                    file.clone(),
                    leaves.clone(),
                ))
            }
            (DeviceKind::Cpu, Some(Buffer::Host(memory))) => {
                let why = why.unwrap_or(CopyReason::Requested);
                Placed::Mapped(Tensor::copied_from(Arc::clone(&info), memory, why))
            }
            (DeviceKind::Cpu, _) => Placed::Mapped(borrow(&info, self.map(*shard))?),
            (DeviceKind::Main, buffer) => {
                let named = &self.setup.options.devices[*device];
                let place = |data| {
                    let tensor = TensorBytes { info: &info, data };
                    named.1.place(tensor).map_err(|e| failed(named, e))
                };
                Placed::Device(match buffer {
                    Some(Buffer::Device(staging)) => place(TensorData::Staged(staging))?,
                    Some(Buffer::Host(memory)) => {
                        let handle = place(TensorData::Borrowed(&memory))?;
                        drop(memory);
                        self.passing_bytes.fetch_sub(bytes, RELAXED);
                        handle
                    }
                    None => {
                        let tensor = borrow(&info, self.map(*shard))?;
                        place(TensorData::Borrowed(tensor.bytes()))?
                    }
                })
            }
        };
        let slot = Slot {
            info,
            device: *device,
            placed,
        };
        let outcome = Outcome {
            slot,
            bytes,
            copied: why,
        };
        let is_first = self.outcomes[number].set(outcome).is_ok();
        debug_assert!(is_first, "each tensor is placed once");
        self.tell(bytes);
        Ok(())
    }

    pub(super) fn map(&self, shard: usize) -> &Arc<FileMap> {
        self.setup.maps[shard]
            .as_ref()
            .expect("shards that something is borrowed from were mapped")
    }

    pub(super) fn note_time(&self, job: usize, begun: Instant) {
        let spent = begun.elapsed().as_nanos() as u64;
        self.nanoseconds[self.setup.jobs[job].device].fetch_add(spent, RELAXED);
    }

    pub(super) fn tell(&self, bytes: u64) {
        let Some(progress) = &self.setup.options.progress else {
            return;
        };
        progress(LoadProgress {
            tensors: self.placed_tensors.fetch_add(1, RELAXED) + 1,
            total_tensors: self.setup.jobs.len(),
            bytes: self.placed_bytes.fetch_add(bytes, RELAXED) + bytes,
            total_bytes: self.total_bytes,
        });
    }

    pub(super) fn done(self) -> Done<D::Handle> {
        let mut done = Done {
            slots: Vec::with_capacity(self.setup.jobs.len()),
            zero_copy_bytes: 0,
            copies: BTreeMap::new(),
            residency: self.setup.residency,
            populated_bytes: self.populated_bytes.into_inner(),
            lazy_bytes: self.lazy_bytes.into_inner(),
            verified_bytes: self.verified_bytes.into_inner(),
            thread_seconds: Vec::new(),
        };
        for outcome in self.outcomes {
            let outcome = outcome.into_inner().expect("every tensor was placed");
            match outcome.copied {
                None => done.zero_copy_bytes += outcome.bytes,
                Some(why) => *done.copies.entry(why).or_default() += outcome.bytes,
            }
            done.slots.push(outcome.slot);
        }
        let seconds = |spent: AtomicU64| spent.into_inner() as f64 / 1e9;
        done.thread_seconds = self.nanoseconds.into_iter().map(seconds).collect();
        done
    }
}
