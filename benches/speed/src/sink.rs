//! A webhook that accepts everything, once its gate is open.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::Failed;
use crate::http::Wire;
use crate::load::{age, percentiles};
use crate::part::{Orders, say};

/// What a sink is told. It answers each with [`Accepted`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// To open the gate until so many more were accepted.
    Accept(usize),
    /// To leave it open.
    Open,
    /// To tell of what was accepted since this was last asked.
    Tell,
}

/// What was accepted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Accepted {
    /// Messages a second, while the gate was open for so many.
    pub(crate) rate: f64,
    /// How old half of them were at most when they came, in microseconds.
    pub(crate) p50: f64,
    /// How old 99 of 100 were at most.
    pub(crate) p99: f64,
}

#[derive(Default)]
struct Book {
    accepted: AtomicUsize,
    wanted: AtomicUsize,
    ages: Mutex<Vec<Duration>>,
    all: Notify,
}

/// Serves until nobody needs it.
pub(crate) async fn serve() -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&listener.local_addr()?)?;
    let (gate, opened) = watch::channel(false);
    let book = Arc::<Book>::default();
    tokio::spawn(accept(listener, book.clone(), opened));
    let mut orders = Orders::new();
    while let Some(order) = orders.next().await? {
        let mut answer = Accepted::default();
        match order {
            Order::Accept(messages) => {
                book.wanted.store(book.accepted.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
                let began = Instant::now();
                gate.send_replace(true);
                book.all.notified().await;
                answer.rate = messages as f64 / began.elapsed().as_secs_f64();
                gate.send_replace(false);
            }
            Order::Open => drop(gate.send_replace(true)),
            Order::Tell => {
                (answer.p50, answer.p99) = percentiles(&mut std::mem::take(&mut *book.ages()));
            }
        }
        say(&answer)?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, book: Arc<Book>, gate: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(receive(stream, book.clone(), gate.clone()));
    }
}

async fn receive(stream: TcpStream, book: Arc<Book>, mut gate: watch::Receiver<bool>) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(request) = wire.read().await? {
        let age = age(request.body());
        if gate.wait_for(|open| *open).await.is_err() {
            break;
        }
        wire.write(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        let accepted = book.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        if accepted == book.wanted.load(Ordering::Relaxed) {
            book.all.notify_one();
        }
        let mut ages = book.ages();
        if ages.len() < MOST_AGES {
            ages.extend(age);
        }
    }
    Ok(())
}

impl Book {
    fn ages(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A long load that nobody asks about may not fill the memory.
const MOST_AGES: usize = 1 << 18;
