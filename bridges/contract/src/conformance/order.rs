//! Order: within a member, and over members that come and go.
//!
//! An ordered bridge never overtakes: it hands a message out only while everything ahead of it (of
//! its key, or of its shard) is settled or is out already. So once a message was released, `next`
//! gives it again before anything behind it. Whether it hands out several messages of one key at a
//! time is its own choice: the lanes are the reader's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::{Inbox, accept, body, has, keyed, publish, topic, unique, wish, within};
use super::ledger::{Ledger, rounds};
use super::{Ability, Harness};
use crate::{Order, Role, Subscribe, Topic, Verdict, Window};

/// With `Order::Key`, a released message comes again before the next one of its key, however often,
/// and also after a wait.
pub async fn a_release_keeps_the_order_of_its_key(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, by(Order::Key, harness, &topic, &unique())).await;
    publish(harness, &member, &topic, rounds(3, 0, 4)).await;
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    let mut done = 0;
    while done < 12 {
        let delivery = inbox.delivery("what is not accepted yet").await;
        let body = body(&delivery);
        let (key, n) = body.split_once(' ').expect("a key and a number");
        let next = next.entry(key.to_owned()).or_default();
        assert_eq!(
            n,
            next.to_string(),
            "the next message of {key}: the one ahead was released, not accepted"
        );
        let failed = failures.entry(body.clone()).or_default();
        *failed += 1;
        match *failed {
            1 => drop(delivery),
            2 => drop(delivery.ack.settle(Verdict::Release { after: Duration::from_millis(50) })),
            _ => {
                drop(delivery.ack.settle(Verdict::Accept));
                *next += 1;
                done += 1;
            }
        }
    }
}

/// With `Order::Topic`, the same holds for a whole shard.
pub async fn a_release_keeps_the_order_of_its_topic(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, by(Order::Topic, harness, &topic, &unique())).await;
    let batch = (0..10).map(|n| keyed(&format!("key {n}"), format!("{n}"))).collect();
    publish(harness, &member, &topic, batch).await;
    for n in 0..10 {
        for _ in 0..2 {
            let delivery = inbox.delivery("the message that was released").await;
            assert_eq!(body(&delivery), format!("{n}"), "the released message, before those behind it");
            let after = Duration::from_millis(if n % 2 == 0 { 0 } else { 50 });
            drop(delivery.ack.settle(Verdict::Release { after }));
        }
        let delivery = inbox.delivery("the message that was released twice").await;
        assert_eq!(body(&delivery), format!("{n}"), "the released message, before those behind it");
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// All that is out is released together, last first: it comes again first to last.
pub async fn what_is_released_together_comes_again_in_order(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, by(Order::Key, harness, &topic, &unique())).await;
    publish(harness, &member, &topic, rounds(2, 0, 10)).await;
    // A bridge may hand out one message of a key at a time: two are sure to come.
    let mut out = inbox.deliveries(2, "the first message of each key").await;
    while let Ok(delivery) = tokio::time::timeout(super::inbox::QUIET, inbox.next()).await {
        out.push(delivery.expect("an open subscription"));
    }
    while let Some(last) = out.pop() {
        drop(last);
    }
    let ledger = Ledger::new();
    let work = ledger.work("the member", &mut inbox, 20, None);
    within(harness.patience(), "all messages in order", work).await;
}

/// A killed member's messages go on in order at another one, which was there before where members
/// live apart.
pub async fn order_survives_a_killed_member(harness: &dyn Harness) {
    let (topic, group, ledger) = (topic(harness, 4).await, unique(), Ledger::new());
    let first = harness.open().await;
    let mut inbox = Inbox::open(harness, &first, by(Order::Key, harness, &topic, &group)).await;
    publish(harness, &first, &topic, rounds(8, 0, 50)).await;
    let until_killed = async {
        let held = ledger.work("the first member", &mut inbox, 100, Some("k3")).await;
        harness.kill(first).await;
        drop(held);
        drop(inbox);
    };
    let then = async {
        let second = harness.open().await;
        let mut inbox = Inbox::open(harness, &second, by(Order::Key, harness, &topic, &group)).await;
        ledger.work("the second member", &mut inbox, 400, None).await;
    };
    let all = async {
        if has(harness, Ability::SeparateMembers) {
            tokio::join!(until_killed, then);
        } else {
            until_killed.await;
            then.await;
        }
    };
    finish(harness, &ledger, all).await;
}

/// A member that joins, and takes over a part where members share, does not upset the order.
pub async fn order_survives_a_second_member_joining(harness: &dyn Harness) {
    let (topic, group, ledger) = (topic(harness, 4).await, unique(), Ledger::new());
    let first = harness.open().await;
    let mut inbox = Inbox::open(harness, &first, by(Order::Key, harness, &topic, &group)).await;
    let (joined, mut served) = tokio::sync::watch::channel(false);
    let ends = tokio_util::sync::CancellationToken::new();

    // Round by round, each accepted before the next is published, until the second member has had
    // its part, or has stood by for a while.
    let publishing = async {
        let mut round = 0;
        let mut after = 0;
        while after < 20 {
            publish(harness, &first, &topic, rounds(8, round, round + 1)).await;
            round += 1;
            ledger.reaches(round * 8).await;
            after += usize::from(*served.borrow_and_update());
        }
        ends.cancel();
    };
    let one = async {
        let work = ledger.work("the first member", &mut inbox, usize::MAX, None);
        ends.run_until_cancelled(work).await;
    };
    let other = async {
        ledger.reaches(40).await;
        let second = harness.open().await;
        let mut inbox = Inbox::open(harness, &second, by(Order::Key, harness, &topic, &group)).await;
        if has(harness, Ability::OrderedSharing)
            && let Some(delivery) = ends.run_until_cancelled(inbox.next()).await
        {
            ledger.attempt("the second member", delivery.expect("an open subscription"));
        }
        joined.send_replace(true);
        let work = ledger.work("the second member", &mut inbox, usize::MAX, None);
        ends.run_until_cancelled(work).await;
    };
    finish(harness, &ledger, async { tokio::join!(publishing, one, other) }).await;
}

/// A member that stops politely finishes what it has begun; the rest goes on in order elsewhere.
pub async fn order_survives_a_polite_stop(harness: &dyn Harness) {
    let (topic, group, ledger) = (topic(harness, 4).await, unique(), Ledger::new());
    let first = harness.open().await;
    let mut inbox = Inbox::open(harness, &first, by(Order::Key, harness, &topic, &group)).await;
    let second = harness.open().await;
    let mut standby = Inbox::open(harness, &second, by(Order::Key, harness, &topic, &group)).await;
    publish(harness, &first, &topic, rounds(8, 0, 50)).await;
    let until_stopped = async {
        let mut held = ledger.work("the first member", &mut inbox, 100, Some("k3")).await.into_iter();
        inbox.control().stop_intake();
        // What runs is finished, what waits behind it is given back.
        if let Some(running) = held.next()
            && !running.lost.is_cancelled()
        {
            ledger.attempt("the first member", running);
        }
        held.for_each(drop);
        inbox.close().await;
    };
    let then = async {
        ledger.work("the second member", &mut standby, 400, None).await;
    };
    finish(harness, &ledger, async { tokio::join!(until_stopped, then) }).await;
}

/// The member that gets the messages of an ordered subscription says that it is active. Another one
/// is active too where members share, and stands by where they don't; it takes over, and says so,
/// when the first one stops.
pub async fn members_say_which_of_them_is_active(harness: &dyn Harness) {
    let (topic, group) = (topic(harness, 4).await, unique());
    let first = harness.open().await;
    let mut inbox = Inbox::open(harness, &first, by(Order::Key, harness, &topic, &group)).await;
    publish(harness, &first, &topic, rounds(8, 0, 1)).await;
    let deliveries = inbox.deliveries(8, "the first messages").await;
    assert_eq!(inbox.control().role(), Role::Active, "who gets the messages");
    accept(harness, deliveries).await;
    if !has(harness, Ability::SeparateMembers) {
        return;
    }

    let second = harness.open().await;
    let mut other = Inbox::open(harness, &second, by(Order::Key, harness, &topic, &group)).await;
    let expected = if has(harness, Ability::OrderedSharing) { Role::Active } else { Role::Standby };
    becomes(harness, &mut other, expected).await;
    assert_eq!(inbox.control().role(), Role::Active, "who had the messages before");

    inbox.close().await;
    publish(harness, &second, &topic, rounds(8, 1, 2)).await;
    let deliveries = other.deliveries(8, "what was published after the first member had gone").await;
    assert_eq!(other.control().role(), Role::Active, "who gets the messages now");
    accept(harness, deliveries).await;
}

/// Reads until a member has a role.
async fn becomes(harness: &dyn Harness, inbox: &mut Inbox, role: Role) {
    let control = inbox.control();
    let wait = async {
        while control.role() != role {
            if let Ok(delivery) = tokio::time::timeout(Duration::from_millis(50), inbox.next()).await {
                panic!("all messages were accepted, and {delivery:?} came");
            }
        }
    };
    within(harness.patience(), &format!("the role {role:?}"), wait).await;
}

/// An ordered subscription keeps its window, and goes on while one key is held.
pub async fn a_held_key_does_not_hold_up_others(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let window = Window { messages: 64, ..Window::default() };
    let wish = Subscribe { window, ..by(Order::Key, harness, &topic, &unique()) };
    let mut inbox = Inbox::open(harness, &member, wish).await;
    publish(harness, &member, &topic, rounds(8, 0, 50)).await;
    let ledger = Ledger::new();
    // The held key has 50 messages, which fit in the window beside others.
    let work = ledger.work("the member", &mut inbox, 350, Some("k3"));
    let held = within(harness.patience(), "all messages of the other keys", work).await;
    assert!(!held.is_empty(), "the held key had its turn");
    accept(harness, held).await;
}

async fn finish<T>(harness: &dyn Harness, ledger: &Ledger, all: impl Future<Output = T>) {
    let patience = harness.patience() * 2;
    if tokio::time::timeout(patience, all).await.is_err() {
        panic!("after {patience:?} only {} messages were accepted: {}", ledger.count(), ledger.state());
    }
}

fn by(order: Order, harness: &dyn Harness, topic: &Topic, group: &str) -> Subscribe {
    Subscribe { order, ..wish(harness, topic, group) }
}
