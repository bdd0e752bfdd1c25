//! What every error of this crate can say about itself, and the file error that names its path.

use std::io;
use std::path::{Path, PathBuf};

/// What a caller can learn from an error besides its message.
pub trait Explain: std::error::Error {
    /// A stable, machine-readable name in snake case, the `kind` of the command line's JSON.
    fn kind(&self) -> &'static str;

    /// What to do about it, where that is known.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, as a verb: `open`, `read`, `write`, `sync`, `rename`.
    pub action: &'static str,
    /// The file or folder it was tried on.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    /// Ties the operating system's error to the path and the action.
    pub fn new(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// A closure for `map_err` that builds the error only when there is one.
    pub fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::new(action, path, source)
    }

    /// Whether the process, or the machine, has reached a limit. That says nothing of any file.
    pub(crate) fn is_of_a_limit(&self) -> bool {
        is_of_a_limit(&self.source)
    }

    /// Whether the disk failed to give the bytes, or ends before them: then they are lost, at least for now. Any
    /// other error says nothing of the bytes.
    pub(crate) fn is_of_the_medium(&self) -> bool {
        const MEDIUM: [i32; 5] = [
            libc::EIO,
            libc::EUCLEAN,
            libc::EBADMSG,
            libc::ENODATA,
            libc::EREMOTEIO,
        ];
        if self.source.kind() == io::ErrorKind::UnexpectedEof {
            return true;
        }
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&self.source);
        while let Some(error) = next {
            let code = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error);
            if code.is_some_and(|code| MEDIUM.contains(&code)) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// See [`FileError::is_of_a_limit`].
pub(crate) fn is_of_a_limit(error: &io::Error) -> bool {
    const LIMITS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EFBIG];
    error
        .raw_os_error()
        .is_some_and(|code| LIMITS.contains(&code))
}

impl Explain for FileError {
    fn kind(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => "file_not_found",
            io::ErrorKind::PermissionDenied => "permission_denied",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "no_space",
            io::ErrorKind::ReadOnlyFilesystem => "read_only_file_system",
            _ => "io",
        }
    }

    fn hint(&self) -> Option<String> {
        match self.source.raw_os_error() {
            Some(libc::EMFILE) => {
                return Some(
                    "a limit of the process: raise it (`ulimit -n`, or LimitNOFILE= of a service)"
                        .into(),
                );
            }
            Some(libc::ENFILE) => {
                return Some("a limit of the machine: raise it (`sysctl fs.file-max`)".into());
            }
            _ => {}
        }
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free space on that file system, or put the store on a larger one".into())
            }
            io::ErrorKind::FileTooLarge => Some(
                "a limit of the process (`ulimit -f`) or of that file system: raise it, or use another one".into(),
            ),
            io::ErrorKind::PermissionDenied => {
                Some("check who owns it and its permissions, then try again".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_disk_is_told_from_what_says_nothing_of_the_bytes() {
        #[derive(Debug, thiserror::Error)]
        #[error("at some offset: {source}")]
        struct Outer {
            source: io::Error,
        }
        let of = |source| FileError::new("read", "f", source).is_of_the_medium();
        let os = io::Error::from_raw_os_error;
        assert!(of(os(libc::EIO)));
        assert!(of(io::ErrorKind::UnexpectedEof.into()));
        let inner = os(libc::EIO);
        assert!(of(io::Error::new(inner.kind(), Outer { source: inner })));
        for code in [libc::EMFILE, libc::ENOMEM, libc::EACCES, libc::ENOENT] {
            assert!(!of(os(code)), "{code}");
        }
    }

    #[test]
    fn a_limit_of_the_process_is_told_from_what_a_file_is_refused_for() {
        let of = |code| FileError::new("open", "f", io::Error::from_raw_os_error(code));
        for code in [libc::EMFILE, libc::ENFILE, libc::EFBIG] {
            assert!(of(code).is_of_a_limit());
            assert!(of(code).hint().unwrap().contains("raise it"), "{code}");
        }
        for code in [libc::EACCES, libc::ENOENT, libc::EIO, libc::ENOSPC] {
            assert!(!of(code).is_of_a_limit(), "{code}");
        }
    }
}
