//! Loading a checkpoint that shares half its blocks with another, against one that shares nothing.

use std::error::Error;
use std::time::Instant;

use ipfs_accelerate::checkpoint::{LoadOptions, Residency};
use ipfs_accelerate::{AddOptions, Chunker, Profile, Store, load_checkpoint_and_dispatch};

use crate::checkpoint::{Spec, synthesize};
use crate::median;
use crate::residency::touch_loaded;
use crate::scratch::Scratch;

const ROUNDS: usize = 9;

pub(crate) fn run(scratch: &Scratch, size_bytes: u64) -> Result<(), Box<dyn Error>> {
    let base = Spec {
        size_bytes,
        ..Spec::default()
    };
    let half = Spec {
        tuned_every: 2,
        ..base.clone()
    };
    println!(
        "\nload of a checkpoint of whose tensors every second stands in another (medians of {ROUNDS})"
    );
    for chunker in [Chunker::Size(1 << 20), Chunker::TensorV1] {
        scratch.clear("store")?;
        let store = Store::create(scratch.path("store"))?;
        let options = AddOptions::default().with_profile(Profile::default().with_chunker(chunker)?);
        let add = |spec: &Spec| -> Result<_, Box<dyn Error>> {
            scratch.clear("checkpoint")?;
            synthesize(&scratch.path("checkpoint"), spec)?;
            Ok(store.add_path(scratch.path("checkpoint"), &options)?)
        };
        let alone = add(&base)?;
        let shared = add(&half)?;
        scratch.clear("checkpoint")?;
        let reader = store.to_reader();
        let (alone, target) = (alone.cid.into(), shared.cid.into());
        println!(
            "  {chunker}: {:.3} of it shared, in {} extents",
            shared.shared_bytes as f64 / shared.size as f64,
            reader.stat(&target)?.extents
        );
        let loaded = load_checkpoint_and_dispatch(&reader, &target, LoadOptions::default())?;
        let large = loaded.iter().filter_map(|(_, placed)| placed.mapped());
        let large: Vec<_> = large.filter(|tensor| tensor.len() > 1 << 20).collect();
        let bytes = |copied: bool| -> usize {
            let own = large.iter().filter(|t| t.copied().is_some() == copied);
            own.map(|tensor| tensor.len()).sum()
        };
        println!(
            "    zero-copy, of the bytes of tensors over 1 MiB {:>8.4}   wanted: at least 0.99",
            bytes(false) as f64 / (bytes(false) + bytes(true)) as f64
        );
        drop(large);
        drop(loaded);
        for residency in [Residency::Lazy, Residency::Populate] {
            let (mut with, mut without) = (vec![], vec![]);
            for _ in 0..=ROUNDS {
                for (target, times) in [(&alone, &mut without), (&target, &mut with)] {
                    let options = LoadOptions::default().with_residency(residency);
                    let begun = Instant::now();
                    match residency {
                        Residency::Lazy => {
                            drop(load_checkpoint_and_dispatch(&reader, target, options)?);
                        }
                        _ => drop(touch_loaded(&reader, target, options)?),
                    }
                    times.push(begun.elapsed().as_secs_f64());
                }
            }
            // The first round brings the page cache and the roots along.
            let (with, without) = (median(&mut with[1..]), median(&mut without[1..]));
            println!(
                "    {:<9} {:>8.3} ms, unshared {:>8.3} ms, ratio {:>6.2}   wanted: at most 1.3",
                residency.name(),
                with * 1e3,
                without * 1e3,
                with / without
            );
        }
    }
    Ok(())
}
