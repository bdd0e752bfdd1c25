//! A real power cut (I2): a process works at a store on a file system of its own, whose disk is copied at random
//! moments. On the copy everything is there and whole that the process had said had returned.

use std::fs::{self, File};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use ipfs_accelerate::Store;
use rustix::process::{Pid, Signal, kill_process};

use super::death::{times, worker};
use super::store_kit::*;
use super::worker::{Promises, Random, Workplace, options};

use super::loop_disk::LoopDisk;

const DIRECTOR: &str = "IPFS_ACCELERATE_TEST_POWER_CUT";
const DISK_BYTES: u64 = 256 << 20;

#[test]
fn what_was_returned_survives_a_power_cut() {
    if let Some(folder) = is_child(DIRECTOR) {
        return cut_and_check(Path::new(&folder));
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can set up a loop device");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let director = again_in_a_child(
        "power_cut::what_was_returned_survives_a_power_cut",
        DIRECTOR,
        folder.path().to_str().unwrap(),
    );
    // In a mount namespace of its own, so that nothing stays mounted whatever happens.
    let mut command = under(&["unshare", "--mount", "--propagation", "slave"], &director);
    match command.status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(e) => println!("skipped: unshare: {e}"),
    }
}

/// Killed when dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Returns once it does nothing more.
    fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let tasks = format!("/proc/{}/task", self.0.id());
        let is_stopped = |task: &Path| {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            state.starts_with('T')
        };
        let begun = Instant::now();
        while !fs::read_dir(&tasks)
            .unwrap()
            .all(|task| is_stopped(&task.unwrap().path()))
        {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not stop"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }
}

fn cut_and_check(folder: &Path) {
    let disk = match LoopDisk::create(&folder.join("disk"), DISK_BYTES) {
        Ok(disk) => disk,
        Err(e) => {
            println!("skipped: no loop device here: {e}");
            return;
        }
    };
    let place = Workplace {
        store: disk.path().join("store"),
        sources: folder.join("sources"),
        account: folder.join("account"),
    };
    fs::write(&place.account, "").unwrap();
    let mut random = Random::new(Random::seed());
    let mut worker = Worker(worker(&place, random.below(1 << 40)).spawn().unwrap());
    let account = || fs::read_to_string(&place.account).unwrap();
    let cuts = times(50, 3);
    let mut lines = 0;
    for cut in 0..cuts {
        let begun = Instant::now();
        while account().lines().count() < lines + 6 {
            assert!(worker.0.try_wait().unwrap().is_none(), "it ended by itself");
            assert!(begun.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
        worker.stop();
        // What nobody syncs shows that the copy is not of the file system's memory.
        let never_synced = format!("never-synced-{cut}");
        fs::write(disk.path().join(&never_synced), [1; 4_096]).unwrap();
        let account = account();
        lines = account.lines().count();
        let left = disk.copy(&folder.join(format!("cut-{cut}"))).unwrap();
        worker.go_on();

        let left = left.mount().unwrap();
        let shown = File::open(left.path().join(&never_synced));
        let len = shown.map_or(0, |file| file.metadata().unwrap().len());
        assert_eq!(len, 0, "the copy holds what was in memory only");
        let mut promises = Promises::default();
        promises.follow(&account);
        let store = Store::open_or_create(left.path().join("store"), options()).unwrap();
        promises.check(&store, &place.sources);
        promises.check_that_it_goes_on(&store, &place.sources);
        drop(store);
        drop(left);
        fs::remove_dir_all(folder.join(format!("cut-{cut}"))).unwrap();
        println!("cut {cut}: {} calls had returned", promises.returned);
    }
}
