//! The subscriptions: those of the configuration file, and those that are made at run time.
//!
//! What is made or changed at run time is a [`Record`] in a registry at a broker, which all replicas watch. A
//! change is written there and nowhere else: this replica does it when it sees it there, as the others do. So
//! there is one order of changes, and of two at once one fails. [`Book`] puts file and records together into what
//! the roster should do.

mod book;
mod change;
mod keeper;
mod record;
mod room;
mod seek;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sidespan_bridge::{Lag, Registry, Revision};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::book::Book;
use crate::config::{Config, Name};
use crate::delivery::{Roster, Running};
use crate::error::Error;
use crate::security::caller::Caller;

pub use change::{Changed, When};
pub use record::Record;

/// The subscriptions of a service, as this replica knows them.
pub struct Subscriptions {
    roster: Arc<Roster>,
    book: Mutex<Book>,
    /// Told of each change of the book.
    told: watch::Sender<()>,
    registry: Option<Arc<dyn Registry>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Who says that there is a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file.
    File,
    /// A record of the registry: it was made at run time.
    Registry,
}

/// A subscription, and what is kept of it.
#[derive(Clone, Debug)]
pub struct Described {
    /// How it is doing here.
    pub running: Arc<Running>,
    /// Who says that there is one.
    pub origin: Origin,
    /// Somebody paused it.
    pub paused: bool,
    /// The version of its record, if there is one.
    pub revision: Option<Revision>,
    /// How it was described, if at run time.
    pub spec: Option<Arc<Value>>,
}

/// How the registry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistryReport {
    /// Everything that was in it at the start is known.
    pub ready: bool,
    /// Why it cannot be watched now, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Records that are left alone, and why: they are not Sidespan's, or cannot run here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// A record that is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its key.
    pub key: String,
    /// Why.
    pub error: String,
}

impl Subscriptions {
    /// Begins with those of the file. Where there is a registry, nothing is delivered until it is known what is
    /// paused: [`Subscriptions::keep`] finds out.
    pub fn new(config: Arc<Config>, roster: Arc<Roster>, registry: Option<Arc<dyn Registry>>) -> Arc<Self> {
        let book = Book::new(config, registry.is_some());
        let subscriptions = Self {
            roster,
            book: Mutex::new(book),
            told: watch::Sender::new(()),
            registry,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        subscriptions.settle_all();
        Arc::new(subscriptions)
    }

    /// Watches the registry, if there is one, until [`Subscriptions::end`].
    pub fn keep(self: &Arc<Self>) {
        if let Some(registry) = self.registry.clone() {
            self.tasks.spawn(keeper::keep(self.clone(), registry));
        }
    }

    /// Ends what runs on its own, by the deadline.
    pub async fn end(&self, deadline: Instant) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout_at(deadline, self.tasks.wait()).await;
    }

    /// Returns all that a caller may read, by name.
    pub fn list(&self, caller: &Caller) -> Vec<Described> {
        let all = self.roster.all().into_iter();
        let readable = all.filter(|running| caller.may_subscribe(running.subscription().name.as_str()));
        let book = self.book();
        readable.map(|running| book.describe(running)).collect()
    }

    /// Returns one.
    ///
    /// # Errors
    ///
    /// `Denied`, `UnknownSubscription`, or `Strange` where the registry has something else of this name.
    pub fn find(&self, caller: &Caller, name: &str) -> Result<Described, Error> {
        caller.require_subscribe(name)?;
        let Some(running) = self.roster.find(name) else {
            return Err(self.book().skipped(name).map_or_else(
                || Error::UnknownSubscription(name.chars().take(80).collect()),
                |why| Error::Strange(format!("what the registry has of this name does not run here: {why}")),
            ));
        };
        Ok(self.book().describe(running))
    }

    /// Counts what the subscription's group has not settled yet, also while it is paused.
    ///
    /// # Errors
    ///
    /// Those of [`Subscriptions::find`]; `Paused` where the group has never begun; those of the bridge.
    pub async fn lag(&self, caller: &Caller, name: &str, deadline: Instant) -> Result<Lag, Error> {
        let found = self.find(caller, name)?;
        found.running.lag(deadline).await?.ok_or_else(|| Error::Paused(name.to_owned()))
    }

    /// Tells how the registry stands, if there is one.
    pub fn report(&self) -> Option<RegistryReport> {
        self.registry.as_ref().map(|_| self.book().report())
    }

    /// Takes over what is new in the file. What is the same is not disturbed.
    pub fn reconfigure(&self, config: Arc<Config>) {
        self.book().reconfigure(config);
        self.settle_all();
    }

    /// Has the roster do what the book says of all.
    fn settle_all(&self) {
        let book = self.book();
        let running = self.roster.all().into_iter().map(|running| running.subscription().name.clone());
        for name in book.names().chain(running).collect::<std::collections::BTreeSet<Name>>() {
            self.roster.wish(&name, book.wish(&name));
        }
        drop(book);
        self.told.send_replace(());
    }

    /// Has the roster do what the book says of one.
    fn settle(&self, name: &Name) {
        let book = self.book();
        self.roster.wish(name, book.wish(name));
        drop(book);
        self.told.send_replace(());
    }

    /// Nobody panics while holding it.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriptions").field("roster", &self.roster).finish_non_exhaustive()
    }
}

/// What a change may take at the registry's broker.
const WRITE: Duration = Duration::from_secs(5);
