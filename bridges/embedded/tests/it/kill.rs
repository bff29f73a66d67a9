//! A process that is killed with -9 at random instants.

use sidespan_test_support::Random;

use crate::life::{Said, command, live};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_keeps_what_it_has_said() {
    kill(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_process_that_is_killed_two_hundred_times_keeps_what_it_has_said() {
    kill(200).await;
}

async fn kill(times: u64) {
    let mut random = Random::from_env();
    let dir = tempfile::TempDir::new().unwrap();
    let mut all = Said::default();
    let mut repeats = 0;
    for round in 0..times {
        let mut left = random.below(600);
        let is_over = move |_: &Said| {
            left = left.saturating_sub(1);
            left == 0
        };
        repeats += all.go_on(live(command(dir.path(), round * 1_000_000), is_over).await);
    }
    let (receipts, confirmed) = (all.receipts.len(), all.confirmed.len());
    println!("{times} kills: {receipts} receipts, {confirmed} confirmed, {repeats} repeats");
    assert!(receipts > 100 && confirmed > 100, "the processes did too little to tell");
    listen();
    all.check(dir.path()).await;
    assert!(!said(&["WARN", "was not closed", dir.path().to_str().unwrap()]).is_empty());
}
