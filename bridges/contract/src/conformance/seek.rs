//! Moving a group that exists: what lies behind comes again, what lies before is skipped.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::inbox::{
    Inbox, accept, bodies, bodies_of, has, message, numbered, publish, topic, unique, wish, within,
};
use super::{Ability, Harness};
use crate::{Bridge, Error, Fault, Order, Start, Subscribe, Verdict};

/// Begin, end, time and position hold for a group that has settled everything, time and position inclusive.
pub async fn a_group_goes_where_it_is_moved(harness: &dyn Harness) {
    let orders = if has(harness, Ability::Order) { vec![Order::None, Order::Key] } else { vec![Order::None] };
    for order in orders {
        let topic = topic(harness, 1).await;
        let member = harness.open().await;
        let to = Subscribe { order, ..wish(harness, &topic, &unique()) };
        publish(harness, &member, &topic, numbered("", 5)).await;
        // The time that passes is what is tested: brokers count it in milliseconds.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let time = SystemTime::now();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let late = (5..10).map(|n| message(n.to_string())).collect();
        let receipts = publish(harness, &member, &topic, late).await;
        let position = receipts[2].position.expect("a receipt with a position");
        let mut stored: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let mut inbox = Inbox::open(harness, &member, to.clone()).await;
        accept(harness, inbox.deliveries(10, "everything").await).await;
        inbox.close().await;

        let moves = [
            (Start::Begin, Some(0)),
            (Start::End, None),
            (Start::Time(time), Some(5)),
            (Start::Position(vec![position]), Some(7)),
            (Start::Time(SystemTime::UNIX_EPOCH), Some(0)),
            (Start::Position(vec![position.next()]), Some(8)),
        ];
        for (n, (start, first)) in moves.into_iter().enumerate() {
            let to = Subscribe { start: start.clone(), ..to.clone() };
            seek(harness, &member, &to).await;
            let expected = stored.split_off(first.unwrap_or(stored.len()));
            let last = format!("last {n}");
            publish(harness, &member, &topic, vec![message(&*last)]).await;
            let mut inbox = Inbox::open(harness, &member, to.clone()).await;
            assert_eq!(inbox.bodies_until(&last).await, expected, "what comes from {start:?}, {order:?}");
            inbox.close().await;
            stored.extend(expected);
            stored.push(last);
        }
    }
}

/// What was out, released or settled out of order before does not come into the way of what comes after.
pub async fn a_moved_group_forgets_what_was_unsettled(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let to = wish(harness, &topic, &unique());
    let mut inbox = Inbox::open(harness, &member, to.clone()).await;
    publish(harness, &member, &topic, numbered("", 12)).await;
    let mut held = inbox.deliveries(12, "everything").await;
    let released = held.split_off(8).into_iter().map(|d| d.ack.settle(Verdict::Release { after: LONG }));
    let released: Vec<_> = released.collect();
    let settled = held.split_off(4);
    accept(harness, settled).await;
    drop(released);
    inbox.close().await;
    drop(held);

    seek(harness, &member, &Subscribe { start: Start::End, ..to.clone() }).await;
    publish(harness, &member, &topic, vec![message("last")]).await;
    let mut inbox = Inbox::open(harness, &member, to.clone()).await;
    assert_eq!(inbox.bodies_until("last").await, Vec::<String>::new(), "what was unsettled is skipped");
    inbox.close().await;

    seek(harness, &member, &Subscribe { start: Start::Begin, ..to.clone() }).await;
    let mut inbox = Inbox::open(harness, &member, to).await;
    let mut again = inbox.deliveries(13, "everything once more").await;
    let last = again.pop().map(|delivery| super::inbox::body(&delivery));
    assert_eq!(last.as_deref(), Some("last"), "the order of the log");
    assert_eq!(bodies(&again), bodies_of("", 12), "what was released for long, too");
}

/// A group is not moved under its members; once they have left it is.
pub async fn a_group_with_members_is_not_moved(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let (here, elsewhere) = (harness.open().await, harness.open().await);
    let to = wish(harness, &topic, &unique());
    let mut inbox = Inbox::open(harness, &elsewhere, to.clone()).await;
    publish(harness, &here, &topic, numbered("", 5)).await;
    accept(harness, inbox.deliveries(5, "everything").await).await;
    let begin = Instant::now();
    let refused = within(harness.patience(), "a refusal", here.seek(&to, begin + SHORT)).await;
    let fault = refused.map_err(|error| error.fault);
    assert_eq!(fault, Err(Fault::Conflict), "while there is a member");
    publish(harness, &here, &topic, vec![message("next")]).await;
    assert_eq!(inbox.bodies_until("next").await, Vec::<String>::new(), "the member goes on where it was");

    let begin = Start::Begin;
    let back = Subscribe { start: begin, ..to.clone() };
    let (moved, ()) = tokio::join!(here.seek(&back, Instant::now() + harness.patience()), inbox.close());
    moved.expect("a group that is moved once its member has left");
    let mut inbox = Inbox::open(harness, &elsewhere, to).await;
    let again = inbox.deliveries(6, "everything once more").await;
    assert_eq!(again.len(), 6, "what comes again");
}

/// A group that does not exist is made, and begins there, whatever start its first member asks for.
pub async fn a_group_that_is_not_there_is_made_by_a_move(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let receipts = publish(harness, &member, &topic, numbered("", 5)).await;
    let position = receipts[3].position.expect("a receipt with a position");
    let to = Subscribe { start: Start::Position(vec![position]), ..wish(harness, &topic, &unique()) };
    seek(harness, &member, &to).await;
    publish(harness, &member, &topic, vec![message("last")]).await;
    let mut inbox = Inbox::open(harness, &member, Subscribe { start: Start::End, ..to }).await;
    assert_eq!(inbox.bodies_until("last").await, ["3", "4"], "from where it was put");
}

/// A move is the broker's to remember: it holds after a kill, before anybody has joined.
pub async fn a_move_survives_a_kill(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let to = wish(harness, &topic, &unique());
    publish(harness, &member, &topic, numbered("", 20)).await;
    let mut inbox = Inbox::open(harness, &member, to.clone()).await;
    accept(harness, inbox.deliveries(20, "everything").await).await;
    inbox.close().await;
    seek(harness, &member, &Subscribe { start: Start::Begin, ..to.clone() }).await;
    harness.kill(member).await;

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, Subscribe { start: Start::End, ..to }).await;
    let again = inbox.deliveries(20, "everything once more").await;
    assert_eq!(bodies(&again), bodies_of("", 20), "what comes again after the kill");
}

/// Moves a group; tries again, as callers do, while the broker cannot be reached.
async fn seek(harness: &dyn Harness, member: &Arc<dyn Bridge>, to: &Subscribe) {
    let moved = async {
        loop {
            let done: Result<(), Error> = member.seek(to, Instant::now() + harness.patience()).await;
            match done {
                Ok(()) => return,
                Err(error) if error.fault == Fault::Unavailable => {}
                Err(error) => panic!("the group was to be moved to {:?}: {error:?}", to.start),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(harness.patience(), "a group that is moved", moved).await;
}

/// A release that no case waits for.
const LONG: Duration = Duration::from_secs(3600);
/// How long a move waits that is to be refused.
const SHORT: Duration = Duration::from_secs(2);
