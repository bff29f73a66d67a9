//! A connection to the cluster, and whether it is up, as far as the client has told.
//!
//! The client connects by itself, for ever, and keeps what it is given while it is away. So that
//! nothing is handed over then, every change that it tells is noted here at once, and passed on to
//! whoever must act on it ([`Change`]).

mod denied;
pub(crate) mod login;
mod trouble;

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectOptions, Event, Server, ServerError};
use futures_util::FutureExt;
use sidespan_bridge::{Error, Fault};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::settings::NatsSettings;

pub(crate) use denied::Denied;
use trouble::{Explainer, Trouble};

/// What is known about one connection.
pub(crate) struct Link {
    /// The bridge's name, for logs.
    bridge: Option<Box<str>>,
    /// What it is for, for logs.
    purpose: &'static str,
    explainer: Explainer,
    state: watch::Sender<State>,
    trouble: Mutex<Option<Trouble>>,
    /// No answer can come by this connection: the server refuses the inbox.
    deaf: Mutex<Option<Denied>>,
    /// What the server refuses, as it does so.
    denials: broadcast::Sender<Denied>,
    hook: Hook,
}

/// Whether the cluster can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody knows yet.
    Connecting,
    /// No: nothing is handed over.
    Down,
    /// Yes, by the so many-th connection.
    Up(u64),
}

/// Something that the client told.
pub(crate) enum Change {
    /// The server forbids something.
    Denied(Denied),
    /// The connection is gone, with whatever was on its way.
    Down,
    /// The client dropped messages that nobody had taken from it.
    Overflowed,
    /// There is a connection.
    Up,
}

type Hook = Box<dyn Fn(Change) + Send + Sync>;

impl Link {
    /// Begins to connect, and waits for nobody. `hook` is called in the order in which things happen.
    pub(crate) fn open(
        settings: &NatsSettings,
        service: &str,
        purpose: &'static str,
        capacity: usize,
        hook: Hook,
    ) -> Result<(Client, Arc<Self>), Error> {
        let addresses = settings
            .addresses()
            .map_err(|error| Error::new(Fault::Invalid).detail("the bridge's `servers`").because(error))?;
        let link = Arc::new(Self {
            bridge: settings.bridge.clone(),
            purpose,
            explainer: Explainer {
                servers: settings.servers.join(", "),
                login: settings.login(),
                tls: settings.uses_tls(),
                tls_first: settings.tls_first,
            },
            state: watch::Sender::new(State::Connecting),
            trouble: Mutex::new(None),
            deaf: Mutex::new(None),
            denials: broadcast::Sender::new(DENIALS),
            hook,
        });
        let login = settings.login();
        let mut options = ConnectOptions::with_auth_callback(move |nonce| ready(login.answer(&nonce)))
            .name(format!("{service} ({purpose})"))
            .retry_on_initial_connect()
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .reconnect_delay_callback(pause)
            .client_capacity(capacity)
            .subscription_capacity(capacity);
        if settings.uses_tls() {
            let tls = settings.tls.clone().unwrap_or_default();
            let config = tls
                .client()
                .map_err(|error| Error::new(Fault::Unavailable).detail(error.to_string()).because(error))?;
            options = options.require_tls(true).tls_client_config(config);
        }
        if settings.tls_first {
            options = options.tls_first();
        }
        let failed = Arc::downgrade(&link);
        // It is asked ahead of every round of attempts, and is the one place that tells why the last failed.
        let options = options.reconnect_to_server_callback(move |servers, _| {
            if let Some(link) = failed.upgrade() {
                link.failed(&servers);
            }
            ready(None)
        });
        let heard = Arc::downgrade(&link);
        let options = options.event_callback(move |event| {
            if let Some(link) = heard.upgrade() {
                link.hear(event);
            }
            ready(())
        });
        // It only starts tasks: with `retry_on_initial_connect` nothing is awaited.
        match at_once(options.connect(addresses)) {
            Some(Ok(client)) => Ok((client, link)),
            Some(Err(error)) => Err(Error::new(Fault::Invalid).because(error)),
            None => Err(Error::new(Fault::Unavailable).detail("the client did not start")),
        }
    }

    /// Returns what is known now.
    pub(crate) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Follows what is known.
    pub(crate) fn follow(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Waits until the cluster is reached, unless it is known to be away.
    pub(crate) async fn until_up(&self, deadline: Instant) -> Result<(), Error> {
        let mut state = self.follow();
        let known = timeout_at(deadline, state.wait_for(|state| *state != State::Connecting)).await;
        match known {
            Ok(Ok(state)) if *state != State::Down => Ok(()),
            _ => Err(self.explain()),
        }
    }

    /// Says in a line why nobody answers, and what to do.
    pub(crate) fn explain(&self) -> Error {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trouble.unwrap_or_else(|| self.explainer.away(None)).error()
    }

    /// Says why no answer comes, where it is known.
    pub(crate) fn deaf(&self) -> Option<Error> {
        self.deaf.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Denied::error)
    }

    fn bridge(&self) -> Option<&str> {
        self.bridge.as_deref()
    }

    fn hear(&self, event: Event) {
        debug!(bridge = self.bridge(), %event, purpose = self.purpose, "nats client");
        match event {
            Event::Connected => self.is_up(),
            Event::Disconnected | Event::Closed => self.is_down(),
            // It is not known of any server.
            Event::ClientError(ClientError::Other(reason)) if reason.ends_with(UNRESOLVED) => {
                self.is_troubled(self.explainer.away(Some(UNRESOLVED)));
            }
            // What it was is told ahead of the next attempt.
            Event::ClientError(_) | Event::ServerError(ServerError::AuthorizationViolation) => {}
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                (self.hook)(Change::Overflowed);
            }
            Event::ServerError(ServerError::Other(reason)) => self.refused(&reason),
            Event::LameDuckMode => {
                info!(bridge = self.bridge(), purpose = self.purpose, "a nats server is about to stop")
            }
            Event::Draining => {}
        }
    }

    /// Returns what waits, from this call on, until the server refuses this.
    pub(crate) fn denial_of(&self, what: Denied) -> impl Future<Output = Error> + use<> {
        let mut denials = self.denials.subscribe();
        async move {
            loop {
                match denials.recv().await {
                    Ok(denied) if denied == what => return denied.error(),
                    // Too many at a time, and this one may be among those: silence will tell.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }

    fn refused(&self, reason: &str) {
        warn!(bridge = self.bridge(), reason, purpose = self.purpose, "a nats server refuses");
        if let Some(denied) = Denied::read(reason) {
            if matches!(&denied, Denied::Subscribe(subject) if subject.starts_with(INBOX)) {
                let inboxes = Denied::Subscribe(format!("{INBOX}>"));
                *self.deaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(inboxes);
            }
            // Without anybody who waits it is the hook's alone.
            let _ = self.denials.send(denied.clone());
            (self.hook)(Change::Denied(denied));
        }
    }

    /// The last attempts failed, those of some servers at least, if there were any.
    fn failed(&self, servers: &[Server]) {
        if let Some(trouble) = self.explainer.explain(servers) {
            self.is_troubled(trouble);
        }
    }

    fn is_up(&self) {
        *self.deaf.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.send_replace(State::Up(next_connection()));
        info!(bridge = self.bridge(), purpose = self.purpose, "nats can be reached");
        (self.hook)(Change::Up);
    }

    fn is_troubled(&self, trouble: Trouble) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // Once, and again when it is another one.
        if known.as_ref() != Some(&trouble) {
            warn!(
                bridge = self.bridge(),
                reason = trouble.line(),
                purpose = self.purpose,
                "nats cannot be reached"
            );
            *known = Some(trouble);
        }
        drop(known);
        self.is_down();
    }

    fn is_down(&self) {
        let was = self.state.send_replace(State::Down);
        if let State::Up(_) = was {
            warn!(
                bridge = self.bridge(),
                purpose = self.purpose,
                "the connection to nats was lost: nothing is handed over until it is back"
            );
        }
        if was != State::Down {
            (self.hook)(Change::Down);
        }
    }
}

/// Has the client queue something without waiting; `None` where its queue is full.
///
/// Without a budget, so that what need not wait never yields.
pub(crate) fn at_once<T>(queueing: impl Future<Output = T>) -> Option<T> {
    unconstrained(queueing).now_or_never()
}

/// Numbers connections, so that a new one is never taken for the one before.
fn next_connection() -> u64 {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// How long to wait before the so many-th attempt.
fn pause(attempts: usize) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        attempts => (FIRST_PAUSE * (1 << attempts.min(6))).min(LONGEST_PAUSE),
    }
}

/// How many refusals may be unheard by who waits for one.
const DENIALS: usize = 64;
const CONNECT: Duration = Duration::from_secs(3);
/// After two that were not answered the server is away: a frozen one is noticed within some six
/// seconds.
const PING: Duration = Duration::from_secs(2);
/// How the subjects begin where answers come.
const INBOX: &str = "_INBOX.";
/// Of names the client tells no more than that.
const UNRESOLVED: &str = "DNS error";
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
