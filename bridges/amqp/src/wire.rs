//! One connection to the broker, and the socket below it.
//!
//! The client library closes connections politely, and on a polite close the broker hands messages
//! that are new to the next member before those that come back (see [`crate::subscription`]). So
//! a second handle on the socket is kept here: cutting it is what a crash looks like.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use async_rs::TokioRuntime;
use futures_util::{Stream, StreamExt};
use lapin::options::BasicQosOptions;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use sidespan_bridge::{Error, Fault};
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::fault;
use crate::settings::AmqpSettings;

/// A connection that was opened.
pub(crate) struct Wire {
    connection: Connection,
    socket: Arc<Socket>,
    /// For questions whose answer is that there is one.
    control: OnceCell<Channel>,
    /// Why the broker takes no messages for now.
    blocked: watch::Sender<Option<Box<str>>>,
}

impl Wire {
    /// Opens a connection that the broker shows by this name.
    pub(crate) async fn dial(settings: &AmqpSettings, name: &str) -> Result<Self, Error> {
        let uri = uri(settings)?;
        let properties = ConnectionProperties::default()
            .with_connection_name(name.into())
            .with_client_property("product".into(), "Sidespan".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        let socket = Arc::new(Socket::default());
        let kept = Arc::clone(&socket);
        let connect = async move |uri: AMQPUri, runtime: TokioRuntime| {
            let place = runtime.to_socket_addrs((uri.authority.host, uri.authority.port));
            let late = |_| lapin::Error::from(io::Error::from(io::ErrorKind::TimedOut));
            let stream = timeout(DIAL, AsyncTcpStream::connect(&runtime, place)).await.map_err(late)??;
            let AsyncTcpStream::Plain(plain) = &stream else {
                return Err(io::Error::other("only a plain stream gives its socket away").into());
            };
            kept.keep(plain.get_ref().as_fd().try_clone_to_owned()?.into())?;
            Ok(stream)
        };
        let opening = Connection::connector(uri, TokioRuntime::tokio_current(), connect, properties);
        let error = match timeout(DIAL, opening).await {
            Ok(Ok(connection)) => return Ok(Self::new(connection, socket)),
            Ok(Err(error)) => explain(settings, error),
            Err(_) => no_answer(settings),
        };
        socket.cut();
        Err(error)
    }

    fn new(connection: Connection, socket: Arc<Socket>) -> Self {
        Self { connection, socket, control: OnceCell::new(), blocked: watch::Sender::default() }
    }

    /// Opens a channel.
    pub(crate) async fn channel(&self) -> Result<Channel, Error> {
        within(CALL, self.connection.create_channel()).await
    }

    /// Waits for a sign of life, as long as the connection holds.
    pub(crate) async fn pulse(&self) -> Result<(), Error> {
        let control = self.control.get_or_try_init(|| self.connection.create_channel());
        let control = control.await.map_err(fault::of_call)?;
        // There is nothing on this channel for it to change: what counts is that it is answered.
        control.basic_qos(0, BasicQosOptions::default()).await.map_err(fault::of_call)
    }

    /// Tells why the broker takes no messages for now, if it doesn't.
    pub(crate) fn blocked(&self) -> Option<Box<str>> {
        self.blocked.borrow().clone()
    }

    /// Returns when the connection is gone.
    pub(crate) async fn gone(&self) {
        let mut events = std::pin::pin!(self.connection.events_listener());
        while self.connection.status().connected() {
            // Not every end is an event.
            if let Ok(event) = timeout(LOOK, next(&mut events)).await {
                self.hear(event);
            }
        }
    }

    fn hear(&self, event: Option<Event>) {
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                warn!(reason, "rabbitmq takes no messages for now: publishing is refused");
                self.blocked.send_replace(Some(reason.into()));
            }
            Some(Event::ConnectionUnblocked) => {
                info!("rabbitmq takes messages again");
                self.blocked.send_replace(None);
            }
            Some(_) | None => {}
        }
    }

    /// Ends the connection as a crash would: the broker is told nothing.
    pub(crate) fn cut(&self) {
        self.socket.cut();
    }

    /// Takes leave of the broker.
    pub(crate) async fn close(&self, deadline: Instant) {
        let _ = timeout_at(deadline, self.connection.close(SUCCESS, "OK".into())).await;
        self.cut();
    }
}

/// What the client does when its last handle goes would be a polite close.
impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// Waits for a call to the broker, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    match timeout(limit, call).await {
        Ok(done) => done.map_err(fault::of_call),
        Err(_) => Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
    }
}

/// A second handle on a connection's socket.
#[derive(Default)]
struct Socket(Mutex<Handle>);

#[derive(Default)]
enum Handle {
    #[default]
    None,
    Open(TcpStream),
    Cut,
}

impl Socket {
    fn keep(&self, handle: TcpStream) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*kept, Handle::Cut) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *kept = Handle::Open(handle);
        Ok(())
    }

    fn cut(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Handle::Open(socket) = std::mem::replace(&mut *kept, Handle::Cut) {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn uri(settings: &AmqpSettings) -> Result<AMQPUri, Error> {
    let unread = |error| {
        let detail = "the credentials for rabbitmq cannot be read: look at `username` and `password`";
        Error::new(Fault::Denied).detail(detail).because(error)
    };
    let (username, password) = settings.credentials().map_err(unread)?;
    let url = &settings.url;
    let heartbeat = u16::try_from(settings.heartbeat.0.as_secs()).ok();
    Ok(AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username, password },
            host: url.host.clone(),
            port: url.port,
        },
        vhost: url.vhost.clone(),
        query: AMQPQueryString { frame_max: Some(FRAME), heartbeat, ..AMQPQueryString::default() },
    })
}

/// Says in a line why no connection came about, and what to do.
fn explain(settings: &AmqpSettings, error: lapin::Error) -> Error {
    let url = &settings.url;
    let said = fault::of_call(error.clone());
    match (said.fault, fault::text(&error)) {
        (Fault::Denied, Some(text)) => Error::new(Fault::Denied)
            .detail(format!("rabbitmq at {url} refuses the connection: {text}"))
            .because(error),
        (_, Some(text)) => Error::new(Fault::Unavailable)
            .detail(format!("rabbitmq at {url} ended the connection: {text}"))
            .because(error),
        (_, None) => {
            let reason = match error.kind() {
                ErrorKind::IOError(error) => format!(" ({error})"),
                _ => String::new(),
            };
            Error::new(Fault::Unavailable)
                .detail(format!("no rabbitmq answers at {url}: is it running, and is `url` right?{reason}"))
                .because(error)
        }
    }
}

fn no_answer(settings: &AmqpSettings) -> Error {
    let detail = format!("rabbitmq at {} does not answer: is it running, and is `url` right?", settings.url);
    Error::new(Fault::Unavailable).detail(detail)
}

async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Event> {
    match events.next().await {
        Some(event) => Some(event),
        // The stream of a connection that is gone must not be asked again and again.
        None => std::future::pending().await,
    }
}

/// How long a call to the broker may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// The largest frame that is asked for: RabbitMQ's own default. The client library keeps two buffers of 32
/// frames. Told before it connects, it takes them as memory that costs nothing until it is used; if it had
/// to enlarge them later, it would fill them, with 8 MiB for each connection.
const FRAME: u32 = 128 << 10;
/// How long opening a connection may take.
const DIAL: Duration = Duration::from_secs(5);
/// How soon an end that is no event is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// AMQP's reply code for an end without error.
const SUCCESS: u16 = 200;
