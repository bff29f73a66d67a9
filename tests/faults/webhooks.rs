//! The webhook is away, wrong or slow.

use std::time::Duration;

use sidespan_test_support::{Ground, Manner, on};
use tokio::time::{Instant, sleep};

use crate::run::Run;
use crate::{NEVER, scale};

on!(that_is_away_or_wrong_buries_nothing on every broker);
on!(that_is_slow_holds_up_only_its_keys on every broker);
on!(that_is_slow_holds_up_nothing_without_an_order on every broker);

/// As many attempts as there are by default: with these waits they would be used up within two seconds.
const ATTEMPTS: u32 = 20;

async fn that_is_away_or_wrong_buries_nothing(ground: Ground) {
    let name = format!("{}, webhook away and wrong", ground.name());
    let mut run = Run::prepare(&name, &ground.shared().await, ATTEMPTS).await;
    run.publish(scale::messages());
    run.load.until_delivered(scale::messages() / 3).await;
    run.load.close_webhook().await;
    run.fault();
    sleep(scale::outage()).await;
    run.load.open_webhook().await;

    run.load.until_delivered(scale::messages() * 2 / 3).await;
    run.load.answer(Manner::Refusing(404));
    run.fault();
    let before = run.load.history().attempts();
    sleep(scale::outage()).await;
    let probes = run.load.history().attempts() - before;
    run.load.answer(Manner::Failing);
    let figures = run.finish().await;
    println!("{name}: {probes} attempts while it answered 404");
    assert_eq!(figures.dead, 0, "{figures}");
}

async fn that_is_slow_holds_up_only_its_keys(ground: Ground) {
    let name = format!("{}, webhook slow, by key", ground.name());
    let slow = scale::slowness();
    let scene = ground.shared().await.timeout(2 * slow);
    let mut run = Run::prepare(&name, &scene, NEVER).await;
    run.load.answer(Manner::Slow(slow));
    run.publish_on();
    run.load.until_delivered(scale::messages()).await;
    let others = run.load.history().meanwhile(slow);
    run.load.enough();
    let least = others.iter().min().copied();
    println!("{name}: {} slow answers; meanwhile at least {least:?} of 39 other keys went on", others.len());
    // The slow answers to other keys keep those busy.
    assert!(least.is_some_and(|least| least >= 10), "{others:?}");
    run.load.answer(Manner::Well);
    run.finish().await;
}

async fn that_is_slow_holds_up_nothing_without_an_order(ground: Ground) {
    let name = format!("{}, webhook slow, without an order", ground.name());
    let slow = scale::slowness();
    let scene = ground.shared().await.unordered().timeout(2 * slow);
    let mut run = Run::prepare(&name, &scene, NEVER).await;
    run.load.history().in_any_order();
    run.load.answer(Manner::Well);
    run.publish_on();
    let half = scale::messages() / 2;
    // The first messages are slow in their own way.
    run.load.until_delivered(100).await;
    let well = time(&run, half).await;
    run.load.answer(Manner::Slow(slow));
    let slowed = time(&run, half).await;
    run.load.enough();
    println!("{name}: {half} messages in {well:.2?} while it is well, in {slowed:.2?} while it is slow");
    assert!(slowed < 3 * well + slow, "{slowed:?} against {well:?}");
    run.load.answer(Manner::Well);
    run.finish().await;
}

async fn time(run: &Run, messages: usize) -> Duration {
    let began = Instant::now();
    run.load.until_delivered_more(messages).await;
    began.elapsed()
}
