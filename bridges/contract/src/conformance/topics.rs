//! Topics: which there are, which there aren't, and deduplication within one.

use std::time::Duration;

use tokio::time::Instant;

use super::inbox::{Inbox, attempt, message, numbered, publish, topic, unique, wish, within};
use super::{Ability, Harness};
use crate::{Fault, Message, Pattern, Topic, Verdict};

/// An address nobody made is its own fault, in under a second, and asking creates nothing.
pub async fn an_unknown_topic_is_said_at_once_and_not_created(harness: &dyn Harness) {
    let member = harness.open().await;
    let deadline = Instant::now() + harness.patience();
    within(harness.patience(), "a broker that can be used", member.probe(deadline)).await.expect("a broker");
    let nobody_made = Topic::new(unique());
    for round in ["first", "second"] {
        let begin = Instant::now();
        let outcomes = attempt(harness, &member, &nobody_made, numbered("lost ", 2)).await;
        let took = begin.elapsed();
        assert_eq!(outcomes.len(), 2, "one outcome a message");
        for outcome in outcomes {
            let fault = outcome.as_ref().map_err(|error| error.fault);
            let said = matches!(fault, Err(Fault::UnknownTopic | Fault::Unroutable));
            assert!(said, "{round} time: expected UnknownTopic or Unroutable, got {fault:?}");
        }
        assert!(took < Duration::from_secs(1), "{round} time: a missing topic took {took:?} to be said");
    }
    if Ability::Listing.of(harness.kind()) {
        let found = member.topics(&Pattern::exactly(&nobody_made), deadline).await.expect("a list of topics");
        assert!(found.is_empty(), "publishing created {found:?}");
    }
}

/// `topics` gives what the pattern stands for and exists, `ensure` is content with what exists.
pub async fn topics_are_listed_by_pattern(harness: &dyn Harness) {
    let stem = unique();
    let [eu, us, deep] = ["eu", "us", "eu.paid"].map(|tail| Topic::new(format!("{stem}.{tail}")));
    for topic in [&eu, &us, &deep] {
        harness.make(topic, 2).await;
    }
    let member = harness.open().await;
    let deadline = Instant::now() + harness.patience();
    let cases = [
        (format!("{stem}.*"), vec![&eu, &us]),
        (format!("{stem}.>"), vec![&eu, &deep, &us]),
        (eu.as_str().to_owned(), vec![&eu]),
        (unique(), vec![]),
    ];
    for (text, expected) in cases {
        let pattern = Pattern::parse(&text).expect("a pattern");
        let mut found = member.topics(&pattern, deadline).await.expect("a list of topics");
        found.sort_by(|one, other| one.topic.cmp(&other.topic));
        let partitions = if Ability::Partitions.of(harness.kind()) { 2 } else { 1 };
        assert!(
            found.iter().all(|info| info.partitions == partitions),
            "{partitions} partitions each: {found:?}"
        );
        let found: Vec<&Topic> = found.iter().map(|info| &info.topic).collect();
        assert_eq!(found, expected, "the topics of {text}");
    }
    member.ensure(&eu, deadline).await.expect("a topic that exists is good");
}

/// A message goes to the partition it asks for; one that does not exist is `Invalid`.
pub async fn a_message_goes_to_the_partition_it_asks_for(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    for partition in [2, 0, 3] {
        let asked = Message { partition: Some(partition), key: Some("same".into()), ..message("here") };
        let receipts = publish(harness, &member, &topic, vec![asked]).await;
        assert_eq!(receipts[0].position.map(|position| position.partition), Some(partition), "the receipt");
        let delivery = inbox.delivery("the message").await;
        assert_eq!(delivery.message.partition, Some(partition), "where it was found");
        drop(delivery.ack.settle(Verdict::Accept));
    }
    let nowhere = Message { partition: Some(99), ..message("nowhere") };
    let outcomes = attempt(harness, &member, &topic, vec![nowhere]).await;
    let fault = outcomes[0].as_ref().map_err(|error| error.fault);
    assert_eq!(fault, Err(Fault::Invalid), "a partition that does not exist");
}

/// The same deduplication id names one message on one topic, and another one on another topic:
/// bridges scope the id by the topic where the broker does not.
pub async fn a_deduplication_id_counts_within_one_topic(harness: &dyn Harness) {
    let stem = unique();
    let [one, other] = ["one", "other"].map(|tail| Topic::new(format!("{stem}.{tail}")));
    let member = harness.open().await;
    let mut inboxes = Vec::new();
    for topic in [&one, &other] {
        harness.make(topic, 1).await;
        inboxes.push(Inbox::open(harness, &member, wish(harness, topic, &unique())).await);
    }
    for (topic, inbox) in [&one, &other].into_iter().zip(&mut inboxes) {
        let batch = vec![once("first"), once("again, in the batch"), message("without")];
        let receipts = publish(harness, &member, topic, batch).await;
        let said: Vec<_> = receipts.iter().map(|receipt| (receipt.deduplicated, receipt.duplicate)).collect();
        assert_eq!(
            said,
            [(true, false), (true, true), (false, false)],
            "(deduplicated, duplicate) on {topic}"
        );
        let receipts = publish(harness, &member, topic, vec![once("again, later")]).await;
        assert!(receipts[0].duplicate, "a repeat on {topic} is said: {:?}", receipts[0]);
        publish(harness, &member, topic, vec![message("last")]).await;
        let mut arrived = inbox.bodies_until("last").await;
        arrived.sort();
        assert_eq!(arrived, ["first", "without"], "what {topic} stored");
    }
}

/// Message and id are stored together: after a restart the id is still known.
pub async fn a_deduplication_id_is_remembered_over_a_restart(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    // Closed, so that the killed member has taken nothing that others would have to wait for.
    Inbox::open(harness, &member, wish(harness, &topic, &group)).await.close().await;
    publish(harness, &member, &topic, vec![once("first")]).await;
    harness.kill(member).await;

    let member = harness.open().await;
    let receipts = publish(harness, &member, &topic, vec![once("again")]).await;
    assert!(receipts[0].duplicate, "a repeat after a restart is said: {:?}", receipts[0]);
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, vec![message("last")]).await;
    assert_eq!(inbox.bodies_until("last").await, ["first"], "stored once");
}

fn once(body: &str) -> Message {
    Message { deduplication: Some("the same id".into()), ..message(body) }
}
