//! `GET /v1/subscriptions`, `GET /v1/subscriptions/{subscription}`: what is subscribed to, and how it
//! is doing here. A caller sees those that it may read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use sidespan_bridge::Order;

use super::page::paging;
use super::path::name;
use super::{Door, acceptable, json};
use crate::config::Target;
use crate::delivery::{Running, Status};
use crate::error::Error;
use crate::security::caller::Caller;

/// Lists subscriptions by name, a page at a time.
pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let paging = paging(request.uri(), &[], |_, _| Ok(()))?;
    let caller = Caller::of(request.extensions());
    let all = door.roster.all();
    let named = all.iter().map(|running| (running.subscription().name.to_string(), running.as_ref()));
    let named: BTreeMap<String, &Running> = named.filter(|(name, _)| caller.may_subscribe(name)).collect();
    let (page, next_page_token) = paging.cut(named);
    let subscriptions = page.into_iter().map(Described::of).collect();
    Ok(json(&Page { subscriptions, next_page_token }))
}

/// Describes one subscription.
pub(super) async fn one(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "application/json")?;
    let name = name(request.uri())?;
    Caller::of(request.extensions()).require_subscribe(&name)?;
    let found = door.roster.find(&name);
    let running = found.ok_or_else(|| Error::UnknownSubscription(name.chars().take(80).collect()))?;
    Ok(json(&Described::of(&running)))
}

#[derive(Serialize)]
struct Page<'a> {
    subscriptions: Vec<Described<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
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
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum TargetBody {
    Pull { lease: String },
    Push(String),
}

impl<'a> Described<'a> {
    fn of(running: &'a Running) -> Self {
        let subscription = running.subscription();
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
            status: running.status(),
        }
    }
}
