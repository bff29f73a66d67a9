//! A foreign client: a script in Python that publishes, or reads and prints.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sidespan_test_support as support;

/// A client, and where it publishes and reads.
pub(crate) struct Script {
    name: &'static str,
    packages: PathBuf,
    address: String,
    place: String,
}

/// A client that reads.
pub(crate) struct Reading(support::Script);

impl Script {
    /// Installs what the clients need, unless it is there.
    pub(crate) async fn new(name: &'static str, address: &str, place: &str) -> Self {
        let setup = support::Script::start("setup", &Command::new(folder().join("setup")));
        let packages = setup.end(INSTALLING).await.trim().into();
        Self { name, packages, address: address.to_owned(), place: place.to_owned() }
    }

    /// Publishes a message and CloudEvents, and returns how many in all.
    pub(crate) async fn publish(&self) -> usize {
        self.start("publish", &[]).end(PATIENCE).await.trim().parse().expect("a number")
    }

    /// Begins to read so many messages, and returns when it is sure to see what comes.
    pub(crate) async fn read(&self, count: usize) -> Reading {
        Reading(self.start("read", &[&count.to_string()]).until_ready(PATIENCE).await)
    }

    fn start(&self, verb: &str, more: &[&str]) -> support::Script {
        let mut command = Command::new("python3");
        command.arg(folder().join(self.name)).args([verb, &self.address, &self.place]).args(more);
        command.env("PYTHONPATH", &self.packages).env("PYTHONDONTWRITEBYTECODE", "1");
        support::Script::start(self.name, &command)
    }
}

impl Reading {
    /// Returns what was read.
    pub(crate) async fn lines(self) -> Vec<Value> {
        let said = self.0.end(PATIENCE).await;
        said.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(300);
