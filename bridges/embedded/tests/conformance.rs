//! The embedded log does what the contract asks of every bridge.

#![allow(clippy::unwrap_used, reason = "this is test code")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sidespan_bridge::conformance::{self, Harness, Kind};
use sidespan_bridge::{Bridge, Driver, Settings, Topic};
use sidespan_bridge_embedded::Embedded;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::Instant;

#[tokio::main]
async fn main() -> ExitCode {
    conformance::main(async || Arc::new(Log::new()) as Arc<dyn Harness>).await
}

/// A log in a directory of its own.
struct Log {
    /// The directory, and the bridge that has it open.
    current: Mutex<(TempDir, Option<Arc<dyn Bridge>>)>,
}

impl Log {
    fn new() -> Self {
        Self { current: Mutex::new((TempDir::new().unwrap(), None)) }
    }
}

fn settings(dir: &Path) -> Settings {
    Settings::new("conformance", json!({"dir": dir, "max_message": LARGEST}))
}

/// Returns what a process that dies now would leave in a file: read again if it changed meanwhile.
fn at_one_instant(file: &Path) -> Vec<u8> {
    let mut before = std::fs::read(file).unwrap();
    loop {
        let after = std::fs::read(file).unwrap();
        if after == before {
            return after;
        }
        before = after;
    }
}

#[async_trait]
impl Harness for Log {
    fn kind(&self) -> Kind {
        Kind::Embedded
    }

    fn driver(&self) -> &'static dyn Driver {
        &Embedded
    }

    /// What the driver tells of subscriptions depends on no directory.
    fn settings(&self) -> Settings {
        settings(Path::new("."))
    }

    async fn open(&self) -> Arc<dyn Bridge> {
        let mut current = self.current.lock().await;
        let (dir, bridge) = &mut *current;
        Arc::clone(bridge.get_or_insert_with(|| Embedded.open(&settings(dir.path())).unwrap()))
    }

    async fn make(&self, topic: &Topic, _: u32) {
        let deadline = Instant::now() + self.patience();
        self.open().await.ensure(topic, deadline).await.unwrap();
    }

    async fn close(&self, member: Arc<dyn Bridge>) {
        self.current.lock().await.1 = None;
        member.close(Instant::now() + self.patience()).await;
    }

    async fn kill(&self, _: Arc<dyn Bridge>) {
        let mut current = self.current.lock().await;
        let left = TempDir::new().unwrap();
        for file in std::fs::read_dir(current.0.path()).unwrap() {
            let file = file.unwrap();
            std::fs::write(left.path().join(file.file_name()), at_one_instant(&file.path())).unwrap();
        }
        *current = (left, None);
    }

    fn largest_message(&self) -> usize {
        LARGEST
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(200)
    }
}

const LARGEST: usize = 1 << 20;
