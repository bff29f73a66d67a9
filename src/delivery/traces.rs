//! The span of one attempt.

use super::courier::Desk;
use super::letter::Letter;
use super::retry::Meaning;
use super::target::Reply;
use crate::telemetry::traces::{Attempt, Processing};

/// Begins it, where the message's trace is recorded and its target is called. Who fetches processes the message
/// itself, and has spans of its own.
pub(super) fn begin(desk: &Desk, letter: &Letter, number: u32) -> Option<Processing> {
    let (tracer, push) = (desk.tracer.as_ref()?, desk.subscription.target.push()?);
    tracer.process(&Attempt {
        message: &letter.message,
        topic: &letter.topic,
        position: letter.position,
        subscription: desk.subscription.name.as_str(),
        group: &desk.subscription.group,
        number,
        url: &push.url,
    })
}

/// Ends it with what came of the attempt; an answer to a request goes on from it.
pub(super) fn end(span: Option<Processing>, reply: &mut Reply, meaning: Meaning) {
    let Some(mut span) = span else { return };
    let failure = match reply {
        Reply::Acked => None,
        Reply::Answered(answer) => {
            span.answered(answer.status);
            if let Some(answer) = &mut answer.reply {
                span.leads_to(answer);
            }
            (meaning != Meaning::Accepted).then(|| answer.status.to_string())
        }
        Reply::Nacked(_) => Some("nacked".to_owned()),
        Reply::Unanswered(_) => Some("unanswered".to_owned()),
        Reply::Unreachable(_) => Some("unreachable".to_owned()),
    };
    span.end(failure);
}
