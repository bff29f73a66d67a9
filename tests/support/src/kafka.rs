//! A real Kafka: one KRaft node from its Maven artifacts, on loopback.
//!
//! [`Kafka::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_KAFKA` names. [`Kafka::start`] is for tests that kill it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::eventually::PAUSE;
use crate::logs::log_file;
use crate::port::free_port;
use crate::process::{Process, Signal};
use crate::random::Random;

mod wire;

/// A Kafka broker. Dropping one that was started here kills it and removes its data.
#[derive(Debug)]
pub struct Kafka {
    address: String,
    /// `None` if it was given from outside.
    broker: Option<Broker>,
}

/// `SIDESPAN_TEST_KAFKA` names the broker to use, and tests must not kill or freeze that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

#[derive(Debug)]
struct Broker {
    process: Process,
    properties: PathBuf,
    log: PathBuf,
    // Last: removed when the process is gone.
    _directory: TempDir,
}

impl Kafka {
    /// Returns the broker that all tests of this binary share, which nobody may kill.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        let kafka = SHARED
            .get_or_init(async || match given() {
                Some(address) => Self { address, broker: None },
                None => Self::start_as("kafka").await,
            })
            .await;
        kafka.say_where();
        kafka
    }

    /// Starts a broker of the test's own. Where one is given from outside, a test that wants to
    /// kill it is skipped, and says so:
    ///
    /// ```no_run
    /// # use sidespan_test_support::Kafka;
    /// # async fn test() {
    /// let mut kafka = match Kafka::start().await {
    ///     Ok(kafka) => kafka,
    ///     Err(skipped) => return eprintln!("{skipped}"),
    /// };
    /// # }
    /// ```
    pub async fn start() -> Result<Self, NotOurs> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        if given().is_some() {
            return Err(NotOurs);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let kafka = Self::start_as(&format!("kafka-{count}")).await;
        kafka.say_where();
        Ok(kafka)
    }

    /// Returns `host:port` for clients. It stays the same when the broker is started again.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic on a broker that is up.
    pub async fn create_topic(&self, name: &str, partitions: u32) {
        self.create_topic_with(name, partitions, &[]).await;
    }

    /// Creates a topic with settings such as `("cleanup.policy", "compact")`.
    pub async fn create_topic_with(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) {
        if let Err(error) = wire::create_topic(&self.address, name, partitions, settings).await {
            panic!("topic {name} could not be created: {error}");
        }
    }

    /// Returns how many partitions a topic has, 0 if there is no such topic. Asking creates nothing.
    pub async fn partitions(&self, topic: &str) -> u32 {
        match wire::partitions(&self.address, topic).await {
            Ok(partitions) => partitions,
            Err(error) => panic!("topic {topic} could not be looked up: {error}"),
        }
    }

    /// Kills the broker as `kill -9` does, and returns when it is gone.
    pub fn kill(&mut self) {
        self.broker().process.kill();
    }

    /// Freezes the broker: connections stay open, and nothing is answered.
    pub fn freeze(&mut self) {
        self.broker().process.signal(Signal::Stop);
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&mut self) {
        self.broker().process.signal(Signal::Continue);
    }

    /// Stops the broker politely, and kills it if it takes too long.
    pub async fn stop(&mut self) {
        let process = &mut self.broker().process;
        process.signal(Signal::Terminate);
        if process.wait(STOP).await.is_none() {
            process.kill();
        }
    }

    /// Starts a broker that was killed or stopped again, on the same address with the same data,
    /// and waits until it answers.
    pub async fn start_again(&mut self) {
        self.start_again_unready();
        let address = self.address.clone();
        if let Err(reason) = self.broker().until_it_answers(&address).await {
            panic!("{reason}");
        }
    }

    /// Starts it again like [`Kafka::start_again`], without waiting for it.
    pub fn start_again_unready(&mut self) {
        let broker = self.broker();
        assert!(broker.process.exit_status().is_some(), "the broker still runs");
        broker.process = Broker::run(&broker.properties, &broker.log);
    }

    async fn start_as(name: &str) -> Self {
        let log = log_file(name);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let mut broker = Broker::new(port, &log).await;
            match broker.until_it_answers(&address).await {
                Ok(()) => return Self { address, broker: Some(broker) },
                // Between the choice of a port and its use somebody else took it.
                Err(_) if attempts < 3 && broker.log_says("Address already in use") => {}
                Err(reason) => panic!("{reason}"),
            }
        }
    }

    fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("a given broker is shared, and so never borrowed mutably")
    }

    /// The test harness shows this for tests that fail.
    fn say_where(&self) {
        match &self.broker {
            Some(broker) => eprintln!("kafka: {}, log {}", self.address, broker.log.display()),
            None => eprintln!("kafka: {} (SIDESPAN_TEST_KAFKA)", self.address),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(broker) = &self.broker {
            if std::thread::panicking() {
                eprintln!("the broker's log is {}", broker.log.display());
            } else {
                let _ = fs::remove_file(&broker.log);
            }
        }
    }
}

impl std::fmt::Display for NotOurs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("skipped: SIDESPAN_TEST_KAFKA names a broker that tests must not kill")
    }
}

impl std::error::Error for NotOurs {}

impl Broker {
    /// Formats a new storage directory and starts a broker on it.
    async fn new(port: u16, log: &Path) -> Self {
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

    fn run(properties: &Path, log: &Path) -> Process {
        let mut command = java("kafka.Kafka");
        command.arg(properties);
        let directory = properties.parent().expect("the properties are a file in a directory");
        Process::start(&command, append(log), append(log), directory).expect("java")
    }

    async fn until_it_answers(&mut self, address: &str) -> Result<(), String> {
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

    fn log_says(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }
}

/// Returns the broker that the environment names.
fn given() -> Option<String> {
    std::env::var("SIDESPAN_TEST_KAFKA").ok().filter(|address| !address.is_empty())
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
/// How long a broker may take to stop politely.
const STOP: Duration = Duration::from_secs(20);

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
