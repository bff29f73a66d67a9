//! Accepts connections and serves them, within bounds and until told to stop.
//!
//! axum's own loop has no deadline for stopping, no cap on connections and leaves Nagle on, which
//! stalls HTTP/2 by tens of milliseconds; so the loop is ours, over hyper's connections.

mod access;
mod conversation;
mod protocol;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::conversation::{Requests, converse};
use self::protocol::{Protocols, Stream};
use crate::config::Address;
use crate::telemetry::counts;

pub use access::{Access, Logged, Sender};

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; its path is removed at the end.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds an address. A Unix socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// The address is taken, or not ours to bind.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(listen(*address)?)),
            Address::Unix(path) => {
                clear(path).await?;
                Ok(Self::Unix(UnixListener::bind(path)?, path.clone()))
            }
        }
    }

    /// Returns where it listens, the real port included.
    ///
    /// # Errors
    ///
    /// The socket is gone.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }
}

/// What answers requests. Clones are cheap: each request gets one.
///
/// A trait of our own, as its futures need no box.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers a request.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static;
}

impl Service for Router {
    async fn answer(mut self, request: Request<Body>) -> Response {
        // A router is always ready.
        self.call(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Bounds of a door's connections.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open connections. At the bound the one that was idle longest is closed for the next; where
    /// none is idle, further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a connection may be idle, or take to send the head of a request.
    pub idle: Duration,
    /// Bytes of a request's head. It has at most 100 headers too, which is what hyper has room for without
    /// asking for memory.
    pub head: usize,
}

/// Listens as Tokio does by itself, but for a queue that holds a burst: what comes while it is full is
/// dropped by the kernel, and tried again by the client's only a second later.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// How many connections wait to be accepted, if the kernel allows as many.
const QUEUE: u32 = 4096;

/// Serves until `stop`, then lets requests that are under way finish for at most `grace`.
///
/// Returns how many connections had to be cut. Open ones are counted as of this `kind`.
pub async fn serve(
    listener: Listener,
    service: impl Service,
    bounds: Bounds,
    stop: CancellationToken,
    grace: Duration,
    kind: counts::Listener,
) -> usize {
    let places = Places::new(bounds.connections);
    let protocols = Arc::new(Protocols::new(bounds, stop.clone()));
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener)).await {
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: the connections there are must end first.
                stop.run_until_cancelled(sleep(Duration::from_millis(100))).await;
                continue;
            }
        };
        let Some(place) = stop.run_until_cancelled(places.take()).await else { break };
        let requests = Requests::default();
        // In a box, as each call that it is handed to would keep room for it otherwise.
        let connection = Box::pin(protocols.clone().serve(stream, service.clone(), requests.clone()));
        let (wanted, open) = (places.wanted.clone(), kind.open());
        connections.spawn(async move {
            converse(connection, requests, &wanted, bounds.idle).await;
            drop((place, open));
        });
    }
    let socket = match &listener {
        Listener::Unix(_, path) => Some(path.clone()),
        Listener::Tcp(_) => None,
    };
    drop(listener);
    if let Some(path) = socket {
        let _ = std::fs::remove_file(path);
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = timeout_at(Instant::now() + grace, finished).await;
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// The places for connections.
struct Places {
    free: Arc<Semaphore>,
    /// Tells the connection that was idle longest to make room.
    wanted: Arc<Notify>,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), wanted: Arc::new(Notify::new()) }
    }

    /// Waits for a place, for which an idle connection is closed if there is none.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some(place);
        }
        self.wanted.notify_one();
        self.free.clone().acquire_owned().await.ok()
    }
}

/// Removes the socket of a server that is gone. Anything else stays: it is somebody's.
async fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("there is something else than a socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // A full queue and a missing permission mean that somebody listens.
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

async fn accept(listener: &Listener) -> io::Result<Box<dyn Stream>> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        Listener::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_connections_waits_for_nobody() {
        let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
        let Address::Tcp(address) = listener.address().unwrap() else { panic!("a TCP address") };
        let mut connecting: JoinSet<_> = (0..500).map(|_| TcpStream::connect(address)).collect();
        let mut connected = Vec::new();
        let by = Instant::now() + Duration::from_millis(900);
        while let Some(stream) = timeout_at(by, connecting.join_next()).await.expect("no second attempt") {
            connected.push(stream.unwrap().unwrap());
        }
        assert_eq!(connected.len(), 500);
    }

    #[tokio::test]
    async fn only_the_socket_of_a_server_that_is_gone_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let address = Address::Unix(path.clone());
        let bind = || Listener::bind(&address);

        std::fs::write(&path, "orders").unwrap();
        assert!(bind().await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"orders");
        std::fs::remove_file(&path).unwrap();

        let lives = net::UnixListener::bind(&path).unwrap();
        assert_eq!(bind().await.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(lives);
        assert!(bind().await.is_ok());
    }
}
