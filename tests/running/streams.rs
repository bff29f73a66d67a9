//! A page follows a topic by the `EventSource` of browsers, while the server is killed and comes again.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[cfg(feature = "kafka")]
use sidespan_test_support::Kafka;
#[cfg(feature = "nats")]
use sidespan_test_support::Nats;
use sidespan_test_support::{Launch, Process, Sidecar, eventually, log_file, unique_name};

use crate::{SIDESPAN, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_misses_nothing_of_the_embedded_log() {
    follows("{ kind: embedded, dir: ./data }", &unique_name("orders")).await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_misses_nothing_of_kafka() {
    let (kafka, topic) = (Kafka::shared().await, unique_name("orders"));
    kafka.create_topic(&topic, 3).await;
    follows(&format!("{{ kind: kafka, brokers: ['{}'] }}", kafka.address()), &topic).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_misses_nothing_of_jetstream() {
    let nats = Nats::shared().await;
    let bridge = format!("{{ kind: nats, servers: ['{}'], create_streams: {{}} }}", nats.url());
    follows(&bridge, &unique_name("orders")).await;
}

async fn follows(bridge: &str, address: &str) {
    let config = format!(
        "version: 1\nservice: shop\nbridges:\n  main: {bridge}\ntopics:\n  orders: {{ address: {address} }}\n"
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    store(&sidecar, "orders", "earlier").await;
    let page = Page::open(&sidecar).await;
    page.until("it is open", |said| said.contains("open")).await;
    let mut expected: Vec<String> = Vec::new();
    for round in 0..3 {
        if round > 0 {
            sidecar.kill();
            sidecar.start_again().await;
            sidecar.until_ready().await;
        }
        // The page comes back a second later: these are stored before.
        for number in 0..10 {
            let text = format!("{round}-{number}");
            store(&sidecar, "orders", &text).await;
            expected.push(text);
        }
        page.until("all are shown", |_| page.messages().len() >= expected.len()).await;
    }
    let shown = page.messages();
    assert_eq!(
        shown.len(),
        expected.len(),
        "none came twice, and nothing of what was there before: {shown:?}"
    );
    let shown: BTreeSet<&str> = shown.iter().map(String::as_str).collect();
    assert_eq!(shown, expected.iter().map(String::as_str).collect());
}

/// A page in a browser.
struct Page {
    log: PathBuf,
    process: Process,
}

impl Page {
    /// Opens the stream of the topic `orders`.
    async fn open(sidecar: &Sidecar) -> Self {
        let setup = start(&Command::new(root().join("setup")));
        let modules = setup.said_at_its_end().await;
        let mut node = Command::new("node");
        node.arg(root().join("page.mjs")).arg(modules).arg(sidecar.url("/v1/topics/orders/stream"));
        start(&node)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let what = format!("{what} (see {})", self.log.display());
        eventually(PATIENCE, &what, async || is_so(&self.said())).await;
    }

    /// Returns the texts of the messages that it was shown.
    fn messages(&self) -> Vec<String> {
        let texts = |line: &str| Some(line.strip_prefix("message ")?.split(' ').next()?.to_owned());
        self.said().lines().filter_map(texts).collect()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn said_at_its_end(mut self) -> String {
        let status = self.process.wait(PATIENCE).await;
        assert!(status.is_some_and(|status| status.success()), "{}", self.said());
        self.said().lines().last().unwrap().to_owned()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.log);
        }
    }
}

fn start(command: &Command) -> Page {
    let log = log_file(&unique_name("page"));
    let file = File::create(&log).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let node = Process::start(command, file.try_clone().unwrap(), file, scratch.path()).expect("a shell");
    Page { log, process: node }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/running/streams")
}

const PATIENCE: Duration = Duration::from_secs(60);
