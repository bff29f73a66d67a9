//! What the broker cannot do is said, with a typed error and before any I/O where that is possible.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::ability::ABILITIES;
use super::inbox::{Inbox, attempt, has, keyed, message, publish, topic, unique, wish, within};
use super::{Ability, Harness};
use crate::{
    Bridge, Fault, Guarantee, Guarantees, Limits, Message, Order, Pattern, Position, Settlement, Start,
    Subscribe, Topic, Unsupported, Verdict,
};

/// Each lack that the table allows is admitted in the way that the table names; `limits` allows all
/// else.
pub async fn what_the_broker_lacks_it_says(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let _inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let guarantees = Guarantees {
        delivery: if has(harness, Ability::Storage) { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce },
        deduplicates: has(harness, Ability::Deduplication),
        ordered: has(harness, Ability::Order),
        start: has(harness, Ability::Start),
        seek: has(harness, Ability::Seek),
        requests: has(harness, Ability::Requests),
    };
    assert_eq!(member.guarantees(), guarantees, "what the bridge says of its topics");
    for ability in ABILITIES {
        if has(harness, ability) {
            allowed(harness, &topic, ability);
        } else {
            admitted(harness, &member, &topic, ability).await;
        }
    }
}

/// Checks what `limits` says of an ability that the broker has.
fn allowed(harness: &dyn Harness, topic: &Topic, ability: Ability) {
    let wishes = match ability {
        Ability::Order => orders(harness, topic),
        Ability::Start => starts(harness, topic),
        _ => vec![wish(harness, topic, &unique())],
    };
    for wish in wishes {
        let limits = limits(harness, &wish);
        let limits = limits.unwrap_or_else(|error| panic!("{ability:?}: {wish:?} was refused: {error}"));
        if ability == Ability::DelayedRelease && wish.order == Order::None {
            assert!(limits.releases_to_broker, "{ability:?}: a release waits at the broker or on disk");
        }
    }
    if ability == Ability::Registry {
        assert!(
            harness.driver().keeps_registry(&harness.settings()),
            "{ability:?}: the driver says otherwise"
        );
    }
    if ability == Ability::Storage {
        assert!(harness.driver().stores(&harness.settings()), "{ability:?}: the driver says otherwise");
    }
}

fn limits(harness: &dyn Harness, wish: &Subscribe) -> Result<Limits, Unsupported> {
    harness.driver().limits(&harness.settings(), wish)
}

/// Checks that a lack is admitted.
async fn admitted(harness: &dyn Harness, member: &Arc<dyn Bridge>, topic: &Topic, lack: Ability) {
    match lack {
        Ability::Ages => {
            let mut inbox = Inbox::open(harness, member, wish(harness, topic, &unique())).await;
            publish(harness, member, topic, vec![message("old")]).await;
            drop(inbox.delivery("the message").await);
            let oldest = inbox.control().lag().await.ok().and_then(|lag| lag.oldest);
            assert_eq!(oldest, None, "{lack:?} is lacking: the lag");
        }
        Ability::Broker => assert!(harness.broker().is_none(), "{lack:?} is lacking, and there is one"),
        Ability::Deduplication => {
            let once = Message { deduplication: Some(unique().into()), ..message("twice") };
            for receipt in publish(harness, member, topic, vec![once.clone(), once]).await {
                assert!(!receipt.deduplicated && !receipt.duplicate, "{lack:?} is lacking: {receipt:?}");
            }
        }
        Ability::DelayedRelease => {
            let limits = limits(harness, &wish(harness, topic, &unique())).expect("a usual wish");
            assert!(!limits.releases_to_broker, "{lack:?} is lacking: {limits:?}");
        }
        Ability::Groups => {
            let mut inbox = Inbox::open(harness, member, wish(harness, topic, &unique())).await;
            publish(harness, member, topic, vec![message("seen once")]).await;
            let settled = inbox.delivery("the message").await.ack.settle(Verdict::Accept);
            let settlement = within(harness.patience(), "a settlement", settled).await;
            assert_eq!(
                settlement,
                Settlement::Stale,
                "{lack:?} is lacking: nobody takes note of a settlement"
            );
            let fault = inbox.control().lag().await.map_err(|error| error.fault);
            assert_eq!(fault, Err(Fault::Unsupported), "{lack:?} is lacking: the lag");
        }
        Ability::Listeners => {
            let fault = member.request(topic, message("is anybody there?"), Instant::now() + SHORT).await;
            let fault = fault.map_err(|error| error.fault);
            let expected = if has(harness, Ability::Requests) { Fault::Timeout } else { Fault::Unsupported };
            assert_eq!(fault, Err(expected), "{lack:?} is lacking: a request that nobody hears");
        }
        Ability::Listing => {
            let deadline = Instant::now() + harness.patience();
            let found = member.topics(&Pattern::exactly(topic), deadline).await.map_err(|error| error.fault);
            assert_eq!(found, Err(Fault::Unsupported), "{lack:?} is lacking: the topics");
        }
        Ability::Order => refused(harness, member, orders(harness, topic), lack).await,
        Ability::OrderedSharing => {}
        Ability::Partitions => {
            let elsewhere = Message { partition: Some(1), ..keyed("key", "elsewhere") };
            not_carried(harness, member, topic, elsewhere, lack).await;
        }
        Ability::Positions => {
            for receipt in publish(harness, member, topic, vec![message("somewhere")]).await {
                assert_eq!(receipt.position, None, "{lack:?} is lacking: {receipt:?}");
            }
        }
        Ability::Requests => {
            let deadline = Instant::now() + harness.patience();
            let asked = member.request(topic, message("is anybody there?"), deadline).await;
            let fault = asked.map_err(|error| error.fault);
            assert_eq!(fault, Err(Fault::Unsupported), "{lack:?} is lacking: a request");
            let fault =
                member.reply(topic.as_str(), message("yes"), deadline).await.map_err(|error| error.fault);
            assert_eq!(fault, Err(Fault::Unsupported), "{lack:?} is lacking: a reply");
        }
        Ability::Registry => {
            assert!(!harness.driver().keeps_registry(&harness.settings()), "{lack:?} is lacking: the driver");
            assert!(member.registry(&unique()).is_err(), "{lack:?} is lacking: the bridge");
        }
        Ability::Seek => {
            let deadline = Instant::now() + harness.patience();
            let moved =
                member.seek(&wish(harness, topic, &unique()), deadline).await.map_err(|error| error.fault);
            assert_eq!(moved, Err(Fault::Unsupported), "{lack:?} is lacking: a group that moves");
        }
        Ability::SeparateMembers => {
            let again = harness.open().await;
            assert!(Arc::ptr_eq(member, &again), "{lack:?} is lacking: opening again gives the one bridge");
        }
        Ability::Start => refused(harness, member, starts(harness, topic), lack).await,
        Ability::Storage => {
            assert!(!harness.driver().stores(&harness.settings()), "{lack:?} is lacking: the driver");
            for receipt in publish(harness, member, topic, vec![message("stored by nobody")]).await {
                assert_eq!(receipt.guarantee, Guarantee::AtMostOnce, "{lack:?} is lacking: {receipt:?}");
            }
        }
        Ability::Tombstone => {
            let tombstone = Message { payload: None, ..keyed("key", "") };
            not_carried(harness, member, topic, tombstone, lack).await;
        }
        Ability::UnknownTopic => {
            publish(
                harness,
                member,
                &Topic::new(unique()),
                vec![message("makes its topic, or goes nowhere")],
            )
            .await;
        }
    }
}

/// `limits` refuses, and so does `subscribe`.
async fn refused(harness: &dyn Harness, member: &Arc<dyn Bridge>, wishes: Vec<Subscribe>, lack: Ability) {
    for wish in wishes {
        assert!(limits(harness, &wish).is_err(), "{lack:?} is lacking: limits of {wish:?}");
        let fault = member.subscribe(wish.clone()).await.map(drop).map_err(|error| error.fault);
        assert_eq!(fault, Err(Fault::Unsupported), "{lack:?} is lacking: {wish:?}");
    }
}

/// Publishing refuses a message, and stores nothing.
async fn not_carried(
    harness: &dyn Harness,
    member: &Arc<dyn Bridge>,
    topic: &Topic,
    message: Message,
    lack: Ability,
) {
    let outcomes = attempt(harness, member, topic, vec![message]).await;
    let fault = outcomes[0].as_ref().map_err(|error| error.fault);
    let refused = matches!(fault, Err(Fault::Unsupported | Fault::Invalid));
    assert!(refused, "{lack:?} is lacking: expected Unsupported or Invalid, got {fault:?}");
}

fn orders(harness: &dyn Harness, topic: &Topic) -> Vec<Subscribe> {
    [Order::Key, Order::Topic].map(|order| Subscribe { order, ..wish(harness, topic, &unique()) }).into()
}

fn starts(harness: &dyn Harness, topic: &Topic) -> Vec<Subscribe> {
    let position = Position { partition: 0, sequence: 0 };
    [Start::Begin, Start::Time(SystemTime::now()), Start::Position(vec![position])]
        .map(|start| Subscribe { start, ..wish(harness, topic, &unique()) })
        .into()
}

/// How long a request waits that nobody hears.
const SHORT: Duration = Duration::from_secs(3);
