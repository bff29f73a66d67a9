//! Pull requests: never for more than the window has room for.
//!
//! One is open at a time. It ends by being filled, by its expiry, or by a word of the broker; the next
//! one asks for what is free by then, so that requests grow with the load. An expiry of some seconds
//! doubles as the heartbeat: silence past it means that the request is lost.

use std::time::Duration;

use async_nats::Message as Wire;
use serde_json::json;
use sidespan_bridge::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Engine;
use crate::api::PREFIX;
use crate::subscription::consumer::{Durability, GROUP, nanos};

/// The pull request that is open, if any.
pub(super) struct Pull {
    number: u64,
    open: Option<Open>,
    /// No request before then.
    not_before: Option<Instant>,
    /// When to say again that this member stays, while it asks for nothing.
    stay: Option<Instant>,
    /// The next message is larger than so many bytes.
    too_small: Option<usize>,
    /// How many requests in a row were not heard of.
    silent: u32,
}

struct Open {
    left: usize,
    until: Instant,
    bytes: usize,
}

/// What a request asks for.
#[derive(Clone, Copy)]
struct Wish {
    messages: usize,
    bytes: Option<usize>,
}

impl Pull {
    pub(super) fn new() -> Self {
        Self { number: 0, open: None, not_before: None, stay: None, too_small: None, silent: 0 }
    }

    /// A message came.
    pub(super) fn one_came(&mut self) {
        (self.silent, self.too_small) = (0, None);
        if let Some(open) = &mut self.open {
            open.left -= 1;
            if open.left == 0 {
                self.open = None;
            }
        }
    }

    /// Forgets the open request: the broker has.
    pub(super) fn forget(&mut self) {
        (self.open, self.not_before, self.stay) = (None, None, None);
    }

    /// Tells when to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until).or(self.not_before).or(self.stay)
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = Some(Instant::now() + pause);
    }
}

impl Engine {
    /// Asks for as much as there is room for.
    pub(super) fn pull(&mut self) {
        let now = Instant::now();
        if self.pull.open.as_ref().is_some_and(|open| now >= open.until) {
            self.pull.open = None;
            self.pull.silent += 1;
            debug!(consumer = %self.wanted.name, "a pull request was not answered");
        }
        if self.pull.silent >= SILENT {
            self.pull.silent = 0;
            self.health.doubt();
        }
        if self.pull.not_before.is_some_and(|until| now >= until) {
            self.pull.not_before = None;
        }
        let paused = self.pull.open.is_some() || self.pull.not_before.is_some();
        if paused || !self.is_up() || self.health.is_waiting() {
            return;
        }
        if self.returned {
            return self.stay_pinned();
        }
        match self.wish() {
            Some(wish) => self.ask_for(wish),
            None => self.stay_pinned(),
        }
    }

    /// Returns what there is room for; `None` while that is nothing.
    fn wish(&self) -> Option<Wish> {
        let window = self.shared.window;
        let state = self.shared.lock();
        let missing = self.pin.missing(state.held.keys());
        if missing > 0 {
            // It is ours whatever the window says, and nothing goes on without it.
            return Some(Wish { messages: missing, bytes: None });
        }
        let (messages, bytes) = state.room(window);
        if state.held.is_empty() {
            // A message may be larger than the window.
            return Some(match self.pull.too_small {
                Some(size) if size >= window.bytes => Wish { messages: 1, bytes: None },
                Some(_) | None => Wish { messages, bytes: Some(window.bytes) },
            });
        }
        let full = messages == 0 || bytes == 0 || self.pull.too_small.is_some_and(|size| bytes <= size);
        (!full).then_some(Wish { messages, bytes: Some(bytes) })
    }

    fn ask_for(&mut self, wish: Wish) {
        let messages = wish.messages.min(LARGEST);
        let mut body = json!({"expires": nanos(self.expiry()), "batch": messages});
        if let Some(bytes) = wish.bytes {
            body["max_bytes"] = json!(bytes);
        }
        if let Durability::Ordered { .. } = self.wanted.durability {
            body["group"] = json!(GROUP);
            if let Some(id) = self.pin.id() {
                body["id"] = json!(id);
            }
        }
        let until = Instant::now() + self.expiry() + GRACE;
        self.pull.number += 1;
        self.pull.stay = None;
        self.pull.open = Some(Open { left: messages, until, bytes: wish.bytes.unwrap_or(usize::MAX) });
        let subject = format!("{PREFIX}CONSUMER.MSG.NEXT.{}.{}", self.place.stream, self.wanted.name);
        let reply = format!("{}.{}", self.inbox, self.pull.number);
        // A request that is lost with the connection is made again.
        if !self.say(subject, Some(reply), body.to_string().into()) {
            self.pull.forget();
            self.pull.pause(REFUSED_PAUSE);
        }
    }

    /// The window is full, or intake was stopped, and what is out is still ours. Only a request keeps the
    /// pin, so this makes one that no message fits.
    fn stay_pinned(&mut self) {
        let now = Instant::now();
        let Some(id) = self.pin.id() else {
            self.pull.stay = None;
            return;
        };
        if self.pull.stay.is_some_and(|stay| now < stay) {
            return;
        }
        let body =
            json!({"expires": nanos(self.expiry()), "batch": 1, "max_bytes": 1, "group": GROUP, "id": id});
        // What was asked before may have been answered: a consumer that is deleted then tells nobody.
        self.pull.stay = Some(now + self.expiry().min(QUIET));
        let subject = format!("{PREFIX}CONSUMER.MSG.NEXT.{}.{}", self.place.stream, self.wanted.name);
        let reply = format!("{}.{STAY}", self.answers);
        // A request that is lost on the way is made again.
        self.say(subject, Some(reply), body.to_string().into());
    }

    /// The broker has heard that this member stays, or that is over.
    pub(super) fn stayed(&mut self, wire: &Wire) {
        let reason = wire.description.as_deref().unwrap_or_default();
        match (wire.status.map(|status| status.as_u16()), reason) {
            (Some(WRONG_PIN), _) => self.pin_lost(),
            (Some(REFUSED), DELETED) => self.deleted(),
            (Some(NOBODY), _) => self.health.doubt(),
            (Some(_) | None, _) => self.pin.heard(Instant::now()),
        }
    }

    /// The broker says that a request has ended, and why.
    pub(super) async fn pull_ended(&mut self, wire: &Wire) -> Result<(), Error> {
        let number = wire.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let current = number == Some(self.pull.number);
        let status = wire.status.map_or(0, |status| status.as_u16());
        let reason = wire.description.as_deref().unwrap_or_default();
        if status == HEARTBEAT {
            return Ok(());
        }
        self.pull.silent = 0;
        let open = if current { self.pull.open.take() } else { None };
        match (status, reason) {
            (NOT_FOUND | TIMEOUT, _) | (REFUSED, "Batch Completed") => {}
            (REFUSED, reason) if reason.contains("MaxBytes") && !reason.starts_with("Exceeded") => {
                if let Some(open) = open {
                    // What was left of it did not hold the next message.
                    let left = wire.headers.as_ref().and_then(|headers| headers.get(BYTES_LEFT));
                    let left = left.and_then(|left| left.as_str().parse().ok());
                    self.pull.too_small = Some(left.unwrap_or(open.bytes));
                }
            }
            (REFUSED, DELETED) => self.deleted(),
            (NOBODY, _) => self.health.doubt(),
            (WRONG_PIN, _) => self.pin_lost(),
            (REFUSED, "Server Shutdown" | "Leadership Change") => self.pull.pause(PAUSE),
            _ => {
                warn!(status, reason, consumer = %self.wanted.name, "nats refuses a pull request");
                self.health.doubt();
                self.pull.pause(REFUSED_PAUSE);
            }
        }
        Ok(())
    }

    fn expiry(&self) -> Duration {
        match self.wanted.durability {
            // A request renews the pin when it is made.
            Durability::Ordered { timeout, .. } => timeout / 3,
            Durability::Cursor | Durability::Shared => EXPIRY,
        }
    }
}

/// Where the broker answers one that stays; others are answered at numbers.
pub(super) const STAY: &str = "stay";
const DELETED: &str = "Consumer Deleted";
const BYTES_LEFT: &str = "Nats-Pending-Bytes";
const HEARTBEAT: u16 = 100;
const NOBODY: u16 = 503;
const NOT_FOUND: u16 = 404;
const REFUSED: u16 = 409;
const TIMEOUT: u16 = 408;
const WRONG_PIN: u16 = 423;

/// The client's queue of deliveries holds more.
const LARGEST: usize = 16_384;
const EXPIRY: Duration = Duration::from_secs(10);
/// How long after its expiry a request counts as lost.
const GRACE: Duration = Duration::from_secs(1);
/// How long a full member says nothing at most.
const QUIET: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// After so many in a row the consumer is looked at.
const SILENT: u32 = 2;
