//! The Java process behind [`Kafka`](super::Kafka), and how it is set up.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::wire;
use crate::eventually::PAUSE;
use crate::port::free_port;
use crate::process::Process;
use crate::random::Random;

/// A node, its data and its log.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) process: Process,
    properties: PathBuf,
    pub(super) log: PathBuf,
    // Last: removed when the process is gone.
    _directory: TempDir,
}

impl Broker {
    /// Formats a new storage directory and starts a broker on it.
    pub(super) async fn new(port: u16, log: &Path) -> Self {
        classpath().await;
        let directory = tempfile::Builder::new().prefix("sidespan-kafka-").tempdir().expect("a directory");
        let properties = directory.path().join("server.properties");
        fs::write(&properties, server_properties(port, free_port(), directory.path())).expect("a file");
        File::create(log).expect("a log file");

        let mut format = java("kafka.tools.StorageTool");
        format.args(["format", "-t", &cluster_id(), "-c"]).arg(&properties);
        let output = append(log);
        let mut formatting = Process::start(&format, output, append(log), directory.path()).expect("java");
        let formatted = formatting.wait(READY).await.is_some_and(|status| status.success());
        assert!(formatted, "Kafka's storage could not be formatted, see {}", log.display());

        let process = Self::run(&properties, log);
        Self { process, properties, log: log.to_owned(), _directory: directory }
    }

    /// Starts it once more on the same port and directory.
    pub(super) fn run_again(&mut self) {
        self.process = Self::run(&self.properties, &self.log);
    }

    fn run(properties: &Path, log: &Path) -> Process {
        let mut command = java("kafka.Kafka");
        command.arg(properties);
        let directory = properties.parent().expect("the properties are a file in a directory");
        Process::start(&command, append(log), append(log), directory).expect("java")
    }

    /// Waits until it answers; else says why not.
    pub(super) async fn until_it_answers(&mut self, address: &str) -> Result<(), String> {
        let end = Instant::now() + READY;
        let log = self.log.display();
        loop {
            if let Some(status) = self.process.exit_status() {
                return Err(format!("Kafka ended with {status}, see {log}"));
            }
            match wire::is_ready(address).await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) if Instant::now() < end => sleep(PAUSE).await,
                Ok(false) | Err(_) => {
                    return Err(format!("Kafka does not answer after {READY:?}, see {log}"));
                }
            }
        }
    }

    pub(super) fn log_says(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }
}

/// Returns the classpath; on a new machine Maven fetches what it names first.
async fn classpath() -> &'static str {
    CLASSPATH
        .get_or_init(async || {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../kafka/classpath");
            let output = tokio::process::Command::new(script).kill_on_drop(true).output().await;
            let output = output.expect("tests/kafka/classpath runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "Kafka could not be fetched: {said}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        })
        .await
}

/// Small and quick to start: no second compiler, and one thread that collects garbage.
fn java(class: &str) -> Command {
    let classpath = CLASSPATH.get().expect("a broker resolves the classpath before it runs Java");
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.args([
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    ]);
    command.args(["-cp", classpath, class]);
    command
}

fn server_properties(port: u16, controller: u16, directory: &Path) -> String {
    format!(
        "node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={data}
{SETTINGS}",
        data = directory.join("data").display()
    )
}

/// Returns 16 bytes in URL-safe base64: 21 free characters, and one of those that 2 bits can end in.
fn cluster_id() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = Random::unseeded();
    let free = (0..21).map(|_| char::from(ALPHABET[random.below(62) as usize]));
    free.chain(['A']).collect()
}

fn append(log: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(log).expect("a log file")
}

static CLASSPATH: OnceCell<String> = OnceCell::const_new();

/// How long a broker may take to answer: seconds on a quiet machine.
const READY: Duration = Duration::from_secs(90);

/// One node is enough for everything, groups form at once, members may be declared dead and
/// segments deleted or compacted within a second. All else is as Kafka has it by default; so an
/// unknown topic that a client asks for with the wrong flag is created, as it is in the wild.
const SETTINGS: &str = "\
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
";
