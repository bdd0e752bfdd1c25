//! What is left of acknowledged blocks after the power is cut right after the acknowledgement.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::child;
use super::disk::Scratch;
use super::loop_disk::{CutDisk, LoopDisk};
use super::side::Side;

/// Each acknowledged on its own, and followed by a cut.
const BATCHES: usize = 4;
const BATCH_BYTES: usize = 16 << 20;
const DISK_BYTES: u64 = 1 << 30;
const CONTROL_BYTES: usize = 1 << 20;

/// Blocks over all cuts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Survival {
    #[default]
    Skipped,
    Impossible(String),
    Counted {
        present: usize,
        acknowledged: usize,
    },
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped => f.write_str("not measured"),
            Self::Impossible(reason) => write!(f, "not measured: {reason}"),
            Self::Counted {
                present,
                acknowledged,
            } => write!(f, "{present} of {acknowledged}"),
        }
    }
}

/// Counts in a mount namespace of its own, so that nothing stays mounted whatever happens.
pub(crate) fn measure(scratch: &Scratch, side: &Side, len: usize) -> Survival {
    let count = || -> Result<Survival, Box<dyn Error>> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can set up a loop device".into());
        }
        scratch.clear("survival")?;
        let folder = scratch.path("survival");
        fs::create_dir(&folder)?;
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "slave"])
            .arg(std::env::current_exe()?)
            .args(["child", "survive", &side.to_string()])
            .arg(&folder)
            .arg(len.to_string())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("unshare: {e}"))?;
        scratch.clear("survival")?;
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next().ok_or("no loop device could be used");
        Ok(Survival::Counted {
            present: next()??,
            acknowledged: next()??,
        })
    };
    count().unwrap_or_else(|e| Survival::Impossible(e.to_string()))
}

/// What [`measure`] starts.
pub(crate) fn run(side: &Side, folder: &Path, len: usize) -> Result<(), Box<dyn Error>> {
    let each = BATCH_BYTES / len;
    let cuts = fill_and_cut(side, folder, len, each)?;
    let (mut present, mut acknowledged) = (0, 0);
    for (number, cut) in cuts.into_iter().enumerate() {
        let count = (number + 1) * each;
        let disk = cut.mount()?;
        if File::open(disk.path().join(control(number)))
            .is_ok_and(|file| file.metadata().is_ok_and(|m| m.len() > 0))
        {
            return Err("the copy holds a file that was never synced, so it shows nothing".into());
        }
        let arguments = [len.to_string(), count.to_string()];
        match child::spawn("check", side, &disk.path().join("store"), &arguments) {
            Ok(numbers) => present += numbers.first().copied().unwrap_or(0.0) as usize,
            Err(e) => eprintln!("after cut {}: {e}", number + 1),
        }
        acknowledged += count;
    }
    println!("{present} {acknowledged}");
    Ok(())
}

/// One cut for each batch, made as soon as the store had called the batch durable.
fn fill_and_cut(
    side: &Side,
    folder: &Path,
    len: usize,
    each: usize,
) -> Result<Vec<CutDisk>, Box<dyn Error>> {
    let disk = LoopDisk::create(&folder.join("disk"), DISK_BYTES)?;
    let mut store = child::command("fill", side, &disk.path().join("store"))?
        .args([len.to_string(), BATCHES.to_string(), each.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut cut_all = || -> Result<Vec<CutDisk>, Box<dyn Error>> {
        let mut go_on = store.stdin.take().ok_or("no pipe")?;
        let mut said = BufReader::new(store.stdout.take().ok_or("no pipe")?).lines();
        let mut cuts = Vec::new();
        for number in 0..BATCHES {
            let word = said.next().ok_or("the store failed")??;
            if word != "durable" {
                return Err(format!("the store said {word}").into());
            }
            fs::write(disk.path().join(control(number)), [1; CONTROL_BYTES])?;
            cuts.push(disk.copy(&folder.join(format!("cut-{number}")))?);
            go_on.write_all(b"\n")?;
        }
        Ok(cuts)
    };
    let cuts = cut_all();
    if cuts.is_err() {
        store.kill()?;
    }
    store.wait()?;
    cuts
}

/// A file that nobody syncs: a cut that holds its bytes was made too late.
fn control(number: usize) -> String {
    format!("never-synced-{number}")
}
