//! What a connection runs over: a socket, plain or encrypted.
//!
//! The client library has TLS of its own, but none that reads certificates anew, and it would not let us
//! cut the socket below. So the stream is made here, of a type that the library can own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::{AsyncRead, AsyncWrite, TryFutureExt};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use tokio_util::either::Either;

use crate::mend::mended;

/// A connection, plain or encrypted.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// The bytes of a connection, as the client library reads and writes them.
pub(crate) type Transport = Compat<Either<Stream, DuplexStream>>;

/// Tokio, but for the type of its connections.
pub(crate) type Kit = RuntimeParts<Tokio, Sockets>;

/// A second handle on a connection's socket. Dropping it cuts the connection.
pub(crate) struct Socket(std::net::TcpStream);

impl Socket {
    /// Connects, and keeps a handle.
    pub(crate) async fn connect(host: &str, port: u16) -> io::Result<(Self, TcpStream)> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok((Self(stream.as_fd().try_clone_to_owned()?.into()), stream))
    }

    /// Ends the connection as a crash would.
    pub(crate) fn cut(&self) {
        // It may be gone already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Hands a connection to the client library; what is `odd` is mended on its way.
pub(crate) fn transport(stream: Stream, odd: bool) -> Transport {
    match odd {
        false => Either::Left(stream).compat(),
        true => Either::Right(mended(stream)).compat(),
    }
}

/// Encrypts what goes over a socket, once the broker has shown that it is who it should be.
pub(crate) async fn encrypted(stream: TcpStream, host: &str, config: ClientConfig) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Either::Right(stream))
}

/// Listens for what the broker says of its own accord; it is an error that ended the handshake, if anything.
///
/// A client is through with its handshake before the broker has looked at its certificate. What it writes then
/// may end the connection with a reset, behind which the reason is lost.
pub(crate) async fn objection(mut stream: Stream) -> Option<io::Error> {
    timeout(OBJECTION, stream.read(&mut [0])).await.ok()?.err()
}

/// Returns what the client library runs on.
pub(crate) fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(Tokio::current())))
}

/// Tokio's sockets and clocks.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Tokio);

impl Reactor for Sockets {
    type TcpStream = Transport;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl futures_util::Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        TcpStream::connect(address).map_ok(|stream| transport(Either::Left(stream), false))
    }
}

/// How long an objection may take to come.
const OBJECTION: Duration = Duration::from_secs(1);
