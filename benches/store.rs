//! Chunk and hash, add, read, and single blocks: `cargo bench --bench store`.

#[path = "tools/checkpoint.rs"]
mod checkpoint;

use std::hint::black_box;
use std::io::Read;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ipfs_accelerate::{
    AddOptions, Block, HashFunction, PinAs, Profile, RAW, Store, StoreOptions, Target,
    cid_of_reader, hash_reader,
};

const BYTES: u64 = 64 << 20;

fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    checkpoint::Payload::new(seed, "bench").fill(&mut bytes);
    bytes
}

fn chunk_and_hash(c: &mut Criterion) {
    let data = payload(0, BYTES as usize);
    let mut group = c.benchmark_group("chunk_and_hash");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES));
    for profile in Profile::all() {
        group.bench_function(format!("one core, {profile}"), |b| {
            b.iter(|| cid_of_reader(black_box(&data[..]), &profile).expect("memory reads"));
        });
    }
    group.bench_function("all cores, unixfs-v1-2025", |b| {
        let options = AddOptions::default();
        b.iter(|| hash_reader(black_box(&data[..]), &options).expect("memory reads"));
    });
    group.finish();
}

fn add(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("add");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES));
    let store = Store::create(dir.path().join("store")).expect("a new store");
    let options = AddOptions::default().with_pin(PinAs::No);
    let mut seed = 1;
    let fresh = |path: &Path, seed: u64| {
        std::fs::write(path, payload(seed, BYTES as usize)).expect("a written file");
    };
    let path = dir.path().join("fresh");
    group.bench_function("fresh", |b| {
        b.iter_batched(
            || {
                seed += 1;
                fresh(&path, seed);
            },
            |()| store.add_path(&path, &options).expect("an add"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("there already", |b| {
        b.iter(|| store.add_path(&path, &options).expect("an add"));
    });
    group.finish();
}

fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::create(dir.path().join("store")).expect("a new store");
    let data = payload(0, BYTES as usize);
    let cid = store
        .add_reader(&data[..], &AddOptions::default())
        .expect("an add")
        .cid;
    let target = Target::new(&cid);
    let mut group = c.benchmark_group("read");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES));
    group.bench_function("copied through Read", |b| {
        let mut bytes = Vec::with_capacity(data.len());
        b.iter(|| {
            bytes.clear();
            let mut reader = store.reader(&target).expect("the file");
            reader.read_to_end(&mut bytes).expect("its bytes");
        });
    });
    group.bench_function("borrowed and touched", |b| {
        b.iter(|| {
            let slice = store
                .reader(&target)
                .expect("the file")
                .slice(0..BYTES)
                .expect("a map");
            slice
                .iter()
                .step_by(4096)
                .map(|&byte| u64::from(byte))
                .sum::<u64>()
        });
    });
    group.finish();
}

fn block_get(c: &mut Criterion) {
    const BLOCKS: u32 = 10_000;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("store");
    let block = |i: u32| Block::new(RAW, HashFunction::Sha2_256, i.to_le_bytes().repeat(64));
    let blocks: Vec<Block> = (0..BLOCKS).map(block).collect();
    {
        let store = Store::create(&path).expect("a new store");
        let mut session = store.session();
        for block in &blocks {
            session.put_block(block).expect("a put");
        }
        session.commit().expect("a commit");
    }
    let mut group = c.benchmark_group("block_get");
    for (name, memory_bytes) in [("hit, 10,000 entries", 500_000_000), ("miss", 0)] {
        let mut options = StoreOptions::default();
        options.memory_bytes = memory_bytes;
        let store = Store::open_with(&path, options).expect("the store");
        for block in &blocks {
            store.get_block(block.cid()).expect("a block");
        }
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                next = (next + 7_919) % blocks.len();
                store
                    .get_block(black_box(blocks[next].cid()))
                    .expect("a block")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunk_and_hash, add, read, block_get);
criterion_main!(benches);
