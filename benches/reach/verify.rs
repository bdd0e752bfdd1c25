//! `verify` against reading the packs and nothing else, and against what all cores can hash.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use ipfs_accelerate::{AddOptions, ByteSize, Store};

use crate::add::{hash_limit, text};
use crate::scratch::{Scratch, drop_caches};
use crate::{child, median};

const ROUNDS: usize = 5;

pub(crate) fn run(scratch: &Scratch, source: &Path) -> Result<(), Box<dyn Error>> {
    scratch.clear("store")?;
    let path = scratch.path("store");
    let store = Store::create(&path)?;
    store.add_path(source, &AddOptions::default())?;
    drop(store);
    let bytes = packs(&path)?;
    println!("\nverify (medians of {ROUNDS}, alternating)");
    for cold in [true, false] {
        let state = if cold { "cold" } else { "warm" };
        let forget = || -> Result<(), Box<dyn Error>> {
            match cold && !drop_caches() {
                true => Err("the page cache cannot be emptied".into()),
                false => Ok(()),
            }
        };
        if let Err(e) = forget() {
            println!("  {state}: not measured, {e}");
            continue;
        }
        let (mut reads, mut hashes, mut verified, mut peaks) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            forget()?;
            let begun = Instant::now();
            packs(&path)?;
            reads.push(bytes as f64 / begun.elapsed().as_secs_f64());
            hashes.push(hash_limit());
            forget()?;
            let (printed, _) = child::spawn(&["verify", text(&path)?, ""])?;
            let mut fields = printed.split_whitespace();
            let seconds: f64 = fields.next().ok_or("no seconds")?.parse()?;
            verified.push(bytes as f64 / seconds);
            peaks.push(fields.next().ok_or("no peak")?.parse::<f64>()?);
        }
        let (read, hash) = (median(&mut reads), median(&mut hashes));
        let verify = median(&mut verified);
        let rate = |value: f64| format!("{}/s", ByteSize::new(value as u64));
        println!("  {state}");
        println!("    reading the packs         {:>12}", rate(read));
        println!("    sha2-256 on all cores     {:>12}", rate(hash));
        println!("    verify                    {:>12}", rate(verify));
        println!(
            "    verify / the smaller one  {:>12.2}   wanted: at least 0.7",
            verify / read.min(hash)
        );
        let peak = ByteSize::new(median(&mut peaks) as u64);
        println!("    peak resident memory      {peak:>12}");
    }
    Ok(())
}

/// Reads all packs from their starts to their ends; returns how many bytes they have.
fn packs(store: &Path) -> std::io::Result<u64> {
    let mut buffer = vec![0; 4 << 20];
    let mut bytes = 0;
    for entry in fs::read_dir(store.join("packs"))? {
        let mut file = File::open(entry?.path())?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}
