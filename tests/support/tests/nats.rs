//! The NATS server that tests run against starts, dies, comes back and goes away with the test run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use sidespan_test_support::{Nats, eventually, unique_name};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_broker_is_shared_by_the_tests_of_a_binary() {
    let (one, other) = tokio::join!(Nats::shared(), Nats::shared());
    assert_eq!(one.url(), other.url());
    assert!(one.url().ends_with(&format!(":{}", one.port())), "{}", one.url());
    let stream = unique_name("orders");
    assert!(!ask(one, "INFO", &stream, "").await.contains("\"config\""));
    create(one, &stream).await;
    assert!(ask(other, "INFO", &stream, "").await.contains("\"config\""));
}

#[tokio::test]
async fn a_broker_dies_and_comes_back_with_its_data() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let url = nats.url().to_owned();
    create(&nats, "orders").await;

    nats.kill();
    assert!(TcpStream::connect(("127.0.0.1", nats.port())).await.is_err(), "a killed broker listens");
    let start = Instant::now();
    nats.start_again().await;
    eprintln!("back {:?} after a kill", start.elapsed());
    assert_eq!(nats.url(), url);
    assert!(ask(&nats, "INFO", "orders", "").await.contains("\"config\""));
}

#[tokio::test]
async fn a_broker_stops_politely_and_freezes() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    nats.freeze();
    let frozen = timeout(Duration::from_millis(300), create(&nats, "orders")).await;
    assert!(frozen.is_err(), "a frozen broker answers");
    nats.thaw();
    create(&nats, "orders").await;

    nats.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", nats.port())).await.is_err(), "a stopped broker listens");
    nats.start_again_unready();
    eventually(Duration::from_secs(60), "the broker listens", async || {
        TcpStream::connect(("127.0.0.1", nats.port())).await.is_ok()
    })
    .await;
}

async fn create(nats: &Nats, stream: &str) {
    let settings = format!(r#"{{"name":"{stream}","subjects":["{stream}.>"]}}"#);
    let answer = ask(nats, "CREATE", stream, &settings).await;
    assert!(answer.contains("\"config\""), "{answer}");
}

/// Asks JetStream, in a dozen words of the protocol.
async fn ask(nats: &Nats, verb: &str, stream: &str, request: &str) -> String {
    let mut socket = BufReader::new(TcpStream::connect(("127.0.0.1", nats.port())).await.unwrap());
    let mut greeting = String::new();
    socket.read_line(&mut greeting).await.unwrap();
    let words = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.{verb}.{stream} answer {}\r\n{request}\r\n",
        request.len()
    );
    socket.write_all(words.as_bytes()).await.unwrap();
    let mut lines = socket.lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with('{') {
            return line;
        }
    }
    panic!("the server has hung up");
}
