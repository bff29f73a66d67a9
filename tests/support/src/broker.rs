//! What the brokers that tests run against have in common: one is given from outside, or started
//! here as a plain process that tests kill, freeze and start again.

use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::logs::log_file;
use crate::port::free_port;
use crate::process::Signal;
pub(crate) use kind::Kind;
pub(crate) use node::{Node, Place};

mod kind;
mod node;

/// The process of a broker. Dropping one that was started here kills it and removes its data.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    address: String,
    /// `None` if it was given from outside.
    node: Option<Node>,
}

/// The environment names the broker to use, and tests must not kill or freeze that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs {
    variable: &'static str,
}

impl Broker {
    /// Returns the port, which stays the same when the broker is started again.
    pub fn port(&self) -> u16 {
        let after = self.address.rsplit(':').next().unwrap_or_default();
        let digits = after.split('/').next().unwrap_or_default();
        digits.parse().expect("the address of a broker names its port")
    }

    /// Kills the broker as `kill -9` does, and returns when it is gone.
    pub fn kill(&mut self) {
        self.node().process.kill();
    }

    /// Freezes the broker: connections stay open, and nothing is answered.
    pub fn freeze(&mut self) {
        self.node().process.signal(Signal::Stop);
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&mut self) {
        self.node().process.signal(Signal::Continue);
    }

    /// Stops the broker politely, and kills it if it takes too long.
    pub async fn stop(&mut self) {
        let process = &mut self.node().process;
        process.signal(Signal::Terminate);
        if process.wait(STOP).await.is_none() {
            process.kill();
        }
    }

    /// Starts a broker that was killed or stopped again, on the same address with the same data,
    /// and waits until it answers.
    pub async fn start_again(&mut self) {
        self.start_again_unready();
        let kind = self.kind;
        if let Err(reason) = self.node().until_it_answers(kind).await {
            panic!("{reason}");
        }
    }

    /// Starts it again like [`Broker::start_again`], without waiting for it.
    pub fn start_again_unready(&mut self) {
        let node = self.node();
        assert!(node.process.exit_status().is_some(), "the broker still runs");
        node.run_again();
    }

    /// Returns what clients are configured with: a URL, or `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the broker that the environment names.
    pub(crate) fn given(kind: Kind) -> Option<Self> {
        kind.given().map(|address| Self { kind, address, node: None })
    }

    /// Starts a broker. `prepare` returns the command that runs it in a place.
    pub(crate) async fn start(kind: Kind, prepare: impl AsyncFn(&Place) -> Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let log = log_file(&format!("{}-{}", kind.name(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let place = Place::new(kind.name(), free_port(), &log);
            let address = kind.address(place.port);
            let command = prepare(&place).await;
            let mut node = Node::run(command, place);
            match node.until_it_answers(kind).await {
                Ok(()) => return Self { kind, address, node: Some(node) },
                // Between the choice of a port and its use somebody else took it.
                Err(_) if attempts < 3 && node.lost_its_port() => {}
                Err(reason) => panic!("{reason}"),
            }
        }
    }

    /// The test harness shows this for tests that fail.
    pub(crate) fn say_where(&self) {
        let (name, address) = (self.kind.name(), &self.address);
        match &self.node {
            Some(node) => eprintln!("{name}: {address}, log {}", node.place.log.display()),
            None => eprintln!("{name}: {address} ({})", self.kind.variable()),
        }
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("a given broker is shared, and so never borrowed mutably")
    }
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {} names a broker that tests must not kill", self.variable)
    }
}

impl std::error::Error for NotOurs {}

/// How long a broker may take to stop politely.
const STOP: Duration = Duration::from_secs(20);
