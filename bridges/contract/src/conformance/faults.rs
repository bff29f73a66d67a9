//! What happens while the broker is down, hangs, or is restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::inbox::{
    Inbox, accept, attempt, bodies_of, body, has, message, numbered, publish, publish_until_stored, topic,
    unique, wish, within,
};
use super::{Ability, Broker, Harness};
use crate::{Bridge, Fault, Settled, Settlement, Verdict};

/// While the broker is known to be down (`probe` says so), publishing is `Unavailable` at once, and
/// what was refused so never appears. When the broker is back, publishing works again by itself.
pub async fn a_broker_that_is_down_is_said_at_once(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    Inbox::open(harness, &member, wish(harness, &topic, &group)).await.close().await;
    publish(harness, &member, &topic, vec![message("ahead")]).await;
    probe(&member).await.expect("a broker that can be used");

    broker(harness).kill().await;
    let known = async {
        while probe(&member).await != Err(Fault::Unavailable) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(harness.patience(), "a probe that says Unavailable", known).await;
    let begin = Instant::now();
    let outcomes = attempt(harness, &member, &topic, numbered("never ", 10)).await;
    let took = begin.elapsed();
    broker(harness).start().await;

    let faults: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(|error| error.fault)).collect();
    assert_eq!(faults, vec![Err(Fault::Unavailable); 10], "publishing while the broker is down");
    assert!(took < Duration::from_secs(1), "a broker that is down took {took:?} to be said");
    publish_until_stored(harness, &member, &topic, message("last")).await;
    let healed = async {
        while probe(&member).await != Ok(()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(harness.patience(), "a probe that says that the broker is back", healed).await;
    if !has(harness, Ability::Storage) {
        // Nobody listened meanwhile, and nothing was kept.
        return;
    }
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let arrived = inbox.bodies_until("last").await;
    assert!(arrived.contains(&"ahead".to_owned()), "stored before the broker's end: {arrived:?}");
    assert!(!arrived.iter().any(|body| body.starts_with("never ")), "refused, but stored: {arrived:?}");
}

/// What was handed over and is not answered by the deadline is `Timeout`: it may be stored. The
/// answer does not wait for the broker.
pub async fn a_deadline_after_the_hand_over_is_a_timeout(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    Inbox::open(harness, &member, wish(harness, &topic, &group)).await.close().await;
    publish(harness, &member, &topic, vec![message("ahead")]).await;

    broker(harness).freeze().await;
    let begin = Instant::now();
    let deadline = begin + Duration::from_secs(2);
    let outcomes = member.publisher().publish(&topic, numbered("maybe ", 3), deadline);
    let outcomes = tokio::time::timeout(Duration::from_secs(10), outcomes).await;
    let took = begin.elapsed();
    broker(harness).thaw().await;

    let outcomes = outcomes.expect("an answer by the deadline, of 2 s, at least within 10 s");
    let faults: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(|error| error.fault)).collect();
    assert_eq!(faults, vec![Err(Fault::Timeout); 3], "publishing to a broker that hangs");
    let allowed = Duration::from_millis(1900)..Duration::from_millis(3000);
    assert!(allowed.contains(&took), "a deadline of 2 s was answered after {took:?}");
    publish_until_stored(harness, &member, &topic, message("last")).await;
    if !has(harness, Ability::Storage) {
        return;
    }
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let arrived = inbox.bodies_until("last").await;
    assert!(arrived.contains(&"ahead".to_owned()), "stored before the broker hung: {arrived:?}");
}

/// A broker that is killed and started again is trouble that heals by itself: the subscription goes
/// on, nothing is lost, and a message that comes again while its first copy is out was said to be
/// lost.
pub async fn a_subscription_outlives_its_broker(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, numbered("ahead ", 40)).await;
    let mut out = inbox.deliveries(20, "half of the messages").await;
    let held = out.split_off(10);
    let mut done: BTreeSet<String> = out.iter().map(body).collect();
    accept(harness, out).await;

    broker(harness).kill().await;
    broker(harness).start().await;

    for n in 0..40 {
        publish_until_stored(harness, &member, &topic, message(format!("behind {n}"))).await;
    }
    let mut expected = bodies_of("ahead ", 40);
    expected.extend(bodies_of("behind ", 40));
    let mut held: BTreeMap<String, _> =
        held.into_iter().map(|delivery| (body(&delivery), delivery)).collect();
    let mut settling: Vec<(String, Settled)> = Vec::new();
    let mut seen: BTreeSet<String> = done.iter().chain(held.keys()).cloned().collect();
    loop {
        while let Some(missing) = expected.difference(&seen).next().cloned() {
            let delivery = inbox.delivery(&format!("{missing:?}, after the broker's restart")).await;
            let body = body(&delivery);
            if let Some(first) = held.get(&body) {
                let said = inbox.losses.contains(&(first.shard.clone(), first.epoch));
                assert!(
                    said,
                    "{body:?} came again, and `Lost` was not said of {} {:?}",
                    first.shard, first.epoch
                );
            }
            settling.push((body.clone(), delivery.ack.settle(Verdict::Accept)));
            seen.insert(body);
        }
        settling.extend(
            std::mem::take(&mut held).into_iter().map(|(body, d)| (body, d.ack.settle(Verdict::Accept))),
        );
        let settlements = join_all(
            std::mem::take(&mut settling).into_iter().map(|(body, settled)| async { (body, settled.await) }),
        );
        for (body, settlement) in within(harness.patience(), "settlements", settlements).await {
            match settlement {
                Settlement::Confirmed => drop(done.insert(body)),
                Settlement::Stale => {}
            }
        }
        if expected.is_subset(&done) {
            return;
        }
        // What was stale comes again.
        seen.clone_from(&done);
    }
}

/// Probes as readiness does; the answer comes by its deadline.
async fn probe(member: &Arc<dyn Bridge>) -> Result<(), Fault> {
    let limit = Duration::from_secs(2);
    let probe = member.probe(Instant::now() + limit);
    let answer = within(limit + Duration::from_millis(500), "a probe's answer by its deadline", probe).await;
    answer.map_err(|error| error.fault)
}

fn broker(harness: &dyn Harness) -> &dyn Broker {
    harness.broker().expect("the runner leaves out cases that need a broker where there is none")
}
