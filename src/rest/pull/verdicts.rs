//! What became of each verdict.

use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{Class, Error};
use crate::pull::AckIds;
use crate::rest::json;
use crate::rest::problem::Problem;

/// The outcomes of verdicts, in the order of their ack ids.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Verdicts {
    settled: usize,
    failed: usize,
    outcomes: Vec<Verdict>,
    #[serde(skip)]
    worst: Option<(Class, String)>,
}

/// What became of one verdict.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Verdict {
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
    pub(in crate::rest) fn new(ack_id: &str, outcome: &Result<(), Error>) -> Self {
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

    /// Answers 200 if all are settled, else with the worst.
    pub(super) fn answer(mut self) -> Response {
        match self.worst.take() {
            None => json(&self),
            Some((class, detail)) => {
                let detail = format!("settled: {}, failed: {}; {detail}", self.settled, self.failed);
                Problem::of_verdicts(class, detail, self).into_response()
            }
        }
    }
}

const MOST_SHOWN: usize = AckIds::LONGEST;
