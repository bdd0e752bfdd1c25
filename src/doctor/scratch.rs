//! What a file system can do is tried, in a scratch file that goes with the look at it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Health, HealthCheck};
use crate::error::FileError;
use crate::fsio::{self, Files, Mapping, Mount, Piece, TempFile};
use crate::store::{StoreError, Survey};

/// Of a scratch file, and where in it a hole is punched: at multiples of every page size.
const LEN: u64 = 256 << 10;
const HOLE: std::ops::Range<u64> = (64 << 10)..(192 << 10);

pub(super) fn checks(survey: &Survey, looked_at: &Path) -> Vec<HealthCheck> {
    let path = match scratch_path(survey, looked_at) {
        Ok(path) => path,
        Err(e) => return untested(survey, &e.to_string(), AGAIN),
    };
    match Scratch::create(path) {
        Ok(scratch) => vec![
            locks(
                scratch.locks(),
                Mount::of(looked_at).as_ref(),
                scratch.file(),
            ),
            holes(scratch.punch()),
            copies(scratch.copy()),
            maps(map(scratch.file())),
        ],
        Err(e) => untested(survey, &e.to_string(), advice(&e.source)),
    }
}

const AGAIN: &str = "see to that, and run it again";

/// What to do where the scratch file could not be written.
fn advice(e: &io::Error) -> &'static str {
    match e.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "run it as a user who may write there"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space there, and run it again",
        ErrorKind::NotFound => "the next opening for writing makes the folder anew, `gc` for one",
        _ => AGAIN,
    }
}

/// In `tmp/` under a name that the next writer would remove; without a store hidden, and named for us.
fn scratch_path(survey: &Survey, looked_at: &Path) -> Result<PathBuf, StoreError> {
    let path = survey.folder.temp_path()?;
    if survey.identity.is_ok() && survey.folders.is_ok() {
        return Ok(path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(looked_at.join(format!(".ipfs-accelerate-{name}")))
}

/// Without a file of its own, what `FORMAT` allows is looked at: nobody locks it, and it never changes in place.
fn untested(survey: &Survey, why: &str, advice: &'static str) -> Vec<HealthCheck> {
    let not = |name| {
        let found = format!("not tried: {why}");
        HealthCheck::note(name, found, advice)
    };
    let Some(file) = survey
        .identity
        .as_ref()
        .ok()
        .and_then(|_| File::open(survey.folder.format()).ok())
    else {
        return ["locks", "holes", "copies", "maps"].map(not).into();
    };
    let maps = maps(map(&file));
    let locks = match fsio::try_lock_shared(file) {
        Ok(Ok(_)) => HealthCheck::ok("locks", "shared locks work; exclusive ones were not tried"),
        Ok(Err(_)) => not("locks"),
        Err(e) => no_locks(&e.to_string()),
    };
    vec![locks, not("holes"), not("copies"), maps]
}

struct Scratch(TempFile);

impl Scratch {
    fn create(path: PathBuf) -> Result<Self, FileError> {
        let mut temp = TempFile::create(Files::real(), path)?;
        temp.write_all(&[0xa5; LEN as usize])?;
        Ok(Self(temp))
    }

    fn file(&self) -> &File {
        self.0.file()
    }

    /// The same file, opened again: with locks of its own, as in another process. Not by its name where that can
    /// be: a writer that is opening the store just now removes what it finds in `tmp/`.
    fn again(&self) -> io::Result<File> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
        let descriptor = format!("/proc/self/fd/{}", self.file().as_raw_fd());
        open(Path::new(&descriptor)).or_else(|_| open(self.0.path()))
    }

    /// What is wrong with locks, if anything is.
    fn locks(&self) -> io::Result<Option<&'static str>> {
        let Ok(shared) = fsio::try_lock_shared(self.again()?)? else {
            return Ok(Some(
                "a shared lock is refused on a file that nobody else has",
            ));
        };
        let Ok(second) = fsio::try_lock_shared(self.again()?)? else {
            return Ok(Some("two shared locks refuse each other"));
        };
        if fsio::try_lock_exclusive(self.again()?)?.is_ok() {
            return Ok(Some("an exclusive lock was had beside shared ones"));
        }
        drop((shared, second));
        let Ok(exclusive) = fsio::try_lock_exclusive(self.again()?)? else {
            return Ok(Some(
                "an exclusive lock is refused after the shared ones were given up",
            ));
        };
        if fsio::try_lock_shared(self.again()?)?.is_ok() {
            return Ok(Some("a shared lock was had beside an exclusive one"));
        }
        drop(exclusive);
        Ok(None)
    }

    /// Punches a hole; says how many bytes that freed, or none if other bytes changed than those in it.
    fn punch(&self) -> io::Result<Option<u64>> {
        // Before, a file system need not have given it any block.
        self.file().sync_data()?;
        let taken = |file: &File| Ok::<_, io::Error>(file.metadata()?.blocks() * 512);
        let before = taken(self.file())?;
        Files::real().punch(self.file(), HOLE.start, HOLE.end - HOLE.start)?;
        self.file().sync_data()?;
        let mut bytes = vec![1; LEN as usize];
        self.file().read_exact_at(&mut bytes, 0)?;
        let (start, end) = (HOLE.start as usize, HOLE.end as usize);
        let is_whole = bytes[start..end].iter().all(|byte| *byte == 0)
            && bytes[..start]
                .iter()
                .chain(&bytes[end..])
                .all(|byte| *byte == 0xa5);
        let freed = before.saturating_sub(taken(self.file())?);
        Ok(is_whole.then_some(freed))
    }

    /// How a second file can have the same bytes.
    fn copy(&self) -> Result<Copying, FileError> {
        let mut path = self.0.path().as_os_str().to_owned();
        // Still a name that a writer removes from `tmp/`.
        path.push(".pack");
        let copy = TempFile::create(Files::real(), PathBuf::from(path))?;
        if rustix::fs::ioctl_ficlone(copy.file(), self.file()).is_ok() {
            return Ok(Copying::Shared);
        }
        let mut from = 0;
        let copied = rustix::fs::copy_file_range(
            self.file(),
            Some(&mut from),
            copy.file(),
            None,
            LEN as usize,
        );
        Ok(match copied {
            Ok(copied) if copied > 0 => Copying::InTheKernel,
            _ => Copying::ByHand,
        })
    }
}

#[derive(Clone, Copy)]
enum Copying {
    Shared,
    InTheKernel,
    ByHand,
}

/// Maps a file and brings it into memory; says whether the latter is possible, or none if the map shows other
/// bytes than the file has.
fn map(file: &File) -> io::Result<Option<bool>> {
    let len = file.metadata()?.len();
    let piece = Piece::File {
        file,
        offset: 0,
        len,
    };
    let map = Mapping::new(&[piece]).map_err(io::Error::other)?;
    let populates = match map.populate(0..map.len()) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => false,
        done => done.map(|()| true)?,
    };
    let mut bytes = vec![0; map.len()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok((bytes == *map).then_some(populates))
}

fn no_locks(why: &str) -> HealthCheck {
    HealthCheck::problem(
        "locks",
        why,
        "they keep writers apart and a collection off what is being read: put the store on a file system with \
         flock (ext4, xfs, btrfs, NFS with its lock service)",
    )
}

/// Options that keep locks on one machine: of NFS, and of Lustre.
const LOCAL_LOCKS: [&str; 2] = ["nolock", "localflock"];

fn locks(
    tried: io::Result<Option<&'static str>>,
    mount: Option<&Mount>,
    file: &File,
) -> HealthCheck {
    match tried {
        Err(e) => return no_locks(&e.to_string()),
        Ok(Some(fault)) => return no_locks(fault),
        Ok(None) => {}
    }
    if !fsio::is_remote(file) {
        return HealthCheck::ok("locks", "shared and exclusive locks work");
    }
    let is_local = mount.is_some_and(|mount| {
        LOCAL_LOCKS.iter().any(|option| mount.has_option(option))
            || matches!(mount.option("local_lock"), Some("all" | "flock"))
    });
    match is_local {
        true => HealthCheck::note(
            "locks",
            "work on this machine; by its options, the mount keeps them from others",
            "use the store from this machine only, or mount it without local locks (nolock, local_lock, localflock)",
        ),
        false => HealthCheck::note(
            "locks",
            "work on this machine; whether other machines see them was not tried",
            "before several machines use it, run this on one of them while the store is open for writing on another",
        ),
    }
}

fn holes(tried: io::Result<Option<u64>>) -> HealthCheck {
    const WHOLE_PACKS: &str = "a collection frees space here only where a whole pack is dead; ext4, xfs, btrfs and tmpfs punch holes";
    match tried {
        Ok(Some(0)) => HealthCheck::note(
            "holes",
            "a hole can be punched, and frees nothing",
            WHOLE_PACKS,
        ),
        Ok(Some(freed)) => {
            let punched = HOLE.end - HOLE.start;
            HealthCheck::ok("holes", "punching one frees its space")
                .with_figures(&[("punched_bytes", punched), ("freed_bytes", freed)])
        }
        Ok(None) => HealthCheck::problem(
            "holes",
            "punching one changed other bytes than those in it",
            "the file system is at fault: do not keep a store on it",
        ),
        Err(e) => HealthCheck::note("holes", format!("none can be punched: {e}"), WHOLE_PACKS),
    }
}

/// Never a problem: it only decides how fast `get` is.
fn copies(tried: Result<Copying, FileError>) -> HealthCheck {
    let found = match tried {
        Ok(Copying::Shared) => "reflinks: what `get` writes shares its space with the store",
        Ok(Copying::InTheKernel) => "the kernel copies; there are no reflinks",
        Ok(Copying::ByHand) => "by reading and writing",
        Err(e) => return HealthCheck::ok("copies", format!("not tried: {e}")),
    };
    HealthCheck::ok("copies", found)
}

fn maps(tried: io::Result<Option<bool>>) -> HealthCheck {
    match tried {
        Ok(Some(true)) => HealthCheck::ok("maps", "files can be mapped and brought into memory"),
        Ok(Some(false)) => HealthCheck::note(
            "maps",
            "files can be mapped; Linux before 5.14 does not bring them into memory on request",
            "load with --residency copy to have the bytes in memory when the load returns",
        ),
        Ok(None) => HealthCheck {
            status: Health::Problem,
            ..HealthCheck::note(
                "maps",
                "a map shows other bytes than reading",
                "the file system is at fault: do not keep a store on it",
            )
        },
        Err(e) => HealthCheck::problem(
            "maps",
            format!("files cannot be mapped: {e}"),
            "load with --residency copy, or put the store on another file system",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_goes_by_what_the_system_said() {
        let of = |code| advice(&io::Error::from_raw_os_error(code));
        for code in [libc::EACCES, libc::EPERM, libc::EROFS] {
            assert!(of(code).contains("a user who may write"), "{code}");
        }
        for code in [libc::ENOSPC, libc::EDQUOT] {
            assert!(of(code).contains("free space"), "{code}");
        }
        assert!(of(libc::ENOENT).contains("makes the folder anew"));
        assert_eq!(of(libc::EIO), AGAIN);
    }
}
