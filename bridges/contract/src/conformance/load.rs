//! Publishing by many at once, by callers who go away, and up to the end.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Harness;
use super::inbox::{Inbox, body, message, publish, topic, unique, wish, within};
use crate::Verdict;

/// A thousand publishes at once share the broker connection and are pipelined: they take a small
/// multiple of one round trip, where one after the other would take a thousand.
pub async fn a_thousand_publishes_at_once_share_one_connection(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let _inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let mut trips = Vec::new();
    for _ in 0..21 {
        let begin = Instant::now();
        publish(harness, &member, &topic, vec![message("alone")]).await;
        trips.push(begin.elapsed());
    }
    trips.sort();
    let trip = trips[trips.len() / 2];
    let connections = harness.port().and_then(connections);

    let begin = Instant::now();
    let deadline = begin + harness.patience();
    let publisher = member.publisher();
    let calls: Vec<_> =
        (0..1000).map(|n| publisher.publish(&topic, vec![message(format!("{n}"))], deadline)).collect();
    let during = harness.port().and_then(self::connections);
    let outcomes = within(harness.patience() * 2, "a thousand publishes", join_all(calls)).await;
    let took = begin.elapsed();

    let failed = outcomes.iter().flatten().filter(|outcome| outcome.is_err()).count();
    assert_eq!(failed, 0, "how many of a thousand publishes failed");
    let most = (trip * 250).max(Duration::from_secs(1));
    assert!(
        took < most,
        "a thousand publishes took {took:?}, one takes {trip:?}: expected less than {most:?}"
    );
    if let (Some(before), Some(during)) = (connections, during) {
        assert!(
            during <= before + 4,
            "a thousand publishes share connections: {before} before, {during} during"
        );
    }
}

/// Who drops the future gives up the answer only: the message is stored, and whatever the bridge
/// had set aside for the publish is given back.
pub async fn a_caller_that_goes_away_cancels_nothing_and_leaks_nothing(harness: &dyn Harness) {
    let (rounds, each) = (20, 250);
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let publisher = member.publisher();
    for round in 0..rounds {
        for n in 0..each {
            let abandoned = Instant::now() + harness.patience();
            drop(publisher.publish(&topic, vec![message(format!("{}", round * each + n))], abandoned));
        }
        publish(harness, &member, &topic, vec![message("awaited")]).await;
    }
    let mut seen = vec![false; rounds * each];
    for _ in 0..rounds * (each + 1) {
        let delivery = inbox.delivery("all that was published, though nobody waited").await;
        if let Ok(n) = body(&delivery).parse::<usize>() {
            seen[n] = true;
        }
        drop(delivery.ack.settle(Verdict::Accept));
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "how many abandoned publishes are missing");
}

/// `Bridge::close` waits for what was handed over: afterwards every publish has its outcome, and
/// what was said to be stored is. A closed bridge refuses; closing it again does nothing.
pub async fn close_waits_for_what_was_handed_over(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    Inbox::open(harness, &member, wish(harness, &topic, &group)).await.close().await;
    let publisher = member.publisher();
    let deadline = Instant::now() + harness.patience();
    let calls: Vec<_> =
        (0..200).map(|n| publisher.publish(&topic, vec![message(format!("{n:03}"))], deadline)).collect();

    within(harness.patience(), "a bridge that closes", harness.close(member.clone())).await;

    let outcomes =
        within(Duration::from_secs(1), "outcomes once the bridge is closed", join_all(calls)).await;
    let stored = |(n, outcome): (usize, &Vec<Result<_, _>>)| outcome[0].is_ok().then(|| format!("{n:03}"));
    let stored: Vec<String> = outcomes.iter().enumerate().filter_map(stored).collect();
    assert!(!stored.is_empty(), "closing is no reason to fail what was handed over: {:?}", outcomes[0]);
    let late = publisher.publish(&topic, vec![message("late")], Instant::now() + harness.patience());
    let late = within(Duration::from_secs(1), "a closed bridge's refusal", late).await;
    assert!(late[0].is_err(), "a closed bridge stores nothing, but said {:?}", late[0]);
    within(Duration::from_secs(1), "closing again", member.close(deadline)).await;
    drop((publisher, member));

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, vec![message("last")]).await;
    let arrived = inbox.bodies_until("last").await;
    let missing: Vec<&String> = stored.iter().filter(|body| !arrived.contains(body)).collect();
    assert!(missing.is_empty(), "said to be stored, but missing: {missing:?}");
    assert!(!arrived.contains(&"late".to_owned()), "refused, but stored");
}

/// Counts this machine's established connections to a port; `None` where that can't be seen.
fn connections(port: u16) -> Option<usize> {
    let to = format!(":{port:04X}");
    let count = |file| {
        let table = std::fs::read_to_string(file).ok()?;
        let open = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&to)) && fields.next() == Some("01")
        };
        Some(table.lines().skip(1).filter(open).count())
    };
    Some(count("/proc/net/tcp")? + count("/proc/net/tcp6").unwrap_or(0))
}
