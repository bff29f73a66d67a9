//! Knows whether an endpoint is unavailable, and then lets one probe go ahead of the rest.
//!
//! A few unavailable replies in a row, without any other reply between them, close the way: one
//! message answered 503 among many that are taken says nothing about the endpoint. While it is
//! closed, waiting messages take turns in probing, so that no single message decides. The first that
//! is taken or refused opens the way for all at once.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::retry::{self, Meaning};

/// Guards the way to one endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    state: watch::Sender<State>,
    /// Whose turn it is to probe; those who wait for it are served in order.
    turn: Semaphore,
    base: Duration,
    cap: Duration,
    /// The longest that the endpoint may ask for.
    asked: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        probes: u32,
        probe_at: Instant,
    },
    Gone,
    /// `asked`: until when the endpoint wants to be left alone, by the misses so far.
    Open {
        misses: u32,
        asked: Option<Instant>,
    },
}

impl State {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Closed,
    Gone,
    Opened,
}

impl Breaker {
    /// Makes an open breaker; `base` is the first wait before a probe, `cap` the longest, if it is
    /// not too long for somebody who waits for the endpoint to come back.
    pub(super) fn new(base: Duration, cap: Duration) -> Self {
        Self {
            state: watch::Sender::new(State::Open { misses: 0, asked: None }),
            turn: Semaphore::new(1),
            base,
            cap: cap.min(LONGEST_WAIT),
            asked: cap.min(LONGEST_ASKED),
        }
    }

    /// Waits until an attempt may be made. Dropping the pass unreported gives the turn to the next.
    pub(super) async fn pass(&self) -> Pass<'_> {
        loop {
            if self.state.borrow().is_open() {
                return Pass { breaker: self, turn: None };
            }
            let mut state = self.state.subscribe();
            tokio::select! {
                // The sender is ours, so it is not gone.
                _ = state.wait_for(State::is_open) => {}
                turn = self.probe() => if turn.is_some() {
                    return Pass { breaker: self, turn };
                }
            }
        }
    }

    /// Waits until an endpoint that is or becomes unavailable is there again.
    pub(super) async fn recovery(&self) {
        let mut state = self.state.subscribe();
        // The sender is ours, so it is not gone.
        let _ = state.wait_for(|state| !state.is_open()).await;
        let _ = state.wait_for(State::is_open).await;
    }

    /// Waits for a turn to probe, and for its time. `None` if the way is open by then.
    async fn probe(&self) -> Option<SemaphorePermit<'_>> {
        let turn = self.turn.acquire().await.ok()?;
        loop {
            let state = *self.state.borrow();
            match state {
                State::Closed { probe_at, .. } if probe_at <= Instant::now() => return Some(turn),
                State::Closed { probe_at, .. } => sleep_until(probe_at).await,
                State::Gone => std::future::pending().await,
                State::Open { .. } => return None,
            }
        }
    }

    fn report(&self, meaning: Meaning, asked: Option<Duration>, probed: bool) -> Option<Change> {
        let mut change = None;
        self.state.send_if_modified(|state| {
            let (next, changed) = self.next(*state, meaning, asked, probed);
            *state = next;
            change = changed;
            changed.is_some()
        });
        change
    }

    fn next(
        &self,
        state: State,
        meaning: Meaning,
        asked: Option<Duration>,
        probed: bool,
    ) -> (State, Option<Change>) {
        let now = Instant::now();
        let asked = asked.map(|asked| now + asked.min(self.asked));
        let closed = |probes, asked: Option<Instant>| {
            let wait = retry::backoff(self.base, self.cap, probes, 0.5 + retry::roll() / 2.0);
            State::Closed { probes, probe_at: asked.unwrap_or(now).max(now + wait) }
        };
        match (state, meaning) {
            (State::Gone, _) => (state, None),
            (_, Meaning::Gone) => (State::Gone, Some(Change::Gone)),
            (State::Open { misses, asked: before }, Meaning::Unavailable) => {
                let asked = asked.max(before);
                if misses + 1 >= MISSES {
                    (closed(1, asked), Some(Change::Closed))
                } else {
                    (State::Open { misses: misses + 1, asked }, None)
                }
            }
            // No answer to a probe is no sign of life.
            (State::Closed { probes, .. }, Meaning::Unavailable | Meaning::Failed) if probed => {
                (closed(probes.saturating_add(1), asked), None)
            }
            (State::Closed { .. }, Meaning::Unavailable | Meaning::Failed) => (state, None),
            (State::Closed { .. }, Meaning::Accepted | Meaning::Refused) => {
                (State::Open { misses: 0, asked: None }, Some(Change::Opened))
            }
            // Timeouts say nothing either way.
            (State::Open { .. }, Meaning::Failed) => (state, None),
            (State::Open { .. }, Meaning::Accepted | Meaning::Refused) => {
                (State::Open { misses: 0, asked: None }, None)
            }
        }
    }
}

/// Leave to make one attempt.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    turn: Option<SemaphorePermit<'a>>,
}

impl Pass<'_> {
    /// Tells what came of the attempt, and whether the target asked to be left alone for a while.
    pub(super) fn report(self, meaning: Meaning, asked: Option<Duration>) -> Option<Change> {
        self.breaker.report(meaning, asked, self.turn.is_some())
    }
}

/// How many unavailable replies in a row close the way.
const MISSES: u32 = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::LocalBoxFuture;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const BASE: Duration = Duration::from_millis(20);

    async fn closed() -> Breaker {
        let breaker = Breaker::new(BASE, LONGEST_WAIT);
        for miss in 1..=MISSES {
            let change = breaker.pass().await.report(Meaning::Unavailable, None);
            assert_eq!(change, (miss == MISSES).then_some(Change::Closed));
        }
        breaker
    }

    #[tokio::test]
    async fn one_probe_goes_ahead_and_its_success_lets_all_go() {
        let breaker = closed().await;
        let (mut first, mut second) = (Box::pin(breaker.pass()), Box::pin(breaker.pass()));
        assert!((&mut first).now_or_never().is_none(), "a probe has its time");
        let probe = tokio::select! { biased; pass = &mut second => pass, pass = &mut first => pass };
        assert!(probe.turn.is_some());
        assert!((&mut second).now_or_never().is_none(), "there is one probe");
        assert_eq!(probe.report(Meaning::Accepted, None), Some(Change::Opened));
        assert!(second.await.turn.is_none());
        assert!(breaker.pass().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_probe_that_fails_or_is_given_up_leaves_the_turn_to_the_next() {
        let breaker = closed().await;
        let mut next = Box::pin(breaker.pass());
        let probe = breaker.pass().await;
        assert!((&mut next).now_or_never().is_none());
        let before = Instant::now();
        assert_eq!(probe.report(Meaning::Unavailable, None), None);
        let probe = next.await;
        assert!(probe.turn.is_some() && before.elapsed() >= BASE, "waits grow");
        let mut next = Box::pin(breaker.pass());
        assert!((&mut next).now_or_never().is_none());
        drop(probe);
        assert!(next.await.turn.is_some());
    }

    #[tokio::test]
    async fn one_unavailable_message_among_accepted_ones_closes_nothing() {
        let breaker = Breaker::new(BASE, LONGEST_WAIT);
        for _ in 0..100 {
            assert_eq!(breaker.pass().await.report(Meaning::Unavailable, None), None);
            assert_eq!(breaker.pass().await.report(Meaning::Accepted, None), None);
        }
    }

    #[tokio::test]
    async fn the_wait_that_the_target_asks_for_is_kept() {
        let breaker = closed().await;
        let probe = breaker.pass().await;
        let before = Instant::now();
        probe.report(Meaning::Unavailable, Some(Duration::from_millis(300)));
        let _probe = breaker.pass().await;
        assert!(before.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn the_longest_wait_asked_for_before_the_way_closed_is_kept() {
        let breaker = Breaker::new(BASE, LONGEST_WAIT);
        let before = Instant::now();
        for asked in [Some(Duration::from_millis(300)), None, None] {
            breaker.pass().await.report(Meaning::Unavailable, asked);
        }
        let _probe = breaker.pass().await;
        assert!(before.elapsed() >= Duration::from_millis(300));
    }

    #[tokio::test]
    async fn nobody_passes_to_a_receiver_that_is_gone() {
        let breaker = Breaker::new(BASE, LONGEST_WAIT);
        let late = breaker.pass().await;
        assert_eq!(breaker.pass().await.report(Meaning::Gone, None), Some(Change::Gone));
        assert_eq!(late.report(Meaning::Accepted, None), None);
        assert!(breaker.pass().now_or_never().is_none());
    }

    #[tokio::test]
    async fn recovery_is_told_to_those_who_wait_elsewhere() {
        let breaker = closed().await;
        let mut recovery = Box::pin(breaker.recovery());
        assert!((&mut recovery).now_or_never().is_none());
        breaker.pass().await.report(Meaning::Accepted, None);
        recovery.await;
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Come,
        GiveUp(Index),
        Leave(Index),
        Look(Index),
        Report(Index, Meaning),
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let meaning = prop_oneof![
            4 => Just(Meaning::Unavailable),
            1 => Just(Meaning::Failed),
            1 => Just(Meaning::Refused),
            2 => Just(Meaning::Accepted),
        ];
        let happening = prop_oneof![
            3 => Just(Happening::Come),
            1 => any::<Index>().prop_map(Happening::GiveUp),
            1 => any::<Index>().prop_map(Happening::Leave),
            4 => any::<Index>().prop_map(Happening::Look),
            4 => (any::<Index>(), meaning).prop_map(|(which, meaning)| Happening::Report(which, meaning)),
        ];
        prop::collection::vec(happening, 0..100)
    }

    /// Those who want to pass, and those who may.
    struct Crowd<'a> {
        breaker: &'a Breaker,
        waiting: Vec<LocalBoxFuture<'a, Pass<'a>>>,
        passed: Vec<Pass<'a>>,
    }

    impl Crowd<'_> {
        fn look(&mut self, which: usize) -> Result<(), TestCaseError> {
            let is_open = self.breaker.state.borrow().is_open();
            if let Some(pass) = (&mut self.waiting[which]).now_or_never() {
                prop_assert!(is_open || pass.turn.is_some(), "only a probe passes while the way is closed");
                drop(self.waiting.swap_remove(which));
                self.passed.push(pass);
            }
            let probes = self.passed.iter().filter(|pass| pass.turn.is_some()).count();
            prop_assert!(probes <= 1, "there is one probe");
            Ok(())
        }

        fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
            let (waiting, passed) = (self.waiting.len(), self.passed.len());
            match *happening {
                Happening::Come => self.waiting.push(Box::pin(self.breaker.pass())),
                Happening::GiveUp(which) if passed > 0 => drop(self.passed.swap_remove(which.index(passed))),
                Happening::Leave(which) if waiting > 0 => {
                    drop(self.waiting.swap_remove(which.index(waiting)))
                }
                Happening::Look(which) if waiting > 0 => self.look(which.index(waiting))?,
                Happening::Report(which, meaning) if passed > 0 => {
                    self.passed.swap_remove(which.index(passed)).report(meaning, None);
                }
                _ => {}
            }
            Ok(())
        }

        /// The endpoint takes everything from here on: all get there.
        fn end(&mut self) -> Result<(), TestCaseError> {
            for _ in 0..3 {
                for pass in self.passed.drain(..) {
                    pass.report(Meaning::Accepted, None);
                }
                for which in (0..self.waiting.len()).rev() {
                    self.look(which)?;
                }
            }
            prop_assert!(self.waiting.is_empty(), "{} are stuck", self.waiting.len());
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn one_probes_and_nobody_is_left_behind(story in happenings()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _context = runtime.enter();
            // Without waits a probe's time has always come.
            let breaker = Breaker::new(Duration::ZERO, Duration::ZERO);
            let mut crowd = Crowd { breaker: &breaker, waiting: Vec::new(), passed: Vec::new() };
            for happening in &story {
                crowd.happen(happening)?;
            }
            crowd.end()?;
        }
    }
}
