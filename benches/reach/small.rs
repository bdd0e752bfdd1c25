//! Very many small files as one folder, against `cp -r` and a sync of the same folder.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ipfs_accelerate::ByteSize;

use crate::checkpoint::Payload;
use crate::scratch::{Scratch, settle};
use crate::{child, median};

const ROUNDS: usize = 3;
/// At the size that a run has unless told otherwise.
const FILES: u64 = 100_000;
const WHOLE_BYTES: u64 = 4 << 30;

pub(crate) fn run(scratch: &Scratch, size_bytes: u64) -> Result<(), Box<dyn Error>> {
    let source = scratch.path("small");
    let files = (FILES * size_bytes).div_ceil(WHOLE_BYTES).min(FILES);
    let bytes = make(&source, files)?;
    println!(
        "\n{files} files of 1 to 100 KiB, {}, in one folder, in the page cache (medians of {ROUNDS}, alternating)",
        ByteSize::new(bytes)
    );
    let (mut copies, mut adds) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        scratch.clear("copy")?;
        settle();
        copies.push(copy(&source, &scratch.path("copy"))?);
        scratch.clear("copy")?;

        scratch.clear("store")?;
        settle();
        let begun = Instant::now();
        child::spawn(&["add", text(&scratch.path("store"))?, text(&source)?])?;
        // To the end of the process, as for `cp`.
        adds.push(begun.elapsed().as_secs_f64());
        let (copy, add) = (copies[copies.len() - 1], adds[adds.len() - 1]);
        println!("  cp -r and sync {copy:>7.2} s   add {add:>7.2} s");
    }
    scratch.clear("store")?;
    scratch.clear("small")?;
    let (copy, add) = (median(&mut copies), median(&mut adds));
    println!(
        "  cp -r and sync / add      {:>12.2}   wanted: at least 0.5",
        copy / add
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str, Box<dyn Error>> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?)
}

fn make(folder: &Path, files: u64) -> std::io::Result<u64> {
    fs::create_dir(folder)?;
    let mut payload = Payload::new(0, "small");
    let mut all = 0;
    let mut content = vec![0; 100 << 10];
    for n in 0..files {
        // Spread evenly over the sizes, and in no order.
        let len = 1_024 + (n * 40_503) % (99 << 10);
        let content = &mut content[..len as usize];
        payload.fill(content);
        fs::write(folder.join(format!("file-{n:06}.bin")), content)?;
        all += len;
    }
    Ok(all)
}

fn copy(source: &Path, target: &Path) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(source)
        .arg(target)
        .status()?;
    let synced = Command::new("sync").arg("-f").arg(target).status()?;
    match copied.success() && synced.success() {
        true => Ok(begun.elapsed().as_secs_f64()),
        false => Err("cp or sync failed".into()),
    }
}
