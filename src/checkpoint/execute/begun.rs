//! The life of the caller's devices in one load.

use std::sync::Arc;

use super::Job;
use crate::checkpoint::device::{Device, DeviceError, DevicePlan};
use crate::checkpoint::error::LoadError;
use crate::checkpoint::options::LoadOptions;
use crate::checkpoint::plan::Plan;

/// Devices that were begun: aborted when dropped, whatever went wrong, unless they were finished.
pub(super) struct Begun<'a, D: Device> {
    devices: Vec<&'a (String, Arc<D>)>,
}

impl<'a, D: Device> Begun<'a, D> {
    pub(super) fn begin(
        jobs: &[Job],
        plan: &Plan,
        options: &'a LoadOptions<D>,
    ) -> Result<Self, LoadError> {
        let mut begun = Self {
            devices: Vec::new(),
        };
        for (number, named) in options.devices.iter().enumerate() {
            let planned = &plan.devices[number];
            if planned.tensors == 0 {
                continue;
            }
            let own = jobs.iter().filter(|job| job.device == number);
            let largest = own.map(|job| job.selection.bytes()).max();
            let totals = DevicePlan {
                tensors: planned.tensors,
                bytes: planned.bytes,
                largest_bytes: largest.unwrap_or(0),
            };
            begun.devices.push(named);
            named
                .1
                .begin(&totals)
                .map_err(|source| failed(named, source))?;
        }
        Ok(begun)
    }

    /// A device that cannot finish is aborted with all the others.
    pub(super) fn finish(mut self) -> Result<(), LoadError> {
        for named in &self.devices {
            named.1.finish().map_err(|source| failed(named, source))?;
        }
        self.devices.clear();
        Ok(())
    }
}

impl<D: Device> Drop for Begun<'_, D> {
    fn drop(&mut self) {
        for (_, device) in &self.devices {
            device.abort();
        }
    }
}

pub(super) fn failed<D>(named: &(String, Arc<D>), source: DeviceError) -> LoadError {
    LoadError::Device {
        device: named.0.clone(),
        source,
    }
}
