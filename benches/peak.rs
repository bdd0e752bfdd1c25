//! Peak resident memory of an add and of a load, by size: `cargo bench --bench peak`.
//!
//! Each figure is that of a process of its own. `-- 64MiB 1GiB` chooses the sizes.

#[path = "tools/checkpoint.rs"]
mod checkpoint;
#[path = "tools/peak_memory.rs"]
mod peak_memory;

use std::error::Error;
use std::process::Command;

use peak_memory::peak_bytes;

use ipfs_accelerate::{
    AddOptions, ByteSize, LoadOptions, Store, StoreReader, load_checkpoint_and_dispatch,
};

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
    let sizes = match arguments.is_empty() {
        true => vec![
            "64MiB".to_owned(),
            "256MiB".to_owned(),
            "1GiB".to_owned(),
            "4GiB".to_owned(),
        ],
        false => arguments,
    };
    println!(
        "{:>10}  {:>14}  {:>14}",
        "size", "peak of add", "peak of load"
    );
    for size in sizes {
        let size: ByteSize = size.parse()?;
        let dir = tempfile::tempdir()?;
        let source = dir.path().join("checkpoint");
        let spec = checkpoint::Spec {
            size_bytes: size.bytes(),
            ..checkpoint::Spec::default()
        };
        checkpoint::synthesize(&source, &spec)?;
        let store = dir.path().join("store").display().to_string();
        let added = spawn(&["child-add", &store, &source.display().to_string()])?;
        let (cid, add) = added.split_once(' ').ok_or("no figures")?;
        let load = spawn(&["child-load", &store, cid])?;
        let shown = |bytes: &str| bytes.trim().parse().map(ByteSize::new);
        println!("{size:>10}  {:>14}  {:>14}", shown(add)?, shown(&load)?);
    }
    Ok(())
}

fn spawn(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn child(what: &str, store: &str, rest: &str) -> Result<(), Box<dyn Error>> {
    if what == "child-add" {
        let cid = Store::create(store)?
            .add_path(rest, &AddOptions::default())?
            .cid;
        println!("{cid} {}", peak_bytes()?);
        return Ok(());
    }
    let reader = StoreReader::open(store)?;
    let loaded = load_checkpoint_and_dispatch(&reader, &rest.parse()?, LoadOptions::default())?;
    assert_eq!(loaded.len(), 399);
    println!("{}", peak_bytes()?);
    Ok(())
}
