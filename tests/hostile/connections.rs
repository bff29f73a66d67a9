//! Connections without requests, and heads of requests that do not end.

use std::time::Duration;

use sidespan_test_support::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::target::{Target, connections};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let target = Target::start("").await;
    let before = target.resident();
    let greeting = greeting(&target);
    let mut idle = Vec::new();
    for number in 0..connections(10_000) {
        // Some have had an answer, most have said nothing, and some have begun to speak.
        let said: &[u8] = match number % 100 {
            0 => &greeting,
            1 => b"POST /v1/top",
            _ => b"",
        };
        idle.push(target.connect(said).await);
    }
    // The honest client's own connection made room for one of these. A request that crosses its end is
    // lost, as HTTP has it: so not before all are taken in.
    idle.push(spoken(&target).await);
    target.serves_the_honest().await;
    let grown = target.resident() - before;
    let each = grown / idle.len() as u64;
    eprintln!("{} idle connections: {} KiB more, {each} bytes each", idle.len(), grown >> 10);
    assert!(each < 8 << 10, "an idle connection costs {each} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bound_the_connection_that_was_idle_longest_makes_room() {
    let target = Target::start("max_connections: 8").await;
    let mut first = spoken(&target).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(spoken(&target).await);
    }
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, first.read_to_end(&mut rest)).await;
    assert_eq!(end.expect("the first one is closed").expect("without an error"), 0);

    let mut last = others.pop().unwrap();
    last.write_all(&greeting(&target)).await.unwrap();
    assert!(answered(&mut last).await, "the last one is still served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_never_makes_room() {
    let target = Target::start("max_connections: 4, read_timeout: 1m, timeout: 20s").await;
    let mut slow = target.connect(&target.post(6, b"the")).await;
    for _ in 0..20 {
        drop(spoken(&target).await);
        let _kept = spoken(&target).await;
    }
    slow.write_all(b"end").await.unwrap();
    assert!(answered(&mut slow).await, "the slow request is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_drip_are_cut_off() {
    let target = Target::start("idle_timeout: 1s").await;
    let mut dripping = Vec::new();
    for _ in 0..500 {
        dripping
            .push(target.connect(b"POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\n").await);
    }
    target.serves_the_honest().await;
    // A byte every now and then must not buy more time.
    eventually(PATIENCE, "every dripping connection to be closed", async || {
        let mut open = Vec::new();
        for mut stream in dripping.drain(..) {
            if stream.write_all(b"x: y\r\n").await.is_ok() && !closed(&mut stream).await {
                open.push(stream);
            }
        }
        dripping = open;
        dripping.is_empty()
    })
    .await;
    target.serves_the_honest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused_and_leave_nothing() {
    let target = Target::start("").await;
    let before = target.resident();
    let many = "x-one-of-many: value\r\n".repeat(5000);
    let long = format!("x-long: {}\r\n", "y".repeat(200 << 10));
    for _ in 0..100 {
        for headers in [&many, &long] {
            let host = target.authority();
            let head = format!("GET /v1/topics HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
            let mut stream = target.connect(head.as_bytes()).await;
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).await.is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 431");
            }
        }
    }
    target.serves_the_honest().await;
    let grown = target.resident().saturating_sub(before);
    eprintln!("200 header bombs: {} KiB more", grown >> 10);
    assert!(grown < 16 << 20, "{grown} bytes");
}

/// Opens a connection that has had an answer, and is idle since.
async fn spoken(target: &Target) -> TcpStream {
    let mut stream = target.connect(&greeting(target)).await;
    assert!(answered(&mut stream).await, "an answer");
    stream
}

/// Waits for an answer without a body.
async fn answered(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    let reading = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return false,
                Ok(length) => head.extend_from_slice(&piece[..length]),
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer in time")
}

/// Tells whether the server has closed a connection.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut piece = [0; 1024];
    let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut piece)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// A request that is answered without a body.
fn greeting(target: &Target) -> Vec<u8> {
    format!("HEAD /v1/topics HTTP/1.1\r\nHost: {}\r\n\r\n", target.authority()).into_bytes()
}
