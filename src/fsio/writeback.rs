//! Early writeback, so that the fsync at the end of a long write finds little left to do.

#![expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing a range out, without waiting for it. A hint: it makes nothing
/// durable, and where it is not supported nothing is lost.
pub(crate) fn start_writeback(file: &File, offset: u64, len: u64) {
    // SAFETY: the call takes integers only, and the descriptor is open for as long as `file` is borrowed.
    let _ = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
}
