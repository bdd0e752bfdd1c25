//! What checkpoints that resemble each other take under `tensor-v1`: a fine-tune, and other shards.

use std::error::Error;

use ipfs_accelerate::{AddOptions, ByteSize, Chunker, Profile, Store};

use crate::checkpoint::{Spec, synthesize};
use crate::scratch::Scratch;

const CHUNK: u64 = 1 << 20;

pub(crate) fn run(scratch: &Scratch, size_bytes: u64) -> Result<(), Box<dyn Error>> {
    let base = Spec {
        size_bytes,
        ..Spec::default()
    };
    let tuned = Spec {
        tuned_every: 10,
        ..base.clone()
    };
    let resharded = Spec {
        shards: base.shards + 3,
        ..base.clone()
    };
    println!(
        "\nwhat resembles a checkpoint that is there ({} each)",
        ByteSize::new(size_bytes)
    );
    for chunker in [Chunker::TensorV1, Chunker::Size(1 << 20)] {
        scratch.clear("store")?;
        let store = Store::create(scratch.path("store"))?;
        let profile = Profile::default().with_chunker(chunker)?;
        let options = AddOptions::default().with_profile(profile);
        let add = |spec: &Spec| -> Result<_, Box<dyn Error>> {
            scratch.clear("checkpoint")?;
            let made = synthesize(&scratch.path("checkpoint"), spec)?;
            let added = store.add_path(scratch.path("checkpoint"), &options)?;
            Ok((made, added))
        };
        add(&base)?;
        let (made, added) = add(&tuned)?;
        let allowed = (made.tuned_bytes as f64 * 1.01) as u64 + made.tuned_tensors as u64 * CHUNK;
        println!("  {chunker}");
        println!(
            "    {} of {} tensors changed, {}: {} new, {:.4} of it   wanted: at most {:.4}",
            made.tuned_tensors,
            made.tensors,
            ByteSize::new(made.tuned_bytes),
            ByteSize::new(added.new_bytes),
            added.new_bytes as f64 / made.tuned_bytes as f64,
            allowed as f64 / made.tuned_bytes as f64,
        );
        let (made, added) = add(&resharded)?;
        println!(
            "    in {} shards instead of {}: {} new, {:.4} of all   wanted: at most 0.02",
            made.shards.len(),
            base.shards,
            ByteSize::new(added.new_bytes),
            added.new_bytes as f64 / added.size as f64,
        );
    }
    Ok(())
}
