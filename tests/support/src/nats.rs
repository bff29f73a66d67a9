//! A real NATS server with JetStream, on loopback.
//!
//! [`Nats::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_NATS` names. [`Nats::start`] is for tests that kill it, and [`Nats::cluster`]
//! for those that need several. The program is what `tests/run` installed, or else `nats-server` on the
//! `PATH`.

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::broker::{Broker, Kind, NotOurs, Place};
use crate::port::free_port;

/// A NATS server: what it does as a process is in [`Broker`].
#[derive(Debug)]
pub struct Nats(Broker);

impl Nats {
    /// Returns the broker that all tests of this binary share, which nobody may kill.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Nats> = OnceCell::const_new();
        let nats = SHARED
            .get_or_init(async || match Broker::given(Kind::Nats) {
                Some(given) => Self(given),
                None => Self(Broker::start(Kind::Nats, async |place| prepare(place, "")).await),
            })
            .await;
        nats.say_where();
        nats
    }

    /// Starts a broker of the test's own, unless one is given: then a test that wants to kill it
    /// says that it is skipped, as with [`Kafka::start`](crate::Kafka::start).
    pub async fn start() -> Result<Self, NotOurs> {
        Self::start_with("").await
    }

    /// Starts a broker like [`Nats::start`], with more in its configuration file.
    pub async fn start_with(settings: &str) -> Result<Self, NotOurs> {
        Kind::Nats.is_ours()?;
        let nats = Self(Broker::start(Kind::Nats, async |place| prepare(place, settings)).await);
        nats.say_where();
        Ok(nats)
    }

    /// Starts three servers that keep copies of each other's streams, named `n1` to `n3`, unless a broker
    /// is given. They choose a leader once they answer.
    pub async fn cluster() -> Result<Vec<Self>, NotOurs> {
        let routes = [free_port(), free_port(), free_port()];
        let all = routes.map(|port| format!("nats-route://127.0.0.1:{port}")).join(", ");
        let mut servers = Vec::with_capacity(routes.len());
        for (number, port) in (1..).zip(routes) {
            let settings = format!(
                "server_name: n{number}\n\
                 cluster {{ name: sidespan, listen: \"127.0.0.1:{port}\", routes: [{all}] }}\n"
            );
            servers.push(Self::start_with(&settings).await?);
        }
        Ok(servers)
    }

    /// Returns `nats://host:port`. It stays the same when the broker is started again.
    pub fn url(&self) -> &str {
        self.address()
    }
}

impl Deref for Nats {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl DerefMut for Nats {
    fn deref_mut(&mut self) -> &mut Broker {
        &mut self.0
    }
}

/// Tells whether the server greets with JetStream, whose streams it recovers before it listens. One that
/// begins with TLS says nothing to those who don't.
pub(crate) async fn is_ready(port: u16) -> io::Result<bool> {
    let mut greeting = String::new();
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    match timeout(SILENCE, server.read_line(&mut greeting)).await {
        Ok(read) => read?,
        Err(_) => return Ok(true),
    };
    Ok(greeting.starts_with("INFO ") && greeting.contains(r#""jetstream":true"#))
}

/// It need not look at the disk to know how much it may keep. All else is as NATS has it by
/// default; so what was written in the last moments before a kill may be gone, as it is in the wild.
fn prepare(place: &Place, more: &str) -> Command {
    let configuration = format!(
        "listen: \"127.0.0.1:{port}\"
jetstream {{
  store_dir: \"{store}\"
  max_memory_store: 64MB
  max_file_store: 1GB
}}
{more}",
        port = place.port,
        store = place.directory().join("jetstream").display()
    );
    let mut command = Command::new(program());
    command.arg("--config").arg(place.write("nats.conf", &configuration));
    command
}

fn program() -> PathBuf {
    let cache = match std::env::var_os("SIDESPAN_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/sidespan"),
    };
    let installed = cache.join("tools/bin/nats-server");
    if installed.exists() { installed } else { "nats-server".into() }
}

/// A server that greets does so at once.
const SILENCE: Duration = Duration::from_secs(1);
