//! One active member, and how it takes over without breaking the order.
//!
//! The broker gives the messages of an ordered consumer to one member, the pinned one, for as long as
//! it goes on asking. Whoever is pinned next gets *new* messages at once, and what the one before
//! had not settled only when its leases end. So it hands out nothing yet. It asks for the rest, by
//! releasing in the other's name what the broker has delivered and nobody settled, and *gathers* until
//! it holds all that is pending; the shelf is sorted by itself. The same is done after every new
//! connection, and when the numbers of deliveries show that one did not arrive.
//!
//! The broker never gives the consumer more messages than a window has, and what is missing is asked
//! for by number, so what is gathered is bounded.

use std::time::Duration;

use async_nats::Message as Wire;
use sidespan_bridge::{Error, Role};
use tokio::time::Instant;
use tracing::{info, warn};

use super::awaited::Awaited;
use super::{CALL, Engine};
use crate::subscription::consumer::{Durability, Info, Wanted};
use crate::subscription::received::Received;

/// What is known about the active member.
pub(super) struct Pin {
    /// How long it may be silent; `None` where there is no such member.
    timeout: Option<Duration>,
    /// This member's id while it is the active one.
    id: Option<String>,
    /// The id of another, and since when it is known.
    other: Option<(String, Instant)>,
    heard: Instant,
    /// When the last turn began.
    turned: Instant,
    /// The number of the next delivery: all of them come to the active member.
    next: Option<u64>,
    /// When to look at the consumer.
    look: Option<Instant>,
    gathering: Option<Gathering>,
}

struct Gathering {
    since: Instant,
    awaited: Awaited,
    recalled: bool,
    warned: bool,
}

impl Pin {
    pub(super) fn new(wanted: &Wanted, now: Instant) -> Self {
        let timeout = match wanted.durability {
            Durability::Ordered { timeout, .. } => Some(timeout),
            Durability::Cursor | Durability::Shared => None,
        };
        Self {
            timeout,
            id: None,
            other: None,
            heard: now,
            turned: now,
            next: None,
            look: timeout.map(|_| now),
            gathering: None,
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The broker has answered.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Notes a delivery; tells whether one before it did not arrive.
    fn misses_one_before(&mut self, delivery: u64) -> bool {
        let next = self.next.replace(delivery.saturating_add(1));
        next.is_some_and(|next| delivery > next)
    }

    /// Returns how many messages are ours and not here.
    pub(super) fn missing<'a>(&self, held: impl Iterator<Item = &'a u64>) -> usize {
        self.gathering.as_ref().map_or(0, |gathering| gathering.awaited.missing(held))
    }

    /// Tells when something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let timeout = self.timeout?;
        let silence = self.id.is_some().then(|| {
            let half = self.heard + timeout / 2;
            if Instant::now() < half { half } else { self.heard + timeout }
        });
        [silence, self.look].into_iter().flatten().min()
    }

    fn gather(&mut self, now: Instant) {
        self.gathering =
            Some(Gathering { since: now, awaited: Awaited::default(), recalled: false, warned: false });
    }
}

impl Engine {
    /// A delivery says to whom the broker gives the messages, and whether one was lost before it.
    pub(super) fn see_pin(&mut self, wire: &Wire, received: &Received) {
        if self.pin.timeout.is_none() {
            return;
        }
        if self.pin.misses_one_before(received.delivery) {
            self.begin_to_gather();
        }
        let id = wire.headers.as_ref().and_then(|headers| headers.get("Nats-Pin-Id"));
        let Some(id) = id.map(|id| id.as_str()) else { return };
        if self.pin.id.as_deref() == Some(id) {
            return;
        }
        if self.pin.id.is_some() {
            self.shared.lose();
        }
        (self.pin.id, self.pin.other) = (Some(id.to_owned()), None);
        info!(consumer = %self.wanted.name, "this member is now the active one");
        self.begin_to_gather();
        self.shared.lock().role = Role::Active;
    }

    /// The broker gives the messages to another member.
    pub(super) fn pin_lost(&mut self) {
        if self.pin.id.take().is_some() {
            info!(consumer = %self.wanted.name, "this member is no longer the active one");
        }
        (self.pin.gathering, self.pin.next) = (None, None);
        self.pin.look = Some(Instant::now());
        self.shared.lose();
        let mut state = self.shared.lock();
        (state.stalled, state.role) = (self.pin.timeout.is_some(), Role::Unknown);
    }

    /// What was on its way may be lost: hands out nothing before all is here.
    pub(super) fn begin_to_gather(&mut self) {
        if self.pin.timeout.is_none() {
            return;
        }
        self.shared.lock().stalled = true;
        let now = Instant::now();
        self.pin.look = Some(now);
        if self.pin.id.is_some() {
            self.pin.gather(now);
        }
    }

    /// Who slept through turns does not know whether what came since is from before.
    pub(super) fn notice_a_freeze(&mut self) {
        let now = Instant::now();
        let slept = now.saturating_duration_since(std::mem::replace(&mut self.pin.turned, now));
        if self.pin.timeout.is_some_and(|timeout| slept >= timeout / 2) {
            self.begin_to_gather();
        }
    }

    /// Does what is due for the one active member, or for one that stands by.
    pub(super) async fn keep_the_pin(&mut self) -> Result<(), Error> {
        let Some(timeout) = self.pin.timeout else { return Ok(()) };
        let now = Instant::now();
        if self.pin.id.is_some() && now >= self.pin.heard + timeout {
            warn!(consumer = %self.wanted.name, "nothing was heard of the broker: another member may be active");
            self.pin_lost();
        } else if self.pin.gathering.is_none() && now >= self.pin.heard + timeout / 2 {
            self.begin_to_gather();
        }
        if self.pin.look.is_none_or(|look| now < look) || !self.is_up() || self.health.is_waiting() {
            return Ok(());
        }
        self.pin.look = None;
        let info = match self.wanted.info(&self.api, &self.place.stream, now + CALL).await {
            Ok(info) => info,
            Err(refusal) => {
                if refusal.is_missing() {
                    self.health.doubt();
                }
                self.pin.look = Some(Instant::now() + timeout / 3);
                return Ok(());
            }
        };
        // All that the broker had sent before it answered is here by now.
        self.take_all().await?;
        if self.pin.id.is_none() {
            self.pin.look = Some(Instant::now() + timeout / 3);
            self.stand_by(&info, timeout);
            return Ok(());
        }
        if info.pinned() != self.pin.id.as_deref() {
            self.pin_lost();
            return Ok(());
        }
        self.pin.heard(now);
        self.gathered(&info);
        Ok(())
    }

    /// Hands out for as long as the broker was heard of, and no longer.
    pub(super) fn extend_the_lease(&self) {
        if let Some(timeout) = self.pin.timeout {
            self.shared.lease(self.pin.id.as_ref().map(|_| self.pin.heard + timeout / 2));
        }
    }

    /// This member is not the active one, as far as it knows.
    ///
    /// What it may hold was read in another way: such a message ends the connection by which it comes, and
    /// the pin that comes with it is never known. So it is handed out once nobody has the pin, and let go
    /// of where somebody keeps it.
    fn stand_by(&mut self, info: &Info, timeout: Duration) {
        let Some(active) = info.pinned() else {
            self.pin.other = None;
            if info.num_ack_pending > 0 {
                // Without a message to give, the broker chooses nobody, though the one before is dead.
                self.recall(info);
            }
            let mut state = self.shared.lock();
            state.role = Role::Unknown;
            state.stalled = Awaited::of(info).missing(state.held.keys()) > 0;
            drop(state);
            return self.shared.reader.notify_one();
        };
        let now = Instant::now();
        let known = self.pin.other.take().filter(|(other, _)| other == active);
        let (other, since) = known.unwrap_or_else(|| (active.to_owned(), now));
        self.pin.other = Some((other, since));
        if now > since + timeout {
            self.shared.lose();
        }
        let mut state = self.shared.lock();
        (state.stalled, state.role) = (true, Role::Standby);
    }

    /// Compares what is here with what the broker waits for.
    fn gathered(&mut self, info: &Info) {
        let Some(gathering) = &mut self.pin.gathering else { return };
        gathering.awaited = Awaited::of(info);
        let missing = gathering.awaited.missing(self.shared.lock().held.keys());
        if missing == 0 {
            self.pin.gathering = None;
            self.shared.lock().stalled = false;
            self.shared.reader.notify_one();
            return;
        }
        self.pin.look = Some(Instant::now() + LOOK);
        if !gathering.warned && gathering.since.elapsed() > self.wanted.ack_wait * 3 {
            gathering.warned = true;
            warn!(consumer = %self.wanted.name, missing, "still waiting for what another member had");
        }
        if !std::mem::replace(&mut gathering.recalled, true) {
            self.recall(info);
        }
    }

    /// Releases, in the name of the member before, what was delivered and is neither here nor settled.
    fn recall(&mut self, info: &Info) {
        let prefix = self.ack_prefix();
        let (first, last) = (info.ack_floor.stream_seq.saturating_add(1), info.delivered.stream_seq);
        // Where other subjects lie between there are too many: then their leases end by themselves.
        if last.saturating_sub(first) > RECALLED {
            return;
        }
        let missing: Vec<u64> = {
            let state = self.shared.lock();
            let here = |sequence: &u64| state.held.contains_key(sequence) || state.acks.holds(*sequence);
            (first..=last).filter(|sequence| !here(sequence)).collect()
        };
        for sequence in missing {
            let reply = Received::reply_for(&prefix, sequence, info.delivered.consumer_seq);
            self.tell(reply, "-NAK");
        }
    }
}

/// How soon to look again while messages are missing.
const LOOK: Duration = Duration::from_millis(100);
/// How many are asked for by number; the broker ignores what is not pending.
const RECALLED: u64 = 50_000;
