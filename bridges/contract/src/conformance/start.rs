//! Where a new group begins, once.

use std::time::{Duration, SystemTime};

use super::Harness;
use super::inbox::{Inbox, accept, bodies, bodies_of, body, message, numbered, publish, topic, unique, wish};
use crate::{Message, Pattern, Position, Start, Subscribe, Topic, Verdict};

/// `End` is what is published after `subscribe` returned, and nothing from before.
pub async fn the_end_is_what_is_published_after_subscribing(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let group = unique();
    let end = Subscribe { start: Start::End, ..wish(harness, &topic, &group) };
    // Somebody reads from the beginning, so that there is a place for what is old.
    let _other = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, numbered("old ", 20)).await;
    let mut inbox = Inbox::open(harness, &member, end).await;
    publish(harness, &member, &topic, numbered("new ", 20)).await;
    let deliveries = inbox.deliveries(20, "what is new").await;
    assert_eq!(bodies(&deliveries), bodies_of("new ", 20), "what came after subscribing");
}

/// Begin, time and position give what is stored from there on, to a group and to a cursor; time and
/// position are inclusive.
pub async fn a_new_group_begins_where_it_asks(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    publish(harness, &member, &topic, numbered("", 5)).await;
    // The time that passes is what is tested: brokers count it in milliseconds.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let time = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let late: Vec<Message> = (5..10).map(|n| message(format!("{n}"))).collect();
    let receipts = publish(harness, &member, &topic, late).await;
    let position = receipts[2].position.expect("a receipt with a position");
    publish(harness, &member, &topic, vec![message("last")]).await;

    let starts = [
        (Start::Begin, 0),
        (Start::Time(SystemTime::UNIX_EPOCH), 0),
        (Start::Time(time), 5),
        (Start::Position(vec![position]), 7),
        (Start::Position(vec![position.next()]), 8),
    ];
    for (start, first) in starts {
        let expected: Vec<String> = (first..10).map(|n| n.to_string()).collect();
        for group in [Some(unique().into()), None] {
            let wish = Subscribe { start: start.clone(), group, ..wish(harness, &topic, "") };
            let who = if wish.group.is_some() { "group" } else { "cursor" };
            let mut inbox = Inbox::open(harness, &member, wish).await;
            assert_eq!(inbox.bodies_until("last").await, expected, "what a {who} gets from {start:?}");
        }
    }
}

/// Positions hold for the partitions they name; the others begin at their beginning.
pub async fn partitions_without_a_position_begin_at_their_beginning(harness: &dyn Harness) {
    let topic = topic(harness, 2).await;
    let member = harness.open().await;
    let batch = (0..10).map(|n| Message { partition: Some(n % 2), ..message(format!("{n}")) }).collect();
    let receipts = publish(harness, &member, &topic, batch).await;
    let position: Position = receipts[7].position.expect("a receipt with a position");
    let start = Start::Position(vec![position]);
    let mut inbox =
        Inbox::open(harness, &member, Subscribe { start, ..wish(harness, &topic, &unique()) }).await;
    let deliveries = inbox.deliveries(7, "partition 0, and the end of partition 1").await;
    let expected = ["0", "2", "4", "6", "8", "7", "9"].map(str::to_owned).into();
    assert_eq!(bodies(&deliveries), expected, "what came from {position}");
}

/// A cursor that began at the end and saw nothing, or something of one partition, tells enough for
/// another to get what came meanwhile in all partitions, and not what was there before.
pub async fn a_cursor_goes_on_where_another_stopped(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    publish(harness, &member, &topic, numbered("old ", 20)).await;
    let end = Subscribe { start: Start::End, group: None, ..wish(harness, &topic, "") };
    let mut first = Inbox::open(harness, &member, end.clone()).await;
    let mut from = first.begun();
    publish(harness, &member, &topic, vec![message("seen")]).await;
    let seen = first.delivery("one message").await;
    drop(first);
    publish(harness, &member, &topic, numbered("new ", 20)).await;

    let resume = |from: &[(Topic, Position)]| {
        let start = Start::Resume { from: from.to_vec(), since: SystemTime::UNIX_EPOCH };
        Subscribe { start, ..end.clone() }
    };
    let mut inbox = Inbox::open(harness, &member, resume(&from)).await;
    let mut expected = bodies_of("new ", 20);
    expected.insert("seen".to_owned());
    let deliveries = inbox.deliveries(21, "what came after the cursor began").await;
    assert_eq!(bodies(&deliveries), expected, "what came after {from:?}");

    let position = seen.position.expect("a delivery with a position");
    from.retain(|(_, begun)| begun.partition != position.partition);
    from.push((seen.topic.clone(), position.next()));
    let mut inbox = Inbox::open(harness, &member, resume(&from)).await;
    let deliveries = inbox.deliveries(20, "what came after the one that was seen").await;
    assert_eq!(bodies(&deliveries), bodies_of("new ", 20), "what came after {from:?}");
}

/// So does a cursor over a pattern, whose topics may appear while nobody reads.
pub async fn a_cursor_of_a_pattern_goes_on_where_another_stopped(harness: &dyn Harness) {
    let root = unique();
    let member = harness.open().await;
    let [old, other, late] = ["old", "other", "late"].map(|name| Topic::new(format!("{root}.{name}")));
    for topic in [&old, &other] {
        harness.make(topic, 2).await;
        publish(harness, &member, topic, numbered("old ", 10)).await;
    }
    let pattern = Pattern::parse(&format!("{root}.*")).expect("a pattern");
    let end = Subscribe { pattern, start: Start::End, group: None, ..wish(harness, &old, "") };
    let first = Inbox::open(harness, &member, end.clone()).await;
    let from = first.begun();
    drop(first);
    harness.make(&late, 2).await;
    for (topic, prefix) in [(&old, "a"), (&other, "b"), (&late, "c")] {
        publish(harness, &member, topic, numbered(prefix, 10)).await;
    }
    let start = Start::Resume { from: from.clone(), since: SystemTime::UNIX_EPOCH };
    let mut inbox = Inbox::open(harness, &member, Subscribe { start, ..end }).await;
    let deliveries = inbox.deliveries(30, "what came meanwhile").await;
    let expected = ["a", "b", "c"].iter().flat_map(|prefix| bodies_of(prefix, 10)).collect();
    assert_eq!(bodies(&deliveries), expected, "what came after {from:?}");
}

/// What a resumed cursor does not name begins at a time.
pub async fn partitions_without_a_position_begin_at_a_time(harness: &dyn Harness) {
    let topic = topic(harness, 2).await;
    let member = harness.open().await;
    let each = |name: &str| {
        [0, 1].map(|n| Message { partition: Some(n), ..message(format!("{name} {n}")) }).to_vec()
    };
    publish(harness, &member, &topic, each("old")).await;
    // The time that passes is what is tested: brokers count it in milliseconds.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let since = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    publish(harness, &member, &topic, each("between")).await;
    let receipts = publish(harness, &member, &topic, each("new")).await;
    let position = receipts[1].position.expect("a receipt with a position");
    let start = Start::Resume { from: vec![(topic.clone(), position)], since };
    let mut inbox =
        Inbox::open(harness, &member, Subscribe { start, group: None, ..wish(harness, &topic, "") }).await;
    let deliveries = inbox.deliveries(3, "partition 0 from the time on, and the end of partition 1").await;
    let expected = ["between 0", "new 0", "new 1"].map(str::to_owned).into();
    assert_eq!(bodies(&deliveries), expected, "what came from {position} and {since:?}");
}

/// A group that exists goes on where it was, whatever start the next member asks for.
pub async fn a_start_applies_once(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    publish(harness, &member, &topic, numbered("a", 5)).await;
    for (start, prefix) in [(Start::Begin, "a"), (Start::End, "b"), (Start::Begin, "c")] {
        let wish = Subscribe { start: start.clone(), ..wish(harness, &topic, &group) };
        let mut inbox = Inbox::open(harness, &member, wish).await;
        let deliveries = inbox.deliveries(5, &format!("what {start:?} finds")).await;
        assert_eq!(bodies(&deliveries), bodies_of(prefix, 5), "where the group went on, asked for {start:?}");
        accept(harness, deliveries).await;
        inbox.close().await;
        let next = if prefix == "a" { "b" } else { "c" };
        if prefix != "c" {
            publish(harness, &member, &topic, numbered(next, 5)).await;
        }
    }
}

/// The start is recorded before `subscribe` returns: what is published while a new group's only
/// member is away is not lost, even though nothing was ever delivered or acknowledged.
pub async fn a_start_is_recorded_before_the_first_delivery(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let end = Subscribe { start: Start::End, ..wish(harness, &topic, &unique()) };
    let member = harness.open().await;
    Inbox::open(harness, &member, end.clone()).await.close().await;
    publish(harness, &member, &topic, numbered("", 20)).await;
    harness.close(member).await;

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, end).await;
    let deliveries = inbox.deliveries(20, "what was published in between").await;
    assert_eq!(bodies(&deliveries), bodies_of("", 20), "what was published in between");
}

/// What is published between the first attach and the first acknowledgement survives a kill.
pub async fn what_comes_before_the_first_acknowledgement_survives_a_kill(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let end = Subscribe { start: Start::End, ..wish(harness, &topic, &unique()) };
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, end.clone()).await;
    publish(harness, &member, &topic, numbered("", 20)).await;
    let held = inbox.delivery("one message, which is never settled").await;
    harness.kill(member).await;
    drop((held, inbox));

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, end).await;
    let mut missing = bodies_of("", 20);
    while !missing.is_empty() {
        let delivery = inbox.delivery(&format!("what is missing after the kill: {missing:?}")).await;
        missing.remove(&body(&delivery));
        drop(delivery.ack.settle(Verdict::Accept));
    }
}
