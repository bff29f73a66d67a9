//! Outcomes of publishing that only this bridge has.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Fault, Message};
use tokio::time::{Instant, sleep};

use crate::support::*;

fn once(id: &str) -> Message {
    Message { deduplication: Some(id.into()), ..text(id) }
}

#[tokio::test]
async fn a_deduplication_id_counts_within_one_batch_and_until_its_window_ends() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), json!({"deduplication": "300ms"})).unwrap();
    let batch = vec![once("x"), once("y"), once("x")];
    let outcomes = bridge.publisher().publish(&topic("a"), batch, soon()).await;
    let receipts: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(receipts.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(receipts[0].position, receipts[2].position);
    assert!(receipts.iter().all(|receipt| receipt.deduplicated && receipt.local));

    let until = Instant::now() + PATIENCE;
    let again = loop {
        let receipt = publish(&*bridge, "a", once("x")).await.unwrap();
        if !receipt.duplicate {
            break receipt;
        }
        assert_eq!(receipt.position, receipts[0].position);
        assert!(Instant::now() < until, "the window does not end");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(again.position > receipts[1].position);
    // The old entry is forgotten, the new one is not.
    assert!(publish(&*bridge, "a", once("x")).await.unwrap().duplicate);
    assert_eq!(everything(&*bridge, "a", "a").await, ["x", "y", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_queue_is_refused_at_once_and_never_appears() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    let publisher = bridge.publisher();
    let calls = (0..10).map(|call| {
        let batch = (0..6000).map(|n| text(&format!("{call}-{n}"))).collect();
        publisher.publish(&topic("a"), batch, soon())
    });
    let calls: Vec<_> = calls.collect();
    let mut stored = Vec::new();
    let mut overloaded = 0;
    for (call, outcomes) in calls.into_iter().enumerate() {
        for (n, outcome) in outcomes.await.into_iter().enumerate() {
            match outcome {
                Ok(_) => stored.push(format!("{call}-{n}")),
                Err(error) => {
                    assert_eq!(error.fault, Fault::Overloaded);
                    overloaded += 1;
                }
            }
        }
    }
    assert!(overloaded > 0 && !stored.is_empty(), "{overloaded} of 60000 refused");
    assert_eq!(everything(&*bridge, "a", "a").await, stored);
}

#[tokio::test]
async fn a_deadline_that_passes_cancels_nothing() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    // So many that they cannot be on the disk by the time their outcome is asked for.
    let mut bodies: Vec<String> = (0..6000).map(|n| n.to_string()).collect();
    let batch = bodies.iter().map(|body| text(body)).collect();
    let outcomes = bridge.publisher().publish(&topic("a"), batch, Instant::now()).await;
    assert_eq!(outcomes.len(), bodies.len());
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap_err().fault == Fault::Timeout));
    drop(bridge.publisher().publish(&topic("a"), vec![text("nobody waits")], soon()));
    bodies.push("nobody waits".to_owned());
    assert_eq!(everything(&*bridge, "a", "a").await, bodies);
}
