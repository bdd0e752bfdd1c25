//! Which of sled's settings suit such values best: one at a time changed from what the best has, and the defaults.

use std::error::Error;

use ipfs_accelerate::ByteSize;

use crate::chunks::Chunks;
use crate::disk::Scratch;
use crate::side::Side;
use crate::sled_blocks::SledSetup;
use crate::{CHUNK_BYTES, Setup, table};

fn candidates() -> Vec<(&'static str, SledSetup)> {
    let best = SledSetup::tuned();
    vec![
        ("defaults", SledSetup::documented()),
        ("tuned", best.clone()),
        (
            "segments of 512 KiB",
            SledSetup {
                segment_bytes: 512 << 10,
                ..best.clone()
            },
        ),
        (
            "segments of 2 MiB",
            SledSetup {
                segment_bytes: 2 << 20,
                ..best.clone()
            },
        ),
        (
            "segments of 8 MiB",
            SledSetup {
                segment_bytes: 8 << 20,
                ..best.clone()
            },
        ),
        (
            "cache of 64 MiB",
            SledSetup {
                cache_bytes: 64 << 20,
                ..best.clone()
            },
        ),
        (
            "cache of 256 MiB",
            SledSetup {
                cache_bytes: 256 << 20,
                ..best.clone()
            },
        ),
        (
            "cache of 4 GiB",
            SledSetup {
                cache_bytes: 4 << 30,
                ..best.clone()
            },
        ),
        (
            "low space",
            SledSetup {
                fast: false,
                ..best.clone()
            },
        ),
        (
            "flush every 500 ms",
            SledSetup {
                flush_every_ms: Some(500),
                ..best.clone()
            },
        ),
        (
            "batches of 16",
            SledSetup {
                batch: 16,
                ..best.clone()
            },
        ),
    ]
}

pub(crate) fn run(scratch: &Scratch, setup: &Setup) -> Result<(), Box<dyn Error>> {
    println!("sled, {} in each row", ByteSize::new(setup.size_bytes));
    for len in CHUNK_BYTES {
        let chunks = Chunks::of(setup.size_bytes, len);
        scratch.write_cids(&chunks)?;
        println!("\nchunks of {}", ByteSize::new(len as u64));
        for (name, candidate) in candidates() {
            let mut row = table::Row::new(len);
            for _ in 0..setup.rounds {
                row.measure(scratch, &Side::Sled(candidate.clone()), &chunks)?;
            }
            println!("  {name:<20} {}", row.latest());
        }
    }
    Ok(())
}
