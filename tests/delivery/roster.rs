//! Many subscriptions, of which one is changed.

use std::sync::Arc;
use std::time::Duration;

use sidespan::config::{Name, Subscription};
use sidespan::delivery::{Rest, Roster, Running, State, Wish};
use sidespan_test_support::{Answer, Webhook, eventually};
use tokio::time::Instant;

use crate::bench::{Bench, subscription};

const CROWD: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

fn named(of: &Subscription, number: usize) -> Arc<Subscription> {
    let name = Name::parse(&format!("s{number}")).unwrap();
    Arc::new(Subscription { group: format!("shop.{name}").into(), name, ..of.clone() })
}

fn is_same(before: &[Arc<Running>], now: &[Arc<Running>], changed: &str) -> bool {
    let others = |all: &[Arc<Running>]| -> Vec<Arc<Running>> {
        all.iter().filter(|one| one.subscription().name.as_str() != changed).cloned().collect()
    };
    let (before, now) = (others(before), others(now));
    before.len() == now.len() && before.iter().zip(&now).all(|(before, now)| Arc::ptr_eq(before, now))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_hundred_only_the_one_that_is_changed_notices() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let bench = Bench::open();
    let first = subscription(&webhook.url("/"));
    let roster = Arc::new(Roster::new([(first.bridge.clone(), bench.bridge.clone())].into()));
    for number in 0..CROWD {
        let one = named(&first, number);
        roster.wish(&one.name.clone(), Some(Wish::of(one)));
    }
    let running = || roster.all().iter().filter(|one| one.status().state == State::Running).count();
    eventually(PATIENCE, "all run", async || running() == CROWD).await;
    let before = roster.all();

    let added = named(&first, CROWD);
    roster.wish(&added.name.clone(), Some(Wish::of(added.clone())));
    eventually(PATIENCE, "one more runs", async || running() == CROWD + 1).await;
    assert!(is_same(&before, &roster.all(), "s500"));

    let rest = Wish { rest: Some(Rest::Paused), ..Wish::of(added.clone()) };
    roster.wish(&added.name, Some(rest));
    assert!(roster.settled("s500", Instant::now() + PATIENCE).await);
    assert_eq!(running(), CROWD);
    assert!(is_same(&before, &roster.all(), "s500"));

    // The same wish again is none.
    let again = named(&first, 7);
    roster.wish(&again.name.clone(), Some(Wish::of(again)));
    assert!(is_same(&before, &roster.all(), "s500"));

    roster.wish(&added.name, None);
    eventually(PATIENCE, "it is gone", async || roster.find("s500").is_none()).await;

    // Once it is frozen nothing begins.
    roster.freeze();
    roster.wish(&added.name.clone(), Some(Wish::of(added)));
    assert!(roster.find("s500").is_none());
    roster.close(Instant::now() + PATIENCE).await;
}
