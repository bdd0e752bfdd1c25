//! Devices: what they are called with, in which order, and what happens when one fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ipfs_accelerate::checkpoint::{
    Device, DeviceError, DeviceMap, DevicePlan, Dtype, LoadOptions, LoadProgress, Select,
    StagingBuf, TensorBytes, TensorData, load_checkpoint_and_dispatch,
};
use ipfs_accelerate::{AddOptions, CopyReason, Dispatched, Explain, LoadError, Target};

use crate::load_files::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Begin {
        tensors: usize,
        bytes: u64,
        largest: u64,
    },
    Place(String),
    Finish,
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Begin,
    Place,
    Finish,
}

/// Takes copies of what it is given, and writes down what it was called with.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Call>>,
    capacity: Option<u64>,
    /// Lends memory for staging, this much longer than it is asked for.
    staging: Option<usize>,
    fails: Option<At>,
    panics: bool,
    /// Waits in `place` until as many are in it.
    meets: Option<std::sync::Barrier>,
    staged: AtomicUsize,
}

impl Recorder {
    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn may_fail(&self, at: At) -> Result<(), DeviceError> {
        match self.fails == Some(at) {
            true if self.panics => panic!("the device panics in {at:?}"),
            true => Err(format!("no more memory in {at:?}").into()),
            false => Ok(()),
        }
    }

    fn count(&self, wanted: &Call) -> usize {
        self.calls().iter().filter(|call| *call == wanted).count()
    }
}

impl Device for Recorder {
    type Handle = Vec<u8>;

    fn capacity_bytes(&self) -> Option<u64> {
        self.capacity
    }

    fn begin(&self, plan: &DevicePlan) -> Result<(), DeviceError> {
        let DevicePlan {
            tensors,
            bytes,
            largest_bytes: largest,
            ..
        } = *plan;
        self.note(Call::Begin {
            tensors,
            bytes,
            largest,
        });
        self.may_fail(At::Begin)
    }

    fn staging(&self, len: usize) -> Option<StagingBuf> {
        Some(StagingBuf::new(vec![0xee; len + self.staging?]))
    }

    fn place(&self, tensor: TensorBytes<'_>) -> Result<Vec<u8>, DeviceError> {
        self.note(Call::Place(tensor.info.name.to_string()));
        if let Some(meets) = &self.meets {
            meets.wait();
        }
        self.may_fail(At::Place)?;
        let borrowed = tensor.bytes().to_vec();
        Ok(match tensor.data {
            TensorData::Borrowed(bytes) => bytes.to_vec(),
            TensorData::Staged(memory) => {
                self.staged.fetch_add(1, Ordering::Relaxed);
                let memory: Vec<u8> = memory.downcast().expect("the memory that was lent");
                assert!(memory == borrowed);
                memory
            }
        })
    }

    fn finish(&self) -> Result<(), DeviceError> {
        self.note(Call::Finish);
        self.may_fail(At::Finish)
    }

    fn abort(&self) {
        self.note(Call::Abort);
    }
}

fn options(devices: &[(&str, &Arc<Recorder>)]) -> LoadOptions<Recorder> {
    let named = devices
        .iter()
        .map(|(name, device)| (name.to_string(), Arc::clone(device)));
    LoadOptions::with_devices(named.collect())
}

/// The fixture in a store, and what is in it.
fn fixture() -> (Scratch, Target, Tensors) {
    let scratch = Scratch::new();
    let cid = scratch
        .store
        .add_path(SHARDED, &AddOptions::default())
        .unwrap()
        .cid;
    let expected = by_the_crate(&shards_of(Path::new(SHARDED)));
    (scratch, cid.into(), expected)
}

#[track_caller]
fn assert_has(loaded: &Dispatched<Vec<u8>>, device: &str, expected: &Tensors) {
    for (info, placed) in loaded.iter() {
        let name = &*info.name;
        assert_eq!(loaded.device_of(name), Some(device), "{name}");
        assert!(*placed.device().unwrap() == expected[name].2, "{name}");
    }
    assert_eq!(loaded.len(), expected.len());
    assert_adds_up(loaded);
}

#[test]
fn a_device_is_begun_once_given_each_tensor_once_and_finished_once() {
    let (scratch, target, expected) = fixture();
    let gpu = Arc::new(Recorder::default());
    let idle = Arc::new(Recorder {
        capacity: Some(1 << 30),
        ..Recorder::default()
    });
    let options = options(&[("gpu", &gpu), ("idle", &idle)]).with_device_map(DeviceMap::Sequential);
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    assert_has(&loaded, "gpu", &expected);
    assert_eq!(loaded.report().copied_bytes, 0);

    let calls = gpu.calls();
    let sizes = expected.values().map(|(_, _, bytes)| bytes.len() as u64);
    let begin = Call::Begin {
        tensors: 15,
        bytes: sizes.clone().sum(),
        largest: sizes.max().unwrap(),
    };
    assert_eq!((&calls[0], calls.last().unwrap()), (&begin, &Call::Finish));
    let mut placed: Vec<&Call> = calls[1..calls.len() - 1].iter().collect();
    placed.sort_by_key(|call| format!("{call:?}"));
    let names: Vec<Call> = expected
        .keys()
        .map(|name| Call::Place(name.clone()))
        .collect();
    let mut names: Vec<&Call> = names.iter().collect();
    names.sort_by_key(|call| format!("{call:?}"));
    assert_eq!(placed, names);
    assert_eq!(idle.calls(), []);
}

#[test]
fn place_is_called_from_several_threads_at_once() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a", "b"])).into();
    // Both wait for each other in `place`: one thread alone would never come back.
    let meets = Some(std::sync::Barrier::new(2));
    let gpu = Arc::new(Recorder {
        meets,
        ..Recorder::default()
    });
    let mut options = options(&[("gpu", &gpu)]);
    options.threads = 2;
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    assert_eq!(loaded.len(), 2);
}

#[test]
fn tensors_are_read_straight_into_the_memory_that_a_device_lends() {
    let (scratch, target, expected) = fixture();
    let gpu = Arc::new(Recorder {
        staging: Some(0),
        ..Recorder::default()
    });
    let loaded =
        load_checkpoint_and_dispatch(&scratch.store, &target, options(&[("gpu", &gpu)])).unwrap();
    assert_has(&loaded, "gpu", &expected);
    assert_eq!(gpu.staged.load(Ordering::Relaxed), 15);
    let report = loaded.report();
    assert_eq!(
        report.copies,
        [(CopyReason::DeviceMemory, report.bytes)].into()
    );

    // Slices of an inner dimension, which are gathered into it.
    let options = options(&[("gpu", &gpu)]).with_select(|info| match info.shape[..] {
        [_, inner, ..] if inner > 1 => Select::Slice {
            dim: 1,
            range: 1..inner,
        },
        _ => Select::Skip,
    });
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    assert!(!loaded.is_empty());
    for (info, placed) in loaded.iter() {
        let (dtype, shape, whole) = &expected[&*info.name];
        let inner = shape[2..].iter().product::<usize>() * dtype.bitsize() / 8;
        let rows = whole
            .chunks(shape[1] * inner)
            .flat_map(|row| row[inner..].to_vec());
        assert!(
            *placed.device().unwrap() == rows.collect::<Vec<_>>(),
            "{}",
            info.name
        );
    }
    assert_eq!(
        loaded.report().copies.keys().collect::<Vec<_>>(),
        [&CopyReason::DeviceMemory]
    );
}

#[test]
fn memory_of_another_length_than_asked_for_is_an_error() {
    let (scratch, target, _) = fixture();
    let gpu = Arc::new(Recorder {
        staging: Some(1),
        ..Recorder::default()
    });
    let error = error_of(&scratch.store, &target, options(&[("gpu", &gpu)]));
    assert_error(&error, "device", &["`gpu`", "lent", "were asked for"], None);
    assert_eq!(gpu.calls().last(), Some(&Call::Abort));
}

#[test]
fn a_devices_capacity_is_kept_to_and_max_memory_overrides_it() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..10).map(|layer| format!("h.{layer}.w")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let target = scratch.add_file(&small(&names)).into();
    let small = Arc::new(Recorder {
        capacity: Some(20),
        ..Recorder::default()
    });
    let with = || options(&[("gpu", &small)]).with_device_map(DeviceMap::Sequential);
    let load = |options| load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();

    let loaded = load(with());
    let devices = &loaded.report().devices;
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["gpu", "cpu", "disk"]);
    assert_eq!(devices[0].limit, Some(20));
    // Room for one layer of 4 bytes is kept free, to bring those on the CPU back.
    assert_eq!(
        [devices[0].bytes, devices[1].bytes, devices[2].bytes],
        [16, 24, 0]
    );
    assert_adds_up(&loaded);

    let bytes = |options| load(options).report().devices[0].bytes;
    assert_eq!(bytes(with().with_max_memory("gpu", 40)), 40);
    assert_eq!(bytes(with().with_max_memory("gpu", 0)), 0);
}

#[test]
fn what_a_budget_does_not_hold_goes_to_the_cpu_and_then_to_the_disk() {
    let (scratch, target, expected) = fixture();
    let total: u64 = expected
        .values()
        .map(|(_, _, bytes)| bytes.len() as u64)
        .sum();
    for map in [DeviceMap::Auto, DeviceMap::Sequential] {
        let options = LoadOptions::default()
            .with_device_map(map)
            .with_max_memory("cpu", total / 2);
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
        let devices = &loaded.report().devices;
        assert!(devices[0].bytes <= total / 2, "{devices:?}");
        assert!(
            devices[0].tensors > 0 && devices[1].tensors > 0,
            "{devices:?}"
        );
        assert_adds_up(&loaded);
        for (info, placed) in loaded.iter() {
            let bytes = &expected[&*info.name].2;
            match placed.disk() {
                Some(lazy) => {
                    assert_eq!(lazy.info(), info);
                    let tensor = lazy.load().unwrap();
                    assert_eq!(tensor.copied(), None);
                    assert!(tensor[..] == *bytes);
                }
                None => assert!(placed.mapped().unwrap()[..] == *bytes),
            }
        }
    }
}

#[test]
fn a_device_map_assigns_by_the_longest_prefix() {
    let scratch = Scratch::new();
    let names = ["h.1.w", "h.10.w", "h.1.b", "head", "h"];
    let target = scratch.add_file(&small(&names)).into();
    let gpu = Arc::new(Recorder::default());
    let json = r#"{"": "disk", "h.1": "cpu", "h.1.b": "gpu"}"#;
    let options = options(&[("gpu", &gpu)]).with_device_map(DeviceMap::from_json(json).unwrap());
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    let devices = names.map(|name| loaded.device_of(name).unwrap());
    assert_eq!(devices, ["cpu", "disk", "gpu", "disk", "disk"]);
    assert_adds_up(&loaded);
    assert!(loaded.get("h.1.w").unwrap().mapped().is_some());
    assert!(loaded.get("h.1.b").unwrap().device().is_some());
    assert!(loaded.get("head").unwrap().disk().is_some());
}

#[test]
fn a_plan_that_cannot_be_is_refused_before_any_device_is_begun() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a.w", "b.w"])).into();
    let gpu = Arc::new(Recorder {
        capacity: Some(4),
        ..Recorder::default()
    });
    let with = || options(&[("gpu", &gpu)]);
    let map = |json| with().with_device_map(DeviceMap::from_json(json).unwrap());
    let error = |options| error_of(&scratch.store, &target, options);

    let unknown = error(map(r#"{"": "cuda:1"}"#));
    assert_error(
        &unknown,
        "unknown_device",
        &["`cuda:1`", "gpu, cpu, disk"],
        None,
    );
    let unknown = error(with().with_max_memory("gqu", 1));
    assert_error(
        &unknown,
        "unknown_device",
        &["`gqu`", "gpu, cpu, disk"],
        None,
    );
    let none = error(map(r#"{"a": "gpu"}"#));
    assert_error(&none, "no_device", &["`b.w`"], Some("prefix \"\""));
    let over = error(map(r#"{"": "gpu"}"#));
    assert_error(
        &over,
        "does_not_fit",
        &["`gpu`", "8 bytes", "limit of 4"],
        Some("another"),
    );
    let full = error(with().with_max_memory("cpu", 3).with_max_memory("disk", 3));
    assert_error(
        &full,
        "does_not_fit",
        &["8 bytes do not fit", "`gpu` (4 bytes)"],
        Some("limit"),
    );
    let twice = error(options(&[("gpu", &gpu), ("gpu", &gpu)]));
    assert_error(&twice, "duplicate_device", &["`gpu`"], None);
    let taken = error(options(&[("cpu", &gpu)]));
    assert_error(&taken, "duplicate_device", &["`cpu`"], None);
    assert_eq!(gpu.calls(), []);
}

/// Loads two tensors to two devices, the second of which fails.
fn fail(at: At, panics: bool) -> (Arc<Recorder>, Arc<Recorder>, LoadOptions<Recorder>) {
    let good = Arc::new(Recorder::default());
    let bad = Arc::new(Recorder {
        fails: Some(at),
        panics,
        ..Recorder::default()
    });
    let map = DeviceMap::from_json(r#"{"a": "good", "b": "bad", "c": "third"}"#).unwrap();
    let third = Arc::new(Recorder::default());
    let options = options(&[("good", &good), ("bad", &bad), ("third", &third)]);
    (good, bad, options.with_device_map(map))
}

/// Once, and nothing after it.
#[track_caller]
fn assert_aborted(device: &Recorder) {
    assert_eq!(device.count(&Call::Abort), 1, "{:?}", device.calls());
    assert_eq!(device.calls().last(), Some(&Call::Abort));
}

#[test]
fn when_a_device_fails_every_device_that_was_begun_is_aborted_once_and_last() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a", "b", "c"])).into();
    for at in [At::Begin, At::Place, At::Finish] {
        let (good, bad, options) = fail(at, false);
        let third = Arc::clone(&options.devices[2].1);
        let error = error_of(&scratch.store, &target, options);
        let says = format!("no more memory in {at:?}");
        assert_error(&error, "device", &["`bad`", &says], None);
        let LoadError::Device { device, source } = &error else {
            panic!("{error:?}")
        };
        assert_eq!((device.as_str(), source.to_string()), ("bad", says));
        assert_aborted(&good);
        assert_aborted(&bad);
        assert_eq!(bad.count(&Call::Finish), usize::from(at == At::Finish));
        if at == At::Begin {
            assert_eq!(third.calls(), []);
            assert_eq!(good.calls().len(), 2, "begun and aborted");
        } else {
            assert_aborted(&third);
        }
    }
}

#[test]
fn when_a_device_panics_all_are_aborted_and_the_panic_goes_on() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a", "b", "c"])).into();
    for at in [At::Begin, At::Place, At::Finish] {
        let (good, bad, options) = fail(at, true);
        let load = std::panic::AssertUnwindSafe(|| {
            load_checkpoint_and_dispatch(&scratch.store, &target, options).map(|_| ())
        });
        let panic = std::panic::catch_unwind(load).expect_err("the panic of the device");
        let message = panic.downcast_ref::<String>().unwrap();
        assert_eq!(*message, format!("the device panics in {at:?}"));
        assert_aborted(&good);
        assert_aborted(&bad);
    }
    // The loader's threads go on working.
    let Ok(gpu) = load_checkpoint_and_dispatch(
        &scratch.store,
        &target,
        options(&[("gpu", &Arc::default())]),
    ) else {
        panic!("the load after a panic failed")
    };
    assert_eq!(gpu.len(), 3);
}

#[test]
fn a_load_that_is_cancelled_stops_and_aborts() {
    let (scratch, target, _) = fixture();
    let gpu = Arc::new(Recorder::default());
    let flag = Arc::new(AtomicBool::new(true));
    let mut cancelled = options(&[("gpu", &gpu)]);
    cancelled.cancel = Some(Arc::clone(&flag));
    let error = error_of(&scratch.store, &target, cancelled.clone());
    assert_error(&error, "cancelled", &["cancelled"], None);
    assert_eq!(gpu.calls(), []);

    // From the progress: after the third tensor, and after the last one.
    for after in [3, 15] {
        let gpu = Arc::new(Recorder::default());
        let mut options = options(&[("gpu", &gpu)]);
        let flag = Arc::new(AtomicBool::new(false));
        options.threads = 2;
        options.cancel = Some(Arc::clone(&flag));
        options.progress = Some(Arc::new(move |at: LoadProgress| {
            flag.fetch_or(at.tensors >= after, Ordering::Relaxed);
        }));
        let error = error_of(&scratch.store, &target, options);
        assert!(matches!(error, LoadError::Cancelled), "{error:?}");
        assert_aborted(&gpu);
        assert_eq!(gpu.count(&Call::Finish), 0);
        let placed = gpu.calls().len() - 2;
        assert!(
            (after..=after + 2).contains(&placed),
            "{placed} after {after}"
        );
    }
}

#[test]
fn progress_counts_every_tensor_and_byte() {
    let (scratch, target, expected) = fixture();
    let total: u64 = expected
        .values()
        .map(|(_, _, bytes)| bytes.len() as u64)
        .sum();
    let gpu = Arc::new(Recorder {
        capacity: Some(total / 2),
        ..Recorder::default()
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let mut options = options(&[("gpu", &gpu)]);
    options.progress = Some(Arc::new(move |at| tell.lock().unwrap().push(at)));
    load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    let told = told.lock().unwrap();
    let mut tensors: Vec<usize> = told.iter().map(|at| at.tensors).collect();
    tensors.sort_unstable();
    assert_eq!(tensors, (1..=15).collect::<Vec<_>>());
    assert_eq!(told.iter().map(|at| at.bytes).max(), Some(total));
    assert!(
        told.iter()
            .all(|at| (at.total_tensors, at.total_bytes) == (15, total))
    );
}

/// Two tensors, of 8 and of 12 bytes, that have to be copied.
fn misaligned() -> Vec<u8> {
    let tensors: [(&str, Dtype, &[usize]); 3] = [
        ("odd", Dtype::U8, &[1]),
        ("x", Dtype::F32, &[2]),
        ("y", Dtype::F32, &[3]),
    ];
    file_from(&tensors, 256, &noise(21, 1))
}

#[test]
fn the_memory_cap_bounds_what_is_copied_and_nothing_else() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&misaligned()).into();
    let load = |cap| {
        let mut options = LoadOptions::default();
        options.memory_cap = Some(cap);
        load_checkpoint_and_dispatch(&scratch.store, &target, options)
    };
    assert_eq!(load(20).unwrap().report().copied_bytes, 20);
    let error = load(19).map(|_| ()).unwrap_err();
    assert_error(
        &error,
        "memory_cap",
        &["20 bytes", "cap is 19"],
        Some("memory cap"),
    );

    let whole = scratch.add_file(&small(&["a", "b"])).into();
    let cut = |cap| {
        let mut options = LoadOptions::default().with_select(|_| Select::Slice {
            dim: 0,
            range: 0..3,
        });
        options.memory_cap = Some(cap);
        load_checkpoint_and_dispatch(&scratch.store, &whole, options)
    };
    assert_eq!(cut(0).unwrap().report().copied_bytes, 0);
}

#[test]
fn copies_on_their_way_to_a_device_take_turns_under_the_memory_cap() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&misaligned()).into();
    for threads in [1, 4] {
        for _ in 0..20 {
            let gpu = Arc::new(Recorder::default());
            let mut options = options(&[("gpu", &gpu)]);
            options.threads = threads;
            options.memory_cap = Some(12);
            let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
            assert_eq!(
                loaded.report().copies,
                [(CopyReason::Misaligned, 20)].into()
            );
        }
    }
    let gpu = Arc::new(Recorder::default());
    let mut options = options(&[("gpu", &gpu)]);
    options.memory_cap = Some(11);
    let error = error_of(&scratch.store, &target, options);
    assert_error(
        &error,
        "memory_cap",
        &["`y`", "12 bytes", "cap is 11"],
        Some("memory cap"),
    );
    assert_aborted(&gpu);
}

#[test]
fn loads_run_side_by_side_and_from_inside_a_pool_of_rayons() {
    let (scratch, target, expected) = fixture();
    let load = |threads| {
        let gpu = Arc::new(Recorder {
            staging: Some(0),
            ..Recorder::default()
        });
        let mut options = options(&[("gpu", &gpu)]);
        options.threads = threads;
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
        assert_has(&loaded, "gpu", &expected);
    };
    std::thread::scope(|scope| {
        for threads in [0, 0, 1, 3] {
            scope.spawn(move || load(threads));
        }
    });
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap();
    pool.scope(|scope| {
        for threads in [0, 0, 0, 1, 2] {
            scope.spawn(move |_| load(threads));
        }
    });
}

#[test]
fn a_device_may_load_from_inside_place() {
    struct Nested<'s> {
        scratch: &'s Scratch,
        target: Target,
    }
    impl Device for Nested<'_> {
        type Handle = usize;
        fn capacity_bytes(&self) -> Option<u64> {
            None
        }
        fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
            Ok(())
        }
        fn place(&self, _: TensorBytes<'_>) -> Result<usize, DeviceError> {
            Ok(load(&self.scratch.store, &self.target).len())
        }
        fn finish(&self) -> Result<(), DeviceError> {
            Ok(())
        }
        fn abort(&self) {}
    }
    let (scratch, target, _) = fixture();
    let nested = Nested {
        scratch: &scratch,
        target: target.clone(),
    };
    let options = LoadOptions::with_devices(vec![("nested".to_owned(), Arc::new(nested))]);
    let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
    let counts: BTreeMap<&str, usize> = loaded
        .iter()
        .map(|(info, placed)| (&*info.name, *placed.device().unwrap()))
        .collect();
    assert_eq!(counts.len(), 15);
    assert!(counts.values().all(|count| *count == 15));
}

#[test]
fn a_device_error_keeps_its_cause() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a", "b", "c"])).into();
    let (_, _, options) = fail(At::Place, false);
    let error = error_of(&scratch.store, &target, options);
    let source = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert_eq!(source, "no more memory in Place");
    assert_eq!(error.hint(), None);
}
