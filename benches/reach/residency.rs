//! `load` that brings the bytes along, against the `safetensors` crate and against reading the files raw.
//!
//! Touching means one byte of every page, by one thread, for all alike: what brings bytes in.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ipfs_accelerate::checkpoint::{LoadOptions, Residency};
use ipfs_accelerate::{
    AddOptions, ByteSize, HashFunction, LoadReport, Profile, Store, StoreReader, Target,
    load_checkpoint_and_dispatch,
};
use rustix::fs::{Mode, OFlags};
use safetensors::SafeTensors;

use crate::load::shards;
use crate::median;
use crate::scratch::{Scratch, drop_caches};

const COLD_ROUNDS: usize = 5;
const WARM_ROUNDS: usize = 9;
const PAGE: usize = 4096;

/// One of the ways that take turns.
struct Way<'w> {
    name: String,
    run: Box<dyn FnMut() -> Result<(), Box<dyn Error>> + 'w>,
    seconds: Vec<f64>,
}

impl<'w> Way<'w> {
    fn new(name: impl Into<String>, run: impl FnMut() -> Result<(), Box<dyn Error>> + 'w) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
            seconds: Vec::new(),
        }
    }
}

/// Runs each way once a round; returns the medians in seconds.
fn take_turns(
    ways: &mut [Way<'_>],
    rounds: usize,
    is_cold: bool,
    bytes: u64,
) -> Result<Vec<f64>, Box<dyn Error>> {
    for round in 0..rounds {
        // Each begins a round once, so that none always follows the same other one.
        for turn in 0..ways.len() {
            let count = ways.len();
            let way = &mut ways[(round + turn) % count];
            if is_cold {
                // Once without the clock: under a hypervisor that takes free memory back, memory that was not
                // just in use costs several times what is to be measured.
                drop_caches();
                (way.run)()?;
                drop_caches();
            }
            let begun = Instant::now();
            (way.run)()?;
            way.seconds.push(begun.elapsed().as_secs_f64());
        }
    }
    let mut medians = Vec::new();
    for way in ways {
        let seconds = median(&mut way.seconds);
        let (low, high) = (way.seconds[0], way.seconds[way.seconds.len() - 1]);
        let rate = |seconds: f64| format!("{}/s", ByteSize::new((bytes as f64 / seconds) as u64));
        println!(
            "  {:<44} {:>14}   ({} to {})",
            way.name,
            rate(seconds),
            rate(high),
            rate(low)
        );
        medians.push(seconds);
    }
    Ok(medians)
}

pub(crate) fn run(scratch: &Scratch, source: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    let shards = shards(source)?;
    let stored = |name: &str, hash| -> Result<(StoreReader, Target), Box<dyn Error>> {
        scratch.clear(name)?;
        let store = Store::create(scratch.path(name))?;
        let profile = Profile::default().with_hash(hash)?;
        let cid = store
            .add_path(source, &AddOptions::default().with_profile(profile))?
            .cid;
        Ok((store.to_reader(), cid.into()))
    };
    let sha = stored("store", HashFunction::Sha2_256)?;
    let blake = stored("store-blake3", HashFunction::Blake3)?;
    cold(&shards, bytes, &sha, &blake)?;
    warm(&shards, bytes, &sha)?;
    scratch.clear("store-blake3")?;
    Ok(())
}

type Stored = (StoreReader, Target);

fn load<'l>(
    (reader, target): &'l Stored,
    residency: Residency,
    verify: bool,
) -> impl FnMut() -> Result<(), Box<dyn Error>> + 'l {
    move || {
        let mut options = LoadOptions::default().with_residency(residency);
        options.verify = verify;
        touch_loaded(reader, target, options).map(drop)
    }
}

fn cold(
    shards: &[PathBuf],
    bytes: u64,
    sha: &Stored,
    blake: &Stored,
) -> Result<(), Box<dyn Error>> {
    if !drop_caches() {
        println!("\nload, page cache dropped: not measured, only root can drop it");
        return Ok(());
    }
    if let Some(ahead) = read_ahead(&shards[0]) {
        println!("\nthe disk reads {ahead} KiB ahead");
    }
    println!(
        "\nload, page cache dropped (medians of {COLD_ROUNDS}, taking turns; slowest to fastest)"
    );
    let mut ways = vec![Way::new("safetensors, map and touch", || {
        touch_parsed(shards)
    })];
    for (threads, step) in [(2, 4 << 20), (4, 1 << 20), (8, 1 << 20)] {
        ways.push(Way::new(
            format!("raw: map and populate, {threads} x {} KiB", step >> 10),
            move || populate_raw(shards, threads, step),
        ));
    }
    for threads in [8, 16] {
        ways.push(Way::new(
            format!("raw: O_DIRECT into huge pages, {threads} x 1 MiB"),
            move || read_directly(shards, threads),
        ));
    }
    let raw = 1..ways.len();
    ways.push(Way::new(
        "load populate, touch",
        load(sha, Residency::Populate, false),
    ));
    let medians = take_turns(&mut ways, COLD_ROUNDS, true, bytes)?;
    let best_raw = medians[raw.clone()]
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min);
    let ours = medians[raw.end];
    ratio("populate / best raw read", best_raw / ours, "at least 0.9");
    ratio(
        "populate / safetensors touched",
        medians[0] / ours,
        "at least 3",
    );
    ratio(
        "best raw read / safetensors touched",
        medians[0] / best_raw,
        "the most that can be",
    );
    // Two at a time, so that neither pays for what a third one did to the memory.
    for (stored, hash, wanted) in [(sha, "sha2-256", "0.7"), (blake, "blake3", "0.9")] {
        let mut pair = [
            Way::new(
                format!("load populate ({hash} store), touch"),
                load(stored, Residency::Populate, false),
            ),
            Way::new(
                format!("load populate, {hash} verified, touch"),
                load(stored, Residency::Populate, true),
            ),
        ];
        let medians = take_turns(&mut pair, COLD_ROUNDS, true, bytes)?;
        ratio(
            &format!("verified ({hash}) / not"),
            medians[0] / medians[1],
            &format!("at least {wanted}"),
        );
    }
    Ok(())
}

fn warm(shards: &[PathBuf], bytes: u64, sha: &Stored) -> Result<(), Box<dyn Error>> {
    println!(
        "\nload, page cache warm (medians of {WARM_ROUNDS}, taking turns; slowest to fastest)"
    );
    // Each brings its own files into the page cache in its own way.
    drop_caches();
    touch_parsed(shards)?;
    load(sha, Residency::Populate, false)()?;
    let mut ways = [
        Way::new("safetensors, map and touch", || touch_parsed(shards)),
        Way::new(
            "load populate, touch",
            load(sha, Residency::Populate, false),
        ),
        Way::new("safetensors, cloned tensor by tensor", || {
            clone_parsed(shards)
        }),
        Way::new("load copy", load(sha, Residency::Copy, false)),
        Way::new(
            "load populate, sha2-256 verified, touch",
            load(sha, Residency::Populate, true),
        ),
    ];
    let medians = take_turns(&mut ways, WARM_ROUNDS, false, bytes)?;
    ratio(
        "populate touched / safetensors touched",
        medians[0] / medians[1],
        "at least 1",
    );
    ratio(
        "copy / safetensors cloned",
        medians[2] / medians[3],
        "at least 1",
    );
    Ok(())
}

/// How far the kernel reads ahead on the disk that a file is on, in KiB.
fn read_ahead(path: &Path) -> Option<String> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let of = |folder: &str| {
        std::fs::read_to_string(format!(
            "/sys/dev/block/{major}:{minor}/{folder}queue/read_ahead_kb"
        ))
    };
    let text = of("").or_else(|_| of("../")).ok()?;
    Some(text.trim().to_owned())
}

fn ratio(what: &str, value: f64, wanted: &str) {
    println!("  {what:<44} {value:>14.2}   wanted: {wanted}");
}

/// Loads, and touches every page of every tensor.
pub(crate) fn touch_loaded(
    reader: &StoreReader,
    target: &Target,
    options: LoadOptions,
) -> Result<LoadReport, Box<dyn Error>> {
    let loaded = load_checkpoint_and_dispatch(reader, target, options)?;
    for (_, placed) in loaded.iter() {
        touch(placed.mapped().ok_or("not on the host")?.bytes());
    }
    Ok(loaded.report().clone())
}

fn touch(bytes: &[u8]) {
    let sum: u64 = bytes
        .iter()
        .step_by(PAGE)
        .map(|&byte| u64::from(byte))
        .sum();
    black_box(sum);
}

#[expect(
    unsafe_code,
    reason = "the safetensors crate's users map files themselves"
)]
fn map(path: &Path) -> Result<memmap2::Mmap, Box<dyn Error>> {
    // SAFETY: the files are this bench's own, and nobody changes them.
    Ok(unsafe { memmap2::Mmap::map(&File::open(path)?)? })
}

fn touch_parsed(shards: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    for path in shards {
        let map = map(path)?;
        let parsed = SafeTensors::deserialize(&map)?;
        for (_, tensor) in parsed.iter() {
            touch(tensor.data());
        }
    }
    Ok(())
}

fn clone_parsed(shards: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut cloned = Vec::new();
    for path in shards {
        let map = map(path)?;
        let parsed = SafeTensors::deserialize(&map)?;
        cloned.extend(parsed.iter().map(|(_, tensor)| tensor.data().to_vec()));
    }
    black_box(&cloned);
    Ok(())
}

/// Has threads take steps of the files in turn.
fn in_steps(
    lengths: &[usize],
    threads: usize,
    step: usize,
    work: impl Fn(usize, usize, usize) + Sync,
) {
    let steps: Vec<(usize, usize, usize)> = (lengths.iter().enumerate())
        .flat_map(|(file, &len)| {
            (0..len)
                .step_by(step)
                .map(move |at| (file, at, step.min(len - at)))
        })
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&(file, at, len)) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(file, at, len);
                }
            });
        }
    });
}

fn populate_raw(shards: &[PathBuf], threads: usize, step: usize) -> Result<(), Box<dyn Error>> {
    let maps = shards
        .iter()
        .map(|path| map(path))
        .collect::<Result<Vec<_>, _>>()?;
    let lengths: Vec<usize> = maps.iter().map(|map| map.len()).collect();
    in_steps(&lengths, threads, step, |file, at, len| {
        maps[file]
            .advise_range(memmap2::Advice::PopulateRead, at, len)
            .expect("Linux 5.14 or later");
    });
    maps.iter().for_each(|map| touch(map));
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "direct reads need memory that is aligned, and huge pages for speed"
)]
fn read_directly(shards: &[PathBuf], threads: usize) -> Result<(), Box<dyn Error>> {
    const STEP: usize = 1 << 20;
    let mut files = Vec::new();
    let mut lengths = Vec::new();
    for path in shards {
        let file = File::from(rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECT,
            Mode::empty(),
        )?);
        lengths.push(file.metadata()?.len() as usize);
        files.push(file);
    }
    let room = |len: usize| len.next_multiple_of(2 << 20);
    let total: usize = lengths.iter().copied().map(room).sum::<usize>() + (2 << 20);
    let mut memory = memmap2::MmapOptions::new().len(total).map_anon()?;
    memory.advise(memmap2::Advice::HugePage)?;
    let base = memory.as_mut_ptr();
    let base = base.addr() + base.align_offset(2 << 20);
    let starts: Vec<usize> = lengths
        .iter()
        .scan(base, |at, &len| {
            let start = *at;
            *at += room(len);
            Some(start)
        })
        .collect();
    in_steps(&lengths, threads, STEP, |file, at, _| {
        let to = std::ptr::with_exposed_provenance_mut::<u8>(starts[file] + at);
        // SAFETY: steps do not overlap, and each lies inside the memory, whose length for a file is a
        // multiple of the step.
        let read = unsafe { libc::pread(files[file].as_raw_fd(), to.cast(), STEP, at as i64) };
        assert!(read > 0, "a direct read");
    });
    black_box(&memory);
    Ok(())
}
