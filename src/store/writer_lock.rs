//! The lock of the one writer. The `flock` decides; what stands in the file is for the message only.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::StoreError;
use super::folder::StoreFolder;
use super::time::utc_text;
use crate::error::FileError;
use crate::fsio::{self, Locked};

/// Takes the store's writer lock, or says who holds it.
pub(crate) fn take(folder: &StoreFolder) -> Result<Locked, StoreError> {
    let path = folder.lock();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        // What is written into it must not land in another file.
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(FileError::at("open", &path))?;
    match fsio::try_lock_exclusive(file).map_err(FileError::at("lock", &path))? {
        Ok(locked) => {
            // For the message only; on a full disk, where removing must still work, it cannot be written.
            if let Err(e) = note_holder(locked.file()) {
                tracing::debug!("the lock does not say who holds it: {e}");
            }
            Ok(locked)
        }
        Err(file) => Err(holder(&file, folder)),
    }
}

fn note_holder(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let host = rustix::system::uname();
    let text = format!(
        "pid {}\nhost {}\nsince {}\n",
        std::process::id(),
        host.nodename().to_string_lossy(),
        utc_text(since.as_millis() as u64)
    );
    file.set_len(0)?;
    file.write_all_at(text.as_bytes(), 0)
}

fn holder(file: &File, folder: &StoreFolder) -> StoreError {
    let text = fsio::read_file(file, &folder.lock(), 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
    };
    StoreError::Locked {
        path: folder.path().to_path_buf(),
        pid: field("pid "),
        host: field("host "),
        since: field("since "),
    }
}
