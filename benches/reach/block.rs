//! A block from the memory tier, and from its pack by way of the index.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use ipfs_accelerate::{Block, HashFunction, RAW, Store, StoreOptions};

use crate::median;
use crate::scratch::Scratch;

const BLOCKS: u32 = 10_000;
const ROUNDS: usize = 15;
const GETS: usize = 50_000;

pub(crate) fn run(scratch: &Scratch) -> Result<(), Box<dyn Error>> {
    scratch.clear("single")?;
    let path = scratch.path("single");
    let block = |i: u32| Block::new(RAW, HashFunction::Sha2_256, i.to_le_bytes().repeat(64));
    let blocks: Vec<Block> = (0..BLOCKS).map(block).collect();
    {
        let store = Store::create(&path)?;
        let mut session = store.session();
        for block in &blocks {
            session.put_block(block)?;
        }
        session.commit()?;
    }
    println!("\na block of 256 bytes of {BLOCKS}, one thread (medians of {ROUNDS} rounds)");
    for (what, memory_bytes, wanted) in [
        ("memory tier hit", 500_000_000, "under 200"),
        ("by index and pack", 0, "under 5000"),
    ] {
        let mut options = StoreOptions::default();
        options.memory_bytes = memory_bytes;
        let store = Store::open_with(&path, options)?;
        let mut next = 0;
        let mut get = |gets: usize| -> Result<f64, Box<dyn Error>> {
            let begun = Instant::now();
            for _ in 0..gets {
                next = (next + 7_919) % blocks.len();
                black_box(store.get_block(black_box(blocks[next].cid()))?);
            }
            Ok(begun.elapsed().as_secs_f64() / gets as f64)
        };
        // Every block once: 7,919 and 10,000 have no common divisor.
        get(blocks.len())?;
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(get(GETS)?);
        }
        let nanoseconds = median(&mut times) * 1e9;
        println!("  {what:<18} {nanoseconds:>8.0} ns   wanted: {wanted}");
    }
    scratch.clear("single")?;
    Ok(())
}
