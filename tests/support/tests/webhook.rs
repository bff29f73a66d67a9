//! The receiver of webhooks writes down what it gets, and answers by its script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use sidespan_test_support::{Answer, Client, Webhook, free_port};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_request_is_written_down_and_answered() {
    let webhook = Webhook::start(|_| Answer::status(503).header("retry-after", "7").body("later")).await;
    let answer = Client::new()
        .post(&webhook.url("/events?a=b"), "an order")
        .header("webhook-id", "one")
        .header("x", "1")
        .header("x", "2")
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("retry-after"), answer.text()), (503, "7", "later"));

    let received = webhook.wait_until("an answer", |all| all.iter().any(|one| one.answered.is_some())).await;
    let [request] = &received[..] else { panic!("{received:?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/events?a=b"));
    assert_eq!((request.header("webhook-id"), request.text()), ("one", "an order"));
    assert_eq!(request.headers.get_all("x").iter().count(), 2);
    assert_eq!(request.answered.unwrap(), 503);
}

#[tokio::test]
async fn it_cuts_hangs_and_answers_late() {
    let webhook = Webhook::start(|request| match request.path.as_str() {
        "/cut" => Answer::cut(),
        "/hang" => Answer::hang(),
        "/late" => Answer::ok().after(Duration::from_millis(200)),
        "/half" => Answer::ok().body("half").then_cut(),
        "/endless" => Answer::ok().body("half").then_hang(),
        other => panic!("{other}"),
    })
    .await;
    for client in [Client::new(), Client::http2()] {
        let get = |path| client.get(&webhook.url(path)).deadline(Duration::from_millis(500));
        get("/cut").send().await.unwrap_err();
        get("/hang").send().await.unwrap_err();
        let start = Instant::now();
        get("/late").send().await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200));
        for path in ["/half", "/endless"] {
            let mut answer = get(path).open().await.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.next().await.unwrap().unwrap(), "half");
            get(path).send().await.unwrap_err();
        }
    }
    for request in webhook.received() {
        assert_eq!(
            request.answered.is_some(),
            !["/cut", "/hang"].contains(&request.path.as_str()),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn it_counts_what_is_under_way_at_once() {
    let gate = CancellationToken::new();
    let held = gate.clone();
    let webhook = Webhook::start(move |_| Answer::ok().once(&held)).await;
    let client = Client::new();
    let mut requests = JoinSet::new();
    for _ in 0..5 {
        requests.spawn(client.get(&webhook.url("/")).send());
    }
    let received = webhook.wait_until("five requests", |all| all.len() == 5).await;
    assert!(received.iter().all(|request| request.answered.is_none()));
    gate.cancel();
    let answers = requests.join_all().await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)));
    client.get(&webhook.url("/")).send().await.unwrap();
    assert_eq!(webhook.peak(), 5);
}

#[tokio::test]
async fn it_goes_away_and_comes_back_on_its_port() {
    let port = free_port();
    let webhook = Webhook::start_on(port, |_| Answer::ok()).await;
    let (client, url) = (Client::new(), webhook.url("/"));
    client.get(&url).send().await.unwrap();
    webhook.close().await;
    client.get(&url).send().await.unwrap_err();
    let webhook = Webhook::start_on(port, |_| Answer::status(500)).await;
    assert_eq!(client.get(&url).send().await.unwrap().status, 500);
    webhook.follow(|_| Answer::ok());
    assert_eq!(client.get(&url).send().await.unwrap().status, 200);
}

#[tokio::test]
#[should_panic(expected = "after 50ms and 0 requests still not: a request")]
async fn a_condition_that_never_holds_fails_the_test() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    webhook.wait_until_within(Duration::from_millis(50), "a request", |all| !all.is_empty()).await;
}
