//! File systems of a test's own; none where this user may not mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Says that a test was not run, for a mount that could not be made.
fn skipped<T>(what: &str) -> Option<T> {
    println!("skipped: this user may not mount {what}");
    None
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A mounted folder, unmounted when dropped.
pub(crate) struct Mounted {
    point: PathBuf,
    /// Held for its drop, after the mount's.
    _dir: TempDir,
}

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// A folder that is memory, with room for so many bytes.
    pub(crate) fn tmpfs(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("tmpfs");
        fs::create_dir(&point).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(&point)
            .output();
        match mount.is_ok_and(|output| output.status.success()) {
            true => Some(Self { point, _dir: dir }),
            false => skipped("a tmpfs"),
        }
    }

    /// An ext4 in a file.
    pub(crate) fn ext4(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, point) = (dir.path().join("image"), dir.path().join("ext4"));
        fs::create_dir(&point).unwrap();
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .args([&image, &point]));
        match made {
            true => Some(Self { point, _dir: dir }),
            false => skipped("an ext4 in a file"),
        }
    }

    /// A folder shown again, for reading only.
    pub(crate) fn read_only(folder: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("shown");
        fs::create_dir(&point).unwrap();
        let bind = run(Command::new("mount").arg("--bind").args([folder, &point]));
        let mounted = Self { point, _dir: dir };
        let remounted = bind
            && run(Command::new("mount")
                .args(["-o", "remount,bind,ro"])
                .arg(&mounted.point));
        match remounted {
            true => Some(mounted),
            false => skipped("a folder read-only"),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.point).status();
    }
}

/// Two layers on a tmpfs, on which overlays can be mounted; what is not writable may lie on a second one.
pub(crate) struct Layers {
    base: Mounted,
    lower: PathBuf,
    /// Held for its drop.
    _second: Option<Mounted>,
}

impl Layers {
    pub(crate) fn new(on_one_file_system: bool) -> Option<Self> {
        let base = Mounted::tmpfs(64 << 20)?;
        let second = match on_one_file_system {
            true => None,
            false => Some(Mounted::tmpfs(64 << 20)?),
        };
        let lower = second.as_ref().unwrap_or(&base).path().join("lower");
        for folder in [
            lower.as_path(),
            &base.path().join("upper"),
            &base.path().join("work"),
        ] {
            fs::create_dir(folder).unwrap();
        }
        Some(Self {
            base,
            lower,
            _second: second,
        })
    }

    /// The layer that is not written to.
    pub(crate) fn lower(&self) -> &Path {
        &self.lower
    }

    /// The layer that is.
    pub(crate) fn upper(&self) -> PathBuf {
        self.base.path().join("upper")
    }

    /// The two as one.
    pub(crate) fn mount(&self) -> Option<Mounted> {
        let work = self.base.path().join("work");
        self.mount_with(&self.upper(), &work)
    }

    /// The lower layer with another writable one, as in a second container of an image.
    pub(crate) fn mount_beside(&self) -> Option<Mounted> {
        let (upper, work) = (
            self.base.path().join("upper-2"),
            self.base.path().join("work-2"),
        );
        for folder in [&upper, &work] {
            fs::create_dir(folder).unwrap();
        }
        self.mount_with(&upper, &work)
    }

    fn mount_with(&self, upper: &Path, work: &Path) -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().join("overlay");
        fs::create_dir(&point).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower.display(),
            upper.display(),
            work.display()
        );
        let mount = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&point)
            .output();
        match mount.is_ok_and(|output| output.status.success()) {
            true => Some(Mounted { point, _dir: dir }),
            false => skipped("an overlay"),
        }
    }
}
