//! Calls that are too large, too many or too slow.

use std::time::Duration;

use async_compression::Level;
use async_compression::tokio::write::GzipEncoder;
use prost::Message as _;
use sidespan::proto::Message;
use sidespan_test_support::{eventually, unique_name};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tonic::Code;

use super::raw::{PUBLISH, framed, pieces, post, publish_request};
use super::{batch, details, failure, message, troubled, with};
use crate::server::Server;
use crate::trouble::hangs;

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_name_of_its_limit() {
    let limits = "limits: { max_message: 64KiB, max_batch: 256KiB, max_batch_messages: 10 }";
    let server = Server::with(limits).await;
    let mut publisher = server.publisher().await;
    let sized = |bytes| message("orders", vec![b'x'; bytes]);
    publisher.publish(batch([sized(65536)])).await.unwrap();
    for (request, limit) in [
        (batch([sized(65537)]), "limits.max_message"),
        (
            batch([sized(60_000), sized(60_000), sized(60_000), sized(60_000), sized(60_000)]),
            "limits.max_batch",
        ),
        (batch((0..11).map(|_| sized(1))), "limits.max_batch_messages"),
    ] {
        let status = publisher.publish(request).await.unwrap_err();
        details(&status, Code::ResourceExhausted, "TOO_LARGE");
        assert!(status.message().contains(limit), "{status:?}");
    }
    let answer = publisher.publish(batch([sized(1), sized(65537)])).await.unwrap().into_inner();
    assert_eq!(failure(&answer.outcomes[1]).reason, "TOO_LARGE");
}

#[tokio::test]
async fn elements_that_take_no_bytes_are_counted_before_they_are_read() {
    let server = Server::start().await;
    // A message that takes two bytes to send.
    let crowd = framed(0, &b"\x0a\x00".repeat(1 << 20));
    let answer = server.post_raw(PUBLISH, &[], crowd).await;
    assert_eq!(answer.grpc(), "3", "{answer:?}");
    assert!(answer.said["grpc-message"].to_str().unwrap().contains("elements"), "{answer:?}");
}

#[tokio::test]
async fn what_comes_out_of_compression_is_bounded() {
    let server = Server::with("limits: { max_batch: 1MiB }").await;
    let packed = async |bytes: &[u8]| {
        let mut gzip = GzipEncoder::with_quality(Vec::new(), Level::Best);
        gzip.write_all(bytes).await.unwrap();
        gzip.shutdown().await.unwrap();
        framed(1, &gzip.into_inner())
    };
    let request = batch([message("orders", vec![b'x'; 100_000])]).encode_to_vec();
    let answer = server.post_raw(PUBLISH, &[("grpc-encoding", "gzip")], packed(&request).await).await;
    assert_eq!(answer.grpc(), "0", "{answer:?}");
    let answer =
        server.post_raw(PUBLISH, &[("grpc-encoding", "gzip")], packed(&vec![0; 64 << 20]).await).await;
    assert_eq!(answer.grpc(), "8", "{answer:?}");
}

#[tokio::test]
async fn a_deadline_goes_with_the_message() {
    let server = Server::start().await;
    let name = unique_name("hang");
    let request = with(batch([troubled(&name)]), "sidespan-timeout", "200ms");
    let status = server.publisher().await.publish(request).await.unwrap_err();
    let told = details(&status, Code::DeadlineExceeded, "TIMEOUT");
    assert_eq!(told.error_info().unwrap().metadata["outcome"], "unknown");

    let hanging = batch([troubled(&unique_name("hang"))]).encode_to_vec();
    let answer = server.post_raw(PUBLISH, &[("grpc-timeout", "200m")], framed(0, &hanging)).await;
    assert_eq!(answer.grpc(), "4", "{answer:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_gives_back_its_room_once_the_broker_has_answered() {
    let server = Server::with("limits: { max_in_flight: 1 }").await;
    let mut publisher = server.publisher().await;
    let name = unique_name("hang");
    let mut other = publisher.clone();
    let request = with(batch([troubled(&name)]), "sidespan-timeout", "1s");
    let call = tokio::spawn(async move { other.publish(request).await });
    eventually(Duration::from_secs(10), "a message that hangs", async || hangs(&name)).await;
    let status = publisher.publish(batch([message("orders", "x")])).await.unwrap_err();
    details(&status, Code::Unavailable, "OVERLOADED");
    assert!(status.message().contains("limits.max_in_flight"), "{status:?}");
    call.abort();
    eventually(Duration::from_secs(10), "there is room again", async || {
        publisher.publish(batch([message("orders", "x")])).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_message_that_stops_half_way_is_not_waited_for() {
    let server = Server::with("limits: { read_timeout: 200ms }").await;
    let (sender, body) = pieces();
    let mut half = publish_request();
    half.truncate(9);
    sender.send(half).await.unwrap();
    let answer = post(server.address(), PUBLISH, &[], body).await;
    assert_eq!(answer.grpc(), "4", "{answer:?}");
    drop(sender);
}

#[tokio::test]
async fn what_is_read_of_messages_that_are_not_whole_is_bounded_for_all_together() {
    let limits = "limits: { max_message: 64KiB, max_in_flight_bytes: 64KiB, read_timeout: 20s }";
    let server = Server::with(limits).await;
    let whole = framed(0, &batch([message("orders", vec![b'x'; 60_000])]).encode_to_vec());
    let (sender, slow) = loop {
        let (sender, body) = pieces();
        sender.send(whole[..50_000].to_vec()).await.unwrap();
        let slow = tokio::spawn(post(server.address(), PUBLISH, &[], body));
        // What has come of the slow one leaves no room for another; or the other was first.
        let refused = async {
            server.post_raw(PUBLISH, &[], publish_request()).await;
            while !slow.is_finished() {
                if server.post_raw(PUBLISH, &[], whole.clone()).await.grpc() == "14" {
                    return true;
                }
            }
            false
        };
        if timeout(Duration::from_secs(10), refused).await.expect("one of the two is refused") {
            break (sender, slow);
        }
    };
    sender.send(whole[50_000..].to_vec()).await.unwrap();
    drop(sender);
    let slow = slow.await.unwrap();
    assert_eq!(slow.grpc(), "0", "{slow:?}");
    let after = server.post_raw(PUBLISH, &[], whole).await;
    assert_eq!(after.grpc(), "0", "{after:?}");
}

#[tokio::test]
async fn many_topics_in_one_batch_are_no_trouble() {
    let server = Server::start().await;
    let messages =
        (0..500).map(|n| Message { key: Some("k".into()), ..message(&format!("t{}", n % 50), "x") });
    let answer = server.publisher().await.publish(batch(messages)).await.unwrap().into_inner();
    assert_eq!((answer.outcomes.len(), answer.failed), (500, 0));
}
