//! How a Kafka node is set up, and the Java that runs it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::broker::Place;
use crate::port::free_port;
use crate::random::Random;

/// What a node is to be, beside what all are.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The node's number, from 1.
    node: usize,
    cluster: String,
    /// The ports of all controllers, in the order of their nodes.
    controllers: Vec<u16>,
    settings: String,
}

impl Plan {
    /// Plans a cluster of so many nodes, with settings that only it has.
    pub(super) fn cluster(nodes: usize, settings: &str) -> Vec<Self> {
        let controllers: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
        let (cluster, settings) = (cluster_id(), settings.to_owned());
        let alone = Self { node: 0, cluster, controllers, settings };
        (1..=nodes).map(|node| Self { node, ..alone.clone() }).collect()
    }
}

/// Formats a new storage directory, and returns the command that runs a broker on it.
pub(super) async fn prepare(place: &Place, plan: &Plan) -> Command {
    classpath().await;
    let properties =
        place.write("server.properties", &server_properties(place.port, plan, place.directory()));
    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "-t", &plan.cluster, "-c"]).arg(&properties);
    let formatted = place.run(&format).wait(FORMAT).await.is_some_and(|status| status.success());
    assert!(formatted, "Kafka's storage could not be formatted, see {}", place.log.display());
    let mut command = java("kafka.Kafka");
    command.arg(properties);
    command
}

/// Runs one of Kafka's own tools to its end, and returns what it printed.
pub(super) async fn run_tool(class: &str, arguments: &[&str]) -> Result<String, String> {
    classpath().await;
    let mut tool = java(class);
    tool.args(arguments);
    let output = tokio::process::Command::from(tool).kill_on_drop(true).output();
    let output = timeout(FORMAT, output).await.map_err(|_| format!("{class} does not end"))?;
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
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
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.args([
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    ]);
    command.args(["-cp", classpath, class]);
    command
}

fn server_properties(port: u16, plan: &Plan, directory: &Path) -> String {
    let Plan { node, controllers, settings, .. } = plan;
    let voter = |(index, port): (usize, &u16)| format!("{}@127.0.0.1:{port}", index + 1);
    let voters: Vec<String> = controllers.iter().enumerate().map(voter).collect();
    // What is said twice counts as it is said last, but listeners are said together.
    let (own, listeners): (Vec<&str>, Vec<&str>) =
        settings.lines().partition(|line| !line.starts_with(LISTENERS));
    let (mut more, mut advertised) = (String::new(), String::new());
    for line in listeners {
        let listener = line.trim_start_matches(LISTENERS);
        let (bound, told) = listener.split_once(" as ").unwrap_or((listener, listener));
        more.extend([",", bound]);
        advertised.extend([",", told]);
    }
    format!(
        "node.id={node}
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port}{more},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={data}
{SETTINGS}
{own}",
        controller = controllers[node - 1],
        voters = voters.join(","),
        data = directory.join("data").display(),
        own = own.join("\n"),
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

/// Begins the lines of settings that name a further listener.
const LISTENERS: &str = "listeners+=";

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
