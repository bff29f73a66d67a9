//! The process of a broker that was started here, its data and its log.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout_at};

use super::Kind;
use crate::eventually::PAUSE;
use crate::process::Process;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) process: Process,
    command: Command,
    // After the process: its directory is removed when the process is gone.
    pub(crate) place: Place,
}

/// Where a broker runs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) log: PathBuf,
    directory: TempDir,
}

impl Place {
    pub(crate) fn new(name: &str, port: u16, log: &Path) -> Self {
        File::create(log).expect("a log file");
        let directory = tempfile::Builder::new().prefix(&format!("sidespan-{name}-")).tempdir();
        Self { port, log: log.to_owned(), directory: directory.expect("a directory") }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the directory.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory().join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// Starts a program here that writes to the log.
    pub(crate) fn run(&self, command: &Command) -> Process {
        let log = || OpenOptions::new().append(true).open(&self.log).expect("a log file");
        Process::start(command, log(), log(), self.directory()).expect("a shell to start a broker")
    }
}

impl Node {
    pub(crate) fn run(command: Command, place: Place) -> Self {
        Self { process: place.run(&command), command, place }
    }

    /// Starts it once more on the same port and directory.
    pub(crate) fn run_again(&mut self) {
        self.process = self.place.run(&self.command);
    }

    /// Waits until it answers; else says why not.
    pub(crate) async fn until_it_answers(&mut self, kind: Kind) -> Result<(), String> {
        let end = Instant::now() + READY;
        let (name, log) = (kind.name(), self.place.log.display());
        loop {
            if let Some(status) = self.process.exit_status() {
                return Err(format!("{name} ended with {status}, see {log}"));
            }
            match timeout_at(end, kind.is_ready(self.place.port)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false) | Err(_)) => sleep(PAUSE).await,
                Err(_late) => return Err(format!("{name} does not answer after {READY:?}, see {log}")),
            }
        }
    }

    pub(crate) fn lost_its_port(&self) -> bool {
        let log = fs::read_to_string(&self.place.log).unwrap_or_default().to_lowercase();
        log.contains("address already in use") || log.contains("eaddrinuse")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("a broker's log is {}", self.log.display());
        } else {
            let _ = fs::remove_file(&self.log);
        }
    }
}

/// How long a broker may take to answer: seconds on a quiet machine.
const READY: Duration = Duration::from_secs(90);
