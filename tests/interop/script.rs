//! A foreign client: a script in Python that publishes, or reads and prints.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Process, eventually};
use tempfile::TempDir;

/// A client, and where it publishes and reads.
pub(crate) struct Script {
    name: &'static str,
    packages: PathBuf,
    address: String,
    place: String,
}

/// A client that reads.
pub(crate) struct Reading(Run);

struct Run {
    name: &'static str,
    process: Process,
    output: PathBuf,
    errors: PathBuf,
    // Last: removed when the process is gone.
    _directory: TempDir,
}

impl Script {
    /// Installs what the clients need, unless it is there.
    pub(crate) async fn new(name: &'static str, address: &str, place: &str) -> Self {
        let mut setup = Run::start("setup", &Command::new(folder().join("setup")));
        setup.end(INSTALLING).await;
        let packages = setup.said().trim().into();
        Self { name, packages, address: address.to_owned(), place: place.to_owned() }
    }

    /// Publishes a message and CloudEvents, and returns how many in all.
    pub(crate) async fn publish(&self) -> usize {
        let mut run = self.start("publish", &[]);
        run.end(PATIENCE).await;
        run.said().trim().parse().expect("a number")
    }

    /// Begins to read so many messages, and returns when it is sure to see what comes.
    pub(crate) async fn read(&self, count: usize) -> Reading {
        let mut run = self.start("read", &[&count.to_string()]);
        eventually(PATIENCE, &format!("{} reads", self.name), async || {
            assert!(run.process.exit_status().is_none(), "{} said:\n{}", self.name, run.complained());
            run.said().starts_with("ready\n")
        })
        .await;
        Reading(run)
    }

    fn start(&self, verb: &str, more: &[&str]) -> Run {
        let mut command = Command::new("python3");
        command.arg(folder().join(self.name)).args([verb, &self.address, &self.place]).args(more);
        command.env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        Run::start(self.name, &command)
    }
}

impl Reading {
    /// Returns what was read.
    pub(crate) async fn lines(mut self) -> Vec<Value> {
        self.0.end(PATIENCE).await;
        let said = self.0.said();
        said.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Run {
    fn start(name: &'static str, command: &Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [output, errors] = ["output", "errors"].map(|name| directory.path().join(name));
        let file = |path: &Path| File::create(path).expect("a file");
        let process = Process::start(command, file(&output), file(&errors), directory.path());
        let process = process.expect("a shell to start a script");
        Self { name, process, output, errors, _directory: directory }
    }

    async fn end(&mut self, deadline: Duration) {
        let status = self.process.wait(deadline).await;
        let ended = status.is_some_and(|status| status.success());
        assert!(ended, "{} {status:?} said:\n{}{}", self.name, self.said(), self.complained());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("the output")
    }

    fn complained(&self) -> String {
        fs::read_to_string(&self.errors).expect("the errors")
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(300);
