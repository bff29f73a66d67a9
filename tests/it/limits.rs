//! Bodies that are too large, too slow or too many, and compressed ones.

use std::time::Duration;

use async_compression::Level;
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use async_compression::zstd::CParameter;
use serde_json::Value;
use sidespan_test_support::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Server, head};

const ORDERS: &str = "/v1/topics/orders/messages";

#[tokio::test]
async fn a_large_body_is_refused_before_it_is_sent() {
    let server = Server::with("limits: { max_message: 64KiB }").await;
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n",
        server.address()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");

    let problem = server.post(ORDERS, vec![0; 65537]).problem(413, "TOO_LARGE").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_message"), "{problem}");
    server.publish("orders", vec![0; 65536]).await;
}

#[tokio::test]
async fn a_client_that_writes_before_it_reads_gets_to_read_the_refusal() {
    let server = Server::start().await;
    for (path, header, status) in [
        (ORDERS, "Accept: application/json", "413"),
        (ORDERS, "Accept: text/html", "406"),
        ("/v1/topics/nowhere%00/messages", "Accept: */*", "400"),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{header}\r\n\r\n",
            server.address(),
            LARGE
        );
        let mut stream = server.raw(&[request.as_bytes(), &vec![b'x'; LARGE]].concat()).await;
        let head = head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    }
}

#[tokio::test]
async fn a_head_has_at_most_a_hundred_headers() {
    let server = Server::start().await;
    let first = format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\n", server.address());
    for (more, status) in [(98, "200"), (99, "431")] {
        let request = first.clone() + &"X-Trouble: 1\r\n".repeat(more) + "\r\nx";
        let head = head(&mut server.raw(request.as_bytes()).await).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{more}: {head}");
    }
}

#[tokio::test]
async fn a_head_has_at_most_the_bytes_that_were_set() {
    let server = Server::with("limits: { max_head: 16KiB }").await;
    for (bytes, status) in [(15 << 10, "200"), (17 << 10, "431")] {
        let request = format!(
            "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\nX-Long: {}\r\n\r\nx",
            server.address(),
            "y".repeat(bytes)
        );
        let head = head(&mut server.raw(request.as_bytes()).await).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{bytes}: {head}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let server = Server::with("limits: { max_message: 64KiB }").await;
    let request =
        format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", server.address());
    for (chunks, status) in [(16, "200"), (17, "413")] {
        let mut stream = server.raw(request.as_bytes()).await;
        for _ in 0..chunks {
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{chunks}: {head}");
    }
    assert_eq!(server.messages("orders", 1).await[0]["text"].as_str().unwrap().len(), 65536);
}

#[tokio::test]
async fn a_body_that_stops_is_408_and_one_that_is_cut_is_not_stored() {
    let server = Server::with("limits: { read_timeout: 200ms }").await;
    let request =
        format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\nhalf", server.address());
    let mut stream = server.raw(request.as_bytes()).await;
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(head.to_lowercase().contains("application/problem+json"), "{head}");

    let stream = server.raw(request.as_bytes()).await;
    drop(stream);
    let receipt = server.publish("orders", "whole").await;
    assert_eq!(server.messages("orders", 1).await[0]["id"], receipt["id"]);
}

#[tokio::test]
async fn a_connection_on_which_no_request_begins_is_closed() {
    let server = Server::with("limits: { idle_timeout: 200ms }").await;
    for said in ["", "PRI * HT", "GET", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut silent = server.raw(said.as_bytes()).await;
        let end = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut Vec::new())).await;
        end.unwrap_or_else(|_| panic!("a connection that said {said:?} is held")).ok();
    }
    // Once there was one, a connection may take its time: the other bounds hold for it.
    let mut events = server.follow("/v1/topics/orders/stream?start=begin", &[]).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.publish("orders", "late").await;
    assert_eq!(events.message().await.1["text"], "late");
}

#[tokio::test]
async fn compressed_bodies_are_understood() {
    let server = Server::start().await;
    let text = "so much the same ".repeat(1000);
    for (encoding, body) in [("gzip", gzip(text.as_bytes()).await), ("zstd", zstd(text.as_bytes()).await)] {
        let sent = server
            .post(ORDERS, body)
            .header("Content-Encoding", encoding)
            .header("Content-Type", "text/plain");
        sent.expect(200).await;
    }
    for message in server.messages("orders", 2).await {
        assert_eq!(message["text"], text.as_str());
        assert_eq!(message["headers"], Value::Null, "the encoding was the request's, not the message's");
    }
    let sent = |encoding: &str, body: Vec<u8>| server.post(ORDERS, body).header("Content-Encoding", encoding);
    let whole = gzip(text.as_bytes()).await;
    sent("gzip", whole[..whole.len() - 9].to_vec()).problem(400, "INVALID_REQUEST").await;
    sent("zstd", b"not zstd".to_vec()).problem(400, "INVALID_REQUEST").await;
    sent("br", whole.clone()).problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    sent("gzip, zstd", whole.clone()).problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    let refused = sent("br", whole.clone()).send().await;
    assert_eq!(refused.header("accept-encoding"), "gzip, zstd");
    sent("gzip", whole).header("Content-Encoding", "gzip").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
}

#[tokio::test]
async fn what_decompresses_without_end_is_cut_off() {
    let server = Server::start().await;
    let zeros = vec![0; 64 << 20];
    for (encoding, bomb) in [("gzip", gzip(&zeros).await), ("zstd", zstd(&zeros).await)] {
        assert!(bomb.len() < 1 << 20);
        server.post(ORDERS, bomb).header("Content-Encoding", encoding).problem(413, "TOO_LARGE").await;
    }
    // What a frame's window takes in memory is bounded too (RFC 9659).
    for (window_log, status) in [(23, 200), (24, 400)] {
        let window = [CParameter::window_log(window_log)];
        let mut encoder = ZstdEncoder::with_quality_and_params(Vec::new(), Level::Fastest, &window);
        encoder.write_all(b"small").await.unwrap();
        encoder.flush().await.unwrap();
        encoder.shutdown().await.unwrap();
        let sent = server.post(ORDERS, encoder.into_inner()).header("Content-Encoding", "zstd").send().await;
        assert_eq!(sent.status, status, "2^{window_log}: {}", sent.text());
    }
    // Members without content, one after the other: nothing comes out, and still there is an end.
    let nothing = gzip(b"").await;
    let many = nothing.repeat((1 << 20) / nothing.len() - 1);
    server.post(ORDERS, many).header("Content-Encoding", "gzip").expect(200).await;
    let request = format!(
        "POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.address()
    );
    let mut stream = server.raw(request.as_bytes()).await;
    let piece = nothing.repeat(1000);
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
    let (mut answer, mut endless) = stream.split();
    let sending = async { while endless.write_all(&chunk).await.is_ok() {} };
    let head = async {
        let mut head = [0; 12];
        answer.read_exact(&mut head).await.map(|_| head)
    };
    // The server answers and closes; sending fails then.
    let ((), head) = tokio::join!(sending, head);
    assert_eq!(&head.unwrap(), b"HTTP/1.1 413");
}

#[tokio::test]
async fn beyond_what_may_be_in_flight_requests_are_refused_before_their_body() {
    let server = Server::with("limits: { max_in_flight: 1 }").await;
    let hanging = server.occupy(b"x".to_vec()).await;
    let problem = server.post(ORDERS, "x").problem(503, "OVERLOADED").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_in_flight "), "{problem}");
    let request =
        format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\n", server.address());
    let head = head(&mut server.raw(request.as_bytes()).await).await;
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(hanging.await.unwrap().status, 504);
    server.publish("orders", "there is room again").await;
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_too() {
    let server = Server::with("limits: { max_in_flight_bytes: 100KiB, max_message: 64KiB }").await;
    let big = vec![b'x'; 60 << 10];
    let hanging = server.occupy(big.clone()).await;
    let problem = server.post(ORDERS, big.clone()).problem(503, "OVERLOADED").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_in_flight_bytes"), "{problem}");
    // Without a length the body is counted as it comes.
    let request =
        format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", server.address());
    let mut stream = server.raw(request.as_bytes()).await;
    stream.write_all(&[format!("{:x}\r\n", big.len()).as_bytes(), &big].concat()).await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    server.publish("orders", "a small one has room").await;
    assert_eq!(hanging.await.unwrap().status, 504);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_nothing_and_leaks_nothing() {
    let server = Server::with("limits: { max_in_flight: 1 }").await;
    server.occupy(b"x".to_vec()).await.abort();
    server.post(ORDERS, "x").problem(503, "OVERLOADED").await;
    eventually(Duration::from_secs(10), "room", async || server.post(ORDERS, "x").send().await.status == 200)
        .await;
}

/// More than the sockets between client and server hold.
pub(crate) const LARGE: usize = 32 << 20;

pub(crate) async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

async fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}
