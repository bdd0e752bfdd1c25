//! Devices that take their time: the others go on, copies stay under the cap, and whoever wants to stop can.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipfs_accelerate::LoadError;
use ipfs_accelerate::checkpoint::{
    Device, DeviceError, DevicePlan, Dtype, LoadOptions, Residency, StagingBuf, TensorBytes,
    TensorData, load_checkpoint_and_dispatch,
};

use crate::load_files::*;

/// Sleeps over each tensor, and counts what it has at once.
#[derive(Default)]
struct Slow {
    pause: Duration,
    /// Lends memory for staging to so many tensors at once.
    lends: usize,
    lent: AtomicUsize,
    held_bytes: AtomicUsize,
    most_bytes: AtomicUsize,
    most_lent: AtomicUsize,
    placed: AtomicUsize,
    staged: AtomicUsize,
    aborted: AtomicUsize,
}

impl Device for Slow {
    type Handle = Vec<u8>;

    fn capacity_bytes(&self) -> Option<u64> {
        None
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        Ok(())
    }
    fn staging(&self, len: usize) -> Option<StagingBuf> {
        let take = |lent: usize| (lent < self.lends).then_some(lent + 1);
        let order = Ordering::SeqCst;
        let lent = self.lent.fetch_update(order, order, take).ok()? + 1;
        self.most_lent.fetch_max(lent, order);
        Some(StagingBuf::new(vec![0xee; len]))
    }
    fn place(&self, tensor: TensorBytes<'_>) -> Result<Vec<u8>, DeviceError> {
        let order = Ordering::SeqCst;
        let is_staged = matches!(tensor.data, TensorData::Staged(_));
        if !is_staged {
            let held =
                self.held_bytes.fetch_add(tensor.bytes().len(), order) + tensor.bytes().len();
            self.most_bytes.fetch_max(held, order);
        }
        std::thread::sleep(self.pause);
        self.placed.fetch_add(1, order);
        let bytes = tensor.bytes().to_vec();
        match is_staged {
            true => {
                self.staged.fetch_add(1, order);
                self.lent.fetch_sub(1, order);
            }
            false => {
                self.held_bytes.fetch_sub(bytes.len(), order);
            }
        }
        Ok(bytes)
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {
        self.aborted.fetch_add(1, Ordering::SeqCst);
    }
}

fn on<D: Device>(device: &Arc<D>) -> LoadOptions<D> {
    LoadOptions::with_devices(vec![("gpu".to_owned(), Arc::clone(device))])
}

/// Twelve tensors of 40,004 bytes, all of them misaligned.
fn misaligned() -> Vec<u8> {
    let names: Vec<String> = (0..12).map(|i| format!("h.{i}.w")).collect();
    let shape: &[usize] = &[10_001];
    let mut tensors: Vec<(&str, Dtype, &[usize])> = vec![("a", Dtype::U8, &[1])];
    tensors.extend(names.iter().map(|name| (&**name, Dtype::F32, shape)));
    file_from(&tensors, 1024, &noise(1 + 12 * 40_004, 2))
}

#[test]
fn copies_for_a_slow_device_stay_under_the_cap_and_all_arrive() {
    let scratch = Scratch::new();
    let file = misaligned();
    let target = scratch.add_file(&file).into();
    let expected = in_bytes(&file);
    for residency in [Residency::Lazy, Residency::Copy] {
        for verify in [false, true] {
            let slow = Arc::new(Slow {
                pause: Duration::from_millis(5),
                ..Slow::default()
            });
            let mut options = on(&slow).with_residency(residency);
            options.verify = verify;
            options.threads = 4;
            options.memory_cap = Some(100_000);
            let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
            for (info, placed) in loaded.iter() {
                assert!(
                    *placed.device().unwrap() == expected[&*info.name].2,
                    "{}",
                    info.name
                );
            }
            assert_adds_up(&loaded);
            // A chunk that was hashed for some is hashed again for those that the cap put off, by groups.
            let verified = loaded.report().verified_bytes;
            assert!(verified <= 8 * file.len() as u64, "{verified} bytes hashed");
            let most = slow.most_bytes.load(Ordering::SeqCst);
            // What is borrowed counts for nothing: under `lazy` that is the first tensor, of one byte.
            assert!(most <= 100_001, "{most} bytes at once");
        }
    }
}

#[test]
fn a_device_that_lends_little_memory_gets_the_rest_otherwise() {
    let scratch = Scratch::new();
    let file = misaligned();
    let target = scratch.add_file(&file).into();
    let expected = in_bytes(&file);
    for verify in [false, true] {
        let slow = Arc::new(Slow {
            pause: Duration::from_millis(2),
            lends: 2,
            ..Slow::default()
        });
        let mut options = on(&slow);
        options.verify = verify;
        options.threads = 4;
        let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
        for (info, placed) in loaded.iter() {
            assert!(
                *placed.device().unwrap() == expected[&*info.name].2,
                "{}",
                info.name
            );
        }
        assert!(slow.most_lent.load(Ordering::SeqCst) <= 2);
        let staged = slow.staged.load(Ordering::SeqCst);
        assert!(staged > 0 && staged < 13, "{staged} of 13 staged");
        assert_eq!(slow.lent.load(Ordering::SeqCst), 0, "all came back");
    }
}

#[test]
fn the_caller_can_cancel_while_a_device_is_slow() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&misaligned()).into();
    let slow = Arc::new(Slow {
        pause: Duration::from_millis(20),
        ..Slow::default()
    });
    let cancel = Arc::new(AtomicBool::new(false));
    let mut options = on(&slow);
    options.threads = 2;
    options.cancel = Some(Arc::clone(&cancel));
    let error = std::thread::scope(|scope| {
        let load = scope.spawn(|| error_of(&scratch.store, &target, options));
        while slow.placed.load(Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        cancel.store(true, Ordering::SeqCst);
        load.join().unwrap()
    });
    assert!(matches!(error, LoadError::Cancelled), "{error}");
    assert!(slow.placed.load(Ordering::SeqCst) < 13);
    assert_eq!(slow.aborted.load(Ordering::SeqCst), 1);
}

#[test]
fn progress_can_cancel_a_load_that_reads() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&misaligned()).into();
    for residency in [Residency::Populate, Residency::Copy] {
        let cancel = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&cancel);
        let mut options = LoadOptions::default()
            .with_residency(residency)
            .with_verification();
        options.threads = 1;
        options.cancel = Some(cancel);
        options.progress = Some(Arc::new(move |at| {
            if at.tensors == 1 {
                stop.store(true, Ordering::SeqCst);
            }
        }));
        let error = error_of(&scratch.store, &target, options);
        assert!(matches!(error, LoadError::Cancelled), "{error}");
    }
}

/// Says that it has begun with a tensor, and waits until it may go on.
struct Gate {
    reached: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Device for Gate {
    type Handle = ();

    fn capacity_bytes(&self) -> Option<u64> {
        None
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        Ok(())
    }
    fn place(&self, _: TensorBytes<'_>) -> Result<(), DeviceError> {
        self.reached.lock().unwrap().send(())?;
        let waited = self
            .go_on
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(60));
        Ok(waited?)
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {}
}

/// A load hangs in its device; others go through beside it.
fn others_go_through(scratch: &Scratch, load_others: impl Fn()) {
    let target = scratch.add_file(&small(&["a"])).into();
    let (reached, has_reached) = mpsc::channel();
    let (go, go_on) = mpsc::channel();
    let gate = Arc::new(Gate {
        reached: Mutex::new(reached),
        go_on: Mutex::new(go_on),
    });
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| {
            load_checkpoint_and_dispatch(&scratch.store, &target, on(&gate))
                .map(|loaded| loaded.len())
        });
        has_reached.recv_timeout(Duration::from_secs(60)).unwrap();
        load_others();
        go.send(()).unwrap();
        assert_eq!(hanging.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn a_load_does_not_wait_for_another_that_hangs_in_its_device() {
    let scratch = Scratch::new();
    let file = misaligned();
    let target = scratch.add_file(&file).into();
    others_go_through(&scratch, || {
        for &residency in Residency::ALL {
            let options = LoadOptions::default()
                .with_residency(residency)
                .with_verification();
            let loaded = load_checkpoint_and_dispatch(&scratch.store, &target, options).unwrap();
            assert_same(&on_host(&loaded), &in_bytes(&file));
        }
    });
}

#[test]
fn loads_from_inside_a_pool_of_rayons_do_not_wait_for_one_that_hangs() {
    let scratch = Scratch::new();
    let file = misaligned();
    let target = scratch.add_file(&file).into();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    others_go_through(&scratch, || {
        pool.scope(|scope| {
            for &residency in Residency::ALL {
                let (scratch, target, file) = (&scratch, &target, &file);
                scope.spawn(move |_| {
                    let options = LoadOptions::default().with_residency(residency);
                    let loaded = load_checkpoint_and_dispatch(&scratch.store, target, options);
                    assert_same(&on_host(&loaded.unwrap()), &in_bytes(file));
                });
            }
        });
    });
}

#[test]
fn thousands_of_loads_from_a_pool_of_rayons_do_not_stand_on_each_other() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a", "b"])).into();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .stack_size(512 << 10)
        .build()
        .unwrap();
    let done = AtomicUsize::new(0);
    pool.scope(|scope| {
        for _ in 0..3_000 {
            let (scratch, target, done) = (&scratch, &target, &done);
            scope.spawn(move |_| {
                done.fetch_add(load(&scratch.store, target).len(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(done.into_inner(), 6_000);
}

#[test]
fn callbacks_may_load_on_other_threads_and_wait_for_them() {
    let scratch = Scratch::new();
    let target: ipfs_accelerate::Target = scratch.add_file(&small(&["a"])).into();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (scratch, target) = (&scratch, &target);
            scope.spawn(move || {
                let (store, inner) = (scratch.store.to_reader(), target.clone());
                let options = LoadOptions::default().with_select(move |_| {
                    let (store, inner) = (store.clone(), inner.clone());
                    std::thread::spawn(move || load(&store, &inner).len())
                        .join()
                        .unwrap();
                    ipfs_accelerate::Select::Whole
                });
                load_checkpoint_and_dispatch(&scratch.store, target, options).unwrap();
            });
        }
    });
}

/// Staging memory that says another length when it is asked again.
struct Liar(Vec<u8>, usize);

impl ipfs_accelerate::checkpoint::StagingMemory for Liar {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.1 += 1;
        let len = self.0.len() - usize::from(self.1 > 1);
        &mut self.0[..len]
    }
}

struct Lender;

impl Device for Lender {
    type Handle = ();
    fn capacity_bytes(&self) -> Option<u64> {
        None
    }
    fn begin(&self, _: &DevicePlan) -> Result<(), DeviceError> {
        Ok(())
    }
    fn staging(&self, len: usize) -> Option<StagingBuf> {
        Some(StagingBuf::new(Liar(vec![0; len], 0)))
    }
    fn place(&self, _: TensorBytes<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn abort(&self) {}
}

#[test]
fn staging_memory_that_changes_its_length_is_an_error() {
    let scratch = Scratch::new();
    let target = scratch.add_file(&small(&["a"])).into();
    let error = error_of(&scratch.store, &target, on(&Arc::new(Lender)));
    assert_error(&error, "device", &["lent 3 bytes"], None);
}
