//! A program in another language that a test runs: it publishes, or it reads and prints.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::eventually::eventually;
use crate::process::Process;

/// A running program, and what it says.
pub struct Script {
    name: String,
    process: Process,
    output: PathBuf,
    errors: PathBuf,
    // Last: removed when the process is gone.
    _directory: TempDir,
}

impl Script {
    /// Starts a program; `name` is for people.
    pub fn start(name: &str, command: &Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [output, errors] = ["output", "errors"].map(|name| directory.path().join(name));
        let file = |path: &Path| File::create(path).expect("a file");
        let process = Process::start(command, file(&output), file(&errors), directory.path());
        let process = process.expect("a shell to start a script");
        Self { name: name.to_owned(), process, output, errors, _directory: directory }
    }

    /// Waits until it has said `ready` on a line of its own, as the first that it says.
    pub async fn until_ready(mut self, deadline: Duration) -> Self {
        eventually(deadline, &format!("{} reads", self.name), async || {
            assert!(self.process.exit_status().is_none(), "{} said:\n{}", self.name, self.complained());
            self.said().starts_with("ready\n")
        })
        .await;
        self
    }

    /// Waits for its end, which must be a good one, and returns all that it said.
    pub async fn end(mut self, deadline: Duration) -> String {
        let status = self.process.wait(deadline).await;
        let ended = status.is_some_and(|status| status.success());
        assert!(ended, "{} {status:?} said:\n{}{}", self.name, self.said(), self.complained());
        self.said()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("the output")
    }

    fn complained(&self) -> String {
        fs::read_to_string(&self.errors).expect("the errors")
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).finish_non_exhaustive()
    }
}
