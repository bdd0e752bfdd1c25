//! Which of sled's settings suit such values: those of the tuned sled, and what one change does to each.

use std::error::Error;

use ipfs_accelerate::ByteSize;

use super::chunks::Chunks;
use super::disk::Scratch;
use super::side::Side;
use super::sled_blocks::SledSetup;
use super::{CHUNK_BYTES, Setup, table};

fn candidates(chunk_bytes: usize) -> Vec<(&'static str, SledSetup)> {
    let tuned = SledSetup::tuned(chunk_bytes);
    let changed = |change: &dyn Fn(&mut SledSetup)| {
        let mut setup = tuned.clone();
        change(&mut setup);
        setup
    };
    vec![
        ("defaults", SledSetup::documented()),
        ("tuned", tuned.clone()),
        (
            "segments of 2 chunks",
            changed(&|s| s.segment_bytes = 2 * chunk_bytes),
        ),
        (
            "segments of 16 MiB",
            changed(&|s| s.segment_bytes = 16 << 20),
        ),
        ("cache of 1 GiB", changed(&|s| s.cache_bytes = 1 << 30)),
        ("mode of low space", changed(&|s| s.fast = false)),
        (
            "flush every 500 ms",
            changed(&|s| s.flush_every_ms = Some(500)),
        ),
        ("batches of 16", changed(&|s| s.batch = 16)),
    ]
}

pub(crate) fn run(scratch: &Scratch, setup: &Setup) -> Result<(), Box<dyn Error>> {
    println!("sled, {} in each row", ByteSize::new(setup.size_bytes));
    for len in CHUNK_BYTES {
        let chunks = Chunks::of(setup.size_bytes, len);
        scratch.write_cids(&chunks)?;
        println!("\nchunks of {}", ByteSize::new(len as u64));
        let candidates = candidates(len);
        let mut rows: Vec<_> = candidates.iter().map(|_| table::Row::new(len)).collect();
        for _ in 0..setup.rounds {
            for ((_, candidate), row) in candidates.iter().zip(&mut rows) {
                row.measure(scratch, &Side::Sled(candidate.clone()), &chunks)?;
            }
        }
        for ((name, _), row) in candidates.iter().zip(&rows) {
            println!("  {name:<20} {}", row.latest());
        }
    }
    Ok(())
}
