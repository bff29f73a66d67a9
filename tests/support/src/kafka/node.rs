//! How a Kafka node is set up, and the Java that runs it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::broker::Place;
use crate::port::free_port;
use crate::random::Random;

/// A second listener, to which a proxy leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proxied {
    /// The proxy's port, which clients are told.
    pub(super) outer: u16,
    /// The listener's.
    pub(super) inner: u16,
}

/// Formats a new storage directory, and returns the command that runs a broker on it.
pub(super) async fn prepare(place: &Place, proxied: Option<Proxied>) -> Command {
    classpath().await;
    let properties = server_properties(place.port, free_port(), proxied, place.directory());
    let properties = place.write("server.properties", &properties);
    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "-t", &cluster_id(), "-c"]).arg(&properties);
    let formatted = place.run(&format).wait(FORMAT).await.is_some_and(|status| status.success());
    assert!(formatted, "Kafka's storage could not be formatted, see {}", place.log.display());
    let mut command = java("kafka.Kafka");
    command.arg(properties);
    command
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

fn server_properties(port: u16, controller: u16, proxied: Option<Proxied>, directory: &Path) -> String {
    let listener = |port: u16| format!(",PROXIED://127.0.0.1:{port}");
    let inner = proxied.map(|proxied| listener(proxied.inner)).unwrap_or_default();
    let outer = proxied.map(|proxied| listener(proxied.outer)).unwrap_or_default();
    format!(
        "node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{inner}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{outer}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
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

static CLASSPATH: OnceCell<String> = OnceCell::const_new();

const FORMAT: Duration = Duration::from_secs(60);

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
