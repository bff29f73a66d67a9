//! The task that hands messages over: it owns the confirm channel, and makes it anew.
//!
//! The broker closes a channel on which something goes to an exchange that does not exist or is not
//! allowed, and what is on its way over it has no outcome then. So the first message to an exchange goes
//! over a channel apart, and what follows to the same exchange waits behind it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use sidespan_bridge::Error;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::flights::Letter;
use super::pipeline::Pipeline;
use crate::fault;
use crate::link::{self, Link, State};
use crate::topology;
use crate::wire::{CALL, Wire};

/// Hands over what is published.
pub(super) struct Post {
    link: Arc<Link>,
    /// Bounded by the budget: what is in it has been admitted.
    inbox: mpsc::UnboundedReceiver<Letter>,
}

type Trial = BoxFuture<'static, (Box<str>, Result<(), Error>)>;

/// What is known on one connection.
#[derive(Default)]
struct Exchanges {
    known: HashSet<Box<str>>,
    /// Messages behind the first one to their exchange.
    waiting: HashMap<Box<str>, Vec<Letter>>,
    trials: FuturesUnordered<Trial>,
}

impl Post {
    pub(super) fn new(link: Arc<Link>, inbox: mpsc::UnboundedReceiver<Letter>) -> Self {
        Self { link, inbox }
    }

    /// Works until nobody can publish any more.
    pub(super) async fn run(mut self) {
        let mut changes = self.link.changes();
        loop {
            let state = changes.borrow_and_update().clone();
            let error = match state {
                State::Up(wire) => match self.serve(&wire).await {
                    Served::Through => return,
                    // It may be noticed a moment later that the connection is gone.
                    Served::Again => {
                        sleep(PAUSE).await;
                        continue;
                    }
                },
                State::Opening => {
                    let _ = changes.changed().await;
                    continue;
                }
                State::Down(trouble) => trouble.error(),
                State::Closed => link::closed(),
            };
            tokio::select! {
                letter = self.inbox.recv() => match letter {
                    Some(letter) => letter.ticket.conclude(Err(error)),
                    None => return,
                },
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// Hands over, as long as the connection holds.
    async fn serve(&mut self, wire: &Arc<Wire>) -> Served {
        let mut exchanges = Exchanges::default();
        let mut changes = self.link.changes();
        loop {
            let mut pipeline = match Pipeline::open(wire).await {
                Ok(pipeline) => pipeline,
                Err(error) => {
                    debug!(%error, "no channel to publish on for now");
                    return Served::Again;
                }
            };
            while !pipeline.is_broken() {
                let (busy, room, stalls) = (!pipeline.is_empty(), pipeline.has_room(), pipeline.stalls_at());
                tokio::select! {
                    biased;
                    () = pipeline.answers(), if busy => {}
                    Some((exchange, tried)) = exchanges.trials.next() => {
                        exchanges.tried(exchange, tried, &mut pipeline);
                    }
                    Ok(()) = changes.changed() => {
                        if !matches!(self.link.state(), State::Up(_)) {
                            let _ = timeout(LAST_ANSWERS, drain(&mut pipeline)).await;
                            return Served::Again;
                        }
                    }
                    () = sleep_until(stalls), if busy => {
                        if wire.blocked().is_none() {
                            break;
                        }
                        pipeline.is_excused();
                    }
                    letter = self.inbox.recv(), if room => match letter {
                        Some(letter) => {
                            exchanges.pass(letter, wire, &mut pipeline);
                            // All that came together goes out together: in between, all that is on its
                            // way would be looked at.
                            while pipeline.has_room()
                                && let Ok(letter) = self.inbox.try_recv()
                            {
                                exchanges.pass(letter, wire, &mut pipeline);
                            }
                        }
                        None => {
                            drain(&mut pipeline).await;
                            return Served::Through;
                        }
                    },
                }
            }
            warn!("a channel was closed, or confirms nothing any more: publishing goes on over a new one");
            if pipeline.is_broken() {
                let _ = timeout(LAST_ANSWERS, drain(&mut pipeline)).await;
            }
            // One of them may be why.
            exchanges.known.clear();
        }
    }
}

enum Served {
    /// Nobody can publish any more.
    Through,
    /// The connection, or the channel, is gone.
    Again,
}

impl Exchanges {
    /// Hands a message over, or has it wait until its exchange is known.
    fn pass(&mut self, letter: Letter, wire: &Arc<Wire>, pipeline: &mut Pipeline) {
        let exchange = &letter.content.address.exchange;
        if let Some(waiting) = self.waiting.get_mut(exchange) {
            return waiting.push(letter);
        }
        if exchange.is_empty() || self.known.contains(exchange) {
            return pipeline.send(letter);
        }
        let (wire, exchange) = (Arc::clone(wire), exchange.clone());
        self.waiting.insert(exchange.clone(), Vec::new());
        self.trials.push(Box::pin(async move {
            let tried = try_out(&wire, &exchange, letter).await;
            (exchange, tried)
        }));
    }

    /// Passes on what waited for an exchange.
    fn tried(&mut self, exchange: Box<str>, tried: Result<(), Error>, pipeline: &mut Pipeline) {
        let letters = self.waiting.remove(&exchange).unwrap_or_default();
        match tried {
            Ok(()) => {
                letters.into_iter().for_each(|letter| pipeline.send(letter));
                if self.known.len() >= KNOWN {
                    self.known.clear();
                }
                self.known.insert(exchange);
            }
            Err(error) => letters.into_iter().for_each(|letter| letter.ticket.conclude(Err(again(&error)))),
        }
    }
}

/// Sends the first message to an exchange over a channel of its own; fails where no message can go there.
async fn try_out(wire: &Wire, exchange: &str, letter: Letter) -> Result<(), Error> {
    let opened = async {
        match topology::has_exchange(wire, exchange).await? {
            true => Pipeline::open(wire).await,
            false => Err(fault::no_exchange(exchange)),
        }
    };
    let mut pipeline = match opened.await {
        Ok(pipeline) => pipeline,
        Err(error) => {
            letter.ticket.conclude(Err(again(&error)));
            return Err(error);
        }
    };
    pipeline.send(letter);
    // A broker that is slow to confirm says nothing against the exchange.
    let _ = timeout(CALL, drain(&mut pipeline)).await;
    pipeline.refusal().map_or(Ok(()), Err)
}

/// Says the same of another message.
fn again(error: &Error) -> Error {
    Error::new(error.fault).detail(error.to_string())
}

/// Waits until everything that is on its way has its outcome.
async fn drain(pipeline: &mut Pipeline) {
    while !pipeline.is_empty() {
        pipeline.answers().await;
    }
}

/// How many exchanges are remembered.
const KNOWN: usize = 1024;
/// How long the client has to say of the last messages that their connection is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);
