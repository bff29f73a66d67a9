//! Watches the registry: what it tells goes into the book, and from there to the roster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use sidespan_bridge::{Change, Error, Registry, Revision};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Subscriptions, WRITE};
use crate::config::Name;

/// Watches until it is stopped; after an error it watches again.
pub(super) async fn keep(subscriptions: Arc<Subscriptions>, registry: Arc<dyn Registry>) {
    let stop = subscriptions.stop.clone();
    let watching = async {
        loop {
            let error = watch(&subscriptions, registry.as_ref()).await.err();
            let error =
                error.map_or_else(|| "the broker ended the watch".to_owned(), |error| error.to_string());
            if subscriptions.book().trouble(error.clone()) {
                tracing::warn!(error, "the registry cannot be watched; trying again");
            }
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = stop.cancelled() => {}
    }
}

async fn watch(subscriptions: &Arc<Subscriptions>, registry: &dyn Registry) -> Result<(), Error> {
    let mut changes = registry.watch().await?;
    // Until everything is told: what is not told is gone.
    let mut known = Some(subscriptions.book().keys().into_iter().collect::<BTreeSet<String>>());
    while let Some(change) = changes.next().await {
        match change? {
            Change::Put { key, value, revision } => {
                if let Some(known) = &mut known {
                    known.remove(key.as_ref());
                }
                let is_news = |kept: &super::book::Kept| kept.revision != revision;
                let name = Name::parse(&key).ok();
                let is_news = name.is_none_or(|name| subscriptions.book().kept(&name).is_none_or(is_news));
                if is_news {
                    subscriptions.learn(&key, &value, revision);
                }
            }
            Change::Removed { key } => subscriptions.forget(&key),
            Change::Current => {
                for key in known.take().into_iter().flatten() {
                    subscriptions.forget(&key);
                }
                let was_complete = subscriptions.book().is_complete();
                subscriptions.book().complete();
                if !was_complete {
                    tracing::info!("the registry is known");
                    subscriptions.settle_all();
                }
            }
        }
    }
    Ok(())
}

impl Subscriptions {
    fn learn(self: &Arc<Self>, key: &str, value: &Bytes, revision: Revision) {
        let mut book = self.book();
        let Some(name) = book.put(key, value, revision) else { return };
        if let Some(until) = book.kept(&name).and_then(|kept| kept.moving) {
            self.tasks.spawn(self.clone().let_back(name.clone(), revision, until));
        }
        // Who sees a record in the book may rely on the roster having been told.
        self.roster.wish(&name, book.wish(&name));
        drop(book);
        self.told.send_replace(());
    }

    fn forget(&self, key: &str) {
        let name = self.book().remove(key);
        if let Some(name) = name {
            self.settle(&name);
        }
    }

    /// Ends a move whose replica has not ended it, so that a group is not left without members.
    async fn let_back(self: Arc<Self>, name: Name, revision: Revision, until: Instant) {
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.stop.cancelled() => return,
        }
        let Some(record) = self.book().lapse(&name, revision) else { return };
        tracing::warn!(subscription = %name, "its group was to be moved, and nobody said that it was; going on");
        self.settle(&name);
        if let Some(registry) = &self.registry {
            // Of all who see it one succeeds.
            let value = Some(record.moved().write());
            let _ = registry.put(name.as_str(), value, revision, Instant::now() + WRITE).await;
        }
    }
}

/// Before it is watched again.
const PAUSE: Duration = Duration::from_secs(1);
