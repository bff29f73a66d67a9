//! A connection that is made again whenever it is lost.
//!
//! One task owns the connection; all others look at what it knows. What lived on a connection
//! (channels, consumers, confirms) ends with it: who needs them makes them anew on the next one.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Error, Fault};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::settings::AmqpSettings;
use crate::wire::Wire;

/// The way to the broker.
pub(crate) struct Link {
    state: watch::Receiver<State>,
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
    detail: Box<str>,
}

impl Link {
    /// Begins to connect, by a name that the broker shows. Waits for nobody. Ends without a word once
    /// `mute` is cancelled.
    pub(crate) fn open(settings: Arc<AmqpSettings>, name: String, mute: &CancellationToken) -> Self {
        let (sender, state) = watch::channel(State::Opening);
        let (over, cut) = (CancellationToken::new(), mute.child_token());
        let task = tokio::spawn(keep(settings, name, sender, over.clone(), cut.clone()));
        Self { state, over, cut, task }
    }

    /// Returns what is known now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
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
    pub(crate) fn error(&self) -> Error {
        Error::new(self.fault).detail(self.detail.clone())
    }
}

/// What is said of a link that was closed.
pub(crate) fn closed() -> Error {
    Error::new(Fault::Unavailable).detail("the bridge to rabbitmq is closed")
}

/// Connects, waits until the connection is lost, and begins again.
async fn keep(
    settings: Arc<AmqpSettings>,
    name: String,
    state: watch::Sender<State>,
    over: CancellationToken,
    cut: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let end = async {
        tokio::select! { () = over.cancelled() => {}, () = cut.cancelled() => {} }
    };
    let mut end = std::pin::pin!(end);
    loop {
        let dialled = tokio::select! {
            () = &mut end => break,
            dialled = Wire::dial(&settings, &name) => dialled,
        };
        match dialled {
            Ok(wire) => {
                let wire = Arc::new(wire);
                info!(connection = name, "connected to rabbitmq");
                state.send_replace(State::Up(Arc::clone(&wire)));
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
                warn!(connection = name, "the connection to rabbitmq is lost");
                let detail = format!("the connection to rabbitmq at {} is lost", settings.url).into();
                state.send_replace(State::Down(Arc::new(Trouble { fault: Fault::Unavailable, detail })));
            }
            Err(error) => {
                // Once a stretch of trouble.
                if !matches!(*state.borrow(), State::Down(_)) {
                    warn!(connection = name, %error, "rabbitmq cannot be reached");
                }
                debug!(connection = name, ?error, "rabbitmq cannot be reached");
                let detail = error.to_string().into();
                state.send_replace(State::Down(Arc::new(Trouble { fault: error.fault, detail })));
            }
        }
        tokio::select! { () = &mut end => break, () = sleep(jittered(pause)) => {} }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    state.send_replace(State::Closed);
}

/// Takes up to half of a pause off, so that many members don't return in one instant.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(1.0 - share / 2.0)
}

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// How long taking leave may take.
const LEAVE: Duration = Duration::from_secs(2);
