//! Opening files, and nothing but files: opening a named pipe waits for its other end, and opening a device may do
//! something.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// What stands in a file's place and cannot be one, which is no failure of the disk's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it is {0}, not a file")]
    Kind(&'static str),
    #[error("it has {len} bytes, more than the {limit} that such a file can have")]
    Length { len: u64, limit: u64 },
}

impl Unfit {
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidData, unfit)
    }
}

/// Opens what is a file, never waiting. What is no file is not even opened, unless it took a file's place just now.
pub(super) fn open(options: &mut OpenOptions, flags: i32, path: &Path) -> io::Result<File> {
    // Where nothing stands it may be made now, and what else there is to say the opening says.
    if let Ok(there) = fs::metadata(path) {
        check(&there)?;
    }
    let file = options.custom_flags(flags | libc::O_NONBLOCK).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(there: &Metadata) -> io::Result<()> {
    match there.is_file() {
        true => Ok(()),
        false => Err(Unfit::Kind(kind(there.file_type())).into()),
    }
}

/// What something is that is no file.
pub(crate) fn kind(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "something of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once_whatever_it_is_opened_for() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, socket) = (dir.path().join("pipe"), dir.path().join("socket"));
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        for (path, found) in [
            (&*pipe, "a named pipe"),
            (&*socket, "a socket"),
            (dir.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let reading = open(OpenOptions::new().read(true), 0, path);
            let writing = open(OpenOptions::new().read(true).write(true), 0, path);
            for opened in [reading, writing] {
                let error = opened.unwrap_err();
                assert!(
                    matches!(Unfit::of(&error), Some(Unfit::Kind(kind)) if *kind == found),
                    "{}: {error}",
                    path.display()
                );
            }
        }
        open(OpenOptions::new().read(true), 0, &file).unwrap();
        let created = dir.path().join("new");
        open(
            OpenOptions::new().write(true).create(true),
            libc::O_NOFOLLOW,
            &created,
        )
        .unwrap();
    }
}
