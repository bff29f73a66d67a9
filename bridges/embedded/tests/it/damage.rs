//! Files that are not as they were written.

use std::fs;
use std::path::Path;

use serde_json::json;
use sidespan_bridge::{Fault, Start, Verdict};
use tempfile::TempDir;

use crate::support::*;

/// Copies a directory as a process that dies now would leave it.
fn leave(dir: &Path) -> TempDir {
    let left = TempDir::new().unwrap();
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    left
}

fn log(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("log.redb")
}

#[tokio::test]
async fn a_flipped_bit_costs_one_message_and_is_never_served() {
    listen();
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    for n in 0..50 {
        publish(&*bridge, "flipped", text(&format!("message-{n}-"))).await.unwrap();
    }
    bridge.close(soon()).await;
    let mut bytes = fs::read(log(&dir)).unwrap();
    // Pages are copied when they change, so the text may stand in several places.
    let needle = b"message-20-";
    let places: Vec<usize> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(log(&dir), bytes).unwrap();

    let bridge = open(dir.path());
    let expected: Vec<String> = (0..50).filter(|n| *n != 20).map(|n| format!("message-{n}-")).collect();
    assert_eq!(everything(&*bridge, "flipped", "flipped").await, expected);
    // A durable group gets past it too, and so does what is released and read again.
    let mut inbox = subscribe(&*bridge, "flipped", Some("g"), Start::Begin).await;
    for expected in &expected {
        drop(next(&mut *inbox).await);
        let delivery = next(&mut *inbox).await;
        assert_eq!(body(&delivery), *expected);
        delivery.ack.settle(Verdict::Accept);
    }
    publish(&*bridge, "flipped", text("after")).await.unwrap();
    let lines = said(&["ERROR", "damaged", "topic=\"flipped\"", "position=\"0-21\""]);
    assert!(lines.len() >= 2, "it is not said to each reader: {lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_makes_a_false_message_or_takes_the_process_down() {
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    for n in 0..200 {
        publish(&*bridge, "a", text(&format!("{n} {}", "x".repeat(300)))).await.unwrap();
    }
    let left = leave(dir.path());
    let original = fs::read(log(&left)).unwrap();
    let (mut whole, mut partial, mut refused) = (0, 0, 0);
    let mut random = 12_345_u64;
    for round in 0..30 {
        let mut bytes = original.clone();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut at = (random >> 20) as usize % bytes.len();
        while bytes[at] == 0 {
            at = (at + 1) % bytes.len();
        }
        bytes[at] ^= 1 << (round % 8);
        fs::write(log(&left), bytes).unwrap();
        let Ok(bridge) = try_open(left.path(), json!({})) else {
            refused += 1;
            continue;
        };
        let mut inbox = subscribe(&*bridge, "a", None, Start::Begin).await;
        let mut seen = 0;
        // Where the damage is in the way of everything behind it, nothing comes, and that is all.
        while let Ok(Some(event)) =
            tokio::time::timeout(std::time::Duration::from_millis(300), inbox.next()).await
        {
            let sidespan_bridge::Event::Delivery(delivery) = event.unwrap() else { continue };
            let body = body(&delivery);
            let (number, rest) = body.split_once(' ').unwrap();
            assert!(number.parse::<u32>().unwrap() < 200 && rest == "x".repeat(300), "{body}");
            delivery.ack.settle(Verdict::Accept);
            seen += 1;
            if seen == 200 {
                break;
            }
        }
        if seen == 200 {
            whole += 1
        } else {
            partial += 1
        }
        // The next round opens the same directory, and must not find it locked.
        drop(inbox);
        bridge.close(tokio::time::Instant::now() + PATIENCE).await;
    }
    println!("{whole} whole, {partial} with a loss that was said, {refused} refused");
    assert!(whole + partial > 15);
}

#[tokio::test]
async fn pages_torn_before_a_commit_was_complete_do_not_count() {
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    let mut expected = Vec::new();
    for n in 0..40 {
        let body = format!("{n} {}", "x".repeat(500));
        publish(&*bridge, "a", text(&body)).await.unwrap();
        expected.push(body);
    }
    let before = fs::read(log(&leave(dir.path()))).unwrap();
    publish(&*bridge, "a", text(&"y".repeat(9000))).await.unwrap();
    let after = fs::read(log(&leave(dir.path()))).unwrap();
    assert_ne!(before, after);
    // The power fails before the header is written: any of the other pages may be there or not.
    let mut random = 99_u64;
    for _ in 0..30 {
        let mut torn = before.clone();
        torn.resize(before.len().max(after.len()), 0);
        for page in 1..after.len() / PAGE {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let range = page * PAGE..(page + 1) * PAGE;
            if before.get(range.clone()) != after.get(range.clone()) && random >> 63 == 0 {
                let torn_at = (random >> 40) as usize % PAGE;
                let range = range.start..range.start + torn_at;
                torn[range.clone()].copy_from_slice(&after[range]);
            }
        }
        let left = leave(dir.path());
        fs::write(log(&left), torn).unwrap();
        let bridge = open(left.path());
        assert_eq!(everything(&*bridge, "a", "a").await, expected);
    }
}

#[tokio::test]
async fn a_tail_that_is_no_whole_page_is_repaired_and_said() {
    listen();
    let dir = TempDir::new().unwrap();
    let bridge = open(dir.path());
    publish(&*bridge, "a", text("x")).await.unwrap();
    let left = leave(dir.path());
    let original = fs::read(log(&left)).unwrap();
    for tail in [1, 100, PAGE - 1] {
        let torn = [&*original, &vec![0xaa; tail]].concat();
        fs::write(log(&left), torn).unwrap();
        let bridge = open(left.path());
        assert_eq!(everything(&*bridge, "a", "a").await, ["x"]);
        assert!(!said(&["WARN", "had to be repaired", left.path().to_str().unwrap()]).is_empty());
        bridge.close(soon()).await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_log_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    open(dir.path()).close(soon()).await;
    fs::write(log(&dir), "this is no log".repeat(1000)).unwrap();
    let before = fs::read(log(&dir)).unwrap();
    let error = try_open(dir.path(), json!({})).err().unwrap();
    assert_eq!(error.fault, Fault::Unavailable);
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    assert_eq!(fs::read(log(&dir)).unwrap(), before);
}

const PAGE: usize = 4096;
