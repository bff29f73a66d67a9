//! `GET /v1/topics`, `GET /v1/topics/{topic}`: what the brokers have and what the configuration
//! names.

mod catalogue;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sidespan_bridge::{Pattern, Topic};
use url::form_urlencoded;

use self::catalogue::{Described, Silent, describe, gather};
use super::head::Terms;
use super::publish::topic;
use super::{Door, acceptable, json};
use crate::error::Error;

/// Lists topics by name, a page at a time.
pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let Query { pattern, size, after } = Query::read(request.uri().query().unwrap_or(""))?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    let (mut topics, silent) = gather(door.publishing.routes(), terms.deadline).await;
    if let Some(pattern) = &pattern {
        topics.retain(|name, _| pattern.matches(&Topic::new(name.as_str())));
    }
    let mut page: Vec<Described> =
        topics.into_iter().filter(|(name, _)| *name > after).map(|(_, topic)| topic).take(size + 1).collect();
    let more = page.len() > size;
    page.truncate(size);
    let next_page_token =
        page.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.name.as_bytes()));
    Ok(json(&Page { topics: page, next_page_token, silent }))
}

/// Describes one topic.
pub(super) async fn one(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let route = door.publishing.route(&topic(request.uri())?)?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    Ok(json(&describe(door.publishing.routes(), &route, terms.deadline).await?))
}

#[derive(Serialize)]
struct Page {
    topics: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    /// Bridges that could not be asked: what they have beyond the configuration is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<Silent>,
}

struct Query {
    pattern: Option<Pattern>,
    size: usize,
    after: String,
}

impl Query {
    fn read(query: &str) -> Result<Self, Error> {
        let mut read = Self { pattern: None, size: PAGE, after: String::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "pattern" => {
                    let pattern = Pattern::parse(&value);
                    read.pattern =
                        Some(pattern.map_err(|error| Error::Invalid(format!("`pattern`: {error}")))?);
                }
                "page_size" => {
                    let size = value.parse().ok().filter(|size| (1..=MOST_PAGE).contains(size));
                    read.size = size.ok_or_else(|| {
                        Error::Invalid(format!("`page_size` must be a number from 1 to {MOST_PAGE}"))
                    })?;
                }
                "page_token" => {
                    let name = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
                    read.after = name.and_then(|name| String::from_utf8(name).ok()).ok_or_else(|| {
                        Error::Invalid("`page_token` must be a `next_page_token` of this list".into())
                    })?;
                }
                other => {
                    let other: String = other.chars().take(80).collect();
                    return Err(Error::Invalid(format!(
                        "there is no query parameter {other:?}; known are pattern, page_size and page_token"
                    )));
                }
            }
        }
        Ok(read)
    }
}

const PAGE: usize = 100;
const MOST_PAGE: usize = 1000;
