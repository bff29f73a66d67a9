//! `Admin`: topics and subscriptions, as the REST door shows them.

use std::collections::BTreeMap;

use sidespan_bridge::{Pattern, Role};
use tonic::Status;

use super::Door;
use super::status::status;
use super::terms::Terms;
use crate::catalogue::{self, AT_LEAST_ONCE, Catalogue, Described, Holding, Silent};
use crate::config::Target;
use crate::delivery::{self, State};
use crate::error::Error;
use crate::paging::Paging;
use crate::proto::subscription::Target as Shown;
use crate::proto::{
    self, GetSubscriptionRequest, GetSubscriptionResponse, GetTopicRequest, GetTopicResponse,
    ListSubscriptionsRequest, ListSubscriptionsResponse, ListTopicsRequest, ListTopicsResponse,
    SubscriptionState,
};
use crate::security::caller::Caller;
use crate::subscriptions::{self, Origin};

/// Lists topics by name, a page at a time.
pub(super) async fn list_topics(
    door: &Door,
    terms: &Terms,
    request: ListTopicsRequest,
) -> Result<ListTopicsResponse, Status> {
    let paging = paging(request.page_size, &request.page_token)?;
    let pattern = Some(request.pattern.as_str()).filter(|text| !text.is_empty()).map(Pattern::parse);
    let pattern = pattern
        .transpose()
        .map_err(|error| status(&Error::Invalid(format!("`pattern`: {error}")), Some("pattern")))?;
    let deadline = terms.deadline().map_err(|error| status(&error, None))?;
    let Catalogue { topics, silent, truncated } =
        catalogue::gather(door.publishing.routes(), &terms.caller, pattern.as_ref(), deadline).await;
    let (page, next) = paging.cut(topics);
    Ok(ListTopicsResponse {
        topics: page.into_iter().map(topic).collect(),
        next_page_token: next.unwrap_or_default(),
        silent: silent
            .into_iter()
            .map(|Silent { bridge, detail }| proto::SilentBridge { bridge, detail })
            .collect(),
        truncated,
    })
}

/// Describes one topic.
pub(super) async fn get_topic(
    door: &Door,
    terms: &Terms,
    request: GetTopicRequest,
) -> Result<GetTopicResponse, Status> {
    let described = async {
        if !terms.caller.may_publish(&request.name) {
            terms.caller.require_subscribe(&request.name)?;
        }
        let route = door.publishing.routes().find(&request.name)?;
        let subscriptions = door.subscriptions.list(&terms.caller);
        let readers = subscriptions.iter().map(|one| one.running.subscription());
        catalogue::describe(door.publishing.routes(), &route, readers, terms.deadline()?).await
    };
    let described = described.await.map_err(|error| status(&error, Some("name")))?;
    Ok(GetTopicResponse { topic: Some(topic(described)) })
}

/// Lists subscriptions by name, a page at a time.
pub(super) fn list_subscriptions(
    door: &Door,
    caller: &Caller,
    request: &ListSubscriptionsRequest,
) -> Result<ListSubscriptionsResponse, Status> {
    let paging = paging(request.page_size, &request.page_token)?;
    let all = door.subscriptions.list(caller).into_iter();
    let all = all.map(|one| (one.running.subscription().name.to_string(), subscription(&one)));
    let all: BTreeMap<_, _> = all.collect();
    let (subscriptions, next) = paging.cut(all);
    Ok(ListSubscriptionsResponse { subscriptions, next_page_token: next.unwrap_or_default() })
}

/// Describes one subscription.
pub(super) fn get_subscription(
    door: &Door,
    caller: &Caller,
    GetSubscriptionRequest { name }: GetSubscriptionRequest,
) -> Result<GetSubscriptionResponse, Status> {
    let found = door.subscriptions.find(caller, &name);
    let found = found.map_err(|error| status(&error, Some("name")))?;
    Ok(GetSubscriptionResponse { subscription: Some(subscription(&found)) })
}

fn paging(size: u32, token: &str) -> Result<Paging, Status> {
    let mut paging = Paging::default();
    if size > 0 {
        let set = paging.size(usize::try_from(size).ok());
        set.map_err(|error| status(&error, Some("page_size")))?;
    }
    if !token.is_empty() {
        paging.after(token).map_err(|error| status(&error, Some("page_token")))?;
    }
    Ok(paging)
}

fn topic(described: Described) -> proto::Topic {
    let Described { name, address, bridge, declared, exists, partitions, messages, bytes, .. } = described;
    let guarantees =
        described.guarantees.map(|Holding { delivery, deduplicates, ordered, start, seek, requests }| {
            let stored = delivery == AT_LEAST_ONCE;
            let delivery = if stored { proto::Guarantee::AtLeastOnce } else { proto::Guarantee::AtMostOnce };
            proto::TopicGuarantees { delivery: delivery.into(), deduplicates, ordered, start, seek, requests }
        });
    let subscriptions = described.subscriptions.unwrap_or_default();
    proto::Topic {
        name,
        address,
        bridge,
        declared,
        exists,
        partitions,
        messages,
        bytes,
        guarantees,
        subscriptions,
    }
}

/// Shows a subscription.
pub(super) fn subscription(one: &subscriptions::Described) -> proto::Subscription {
    let (subscription, status) = (one.running.subscription(), one.running.status());
    let (state, why) = match status.state {
        State::Drained => (SubscriptionState::Drained, None),
        State::Draining => (SubscriptionState::Draining, None),
        State::Paused(why) => (SubscriptionState::Paused, Some(why)),
        State::Retrying(why) => (SubscriptionState::Retrying, Some(why)),
        State::Running => (SubscriptionState::Running, None),
        State::Starting => (SubscriptionState::Starting, None),
        State::Stopped => (SubscriptionState::Stopped, None),
    };
    let place = subscription.dead_letter.as_ref();
    proto::Subscription {
        name: subscription.name.to_string(),
        topic: subscription.topic.clone(),
        bridge: subscription.bridge.to_string(),
        group: subscription.group.to_string(),
        order: match subscription.order {
            sidespan_bridge::Order::None => proto::Order::None,
            sidespan_bridge::Order::Key => proto::Order::Key,
            sidespan_bridge::Order::Topic => proto::Order::Topic,
        }
        .into(),
        target: Some(match &subscription.target {
            Target::Pull(pull) => Shown::Pull(proto::PullTarget { lease: pull.lease.try_into().ok() }),
            Target::Push(push) => Shown::Push(push.shown().to_string()),
        }),
        dead_letters_go_to: place.map(|place| place.address.as_str().to_owned()).unwrap_or_default(),
        state: state.into(),
        trouble: why.map(trouble),
        role: status
            .role
            .map_or(proto::Role::Unspecified, |role| match role {
                Role::Active => proto::Role::Active,
                Role::Standby => proto::Role::Standby,
                Role::Unknown => proto::Role::Unknown,
            })
            .into(),
        in_flight: status.in_flight as u64,
        held: status.held as u64,
        delivered: status.delivered,
        failed_attempts: status.failed_attempts,
        dead_lettered: status.dead_lettered,
        dropped: status.dropped,
        undeliverable: status.undeliverable as u64,
        endpoint: status.endpoint.map(trouble),
        dead_letters: status.dead_letters.map(trouble),
        origin: match one.origin {
            Origin::File => proto::Origin::File,
            Origin::Registry => proto::Origin::Registry,
        }
        .into(),
        is_paused: one.paused,
        revision: one.revision.map(|revision| revision.0),
        spec_json: one.spec.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn trouble(delivery::Trouble { error, since }: delivery::Trouble) -> proto::Trouble {
    let since = prost_types::Timestamp { seconds: since.as_second(), nanos: since.subsec_nanosecond() };
    proto::Trouble { error, since: Some(since) }
}
