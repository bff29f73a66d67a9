//! The groups of one open log: who reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sidespan_bridge::{Pattern, Topic};

use crate::group::Group;
use crate::log::Log;
use crate::saved::Saved;

/// All groups of one open log.
#[derive(Debug)]
pub(crate) struct Groups {
    log: Arc<Log>,
    /// By name, with or without members.
    durable: Mutex<HashMap<Box<str>, Arc<Group>>>,
    /// Private cursors, as long as somebody holds them.
    private: Mutex<Vec<Weak<Group>>>,
}

impl Groups {
    /// Brings the stored groups of a log to life.
    pub(crate) fn new(log: &Arc<Log>, stored: Vec<Saved>) -> Arc<Self> {
        let (durable, private) = (Mutex::default(), Mutex::default());
        let groups = Arc::new(Self { log: Arc::clone(log), durable, private });
        stored.into_iter().for_each(|saved| groups.adopt(saved));
        groups
    }

    /// Returns the durable group of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Group>> {
        self.durable().get(name).cloned()
    }

    /// Returns all durable groups.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.durable().values().cloned().collect()
    }

    /// Brings a stored group to life, unless it lives.
    pub(crate) fn adopt(&self, saved: Saved) {
        let name = saved.name.clone();
        self.durable().entry(name).or_insert_with(|| Group::durable(&self.log, saved));
    }

    /// Makes a private cursor.
    pub(crate) fn cursor(&self, pattern: Pattern, next: u64) -> Arc<Group> {
        let group = Group::private(&self.log, pattern, next);
        let mut private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        private.retain(|group| group.strong_count() > 0);
        private.push(Arc::downgrade(&group));
        group
    }

    /// Tells whether anybody reads a topic, or will.
    pub(crate) fn read(&self, topic: &Topic) -> bool {
        self.everyone().iter().any(|group| group.reads(topic))
    }

    /// Tells all groups what has come.
    pub(crate) fn announce(&self, news: &[(Topic, u64)]) {
        self.everyone().iter().for_each(|group| group.hear(news));
    }

    /// Lets all groups read again.
    pub(crate) fn resume(&self) {
        self.everyone().iter().for_each(|group| group.resume());
    }

    /// Ends all subscriptions.
    pub(crate) fn end(&self) {
        self.everyone().iter().for_each(|group| group.end());
        self.durable().clear();
    }

    fn everyone(&self) -> Vec<Arc<Group>> {
        let private = self.private.lock().unwrap_or_else(PoisonError::into_inner);
        let private: Vec<_> = private.iter().filter_map(Weak::upgrade).collect();
        self.all().into_iter().chain(private).collect()
    }

    fn durable(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Group>>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
