//! The runner: `tests/fuzz/run --help`.

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use sync_fuzz::{
    TARGETS, Target,
    runner::{self, Failure, Plan},
};

const USAGE: &str = "\
usage: tests/fuzz/run TARGET [--minutes N | --seconds N] [--runs N] [--seed N] [--keep]
       tests/fuzz/run TARGET --replay FILE-OR-FOLDER

  --minutes, --seconds   how long (1 minute)
  --runs                 at most so many inputs (no end)
  --seed                 what the random numbers begin with (another every time)
  --keep                 adds inputs that lead to something new to the corpus
  --failures             the folder where inputs that fail are written (target/fuzz)
  --replay               tries these inputs, and no more
";

fn main() -> ExitCode {
    let mut plan = Plan {
        time: Duration::from_mins(1),
        runs: u64::MAX,
        seed: fastrand::u64(..),
        corpus: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")),
        failures: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/fuzz")),
        keep: false,
    };
    match arguments(&mut plan) {
        Ok((target, None)) => fuzz(target, &plan),
        Ok((target, Some(path))) => match runner::replay(target, &plan, &path) {
            Ok(count) => {
                println!("{}: {count} inputs are right", target.name);
                ExitCode::SUCCESS
            }
            Err(failure) => failed(target, &failure),
        },
        Err(message) => {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("{message}\n{USAGE}\ntargets: {}", names.join(", "));
            ExitCode::from(2)
        }
    }
}

fn fuzz(target: &Target, plan: &Plan) -> ExitCode {
    match runner::run(target, plan) {
        Ok(report) => {
            println!(
                "{}: {} inputs in {:.1} s ({} of the corpus), {} outcomes, slowest {:.1} ms, {} MiB more, seed {}",
                target.name,
                report.runs,
                report.time.as_secs_f64(),
                report.corpus,
                report.notes,
                report.slowest.as_secs_f64() * 1000.0,
                report.growth,
                plan.seed,
            );
            ExitCode::SUCCESS
        }
        Err(failure) => failed(target, &failure),
    }
}

fn failed(target: &Target, failure: &Failure) -> ExitCode {
    eprintln!("{}: {}", target.name, failure.message);
    eprintln!("{}", runner::again(target, &failure.path));
    ExitCode::FAILURE
}

fn arguments(plan: &mut Plan) -> Result<(&'static Target, Option<PathBuf>), String> {
    let mut target = None;
    let mut replay = None;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        match argument.as_str() {
            "--minutes" => plan.time = Duration::from_secs(60 * number(value()?)?),
            "--seconds" => plan.time = Duration::from_secs(number(value()?)?),
            "--runs" => plan.runs = number(value()?)?,
            "--seed" => plan.seed = number(value()?)?,
            "--keep" => plan.keep = true,
            "--failures" => plan.failures = value()?.into(),
            "--replay" => replay = Some(PathBuf::from(value()?)),
            "--help" => return Err(String::new()),
            name => {
                let known = TARGETS.iter().find(|target| target.name == name);
                target = Some(known.ok_or_else(|| format!("there is no target `{name}`"))?);
            }
        }
    }
    Ok((target.ok_or("which target?")?, replay))
}
