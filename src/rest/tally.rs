//! What became of the messages of a request.

use serde::Serialize;

use super::receipt::StoredBody;
use crate::error::{Class, Error};
use crate::publish::Stored;

/// What became of the messages of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// None is stored, and none will be.
    NotStored,
    /// Some are stored.
    Partial,
    /// Some may be stored.
    Unknown,
}

impl Outcome {
    /// Returns what a failure means for one message.
    pub(super) fn of(class: &Class) -> Self {
        if class.unknown { Self::Unknown } else { Self::NotStored }
    }
}

/// The outcomes of a batch, in the order of its messages.
#[derive(Debug, Serialize)]
pub(super) struct Tally {
    topic: String,
    stored: usize,
    failed: usize,
    /// Set where the body was not read to its end: what follows the last outcome is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Outcome>,
    outcomes: Vec<Line>,
}

impl Tally {
    pub(super) fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), stored: 0, failed: 0, rest: None, outcomes: Vec::new() }
    }

    /// Makes room for one more message and returns its index. Until it is told, it is not stored.
    pub(super) fn next(&mut self) -> usize {
        let index = self.outcomes.len();
        self.failed += 1;
        self.outcomes.push(Line::new(index, Told::Failed(Failure::of(&Error::Internal))));
        index
    }

    /// Tells what became of a message.
    pub(super) fn tell(&mut self, index: usize, outcome: Result<Stored, Error>) {
        if outcome.is_ok() {
            self.failed -= 1;
            self.stored += 1;
        }
        if let Some(line) = self.outcomes.get_mut(index) {
            *line = Line::new(index, outcome.into());
        }
    }

    /// Notes that nothing beyond the last message was looked at.
    pub(super) fn stop(&mut self) {
        self.rest = Some(Outcome::NotStored);
    }

    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub(super) fn stored(&self) -> usize {
        self.stored
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Returns the first of the worst failures: what may be stored is worse than what is not.
    pub(super) fn worst(&self) -> Option<(usize, Class, String)> {
        let mut worst: Option<(usize, &Failure)> = None;
        for (index, failure) in self.failures() {
            if worst.is_none_or(|(_, known)| failure.class.rank() > known.class.rank()) {
                worst = Some((index, failure));
            }
        }
        worst.map(|(index, failure)| (index, failure.class, failure.detail.clone()))
    }

    /// Returns what became of all of them together.
    pub(super) fn outcome(&self) -> Outcome {
        match self.failures().any(|(_, failure)| failure.class.unknown) {
            _ if self.stored > 0 => Outcome::Partial,
            true => Outcome::Unknown,
            false => Outcome::NotStored,
        }
    }

    /// Tells whether all that failed may succeed later.
    pub(super) fn retryable(&self) -> bool {
        self.failures().all(|(_, failure)| failure.class.retryable)
    }

    fn failures(&self) -> impl Iterator<Item = (usize, &Failure)> {
        self.outcomes.iter().filter_map(|line| match &line.told {
            Told::Failed(failure) => Some((line.index, failure)),
            Told::Stored(_) => None,
        })
    }
}

#[derive(Debug, Serialize)]
struct Line {
    index: usize,
    status: u16,
    #[serde(flatten)]
    told: Told,
}

impl Line {
    fn new(index: usize, told: Told) -> Self {
        Self { index, status: told.status(), told }
    }
}

/// What became of one message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::rest) enum Told {
    /// The broker has it.
    Stored(StoredBody),
    /// It is not known to be stored.
    Failed(Failure),
}

impl Told {
    /// Returns the status that a request would have that was for this message alone.
    pub(in crate::rest) fn status(&self) -> u16 {
        match self {
            Self::Stored(_) => 200,
            Self::Failed(failure) => failure.class.status.as_u16(),
        }
    }
}

impl From<Result<Stored, Error>> for Told {
    fn from(outcome: Result<Stored, Error>) -> Self {
        match outcome {
            Ok(stored) => Self::Stored(stored.into()),
            Err(error) => Self::Failed(Failure::of(&error)),
        }
    }
}

/// Why a message is not known to be stored.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Failure {
    #[serde(skip)]
    class: Class,
    code: String,
    retryable: bool,
    outcome: Outcome,
    detail: String,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let class = error.class();
        Self {
            class,
            code: class.code(),
            retryable: class.retryable,
            outcome: Outcome::of(&class),
            detail: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sidespan_bridge::{Fault, Guarantee, Receipt};

    use super::*;

    fn told(outcomes: Vec<Result<(), Error>>) -> Tally {
        let mut tally = Tally::new("t");
        for outcome in outcomes {
            let index = tally.next();
            let receipt = Receipt {
                position: None,
                guarantee: Guarantee::AtLeastOnce,
                duplicate: false,
                deduplicated: false,
                local: false,
            };
            tally.tell(index, outcome.map(|()| Stored { id: "1".into(), receipt }));
        }
        tally
    }

    fn fault(fault: Fault) -> Result<(), Error> {
        Err(sidespan_bridge::Error::new(fault).into())
    }

    #[test]
    fn the_worst_message_speaks_for_the_batch() {
        let all = told(vec![Ok(()), Ok(())]);
        assert_eq!((all.stored(), all.failed(), all.worst().is_none()), (2, 0, true));

        let some = told(vec![Ok(()), fault(Fault::TooLarge), fault(Fault::Rejected), fault(Fault::Rejected)]);
        assert_eq!(some.worst().map(|(index, class, _)| (index, class.status.as_u16())), Some((2, 502)));
        assert_eq!((some.outcome(), some.retryable()), (Outcome::Partial, false));

        let unknown = told(vec![fault(Fault::Unavailable), fault(Fault::Timeout)]);
        assert_eq!(unknown.worst().map(|(index, class, _)| (index, class.status.as_u16())), Some((1, 504)));
        assert_eq!((unknown.outcome(), unknown.retryable()), (Outcome::Unknown, true));

        let none = told(vec![fault(Fault::Unavailable)]);
        assert_eq!(none.outcome(), Outcome::NotStored);
    }
}
