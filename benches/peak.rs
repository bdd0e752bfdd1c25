//! Peak resident memory of add, load, verify and gc by the size of a checkpoint, in a store that holds a million
//! other blocks already: `cargo bench --bench peak`.
//!
//! Each figure is that of a process of its own. `verify` reads the whole store, `gc` takes the checkpoint after it was
//! removed. `-- 64MiB 1GiB` chooses the sizes, `--blocks N` how many blocks are there before, `--dir DIR` the disk,
//! which needs room for twice the largest size.

#[path = "tools/checkpoint.rs"]
mod checkpoint;
#[path = "tools/many_blocks.rs"]
mod many_blocks;
#[path = "tools/peak_memory.rs"]
mod peak_memory;

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use peak_memory::peak_bytes;

use ipfs_accelerate::{
    AddOptions, ByteSize, GcOptions, LoadOptions, RemoveOptions, Store, StoreReader, VerifyOptions,
    load_checkpoint_and_dispatch,
};

const BLOCKS: u64 = 1_000_000;
const SIZES: [&str; 3] = ["1GiB", "4GiB", "16GiB"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let [what, store, rest] = &arguments[..]
        && what.starts_with("child-")
    {
        return child(what, store, rest);
    }
    let mut blocks = BLOCKS;
    let mut disk = std::env::temp_dir();
    let mut sizes = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--blocks" => blocks = value()?.parse()?,
            "--dir" => disk = PathBuf::from(value()?),
            size => sizes.push(size.parse::<ByteSize>()?),
        }
    }
    if sizes.is_empty() {
        let all = SIZES.iter().map(|size| size.parse());
        sizes = all.collect::<Result<_, _>>()?;
    }
    let dir = tempfile::tempdir_in(disk)?;
    let store = dir.path().join("store");
    let before = many_blocks::store_of(&store, blocks)?.totals()?.blocks;
    println!("peak resident memory, in a store of {before} blocks");
    let columns = ["add", "load", "verify", "gc"].map(|column| format!("{column:>10}"));
    println!("{:>10}  {}  freed", "size", columns.join("  "));
    let store = store.display().to_string();
    for size in sizes {
        let source = dir.path().join("checkpoint");
        let spec = checkpoint::Spec {
            size_bytes: size.bytes(),
            ..checkpoint::Spec::default()
        };
        checkpoint::synthesize(&source, &spec)?;
        let (cid, add) = spawn("child-add", &store, &source.display().to_string())?;
        std::fs::remove_dir_all(&source)?;
        let (_, load) = spawn("child-load", &store, &cid)?;
        let (_, verify) = spawn("child-verify", &store, &cid)?;
        let (freed, gc) = spawn("child-gc", &store, &cid)?;
        let peaks = [add, load, verify, gc].map(|peak| format!("{:>10}", peak.to_string()));
        println!("{size:>10}  {}  {freed}", peaks.join("  "));
    }
    Ok(())
}

/// What a child says, and its peak.
fn spawn(what: &str, store: &str, rest: &str) -> Result<(String, ByteSize), Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args([what, store, rest])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (said, peak) = text.trim().split_once(' ').ok_or("no figures")?;
    Ok((said.to_owned(), ByteSize::new(peak.parse()?)))
}

fn child(what: &str, store: &str, rest: &str) -> Result<(), Box<dyn Error>> {
    let said = match what {
        "child-add" => {
            let added = Store::open(store)?.add_path(rest, &AddOptions::default())?;
            added.cid.to_string()
        }
        "child-load" => {
            let reader = StoreReader::open(store)?;
            let options = LoadOptions::default();
            let loaded = load_checkpoint_and_dispatch(&reader, &rest.parse()?, options)?;
            loaded.len().to_string()
        }
        "child-verify" => {
            let report = Store::open(store)?.verify(&VerifyOptions::default())?;
            match report.findings.is_empty() && report.is_complete {
                true => report.blocks.to_string(),
                false => return Err(format!("{:?}", report.findings).into()),
            }
        }
        _ => {
            let store = Store::open(store)?;
            store.remove(&rest.parse()?, &RemoveOptions::with_unpin())?;
            let plan = store.plan_gc(&GcOptions::default())?;
            let report = store.apply_gc(&plan)?;
            format!(
                "{:.4}",
                report.freed_bytes as f64 / plan.freeable_bytes as f64
            )
        }
    };
    println!("{said} {}", peak_bytes()?);
    Ok(())
}
