//! `load` with residency `lazy` against the `safetensors` crate mapping and parsing the same files.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipfs_accelerate::checkpoint::LoadOptions;
use ipfs_accelerate::{AddOptions, Store, load_checkpoint_and_dispatch};
use safetensors::SafeTensors;

use crate::median;
use crate::scratch::Scratch;

const ROUNDS: usize = 30;

pub(crate) fn run(scratch: &Scratch, source: &Path) -> Result<(), Box<dyn Error>> {
    scratch.clear("store")?;
    let store = Store::create(scratch.path("store"))?;
    let cid = store.add_path(source, &AddOptions::default())?.cid;
    let reader = store.to_reader();
    let target = cid.into();
    let shards = shards(source)?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    let mut report = None;
    for _ in 0..ROUNDS {
        theirs.push(map_and_parse(&shards)?);
        let begun = Instant::now();
        let loaded = load_checkpoint_and_dispatch(&reader, &target, LoadOptions::default())?;
        ours.push(begun.elapsed().as_secs_f64());
        report = Some(loaded.report().clone());
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let report = report.ok_or("no round")?;
    println!("\nload, lazy (medians of {ROUNDS}, alternating)");
    println!("  safetensors, map and parse {:>10.3} ms", theirs * 1e3);
    println!("  load_checkpoint            {:>10.3} ms", ours * 1e3);
    println!(
        "  ratio                      {:>10.2}   wanted: at most 2",
        ours / theirs
    );
    println!(
        "  tensors {}, zero-copy {} of {} bytes   wanted: all; stages {:?}",
        report.tensors, report.zero_copy_bytes, report.bytes, report.stages
    );
    Ok(())
}

pub(crate) fn shards(source: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(source)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[expect(
    unsafe_code,
    reason = "the safetensors crate's users map files themselves"
)]
fn map_and_parse(shards: &[PathBuf]) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let mut maps = Vec::with_capacity(shards.len());
    for path in shards {
        // SAFETY: the files are this bench's own, and nobody changes them.
        maps.push(unsafe { memmap2::Mmap::map(&File::open(path)?)? });
    }
    let mut parsed = Vec::with_capacity(maps.len());
    for map in &maps {
        parsed.push(SafeTensors::deserialize(map)?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::hint::black_box(parsed);
    Ok(seconds)
}
