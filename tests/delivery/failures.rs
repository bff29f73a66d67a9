//! The three failures, and what else a webhook may do.

use std::time::Duration;

use sidespan::delivery::{self, State};
use sidespan_bridge::{Guarantee, Message};
use sidespan_test_support::{Answer, Webhook, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, accepted, message, push, soon, subscription, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_is_tried_again_and_attempts_are_counted() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.number {
        0 | 1 => Answer::status(500),
        _ => Answer::ok(),
    })
    .await;
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "the message is delivered", |status| status.delivered == 1).await;
    let attempts: Vec<_> =
        webhook.received().iter().map(|r| r.header("sidespan-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    let status = running.status();
    assert_eq!((status.failed_attempts, status.dead_lettered), (2, 0));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_endpoint_uses_up_no_attempts() {
    let bench = Bench::open();
    let statuses = [503, 502, 404, 401, 301, 429, 408, 504, 302, 403];
    let webhook = Webhook::start(move |request| match statuses.get(request.number) {
        Some(status) => Answer::status(*status).header("location", "/elsewhere"),
        None => Answer::ok(),
    })
    .await;
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "the message is delivered", |status| status.delivered == 1).await;
    let got = webhook.received();
    assert_eq!(got.len(), statuses.len() + 1);
    assert!(
        got.iter().all(|r| r.header("sidespan-attempt") == "1" && r.path == "/"),
        "redirects are not followed"
    );
    assert_eq!(running.status().dead_lettered, 0);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_endpoint_is_unavailable_one_probe_goes_ahead_of_the_rest() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(503)).await;
    bench.publish((0..100).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 8;
    let running = bench.start(&wish);
    until(&running, "the outage is known", |status| status.endpoint.is_some()).await;
    let known = webhook.received().len();
    assert!(known <= 16, "{known} attempts before it was known");
    let pause = Duration::from_millis(20);
    webhook.follow(move |_| Answer::status(503).after(pause));
    // Attempts that were under way when the outage became known come first.
    let first = webhook.received().len() + wish.max_in_flight;
    let got = webhook.wait_until("some probes", |got| got.len() >= first + 10).await;
    let probes = &got[first..];
    for pair in probes.windows(2) {
        assert!(pair[1].at - pair[0].at >= pause, "a probe did not wait for the answer to the last one");
    }
    let probed: std::collections::BTreeSet<_> = probes.iter().map(|probe| probe.text().to_owned()).collect();
    assert!(probed.len() > 1, "no single message decides");

    webhook.follow(|_| Answer::ok());
    until(&running, "all are delivered", |status| status.delivered == 100).await;
    assert!(running.status().endpoint.is_none());
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_yet_is_waited_for() {
    let bench = Bench::open();
    let port = free_port();
    bench.publish((0..20).map(message)).await;
    let running = bench.start(&subscription(&format!("http://127.0.0.1:{port}/")));
    until(&running, "the outage is known", |status| status.endpoint.is_some()).await;
    let webhook = Webhook::start_on(port, |_| Answer::ok()).await;
    until(&running, "all are delivered", |status| status.delivered == 20).await;
    let got = webhook.received();
    assert!(got.iter().all(|request| request.header("sidespan-attempt") == "1"));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_finds_the_endpoint_unavailable_does_not_stop_the_rest() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.text() {
        "0" => Answer::status(404),
        _ => Answer::ok(),
    })
    .await;
    bench.publish((0..500).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 2;
    let running = bench.start(&wish);
    until(&running, "the others are delivered", |status| status.delivered == 499).await;
    assert_eq!(running.status().dead_lettered, 0);
    webhook.follow(|_| Answer::ok());
    until(&running, "that one too", |status| status.delivered == 500).await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_pauses_the_subscription_and_its_messages_stay() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(410)).await;
    bench.publish((0..50).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 4;
    let running = bench.start(&wish);
    until(&running, "it is paused", |status| matches!(status.state, State::Paused(_))).await;
    until(&running, "nothing is attempted any more", |status| status.in_flight == 0).await;
    assert!(webhook.received().len() <= 4);
    let left = running.close(soon()).await;
    assert_eq!((left.held, bench.dead_count().await), (50, 0));

    webhook.follow(|_| Answer::ok());
    let running = bench.start(&wish);
    until(&running, "all are delivered", |status| status.delivered == 50).await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_whole_answer_in_time_is_a_failed_attempt() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.number {
        0 => Answer::hang(),
        1 => Answer::ok().body("begins").then_hang(),
        2 => Answer::ok().body("begins").then_cut(),
        _ => Answer::ok(),
    })
    .await;
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).timeout = Duration::from_millis(200);
    wish.retry.max_attempts = 10;
    bench.publish([message("x")]).await;
    let running = bench.start(&wish);
    until(&running, "the message is delivered", |status| status.delivered == 1).await;
    let attempts: Vec<_> =
        webhook.received().iter().map(|r| r.header("sidespan-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_on_a_new_connection_counts_and_on_a_kept_one_is_tried_again_at_once() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.number {
        // The first on a new connection; the third on the one that the second made.
        0 | 2 => Answer::cut(),
        _ => Answer::ok(),
    })
    .await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 1;
    bench.publish([message("one")]).await;
    let running = bench.start(&wish);
    until(&running, "the first is delivered", |status| status.delivered == 1).await;
    bench.publish([message("two")]).await;
    until(&running, "the second is delivered", |status| status.delivered == 2).await;
    let got: Vec<_> = webhook
        .received()
        .iter()
        .map(|r| (r.text().to_owned(), r.header("sidespan-attempt").to_owned()))
        .collect();
    let expected = [("one", "1"), ("one", "2"), ("two", "1"), ("two", "1")];
    assert_eq!(got, expected.map(|(body, attempt)| (body.to_owned(), attempt.to_owned())));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_speak_http_buries_no_message() {
    let bench = Bench::open();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let greeter = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.read_u8().await.unwrap();
            socket.write_all(b"220 mail.example ready\r\n").await.unwrap();
        }
    });
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&format!("http://127.0.0.1:{port}/")));
    until(&running, "it is found out", |status| status.endpoint.is_some()).await;
    until(&running, "it is tried again", |status| status.failed_attempts > 5).await;
    assert_eq!(running.status().dead_lettered, 0);
    greeter.abort();
    let _ = greeter.await;
    let webhook = Webhook::start_on(port, |_| Answer::ok()).await;
    until(&running, "it is delivered", |status| status.delivered == 1).await;
    running.close(soon()).await;
    drop(webhook);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_more_headers_than_http_carries_stops_no_other() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let header = |number: usize| sidespan_bridge::Header::new(format!("h{number}"), "x");
    let odd = Message { headers: (0..40_000).map(header).collect(), ..message("odd") };
    bench.publish([odd, message("next")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "it is tried and does not stop the next", |status| {
        status.delivered >= 1 && status.delivered + status.failed_attempts >= 2
    })
    .await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_read_up_to_a_bound() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok().body(vec![b'x'; 10 << 20]).then_hang()).await;
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "the message is delivered", |status| status.delivered == 1).await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_messages_do_not_stop_the_rest() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.text().parse::<usize>() {
        Ok(number) if number % 20 == 0 => Answer::status(500),
        _ => Answer::ok(),
    })
    .await;
    bench.publish((0..1_000).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 4;
    (wish.retry.base, wish.retry.cap) = (Duration::from_secs(600), Duration::from_secs(600));
    let running = bench.start(&wish);
    until(&running, "the others are delivered", |status| status.delivered == 950).await;
    assert_eq!(running.status().held, 50);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_acknowledged_only_after_the_webhook_accepted_it() {
    let bench = Bench::open();
    let gate = CancellationToken::new();
    let hold = gate.clone();
    let webhook = Webhook::start(move |request| match request.text() {
        "slow" => Answer::ok().once(&hold),
        _ => Answer::ok(),
    })
    .await;
    bench.publish([message("slow"), message("quick")]).await;
    let wish = subscription(&webhook.url("/"));
    let running = bench.start(&wish);
    until(&running, "one is delivered, one is out", |s| s.delivered == 1 && s.in_flight == 1).await;
    let left = running.close(soon()).await;
    assert_eq!((left.held, left.in_flight), (1, 1));

    gate.cancel();
    bench.publish([message("last")]).await;
    let running = bench.start(&wish);
    until(&running, "what was not accepted comes again", |status| status.delivered == 2).await;
    running.close(soon()).await;
    let got = webhook.received();
    let count = |body: &str| got.iter().filter(|request| request.text() == body).count();
    assert_eq!((count("quick"), count("slow"), count("last")), (1, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_never_comes_twice() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.text() {
        "0" => Answer::status(500),
        "1" => Answer::cut(),
        "2" => Answer::status(400),
        _ => Answer::ok(),
    })
    .await;
    bench.publish((0..10).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.guarantee = Guarantee::AtMostOnce;
    let running = bench.start(&wish);
    until(&running, "each was tried", |s| s.delivered == 7 && s.dropped == 3).await;
    running.close(soon()).await;
    bench.publish([message("last")]).await;
    let running = bench.start(&wish);
    until(&running, "only the new one comes", |status| status.delivered == 1).await;
    running.close(soon()).await;
    let got = webhook.received();
    assert_eq!(got.len(), 11, "{:?}", accepted(&got));
    assert_eq!(bench.dead_count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_read_is_said_and_waited_for() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut wish = subscription(&webhook.url("/"));
    let missing = serde_json::json!({"file": "/nonexistent/secret"});
    push(&mut wish).secrets = vec![serde_json::from_value(missing).unwrap()];
    let running = bench.start(&wish);
    until(&running, "it says why it does not run", |status| match &status.state {
        State::Retrying(trouble) => trouble.error.contains("/nonexistent/secret"),
        _ => false,
    })
    .await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_whose_broker_ends_says_so_and_goes_on_trying() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([message("x")]).await;
    let running = delivery::start(subscription(&webhook.url("/")), bench.bridge.clone(), None);
    until(&running, "the message is delivered", |status| status.delivered == 1).await;
    bench.bridge.close(soon()).await;
    until(&running, "it tries again", |status| matches!(status.state, State::Retrying(_))).await;
    running.close(soon()).await;
}
