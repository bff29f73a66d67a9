//! A process that publishes, reads and settles until it is killed, and says what it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use sidespan_bridge::{Bridge, Event, Fault, Message, Order, Settlement, Start, Subscribe, Verdict};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::*;

/// What processes have said before they were killed. Messages have numbers, which ascend per key.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Messages with a receipt.
    pub(crate) receipts: BTreeSet<u64>,
    /// Messages of which it was said that they are not stored.
    pub(crate) refused: BTreeSet<u64>,
    /// Messages whose settlement was confirmed.
    pub(crate) confirmed: BTreeSet<u64>,
    /// Messages that were delivered, as often as they were.
    pub(crate) delivered: Vec<u64>,
}

impl Said {
    /// Takes down what a line says, if it says something.
    pub(crate) fn hear(&mut self, line: &str) {
        let Some((what, number)) = line.split_once(' ') else { return };
        match (what, number.parse()) {
            ("receipt", Ok(number)) => drop(self.receipts.insert(number)),
            ("refused", Ok(number)) => drop(self.refused.insert(number)),
            ("confirmed", Ok(number)) => drop(self.confirmed.insert(number)),
            ("delivered", Ok(number)) => self.delivered.push(number),
            _ => {}
        }
    }

    /// Takes down what the next process has said, and returns how many messages came again.
    pub(crate) fn go_on(&mut self, next: Self) -> usize {
        for number in &next.delivered {
            assert!(!self.confirmed.contains(number), "{number} was accepted and confirmed, and came again");
        }
        let repeats = next.delivered.iter().filter(|number| self.delivered.contains(number)).count();
        self.receipts.extend(next.receipts);
        self.refused.extend(next.refused);
        self.confirmed.extend(next.confirmed);
        self.delivered.extend(next.delivered);
        self.check_order();
        repeats
    }

    /// Within a key a delivery goes back only to what was delivered before.
    fn check_order(&self) {
        let (mut newest, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for number in &self.delivered {
            let newest = newest.entry(key(*number)).or_insert(*number);
            assert!(*number >= *newest || seen.contains(number), "{number} comes after {newest}");
            *newest = (*newest).max(*number);
            seen.insert(*number);
        }
    }

    /// Opens what is left in a directory, and finds there what was said.
    pub(crate) async fn check(mut self, dir: &Path) {
        let bridge = open(dir);
        let stored: Vec<u64> =
            everything(&*bridge, ">", "zz").await.iter().map(|body| number(body)).collect();
        let mut newest = BTreeMap::new();
        for number in &stored {
            let before = newest.insert(key(*number), *number);
            assert!(before < Some(*number), "{number} is stored behind {before:?}");
        }
        let stored = BTreeSet::from_iter(stored);
        assert_eq!(self.receipts.difference(&stored).next(), None, "a message with a receipt is gone");
        assert_eq!(self.refused.intersection(&stored).next(), None, "a message that was refused is there");

        let mut inbox = bridge.subscribe(group()).await.unwrap();
        let mut rest = Self::default();
        for _ in 0..inbox.control().lag().await.unwrap().messages {
            let delivery = next(&mut *inbox).await;
            rest.delivered.push(number(&body(&delivery)));
            delivery.ack.settle(Verdict::Accept);
        }
        self.go_on(rest);
        let delivered = BTreeSet::from_iter(self.delivered);
        assert_eq!(stored.difference(&delivered).next(), None, "a message was never delivered");
        bridge.close(soon()).await;
    }
}

/// Stores as many messages as a process would, and returns what is said of them.
pub(crate) async fn store(dir: &Path, count: u64) -> Said {
    let bridge = open(dir);
    let publisher = bridge.publisher();
    let store = |number| publisher.publish(&topic(&topic_of(number)), vec![message(number)], soon());
    for outcomes in join_all((0..count).map(store)).await {
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    bridge.close(soon()).await;
    Said { receipts: (0..count).collect(), ..Said::default() }
}

/// Returns the command of a process that publishes messages from a number on.
pub(crate) fn command(dir: &Path, first: u64) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "life::the_process_that_is_killed", "--ignored", "--nocapture"]);
    command.env(DIR, dir).env(FIRST, first.to_string());
    command
}

/// Runs a process and kills it as soon as `is_over` says so of what was said by then.
pub(crate) async fn live(
    mut command: Command,
    mut is_over: impl FnMut(&Said) -> bool + Send + 'static,
) -> Said {
    let live = move || {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(1);
        let reader =
            thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (mut said, mut killed) = (Said::default(), false);
        // What it said before it died is still in the pipe afterwards.
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => said.hear(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    panic!("the process says nothing any more");
                }
            }
            if !killed && is_over(&said) {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        drop(reader.join());
        assert!(killed, "the process ended by itself");
        said
    };
    tokio::task::spawn_blocking(live).await.unwrap()
}

/// Not a test: the process that tests start, and kill.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is started, and killed, by tests"]
async fn the_process_that_is_killed() {
    let (Ok(dir), Ok(first)) = (env::var(DIR), env::var(FIRST)) else { return };
    let bridge = open(Path::new(&dir));
    let first: u64 = first.parse().unwrap();
    // First, as a disk that fails would refuse it.
    let mut inbox = bridge.subscribe(group()).await.unwrap();
    let _publishers: Vec<_> =
        (0..KEYS).map(|key| publish_for_ever(Arc::clone(&bridge), first + key)).collect();
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

fn publish_for_ever(bridge: Arc<dyn Bridge>, first: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in (first..).step_by(KEYS as usize) {
            let topic = topic(&topic_of(number));
            // While the disk fails nobody knows of what was handed over, and the next must not wait long.
            let deadline = Instant::now() + Duration::from_secs(2);
            match bridge.publisher().publish(&topic, vec![message(number)], deadline).await.remove(0) {
                Ok(_) => say("receipt", number),
                Err(error) if error.fault == Fault::Timeout => say("unknown", number),
                Err(_) => {
                    say("refused", number);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    })
}

fn group() -> Subscribe {
    Subscribe { order: Order::Key, ..wish("k.*", Some("work"), Start::Begin) }
}

fn say(what: &str, number: u64) {
    // One write a line, straight to the pipe.
    std::io::stdout().lock().write_all(format!("{what} {number}\n").as_bytes()).unwrap();
}

fn number(body: &str) -> u64 {
    body.split(' ').next().unwrap().parse().unwrap()
}

fn key(number: u64) -> u64 {
    number % KEYS
}

fn message(number: u64) -> Message {
    let padding = "x".repeat((number * 37 % 900) as usize);
    Message { key: Some(key(number).to_string().into()), ..text(&format!("{number} {padding}")) }
}

/// Several keys share a topic, as order is kept within one.
fn topic_of(number: u64) -> String {
    format!("k.{}", key(number) % 3)
}

const DIR: &str = "SIDESPAN_TEST_LIFE_DIR";
const FIRST: &str = "SIDESPAN_TEST_LIFE_FIRST";
const KEYS: u64 = 8;
