//! A webhook that accepts everything, once its gate is open.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::wire::Wire;

/// The webhook. Dropping it closes its port and its connections.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
    gate: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

#[derive(Default)]
struct Book {
    accepted: AtomicUsize,
    wanted: AtomicUsize,
    all: Notify,
}

impl Sink {
    /// Starts with its gate closed: what comes waits for its answer.
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (gate, opened) = watch::channel(false);
        let book = Arc::<Book>::default();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, book.clone(), opened));
        Ok(Self { address, book, gate, _connections: connections })
    }

    /// Opens the gate until so many more are accepted.
    pub(crate) async fn accept(&self, messages: usize) {
        let wanted = self.book.accepted.load(Ordering::Relaxed) + messages;
        self.book.wanted.store(wanted, Ordering::Relaxed);
        self.gate.send_replace(true);
        self.book.all.notified().await;
        self.gate.send_replace(false);
    }
}

async fn accept(listener: TcpListener, book: Arc<Book>, gate: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, book.clone(), gate.clone()));
    }
}

async fn serve(stream: TcpStream, book: Arc<Book>, mut gate: watch::Receiver<bool>) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while wire.read().await?.is_some() {
        if gate.wait_for(|open| *open).await.is_err() {
            break;
        }
        wire.write(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        if book.accepted.fetch_add(1, Ordering::Relaxed) + 1 == book.wanted.load(Ordering::Relaxed) {
            book.all.notify_one();
        }
    }
    Ok(())
}
