//! `GET /v1/topics`, `GET /v1/topics/{topic}`: what the brokers have and what the configuration
//! names. A caller sees those that it may publish to or read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use sidespan_bridge::Pattern;

use super::head::Terms;
use super::page::paging;
use super::path::name;
use super::{Door, acceptable, json};
use crate::catalogue::{Catalogue, Described, Silent, describe, gather};
use crate::error::Error;
use crate::paging::Paging;
use crate::security::caller::Caller;

/// Lists topics by name, a page at a time.
pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let (paging, pattern) = query(&request)?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    let caller = Caller::of(request.extensions());
    let Catalogue { topics, silent, truncated } =
        gather(door.publishing.routes(), &caller, pattern.as_ref(), terms.deadline).await;
    let (topics, next_page_token) = paging.cut(topics);
    Ok(json(&Page { topics, next_page_token, silent, truncated }))
}

/// Describes one topic.
pub(super) async fn one(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let topic = name(request.uri())?;
    let caller = Caller::of(request.extensions());
    if !caller.may_publish(&topic) {
        caller.require_subscribe(&topic)?;
    }
    let route = door.publishing.routes().find(&topic)?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    let subscriptions = door.subscriptions.list(&caller);
    let readers = subscriptions.iter().map(|one| one.running.subscription());
    Ok(json(&describe(door.publishing.routes(), &route, readers, terms.deadline).await?))
}

#[derive(Serialize)]
struct Page {
    topics: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    /// Bridges that could not be asked: what they have beyond the configuration is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<Silent>,
    /// Bridges that have more topics than are listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<String>,
}

/// Reads the query: a page, and the pattern that names must match.
fn query(request: &Request) -> Result<(Paging, Option<Pattern>), Error> {
    let mut wanted = None;
    let paging = paging(request.uri(), &["pattern"], |_, value| {
        let pattern = Pattern::parse(value);
        wanted = Some(pattern.map_err(|error| Error::Invalid(format!("`pattern`: {error}")))?);
        Ok(())
    })?;
    Ok((paging, wanted))
}
