//! A server that is a process of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// A running server process; killed when it is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    lines: mpsc::Receiver<String>,
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
        let mut command = Command::new(program);
        Self::arguments(&mut command, listen, database).args(arguments);
        Self::spawn(command).unwrap_or_else(|said| panic!("the server ended: {said:#?}"))
    }

    /// The arguments that every server here has.
    pub fn arguments<'a>(command: &'a mut Command, listen: SocketAddr, database: &Path) -> &'a mut Command {
        command
            .args(["--listen", &listen.to_string(), "--store", &format!("sqlite:{}", database.display())])
            // As fast as they can, and as many: so do tests and benches connect and send.
            .args(["--messages-per-second", "1000000000", "--connections-per-address", "100000"])
    }

    /// Starts a server, or something that becomes one, and waits until it says that it listens.
    ///
    /// # Errors
    /// What it said, when it ends before it does.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn spawn(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child =
            command.env("RUST_LOG", "info").env("NO_COLOR", "1").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                child.wait().unwrap();
                return Err(said);
            };
            if let Some(rest) = line.split("listening on http://").nth(1) {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        // So that it never waits for somebody to read its logs.
        let (keep, kept) = mpsc::channel();
        thread::spawn(move || {
            for line in said.into_iter().map(Ok).chain(lines).map_while(Result::ok) {
                let _ = keep.send(line);
            }
        });
        Ok(Self { address, child, lines: kept })
    }

    /// Waits for the next line of its log that has this text; the line.
    ///
    /// # Panics
    /// When none comes.
    pub fn says(&self, text: &str) -> String {
        let mut said = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) else {
                panic!("it does not say `{text}`, but {said:#?}");
            };
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
    }

    /// The lines of its log that came since, and were not looked at.
    pub fn said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Waits for its end, which something else brings about; how it ended.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
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

    /// The memory that it has in RAM, in KiB.
    ///
    /// # Panics
    /// When it is gone, or this is no Linux.
    pub fn resident_kib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
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
