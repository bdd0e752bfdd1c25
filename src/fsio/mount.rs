//! The mount that a path lies on, as `/proc/self/mountinfo` describes it
//! (<https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>).

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The file system's type: `ext4`, `nfs4`, `fuse.sshfs`, `overlay`.
    pub(crate) kind: String,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// What is mounted: a device, a share, or a word.
    pub(crate) source: String,
    /// Whether it is mounted read-only, here or as a whole.
    pub(crate) read_only: bool,
    /// The options of the file system, separated by commas.
    options: String,
}

impl Mount {
    /// The mount that a path lies on; none where `/proc` does not say.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        // Opened for its place only, so that it needs not be readable. The mount's number is the one thing that
        // tells mounts apart everywhere: on btrfs the device of a file is not the one of its mount.
        let place = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .ok()?;
        let fdinfo = format!("/proc/self/fdinfo/{}", place.as_raw_fd());
        let fdinfo = fs::read_to_string(fdinfo).ok()?;
        let id = fdinfo
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        Self::with_id(id.trim(), &String::from_utf8_lossy(&mounts))
    }

    fn with_id(id: &str, mounts: &str) -> Option<Self> {
        let line = mounts
            .lines()
            .find(|line| line.split(' ').next() == Some(id))?;
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let (point, flags) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let (kind, source) = (system.next()?, system.next()?);
        let options = system.next().unwrap_or_default();
        let is_read_only = |flags: &str| flags.split(',').any(|flag| flag == "ro");
        Some(Self {
            kind: kind.to_owned(),
            point: PathBuf::from(OsString::from_vec(unescape(point))),
            source: String::from_utf8_lossy(&unescape(source)).into_owned(),
            read_only: is_read_only(flags) || is_read_only(options),
            options: options.to_owned(),
        })
    }

    /// The value of an option `name=value`, as it stands there.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options
            .split(',')
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether there is an option `name` without a value.
    pub(crate) fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }
}

/// Spaces and their like stand there as a backslash and three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| behind.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = match octal {
            Some(_) => &behind[3..],
            None => behind,
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_taken_apart() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/vda rw\n\
                      36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 shared:2 - overlay none \
                      ro,lowerdir=/l\\054x:/m,upperdir=/u,volatile\n\
                      37 21 0:9 / /x rw - nfs4 a:/b\n";
        let mount = Mount::with_id("36", mounts).unwrap();
        assert_eq!(
            (mount.kind.as_str(), mount.source.as_str()),
            ("overlay", "none")
        );
        assert_eq!(mount.point, Path::new("/mnt two"));
        assert!(mount.read_only && mount.has_option("volatile") && !mount.has_option("upperdir"));
        assert_eq!(
            (mount.option("upperdir"), mount.option("upper")),
            (Some("/u"), None)
        );
        assert!(!Mount::with_id("37", mounts).unwrap().read_only);
        for (id, mounts) in [("3", mounts), ("1", "1 2"), ("1", "1 2 3 - x"), ("", "")] {
            assert_eq!(Mount::with_id(id, mounts), None, "{id}");
        }
        assert_eq!(unescape("a\\01"), b"a\\01");
        assert_eq!(unescape("\\999\\134"), b"\\999\\");
    }

    #[test]
    fn a_folder_lies_on_a_mount_that_is_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let mount = Mount::of(dir.path()).expect("Linux has /proc/self/mountinfo");
        assert!(
            dir.path().canonicalize().unwrap().starts_with(&mount.point),
            "{mount:?}"
        );
        assert_eq!(Mount::of(&dir.path().join("absent")), None);
        assert_eq!(Mount::of(Path::new("/proc/self")).unwrap().kind, "proc");
    }
}
