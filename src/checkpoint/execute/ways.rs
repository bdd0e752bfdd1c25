//! What becomes of a tensor's bytes, and the memory for those that are copied.

use super::Job;
use super::begun::failed;
use super::pass::{Pass, RELAXED, lock};
use super::pieces::Use;
use crate::checkpoint::device::{Device, StagingBuf};
use crate::checkpoint::device_map::DeviceKind;
use crate::checkpoint::error::LoadError;
use crate::fsio::Memory;
use crate::store::CopyReason;

/// Memory that a tensor is read into.
pub(super) enum Buffer {
    Host(Memory),
    Device(StagingBuf),
}

impl Buffer {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Host(memory) => memory,
            Self::Device(staging) => staging.bytes_mut(),
        }
    }
}

/// What becomes of a tensor's bytes, decided when the first of them is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// They stay in the map.
    Borrow,
    /// They are read into memory of this process, or of a device.
    Fill(CopyReason),
    /// The memory cap has no room for them beside those on their way to devices.
    Later,
}

impl<D: Device> Pass<'_, D> {
    /// What becomes of a tensor; memory for it is taken when this is asked first.
    pub(super) fn way(&self, one: &Use) -> Result<Way, LoadError> {
        let mut way = lock(&self.ways[one.job]);
        if let Some(way) = *way {
            return Ok(way);
        }
        Ok(*way.insert(self.decide(one)?))
    }

    fn decide(&self, one: &Use) -> Result<Way, LoadError> {
        let Job {
            shard,
            selection,
            device,
        } = &self.setup.jobs[one.job];
        let bytes = selection.bytes();
        let is_main = self.setup.plan.devices[*device].kind == DeviceKind::Main;
        if is_main {
            let named = &self.setup.options.devices[*device];
            if let Some(staging) = named.1.staging(bytes as usize) {
                let lent = one.part.provide(Buffer::Device(staging), Buffer::bytes);
                return match lent {
                    Ok(()) => Ok(Way::Fill(CopyReason::DeviceMemory)),
                    Err(found) => Err(failed(
                        named,
                        format!("lent {found} bytes for staging where {bytes} were asked for")
                            .into(),
                    )),
                };
            }
        }
        let Some(why) = self.setup.copies[one.job] else {
            return Ok(Way::Borrow);
        };
        if is_main && !self.pass_by(bytes) {
            return Ok(Way::Later);
        }
        let memory = self.setup.shards[*shard].file.memory(bytes);
        let memory = memory.map_err(LoadError::from_source)?;
        let provided = one.part.provide(Buffer::Host(memory), Buffer::bytes);
        debug_assert_eq!(provided, Ok(()), "memory as long as it was asked for");
        Ok(Way::Fill(why))
    }

    /// What was put off, in runs that the room for copies on their way holds at once.
    pub(super) fn groups_that_fit<'l>(&self, later: &'l [usize]) -> Vec<&'l [usize]> {
        let bytes = |number: usize| self.setup.jobs[number].selection.bytes();
        let mut groups = Vec::new();
        let (mut start, mut sum) = (0, 0_u64);
        for (at, &number) in later.iter().enumerate() {
            sum = sum.saturating_add(bytes(number));
            if sum > self.setup.passing_room && at > start {
                groups.push(&later[start..at]);
                (start, sum) = (at, bytes(number));
            }
        }
        groups.extend((start < later.len()).then(|| &later[start..]));
        groups
    }

    /// Takes room for a copy on its way to a device.
    fn pass_by(&self, bytes: u64) -> bool {
        let room = self.setup.passing_room;
        let take = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= room);
        let taken = self.passing_bytes.fetch_update(RELAXED, RELAXED, take);
        taken.is_ok()
    }

    pub(super) fn refuse_what_found_no_room(&self) -> Result<(), LoadError> {
        let Some(number) = lock(&self.later).pop() else {
            return Ok(());
        };
        let selection = &self.setup.jobs[number].selection;
        let kept = self.setup.kept_bytes;
        let needed = kept.saturating_add(selection.bytes());
        Err(match self.setup.options.memory_cap {
            Some(cap) if needed > cap => LoadError::MemoryCap {
                what: format!("tensor `{}`", selection.info.name),
                needed,
                cap,
            },
            _ => LoadError::NotEnoughMemory {
                needed,
                available: kept.saturating_add(self.setup.passing_room),
            },
        })
    }
}
