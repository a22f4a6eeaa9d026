//! Servers whose system calls fail, or are watched: through `strace`, which `tests/run.sh` installs.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::ServerProcess;

/// A server that runs under `strace` from its first call on, with these of its arguments.
///
/// # Errors
/// What it said, when it ends before it listens.
pub fn start(strace: &[&str], program: &str, database: &Path) -> Result<ServerProcess, Vec<String>> {
    // -D: the child is the server itself, and what traces it ends with it. Not with --seccomp-bpf: `when=2` never came then.
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q"]).args(strace).arg("--").arg(program);
    ServerProcess::arguments(&mut command, "127.0.0.1:0".parse().unwrap(), database);
    ServerProcess::spawn(command)
}

/// What a running server suffers, as long as this lives.
#[derive(Debug)]
pub struct Fault {
    child: Child,
}

impl Fault {
    /// Begins it, with these arguments of `strace`.
    ///
    /// # Panics
    /// When `strace` is missing, or may not trace the process.
    pub fn begin(server: &ServerProcess, strace: &[&str]) -> Self {
        let mut child = Command::new("strace")
            .args(["-f", "-o", "/dev/null"])
            .args(strace)
            .args(["-p", &server.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace, of the package strace");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        // "attached with 9 threads", or without the number.
        while !said.last().is_some_and(|line: &String| line.contains("attached")) {
            let Some(Ok(line)) = lines.next() else { panic!("strace ended: {said:#?}") };
            said.push(line);
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child }
    }

    /// Ends it: calls work again.
    pub fn end(self) {}
}

impl Drop for Fault {
    fn drop(&mut self) {
        // It lets go of the process when it is asked to terminate, and of its threads when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
