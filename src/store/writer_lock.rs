//! The lock of the one writer. The `flock` decides; what stands in the file is for the message only.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::StoreError;
use super::folder::StoreFolder;
use super::time::utc_text;
use crate::error::FileError;
use crate::fsio::{self, Locked};

/// Takes the store's writer lock, or says who holds it.
pub(crate) fn take(folder: &StoreFolder) -> Result<Locked, StoreError> {
    let path = folder.lock();
    let file = folder.files().open_write(&path, Some(0o644))?;
    match fsio::try_lock_exclusive(file).map_err(FileError::at("lock", &path))? {
        Ok(locked) => {
            // For the message only; on a full disk, where removing must still work, it cannot be written.
            if let Err(e) = note_holder(locked.file(), folder) {
                tracing::debug!("the lock does not say who holds it: {e}");
            }
            Ok(locked)
        }
        Err(file) => Err(holder(&file, folder)),
    }
}

fn note_holder(file: &File, folder: &StoreFolder) -> Result<(), FileError> {
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
    let (files, path) = (folder.files(), folder.lock());
    files.set_len(file, 0, &path)?;
    files.write_all_at(file, text.as_bytes(), 0, &path)
}

fn holder(file: &File, folder: &StoreFolder) -> StoreError {
    let text = folder.files().read_file(file, &folder.lock(), 4096);
    let text = text.unwrap_or_default();
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
