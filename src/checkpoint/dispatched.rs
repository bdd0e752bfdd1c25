//! The result of a load.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use super::header::TensorInfo;
use super::report::LoadReport;
use super::tensor::{LazyTensor, Tensor};

/// Where a tensor is now.
#[derive(Clone, Debug)]
pub enum Placed<H = Infallible> {
    /// In the host's memory: the device `cpu`.
    Mapped(Tensor),
    /// Left in the store: the device `disk`.
    Disk(LazyTensor),
    /// On a device of the caller's.
    Device(H),
}

impl<H> Placed<H> {
    /// The tensor in the host's memory, if that is where it is.
    pub fn mapped(&self) -> Option<&Tensor> {
        match self {
            Self::Mapped(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The tensor left in the store, if that is where it is.
    pub fn disk(&self) -> Option<&LazyTensor> {
        match self {
            Self::Disk(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The device's handle, if it is on one of the caller's.
    pub fn device(&self) -> Option<&H> {
        match self {
            Self::Device(handle) => Some(handle),
            _ => None,
        }
    }
}

/// One tensor of a loaded checkpoint.
#[derive(Debug)]
pub(super) struct Slot<H> {
    pub(super) info: Arc<TensorInfo>,
    /// Counts into the report's devices.
    pub(super) device: usize,
    pub(super) placed: Placed<H>,
}

/// A loaded checkpoint: every selected tensor, placed. Cheap to clone; independent of its source.
#[derive(Debug)]
pub struct Dispatched<H = Infallible> {
    inner: Arc<Inner<H>>,
}

#[derive(Debug)]
struct Inner<H> {
    slots: Vec<Slot<H>>,
    by_name: HashMap<Arc<str>, usize>,
    metadata: BTreeMap<String, String>,
    report: LoadReport,
}

impl<H> Clone for Dispatched<H> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<H> Dispatched<H> {
    pub(super) fn new(
        slots: Vec<Slot<H>>,
        metadata: BTreeMap<String, String>,
        report: LoadReport,
    ) -> Self {
        let by_name = slots
            .iter()
            .enumerate()
            .map(|(i, slot)| (Arc::clone(&slot.info.name), i))
            .collect();
        Self {
            inner: Arc::new(Inner {
                slots,
                by_name,
                metadata,
                report,
            }),
        }
    }

    /// How many tensors were loaded.
    pub fn len(&self) -> usize {
        self.inner.slots.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.inner.slots.is_empty()
    }

    /// A tensor by its name.
    pub fn get(&self, name: &str) -> Option<&Placed<H>> {
        Some(&self.inner.slots[*self.inner.by_name.get(name)?].placed)
    }

    /// A tensor that is in the host's memory, by its name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.get(name)?.mapped()
    }

    /// All tensors, shard by shard in the order of their bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TensorInfo, &Placed<H>)> {
        self.inner
            .slots
            .iter()
            .map(|slot| (&*slot.info, &slot.placed))
    }

    /// The name of the device a tensor is on.
    pub fn device_of(&self, name: &str) -> Option<&str> {
        let slot = &self.inner.slots[*self.inner.by_name.get(name)?];
        Some(&self.inner.report.devices[slot.device].name)
    }

    /// The shards' `__metadata__`; of a key in several shards, the first one's value.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.inner.metadata
    }

    /// What was loaded where, how long it took, and what was copied and why.
    pub fn report(&self) -> &LoadReport {
        &self.inner.report
    }
}
