//! Leaves out what is too much of the same, and says how much that was.
//!
//! In a second one place in the source says at most [`MOST`] lines, for each subscription that it speaks of: a storm
//! of failures fills no disk, and hides nothing else. What is asked for by `debug` and `trace` is not left out, and
//! neither is the access log, which has its own measure.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::OWN;
use crate::telemetry::counts::LOG_SUPPRESSED;

/// Lines of one kind in a second.
const MOST: u32 = 10;
/// Kinds that are told apart; beyond, those of one place in the source are one kind.
const KINDS: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);
/// What the lines of requests are part of: they have a measure of their own.
pub const ACCESS: &str = "sidespan::access";

/// Leaves lines out.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    kinds: Mutex<HashMap<Kind, Window>>,
    hasher: RandomState,
}

/// A place in the source, and what it speaks of (hashed).
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind(Identifier, Option<u64>);

/// What came of a kind.
#[derive(Debug)]
struct Window {
    began: Instant,
    said: u32,
    suppressed: u64,
    is_error: bool,
    about: About,
}

/// What tells lines apart that come from one place, and what is said of those that are left out.
#[derive(Debug, Default)]
struct About {
    message: String,
    subscription: Option<String>,
    /// The part of another crate that speaks through `log`, for all of which there is one place.
    part: Option<String>,
}

impl Throttle {
    fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == OWN || metadata.target() == ACCESS {
            return true;
        }
        let about = About::of(event);
        let hash = (about.subscription.is_some() || about.part.is_some())
            .then(|| self.hasher.hash_one((&about.subscription, &about.part)));
        let now = Instant::now();
        let mut kinds = self.lock();
        let mut kind = Kind(metadata.callsite(), hash);
        if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
            kind.1 = None;
        }
        let window = kinds.entry(kind).or_insert_with(|| Window::new(now, metadata));
        if now.duration_since(window.began) >= SECOND {
            (window.began, window.said) = (now, 0);
        }
        if window.said < MOST {
            window.said += 1;
            return true;
        }
        if window.suppressed == 0 {
            window.about = about;
        }
        window.suppressed += 1;
        LOG_SUPPRESSED.count();
        false
    }

    /// Says how many lines of which kind were left out since this was called last, and forgets kinds that are over.
    pub(super) fn report(&self) {
        let mut left_out = Vec::new();
        let now = Instant::now();
        self.lock().retain(|_, window| {
            if window.suppressed > 0 {
                left_out.push((
                    mem::take(&mut window.suppressed),
                    window.is_error,
                    mem::take(&mut window.about),
                ));
            }
            now.duration_since(window.began) < SECOND
        });
        for (suppressed, is_error, About { message, subscription, part }) in left_out {
            let of = message;
            if is_error {
                tracing::error!(target: OWN, suppressed, of, subscription, part, "lines were left out: there were too many of the kind");
            } else {
                tracing::warn!(target: OWN, suppressed, of, subscription, part, "lines were left out: there were too many of the kind");
            }
        }
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Window>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(began: Instant, metadata: &Metadata<'_>) -> Self {
        let is_error = *metadata.level() == Level::ERROR;
        Self { began, said: 0, suppressed: 0, is_error, about: About::default() }
    }
}

impl About {
    fn of(event: &Event<'_>) -> Self {
        let mut about = Self::default();
        event.record(&mut about);
        about
    }

    fn place(&mut self, field: &Field) -> Option<&mut String> {
        match field.name() {
            "message" => Some(&mut self.message),
            "subscription" => Some(self.subscription.get_or_insert_default()),
            "log.target" => Some(self.part.get_or_insert_default()),
            _ => None,
        }
    }
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(place) = self.place(field) {
            value.clone_into(place);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if let Some(place) = self.place(field) {
            *place = format!("{value:?}");
        }
    }
}

/// Stands before the whole log: a filter of a single layer that refuses an event leaves tracing-subscriber (0.3.23) at
/// odds with itself.
pub(super) struct Gate(pub(super) Arc<Throttle>);

impl<S: Subscriber> Layer<S> for Gate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event)
    }
}
