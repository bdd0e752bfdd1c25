//! The first tensor from a store of a million blocks, counted from the start of the process.

use std::error::Error;
use std::path::Path;

use ipfs_accelerate::StoreReader;

use crate::scratch::{Scratch, drop_caches};
use crate::{child, median};

const ROUNDS: usize = 15;

pub(crate) fn run(scratch: &Scratch, source: &Path) -> Result<(), Box<dyn Error>> {
    scratch.clear("blocks")?;
    let store = scratch.path("blocks");
    let path = store.to_str().ok_or("a path that is not UTF-8")?;
    let source = source.to_str().ok_or("a path that is not UTF-8")?;
    let (printed, _) = child::spawn(&["add-small-chunks", path, source])?;
    let cid = printed
        .split_whitespace()
        .nth(2)
        .ok_or("no CID")?
        .to_owned();
    let totals = StoreReader::open(&store)?.totals()?;
    println!(
        "\nfirst tensor from process start, {} blocks in {} packs",
        totals.blocks, totals.packs
    );
    let first = |rounds: usize| -> Result<f64, Box<dyn Error>> {
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(child::spawn(&["first-tensor", path, &cid])?.1);
        }
        Ok(median(&mut times))
    };
    first(1)?;
    println!(
        "  page cache warm  {:>8.2} ms   wanted: under 10",
        first(ROUNDS)? * 1e3
    );
    match drop_caches() {
        true => println!("  page cache cold  {:>8.2} ms   (once)", first(1)? * 1e3),
        false => println!("  page cache cold: not measured, only root can drop it"),
    }
    Ok(())
}
