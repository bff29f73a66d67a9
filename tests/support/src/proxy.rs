//! A network between a program and its broker, which fails as networks do.
//!
//! A [`Proxy`] takes connections on a port of its own and carries their bytes to the broker's. It
//! can end them, with a FIN or with an RST; it can go silent, so that neither side hears anything,
//! not even of an end; it can be slow to carry, and carry little.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// A network to one port of this machine. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

/// How connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With a FIN, as by a polite peer.
    Finish,
    /// With an RST, as by a firewall.
    Reset,
}

/// What the network is like. Connections are known by their numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// How long each byte is under way.
    delay: Duration,
    /// How many bytes a second each direction of a connection carries.
    rate: Option<u32>,
    /// What connects now is mute from the beginning.
    silent: bool,
    /// Older connections are mute for ever.
    mute_before: u64,
    /// Older connections are ended, in this way.
    cut_before: u64,
    cut: Option<Cut>,
}

impl Proxy {
    /// Carries what connects to `port` to the port of a broker.
    pub async fn start_on(port: u16, broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port for the proxy");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let weather = watch::Sender::new(Weather::default());
        let task = tokio::spawn(accept(listener, broker, weather.subscribe()));
        Self { port, weather, task }
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries everything at once again. What is mute stays mute: the network has forgotten it.
    pub fn clear(&self) {
        self.weather.send_modify(|weather| {
            if weather.silent {
                weather.mute_before = next_number();
            }
            *weather = Weather { delay: Duration::ZERO, rate: None, silent: false, ..*weather };
        });
    }

    /// Ends all connections. New ones are taken.
    pub fn cut(&self, how: Cut) {
        self.weather.send_modify(|weather| {
            *weather = Weather { cut_before: next_number(), cut: Some(how), ..*weather };
        });
    }

    /// Leaves all connections half-open: neither side hears anything more from them, not even
    /// their end. New ones are well.
    pub fn forget(&self) {
        self.weather.send_modify(|weather| weather.mute_before = next_number());
    }

    /// Carries nothing any more: all connections are half-open, and new ones too.
    pub fn silence(&self) {
        self.weather.send_modify(|weather| weather.silent = true);
    }

    /// Takes so long to carry a byte, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Carries so many bytes a second in each direction of a connection.
    pub fn throttle(&self, rate: u32) {
        self.weather.send_modify(|weather| weather.rate = Some(rate));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Weather {
    fn is_mute(&self, number: u64) -> bool {
        self.silent || number < self.mute_before
    }

    fn cut(&self, number: u64) -> Option<Cut> {
        self.cut.filter(|_| number < self.cut_before)
    }
}

async fn accept(listener: TcpListener, broker: u16, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("a connection");
                connections.spawn(connect(client, broker, weather.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, broker: u16, mut weather: watch::Receiver<Weather>) {
    let number = next_number();
    let is_mute = weather.borrow().is_mute(number);
    if is_mute {
        end(&mut weather, number).await;
        return;
    }
    // A broker that is down refuses: so does this.
    let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else { return };
    carry(client, broker, number, weather).await;
}

/// Carries both directions until an end was passed on, or the weather ends it.
async fn carry(
    mut client: TcpStream,
    mut broker: TcpStream,
    number: u64,
    mut weather: watch::Receiver<Weather>,
) {
    for socket in [&client, &broker] {
        let _ = socket.set_nodelay(true);
    }
    let (seen, mut mute) = (weather.clone(), weather.clone());
    let muted = async { drop(mute.wait_for(|weather| weather.is_mute(number)).await) };
    let carried = async {
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        // An error is an end.
        let _ = tokio::try_join!(pass(from_client, to_broker, &seen), pass(from_broker, to_client, &seen));
    };
    let cut = tokio::select! {
        cut = end(&mut weather, number) => Some(cut),
        () = carried => return,
        () = muted => None,
    };
    let cut = match cut {
        Some(cut) => cut,
        None => end(&mut weather, number).await,
    };
    if cut == Cut::Reset {
        for socket in [&client, &broker] {
            let _ = socket.set_zero_linger();
        }
    }
}

/// Waits until a connection is ended by the weather.
async fn end(weather: &mut watch::Receiver<Weather>, number: u64) -> Cut {
    match weather.wait_for(|weather| weather.cut(number).is_some()).await {
        Ok(weather) => weather.cut(number).unwrap_or(Cut::Finish),
        Err(_) => Cut::Finish,
    }
}

/// Carries one direction. What is under way does not hold up what follows.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    weather: &watch::Receiver<Weather>,
) -> io::Result<()> {
    let (send, mut sent) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let length = from.read(&mut buffer).await?;
            let piece = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
            let due = Instant::now() + weather.borrow().delay;
            if length == 0 || send.send((due, piece)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = sent.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            to.write_all(&piece).await?;
            let rate = weather.borrow().rate;
            if let Some(rate) = rate {
                sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(rate))).await;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Returns a number that is higher than all before.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const PIECE: usize = 16 * 1024;
/// How many pieces may be under way in a direction.
const UNDER_WAY: usize = 64;
