//! Subscriptions: who gets what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::{Instant, timeout};

use super::inbox::{
    Inbox, bodies, bodies_of, body, has, message, numbered, publish, topic, unique, wish, within,
};
use super::{Ability, Harness};
use crate::{Bridge, Delivery, Pattern, Start, Subscribe, Topic, Verdict, Window};

/// Groups know nothing of each other: each gets everything.
pub async fn two_subscriptions_each_get_everything(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let mut inboxes = Vec::new();
    for _ in 0..2 {
        inboxes.push(Inbox::open(harness, &member, wish(harness, &topic, &unique())).await);
    }
    publish(harness, &member, &topic, numbered("", 50)).await;
    for (n, inbox) in inboxes.iter_mut().enumerate() {
        let deliveries = inbox.deliveries(50, "everything that was published").await;
        assert_eq!(bodies(&deliveries), bodies_of("", 50), "what subscription {n} got");
    }
}

/// Members of one group share: once both are served, every message goes to exactly one of them.
pub async fn two_members_share_a_subscription(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let group = unique();
    let members = [harness.open().await, harness.open().await];
    // Small, so that one member that holds them does not take everything.
    let window = Window { messages: 5, ..Window::default() };
    let shared = Subscribe { window, ..wish(harness, &topic, &group) };
    let [one, other] = &members;
    let mut inboxes =
        [Inbox::open(harness, one, shared.clone()).await, Inbox::open(harness, other, shared).await];
    both_are_served(harness, one, &topic, &mut inboxes).await;

    publish(harness, one, &topic, numbered("work ", 200)).await;

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // Some are held for a while: what one member holds, the other does not get.
    let mut held = VecDeque::new();
    while counts.len() < 200 {
        let (_, delivery) = either(harness, &mut inboxes, "all that the members share").await;
        if body(&delivery).starts_with("work ") {
            *counts.entry(body(&delivery)).or_default() += 1;
        }
        held.push_back(delivery);
        if held.len() == window.messages {
            drop(held.pop_front().map(|delivery| delivery.ack.settle(Verdict::Accept)));
        }
    }
    for delivery in held {
        drop(delivery.ack.settle(Verdict::Accept));
    }
    publish(harness, one, &topic, vec![message("last")]).await;
    loop {
        let (_, delivery) = either(harness, &mut inboxes, "the last message").await;
        let body = body(&delivery);
        drop(delivery.ack.settle(Verdict::Accept));
        if body == "last" {
            break;
        }
        counts.entry(body).and_modify(|count| *count += 1);
    }
    counts.retain(|_, count| *count > 1);
    assert!(counts.is_empty(), "given more than once while no member came or went: {counts:?}");
}

/// `*` is one token and `>` the rest. A topic that is made later is covered too, from its
/// beginning, also where the group began at the end.
pub async fn a_wildcard_covers_topics_that_are_made_later(harness: &dyn Harness) {
    let stem = unique();
    let [eu, us, deep, late] =
        ["eu", "us", "eu.paid", "late"].map(|tail| Topic::new(format!("{stem}.{tail}")));
    for topic in [&eu, &us, &deep] {
        harness.make(topic, 1).await;
    }
    let member = harness.open().await;
    let pattern = |tail: &str| Subscribe {
        pattern: Pattern::parse(&format!("{stem}.{tail}")).expect("a pattern"),
        start: Start::End,
        ..wish(harness, &eu, &unique())
    };
    let mut star = Inbox::open(harness, &member, pattern("*")).await;
    let mut tail = Inbox::open(harness, &member, pattern(">")).await;
    for topic in [&eu, &us, &deep] {
        publish(harness, &member, topic, vec![message(topic.as_str())]).await;
    }
    let seen = received(&mut star, &[&eu, &us]).await;
    assert!(!seen.contains(deep.as_str()), "`*` is one token, but {deep} came");
    received(&mut tail, &[&eu, &us, &deep]).await;

    harness.make(&late, 1).await;
    publish(harness, &member, &late, vec![message(late.as_str())]).await;

    let seen = received(&mut star, &[&late]).await;
    assert!(!seen.contains(deep.as_str()), "`*` is one token, but {deep} came");
    received(&mut tail, &[&late]).await;
}

/// `next` can be dropped while it waits, at any time, and loses nothing.
pub async fn waiting_can_be_cancelled_without_loss(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let outcomes = member.publisher().publish(&topic, numbered("", 200), Instant::now() + harness.patience());
    let mut seen = BTreeSet::new();
    let read = async {
        let mut turn = 0;
        while seen.len() < 200 {
            turn += 1;
            if let Some(delivery) = next_within(&mut inbox, turn % 4).await {
                let body = body(&delivery);
                drop(delivery.ack.settle(Verdict::Accept));
                assert!(seen.insert(body.clone()), "{body:?} came twice");
            }
        }
    };
    let (_, outcomes) = tokio::join!(within(harness.patience(), "all messages", read), outcomes);
    assert!(outcomes.iter().all(Result::is_ok), "all are stored: {outcomes:?}");
    assert_eq!(seen, bodies_of("", 200));
}

/// A subscription without a group is a cursor of its own: it shares nothing, keeps nothing, and its
/// tokens settle nothing, so that a dropped one brings nothing back.
pub async fn a_cursor_shares_nothing_and_settles_nothing(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let cursor = Subscribe { group: None, ..wish(harness, &topic, "") };
    let mut one = Inbox::open(harness, &member, cursor.clone()).await;
    let mut other = Inbox::open(harness, &member, cursor.clone()).await;
    publish(harness, &member, &topic, numbered("", 10)).await;
    for inbox in [&mut one, &mut other] {
        let deliveries = inbox.deliveries(10, "everything").await;
        assert_eq!(bodies(&deliveries), bodies_of("", 10), "what a cursor got");
        drop(deliveries);
    }
    publish(harness, &member, &topic, vec![message("last")]).await;
    for inbox in [&mut one, &mut other] {
        assert_eq!(inbox.bodies_until("last").await, [""; 0], "what a cursor got again");
    }
    if has(harness, Ability::Start) {
        let mut third = Inbox::open(harness, &member, cursor).await;
        assert_eq!(third.bodies_until("last").await.len(), 10, "nobody's cursor moved the beginning");
    }
}

/// Polls `next` so many times and once more, a moment apart, and then drops it.
async fn next_within(inbox: &mut Inbox, polls: usize) -> Option<Delivery> {
    let mut next = pin!(inbox.next());
    for _ in 0..polls {
        if let Poll::Ready(delivery) = poll!(next.as_mut()) {
            return Some(delivery.expect("an open subscription"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match poll!(next.as_mut()) {
        Poll::Ready(delivery) => Some(delivery.expect("an open subscription")),
        Poll::Pending => None,
    }
}

/// Publishes until each of two members has got something, then settles all of it.
async fn both_are_served(
    harness: &dyn Harness,
    member: &Arc<dyn Bridge>,
    topic: &Topic,
    inboxes: &mut [Inbox; 2],
) {
    let mut held: [Vec<Delivery>; 2] = [Vec::new(), Vec::new()];
    let serve = async {
        while held.iter().any(Vec::is_empty) {
            publish(harness, member, topic, numbered("probe ", 8)).await;
            let pause = timeout(Duration::from_millis(200), async {
                loop {
                    let (which, delivery) = either(harness, inboxes, "a probe").await;
                    held[which].push(delivery);
                }
            });
            drop(pause.await);
            // One that has got something makes room again, unless that would starve the other.
            for which in [0, 1] {
                if held[which].len() > 1 && !held[1 - which].is_empty() {
                    held[which].truncate(1);
                }
            }
        }
    };
    within(harness.patience(), "something for each of two members", serve).await;
    for delivery in held.into_iter().flatten() {
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// Waits for a delivery on either of two inboxes.
async fn either(harness: &dyn Harness, inboxes: &mut [Inbox; 2], awaited: &str) -> (usize, Delivery) {
    let [one, other] = inboxes;
    let wait = async {
        tokio::select! {
            delivery = one.next() => (0, delivery.expect("an open subscription")),
            delivery = other.next() => (1, delivery.expect("an open subscription")),
        }
    };
    within(harness.patience(), awaited, wait).await
}

/// Receives until something has come from each of `topics`; returns all addresses seen.
async fn received(inbox: &mut Inbox, topics: &[&Topic]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while let Some(missing) = topics.iter().find(|topic| !seen.contains(topic.as_str())) {
        let delivery = inbox.delivery(&format!("a message of {missing}, having seen {seen:?}")).await;
        assert_eq!(body(&delivery), delivery.topic.as_str(), "each message says where it was published");
        seen.insert(body(&delivery));
        drop(delivery.ack.settle(Verdict::Accept));
    }
    seen
}
