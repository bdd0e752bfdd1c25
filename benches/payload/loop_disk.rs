//! A disk whose power can be cut: an ext4 file system on a loop device, whose image is copied while it is in use.
//!
//! What the file system has in memory only is not in the image; what it gave to the device is, whether or not the
//! device was told to flush. So the copy is what a power cut leaves, on a disk that loses nothing of its own.
//! Needs root. Whoever uses this runs in a mount namespace of its own (`unshare --mount`): when its last process
//! ends, however it ends, the mounts go, and the devices with them (they clear themselves once unmounted).

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file system's own timer, 5 seconds otherwise, would make durable what nobody asked for, by chance.
const COMMIT_SELDOM: &str = "commit=600";

/// Unmounted and detached when dropped.
pub(crate) struct LoopDisk {
    image: PathBuf,
    /// As `/dev/loop3`.
    device: String,
    mounted: PathBuf,
}

impl LoopDisk {
    /// A fresh file system. `folder` must be absent; the image and the mount point go into it.
    pub(crate) fn create(folder: &Path, bytes: u64) -> Result<Self, Box<dyn Error>> {
        fs::create_dir(folder)?;
        let image = folder.join("image");
        File::create_new(&image)?.set_len(bytes)?;
        // Nothing may write in the background later on.
        let made_now = "lazy_itable_init=0,lazy_journal_init=0";
        let mut mkfs = Command::new("mkfs.ext4");
        run(mkfs.args(["-q", "-F", "-E", made_now]).arg(&image))?;
        Self::mount(folder, image)
    }

    fn mount(folder: &Path, image: PathBuf) -> Result<Self, Box<dyn Error>> {
        let mounted = folder.join("mounted");
        fs::create_dir(&mounted)?;
        let attach = ["--find", "--show", "--direct-io=on"];
        let device = run(Command::new("losetup").args(attach).arg(&image))?;
        let mount = run(Command::new("mount")
            .args(["-o", COMMIT_SELDOM])
            .args([Path::new(&device), &mounted]));
        // Of a mounted device this only says that it goes with the mount.
        let detach = run(Command::new("losetup").args(["--detach", &device]));
        mount.and(detach)?;
        Ok(Self {
            image,
            device,
            mounted,
        })
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// Copies the image as it is, without syncing anything; `folder` must be absent. Where the file system wrote
    /// while the copy was made, the copy is no moment's state and is made again.
    pub(crate) fn copy(&self, folder: &Path) -> Result<CutDisk, Box<dyn Error>> {
        const ATTEMPTS: usize = 5;
        fs::create_dir(folder)?;
        let image = folder.join("image");
        for _ in 0..ATTEMPTS {
            let before = self.writes()?;
            run(Command::new("cp").args([&self.image, &image]))?;
            if before.is_some() && before == self.writes()? {
                let folder = folder.to_owned();
                return Ok(CutDisk { folder, image });
            }
        }
        Err("the file system did not rest".into())
    }

    /// How many writes the device has finished; none while it works on something.
    fn writes(&self) -> Result<Option<u64>, Box<dyn Error>> {
        let name = self.device.trim_start_matches("/dev/");
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let fields: Vec<&str> = stat.split_whitespace().collect();
        let (done, working) = (fields.get(4), fields.get(8));
        let (done, working) = done.zip(working).ok_or("no count of writes")?;
        Ok(match *working {
            "0" => Some(done.parse()?),
            _ => None,
        })
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.mounted));
    }
}

/// An image that was copied from a disk in use.
pub(crate) struct CutDisk {
    folder: PathBuf,
    image: PathBuf,
}

impl CutDisk {
    /// Mounts it, as after the power came back: the journal is replayed.
    pub(crate) fn mount(self) -> Result<LoopDisk, Box<dyn Error>> {
        LoopDisk::mount(&self.folder, self.image)
    }
}

/// Runs a command; returns what it printed.
fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{name}: {}", said.trim()).into())
        }
    }
}
