//! What kind of file system a file lies on.

use std::fs::File;
use std::path::Path;

use super::mount::Mount;

/// `f_type` of file systems whose pages come over a network or from another process (linux/magic.h, and the
/// sources of those that are not in the kernel).
const REMOTE: [u32; 15] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x6573_5546, // FUSE, virtiofs
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x6b41_4653, // kAFS
    0x7375_7245, // Coda
    0x0161_1970, // GFS2
    0x7461_636f, // OCFS2
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
];

/// `f_type` of overlayfs.
const OVERLAY: u32 = 0x794c_7630;

/// Whether a page of the file that is not in memory comes over a network or from another process.
pub(crate) fn is_remote(file: &File) -> bool {
    // The field has another width on other processors; the numbers have 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}

/// Whether a path lies on overlayfs, where locks are seen by those only who open the file through the same
/// overlay.
pub(crate) fn is_overlay(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u32 == OVERLAY)
}

/// The writable layer of the overlay that a path lies on, as the mount names it; it tells overlays apart, and
/// stays when a container is started again. None on other file systems and where nothing can be written.
pub(crate) fn overlay_layer(path: &Path) -> Option<String> {
    if !is_overlay(path) {
        return None;
    }
    Mount::of(path)?.option("upperdir").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_temporary_file_is_here() {
        assert!(!super::is_remote(&tempfile::tempfile().unwrap()));
    }
}
