//! A simulator of the whole: the server as it is, on a store in memory, with clients, lines and disks that one seed decides, down to the last delay.
//!
//! Everything of a world runs on one thread and on a clock that stands still but when nothing can be done, so that a seed replays exactly. After
//! each quiet point, and between, what clients were told and what they have is compared with what really happened: the contract, clause by clause.

mod bug;
mod client;
mod dice;
mod disk;
mod line;
mod models;
mod panics;
mod rows;
mod truth;
mod world;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use self::world::World;
pub use self::{bug::Bug, world::Figures};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many operations each world has.
    pub operations: u64,
    /// A mistake that is made.
    pub bug: Option<Bug>,
}

/// A seed that breaks the contract.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    /// What happened before, in short.
    pub trace: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nseed {}: {}", self.trace, self.seed, self.what)
    }
}

/// Runs the world of one seed. One that fails is run again, with a trace of its last `lines`.
pub fn run(seed: u64, options: &Options, lines: usize) -> Result<Figures, Failure> {
    let what = match once(seed, options, false) {
        Ok(figures) => return Ok(figures),
        Err((what, _)) => what,
    };
    let trace = match once(seed, options, true) {
        Err((again, trace)) if again == what => trace,
        Err((again, trace)) => format!("{trace}\nit does not replay: {again}"),
        Ok(_) => "it does not replay: it went well".into(),
    };
    let all: Vec<_> = trace.lines().collect();
    let trace = all[all.len().saturating_sub(lines)..].join("\n");
    Err(Failure { seed, what, trace })
}

fn once(seed: u64, options: &Options, trace: bool) -> Result<Figures, (String, String)> {
    panics::watch(true);
    let mut world = World::new(seed, options, trace);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run(options.operations)));
    let trace = world.take_trace();
    drop(world);
    panics::watch(false);
    let panic = panics::take();
    let what = match ran {
        Ok(Ok(figures)) => return Ok(figures),
        Ok(Err(what)) => what,
        Err(_) => format!("the simulator panicked: {}", panic.unwrap_or_default()),
    };
    Err((what, trace))
}
