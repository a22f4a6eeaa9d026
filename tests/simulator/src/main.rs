//! `tests/sim`: runs seeds, and prints what does not hold.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use clap::Parser;
use parking_lot::Mutex;
use sync_simulator::{Bug, Figures, Options, run};

/// Simulates the server with clients, lines and disks that a seed decides, and checks the contract.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds are run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many operations of clients each seed has.
    #[arg(long, default_value_t = 600)]
    operations: u64,
    /// How many run at the same time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// A mistake that is made on purpose.
    #[arg(long)]
    bug: Option<Bug>,
    /// Goes on after a seed that fails.
    #[arg(long)]
    all: bool,
    /// How many lines of a failing seed's trace are printed.
    #[arg(long, default_value_t = 60)]
    lines: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { operations: arguments.operations, bug: arguments.bug };
    let begun = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from.saturating_add(arguments.seeds);
    let total = Mutex::new(Figures::default());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || (!arguments.all && !failed.lock().is_empty()) {
                        return;
                    }
                    match run(seed, &options, arguments.lines) {
                        Ok(figures) => total.lock().add(&figures),
                        Err(failure) => {
                            println!("{failure}\n");
                            failed.lock().push(seed);
                        }
                    }
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:?} in {seconds:.1} s", total.lock());
    let mut failed = failed.into_inner();
    failed.sort_unstable();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}
