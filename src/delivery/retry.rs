//! What follows from a reply: a pure function of the reply, what went before, and chance.
//!
//! Three failures are kept apart. *Unavailable* says something about the endpoint: it counts no
//! attempt and is retried without end, so that a deploy or a wrong route buries no healthy message.
//! *Failed* says something about this message: it counts. *Refused* is an answer: trying again is
//! useless.
//!
//! | reply | meaning |
//! |---|---|
//! | 2xx | accepted |
//! | 3xx (never followed), 401, 403, 404, 408, 425, 429, 502, 503, 504, no connection | unavailable |
//! | 400, 409, 413, 415, 422 | refused |
//! | 410 | the receiver is gone: the subscription pauses |
//! | any other status, no whole answer in time | failed |
//! | acknowledged by a consumer | accepted |
//! | given back by a consumer, or its lease ended | failed |
//!
//! `retry.on` moves statuses between the kinds.
//!
//! Of a request every answer is the reply, unless it says that the endpoint is unavailable (408, 425, 429, 502, 503,
//! 504), or `retry.on` has it as unavailable or failed.

use std::time::Duration;

use super::target::Reply;
use crate::config::Retry;

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Accepted,
    Failed,
    Gone,
    Refused,
    Unavailable,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The message is delivered.
    Accept,
    /// Another attempt, after a wait.
    Again { after: Duration },
    /// To the dead letters.
    Bury(Reason),
    /// No more attempts for this subscription.
    Pause,
}

/// Why a message is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// All attempts failed.
    Exhausted,
    /// The target does not want it.
    Refused,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Refused => "refused",
        }
    }
}

/// How it went so far with one message, the last reply included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Attempts that count.
    pub(super) counted: u32,
    /// How often in a row the endpoint was unavailable.
    pub(super) unavailable: u32,
}

impl Tally {
    /// Adds a reply.
    pub(super) fn add(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Unavailable => self.unavailable = self.unavailable.saturating_add(1),
            Meaning::Gone => {}
            Meaning::Accepted | Meaning::Failed | Meaning::Refused => {
                self.counted = self.counted.saturating_add(1);
                self.unavailable = 0;
            }
        }
    }
}

/// Tells what a reply means.
pub(super) fn meaning(reply: &Reply, policy: &Retry) -> Meaning {
    let (status, is_reply) = match reply {
        Reply::Acked => return Meaning::Accepted,
        Reply::Answered(answer) => (answer.status, answer.reply.is_some()),
        Reply::Nacked(_) | Reply::Unanswered(_) => return Meaning::Failed,
        Reply::Unreachable(_) => return Meaning::Unavailable,
    };
    match status {
        _ if policy.unavailable.contains(&status) => Meaning::Unavailable,
        _ if policy.failed.contains(&status) => Meaning::Failed,
        408 | 425 | 429 | 502 | 503 | 504 if is_reply => Meaning::Unavailable,
        _ if is_reply => Meaning::Accepted,
        _ if policy.refused.contains(&status) => Meaning::Refused,
        200..=299 => Meaning::Accepted,
        300..=399 | 401 | 403 | 404 | 408 | 425 | 429 | 502 | 503 | 504 => Meaning::Unavailable,
        400 | 409 | 413 | 415 | 422 => Meaning::Refused,
        410 => Meaning::Gone,
        _ => Meaning::Failed,
    }
}

/// Tells what is to be done. `roll` is chance, from 0 to 1.
pub(super) fn step(meaning: Meaning, reply: &Reply, tally: Tally, policy: &Retry, roll: f64) -> Step {
    let asked = match reply {
        Reply::Answered(answer) => answer.retry_after,
        Reply::Acked | Reply::Nacked(_) | Reply::Unanswered(_) | Reply::Unreachable(_) => None,
    };
    let after = |count, cap| {
        if let Reply::Nacked(Some(delay)) = reply {
            return *delay;
        }
        let jittered = backoff(policy.base, cap, count, roll);
        // Those who were told the same time don't come back at the same time.
        asked.map_or(jittered, |asked| jittered.max(asked.min(policy.cap) + policy.base.mul_f64(roll)))
    };
    match meaning {
        Meaning::Accepted => Step::Accept,
        Meaning::Failed if tally.counted >= policy.max_attempts => Step::Bury(Reason::Exhausted),
        Meaning::Failed => Step::Again { after: after(tally.counted, policy.cap) },
        Meaning::Gone => Step::Pause,
        Meaning::Refused => Step::Bury(Reason::Refused),
        Meaning::Unavailable => {
            Step::Again { after: after(tally.unavailable, policy.cap.min(UNAVAILABLE_CAP)) }
        }
    }
}

/// Waits longer each time, with full jitter: `base` doubled `count - 1` times, at most `cap`.
pub(super) fn backoff(base: Duration, cap: Duration, count: u32, roll: f64) -> Duration {
    let doubled = 2_u32.checked_pow(count.saturating_sub(1)).unwrap_or(u32::MAX);
    base.saturating_mul(doubled).min(cap).mul_f64(roll)
}

/// Rolls for [`step`] and [`backoff`].
pub(super) fn roll() -> f64 {
    // Without chance waits are still waits.
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

/// An endpoint that comes back is not left waiting for minutes.
const UNAVAILABLE_CAP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::target::Answer;

    fn policy() -> Retry {
        Retry {
            max_attempts: 3,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(60),
            unavailable: vec![],
            failed: vec![],
            refused: vec![],
        }
    }

    fn answered(status: u16) -> Reply {
        Reply::Answered(Answer { status, ..Answer::default() })
    }

    fn decide(reply: &Reply, mut tally: Tally, policy: &Retry) -> Step {
        let meaning = meaning(reply, policy);
        tally.add(meaning);
        step(meaning, reply, tally, policy, 1.0)
    }

    #[test]
    fn every_reply_has_its_step() {
        let again = |millis| Step::Again { after: Duration::from_millis(millis) };
        let (refused, exhausted) = (Step::Bury(Reason::Refused), Step::Bury(Reason::Exhausted));
        // Replies; then the step after no, one and two counted attempts.
        let table: [(&[u16], [Step; 3]); 5] = [
            (&[200, 201, 202, 204, 299], [Step::Accept; 3]),
            (&[301, 302, 304, 307, 308, 401, 403, 404, 408, 425, 429, 502, 503, 504], [again(200); 3]),
            (&[400, 409, 413, 415, 422], [refused; 3]),
            (&[410], [Step::Pause; 3]),
            (&[402, 405, 406, 418, 431, 451, 500, 501, 505, 599], [again(200), again(400), exhausted]),
        ];
        for (statuses, steps) in table {
            for status in statuses {
                for (counted, expected) in (0..).zip(steps) {
                    let tally = Tally { counted, unavailable: 0 };
                    assert_eq!(decide(&answered(*status), tally, &policy()), expected, "{status} {counted}");
                }
            }
        }
        let tally = Tally { counted: 2, unavailable: 0 };
        assert_eq!(decide(&Reply::Unanswered("timeout".into()), tally, &policy()), exhausted);
        assert_eq!(decide(&Reply::Unreachable("refused".into()), tally, &policy()), again(200));
    }

    #[test]
    fn of_a_request_every_answer_is_the_reply_but_for_those_of_an_endpoint_that_is_away() {
        let answered =
            |status| Reply::Answered(Answer { status, reply: Some(Box::default()), ..Answer::default() });
        let moved = Retry { unavailable: vec![404], failed: vec![500], ..policy() };
        for status in [200, 204, 302, 400, 401, 403, 404, 409, 410, 422, 500, 501] {
            assert_eq!(meaning(&answered(status), &policy()), Meaning::Accepted, "{status}");
        }
        for status in [408, 425, 429, 502, 503, 504] {
            assert_eq!(meaning(&answered(status), &policy()), Meaning::Unavailable, "{status}");
        }
        assert_eq!(meaning(&answered(404), &moved), Meaning::Unavailable);
        assert_eq!(meaning(&answered(500), &moved), Meaning::Failed);
        assert_eq!(meaning(&Reply::Unanswered(String::new()), &policy()), Meaning::Failed);
        assert_eq!(meaning(&Reply::Unreachable(String::new()), &policy()), Meaning::Unavailable);
    }

    #[test]
    fn statuses_can_be_moved_between_the_kinds() {
        let moved = Retry { unavailable: vec![500], failed: vec![410], refused: vec![404], ..policy() };
        assert_eq!(meaning(&answered(500), &moved), Meaning::Unavailable);
        assert_eq!(meaning(&answered(410), &moved), Meaning::Failed);
        assert_eq!(meaning(&answered(404), &moved), Meaning::Refused);
    }

    #[test]
    fn an_endpoint_may_be_unavailable_for_ever() {
        let mut tally = Tally { counted: 2, unavailable: 0 };
        for _ in 0..100_000 {
            tally.add(Meaning::Unavailable);
        }
        let step = step(Meaning::Unavailable, &answered(503), tally, &policy(), 1.0);
        assert_eq!(step, Step::Again { after: UNAVAILABLE_CAP });
        assert_eq!(tally.counted, 2);
    }

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_is_full() {
        let wait = |count, roll| backoff(Duration::from_millis(200), Duration::from_secs(1), count, roll);
        let waits: Vec<_> = (1..=4).map(|count| wait(count, 1.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1000]);
        assert_eq!(wait(u32::MAX, 1.0), Duration::from_secs(1));
        assert_eq!(wait(3, 0.0), Duration::ZERO);
        assert_eq!(wait(3, 0.5), Duration::from_millis(400));
    }

    #[test]
    fn what_the_target_asks_for_is_honoured_up_to_the_cap() {
        let asks = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Reply::Answered(Answer { status: 503, retry_after, ..Answer::default() })
        };
        let after =
            |reply: &Reply| match step(meaning(reply, &policy()), reply, Tally::default(), &policy(), 0.0) {
                Step::Again { after } => after.as_secs(),
                other => panic!("{other:?}"),
            };
        assert_eq!(after(&asks(7)), 7);
        assert_eq!(after(&asks(100_000)), 60);
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let status =
            prop_oneof![Just(500_u16), Just(503), Just(404), Just(429), Just(599), Just(200), Just(422)];
        let asked = prop::option::of((0_u64..100_000).prop_map(Duration::from_secs));
        prop_oneof![
            8 => (status, asked).prop_map(|(status, retry_after)| {
                Reply::Answered(Answer { status, retry_after, ..Answer::default() })
            }),
            1 => Just(Reply::Unanswered("timeout".into())),
            1 => Just(Reply::Unreachable("refused".into())),
        ]
    }

    proptest! {
        #[test]
        fn a_message_ends_by_an_answer_or_by_its_own_failures_and_waits_no_longer_than_it_may(
            replies in prop::collection::vec((replies(), 0.0_f64..=1.0), 1..60),
            max_attempts in 1_u32..6,
        ) {
            let policy = Retry { max_attempts, ..policy() };
            let (mut tally, mut failures) = (Tally::default(), 0);
            for (reply, roll) in replies {
                let meaning = meaning(&reply, &policy);
                failures += u32::from(meaning == Meaning::Failed);
                tally.add(meaning);
                match step(meaning, &reply, tally, &policy, roll) {
                    Step::Accept => {
                        prop_assert_eq!(meaning, Meaning::Accepted);
                        break;
                    }
                    Step::Again { after } => {
                        prop_assert!(after <= policy.cap + policy.base, "{:?}", after);
                        prop_assert!(failures < max_attempts);
                    }
                    Step::Bury(Reason::Exhausted) => {
                        prop_assert_eq!(failures, max_attempts, "an unavailable endpoint uses up nothing");
                        break;
                    }
                    Step::Bury(Reason::Refused) => {
                        prop_assert_eq!(meaning, Meaning::Refused);
                        break;
                    }
                    Step::Pause => prop_assert_eq!(meaning, Meaning::Gone),
                }
            }
        }
    }
}
