//! A WebSocket, and whether there is still somebody at its other end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use super::upgrade::Opening;
use crate::error::Error;

/// An open socket. What is written is bounded: there is room for more only once the kernel has taken most
/// of what was written before.
pub(in crate::rest) struct Wire {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    unflushed: bool,
    heard: Instant,
    pings: Interval,
    patience: Duration,
}

/// Why a socket ends.
#[derive(Debug)]
pub(in crate::rest) enum Ending {
    /// Its client has closed it, or is gone.
    Gone,
    /// We close it.
    Close {
        /// RFC 6455, section 7.4.
        code: CloseCode,
        /// For people.
        reason: String,
    },
}

impl Ending {
    /// Closes with a reason.
    pub(in crate::rest) fn close(code: CloseCode, reason: impl Into<String>) -> Self {
        Self::Close { code, reason: reason.into() }
    }

    /// Closes because of a failure.
    pub(in crate::rest) fn of(error: &Error) -> Self {
        let class = error.class();
        let code = match class.status {
            StatusCode::PAYLOAD_TOO_LARGE => CloseCode::Size,
            StatusCode::INTERNAL_SERVER_ERROR => CloseCode::Error,
            _ if class.retryable => CloseCode::Again,
            _ => CloseCode::Policy,
        };
        Self::close(code, error.to_string())
    }

    /// The server is stopping.
    pub(in crate::rest) fn stopping() -> Self {
        Self::close(CloseCode::Away, "this server is stopping; come back in a moment")
    }
}

impl Wire {
    /// Waits for the socket to be open; `None` if its client is gone. A frame may have `largest` bytes, and
    /// silence last for `patience`.
    pub(in crate::rest) async fn open(opening: Opening, largest: usize, patience: Duration) -> Option<Self> {
        let connection = opening.connection().await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(WRITE)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        let (now, every) = (Instant::now(), (patience / 3).clamp(Duration::from_millis(1), PING));
        let mut pings = interval_at(now + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self { socket, unflushed: false, heard: now, pings, patience })
    }

    /// Tells whether something can be written now.
    pub(in crate::rest) fn has_room(&mut self) -> Result<bool, Ending> {
        let ready = poll_fn(|cx| Pin::new(&mut self.socket).poll_ready(cx)).now_or_never();
        ready.transpose().map(|ready| ready.is_some()).map_err(ending)
    }

    /// Writes a frame, which there must be room for. It is on its way at the next call of [`Wire::next`].
    pub(in crate::rest) fn write(&mut self, frame: Message) -> Result<(), Ending> {
        self.unflushed = true;
        Pin::new(&mut self.socket).start_send(frame).map_err(ending)
    }

    /// Says a last thing, if there is room for it.
    pub(in crate::rest) fn say(&mut self, frame: Message) {
        if self.has_room().unwrap_or(false) {
            let _ = self.write(frame);
        }
    }

    /// Waits for a frame with data, if `reads`, and keeps the socket alive meanwhile. `None`: it is time to
    /// look after other things, such as room, if `writes`. A future that is dropped has read nothing.
    pub(in crate::rest) async fn next(
        &mut self,
        reads: bool,
        writes: bool,
    ) -> Result<Option<Message>, Ending> {
        poll_fn(|cx| self.poll(cx, reads, writes)).await
    }

    /// Takes the client for present though it is not read from.
    pub(in crate::rest) fn excuse(&mut self) {
        self.heard = Instant::now();
    }

    /// Closes the socket as is proper: the client gets to read why.
    pub(in crate::rest) async fn end(mut self, ending: Ending) {
        let farewell = async {
            match ending {
                // Its own close frame has an answer.
                Ending::Gone => return self.socket.flush().await,
                Ending::Close { code, reason } => {
                    self.socket.close(Some(CloseFrame { code, reason: short(&reason) })).await?;
                }
            }
            while let Some(Ok(_)) = self.socket.next().await {}
            // What still comes is read and thrown away: unread, it would reset the connection, and the client
            // would lose the reason.
            let connection = self.socket.get_mut();
            connection.shutdown().await?;
            let mut waste = vec![0; READ];
            while connection.read(&mut waste).await? > 0 {}
            Ok(())
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reads: bool,
        writes: bool,
    ) -> Poll<Result<Option<Message>, Ending>> {
        let has_room = Pin::new(&mut self.socket).poll_ready(cx).map_err(ending)?.is_ready();
        if has_room && writes {
            return Poll::Ready(Ok(None));
        }
        while reads && let Poll::Ready(read) = Pin::new(&mut self.socket).poll_next(cx) {
            let message = read.ok_or(Ending::Gone)?.map_err(ending)?;
            self.heard = Instant::now();
            match message {
                Message::Text(_) | Message::Binary(_) => return Poll::Ready(Ok(Some(message))),
                Message::Close(_) => return Poll::Ready(Err(Ending::Gone)),
                // The answer is there already, and goes with the flush below.
                Message::Ping(_) => self.unflushed = true,
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        if self.pings.poll_tick(cx).is_ready() {
            if self.heard.elapsed() >= self.patience {
                let patience = humantime::format_duration(self.patience);
                let reason = format!("nothing was heard of you for {patience} (limits.idle_timeout)");
                return Poll::Ready(Err(Ending::close(CloseCode::Policy, reason)));
            }
            if has_room {
                self.write(Message::Ping(Bytes::new()))?;
            }
            return Poll::Ready(Ok(None));
        }
        if self.unflushed && Pin::new(&mut self.socket).poll_flush(cx).map_err(ending)?.is_ready() {
            self.unflushed = false;
        }
        Poll::Pending
    }
}

/// Tells a client's fault from a connection that broke.
fn ending(error: tungstenite::Error) -> Ending {
    match error {
        tungstenite::Error::Capacity(_) => {
            Ending::close(CloseCode::Size, "the frame is too large (limits.max_message)")
        }
        tungstenite::Error::Utf8(_) => Ending::close(CloseCode::Invalid, "a text frame must be UTF-8"),
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::Gone
        }
        tungstenite::Error::Protocol(error) => Ending::close(CloseCode::Protocol, error.to_string()),
        _ => Ending::Gone,
    }
}

/// A close frame has room for 123 bytes of text.
fn short(reason: &str) -> Utf8Bytes {
    Utf8Bytes::from(&reason[..reason.floor_char_boundary(123)])
}

/// Room for a frame that is read. It is there as long as the socket, so it is small.
const READ: usize = 4 << 10;
/// Frames are gathered into writes of this size.
const WRITE: usize = 16 << 10;
/// Proxies cut connections that are silent for a minute or half of one.
const PING: Duration = Duration::from_secs(15);
/// How long the client may take to read why its socket is closed.
const FAREWELL: Duration = Duration::from_secs(1);
