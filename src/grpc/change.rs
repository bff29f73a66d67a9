//! `Admin`: what changes subscriptions at run time, as the REST door does.

use serde_json::{Map, Value};
use sidespan_bridge::{Position, PositionError, Revision, Start};
use tonic::Status;

use super::Door;
use super::admin::subscription;
use super::status::status;
use super::terms::Terms;
use crate::error::Error;
use crate::proto::precondition::Of;
use crate::proto::seek_subscription_request::To;
use crate::proto::{
    DeleteSubscriptionRequest, DeleteSubscriptionResponse, Edge, GetLagRequest, GetLagResponse,
    PatchSubscriptionRequest, PatchSubscriptionResponse, PauseSubscriptionRequest, PauseSubscriptionResponse,
    Precondition, PutSubscriptionRequest, PutSubscriptionResponse, ResumeSubscriptionRequest,
    ResumeSubscriptionResponse, SeekSubscriptionRequest, SeekSubscriptionResponse,
};
use crate::security::caller::Caller;
use crate::subscriptions::When;

/// Makes or replaces one.
pub(super) async fn put(
    door: &Door,
    caller: &Caller,
    request: PutSubscriptionRequest,
) -> Result<PutSubscriptionResponse, Status> {
    let PutSubscriptionRequest { name, spec_json, precondition } = request;
    let (spec, when) = (object("spec_json", &spec_json)?, when(precondition)?);
    let put = door.subscriptions.put(caller, &name, &spec, when).await;
    let put = put.map_err(|error| blamed(&error, "spec_json"))?;
    Ok(PutSubscriptionResponse { subscription: Some(subscription(&put.described)), created: put.created })
}

/// Changes parts of one.
pub(super) async fn patch(
    door: &Door,
    caller: &Caller,
    request: PatchSubscriptionRequest,
) -> Result<PatchSubscriptionResponse, Status> {
    let PatchSubscriptionRequest { name, patch_json, precondition } = request;
    let (patch, when) = (object("patch_json", &patch_json)?, when(precondition)?);
    let patched = door.subscriptions.patch(caller, &name, &patch, when).await;
    let patched = patched.map_err(|error| blamed(&error, "patch_json"))?;
    Ok(PatchSubscriptionResponse { subscription: Some(subscription(&patched)) })
}

/// Ends one.
pub(super) async fn delete(
    door: &Door,
    caller: &Caller,
    request: DeleteSubscriptionRequest,
) -> Result<DeleteSubscriptionResponse, Status> {
    let DeleteSubscriptionRequest { name, precondition } = request;
    let deleted = door.subscriptions.delete(caller, &name, when(precondition)?).await;
    deleted.map_err(|error| blamed(&error, "name"))?;
    Ok(DeleteSubscriptionResponse {})
}

/// Has one rest.
pub(super) async fn pause(
    door: &Door,
    caller: &Caller,
    request: PauseSubscriptionRequest,
) -> Result<PauseSubscriptionResponse, Status> {
    let PauseSubscriptionRequest { name, precondition } = request;
    let paused = door.subscriptions.pause(caller, &name, when(precondition)?).await;
    let paused = paused.map_err(|error| blamed(&error, "name"))?;
    Ok(PauseSubscriptionResponse { subscription: Some(subscription(&paused)) })
}

/// Has one go on.
pub(super) async fn resume(
    door: &Door,
    caller: &Caller,
    request: ResumeSubscriptionRequest,
) -> Result<ResumeSubscriptionResponse, Status> {
    let ResumeSubscriptionRequest { name, precondition } = request;
    let resumed = door.subscriptions.resume(caller, &name, when(precondition)?).await;
    let resumed = resumed.map_err(|error| blamed(&error, "name"))?;
    Ok(ResumeSubscriptionResponse { subscription: Some(subscription(&resumed)) })
}

/// Moves the group of one.
pub(super) async fn seek(
    door: &Door,
    caller: &Caller,
    request: SeekSubscriptionRequest,
) -> Result<SeekSubscriptionResponse, Status> {
    let to = start(request.to).map_err(|error| status(&error, Some("to")))?;
    let moved = door.subscriptions.seek(caller, &request.name, to).await;
    let moved = moved.map_err(|error| blamed(&error, "name"))?;
    Ok(SeekSubscriptionResponse { subscription: Some(subscription(&moved)) })
}

/// Counts what one has yet to deliver.
pub(super) async fn lag(
    door: &Door,
    terms: &Terms,
    request: GetLagRequest,
) -> Result<GetLagResponse, Status> {
    let deadline = terms.deadline().map_err(|error| status(&error, None))?;
    let lag = door.subscriptions.lag(&terms.caller, &request.name, deadline).await;
    let lag = lag.map_err(|error| blamed(&error, "name"))?;
    Ok(GetLagResponse {
        messages: lag.messages,
        oldest: lag.oldest.and_then(|oldest| oldest.try_into().ok()),
    })
}

/// Names what is to blame, where the request is.
fn blamed(error: &Error, field: &'static str) -> Status {
    let is_ours = error.class().status.is_server_error();
    status(error, (!is_ours).then_some(field))
}

fn object(field: &'static str, json: &str) -> Result<Value, Status> {
    let read: Result<Map<String, Value>, _> = serde_json::from_str(json);
    read.map(Value::Object).map_err(|error| {
        let told: String = error.to_string().chars().take(MOST_TOLD).collect();
        status(&Error::Invalid(format!("`{field}` must be a JSON object: {told}")), Some(field))
    })
}

fn when(precondition: Option<Precondition>) -> Result<When, Status> {
    let Some(Precondition { of }) = precondition else { return Ok(When::Always) };
    match of {
        Some(Of::Revision(revision)) => Ok(When::Is(Revision(revision))),
        Some(Of::Absent(true)) => Ok(When::Absent),
        Some(Of::Present(true)) => Ok(When::Present),
        Some(Of::Absent(false) | Of::Present(false)) | None => {
            let error =
                Error::Invalid("`precondition` says nothing: leave it out, or set one of its fields".into());
            Err(status(&error, Some("precondition")))
        }
    }
}

fn start(to: Option<To>) -> Result<Start, Error> {
    let nowhere = || Error::Invalid("`to` is missing: say `edge`, `time` or `position`".into());
    match to.ok_or_else(nowhere)? {
        To::Edge(edge) => match Edge::try_from(edge) {
            Ok(Edge::Begin) => Ok(Start::Begin),
            Ok(Edge::End) => Ok(Start::End),
            Ok(Edge::Unspecified) | Err(_) => Err(nowhere()),
        },
        To::Time(time) => {
            let time = time.try_into();
            time.map(Start::Time).map_err(|_| Error::Invalid("`time` is no time that there can be".into()))
        }
        To::Position(text) => {
            let positions: Result<Vec<Position>, PositionError> =
                text.split(',').map(|part| part.trim().parse()).collect();
            positions.map(Start::Position).map_err(|error| Error::Invalid(format!("`position`: {error}")))
        }
    }
}

/// A caller's own text need not come back whole.
const MOST_TOLD: usize = 300;
