//! Devices of the caller's: how tensors get there.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;

use super::header::TensorInfo;

/// What a device says when it fails.
pub type DeviceError = Box<dyn std::error::Error + Send + Sync>;

/// What a load will bring to one device, so that it can allocate once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevicePlan {
    /// How many tensors.
    pub tensors: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest_bytes: u64,
}

/// A place for tensors besides the host's memory and the disk: a GPU, another process, a file.
///
/// In one load: `begin` once, `place` for each tensor from several threads at once, then `finish` once; `abort`
/// once and last if anything failed after `begin` was called, another device's `finish` included. Nothing is called on a device that gets no
/// tensor.
///
/// ```
/// use ipfs_accelerate::checkpoint::{Device, DeviceError, DevicePlan, TensorBytes};
///
/// /// Counts the bytes it is given.
/// struct Counter;
///
/// impl Device for Counter {
///     type Handle = usize;
///     fn capacity_bytes(&self) -> Option<u64> {
///         Some(1 << 30)
///     }
///     fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
///         Ok(())
///     }
///     fn place(&self, tensor: TensorBytes<'_>) -> Result<usize, DeviceError> {
///         Ok(tensor.bytes().len())
///     }
///     fn finish(&self) -> Result<(), DeviceError> {
///         Ok(())
///     }
///     fn abort(&self) {}
/// }
/// ```
pub trait Device: Send + Sync {
    /// What the caller gets for a placed tensor.
    type Handle: Send + Sync + 'static;

    /// How many bytes fit; none for no limit. `max_memory` overrides it.
    fn capacity_bytes(&self) -> Option<u64>;

    /// A load begins: the totals, to allocate once.
    ///
    /// # Errors
    /// Any error ends the load; `abort` is then called on every device that was begun, this one included.
    fn begin(&self, plan: &DevicePlan) -> Result<(), DeviceError>;

    /// Memory of the device's own, `len` bytes long, that a tensor is to be read into; by default, and where
    /// there is none, the tensor is borrowed from the store's map. Must not wait for memory to come back: who
    /// asks may hold what it would wait for. May be asked again for a tensor that the memory cap put off.
    fn staging(&self, len: usize) -> Option<StagingBuf> {
        let _ = len;
        None
    }

    /// Takes one tensor. Called from several threads at once.
    ///
    /// # Errors
    /// Any error ends the load.
    fn place(&self, tensor: TensorBytes<'_>) -> Result<Self::Handle, DeviceError>;

    /// A barrier: every tensor placed is usable once it returns.
    ///
    /// # Errors
    /// Any error ends the load.
    fn finish(&self) -> Result<(), DeviceError>;

    /// The load failed: gives up what it was begun for.
    fn abort(&self);
}

/// A tensor on its way to a device.
#[derive(Debug)]
#[non_exhaustive]
pub struct TensorBytes<'a> {
    /// Name, type and shape, after the selection.
    pub info: &'a TensorInfo,
    /// The bytes, in row-major order.
    pub data: TensorData<'a>,
}

/// The bytes of a tensor on its way to a device.
#[derive(Debug)]
pub enum TensorData<'a> {
    /// In the store's map, or gathered: valid during the call.
    Borrowed(&'a [u8]),
    /// In the buffer that the device gave, which is its own again.
    Staged(StagingBuf),
}

impl TensorBytes<'_> {
    /// The bytes, wherever they are.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            TensorData::Borrowed(bytes) => bytes,
            TensorData::Staged(buf) => buf.bytes(),
        }
    }
}

/// Memory that a device lends for reading a tensor into, such as pinned memory.
pub trait StagingMemory: Any + Send {
    /// The memory.
    fn bytes(&self) -> &[u8];
    /// The memory, to be filled.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl StagingMemory for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// A device's staging memory on loan.
pub struct StagingBuf(Box<dyn StagingMemory>);

impl StagingBuf {
    /// Lends memory.
    pub fn new(memory: impl StagingMemory) -> Self {
        Self(Box::new(memory))
    }

    /// The memory's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    /// Takes the memory back as what it was lent as; none if it is something else.
    pub fn downcast<M: StagingMemory>(self) -> Option<M> {
        let any: Box<dyn Any> = self.0;
        any.downcast().ok().map(|memory| *memory)
    }
}

impl fmt::Debug for StagingBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagingBuf")
            .field("len", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

/// No device besides `cpu` and `disk`; it has no values.
#[derive(Clone, Copy, Debug)]
pub enum NoDevice {}

impl Device for NoDevice {
    type Handle = Infallible;

    fn capacity_bytes(&self) -> Option<u64> {
        match *self {}
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        match *self {}
    }
    fn place(&self, _: TensorBytes<'_>) -> Result<Infallible, DeviceError> {
        match *self {}
    }
    fn finish(&self) -> Result<(), DeviceError> {
        match *self {}
    }
    fn abort(&self) {
        match *self {}
    }
}
