//! `/v1/subscriptions`: what is subscribed to, and how it is doing here. A caller sees those that it may
//! read.

pub(super) mod change;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::ETAG;
use serde::Serialize;
use serde_json::Value;
use sidespan_bridge::Order;

use super::head::Terms;
use super::page::paging;
use super::path::name;
use super::{Door, acceptable, json};
use crate::config::Target;
use crate::delivery::Status;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::subscriptions::{self, Origin};

/// Lists subscriptions by name, a page at a time.
pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let paging = paging(request.uri(), &[], |_, _| Ok(()))?;
    let all = door.subscriptions.list(&Caller::of(request.extensions()));
    let named = all.iter().map(|one| (one.running.subscription().name.to_string(), one));
    let (page, next_page_token) = paging.cut(named.collect::<BTreeMap<_, _>>());
    let subscriptions = page.into_iter().map(Described::of).collect();
    Ok(json(&Page { subscriptions, next_page_token }))
}

/// Describes one subscription.
pub(super) async fn one(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let name = name(request.uri())?;
    Ok(described(&door.subscriptions.find(&Caller::of(request.extensions()), &name)?))
}

/// Counts what one has yet to deliver.
pub(super) async fn lag(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let name = name(request.uri())?;
    let deadline = Terms::read(request.headers(), &door.limits)?.deadline;
    let lag = door.subscriptions.lag(&Caller::of(request.extensions()), &name, deadline).await?;
    Ok(json(&Lag { messages: lag.messages, oldest_seconds: lag.oldest.as_ref().map(Duration::as_secs_f64) }))
}

/// Shows one subscription, with the version of its record.
fn described(one: &subscriptions::Described) -> Response {
    let mut response = json(&Described::of(one));
    let tag = one.revision.map(|revision| HeaderValue::from_str(&format!("\"{}\"", revision.0)));
    if let Some(Ok(tag)) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[derive(Serialize)]
struct Page<'a> {
    subscriptions: Vec<Described<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize)]
struct Lag {
    messages: u64,
    oldest_seconds: Option<f64>,
}

/// A subscription, as callers see it.
#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    topic: &'a str,
    bridge: &'a str,
    group: &'a str,
    order: &'static str,
    #[serde(flatten)]
    target: TargetBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters_go_to: Option<&'a str>,
    #[serde(flatten)]
    status: Status,
    origin: Origin,
    is_paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum TargetBody {
    Pull { lease: String },
    Push(String),
}

impl<'a> Described<'a> {
    fn of(one: &'a subscriptions::Described) -> Self {
        let subscription = one.running.subscription();
        Self {
            name: subscription.name.as_str(),
            topic: &subscription.topic,
            bridge: subscription.bridge.as_str(),
            group: &subscription.group,
            order: match subscription.order {
                Order::None => "none",
                Order::Key => "key",
                Order::Topic => "topic",
            },
            target: match &subscription.target {
                Target::Pull(pull) => {
                    TargetBody::Pull { lease: humantime::format_duration(pull.lease).to_string() }
                }
                Target::Push(push) => TargetBody::Push(push.shown().to_string()),
            },
            dead_letters_go_to: subscription.dead_letter.as_ref().map(|place| place.address.as_str()),
            status: one.running.status(),
            origin: one.origin,
            is_paused: one.paused,
            revision: one.revision.map(|revision| revision.0.to_string()),
            spec: one.spec.as_deref(),
        }
    }
}
