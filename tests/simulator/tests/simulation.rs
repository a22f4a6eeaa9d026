//! A fixed set of seeds, and the mistakes that must be found. `tests/sim` runs more.

use std::panic::resume_unwind;
use std::thread;

use sync_simulator::{Bug, Options, run};

/// How many threads share the seeds.
const THREADS: u64 = 2;

/// Without optimisation a world takes ten times as long.
const SEEDS: u64 = if cfg!(debug_assertions) { 6 } else { 300 };

#[test]
fn the_contract_holds() {
    let options = Options { operations: 600, bug: None };
    let workers: Vec<_> = (0..THREADS)
        .map(|first| {
            thread::spawn(move || {
                for seed in (1..=SEEDS).filter(|seed| seed % THREADS == first) {
                    if let Err(failure) = run(seed, &options, 60) {
                        panic!("{failure}");
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}

#[test]
fn a_seed_replays() {
    let options = Options { operations: 300, bug: None };
    let figures = || run(7, &options, 0).unwrap();
    assert_eq!(figures(), figures());
}

/// Whoever proves must be proven: each mistake that is made on purpose is found within a few seeds.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes minutes without optimisation: cargo test --release -p sync-simulator"
)]
fn every_mistake_is_found() {
    let missed: Vec<_> = Bug::all()
        .iter()
        .filter(|bug| {
            let options = Options { operations: 600, bug: Some(**bug) };
            let found = (1..=100).find_map(|seed| run(seed, &options, 0).err());
            if let Some(found) = &found {
                println!("{bug:?}: seed {}: {:.160}", found.seed, found.what);
            }
            found.is_none()
        })
        .collect();
    assert!(Bug::all().len() >= 12 && missed.is_empty(), "not found: {missed:?}");
}
