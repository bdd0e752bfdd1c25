//! Death (I2): a process works at a store and is killed at random moments, always at the same store. What it said
//! had returned is there and whole, what was in flight is done or not, and opening works.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipfs_accelerate::Store;

use super::store_kit::*;
use super::worker::{Promises, Random, Workplace, options, work};

const WORKER: &str = "IPFS_ACCELERATE_TEST_WORKER";
/// Set for the long run.
const LONG: &str = "IPFS_ACCELERATE_LONG";

/// How often something random is tried: so often in the long run, so often otherwise.
pub(crate) fn times(long: u64, short: u64) -> u64 {
    match std::env::var_os(LONG).is_some_and(|set| set != "0") {
        true => long,
        false => short,
    }
}

/// A process that works at a store until it is killed.
pub(crate) fn worker(place: &Workplace, seed: u64) -> Command {
    let mut command = again_in_a_child("death::a_process_that_works", WORKER, &place.told(seed));
    command.stdout(Stdio::null());
    command
}

/// Run as a process of its own by the tests here and those of power cuts.
#[test]
fn a_process_that_works() {
    if let Some(told) = is_child(WORKER) {
        work(&told);
    }
}

#[test]
fn what_was_returned_is_there_however_often_its_process_is_killed() {
    what_was_returned_survives(times(200, 20));
}

pub(crate) fn what_was_returned_survives(deaths: u64) {
    let stage = Stage::new();
    let place = Workplace {
        store: stage.store_path(),
        sources: stage.path("sources"),
        account: stage.path("account"),
    };
    let mut random = Random::new(Random::seed());
    let mut promises = Promises::default();
    for round in 0..deaths {
        fs::write(&place.account, "").unwrap();
        let mut child = worker(&place, random.below(1 << 40)).spawn().unwrap();
        let account = || fs::read_to_string(&place.account).unwrap();
        let begun = Instant::now();
        // Some die while they open the store, the others at their work.
        if round % 5 > 0 {
            while account().lines().count() < 2 {
                assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(200)));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it ended by itself: {ended}");
        promises.follow(&account());
        let store = Store::open_or_create(&place.store, options()).unwrap();
        promises.check(&store, &place.sources);
        if round % 4 == 3 {
            promises.check_that_it_goes_on(&store, &place.sources);
        }
    }
    println!("{} calls returned in {deaths} lives", promises.returned);
    assert!(promises.opened >= deaths / 2 && promises.returned > deaths);
}
