//! The lock of the one writer. The `flock` decides; what stands in the file is for messages, and for readers
//! on overlayfs (see [`overlay`](super::overlay)).

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::StoreError;
use super::folder::StoreFolder;
use super::time::utc_text;
use super::writable::StoreOptions;
use crate::config::TimeSpan;
use crate::error::FileError;
use crate::fsio::{self, Files, Locked};

/// The file names a process, a host, a time and a folder; a foreign one is not read whole.
const NOTE_LIMIT: u64 = 16 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// So long a lock that became free may stay unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Tried for so long even where nothing is to be waited for: whoever looks whether a lock is free holds it
/// for a moment, and so does a child that was forked and has not closed it yet.
const GLANCE: Duration = Duration::from_millis(10);

/// What the last writer noted in the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: String,
    pub(crate) host: String,
    pub(crate) since: String,
    /// The writable layer of the overlay file system that it saw the store through.
    pub(crate) layer: Option<String>,
}

/// Takes the store's writer lock, waiting as long as the options say, or says who holds it.
pub(crate) fn take(folder: &StoreFolder, options: &StoreOptions) -> Result<Locked, StoreError> {
    let path = folder.lock();
    let begun = Instant::now();
    let timeout = options.lock_timeout;
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    let files = folder.files();
    loop {
        // Opened anew each time: the store may be removed and made again meanwhile.
        let file = files.open_write(&path, Some(0o644))?;
        match fsio::try_lock_exclusive(file).map_err(FileError::at("lock", &path))? {
            Ok(locked) => {
                if files.is_same_file(locked.file(), &path)? {
                    // On a full disk, where removing must still work, it cannot be written.
                    if let Err(e) = note_holder(locked.file(), folder) {
                        tracing::debug!("the lock does not say who holds it: {e}");
                    }
                    return Ok(locked);
                }
            }
            Err(file) => {
                let waited = begun.elapsed();
                let left = timeout.max(GLANCE).saturating_sub(waited);
                if left.is_zero() {
                    return Err(locked(&file, folder, waited.min(timeout)));
                }
                if is_cancelled(options) {
                    return Err(StoreError::Cancelled);
                }
                if !told && waited >= GLANCE {
                    told = true;
                    let held = locked(&file, folder, Duration::ZERO);
                    tracing::warn!("{held}; waiting up to {}", TimeSpan::from(timeout));
                }
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn is_cancelled(options: &StoreOptions) -> bool {
    let cancel = options.cancel.as_ref();
    cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
}

fn note_holder(file: &File, folder: &StoreFolder) -> Result<(), FileError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let host = rustix::system::uname();
    let mut text = format!(
        "pid {}\nhost {}\nsince {}\n",
        std::process::id(),
        host.nodename().to_string_lossy(),
        utc_text(since.as_millis() as u64)
    );
    if let Some(layer) = fsio::overlay_layer(folder.path()) {
        text.push_str(&format!("overlay {layer}\n"));
    }
    // Cut off last, so that a writer that is killed in between leaves some note.
    let (files, path) = (folder.files(), folder.lock());
    files.write_all_at(file, text.as_bytes(), 0, &path)?;
    files.set_len(file, text.len() as u64, &path)
}

/// What an open lock file says of its last holder.
pub(crate) fn note_in(files: &Files, file: &File, path: &Path) -> Holder {
    let text = files.read_file(file, path, NOTE_LIMIT).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim().to_owned())
    };
    let known = |key: &str| field(key).unwrap_or_else(|| "unknown".to_owned());
    Holder {
        pid: known("pid "),
        host: known("host "),
        since: known("since "),
        layer: field("overlay "),
    }
}

fn locked(file: &File, folder: &StoreFolder, waited: Duration) -> StoreError {
    let holder = note_in(folder.files(), file, &folder.lock());
    StoreError::Locked {
        path: folder.path().to_path_buf(),
        pid: holder.pid,
        host: holder.host,
        since: holder.since,
        waited,
    }
}
