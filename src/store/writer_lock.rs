//! The lock of the one writer. The `flock` decides; what stands in the file is for messages, and for readers
//! on overlayfs (see [`overlay`](super::overlay)).

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::{StoreError, holding};
use super::folder::StoreFolder;
use super::options::StoreOptions;
use super::time::utc_text;
use crate::config::TimeSpan;
use crate::error::FileError;
use crate::fsio::{self, Files, Locked};

/// The file names a process, a host, a time and a folder; a foreign one is not read whole.
const NOTE_LIMIT: u64 = 16 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// So long a lock that became free may stay unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// So long those are waited for who hold the lock shared, even where no writer is to be waited for: they only look
/// whether there is one, and take as long as a busy machine lets them.
const LOOKING: Duration = Duration::from_secs(5);

/// What the last writer noted in the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: String,
    pub(crate) host: String,
    pub(crate) since: String,
    /// The writable layer of the overlay file system that it saw the store through.
    pub(crate) layer: Option<String>,
}

impl Holder {
    /// Whether that process is on this host, and lives.
    pub(crate) fn is_seen(&self) -> bool {
        self.is_here() && self.pid.parse().is_ok_and(fsio::is_alive)
    }

    fn is_here(&self) -> bool {
        rustix::system::uname().nodename().to_string_lossy() == self.host.as_str()
    }

    /// Whether it may be the writer that holds a store's lock, and who holds it, in words.
    pub(crate) fn said(&self, folder: &StoreFolder) -> (bool, String) {
        let (is_writer, holder) = held_by(folder, self);
        let said = holding([&self.pid, &self.host, &self.since], is_writer, holder);
        (is_writer, said)
    }

    /// Whether it may be the one that holds the lock. The system lists the process that took it, also where that is
    /// gone and a child has it; what runs elsewhere cannot be seen from here.
    fn may_hold(&self, holder: Option<u32>) -> bool {
        match holder {
            _ if !self.is_here() => true,
            Some(holder) => self.pid == holder.to_string(),
            None => self.is_seen(),
        }
    }

    fn unknown() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            pid: unknown(),
            host: unknown(),
            since: unknown(),
            layer: None,
        }
    }
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
        let file = match files.open_write(&path, Some(0o644)) {
            Err(FileError { source, .. }) if source.kind() == ErrorKind::ReadOnlyFilesystem => {
                return Err(StoreError::ReadOnly {
                    path: folder.path().to_path_buf(),
                });
            }
            opened => opened?,
        };
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
                let tried = fsio::try_lock_shared(file).map_err(FileError::at("lock", &path))?;
                let is_held = tried.is_err();
                // Not kept: others may be waiting too.
                drop(tried);
                let waited = begun.elapsed();
                let patience = match is_held {
                    true => timeout,
                    false => timeout.max(LOOKING),
                };
                let left = patience.saturating_sub(waited);
                if left.is_zero() {
                    return Err(locked(folder, waited.min(timeout)));
                }
                if is_cancelled(options) {
                    return Err(StoreError::Cancelled);
                }
                if is_held && !told {
                    told = true;
                    let held = locked(folder, Duration::ZERO);
                    tracing::warn!("{held}; waiting up to {}", TimeSpan::from(timeout));
                }
                // Who only looks is gone at once.
                pause = match is_held {
                    true => (pause * 2).min(LONGEST_PAUSE),
                    false => FIRST_PAUSE,
                };
                std::thread::sleep(pause.min(left));
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
    let unknown = Holder::unknown();
    Holder {
        pid: field("pid ").unwrap_or(unknown.pid),
        host: field("host ").unwrap_or(unknown.host),
        since: field("since ").unwrap_or(unknown.since),
        layer: field("overlay "),
    }
}

/// What the lock file says of its last holder, if there is one that can be read.
pub(crate) fn last_holder(folder: &StoreFolder) -> Option<Holder> {
    let path = folder.lock();
    let file = folder.files().open(&path).ok()?;
    Some(note_in(folder.files(), &file, &path))
}

/// Whether the writer that is noted may be the one who holds the lock, and who does, where the system tells.
fn held_by(folder: &StoreFolder, noted: &Holder) -> (bool, Option<u32>) {
    let file = folder.files().open(&folder.lock());
    let holder = file.ok().and_then(|file| fsio::exclusive_holder(&file));
    (noted.may_hold(holder), holder)
}

fn locked(folder: &StoreFolder, waited: Duration) -> StoreError {
    let noted = last_holder(folder).unwrap_or_else(Holder::unknown);
    let (is_writer, holder) = held_by(folder, &noted);
    StoreError::Locked {
        path: folder.path().to_path_buf(),
        is_writer,
        holder,
        pid: noted.pid,
        host: noted.host,
        since: noted.since,
        waited,
    }
}
