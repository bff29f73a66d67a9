//! What became of each verdict.

use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{Class, Error};
use crate::rest::json;
use crate::rest::problem::Problem;

/// The outcomes of verdicts, in the order of their ack ids.
#[derive(Debug, Serialize)]
pub(in crate::rest) struct Verdicts {
    settled: usize,
    failed: usize,
    outcomes: Vec<Line>,
    #[serde(skip)]
    worst: Option<(Class, String)>,
}

#[derive(Debug, Serialize)]
struct Line {
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

impl Verdicts {
    pub(super) fn new(ack_ids: &[String], outcomes: &[Result<(), Error>]) -> Self {
        let mut worst: Option<(Class, String)> = None;
        let mut failed = 0;
        let mut line = |(ack_id, outcome): (&String, &Result<(), Error>)| {
            let ack_id = ack_id.chars().take(MOST_SHOWN).collect();
            let Err(error) = outcome else { return Line { ack_id, status: 200, failure: None } };
            failed += 1;
            let (class, detail) = (error.class(), error.to_string());
            let failure = Failure { code: class.code(), retryable: class.retryable, detail: detail.clone() };
            if worst.as_ref().is_none_or(|(known, _)| known.status < class.status) {
                worst = Some((class, detail));
            }
            Line { ack_id, status: class.status.as_u16(), failure: Some(failure) }
        };
        let outcomes: Vec<Line> = ack_ids.iter().zip(outcomes).map(&mut line).collect();
        Self { settled: outcomes.len() - failed, failed, outcomes, worst }
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

/// Ack ids have 44 letters.
const MOST_SHOWN: usize = 64;
