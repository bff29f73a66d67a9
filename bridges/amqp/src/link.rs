//! A connection that is made again whenever it is lost.
//!
//! One task owns the connection; all others look at what it knows. What lived on a connection
//! (channels, consumers, confirms) ends with it: who needs them makes them anew on the next one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sidespan_bridge::{Error, Fault};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::dial::dial;
use crate::settings::AmqpSettings;
use crate::wire::Wire;

/// The way to the broker.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    /// Something came that the client library cannot read.
    odd: Arc<AtomicBool>,
    /// Takes leave.
    over: CancellationToken,
    /// Goes without a word.
    cut: CancellationToken,
    task: JoinHandle<()>,
}

/// What is known about the way to the broker.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Nothing yet.
    Opening,
    /// It can be reached.
    Up(Arc<Wire>),
    /// It can't.
    Down(Arc<Trouble>),
    /// Nobody tries any more.
    Closed,
}

/// Why the broker cannot be reached.
#[derive(Debug)]
pub(crate) struct Trouble {
    fault: Fault,
    /// What is wrong and what to change; names the broker's address.
    reason: Box<str>,
}

/// What the log was told of trouble since the broker was last reached, by all links to it: once each.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashSet<Box<str>>>);

impl Link {
    /// Begins to connect, by a name that the broker shows. Waits for nobody. Ends without a word once
    /// `mute` is cancelled.
    pub(crate) fn open(
        settings: Arc<AmqpSettings>,
        name: String,
        told: Arc<Told>,
        mute: &CancellationToken,
    ) -> Self {
        let (sender, state) = watch::channel(State::Opening);
        let (over, cut) = (CancellationToken::new(), mute.child_token());
        let odd = Arc::<AtomicBool>::default();
        let way = Way { settings, name, told, odd: Arc::clone(&odd), state: sender };
        let task = tokio::spawn(way.keep(over.clone(), cut.clone()));
        Self { state, odd, over, cut, task }
    }

    /// Returns what is known now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Has what comes mended, from the next connection on.
    pub(crate) fn mend(&self) {
        self.odd.store(true, Ordering::Release);
    }

    /// Returns what follows what is known.
    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Returns the connection; waits for it only while nothing is known yet.
    pub(crate) async fn wire(&self, deadline: Instant) -> Result<Arc<Wire>, Error> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Opening));
        let state = match timeout_at(deadline, known).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => State::Closed,
            Err(_) => State::Opening,
        };
        match state {
            State::Up(wire) => Ok(wire),
            State::Down(trouble) => Err(trouble.error()),
            State::Opening => Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
            State::Closed => Err(closed()),
        }
    }

    /// Waits for a connection as long as it takes; `None` once the link is closed.
    pub(crate) async fn up(&self) -> Option<Arc<Wire>> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| matches!(state, State::Up(_) | State::Closed)).await.ok()?;
        match &*state {
            State::Up(wire) => Some(Arc::clone(wire)),
            State::Closed | State::Opening | State::Down(_) => None,
        }
    }

    /// Ends the connection as a crash would, for good.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
        if let State::Up(wire) = self.state() {
            wire.cut();
        }
    }

    /// Takes leave of the broker, for good.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.over.cancel();
        let mut state = self.state.clone();
        let _ = timeout_at(deadline, state.wait_for(|state| matches!(state, State::Closed))).await;
        self.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

impl Trouble {
    /// Says it to whoever runs this.
    pub(crate) fn explain(&self) -> Error {
        Error::new(self.fault).detail(self.reason.clone())
    }

    /// Says it to those who publish and receive, whom it does not concern where the broker is.
    pub(crate) fn error(&self) -> Error {
        Error::new(self.fault).detail(match self.fault {
            Fault::Denied => "rabbitmq does not let this server in",
            _ => "rabbitmq cannot be reached",
        })
    }
}

impl Told {
    /// Tells whether this is news.
    fn is_new(&self, reason: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST_TOLD && told.insert(reason.into())
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What is said of a link that was closed.
pub(crate) fn closed() -> Error {
    Error::new(Fault::Unavailable).detail("the bridge to rabbitmq is closed")
}

/// The task's side of a link.
struct Way {
    settings: Arc<AmqpSettings>,
    name: String,
    told: Arc<Told>,
    odd: Arc<AtomicBool>,
    state: watch::Sender<State>,
}

impl Way {
    /// Connects, waits until the connection is lost, and begins again.
    async fn keep(self, over: CancellationToken, cut: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let end = async {
            tokio::select! { () = over.cancelled() => {}, () = cut.cancelled() => {} }
        };
        let mut end = std::pin::pin!(end);
        loop {
            let odd = self.odd.load(Ordering::Acquire);
            let dialled = tokio::select! {
                () = &mut end => break,
                dialled = dial(&self.settings, &self.name, odd) => dialled,
            };
            match dialled {
                Ok(wire) => {
                    let wire = self.reached(wire);
                    pause = FIRST_PAUSE;
                    tokio::select! {
                        () = &mut end => {
                            if !cut.is_cancelled() {
                                tokio::select! {
                                    () = wire.close(Instant::now() + LEAVE) => {}
                                    () = cut.cancelled() => {}
                                }
                            }
                            wire.cut();
                            break;
                        }
                        () = wire.gone() => wire.cut(),
                    }
                    self.lost();
                }
                Err(error) => self.missed(&error),
            }
            tokio::select! { () = &mut end => break, () = sleep(jittered(pause)) => {} }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.state.send_replace(State::Closed);
    }

    fn reached(&self, wire: Wire) -> Arc<Wire> {
        let wire = Arc::new(wire);
        info!(bridge = self.bridge(), connection = self.name, "connected to rabbitmq");
        self.told.forget();
        self.state.send_replace(State::Up(Arc::clone(&wire)));
        wire
    }

    fn bridge(&self) -> Option<&str> {
        self.settings.bridge.as_deref()
    }

    fn lost(&self) {
        warn!(bridge = self.bridge(), connection = self.name, "the connection to rabbitmq is lost");
        self.down(Fault::Unavailable, "the connection to rabbitmq is lost".into());
    }

    fn missed(&self, error: &Error) {
        let reason: Box<str> = error.to_string().into();
        if self.told.is_new(&reason) {
            warn!(bridge = self.bridge(), connection = self.name, %error, "rabbitmq cannot be reached");
        }
        debug!(bridge = self.bridge(), connection = self.name, ?error, "rabbitmq cannot be reached");
        self.down(error.fault, reason);
    }

    fn down(&self, fault: Fault, reason: Box<str>) {
        self.state.send_replace(State::Down(Arc::new(Trouble { fault, reason })));
    }
}

/// Takes up to half of a pause off, so that many members don't return in one instant.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(1.0 - share / 2.0)
}

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How many reasons one stretch of trouble may have in the log.
const MOST_TOLD: usize = 16;
/// How long taking leave may take.
const LEAVE: Duration = Duration::from_secs(2);
