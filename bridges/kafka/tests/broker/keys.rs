//! Keys are placed as Kafka's own producer places them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use sidespan_bridge::Message;
use sidespan_test_support::{Kafka, Random, unique_name};

use super::{open, publish, text};

#[tokio::test]
async fn keys_are_placed_as_the_java_client_places_them() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("keys");
    kafka.create_topic(&topic, PARTITIONS).await;
    let mut random = Random::from_env();
    let mut key = |_| {
        let length = random.below(40) as usize;
        random.bytes(length)
    };
    let mut keys: Vec<Vec<u8>> = (0..999).map(&mut key).collect();
    keys.push(Vec::new());

    let bridge = open(kafka);
    let keyed = |key: &Vec<u8>| Message { key: Some(key.clone().into()), ..text("x") };
    let receipts = publish(&*bridge, &topic, keys.iter().map(keyed).collect()).await;

    let java = java_places(&keys);
    for ((key, receipt), java) in keys.iter().zip(receipts).zip(java) {
        assert_eq!(receipt.position.unwrap().partition, java, "{key:?}");
    }
}

fn java_places(keys: &[Vec<u8>]) -> Vec<u32> {
    let classpath = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/kafka/classpath"));
    let classpath = { classpath }.output().unwrap().stdout;
    let mut java = Command::new("java")
        .args(["-cp", String::from_utf8(classpath).unwrap().trim()])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/Placement.java"))
        .arg(PARTITIONS.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = keys.iter().fold(String::new(), |mut lines, key| {
        key.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines + "\n"
    });
    java.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = java.wait_with_output().unwrap();
    let places = String::from_utf8(output.stdout).unwrap();
    let places: Vec<u32> = places.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(places.len(), keys.len());
    places
}

/// Not a power of two, so that all bits of a hash count.
const PARTITIONS: u32 = 7;
