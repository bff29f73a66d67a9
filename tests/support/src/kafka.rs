//! A real Kafka: one KRaft node from its Maven artifacts, on loopback.
//!
//! [`Kafka::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_KAFKA` names. [`Kafka::start`] is for tests that kill it.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::logs::log_file;
use crate::port::free_port;
use crate::process::Signal;
use broker::Broker;

mod broker;
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
        broker.run_again();
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

/// Returns the broker that the environment names.
fn given() -> Option<String> {
    std::env::var("SIDESPAN_TEST_KAFKA").ok().filter(|address| !address.is_empty())
}

/// How long a broker may take to stop politely.
const STOP: Duration = Duration::from_secs(20);
