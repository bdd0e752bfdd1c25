//! Opening and repairing a store of a million blocks.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipfs_accelerate::{ByteSize, RepairOptions, StoreReader, apply_repair, plan_repair};

use crate::scratch::{Scratch, settle};
use crate::{child, many_blocks, median};

/// At the size that a run has unless told otherwise.
const BLOCKS: u64 = 1_000_000;
const WHOLE_BYTES: u64 = 4 << 30;
const ROUNDS: usize = 3;

/// What is done to the store before it is repaired.
type Damage = fn(&Path) -> std::io::Result<()>;

pub(crate) fn run(scratch: &Scratch, size_bytes: u64) -> Result<(), Box<dyn Error>> {
    scratch.clear("repair")?;
    let path = scratch.path("repair");
    let blocks = (BLOCKS * size_bytes).div_ceil(WHOLE_BYTES).min(BLOCKS);
    drop(many_blocks::store_of(&path, blocks)?);
    let totals = StoreReader::open(&path)?.totals()?;
    println!(
        "\na store of {} blocks in {} packs and {} objects, in the page cache",
        totals.blocks, totals.packs, totals.objects
    );
    let text = path.to_str().ok_or("a path that is not UTF-8")?;
    let timed = |what: &str, rest: &str| -> Result<(f64, u64), Box<dyn Error>> {
        settle();
        let (printed, _) = child::spawn(&[what, text, rest])?;
        let mut words = printed.split_whitespace();
        let seconds = words.next().ok_or("no time")?.parse()?;
        Ok((seconds, words.next().ok_or("no memory")?.parse()?))
    };
    let mut times = Vec::new();
    let mut peak = 0;
    for _ in 0..ROUNDS {
        let (seconds, memory) = timed("open", "-")?;
        times.push(seconds);
        peak = peak.max(memory);
    }
    say("open for writing", median(&mut times), peak, "under 2");
    let damages: [(&str, &str, Damage); 4] = [
        ("repair, nothing wrong", "trust", |_| Ok(())),
        ("every block hashed", "rehash", |_| Ok(())),
        ("index and all roots lost", "trust", |store| {
            fs::remove_dir_all(store.join("db"))?;
            fs::remove_dir_all(store.join("roots"))
        }),
        ("every header, one table", "trust", |store| {
            let packs = packs(store)?;
            packs
                .iter()
                .try_for_each(|pack| overwrite(pack, 0, &[0; 128]))?;
            let end = fs::metadata(&packs[0])?.len();
            overwrite(&packs[0], end - 4_096, &[0; 4_096])
        }),
    ];
    for (what, how, damage) in damages {
        damage(&path)?;
        let (seconds, memory) = timed("repair", how)?;
        say(what, seconds, memory, "under 60");
    }
    scratch.clear("repair")?;
    Ok(())
}

fn say(what: &str, seconds: f64, peak_bytes: u64, wanted: &str) {
    let peak = ByteSize::new(peak_bytes).to_string();
    println!("  {what:<26} {seconds:>8.2} s  peak {peak:>10}   wanted: {wanted}");
}

fn packs(store: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(store.join("packs"))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all_at(bytes, at)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o444))
}

/// The child's part: repairs, and fails if something is left.
pub(crate) fn repair(store: &str, how: &str) -> Result<(), Box<dyn Error>> {
    let mut options = RepairOptions::default();
    options.rehash = how == "rehash";
    let report = apply_repair(&plan_repair(store, &options)?)?;
    match report.left() {
        0 => Ok(()),
        _ => Err(format!("{:#?}", report.findings).into()),
    }
}
