//! A real Kafka: one KRaft node from its Maven artifacts, on loopback.
//!
//! [`Kafka::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_KAFKA` names. [`Kafka::start`] is for tests that kill it.

use std::io;
use std::ops::{Deref, DerefMut};

use tokio::sync::OnceCell;

use crate::broker::{Broker, Kind, NotOurs, Place};
use node::Proxied;

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
                None => {
                    Self(Broker::start(Kind::Kafka, async |place| node::prepare(place, None).await).await)
                }
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
        Self::start_with(None).await
    }

    /// Starts a broker like [`Kafka::start`], to which a [`Proxy`](crate::Proxy) leads too: what
    /// connects to the port `inner` is told that the broker is at the port `outer`.
    pub async fn start_behind(outer: u16, inner: u16) -> Result<Self, NotOurs> {
        Self::start_with(Some(Proxied { outer, inner })).await
    }

    async fn start_with(proxied: Option<Proxied>) -> Result<Self, NotOurs> {
        Kind::Kafka.is_ours()?;
        let prepare = async |place: &Place| node::prepare(place, proxied).await;
        let kafka = Self(Broker::start(Kind::Kafka, prepare).await);
        kafka.say_where();
        Ok(kafka)
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

/// Tells whether the broker answers and knows itself as a member of its cluster.
pub(crate) async fn is_ready(port: u16) -> io::Result<bool> {
    wire::is_ready(&format!("127.0.0.1:{port}")).await
}
