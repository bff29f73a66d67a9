//! One connection to the broker, and the socket below it.
//!
//! The client library closes connections politely, and on a polite close the broker hands messages
//! that are new to the next member before those that come back (see [`crate::subscription`]). So
//! a second handle on the socket is kept here: cutting it is what a crash looks like.

use std::fmt;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection, Event};
use sidespan_bridge::{Error, Fault};
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::fault;
use crate::transport::Socket;

/// A connection that was opened.
pub(crate) struct Wire {
    // Ahead of the connection: what the client does when its last handle goes would be a polite close.
    socket: Socket,
    connection: Connection,
    /// For questions whose answer is that there is one.
    control: OnceCell<Channel>,
    /// Why the broker takes no messages for now.
    blocked: watch::Sender<Option<Box<str>>>,
    /// The bridge's name, for the log.
    bridge: Option<Box<str>>,
}

impl Wire {
    /// Begins to use a connection that was opened over this socket.
    pub(crate) fn new(connection: Connection, socket: Socket, bridge: Option<Box<str>>) -> Self {
        Self { socket, connection, control: OnceCell::new(), blocked: watch::Sender::default(), bridge }
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
        let bridge = self.bridge.as_deref();
        match event {
            Some(Event::ConnectionBlocked(reason)) => {
                warn!(bridge, reason, "rabbitmq takes no messages for now: publishing is refused");
                self.blocked.send_replace(Some(reason.into()));
            }
            Some(Event::ConnectionUnblocked) => {
                info!(bridge, "rabbitmq takes messages again");
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

async fn next(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<Event> {
    match events.next().await {
        Some(event) => Some(event),
        // The stream of a connection that is gone must not be asked again and again.
        None => std::future::pending().await,
    }
}

/// How long a call to the broker may take.
pub(crate) const CALL: Duration = Duration::from_secs(5);
/// How soon an end that is no event is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// AMQP's reply code for an end without error.
const SUCCESS: u16 = 200;
