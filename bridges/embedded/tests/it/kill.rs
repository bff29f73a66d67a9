//! A process that is killed with -9 at random instants.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sidespan_bridge::{Bridge, Event, Settlement, Start, Verdict};

use crate::support::*;

/// What a process said before it was killed.
#[derive(Default)]
struct Said {
    /// Messages with a receipt.
    receipts: BTreeSet<u64>,
    /// Messages whose settlement was confirmed.
    confirmed: BTreeSet<u64>,
    /// Messages that were delivered.
    delivered: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_keeps_what_it_has_said() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut all = Said::default();
    let mut repeats = 0;
    let mut random = u64::from(std::process::id()) | 1;
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let said = live_and_die(dir.path(), round, (random >> 33) as usize % 1500).await;
        for number in &said.delivered {
            assert!(!all.confirmed.contains(number), "{number} was accepted and confirmed, and came again");
        }
        repeats += said.delivered.iter().filter(|number| all.delivered.contains(number)).count();
        all.receipts.extend(said.receipts);
        all.confirmed.extend(said.confirmed);
        all.delivered.extend(said.delivered);
    }
    println!("{} receipts, {} confirmed, {repeats} repeats", all.receipts.len(), all.confirmed.len());
    assert!(all.receipts.len() > 100 && all.confirmed.len() > 100, "the processes did too little to tell");

    listen();
    let bridge = open(dir.path());
    assert!(!said(&["WARN", "was not closed", dir.path().to_str().unwrap()]).is_empty());
    let stored: BTreeSet<u64> =
        everything(&*bridge, ">", "zz").await.iter().map(|body| number(body)).collect();
    assert_eq!(all.receipts.difference(&stored).next(), None, "a message with a receipt is gone");
    let mut inbox = subscribe(&*bridge, "k.*", Some("work"), Start::Begin).await;
    let lag = inbox.control().lag().await.unwrap().messages;
    for _ in 0..lag {
        let delivery = next(&mut *inbox).await;
        let number = number(&body(&delivery));
        assert!(!all.confirmed.contains(&number), "{number} was accepted and confirmed, and came again");
        all.delivered.push(number);
        delivery.ack.settle(Verdict::Accept);
    }
    let delivered: BTreeSet<u64> = all.delivered.into_iter().collect();
    assert_eq!(stored.difference(&delivered).next(), None, "a message was never delivered");
}

/// Runs a process until it has said so many lines, and kills it.
async fn live_and_die(dir: &Path, round: u64, lines: usize) -> Said {
    let dir = dir.to_owned();
    let live = move || {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "kill::the_process_that_is_killed", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Said::default();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut killed = false;
        // What it said before it died is still in the pipe afterwards.
        for (count, line) in out.lines().map_while(Result::ok).enumerate() {
            if count >= lines && !killed {
                child.kill().unwrap();
                killed = true;
            }
            let Some((what, number)) = line.split_once(' ') else { continue };
            match (what, number.parse()) {
                ("receipt", Ok(number)) => drop(said.receipts.insert(number)),
                ("confirmed", Ok(number)) => drop(said.confirmed.insert(number)),
                ("delivered", Ok(number)) => said.delivered.push(number),
                _ => {}
            }
        }
        child.wait().unwrap();
        assert!(killed, "the process ended by itself");
        said
    };
    tokio::task::spawn_blocking(live).await.unwrap()
}

/// Not a test: the process that the test above starts, and kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is started, and killed, by another test"]
async fn the_process_that_is_killed() {
    let (Ok(dir), Ok(first)) = (env::var(DIR), env::var(FIRST)) else { return };
    let bridge = open(Path::new(&dir));
    let numbers = Arc::new(AtomicU64::new(first.parse().unwrap()));
    for _ in 0..8 {
        tokio::spawn(publish_for_ever(Arc::clone(&bridge), Arc::clone(&numbers)));
    }
    let mut inbox = subscribe(&*bridge, "k.*", Some("work"), Start::Begin).await;
    while let Some(Ok(Event::Delivery(delivery))) = inbox.next().await {
        let number = number(&body(&delivery));
        say("delivered", number);
        // Some are held, so that what is settled is no plain prefix.
        let hold = Duration::from_millis(number % 7 * 3);
        tokio::spawn(async move {
            tokio::time::sleep(hold).await;
            if delivery.ack.settle(Verdict::Accept).await == Settlement::Confirmed {
                say("confirmed", number);
            }
        });
    }
}

async fn publish_for_ever(bridge: Arc<dyn Bridge>, numbers: Arc<AtomicU64>) {
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let padding = "x".repeat((number * 37 % 900) as usize);
        let message = text(&format!("{number} {padding}"));
        if publish(&*bridge, &format!("k.{}", number % 5), message).await.is_ok() {
            say("receipt", number);
        }
    }
}

fn say(what: &str, number: u64) {
    // One write a line, straight to the pipe.
    std::io::stdout().lock().write_all(format!("{what} {number}\n").as_bytes()).unwrap();
}

fn number(body: &str) -> u64 {
    body.split(' ').next().unwrap().parse().unwrap()
}

const DIR: &str = "SIDESPAN_TEST_KILL_DIR";
const FIRST: &str = "SIDESPAN_TEST_KILL_FIRST";
const ROUNDS: u64 = 12;
