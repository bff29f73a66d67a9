//! What became of each verdict.

use serde::Serialize;

use crate::error::{Class, Error};
use crate::pull::AckIds;

/// The outcomes of verdicts, in the order of their ack ids.
#[derive(Debug, Serialize)]
pub(super) struct Verdicts {
    settled: usize,
    failed: usize,
    outcomes: Vec<Verdict>,
    #[serde(skip)]
    worst: Option<(Class, String)>,
}

/// What became of one verdict.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    ack_id: String,
    status: u16,
    #[serde(flatten)]
    failure: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    code: String,
    retryable: bool,
    detail: String,
}

impl Verdict {
    /// Tells of the verdict on one message.
    pub(super) fn new(ack_id: &str, outcome: &Result<(), Error>) -> Self {
        let ack_id = ack_id.chars().take(MOST_SHOWN).collect();
        let Err(error) = outcome else { return Self { ack_id, status: 200, failure: None } };
        let class = error.class();
        let failure = Failure { code: class.code(), retryable: class.retryable, detail: error.to_string() };
        Self { ack_id, status: class.status.as_u16(), failure: Some(failure) }
    }
}

impl Verdicts {
    pub(super) fn new(ack_ids: &[String], outcomes: &[Result<(), Error>]) -> Self {
        let failures = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let mut worst: Option<(Class, String)> = None;
        for error in failures() {
            let class = error.class();
            if worst.as_ref().is_none_or(|(known, _)| known.status < class.status) {
                worst = Some((class, error.to_string()));
            }
        }
        let failed = failures().count();
        let lines = ack_ids.iter().zip(outcomes).map(|(ack_id, outcome)| Verdict::new(ack_id, outcome));
        Self { settled: outcomes.len() - failed, failed, outcomes: lines.collect(), worst }
    }

    /// Returns the worst failure, with what is to be said of all.
    pub(super) fn worst(&self) -> Option<(Class, String)> {
        let (class, detail) = self.worst.as_ref()?;
        Some((*class, format!("settled: {}, failed: {}; {detail}", self.settled, self.failed)))
    }
}

const MOST_SHOWN: usize = AckIds::LONGEST;
