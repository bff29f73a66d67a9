//! What changes subscriptions: `PUT`, `PATCH`, `DELETE`, and the verbs `/pause`, `/resume` and `/seek`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use sidespan_bridge::Revision;

use super::super::asked::{media_type, read};
use super::super::path::name;
use super::super::upload::Upload;
use super::super::{Door, acceptable};
use super::described;
use crate::config::StartFile;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::subscriptions::When;

/// Makes or replaces one.
pub(in crate::rest) async fn put(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let (parts, body) = taken(&door, request)?;
    let (name, when) = (name(&parts.uri)?, when(&parts.headers)?);
    media_type(&parts.headers, &["application/json"])?;
    let spec: Map<String, Value> = read(&door, &parts.headers, body).await?;
    let caller = Caller::of(&parts.extensions);
    let changed = door.subscriptions.put(&caller, &name, &spec.into(), when).await?;
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, described(&changed.described)).into_response())
}

/// Changes parts of one.
pub(in crate::rest) async fn patch(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = taken(&door, request)?;
    let (name, when) = (name(&parts.uri)?, when(&parts.headers)?);
    media_type(&parts.headers, &["application/merge-patch+json", "application/json"])?;
    let patch: Map<String, Value> = read(&door, &parts.headers, body).await?;
    let caller = Caller::of(&parts.extensions);
    let patched = door.subscriptions.patch(&caller, &name, &patch.into(), when).await?;
    Ok(described(&patched))
}

/// Ends one.
pub(in crate::rest) async fn delete(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _body) = taken(&door, request)?;
    let caller = Caller::of(&parts.extensions);
    door.subscriptions.delete(&caller, &name(&parts.uri)?, when(&parts.headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Has one rest.
pub(in crate::rest) async fn pause(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _body) = taken(&door, request)?;
    let caller = Caller::of(&parts.extensions);
    let paused = door.subscriptions.pause(&caller, &name(&parts.uri)?, when(&parts.headers)?).await?;
    Ok(described(&paused))
}

/// Has one go on.
pub(in crate::rest) async fn resume(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, _body) = taken(&door, request)?;
    let caller = Caller::of(&parts.extensions);
    let resumed = door.subscriptions.resume(&caller, &name(&parts.uri)?, when(&parts.headers)?).await?;
    Ok(described(&resumed))
}

/// Moves the group of one.
pub(in crate::rest) async fn seek(
    State(door): State<Arc<Door>>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = taken(&door, request)?;
    let name = name(&parts.uri)?;
    media_type(&parts.headers, &["application/json"])?;
    let Seek { to } = read(&door, &parts.headers, body).await?;
    let to = to.start().map_err(|error| Error::Invalid(format!("`to`: {error}")))?;
    let caller = Caller::of(&parts.extensions);
    Ok(described(&door.subscriptions.seek(&caller, &name, to).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    to: StartFile,
}

fn taken(door: &Door, request: Request<Body>) -> Result<(Parts, Upload), Error> {
    let (parts, body) = request.into_parts();
    let body = Upload::new(&parts.headers, body, &door.tasks);
    acceptable(&parts.headers, "application/json")?;
    Ok((parts, body))
}

/// Reads of which version a change is meant (RFC 9110, 13.1).
fn when(headers: &HeaderMap) -> Result<When, Error> {
    match (only(headers, &IF_MATCH)?, only(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(When::Always),
        (Some("*"), None) => Ok(When::Present),
        (None, Some("*")) => Ok(When::Absent),
        (Some(tag), None) => {
            let revision = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')?.parse().ok());
            revision.map(|revision| When::Is(Revision(revision))).ok_or_else(|| {
                Error::Stale(
                    "If-Match is no ETag that a subscription has: read it again, and decide anew".into(),
                )
            })
        }
        (None, Some(_)) => Err(Error::Invalid("If-None-Match can only be `*` here".into())),
        (Some(_), Some(_)) => Err(Error::Invalid("If-Match and If-None-Match rule each other out".into())),
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Error::Invalid(format!("there must be one {name} at most, with one value")));
    }
    Ok(first.map(|value| value.to_str().unwrap_or("").trim()))
}
