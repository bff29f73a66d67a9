//! `Requester.Request`: a message, and the reply to it.

use sidespan_bridge::REPLY_STATUS;
use tonic::Status;

use super::Door;
use super::message::{Refused, read};
use super::status::status;
use super::terms::Terms;
use crate::error::Error;
use crate::proto::{Header, Reply, RequestRequest, RequestResponse};
use crate::request;

/// Asks, and answers with the reply.
pub(super) async fn request(
    door: &Door,
    terms: &Terms,
    request: RequestRequest,
) -> Result<RequestResponse, Status> {
    ask(door, terms, request).await.map_err(|Refused { error, field }| {
        let field = field.map(|field| format!("message.{field}"));
        status(&error, field.as_deref())
    })
}

async fn ask(
    door: &Door,
    terms: &Terms,
    RequestRequest { message }: RequestRequest,
) -> Result<RequestResponse, Refused> {
    let message = message.ok_or_else(|| Error::Invalid("there is no `message` to ask with".into()))?;
    let route = door.route(&terms.caller, &message.topic)?;
    let deadline = terms.deadline()?;
    let place = door.requesting.place()?;
    let message = read(message, &terms.context, door.limits.max_message)?;
    let admission = door.publishing.admit(&route, 1, message.weight())?;
    let Door { publishing, requesting, .. } = door;
    let reply = requesting.ask(place, publishing, &route, admission, message, deadline).await?;
    let told = reply.headers.iter().filter(|header| !header.name.eq_ignore_ascii_case(REPLY_STATUS));
    let headers = told.map(|header| Header { name: header.name.to_string(), value: header.value.to_vec() });
    let reply = Reply {
        status: request::status(&reply).into(),
        content_type: reply.content_type.as_deref().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        payload: reply.payload.clone().unwrap_or_default(),
    };
    Ok(RequestResponse { reply: Some(reply) })
}
