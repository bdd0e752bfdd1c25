//! The same chunks under the same CIDs as values in sled and in packs with sled rows, side by side:
//! `cargo bench --bench payload`.
//!
//! Every measurement is a process of its own, the sides alternate (A B C A B C), and medians are printed as one
//! table in markdown, as the README quotes it. `-- --size 256MiB` says how many bytes each cell stores,
//! `--dir DIR` on which disk, `--rounds N` how often; `-- table` and `-- survival` print one half each, `-- sweep`
//! prints how the settings of the tuned sled were found. Survival needs root, for a loop device.

mod child;
mod chunks;
mod disk;
mod loop_disk;
mod measure;
mod packs;
mod side;
mod sled_blocks;
mod survival;
mod sweep;
mod table;

#[path = "../tools/checkpoint.rs"]
mod checkpoint;
#[path = "../tools/peak_memory.rs"]
mod peak_memory;

use std::error::Error;
use std::path::PathBuf;

use ipfs_accelerate::ByteSize;

use chunks::Chunks;
use disk::Scratch;
use side::Side;

/// What every part needs.
struct Setup {
    dir: PathBuf,
    size_bytes: u64,
    rounds: usize,
}

const CHUNK_BYTES: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if arguments.first().is_some_and(|a| a == "child") {
        return child::run(&arguments[1..]);
    }
    let mut setup = Setup {
        dir: std::env::temp_dir(),
        size_bytes: 1 << 30,
        rounds: 3,
    };
    let mut parts = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || {
            rest.next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--size" => setup.size_bytes = value()?.parse::<ByteSize>()?.bytes(),
            "--dir" => setup.dir = value()?.into(),
            "--rounds" => setup.rounds = value()?.parse()?,
            "table" | "survival" | "sweep" => parts.push(argument),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    if setup.rounds == 0 || setup.size_bytes < 16 << 20 {
        return Err("at least one round and 16 MiB are needed".into());
    }
    let scratch = Scratch::new(&setup.dir)?;
    if parts.iter().any(|part| part == "sweep") {
        return sweep::run(&scratch, &setup);
    }
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    let mut rows = Vec::new();
    for len in CHUNK_BYTES {
        let chunks = Chunks::of(setup.size_bytes, len);
        let sides = Side::compared(len);
        let mut measured: Vec<_> = sides.iter().map(|_| table::Row::new(len)).collect();
        if wants("table") {
            scratch.write_cids(&chunks)?;
            for round in 0..setup.rounds {
                for (side, row) in sides.iter().zip(&mut measured) {
                    row.measure(&scratch, side, &chunks)?;
                    eprintln!("{}: round {}: {}", row.title(side), round + 1, row.latest());
                }
            }
        }
        if wants("survival") {
            for (side, row) in sides.iter().zip(&mut measured) {
                row.survival = survival::measure(&scratch, side, len);
                eprintln!("{}: survival: {}", row.title(side), row.survival);
            }
        }
        rows.extend(sides.into_iter().zip(measured));
    }
    println!(
        "\n{} in each cell, medians of {}\n",
        ByteSize::new(setup.size_bytes),
        setup.rounds
    );
    table::print(&rows);
    Ok(())
}

/// The middle value; of an even number the lower one.
fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}
