//! A real RabbitMQ on loopback, apart from any that the system runs.
//!
//! [`Rabbit::shared`] is for tests that only talk to a broker: the test binary starts one, or uses
//! the one that `SIDESPAN_TEST_AMQP` names. [`Rabbit::start`] is for tests that kill it.

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::broker::{Broker, Kind, NotOurs};
use crate::certificates::Pair;
use crate::port::free_port;
use erlang::Erlang;

mod erlang;

/// A RabbitMQ: what it does as a process is in [`Broker`].
#[derive(Debug)]
pub struct Rabbit {
    broker: Broker,
    /// `None` if the broker was given from outside. After the broker, which is dropped first.
    erlang: Option<Erlang>,
}

impl Rabbit {
    /// Returns the broker that all tests of this binary share, which nobody may kill.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Rabbit> = OnceCell::const_new();
        let rabbit = SHARED
            .get_or_init(async || match Broker::given(Kind::Rabbit) {
                Some(broker) => Self { broker, erlang: None },
                None => Self::of_our_own("", &[]).await,
            })
            .await;
        rabbit.say_where();
        rabbit
    }

    /// Starts a broker of the test's own, unless one is given: then a test that wants to kill it
    /// says that it is skipped, as with [`Kafka::start`](crate::Kafka::start).
    pub async fn start() -> Result<Self, NotOurs> {
        Self::start_with("", &[]).await
    }

    /// Starts one with these lines in its `rabbitmq.conf` and these plugins.
    pub async fn start_with(config: &str, plugins: &[&str]) -> Result<Self, NotOurs> {
        Kind::Rabbit.is_ours()?;
        let rabbit = Self::of_our_own(config, plugins).await;
        rabbit.say_where();
        Ok(rabbit)
    }

    /// Returns `amqp://host:port/%2f`. It stays the same when the broker is started again.
    pub fn url(&self) -> &str {
        self.broker.address()
    }

    /// Runs `rabbitmqctl` and returns what it printed, such as
    /// `["list_queues", "name", "messages"]` or `["set_vm_memory_high_watermark", "0"]`.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let erlang = self.erlang.as_ref().expect("a given broker is not for tests to administer");
        erlang.ctl(arguments).await
    }

    /// Has RabbitMQ write its register of quorum queues to the disk, which it does minutes late by
    /// itself: killed before, RabbitMQ 3.10 finds no leader for a new queue ever again. To be called
    /// once the queues are there, ahead of the first kill.
    pub async fn flush(&self) {
        self.ctl(&["eval", "lists:foreach(fun dets:sync/1, dets:all())."]).await;
    }

    /// Listens on one more port, with TLS: shows `server`, and takes certificates of `authority` from
    /// clients, of which it may `demand` one. It is gone when the broker is started again.
    pub async fn listen_with_tls(&self, server: &Pair, authority: &Path, demand: bool) -> u16 {
        let port = free_port();
        let (ca, certificate, key) =
            (authority.display(), server.certificate.display(), server.key.display());
        let listen = format!(
            "rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}}}, [{{cacertfile, \"{ca}\"}}, \
             {{certfile, \"{certificate}\"}}, {{keyfile, \"{key}\"}}, {{verify, verify_peer}}, \
             {{fail_if_no_peer_cert, {demand}}}], 2)."
        );
        self.ctl(&["eval", &listen]).await;
        port
    }

    async fn of_our_own(config: &str, plugins: &[&str]) -> Self {
        let erlang = Erlang::start().await;
        let broker = Broker::start(Kind::Rabbit, async |place| erlang.server(place, config, plugins)).await;
        Self { broker, erlang: Some(erlang) }
    }
}

impl Deref for Rabbit {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl DerefMut for Rabbit {
    fn deref_mut(&mut self) -> &mut Broker {
        &mut self.broker
    }
}

/// Tells whether the server answers a protocol header with `Connection.Start`: it listens last.
pub(crate) async fn is_ready(port: u16) -> io::Result<bool> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.write_all(b"AMQP\x00\x00\x09\x01").await?;
    // A method frame: type, channel, length; then the class and the method.
    let mut frame = [0; 11];
    socket.read_exact(&mut frame).await?;
    Ok(frame.first() == Some(&1) && frame.ends_with(&[0, 10, 0, 10]))
}
