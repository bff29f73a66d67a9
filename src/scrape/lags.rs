//! Asks the brokers, again and again, what the groups have not settled.
//!
//! Each subscription is asked for by itself, a few at a time and with a deadline. What was answered is told for a
//! while; a broker that no longer answers has its last word forgotten, as an old figure would lie.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use sidespan_bridge::Lag;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Name;
use crate::delivery::{Roster, Running};

/// What the groups had not settled when their brokers were asked last.
#[derive(Debug)]
pub struct Lags {
    known: Arc<Known>,
    _task: AbortOnDropHandle<()>,
}

type Known = Mutex<BTreeMap<Name, Asked>>;

/// When a broker was asked, and what it said if it did.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    lag: Option<Lag>,
}

impl Lags {
    /// Starts to ask for every subscription of a roster, until this is dropped.
    pub fn watch(roster: Arc<Roster>) -> Self {
        let known = Arc::<Known>::default();
        let task = tokio::spawn(ask(roster, known.clone()));
        Self { known, _task: AbortOnDropHandle::new(task) }
    }

    /// Returns what a subscription's group had not settled lately, if that is known.
    pub fn of(&self, running: &Running) -> Option<Lag> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Asked { at, lag } = known.get(running.subscription().name.as_str())?;
        lag.filter(|_| at.elapsed() < KEPT)
    }
}

async fn ask(roster: Arc<Roster>, known: Arc<Known>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let all = roster.all();
        let due: Vec<Arc<Running>> = {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|name, _| all.iter().any(|running| running.subscription().name == *name));
            let is_due = |running: &&Arc<Running>| {
                let asked = known.get(running.subscription().name.as_str());
                asked.is_none_or(|asked| {
                    let wait = if asked.lag.is_some() { EVERY } else { AGAIN };
                    asked.at.elapsed() >= wait
                })
            };
            all.iter().filter(is_due).cloned().collect()
        };
        let asked = stream::iter(due).for_each_concurrent(AT_A_TIME, |running| {
            let known = &known;
            async move {
                let lag = running.lag(Instant::now() + PATIENCE).await;
                if let Err(error) = &lag {
                    let subscription = &running.subscription().name;
                    tracing::debug!(%subscription, %error, "the broker does not tell the lag");
                }
                let asked = Asked { at: Instant::now(), lag: lag.ok().flatten() };
                let name = running.subscription().name.clone();
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, asked);
            }
        });
        asked.await;
    }
}

/// How often a broker is asked for one subscription: a question may cost it a connection.
const EVERY: Duration = Duration::from_secs(10);
/// How soon again after it could not tell: a subscription may just be starting.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked who is to be asked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long an answer is told.
const KEPT: Duration = Duration::from_secs(30);
/// How many are asked for at a time.
const AT_A_TIME: usize = 4;
