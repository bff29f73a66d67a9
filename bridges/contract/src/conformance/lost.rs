//! What is no longer ours is said.

use tokio::time::Instant;

use super::Harness;
use super::inbox::{Inbox, body, message, publish, topic, unique, wish, within};
use crate::{Delivery, Epoch, Event, Message, Settlement, Shard, Verdict};

/// A member that joins takes over partitions. The first one is told which, by `Lost`; the `lost` of
/// their deliveries is cancelled by `finish_by`, results that are later are `Stale`, and the new
/// owner gets the messages. What was not lost is settled as ever.
pub async fn what_another_member_takes_over_is_said_to_be_lost(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let group = unique();
    let first = harness.open().await;
    let mut inbox = Inbox::open(harness, &first, wish(harness, &topic, &group)).await;
    let batch = (0..8).map(|n| Message { partition: Some(n % 4), ..message(format!("{n}")) }).collect();
    publish(harness, &first, &topic, batch).await;
    let out = inbox.deliveries(8, "everything").await;
    let places: Vec<Place> = out.iter().map(place).collect();

    let second = harness.open().await;
    let mut other = Inbox::open(harness, &second, wish(harness, &topic, &group)).await;
    let mut taken: Vec<Delivery> = Vec::new();
    let mut lost: Vec<(Shard, Epoch, Instant)> = Vec::new();
    let takeover = async {
        // Losses first, then all that was lost comes to the new owner.
        loop {
            if is_taken_over(&places, &lost, &taken) {
                return;
            }
            tokio::select! {
                event = inbox.event() => match event {
                    Event::Lost { shard, epoch, finish_by } => lost.push((shard, epoch, finish_by)),
                    Event::Delivery(again) => {
                        panic!("{:?} is out, or another member's, and came again", body(&again));
                    }
                },
                delivery = other.next() => taken.push(delivery.expect("an open subscription")),
            }
        }
    };
    within(harness.patience() * 2, "`Lost`, and then the lost messages at the new owner", takeover).await;

    for (delivery, place) in out.into_iter().zip(places) {
        let body = &place.body;
        let gone = is_in(&lost, &place);
        if gone {
            within(harness.patience(), "`lost` to be cancelled", delivery.lost.cancelled()).await;
            let finish_by = lost.iter().map(|(_, _, finish_by)| *finish_by).max().expect("a loss");
            tokio::time::sleep_until(finish_by).await;
        } else {
            assert!(!delivery.lost.is_cancelled(), "{body:?} of {} was not said to be lost", delivery.shard);
        }
        let settled = delivery.ack.settle(Verdict::Accept);
        let settlement = within(harness.patience(), "a settlement", settled).await;
        let expected = if gone { Settlement::Stale } else { Settlement::Confirmed };
        assert_eq!(settlement, expected, "accepting {body:?}, lost: {gone}, at {:?}", Instant::now());
    }
    super::inbox::accept(harness, taken).await;
}

/// Which stretch of owning a delivery belongs to.
struct Place {
    body: String,
    shard: Shard,
    epoch: Epoch,
}

fn place(delivery: &Delivery) -> Place {
    Place { body: body(delivery), shard: delivery.shard.clone(), epoch: delivery.epoch }
}

fn is_in(lost: &[(Shard, Epoch, Instant)], place: &Place) -> bool {
    lost.iter().any(|(shard, epoch, _)| *shard == place.shard && *epoch == place.epoch)
}

/// Tells whether something was lost, and all of it has come to the new owner.
fn is_taken_over(places: &[Place], lost: &[(Shard, Epoch, Instant)], taken: &[Delivery]) -> bool {
    let gone: Vec<&Place> = places.iter().filter(|place| is_in(lost, place)).collect();
    !gone.is_empty() && gone.iter().all(|gone| taken.iter().any(|taken| body(taken) == gone.body))
}
