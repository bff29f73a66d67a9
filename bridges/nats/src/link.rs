//! A connection to the cluster, and whether it is up, as far as the client has told.
//!
//! The client connects by itself, for ever, and keeps what it is given while it is away. So that
//! nothing is handed over then, every change that it tells is noted here at once, and passed on to
//! whoever must act on it ([`Change`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectOptions, Event, ServerError};
use futures_util::FutureExt;
use sidespan_bridge::{Error, Fault};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::settings::NatsSettings;

/// What is known about one connection.
pub(crate) struct Link {
    /// What it is for, for logs.
    purpose: &'static str,
    servers: String,
    state: watch::Sender<State>,
    trouble: Mutex<Option<String>>,
    /// Subjects to which the server refused to publish, as it does so.
    denials: broadcast::Sender<String>,
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
    /// The server forbids publishing to a subject.
    Denied(String),
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
            purpose,
            servers: settings.servers.join(", "),
            state: watch::Sender::new(State::Connecting),
            trouble: Mutex::new(None),
            denials: broadcast::Sender::new(DENIALS),
            hook,
        });
        let mut options = ConnectOptions::new()
            .name(format!("{service} ({purpose})"))
            .retry_on_initial_connect()
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .reconnect_delay_callback(pause)
            .client_capacity(capacity)
            .subscription_capacity(capacity);
        if let (Some(name), Some(password)) = (&settings.username, &settings.password) {
            let password = password.reveal().map_err(|error| {
                Error::new(Fault::Denied).detail("the password cannot be read").because(error)
            })?;
            options = options.user_and_password(name.clone(), password);
        }
        let heard = Arc::downgrade(&link);
        let options = options.event_callback(move |event| {
            if let Some(link) = heard.upgrade() {
                link.hear(event);
            }
            std::future::ready(())
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
        let servers = &self.servers;
        match trouble.as_deref() {
            Some(AUTHORIZATION) => Error::new(Fault::Denied).detail(format!(
                "nats at {servers} refuses the credentials: are `username` and `password` right?"
            )),
            Some("DNS error") => Error::new(Fault::Unavailable)
                .detail(format!("a name among `servers` cannot be resolved: {servers}")),
            Some("TLS error") => Error::new(Fault::Unavailable)
                .detail(format!("nats at {servers} wants TLS, which this build does not speak to it")),
            Some(reason) => Error::new(Fault::Unavailable).detail(format!(
                "no nats server answers at {servers}: is it running, and are `servers` right? ({reason})"
            )),
            None => Error::new(Fault::Unavailable).detail(format!(
                "no nats server answers at {servers}: is it running, and are `servers` right?"
            )),
        }
    }

    fn hear(&self, event: Event) {
        debug!(%event, purpose = self.purpose, "nats client");
        match event {
            Event::Connected => self.is_up(),
            Event::Disconnected | Event::Closed => self.is_down("the connection was lost"),
            Event::ClientError(ClientError::Other(reason)) => {
                self.is_down(reason.strip_prefix("nats: ").unwrap_or(&reason));
            }
            Event::ClientError(error) => self.is_down(&error.to_string()),
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                (self.hook)(Change::Overflowed);
            }
            Event::ServerError(ServerError::AuthorizationViolation) => self.is_down(AUTHORIZATION),
            Event::ServerError(ServerError::Other(reason)) => self.refused(&reason),
            Event::LameDuckMode => info!(purpose = self.purpose, "a nats server is about to stop"),
            Event::Draining => {}
        }
    }

    /// Returns what waits, from this call on, until the server refuses a message to `subject`.
    pub(crate) fn denial_of(&self, subject: String) -> impl Future<Output = Error> + use<> {
        let mut denials = self.denials.subscribe();
        async move {
            loop {
                match denials.recv().await {
                    Ok(denied) if denied == subject => return denied_to(&subject),
                    // Too many at a time, and this one may be among those: silence will tell.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }

    fn refused(&self, reason: &str) {
        warn!(reason, purpose = self.purpose, "a nats server refuses");
        if let Some((_, subject)) = reason.split_once("Permissions Violation for Publish to \"") {
            let subject = subject.trim_end_matches('"').to_owned();
            // Without anybody who waits it is the hook's alone.
            let _ = self.denials.send(subject.clone());
            (self.hook)(Change::Denied(subject));
        }
    }

    fn is_up(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.state.send_replace(State::Up(next_connection()));
        info!(purpose = self.purpose, "nats can be reached");
        (self.hook)(Change::Up);
    }

    fn is_down(&self, reason: &str) {
        {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            // A cause is worth more than its consequence.
            if trouble.as_deref() != Some(AUTHORIZATION) {
                *trouble = Some(reason.to_owned());
            }
        }
        let was = self.state.send_replace(State::Down);
        if was != State::Down {
            warn!(
                reason,
                purpose = self.purpose,
                "nats cannot be reached: nothing is handed over until it is back"
            );
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

/// Says that the server's permissions forbid publishing to a subject.
pub(crate) fn denied_to(subject: &str) -> Error {
    Error::new(Fault::Denied).detail(format!("nats does not allow this user to publish to {subject}"))
}

/// How many refusals may be unheard by who waits for one.
const DENIALS: usize = 64;
const AUTHORIZATION: &str = "authorization violation";
const CONNECT: Duration = Duration::from_secs(3);
/// After two that were not answered the server is away: a frozen one is noticed within some six
/// seconds.
const PING: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
