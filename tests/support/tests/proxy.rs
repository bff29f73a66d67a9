//! The network between a program and its broker fails as it is told.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sidespan_test_support::{Cut, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long enough to see that nothing comes.
const WHILE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a broker that says everything again, behind a proxy.
async fn start() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Proxy::start_on(0, port).await
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
}

/// Says something and hears it again.
async fn echo(socket: &mut TcpStream, length: usize) -> Duration {
    let began = Instant::now();
    let said = vec![7; length];
    let mut heard = vec![0; length];
    let (mut from, mut to) = socket.split();
    let both = async { tokio::try_join!(to.write_all(&said), from.read_exact(&mut heard)) };
    timeout(PATIENCE, both).await.expect("an echo").unwrap();
    assert_eq!(said, heard);
    began.elapsed()
}

async fn hears_nothing(socket: &mut TcpStream) {
    socket.write_all(b"x").await.unwrap();
    assert!(timeout(WHILE, socket.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_cut_ends_all_connections_with_a_fin_or_an_rst_and_takes_new_ones() {
    let proxy = start().await;
    for (how, kind) in [(Cut::Finish, ErrorKind::UnexpectedEof), (Cut::Reset, ErrorKind::ConnectionReset)] {
        let mut socket = connect(&proxy).await;
        echo(&mut socket, 100_000).await;
        proxy.cut(how);
        let ended = timeout(PATIENCE, socket.read_u8()).await.expect("an end");
        assert_eq!(ended.unwrap_err().kind(), kind);
    }
    echo(&mut connect(&proxy).await, 10).await;
}

#[tokio::test]
async fn what_is_forgotten_is_mute_for_ever_and_new_connections_are_well() {
    let proxy = start().await;
    let mut old = connect(&proxy).await;
    echo(&mut old, 10).await;
    proxy.forget();
    hears_nothing(&mut old).await;
    echo(&mut connect(&proxy).await, 10).await;
    proxy.clear();
    hears_nothing(&mut old).await;
}

#[tokio::test]
async fn a_silent_network_takes_connections_and_carries_nothing() {
    let proxy = start().await;
    let mut old = connect(&proxy).await;
    echo(&mut old, 10).await;
    proxy.silence();
    let mut new = connect(&proxy).await;
    hears_nothing(&mut old).await;
    hears_nothing(&mut new).await;
    proxy.clear();
    hears_nothing(&mut new).await;
    echo(&mut connect(&proxy).await, 10).await;
    proxy.cut(Cut::Finish);
    assert!(timeout(PATIENCE, new.read_u8()).await.expect("an end").is_err());
}

#[tokio::test]
async fn a_slow_network_takes_its_time_in_each_direction() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    proxy.delay(Duration::from_millis(100));
    assert!(echo(&mut socket, 10).await >= Duration::from_millis(200));
    proxy.clear();
    proxy.throttle(100_000);
    assert!(echo(&mut socket, 100_000).await >= Duration::from_millis(800));
    proxy.clear();
    assert!(echo(&mut socket, 100_000).await < Duration::from_millis(800));
}
