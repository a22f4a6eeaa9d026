//! Runs a target on the stable toolchain: its corpus, then inputs made at random and by changing those that led to something new.
//!
//! It sees what a target notes and not which branches were taken, so it finds less an hour than libFuzzer does; it needs nothing but cargo.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arbitrary::Unstructured;
use fastrand::Rng;

use crate::{Notes, Target};

/// The largest input, in bytes.
const MAX_INPUT: usize = 8 * 1024;

/// The most inputs that are kept to be changed, and the most outcomes that are told apart: they are no growth of the target's.
const MAX_POOL: usize = 1000;
const MAX_SEEN: usize = 20_000;

/// How long one input may take until it counts as a hang.
const HANG: Duration = Duration::from_secs(20);

/// How much memory a target may take more than after its first tenth, in MiB.
const MAX_GROWTH: u64 = 64;

/// How long an input that fails is made smaller.
const SHRINK: Duration = Duration::from_secs(10);

/// How a target is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// At most so long.
    pub time: Duration,
    /// At most so many inputs, besides the corpus.
    pub runs: u64,
    /// What the random numbers begin with.
    pub seed: u64,
    /// Where the corpora are, each in a folder of the target's name.
    pub corpus: PathBuf,
    /// Where inputs that fail are written.
    pub failures: PathBuf,
    /// Whether inputs that led to something new are added to the corpus.
    pub keep: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How many inputs were tried.
    pub runs: u64,
    /// How many of them are the corpus.
    pub corpus: usize,
    /// How many different things they led to.
    pub notes: usize,
    /// How long it took.
    pub time: Duration,
    /// How much memory it took at the end more than after its first tenth, in MiB.
    pub growth: u64,
    /// How long the slowest input took.
    pub slowest: Duration,
}

/// An input that failed, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was said.
    pub message: String,
    /// The input's file.
    pub path: PathBuf,
}

thread_local! {
    /// What this thread panicked with: also where tokio or the server caught it.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Panics of all threads but the one that runs the target.
static ELSEWHERE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs a target. The first input that fails is made smaller, written to a file, and ends it.
///
/// # Errors
/// An input failed.
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Failure> {
    listen_to_panics();
    let watch = Watch::new(target, plan);
    let mut fuzzer = Fuzzer {
        target,
        plan,
        watch,
        random: Rng::with_seed(plan.seed),
        pool: Vec::new(),
        seen: BTreeSet::new(),
        runs: 0,
        slowest: Duration::ZERO,
    };
    fuzzer.run()
}

/// Tries one file, or all of a folder.
///
/// # Errors
/// It failed.
pub fn replay(target: &Target, plan: &Plan, path: &Path) -> Result<usize, Failure> {
    listen_to_panics();
    let watch = Watch::new(target, plan);
    let files = files(path);
    for path in &files {
        let input = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        watch.begin(&input);
        let tried = attempt(target, &input);
        watch.end();
        tried.map_err(|message| Failure { message, path: path.clone() })?;
    }
    Ok(files.len())
}

struct Fuzzer<'a> {
    target: &'a Target,
    plan: &'a Plan,
    watch: Watch,
    random: Rng,
    /// Inputs that led to something new.
    pool: Vec<Vec<u8>>,
    seen: BTreeSet<String>,
    runs: u64,
    slowest: Duration,
}

impl Fuzzer<'_> {
    fn run(&mut self) -> Result<Report, Failure> {
        let begun = Instant::now();
        let corpus = files(&self.plan.corpus.join(self.target.name));
        for path in &corpus {
            let input = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            self.attempt(&input)?;
            self.pool.push(input);
        }
        let in_corpus = self.runs;
        let mut baseline = None;
        loop {
            let (time, runs) = (begun.elapsed(), self.runs - in_corpus);
            if time >= self.plan.time || runs >= self.plan.runs {
                break;
            }
            if baseline.is_none() && (time >= self.plan.time / 10 || runs >= self.plan.runs / 10) {
                baseline = Some(memory());
            }
            let input = self.input();
            if self.attempt(&input)? {
                if self.plan.keep {
                    self.keep(&input);
                }
                if self.pool.len() < MAX_POOL {
                    self.pool.push(input);
                } else {
                    let place = self.random.usize(corpus.len()..self.pool.len());
                    self.pool[place] = input;
                }
            }
            if self.runs.is_multiple_of(1024)
                && let Some(baseline) = baseline
                && memory().saturating_sub(baseline) > MAX_GROWTH
            {
                let message = format!("it took {} MiB more and more", memory() - baseline);
                return Err(self.failure(message, &self.pool.last().cloned().unwrap_or_default()));
            }
        }
        Ok(Report {
            runs: self.runs,
            corpus: corpus.len(),
            notes: self.seen.len(),
            time: begun.elapsed(),
            growth: memory().saturating_sub(baseline.unwrap_or_else(memory)),
            slowest: self.slowest,
        })
    }

    /// Whether it led to something new.
    fn attempt(&mut self, input: &[u8]) -> Result<bool, Failure> {
        self.runs += 1;
        self.watch.begin(input);
        let begun = Instant::now();
        let tried = attempt(self.target, input);
        self.slowest = self.slowest.max(begun.elapsed());
        self.watch.end();
        match tried {
            Ok(notes) => {
                let known = self.seen.len();
                if known < MAX_SEEN {
                    self.seen.extend(notes.iter().map(str::to_owned));
                }
                Ok(self.seen.len() > known)
            }
            Err(message) => {
                let input = self.smaller(input.to_vec());
                let message = attempt(self.target, &input).err().unwrap_or(message);
                Err(self.failure(message, &input))
            }
        }
    }

    fn input(&mut self) -> Vec<u8> {
        let mut input = if self.pool.is_empty() || self.random.u8(..) < 64 {
            let mut bytes = vec![0; self.random.usize(1..1024)];
            self.random.fill(&mut bytes);
            (self.target.generate)(&mut Unstructured::new(&bytes)).unwrap_or_default()
        } else {
            let from = self.random.choice(&self.pool).cloned().unwrap_or_default();
            if self.random.u8(..) < 32 {
                let with = self.random.choice(&self.pool).cloned().unwrap_or_default();
                self.spliced(&from, &with)
            } else {
                from
            }
        };
        // As they were made they are tried too.
        for _ in 0..self.random.usize(0..5) {
            self.change(&mut input);
        }
        input.truncate(MAX_INPUT);
        input
    }

    fn spliced(&mut self, first: &[u8], second: &[u8]) -> Vec<u8> {
        let (from, to) = (self.random.usize(..=first.len()), self.random.usize(..=second.len()));
        [&first[..from], &second[to..]].concat()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let random = &mut self.random;
        let place = random.usize(..=input.len());
        let end = (place + random.usize(0..24)).min(input.len());
        match random.u8(0..9) {
            0 if place < input.len() => input[place] ^= 1 << random.u8(0..8),
            1 if place < input.len() => input[place] = random.u8(..),
            2 => drop(input.drain(place..end)),
            3 => {
                let again = input[place..end].to_vec();
                let to = random.usize(..=input.len());
                input.splice(to..to, again);
            }
            4 | 5 if !self.target.words.is_empty() => {
                let word = random.choice(self.target.words).copied().unwrap_or_default();
                let end = if random.bool() { place } else { end };
                input.splice(place..end, word.bytes());
            }
            6 => {
                let count = random.usize(1..8);
                input.splice(place..place, std::iter::repeat_with(|| random.u8(..)).take(count));
            }
            7 => {
                // A number becomes another.
                if let Some(at) = input.iter().skip(place).position(u8::is_ascii_digit) {
                    input[place + at] = random.u8(b'0'..=b'9');
                }
            }
            8 => {
                let byte = random.u8(..);
                let count = random.usize(1..64);
                input.splice(place..end, std::iter::repeat_n(byte, count));
            }
            _ => input.truncate(place),
        }
    }

    /// A smaller input that fails too.
    fn smaller(&self, mut input: Vec<u8>) -> Vec<u8> {
        let begun = Instant::now();
        let mut size = input.len() / 2;
        while size > 0 {
            let mut place = 0;
            while place < input.len() && begun.elapsed() < SHRINK {
                let end = (place + size).min(input.len());
                let without = [&input[..place], &input[end..]].concat();
                self.watch.begin(&without);
                if attempt(self.target, &without).is_err() {
                    input = without;
                } else {
                    place = end;
                }
                self.watch.end();
            }
            size /= 2;
        }
        input
    }

    fn failure(&self, message: String, input: &[u8]) -> Failure {
        Failure { message, path: write(&self.plan.failures, self.target, input) }
    }

    fn keep(&self, input: &[u8]) {
        let folder = self.plan.corpus.join(self.target.name);
        write_to(&folder, &format!("{:016x}", hash(input)), input);
    }
}

/// Tries an input: what it led to, or what went wrong, here or in any task or thread of the server.
fn attempt(target: &Target, input: &[u8]) -> Result<Notes, String> {
    PANICS.with_borrow_mut(Vec::clear);
    let mut notes = Notes::default();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input, &mut notes)));
    let mut panics = PANICS.with_borrow_mut(std::mem::take);
    panics.append(&mut ELSEWHERE.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    if ended.is_ok() && panics.is_empty() { Ok(notes) } else { Err(panics.join("\n")) }
}

fn listen_to_panics() {
    let runner = thread::current().id();
    panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        if thread::current().id() == runner {
            PANICS.with_borrow_mut(|panics| panics.push(text));
        } else {
            ELSEWHERE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text);
        }
    }));
}

/// Ends the process when an input takes too long: the thread that runs it cannot be ended.
struct Watch {
    input: Arc<Mutex<Vec<u8>>>,
    /// When it was begun, in milliseconds; 0 when none is.
    begun: Arc<AtomicU64>,
    clock: Instant,
}

impl Watch {
    fn new(target: &Target, plan: &Plan) -> Self {
        let (input, begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let clock = Instant::now();
        let watch = Self { input: input.clone(), begun: begun.clone(), clock };
        let (target, failures) = (*target, plan.failures.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(500));
                let since = begun.load(Ordering::SeqCst);
                if since > 0 && millis(clock) > since + millis_of(HANG) {
                    let path = write(&failures, &target, &input.lock().expect("the input"));
                    eprintln!("{}: an input does not come to an end", target.name);
                    eprintln!("{}", again(&target, &path));
                    process::exit(3);
                }
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) {
        let mut kept = self.input.lock().expect("the input");
        kept.clear();
        kept.extend_from_slice(input);
        drop(kept);
        self.begun.store(millis(self.clock).max(1), Ordering::SeqCst);
    }

    fn end(&self) {
        self.begun.store(0, Ordering::SeqCst);
    }
}

fn millis(since: Instant) -> u64 {
    millis_of(since.elapsed())
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The command that tries a file again.
pub fn again(target: &Target, path: &Path) -> String {
    format!("again: tests/fuzz/run {} --replay {}", target.name, path.display())
}

fn write(folder: &Path, target: &Target, input: &[u8]) -> PathBuf {
    write_to(folder, &format!("{}-{:016x}", target.name, hash(input)), input)
}

fn write_to(folder: &Path, name: &str, input: &[u8]) -> PathBuf {
    let path = folder.join(name);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, input));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// FNV-1a, for names of files.
fn hash(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A file, or those of a folder in the order of their names.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.into()];
    }
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut files = read().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files.sort();
    files
}

/// What the process has in memory, in MiB; 0 where there is no `/proc`.
fn memory() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096 / (1024 * 1024)
}
