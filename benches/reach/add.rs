//! `add` of fresh data against `copy_file_range` and fsync, and against what both cores can hash.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use ipfs_accelerate::{ByteSize, HashFunction, StoreReader};

use crate::scratch::{Scratch, settle};
use crate::{child, median};

const ROUNDS: usize = 5;

pub(crate) fn run(scratch: &Scratch, source: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let (mut copies, mut hashes, mut adds, mut peaks) = (vec![], vec![], vec![], vec![]);
    let mut disk = 0.0;
    read_through(source)?;
    for _ in 0..ROUNDS {
        scratch.clear("copy")?;
        settle();
        copies.push(bytes as f64 / copy(source, &scratch.path("copy"))?);
        scratch.clear("copy")?;
        hashes.push(hash_limit());

        scratch.clear("store")?;
        settle();
        let store = scratch.path("store");
        let (printed, _) = child::spawn(&["add", text(&store)?, text(source)?])?;
        let mut fields = printed.split_whitespace();
        adds.push(bytes as f64 / fields.next().ok_or("no seconds")?.parse::<f64>()?);
        peaks.push(fields.next().ok_or("no peak")?.parse::<f64>()?);
        let totals = StoreReader::open(&store)?.totals()?;
        disk = (totals.pack_disk_bytes + totals.index_disk_bytes) as f64 / bytes as f64;
    }
    let (copy, hash, add) = (median(&mut copies), median(&mut hashes), median(&mut adds));
    let rate = |value: f64| format!("{}/s", ByteSize::new(value as u64));
    println!("\nadd, source in the page cache (medians of {ROUNDS}, alternating)");
    println!("  copy_file_range + fsync   {:>12}", rate(copy));
    println!("  sha2-256 on all cores     {:>12}", rate(hash));
    println!("  add                       {:>12}", rate(add));
    println!(
        "  add / the smaller one     {:>12.2}   wanted: at least 0.7",
        add / copy.min(hash)
    );
    let peak = ByteSize::new(median(&mut peaks) as u64);
    println!("  peak resident memory      {peak:>12}   wanted: under 256 MiB");
    println!("  disk use / payload        {disk:>12.4}   wanted: under 1.01");
    Ok(())
}

pub(crate) fn text(path: &Path) -> Result<&str, Box<dyn Error>> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?)
}

/// Brings the source into the page cache.
fn read_through(source: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(source)? {
        std::io::copy(&mut File::open(entry?.path())?, &mut std::io::sink())?;
    }
    Ok(())
}

fn copy(source: &Path, target: &Path) -> std::io::Result<f64> {
    let begun = Instant::now();
    fs::create_dir(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let from = File::open(entry.path())?;
        let to = File::create(target.join(entry.file_name()))?;
        let mut left = from.metadata()?.len() as usize;
        while left > 0 {
            left -= rustix::fs::copy_file_range(&from, None, &to, None, left)?;
        }
        to.sync_all()?;
    }
    File::open(target)?.sync_all()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Bytes a second that all cores hash in chunks of 1 MiB that are in memory already.
pub(crate) fn hash_limit() -> f64 {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 1_024;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let data = vec![7_u8; CHUNK];
                for _ in 0..CHUNKS {
                    std::hint::black_box(
                        HashFunction::Sha2_256.digest(std::hint::black_box(&data)),
                    );
                }
            });
        }
    });
    (cores * CHUNKS * CHUNK) as f64 / begun.elapsed().as_secs_f64()
}
