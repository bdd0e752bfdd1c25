//! The figures that the README claims, as ratios within one run: `cargo bench --bench reach`.
//!
//! Each pair of measurements alternates (A B A B), medians are printed, and nothing here is a test: machines
//! drift by a factor of two, so only the ratios mean anything. `-- --size 1GiB` makes it quicker, `-- add`
//! (or `load`, `residency`, `halves`, `reader`, `share`, `commit`, `block`, `small`, `repair`, `verify`) runs one
//! part, `--dir DIR` chooses the disk.

mod add;
mod block;
mod child;
mod commit;
mod halves;
mod load;
mod reader;
mod repair;
mod residency;
mod scratch;
mod share;
mod small;
mod verify;

#[path = "../tools/checkpoint.rs"]
mod checkpoint;
#[path = "../tools/many_blocks.rs"]
mod many_blocks;
#[path = "../tools/peak_memory.rs"]
mod peak_memory;

use std::error::Error;
use std::path::PathBuf;

use ipfs_accelerate::ByteSize;

/// What every part needs.
struct Setup {
    dir: PathBuf,
    size_bytes: u64,
}

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
        size_bytes: 4 << 30,
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
            "add" | "load" | "residency" | "halves" | "reader" | "share" | "commit" | "block"
            | "small" | "repair" | "verify" => parts.push(argument),
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    let scratch = scratch::Scratch::new(&setup.dir)?;
    if wants("commit") {
        commit::run(&scratch)?;
    }
    if wants("block") {
        block::run(&scratch)?;
    }
    if wants("small") {
        small::run(&scratch, setup.size_bytes)?;
    }
    if wants("repair") {
        repair::run(&scratch, setup.size_bytes)?;
    }
    if wants("share") {
        share::run(&scratch, setup.size_bytes)?;
        scratch.clear("checkpoint")?;
    }
    if wants("halves") {
        halves::run(&scratch, setup.size_bytes)?;
        scratch.clear("store")?;
    }
    if !["add", "load", "residency", "reader", "verify"]
        .iter()
        .any(|part| wants(part))
    {
        return Ok(());
    }
    let source = scratch.path("checkpoint");
    let spec = checkpoint::Spec {
        size_bytes: setup.size_bytes,
        ..checkpoint::Spec::default()
    };
    let made = checkpoint::synthesize(&source, &spec)?;
    println!(
        "\ncheckpoint: {} in {} shards, {} tensors",
        ByteSize::new(made.shard_bytes),
        made.shards.len(),
        made.tensors
    );
    if wants("add") {
        add::run(&scratch, &source, made.shard_bytes)?;
    }
    if wants("load") {
        load::run(&scratch, &source)?;
    }
    if wants("residency") {
        residency::run(&scratch, &source, made.shard_bytes)?;
    }
    if wants("reader") {
        reader::run(&scratch, &source)?;
    }
    if wants("verify") {
        verify::run(&scratch, &source)?;
    }
    Ok(())
}

/// The middle value; of an even number the lower one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}
