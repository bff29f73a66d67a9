//! `Subscriber`, one call at a time: pull, and the verdicts on what was pulled.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::Door;
use super::message::{self, Refused, received, settled};
use super::status::status;
use super::terms::Terms;
use crate::delivery::Amount;
use crate::error::Error;
use crate::proto::modify_deadline_request::Change;
use crate::proto::{
    self, AcknowledgeRequest, AcknowledgeResponse, ModifyDeadlineRequest, ModifyDeadlineResponse,
    PullRequest, PullResponse, ReplyRequest, ReplyResponse, Settled,
};
use crate::pull::{Fetching, Settle};

/// Hands out messages, and waits for the first if there is none.
pub(super) async fn pull(door: &Door, terms: &Terms, request: PullRequest) -> Result<PullResponse, Status> {
    let fetching = find(door, terms, &request.subscription)?;
    let most = Amount {
        messages: within(
            "max_messages",
            request.max_messages.into(),
            MESSAGES,
            door.limits.max_batch_messages,
        )?,
        bytes: within("max_bytes", request.max_bytes, BYTES, door.limits.max_batch)?,
    };
    let mode =
        message::cloudevents(request.cloudevents).map_err(|error| status(&error, Some("cloudevents")))?;
    let wait = match request.wait {
        None => WAIT.min(door.limits.max_timeout),
        Some(wait) => span("wait", wait)?,
    };
    if wait > door.limits.max_timeout {
        let most = humantime::format_duration(door.limits.max_timeout);
        let long = Error::Invalid(format!("`wait` must be at most {most} (limits.max_timeout)"));
        return Err(status(&long, Some("wait")));
    }
    let mut until = Instant::now() + wait;
    if let Some(end) = terms.end() {
        // An answer that comes too late would lease messages to nobody.
        until = until.min(end.checked_sub(MOMENT).unwrap_or(end));
    }
    let handed = tokio::select! {
        handed = fetching.fetch(most, until) => handed,
        () = door.drain.cancelled() => Err(Error::Draining),
    };
    let handed = handed.map_err(|error| status(&error, None))?;
    Ok(PullResponse { messages: handed.iter().map(|handed| received(&fetching, handed, mode)).collect() })
}

/// Settles messages as handled.
pub(super) async fn acknowledge(
    door: &Door,
    terms: &Terms,
    AcknowledgeRequest { subscription, ack_ids }: AcknowledgeRequest,
) -> Result<AcknowledgeResponse, Status> {
    let (outcomes, failed) = settle(door, terms, &subscription, ack_ids, Settle::Ack).await?;
    Ok(AcknowledgeResponse { outcomes, failed })
}

/// Lets leases last longer, or ends them.
pub(super) async fn modify_deadline(
    door: &Door,
    terms: &Terms,
    ModifyDeadlineRequest { subscription, ack_ids, change }: ModifyDeadlineRequest,
) -> Result<ModifyDeadlineResponse, Status> {
    let verdict = match change {
        Some(Change::Lease(lease)) => Settle::Extend(span("lease", lease)?),
        Some(Change::GiveBack(proto::GiveBack { delay })) => {
            Settle::Nack(delay.map(|delay| span("give_back.delay", delay)).transpose()?)
        }
        None => {
            let none = Error::Invalid("say what is to become of the leases: `lease` or `give_back`".into());
            return Err(status(&none, Some("lease")));
        }
    };
    let (outcomes, failed) = settle(door, terms, &subscription, ack_ids, verdict).await?;
    Ok(ModifyDeadlineResponse { outcomes, failed })
}

/// Answers a request, and settles it.
pub(super) async fn reply(
    door: &Door,
    terms: &Terms,
    ReplyRequest { subscription, ack_id, reply }: ReplyRequest,
) -> Result<ReplyResponse, Status> {
    let fetching = find(door, terms, &subscription)?;
    let deadline = terms.deadline().map_err(|error| status(&error, None))?;
    let read = message::reply(reply, door.limits.max_message);
    let (code, reply) = read.map_err(|Refused { error, field }| {
        let field = field.map(|field| format!("reply.{field}"));
        status(&error, field.as_deref())
    })?;
    let sent = fetching.reply(&ack_id, code, reply, deadline).await;
    sent.map(|()| ReplyResponse {}).map_err(|error| status(&error, None))
}

/// Finds a subscription for the caller to fetch from.
pub(super) fn find(door: &Door, terms: &Terms, name: &str) -> Result<Fetching, Status> {
    door.pulling.find(&terms.caller, name).map_err(|error| status(&error, Some("subscription")))
}

fn span(field: &str, span: prost_types::Duration) -> Result<Duration, Status> {
    message::span(field, span).map_err(|error| status(&error, Some(field)))
}

/// Checks how many ack ids there are.
pub(super) fn few(door: &Door, ack_ids: &[String]) -> Result<(), Error> {
    let most = door.limits.max_batch_messages;
    if ack_ids.len() > most {
        Err(Error::TooMany { limit: "limits.max_batch_messages", most })
    } else {
        Ok(())
    }
}

/// Nothing settled at all is a failure of the call, which nobody can take for success.
async fn settle(
    door: &Door,
    terms: &Terms,
    subscription: &str,
    ack_ids: Vec<String>,
    verdict: Settle,
) -> Result<(Vec<Settled>, u32), Status> {
    let fetching = find(door, terms, subscription)?;
    let asked = few(door, &ack_ids).and_then(|()| Ok((verdict.check()?, terms.deadline()?)));
    let (verdict, deadline) = asked.map_err(|error| status(&error, None))?;
    let outcomes = fetching.settle(&ack_ids, verdict, deadline).await;
    let failures = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let failed = failures().count();
    let worst = failures().max_by_key(|error| error.class().rank());
    match worst.filter(|_| failed == outcomes.len()) {
        Some(worst) => Err(status(worst, Some("ack_ids"))),
        None => {
            let told = ack_ids.into_iter().zip(&outcomes).map(|(ack_id, outcome)| settled(ack_id, outcome));
            Ok((told.collect(), u32::try_from(failed).unwrap_or(u32::MAX)))
        }
    }
}

fn within(field: &str, asked: u64, default: usize, most: usize) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default.min(most)),
        Ok(asked) if asked <= most => Ok(asked),
        _ => Err(status(&Error::Invalid(format!("`{field}` must be at most {most}")), Some(field))),
    }
}

/// What is handed out at most where the caller does not say. Clients take 4 MiB at once, unless told
/// otherwise.
const MESSAGES: usize = 100;
const BYTES: usize = 1 << 20;
/// How long a pull waits for its first message where the caller does not say.
const WAIT: Duration = Duration::from_secs(10);
/// What an answer may take on its way.
const MOMENT: Duration = Duration::from_millis(100);
