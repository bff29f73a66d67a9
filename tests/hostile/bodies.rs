//! Bodies that stop halfway, and bodies that grow.

use async_compression::tokio::write::GzipEncoder;
use sidespan_test_support::{Client, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::PATIENCE;
use crate::target::Target;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bodies_that_stop_halfway_keep_nobody_out() {
    let target = Target::start("read_timeout: 30s, timeout: 30s").await;
    let before = target.resident();
    // Together they announce a gigabyte, which is far more than may be in flight.
    let half = target.post(1 << 20, &[b'x'; 20 << 10]);
    let mut halted = Vec::new();
    for _ in 0..1000 {
        halted.push(target.connect(&half).await);
    }
    target.serves_the_honest().await;
    let read = async || target.resident().saturating_sub(before) > 20 << 20;
    eventually(PATIENCE, "20 MiB of halves to be read", read).await;
    let grown = target.resident() - before;
    eprintln!("1,000 half-sent bodies of 20 KiB: {} KiB more", grown >> 10);
    assert!(grown < 96 << 20, "{grown} bytes");

    let last = halted.last_mut().expect("there are many");
    last.write_all(&vec![b'x'; (1 << 20) - (20 << 10)]).await.expect("it is still open");
    let mut answer = [0; 12];
    last.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_decompress_without_end_are_refused_within_bounds() {
    let target = Target::start("").await;
    let before = target.resident();
    let bomb = gzip(&vec![0; 256 << 20]).await;
    let mut throwing = tokio::task::JoinSet::new();
    let url = format!("http://{}/v1/topics/orders/messages", target.authority());
    for _ in 0..50 {
        let request = Client::new().post(&url, bomb.clone()).header("content-encoding", "gzip");
        throwing.spawn(request.send());
    }
    target.serves_the_honest().await;
    while let Some(answer) = throwing.join_next().await {
        // A refusal before all was sent may look like a broken connection.
        if let Ok(answer) = answer.expect("no panic") {
            assert_eq!(answer.status, 413, "{}", answer.text());
        }
    }
    let grown = target.resident().saturating_sub(before);
    eprintln!("50 bodies that stand for 256 MiB each: {} KiB more", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes");
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.expect("compresses");
    encoder.shutdown().await.expect("compresses");
    encoder.into_inner()
}
