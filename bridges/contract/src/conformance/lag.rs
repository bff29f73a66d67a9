//! What a group has left to settle, counted by a member and without any.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::inbox::{Inbox, accept, has, message, numbered, publish, topic, unique, wish};
use super::{Ability, Harness};
use crate::{Bridge, Control, Lag, Subscribe};

/// Lag counts what the group has not settled, whoever holds it.
pub async fn lag_counts_what_is_not_settled(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, numbered("", 10)).await;
    let mut deliveries = inbox.deliveries(10, "all ten").await;
    lag_becomes(harness, inbox.control(), 10).await;
    let rest = deliveries.split_off(4);
    accept(harness, deliveries).await;
    lag_becomes(harness, inbox.control(), 6).await;
    accept(harness, rest).await;
    lag_becomes(harness, inbox.control(), 0).await;
}

/// The lag tells how old the oldest message is that is not settled, in whichever order others are, and nothing once
/// all are.
pub async fn lag_tells_the_age_of_the_oldest(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let begin = Instant::now();
    publish(harness, &member, &topic, numbered("", 1)).await;
    // The time that passes is what is tested.
    tokio::time::sleep(AGE).await;
    let later = Instant::now();
    publish(harness, &member, &topic, vec![message("1"), message("2")]).await;
    let mut deliveries = inbox.deliveries(3, "all three").await;
    let control = inbox.control();
    let rest = deliveries.split_off(2);
    accept(harness, vec![deliveries.remove(1)]).await;
    lag_becomes(harness, inbox.control(), 2).await;
    let oldest = control.lag().await.expect("a broker that tells the lag").oldest;
    let oldest = oldest.expect("the age of the oldest");
    assert!(
        (AGE..=begin.elapsed() + SLACK).contains(&oldest),
        "{oldest:?}, published {:?} ago",
        begin.elapsed()
    );
    accept(harness, deliveries).await;
    lag_becomes(harness, inbox.control(), 1).await;
    let oldest = control.lag().await.expect("a broker that tells the lag").oldest;
    let oldest = oldest.expect("the age of the next");
    assert!(oldest <= later.elapsed() + SLACK, "{oldest:?}, published {:?} ago", later.elapsed());
    accept(harness, rest).await;
    lag_becomes(harness, inbox.control(), 0).await;
    assert_eq!(control.lag().await.expect("a broker that tells the lag").oldest, None, "all is settled");
}

/// What a group has left is told when all its members have gone, whatever they settled out of order; of one that nobody
/// has joined there is nothing to tell.
pub async fn the_lag_of_a_group_without_members_is_told(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let to = wish(harness, &topic, &unique());
    let unknown = member.lag(&to, Instant::now() + harness.patience()).await;
    assert_eq!(unknown.expect("an answer about a group that is not there"), None);

    let mut inbox = Inbox::open(harness, &member, to.clone()).await;
    let begin = Instant::now();
    publish(harness, &member, &topic, numbered("", 10)).await;
    let mut deliveries = inbox.deliveries(10, "all ten").await;
    let rest = deliveries.split_off(4);
    let first = deliveries.remove(0);
    accept(harness, deliveries).await;
    inbox.close().await;
    drop((first, rest));
    let lag = left_becomes(harness, &member, &to, 7).await;
    if has(harness, Ability::Ages) {
        let oldest = lag.oldest.expect("the age of the oldest");
        assert!(oldest <= begin.elapsed() + SLACK, "{oldest:?}, published {:?} ago", begin.elapsed());
    }
    publish(harness, &member, &topic, numbered("", 5)).await;
    left_becomes(harness, &member, &to, 12).await;
    // Another member of the service may count, too.
    let other = harness.open().await;
    left_becomes(harness, &other, &to, 12).await;

    let mut inbox = Inbox::open(harness, &other, to.clone()).await;
    accept(harness, inbox.deliveries(12, "the rest").await).await;
    inbox.close().await;
    let lag = left_becomes(harness, &member, &to, 0).await;
    assert_eq!(lag.oldest, None, "all is settled");
}

/// Waits until a group that has no members has so much left.
async fn left_becomes(harness: &dyn Harness, by: &Arc<dyn Bridge>, to: &Subscribe, messages: u64) -> Lag {
    let mut last = None;
    let become_so = async {
        loop {
            let lag = by.lag(to, Instant::now() + harness.patience()).await;
            let lag = lag.expect("a broker that tells the lag").expect("a group that is there");
            if lag.messages == messages {
                return lag;
            }
            last = Some(lag);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = timeout(harness.patience(), become_so).await;
    done.unwrap_or_else(|_| panic!("expected {messages} messages to be left, last saw {last:?}"))
}

async fn lag_becomes(harness: &dyn Harness, control: Arc<dyn Control>, messages: u64) {
    let mut last = None;
    let become_so = async {
        loop {
            let lag: Lag = control.lag().await.expect("a broker that tells the lag");
            if lag.messages == messages {
                return;
            }
            last = Some(lag);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = timeout(harness.patience(), become_so).await;
    assert!(done.is_ok(), "expected a lag of {messages} messages, last saw {last:?}");
}

/// How much older one message is than the others.
const AGE: Duration = Duration::from_millis(400);
/// How far the broker's clock may be from ours; less than `AGE`.
const SLACK: Duration = Duration::from_millis(100);
