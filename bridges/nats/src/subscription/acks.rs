//! Settlements on their way to the broker.
//!
//! An acknowledgement is a message without an answer, and goes at once. Whether it arrived is asked for
//! the last of many: the broker takes what comes by one connection in order, so its word for one holds
//! for all before it. After a new connection everything that was not confirmed goes again. A
//! release is confirmed by itself: sent twice, it would count twice.
//!
//! What was confirmed is remembered for a while ([`Accepted`]), and confirmed to the broker again if it
//! forgot.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use sidespan_bridge::{Settlement, Verdict};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::accepted::Accepted;

/// What is settled and not confirmed.
#[derive(Default)]
pub(super) struct Acks {
    last: u64,
    settling: BTreeMap<u64, Settling>,
    by_sequence: HashMap<u64, u64>,
    unsent: Vec<u64>,
    /// Somebody waits for this one, or an earlier one.
    wanted: u64,
    /// The broker was asked about this one, then.
    asked: Option<(u64, Instant)>,
    since: Option<Instant>,
    /// What the broker had, though it may come again.
    accepted: Accepted,
}

struct Settling {
    sequence: u64,
    /// When the stream took it.
    time: Option<SystemTime>,
    reply: String,
    accepted: bool,
    sent: bool,
    due: Instant,
    done: oneshot::Sender<Settlement>,
}

/// What is to be said to the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) to: String,
    pub(super) text: String,
    /// The number under which an answer is wanted.
    pub(super) answer: Option<u64>,
}

impl Acks {
    /// Takes a verdict; returns its number, and where the outcome will be told.
    pub(super) fn settle(
        &mut self,
        sequence: u64,
        time: Option<SystemTime>,
        reply: String,
        verdict: Verdict,
    ) -> (u64, oneshot::Receiver<Settlement>) {
        let (done, outcome) = oneshot::channel();
        let (accepted, after) = match verdict {
            Verdict::Accept => (true, Duration::ZERO),
            Verdict::Release { after } => (false, after.min(LONGEST_DELAY)),
        };
        let now = Instant::now();
        self.last += 1;
        let settling = Settling { sequence, time, reply, accepted, sent: false, due: now + after, done };
        self.settling.insert(self.last, settling);
        self.by_sequence.insert(sequence, self.last);
        self.unsent.push(self.last);
        self.since.get_or_insert(now);
        (self.last, outcome)
    }

    /// Somebody waits for a settlement.
    pub(super) fn want(&mut self, number: u64) {
        self.wanted = self.wanted.max(number);
    }

    /// Everything settled so far is waited for.
    pub(super) fn want_all(&mut self) {
        self.wanted = self.last;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settling.is_empty()
    }

    /// Tells whether a message that came again was settled, and so is not to be handed out. Its
    /// acknowledgement goes again; a release has done its work.
    pub(super) fn comes_again(&mut self, sequence: u64, time: Option<SystemTime>, reply: &str) -> bool {
        let Some(number) = self.by_sequence.get(&sequence).copied() else {
            let forgotten = time.is_some_and(|time| self.accepted.holds(sequence, time));
            if forgotten {
                drop(self.settle(sequence, time, reply.to_owned(), Verdict::Accept));
            }
            return forgotten;
        };
        match self.settling.get_mut(&number) {
            Some(settling) if settling.accepted => {
                reply.clone_into(&mut settling.reply);
                if std::mem::take(&mut settling.sent) {
                    self.unsent.push(number);
                }
                true
            }
            Some(_) | None => {
                self.conclude(number);
                false
            }
        }
    }

    /// Tells whether a sequence is settled here, and not confirmed.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.by_sequence.contains_key(&sequence)
    }

    /// Returns what is to be said now.
    pub(super) fn words(&mut self, now: Instant) -> Vec<Word> {
        let mut words = Vec::with_capacity(self.unsent.len());
        let mut last_accepted = None;
        for number in std::mem::take(&mut self.unsent) {
            let Some(settling) = self.settling.get_mut(&number) else { continue };
            settling.sent = true;
            if settling.accepted {
                last_accepted = Some(words.len());
            }
            words.push(settling.word(number, now));
        }
        if let Some(number) = self.question(now) {
            self.asked = Some((number, now));
            match last_accepted.and_then(|index| words.get_mut(index)) {
                Some(word) => word.answer = Some(number),
                None => {
                    let last = self.settling.get(&number);
                    words.extend(last.map(|last| Word { answer: Some(number), ..last.word(number, now) }));
                }
            }
        }
        words
    }

    /// The broker has what has this number.
    pub(super) fn confirm(&mut self, number: u64) {
        if self.asked.is_some_and(|(asked, _)| asked <= number) {
            self.asked = None;
        }
        let released = self.settling.get(&number).is_some_and(|settling| !settling.accepted);
        let confirmed: Vec<u64> = if released {
            vec![number]
        } else {
            let before = self.settling.range(..=number);
            before.filter(|(_, it)| it.accepted && it.sent).map(|(number, _)| *number).collect()
        };
        confirmed.into_iter().for_each(|number| self.conclude(number));
        self.since = (!self.is_empty()).then(Instant::now);
    }

    /// Says everything again: the connection is new, or the broker did not answer.
    pub(super) fn again(&mut self) {
        self.asked = None;
        self.since = (!self.is_empty()).then(Instant::now);
        self.settling.values_mut().for_each(|settling| settling.sent = false);
        self.unsent = self.settling.keys().copied().collect();
    }

    /// Nothing of this will be confirmed. Whoever waits is told that it may come again; else what was
    /// accepted is not to be handed out again all the same.
    pub(super) fn forget(&mut self) {
        for settling in std::mem::take(&mut self.settling).into_values() {
            if settling.done.is_closed() {
                self.remember(&settling);
            }
        }
        self.by_sequence.clear();
        self.unsent.clear();
        (self.asked, self.since) = (None, None);
    }

    /// The broker has settled everything up to here. Tells whether it may yet forget some of it.
    pub(super) fn settled(&mut self, floor: u64) -> bool {
        self.accepted.settled(floor)
    }

    /// There is another consumer, which may be meant to begin where this one has been.
    pub(super) fn begin_anew(&mut self) {
        self.accepted = Accepted::default();
    }

    /// Tells whether the broker owes an answer.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.asked.is_some_and(|(_, since)| now >= since + PATIENCE)
    }

    /// Tells when something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let asked = self.asked.map(|(_, since)| since + PATIENCE);
        // What is only released is confirmed by itself, or said again with a new connection.
        let accepted = self.settling.values().any(|it| it.accepted);
        asked.or(self.since.filter(|_| accepted).map(|since| since + QUIET))
    }

    /// Returns the number to ask about, if it is time to ask.
    fn question(&self, now: Instant) -> Option<u64> {
        if self.asked.is_some() {
            return None;
        }
        let (last, _) = self.settling.iter().rfind(|(_, it)| it.accepted)?;
        let first = self.settling.iter().find(|(_, it)| it.accepted);
        let wanted = first.is_some_and(|(first, _)| *first <= self.wanted);
        let old = self.since.is_some_and(|since| now >= since + QUIET);
        (wanted || old || self.settling.len() >= MANY).then_some(*last)
    }

    fn conclude(&mut self, number: u64) {
        if let Some(settling) = self.settling.remove(&number) {
            self.by_sequence.remove(&settling.sequence);
            self.remember(&settling);
            // Nobody has to wait.
            let _ = settling.done.send(Settlement::Confirmed);
        }
    }

    fn remember(&mut self, settling: &Settling) {
        if let (true, Some(time)) = (settling.accepted, settling.time) {
            self.accepted.note(settling.sequence, time);
        }
    }
}

impl Settling {
    fn word(&self, number: u64, now: Instant) -> Word {
        let to = self.reply.clone();
        if self.accepted {
            return Word { to, text: "+ACK".to_owned(), answer: None };
        }
        let left = self.due.saturating_duration_since(now);
        let text = if left.is_zero() {
            "-NAK".to_owned()
        } else {
            format!("-NAK {{\"delay\":{}}}", left.as_nanos())
        };
        Word { to, text, answer: Some(number) }
    }
}

/// How long the broker may take to confirm before it is told again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a settlement may be unconfirmed, though nobody waits.
const QUIET: Duration = Duration::from_secs(1);
/// How many may be.
const MANY: usize = 256;
/// A delay is cut to this; it is counted in nanoseconds.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Option<SystemTime> = Some(SystemTime::UNIX_EPOCH);
    const NAK: Verdict = Verdict::Release { after: Duration::ZERO };

    #[test]
    fn the_word_for_one_acknowledgement_holds_for_those_before_it() {
        let mut acks = Acks::default();
        let (_, mut first) = acks.settle(7, TIME, "r7".into(), Verdict::Accept);
        let (number, mut second) = acks.settle(5, TIME, "r5".into(), Verdict::Accept);
        acks.want(number);
        let words = acks.words(Instant::now());
        assert_eq!(words.iter().map(|word| word.answer).collect::<Vec<_>>(), [None, Some(2)]);
        let (_, mut third) = acks.settle(9, TIME, "r9".into(), Verdict::Accept);
        acks.confirm(2);
        assert_eq!(first.try_recv(), Ok(Settlement::Confirmed));
        assert_eq!(second.try_recv(), Ok(Settlement::Confirmed));
        assert!(third.try_recv().is_err());
    }

    #[test]
    fn a_release_is_confirmed_alone_and_not_by_what_is_behind_it() {
        let mut acks = Acks::default();
        let (_, mut released) = acks.settle(1, TIME, "r1".into(), NAK);
        let (number, mut accepted) = acks.settle(2, TIME, "r2".into(), Verdict::Accept);
        acks.want(number);
        let words = acks.words(Instant::now());
        assert_eq!(words[0], Word { to: "r1".into(), text: "-NAK".into(), answer: Some(1) });
        acks.confirm(2);
        assert!(accepted.try_recv().is_ok() && released.try_recv().is_err());
        acks.confirm(1);
        assert!(released.try_recv().is_ok() && acks.is_empty());
    }

    #[test]
    fn what_comes_again_though_it_was_accepted_is_acknowledged_again() {
        let mut acks = Acks::default();
        let (_, _outcome) = acks.settle(1, TIME, "old".into(), Verdict::Accept);
        acks.words(Instant::now());
        assert!(acks.comes_again(1, TIME, "new"));
        assert_eq!(acks.words(Instant::now())[0].to, "new");
        assert!(!acks.comes_again(2, TIME, "other"));
    }

    #[test]
    fn what_the_broker_confirmed_and_forgot_is_acknowledged_again() {
        let mut acks = Acks::default();
        let (number, _outcome) = acks.settle(1, TIME, "old".into(), Verdict::Accept);
        acks.want(number);
        acks.words(Instant::now());
        acks.confirm(number);
        assert!(acks.comes_again(1, TIME, "new"));
        assert_eq!(acks.words(Instant::now())[0].to, "new");
        let later = TIME.map(|time| time + Duration::from_nanos(1));
        acks.confirm(2);
        assert!(!acks.comes_again(1, later, "another stream's"));
        acks.begin_anew();
        assert!(!acks.comes_again(1, TIME, "another consumer's"));
    }

    #[test]
    fn what_is_released_is_not_remembered() {
        let mut acks = Acks::default();
        let (number, _outcome) = acks.settle(1, TIME, "r".into(), NAK);
        acks.words(Instant::now());
        acks.confirm(number);
        assert!(!acks.comes_again(1, TIME, "new"));
    }

    #[test]
    fn what_is_lost_is_stale_to_whoever_waits_and_else_acknowledged_when_it_comes_again() {
        let mut acks = Acks::default();
        let (_, mut outcome) = acks.settle(1, TIME, "r".into(), Verdict::Accept);
        drop(acks.settle(2, TIME, "r".into(), Verdict::Accept));
        drop(acks.settle(3, TIME, "r".into(), NAK));
        acks.forget();
        assert_eq!(outcome.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(acks.due(), None);
        let again = [1, 2, 3].map(|sequence| acks.comes_again(sequence, TIME, "new"));
        assert_eq!(again, [false, true, false]);
    }
}
