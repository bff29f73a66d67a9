//! What is counted for the process as a whole, as the log is written for it as a whole: what happens at the doors
//! before it is known whom it concerns, and what telemetry itself loses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How often something happened.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Begins at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Returns how many there were.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What there is of something now.
#[derive(Debug)]
pub struct Level(AtomicUsize);

impl Level {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn open(&'static self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    fn value(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted as open until it is dropped.
#[derive(Debug)]
pub struct Open(&'static Level);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A door for services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// HTTP.
    Rest,
    /// gRPC.
    Grpc,
    /// What comes over a WebSocket, frame by frame.
    Socket,
}

impl Door {
    const ALL: [Self; 3] = [Self::Rest, Self::Grpc, Self::Socket];

    /// Returns its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
            Self::Socket => "socket",
        }
    }

    /// Counts a request.
    pub fn asked(self) {
        match self {
            Self::Rest => ASKED_REST.count(),
            Self::Grpc => ASKED_GRPC.count(),
            Self::Socket => ASKED_SOCKET.count(),
        }
    }

    /// Counts a request that is answered with a problem, by the slug of its class.
    pub fn refused(self, slug: &'static str) {
        // There are as many slugs as classes of problems; a lock is cheaper than the answer that is written.
        let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry((self, slug)).or_default() += 1;
    }

    /// Returns every door and how many requests there were.
    pub fn requests() -> impl Iterator<Item = (Self, u64)> {
        let asked = |door| match door {
            Self::Rest => ASKED_REST.value(),
            Self::Grpc => ASKED_GRPC.value(),
            Self::Socket => ASKED_SOCKET.value(),
        };
        Self::ALL.into_iter().map(move |door| (door, asked(door)))
    }

    /// Returns how often which problem was answered at which door.
    pub fn refusals() -> Vec<(Self, &'static str, u64)> {
        let refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|((door, slug), number)| (*door, *slug, *number)).collect()
    }
}

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Server-sent events.
    Events,
    /// A call of gRPC.
    Grpc,
    /// A WebSocket.
    Socket,
}

impl Stream {
    /// Counts one as open.
    pub fn open(self) -> Open {
        match self {
            Self::Events => STREAMS_EVENTS.open(),
            Self::Grpc => STREAMS_GRPC.open(),
            Self::Socket => STREAMS_SOCKET.open(),
        }
    }

    /// Returns every kind by its label, and how many are open.
    pub fn levels() -> [(&'static str, usize); 3] {
        [
            ("sse", STREAMS_EVENTS.value()),
            ("websocket", STREAMS_SOCKET.value()),
            ("grpc", STREAMS_GRPC.value()),
        ]
    }
}

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// For services.
    Services,
    /// For operators.
    Admin,
    /// For the kubelet and Prometheus.
    Health,
}

impl Listener {
    /// Counts a connection as open.
    pub fn open(self) -> Open {
        match self {
            Self::Services => CONNECTIONS_SERVICES.open(),
            Self::Admin => CONNECTIONS_ADMIN.open(),
            Self::Health => CONNECTIONS_HEALTH.open(),
        }
    }

    /// Returns every listener by its label, and how many connections are open.
    pub fn levels() -> [(&'static str, usize); 3] {
        [
            ("services", CONNECTIONS_SERVICES.value()),
            ("admin", CONNECTIONS_ADMIN.value()),
            ("health", CONNECTIONS_HEALTH.value()),
        ]
    }
}

/// Lines left out of the log.
pub static LOG_SUPPRESSED: Count = Count::new();
/// Lines of the log that nobody read in time.
pub static LOG_DROPPED: Count = Count::new();
/// Spans that no collector took.
pub static DROPPED_SPANS: Count = Count::new();
/// Exports of metrics that no collector took.
pub static FAILED_METRICS_EXPORTS: Count = Count::new();
/// Exports of spans that no collector took.
pub static FAILED_TRACE_EXPORTS: Count = Count::new();

static ASKED_REST: Count = Count::new();
static ASKED_GRPC: Count = Count::new();
static ASKED_SOCKET: Count = Count::new();
static REFUSED: Mutex<BTreeMap<(Door, &'static str), u64>> = Mutex::new(BTreeMap::new());
static STREAMS_EVENTS: Level = Level::new();
static STREAMS_GRPC: Level = Level::new();
static STREAMS_SOCKET: Level = Level::new();
static CONNECTIONS_SERVICES: Level = Level::new();
static CONNECTIONS_ADMIN: Level = Level::new();
static CONNECTIONS_HEALTH: Level = Level::new();
