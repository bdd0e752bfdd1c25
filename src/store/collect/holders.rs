//! Who holds a lock on a file, as far as the kernel tells: `/proc/locks` lists processes of our own namespace.

use super::GcHolder;

/// The processes with a lock on an inode, in the order of their ids.
pub(super) fn of(device: u64, inode: u64) -> Vec<GcHolder> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut pids: Vec<u32> = locks
        .lines()
        .filter_map(|line| holder(line, device, inode))
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter()
        .map(|pid| GcHolder {
            pid,
            command: command(pid),
        })
        .collect()
}

/// `1: FLOCK  ADVISORY  READ 1234 08:01:5678 0 EOF`, with the device in hexadecimal; a second line with `->` is
/// of one who waits. A holder in another pid namespace is shown as 0 or less.
fn holder(line: &str, device: u64, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, place, ..] = words.as_slice() else {
        return None;
    };
    let (major, minor) = (libc::major(device), libc::minor(device));
    let mut place = place.split(':');
    let number = |text: Option<&str>, radix| u64::from_str_radix(text?, radix).ok();
    let found = (
        number(place.next(), 16)?,
        number(place.next(), 16)?,
        number(place.next(), 10)?,
    );
    if found != (u64::from(major), u64::from(minor), inode) {
        return None;
    }
    pid.parse().ok().filter(|pid| *pid != 0)
}

fn command(pid: u32) -> String {
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    command.map_or_else(|_| String::new(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_lock_of_this_process_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let holders = || of(metadata.dev(), metadata.ino());
        assert_eq!(holders(), []);
        let locked = crate::fsio::lock_shared(file.reopen().unwrap()).unwrap();
        // Some file systems show another device in /proc/locks than to stat.
        let found = holders();
        if let Some(holder) = found.first() {
            assert_eq!(holder.pid, std::process::id());
            assert!(!holder.command.is_empty());
        }
        drop(locked);
        assert_eq!(holders(), []);
    }

    #[test]
    fn lines_of_other_kinds_and_other_files_are_passed_over() {
        let device = libc::makedev(8, 0x1f);
        let of = |line| holder(line, device, 42);
        assert_eq!(of("1: FLOCK  ADVISORY  READ 77 08:1f:42 0 EOF"), Some(77));
        assert_eq!(of("1: FLOCK  ADVISORY  READ 77 08:1f:43 0 EOF"), None);
        assert_eq!(of("1: FLOCK  ADVISORY  READ 77 08:01:42 0 EOF"), None);
        assert_eq!(of("1: POSIX  ADVISORY  WRITE 77 08:1f:42 0 EOF"), None);
        assert_eq!(of("1: -> FLOCK  ADVISORY  WRITE 77 08:1f:42 0 EOF"), None);
        assert_eq!(of("1: FLOCK  ADVISORY  READ -1 08:1f:42 0 EOF"), None);
        assert_eq!(of(""), None);
    }
}
