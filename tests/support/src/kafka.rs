//! A real Kafka: one KRaft node from its Maven artifacts, on loopback.
//!
//! [`Kafka::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_KAFKA` names. [`Kafka::start`] is for tests that kill it, and
//! [`Kafka::cluster`] for those that kill some of several.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::broker::{Broker, Kind, NotOurs};
use crate::eventually::eventually;

mod node;
mod wire;

/// A Kafka broker: what it does as a process is in [`Broker`].
#[derive(Debug)]
pub struct Kafka(Broker);

impl Kafka {
    /// Returns the broker that all tests of this binary share, which nobody may kill.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Kafka> = OnceCell::const_new();
        let kafka = SHARED
            .get_or_init(async || match Broker::given(Kind::Kafka) {
                Some(given) => Self(given),
                None => Self::begin("").await,
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
        Self::start_with("").await
    }

    /// Starts a broker like [`Kafka::start`], to which a [`Proxy`](crate::Proxy) leads too: what
    /// connects to the port `inner` is told that the broker is at the port `outer`.
    pub async fn start_behind(outer: u16, inner: u16) -> Result<Self, NotOurs> {
        Self::start_with(&format!(
            "listeners+=PROXIED://127.0.0.1:{inner} as PROXIED://127.0.0.1:{outer}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        ))
        .await
    }

    /// Starts a broker with settings of its own, one a line. A line `listeners+=NAME://host:port` adds
    /// a listener for clients, and ` as NAME://host:port` behind it what they are told of it.
    pub async fn start_with(settings: &str) -> Result<Self, NotOurs> {
        Kind::Kafka.is_ours()?;
        let kafka = Self::begin(settings).await;
        kafka.say_where();
        Ok(kafka)
    }

    /// Starts a cluster of three brokers, each of which has a copy of everything; a message is stored
    /// once two have it.
    pub async fn cluster() -> Result<[Self; 3], NotOurs> {
        Kind::Kafka.is_ours()?;
        let plans = node::Plan::cluster(3, REPLICATED);
        let start = async |plan: &node::Plan| {
            Self(Broker::start(Kind::Kafka, async |place| node::prepare(place, plan).await).await)
        };
        let (one, two, three) = tokio::join!(start(&plans[0]), start(&plans[1]), start(&plans[2]));
        let cluster = [one, two, three];
        for kafka in &cluster {
            kafka.say_where();
            eventually(FORMED, "each broker knows the others", async || {
                wire::brokers(kafka.address()).await.is_ok_and(|brokers| brokers == 3)
            })
            .await;
        }
        Ok(cluster)
    }

    async fn begin(settings: &str) -> Self {
        let plan = node::Plan::cluster(1, settings).remove(0);
        Self(Broker::start(Kind::Kafka, async |place| node::prepare(place, &plan).await).await)
    }

    /// Runs one of Kafka's own command-line tools, by its class, and returns what it prints.
    pub async fn tool(&self, class: &str, arguments: &[&str]) -> String {
        match node::run_tool(class, arguments).await {
            Ok(said) => said,
            Err(said) => panic!("{class} {arguments:?} failed: {said}"),
        }
    }

    /// Returns `host:port` for clients. It stays the same when the broker is started again.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// Creates a topic on a broker that is up.
    pub async fn create_topic(&self, name: &str, partitions: u32) {
        self.create_topic_with(name, partitions, &[]).await;
    }

    /// Creates a topic with settings such as `("cleanup.policy", "compact")`.
    pub async fn create_topic_with(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) {
        if let Err(error) = wire::create_topic(self.address(), name, partitions, settings).await {
            panic!("topic {name} could not be created: {error}");
        }
    }

    /// Returns the number of the node that leads a partition, counted from 1; `None` if none does for now.
    pub async fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let leaders = wire::leaders(self.address(), topic).await.ok()?;
        usize::try_from(*leaders.get(&partition)?).ok()
    }

    /// Returns how many partitions a topic has, 0 if there is no such topic. Asking creates nothing.
    pub async fn partitions(&self, topic: &str) -> u32 {
        match wire::partitions(self.address(), topic).await {
            Ok(partitions) => partitions,
            Err(error) => panic!("topic {topic} could not be looked up: {error}"),
        }
    }
}

impl Deref for Kafka {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl DerefMut for Kafka {
    fn deref_mut(&mut self) -> &mut Broker {
        &mut self.0
    }
}

/// How long brokers may take to find one another.
const FORMED: Duration = Duration::from_secs(60);

/// What a cluster of three has instead of the settings of one node.
const REPLICATED: &str = "\
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
default.replication.factor=3
min.insync.replicas=2
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
replica.lag.time.max.ms=3000
";

/// Tells whether the broker answers and knows itself as a member of its cluster.
pub(crate) async fn is_ready(port: u16) -> io::Result<bool> {
    Ok(wire::brokers(&format!("127.0.0.1:{port}")).await? > 0)
}
