//! What is known: the file's subscriptions and the registry's records; and what follows for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sidespan_bridge::Revision;
use tokio::time::Instant;

use super::{Described, Origin, Record, RegistryReport, Skipped};
use crate::config::{Config, Name, Subscription};
use crate::delivery::{Rest, Running, Wish};
use crate::error::Error;

/// What is known. It does nothing by itself.
pub(super) struct Book {
    config: Arc<Config>,
    /// Those of the file.
    configured: BTreeMap<Name, Arc<Subscription>>,
    records: BTreeMap<Name, Kept>,
    /// What the registry has that is not ours, and why we think so.
    strange: BTreeMap<String, (Revision, String)>,
    /// Those that are being made here, and may be known already.
    making: BTreeSet<Name>,
    /// Everything that the registry had is known, or there is none.
    complete: bool,
    trouble: Option<String>,
}

/// A record, and what it means here.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) record: Record,
    pub(super) revision: Revision,
    /// What its `spec` describes.
    subscription: Option<Result<Arc<Subscription>, String>>,
    /// Until when its group is being moved.
    pub(super) moving: Option<Instant>,
}

impl Book {
    pub(super) fn new(config: Arc<Config>, has_registry: bool) -> Self {
        let mut book = Self {
            config: config.clone(),
            configured: BTreeMap::new(),
            records: BTreeMap::new(),
            strange: BTreeMap::new(),
            making: BTreeSet::new(),
            complete: !has_registry,
            trouble: None,
        };
        book.reconfigure(config);
        book
    }

    /// Takes another configuration; what records describe is read anew by it.
    pub(super) fn reconfigure(&mut self, config: Arc<Config>) {
        let named = config.subscriptions.iter().map(|one| (one.name.clone(), Arc::new(one.clone())));
        self.configured = named.collect();
        self.config = config;
        let (config, mut records) = (self.config.clone(), std::mem::take(&mut self.records));
        for (name, kept) in &mut records {
            kept.subscription = resolved(&config, name, &kept.record);
        }
        self.records = records;
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Tells whether everything that the registry had is known.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Notes that everything that the registry had was told.
    pub(super) fn complete(&mut self) {
        (self.complete, self.trouble) = (true, None);
    }

    /// Notes why the registry cannot be watched, and tells whether that is news.
    pub(super) fn trouble(&mut self, error: String) -> bool {
        let is_news = self.trouble.as_ref() != Some(&error);
        self.trouble = Some(error);
        is_news
    }

    /// Notes what the registry has. Returns the name that it concerns.
    pub(super) fn put(&mut self, key: &str, value: &Bytes, revision: Revision) -> Option<Name> {
        let name = Name::parse(key).ok();
        let read = match &name {
            Some(_) => Record::read(value),
            None => Err("its key is no name of a subscription".to_owned()),
        };
        let record = match (read, &name) {
            (Ok(record), Some(_)) => record,
            (Ok(_), None) => return None,
            (Err(why), _) => {
                if self.strange.get(key).is_none_or(|(known, _)| *known != revision) {
                    tracing::warn!(key, reason = why, "the registry has a record that is left alone");
                }
                if self.strange.len() < MOST_STRANGE {
                    self.strange.insert(key.to_owned(), (revision, why));
                }
                if let Some(name) = &name {
                    self.records.remove(name);
                }
                return name;
            }
        };
        let name = name?;
        self.strange.remove(key);
        let subscription = resolved(&self.config, &name, &record);
        if let Some(Err(why)) = &subscription {
            tracing::warn!(subscription = %name, reason = why, "a subscription of the registry cannot run here");
        }
        if record.spec.is_some() && self.configured.contains_key(&name) {
            tracing::warn!(subscription = %name, "the registry has a subscription that is in the configuration file: the file's is used");
        }
        let moving = record.moving().map(|time| Instant::now() + time);
        self.records.insert(name.clone(), Kept { record, revision, subscription, moving });
        Some(name)
    }

    /// Notes that the registry has nothing of this key any more.
    pub(super) fn remove(&mut self, key: &str) -> Option<Name> {
        self.strange.remove(key);
        let name = Name::parse(key).ok()?;
        self.records.remove(&name).map(|_| name)
    }

    /// Returns the keys of everything that the registry has.
    pub(super) fn keys(&self) -> Vec<String> {
        self.records.keys().map(Name::to_string).chain(self.strange.keys().cloned()).collect()
    }

    /// Notes that a group is not being moved any more, if it still has that revision.
    pub(super) fn lapse(&mut self, name: &Name, revision: Revision) -> Option<Record> {
        let kept = self.records.get_mut(name).filter(|kept| kept.revision == revision)?;
        kept.moving = None;
        Some(kept.record.clone())
    }

    pub(super) fn kept(&self, name: &Name) -> Option<&Kept> {
        self.records.get(name)
    }

    pub(super) fn is_configured(&self, name: &Name) -> bool {
        self.configured.contains_key(name)
    }

    /// Counts the subscriptions that were made at run time, or are about to be.
    pub(super) fn made(&self) -> usize {
        let is_made = |name: &Name| self.records.get(name).is_some_and(|kept| kept.record.spec.is_some());
        let making = self.making.iter().filter(|name| !is_made(name)).count();
        making + self.records.values().filter(|kept| kept.record.spec.is_some()).count()
    }

    /// Counts one that is about to be made.
    pub(super) fn begin_to_make(&mut self, name: &Name) {
        self.making.insert(name.clone());
    }

    /// Notes that one is made, or will not be.
    pub(super) fn end_to_make(&mut self, name: &Name) {
        self.making.remove(name);
    }

    /// Finds another subscription with the same group on the same bridge.
    pub(super) fn rival(&self, subscription: &Subscription) -> Option<&Name> {
        let made = self.records.values().filter_map(|kept| kept.subscription.as_ref()?.as_ref().ok());
        let same = |other: &&Arc<Subscription>| {
            other.name != subscription.name
                && other.bridge == subscription.bridge
                && other.group == subscription.group
        };
        self.configured.values().chain(made).find(same).map(|other| &other.name)
    }

    /// Returns the names of all that there should be.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.configured.keys().chain(self.records.keys()).cloned()
    }

    /// Tells what should be done about a name.
    pub(super) fn wish(&self, name: &Name) -> Option<Wish> {
        let kept = self.records.get(name);
        let subscription = match (self.configured.get(name), kept) {
            (Some(configured), _) => configured.clone(),
            (None, Some(Kept { subscription: Some(Ok(subscription)), .. })) => subscription.clone(),
            (None, Some(_) | None) => return None,
        };
        let rest = match kept {
            _ if !self.complete => Some(Rest::Waiting),
            Some(kept) if kept.moving.is_some() => Some(Rest::Moving),
            Some(kept) if kept.record.paused => Some(Rest::Paused),
            Some(_) | None => None,
        };
        Some(Wish { subscription, rest, restarts: kept.map_or(0, |kept| kept.record.restarts) })
    }

    pub(super) fn describe(&self, running: Arc<Running>) -> Described {
        let name = &running.subscription().name;
        let kept = self.records.get(name);
        let origin = if self.configured.contains_key(name) { Origin::File } else { Origin::Registry };
        Described {
            origin,
            paused: kept.is_some_and(|kept| kept.record.paused),
            revision: kept.map(|kept| kept.revision),
            spec: kept.filter(|_| origin == Origin::Registry).and_then(|kept| kept.record.spec.clone()),
            running,
        }
    }

    /// Tells why what the registry has of this name does not run here.
    pub(super) fn skipped(&self, name: &str) -> Option<String> {
        if let Some((_, why)) = self.strange.get(name) {
            return Some(why.clone());
        }
        match self.records.get(name)?.subscription.as_ref()? {
            Ok(_) => None,
            Err(why) => Some(why.clone()),
        }
    }

    /// Refuses a name that somebody else uses in the registry.
    pub(super) fn refuse_strange(&self, name: &Name) -> Result<(), Error> {
        self.strange.get(name.as_str()).map_or(Ok(()), |(_, why)| {
            Err(Error::Strange(format!(
                "the registry has a record named {name} that is not ours ({why}): use another name, or remove the \
                 record at the broker"
            )))
        })
    }

    pub(super) fn report(&self) -> RegistryReport {
        let strange = self.strange.iter().map(|(key, (_, why))| (key.clone(), why.clone()));
        let unusable = self.records.iter().filter_map(|(name, kept)| match &kept.subscription {
            Some(Err(why)) => Some((name.to_string(), why.clone())),
            Some(Ok(_)) | None => None,
        });
        let skipped = strange.chain(unusable).map(|(key, error)| Skipped { key, error }).collect();
        RegistryReport { ready: self.complete, error: self.trouble.clone(), skipped }
    }
}

fn resolved(config: &Config, name: &Name, record: &Record) -> Option<Result<Arc<Subscription>, String>> {
    let spec = record.spec.as_ref()?;
    Some(config.subscription(name, spec).map(Arc::new).map_err(|error| error.to_string()))
}

/// How many of those are remembered.
const MOST_STRANGE: usize = 100;
