//! A program that uses an SDK of CloudEvents.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::Script;
use tokio::sync::OnceCell;

use crate::event::Event;

/// An SDK, and where it publishes and reads.
pub(crate) struct Sdk {
    language: Language,
    /// What `setup` has installed.
    installed: PathBuf,
    address: String,
    place: String,
}

#[derive(Clone, Copy, Debug)]
enum Language {
    Go,
    JavaScript,
    Python,
}

/// An SDK that reads.
pub(crate) struct Reading(Script);

impl Sdk {
    /// The SDK for Go. `address` says what is spoken.
    pub(crate) async fn go(address: &str, place: &str) -> Self {
        Self::new(Language::Go, address, place).await
    }

    /// The SDK for JavaScript, over HTTP.
    pub(crate) async fn javascript(address: &str) -> Self {
        Self::new(Language::JavaScript, address, "-").await
    }

    /// The SDK for Python. `address` says which broker it is.
    pub(crate) async fn python(address: &str, place: &str) -> Self {
        Self::new(Language::Python, address, place).await
    }

    async fn new(language: Language, address: &str, place: &str) -> Self {
        static INSTALLED: OnceCell<PathBuf> = OnceCell::const_new();
        let install = async || {
            let setup = Script::start("setup", &Command::new(folder().join("setup")));
            setup.end(INSTALLING).await.trim().into()
        };
        let installed = INSTALLED.get_or_init(install).await.clone();
        Self { language, installed, address: address.to_owned(), place: place.to_owned() }
    }

    /// Publishes each event in each mode that there is.
    pub(crate) async fn publish(&self) {
        self.start("publish", &[]).end(PATIENCE).await;
    }

    /// Begins to read so many events, and returns when it is sure to see what comes.
    pub(crate) async fn read(&self, count: usize) -> Reading {
        Reading(self.start("read", &[&count.to_string()]).until_ready(PATIENCE).await)
    }

    fn start(&self, verb: &str, more: &[&str]) -> Script {
        let mut command = match self.language {
            Language::Go => Command::new(self.installed.join("go-sdk")),
            Language::JavaScript => {
                let mut command = Command::new("node");
                command.arg(self.installed.join("javascript/sdk.mjs"));
                command
            }
            Language::Python => {
                let mut command = Command::new("python3");
                command.arg(folder().join("python_sdk.py"));
                command.env("PYTHONPATH", self.installed.join("python"));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
        };
        command.args([verb, &self.address, &self.place]).arg(folder().join("events.json")).args(more);
        Script::start(&format!("{:?}", self.language), &command)
    }
}

impl Reading {
    /// Returns what was read: the mode, and the event.
    pub(crate) async fn events(self) -> Vec<(String, Event)> {
        let said = self.0.end(PATIENCE).await;
        let lines = said.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.map(|line| (line["mode"].as_str().unwrap().to_owned(), Event::told(&line))).collect()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events")
}

const PATIENCE: Duration = Duration::from_secs(60);
const INSTALLING: Duration = Duration::from_secs(600);
