//! A server that is a process of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// A running server process; killed when it is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl ServerProcess {
    /// Starts `program` on `listen` with its rows in `database`, and waits until it says that it listens.
    ///
    /// # Panics
    /// When it ends before it does, with what it said.
    pub fn start(program: &str, listen: SocketAddr, database: &Path) -> Self {
        Self::start_with(program, listen, database, &[])
    }

    /// The same, with more arguments.
    ///
    /// # Panics
    /// When it ends before it listens, with what it said.
    pub fn start_with(program: &str, listen: SocketAddr, database: &Path, arguments: &[&OsStr]) -> Self {
        let mut child = Command::new(program)
            .args(["--listen", &listen.to_string(), "--store", &format!("sqlite:{}", database.display())])
            .args(arguments)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the server ended: {said:#?}") };
            if let Some(rest) = line.split("listening on http://").nth(1) {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        // So that it never waits for somebody to read its logs.
        thread::spawn(move || lines.for_each(drop));
        Self { address, child }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time that it has taken so far, in microseconds; it is counted in hundredths of a second.
    ///
    /// # Panics
    /// When it is gone, or this is no Linux.
    pub fn cpu_micros(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // After the program's name, which may hold anything: utime and stime are the 14th and 15th fields.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks * 10_000.0
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
