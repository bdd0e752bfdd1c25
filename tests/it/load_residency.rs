//! Every way of bringing bytes into memory gives the same bytes; what has no room stays lazy and is said; what the
//! disk cannot read is an error and no signal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use ipfs_accelerate::checkpoint::{
    Device, DeviceError, DevicePlan, Dtype, LoadOptions, PlainFolder, Residency, TensorBytes,
    load_checkpoint_and_dispatch,
};
use ipfs_accelerate::{AddOptions, CopyReason, Explain, StoreReader, Target};

use crate::load_files::*;
use crate::loop_disk;

#[test]
fn every_residency_gives_the_same_bytes_from_every_source() {
    let scratch = Scratch::new();
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let plain = PlainFolder::assume_unchanging(SHARDED);
    for &residency in Residency::ALL {
        for threads in [0, 1, 3] {
            let mut options = LoadOptions::default().with_residency(residency);
            options.threads = threads;
            let target = Target::from(cid);
            let load = |source: usize| match source {
                0 => load_checkpoint_and_dispatch(&scratch.store, &target, options.clone()),
                1 => load_checkpoint_and_dispatch(&reader, &target, options.clone()),
                _ => load_checkpoint_and_dispatch(&plain, &".".parse().unwrap(), options.clone()),
            };
            for source in 0..3 {
                let loaded = load(source).unwrap();
                assert_same(&on_host(&loaded), &expected);
                assert_adds_up(&loaded);
                let report = loaded.report();
                let bytes = report.bytes;
                let (copied, populated, lazy) = match residency {
                    Residency::Lazy => (0, 0, bytes),
                    Residency::Copy => (bytes, 0, 0),
                    _ => (0, bytes, 0),
                };
                let found = (
                    report.copied_bytes,
                    report.populated_bytes,
                    report.lazy_bytes,
                );
                assert_eq!(found, (copied, populated, lazy), "{residency:?} {source}");
                assert_eq!(report.verified_bytes, 0);
                let is = match residency {
                    // These files are on a disk of this machine.
                    Residency::Auto => Residency::Populate,
                    other => other,
                };
                assert_eq!(report.residency, is);
            }
        }
    }
}

#[test]
fn copies_say_that_they_were_asked_for_and_start_aligned() {
    let scratch = Scratch::new();
    let tensors: [(&str, Dtype, &[usize]); 3] = [
        ("empty", Dtype::F32, &[0, 3]),
        ("odd", Dtype::U8, &[1]),
        ("x", Dtype::F64, &[300_000]),
    ];
    let data = noise(2_400_001, 1);
    let file = file_from(&tensors, 256, &data);
    let target = scratch.add_file(&file).into();
    let options = LoadOptions::default().with_residency(Residency::Copy);
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    assert_same(&on_host(&loaded), &in_bytes(&file));
    assert_eq!(
        loaded.report().copies,
        [(CopyReason::Requested, 2_400_001)].into()
    );
    for (_, placed) in loaded.iter() {
        let tensor = placed.mapped().unwrap();
        assert!(tensor.bytes().as_ptr().addr().is_multiple_of(8));
    }
}

/// Writes down in which order it is given tensors.
#[derive(Default)]
struct Order(Mutex<Vec<String>>);

impl Device for Order {
    type Handle = ();
    fn capacity_bytes(&self) -> Option<u64> {
        None
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        Ok(())
    }
    fn place(&self, tensor: TensorBytes<'_>) -> Result<(), DeviceError> {
        self.0.lock().unwrap().push(tensor.info.name.to_string());
        Ok(())
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {}
}

#[test]
fn tensors_come_in_the_order_of_use_and_not_of_the_file() {
    let scratch = Scratch::new();
    let names = ["h.10.w", "norm", "h.2.w", "h.2.b", "embed"];
    let target = scratch.add_file(&small(&names)).into();
    for residency in [Residency::Populate, Residency::Copy] {
        let order = Arc::new(Order::default());
        let named = vec![("gpu".to_owned(), Arc::clone(&order))];
        let mut options = LoadOptions::with_devices(named).with_residency(residency);
        options.threads = 1;
        load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
        let order = order.0.lock().unwrap();
        assert_eq!(*order, ["embed", "h.2.b", "h.2.w", "h.10.w", "norm"]);
    }
}

#[test]
fn what_is_read_ahead_stops_at_the_memory_cap_and_the_rest_stays_lazy() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..20).map(|layer| format!("h.{layer}.w")).collect();
    let shape: &[usize] = &[100_000];
    let tensors: Vec<_> = names
        .iter()
        .map(|name| (&**name, Dtype::U8, shape))
        .collect();
    let file = file_from(&tensors, 4096, &noise(2_000_000, 3));
    let target = scratch.add_file(&file).into();
    for verify in [false, true] {
        for (cap, populated) in [
            (0, 0),
            (99_999, 0),
            (750_000, 700_000),
            (2_000_000, 2_000_000),
        ] {
            let mut options = LoadOptions::default().with_residency(Residency::Populate);
            options.memory_cap = Some(cap);
            options.verify = verify;
            options.threads = 1;
            let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
            assert_same(&on_host(&loaded), &in_bytes(&file));
            let report = loaded.report();
            assert_eq!(report.zero_copy_bytes, 2_000_000);
            if !verify {
                assert_eq!(report.populated_bytes, populated, "cap {cap}");
            }
            assert!(report.populated_bytes <= cap);
            assert_eq!(report.populated_bytes + report.lazy_bytes, 2_000_000);
        }
    }
    let mut options = LoadOptions::default().with_residency(Residency::Copy);
    options.memory_cap = Some(1_999_999);
    let error = error_of(&scratch.store, &target, options.clone());
    assert_error(
        &error,
        "memory_cap",
        &["2,000,000", "1,999,999"],
        Some("lazy"),
    );
    options.memory_cap = Some(2_000_000);
    load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
}

#[test]
fn a_pack_that_was_cut_off_under_a_map_is_an_error_when_it_is_populated() {
    let scratch = Scratch::new();
    let content = noise(3 << 20, 1);
    let cid = scratch.add_file(&content);
    let reader = StoreReader::open(scratch.store.path()).unwrap();
    let file = reader.open_file(&cid.into()).unwrap();
    let map = file.map().unwrap();
    map.populate(0..file.size()).unwrap();
    let packs = fs::read_dir(scratch.store.path().join("packs")).unwrap();
    for pack in packs.map(|entry| entry.unwrap().path()) {
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&pack)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
    }
    map.populate(0..1_000).unwrap();
    let error = map.populate(0..file.size()).unwrap_err();
    assert!(error.to_string().contains(".pack"), "{error}");
    assert!(error.to_string().contains("offset"), "{error}");
    assert_eq!(error.kind(), "io");
}

/// A disk that does not give some of its bytes any more: the image under a loop device is cut off.
#[test]
fn a_disk_that_fails_is_an_error_under_every_residency_that_reads() {
    let folder = tempfile::tempdir().unwrap();
    let disk = match loop_disk::LoopDisk::create(&folder.path().join("disk"), 64 << 20) {
        Ok(disk) => disk,
        Err(e) => {
            println!("skipped: no loop device here: {e}");
            return;
        }
    };
    let store = ipfs_accelerate::Store::create(disk.path().join("store")).unwrap();
    let tensors: [(&str, Dtype, &[usize]); 2] = [
        ("first", Dtype::U8, &[8 << 20]),
        ("second", Dtype::U8, &[8 << 20]),
    ];
    let file = file_from(&tensors, 4096, &noise(16 << 20, 5));
    let cid = store
        .add_reader(&file[..], &AddOptions::default())
        .unwrap()
        .cid;
    let reader = store.to_reader();
    let target: Target = cid.into();
    // Where a part of the payload lies on the disk is found by its content.
    rustix::fs::sync();
    let image = folder.path().join("disk/image");
    let content = fs::read(&image).unwrap();
    let tail_start = file.len() - (4 << 20);
    let part = &file[tail_start..tail_start + 4096];
    let begin = (0..content.len() - 512)
        .step_by(64)
        .find(|&at| content[at..].starts_with(&part[..512]));
    let begin = begin
        .expect("the payload is on the disk")
        .next_multiple_of(4096);
    drop(content);

    let load = |residency, verify| {
        let mut options = LoadOptions::default().with_residency(residency);
        options.verify = verify;
        load_checkpoint_and_dispatch(&reader, &target, options)
    };
    load(Residency::Populate, true).unwrap();
    let whole = fs::metadata(&image).unwrap().len();
    let cut = fs::OpenOptions::new().write(true).open(&image).unwrap();
    let kept = fs::read(&image).unwrap().split_off(begin);
    cut.set_len(begin as u64).unwrap();
    for (residency, verify) in [
        (Residency::Populate, false),
        (Residency::Populate, true),
        (Residency::Copy, false),
        (Residency::Copy, true),
        (Residency::Lazy, true),
    ] {
        fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
        let error = load(residency, verify).map(|_| ()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(".pack"),
            "{residency:?} {verify}: {message}"
        );
        assert!(
            message.contains("offset"),
            "{residency:?} {verify}: {message}"
        );
        assert_eq!(error.kind(), "io", "{message}");
    }
    // The disk comes back, and so do the bytes.
    cut.set_len(whole).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&cut, &kept, begin as u64).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    assert_same(
        &on_host(&load(Residency::Populate, true).unwrap()),
        &in_bytes(&file),
    );
}

/// A folder shown again through a file system in user space; none where there is no `bindfs` or no right to mount.
struct InUserSpace(tempfile::TempDir);

impl InUserSpace {
    fn of(folder: &Path) -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        let mounted = Command::new("bindfs")
            .arg(folder)
            .arg(point.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(point)),
            other => {
                println!("skipped: no file system in user space here: {other:?}");
                None
            }
        }
    }
}

impl Drop for InUserSpace {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn auto_copies_from_a_file_system_in_user_space_as_far_as_there_is_memory() {
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let Some(shown) = InUserSpace::of(scratch.store.path()) else {
        return;
    };
    let reader = StoreReader::open(shown.0.path()).unwrap();
    let load = |cap| {
        let mut options = LoadOptions::default().with_residency(Residency::Auto);
        options.memory_cap = cap;
        load_checkpoint_and_dispatch(&reader, &cid.into(), options).unwrap()
    };
    let loaded = load(None);
    assert_same(
        &on_host(&loaded),
        &by_the_crate(&shards_of(Path::new(SHARDED))),
    );
    assert_eq!(loaded.report().residency, Residency::Copy);
    assert_eq!(loaded.report().copied_bytes, loaded.report().bytes);
    let loaded = load(Some(1 << 20));
    assert_eq!(loaded.report().residency, Residency::Populate);
    assert_eq!(loaded.report().copied_bytes, 0);
}
