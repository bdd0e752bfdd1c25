//! Loading a checkpoint from a store beside the `safetensors` crate on the same files: `cargo bench --bench
//! load`.

#[path = "tools/checkpoint.rs"]
mod checkpoint;

use std::fs::File;
use std::path::PathBuf;

use criterion::{Criterion, criterion_group, criterion_main};
use ipfs_accelerate::{
    AddOptions, LoadOptions, PlainFolder, Store, Target, load_checkpoint_and_dispatch,
};
use safetensors::SafeTensors;

fn load(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let source = dir.path().join("checkpoint");
    let spec = checkpoint::Spec {
        size_bytes: 256 << 20,
        ..checkpoint::Spec::default()
    };
    let made = checkpoint::synthesize(&source, &spec).expect("a checkpoint");
    let store = Store::create(dir.path().join("store")).expect("a new store");
    let cid = store
        .add_path(&source, &AddOptions::default())
        .expect("an add")
        .cid;
    let (reader, target) = (store.to_reader(), Target::new(&cid));

    let mut group = c.benchmark_group("load, 399 tensors in 4 shards, lazy");
    group.bench_function("safetensors, map and parse", |b| {
        b.iter(|| map_and_parse(&made.shards));
    });
    group.bench_function("from a StoreReader", |b| {
        b.iter(|| {
            load_checkpoint_and_dispatch(&reader, &target, LoadOptions::default()).expect("a load")
        });
    });
    group.bench_function("from a plain folder", |b| {
        let folder = PlainFolder::assume_unchanging(&source);
        let whole = ".".parse().expect("a target");
        b.iter(|| {
            load_checkpoint_and_dispatch(&folder, &whole, LoadOptions::default()).expect("a load")
        });
    });
    group.finish();
}

#[expect(
    unsafe_code,
    reason = "the safetensors crate's users map files themselves"
)]
fn map_and_parse(shards: &[PathBuf]) -> usize {
    let map = |path: &PathBuf| {
        let file = File::open(path).expect("a shard");
        // SAFETY: the files are this bench's own, and nobody changes them.
        unsafe { memmap2::Mmap::map(&file) }.expect("a map")
    };
    let maps: Vec<memmap2::Mmap> = shards.iter().map(map).collect();
    maps.iter()
        .map(|map| SafeTensors::deserialize(map).expect("a header").len())
        .sum()
}

criterion_group!(benches, load);
criterion_main!(benches);
