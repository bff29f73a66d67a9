//! Sidespans in trouble, each in its own, with a Prometheus that scrapes them all.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use sidespan_test_support::{Answer, Client, Launch, Nats, Sidecar, Webhook, unique_name};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::prometheus::Prometheus;
use crate::{PATIENCE, SIDESPAN, chart};

/// Each trouble, and the alerts that it sets off: those, and no others.
const TROUBLES: [(&str, &[&str]); 9] = [
    ("well", &[]),
    ("broker", &["SidespanBridgeDown", "SidespanPublishesFailing"]),
    ("endpoint", &["SidespanEndpointUnavailable"]),
    ("refusing", &["SidespanDeadLetters", "SidespanDeliveriesFailing"]),
    ("placeless", &["SidespanDeliveriesFailing", "SidespanUndeliverable"]),
    ("gone", &["SidespanSubscriptionPaused"]),
    ("mistyped", &["SidespanConfigurationRejected"]),
    ("drained", &["SidespanDrainStuck"]),
    ("killed", &["SidespanDown"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_sidespan_in_trouble_sets_off_its_alert_and_no_other() {
    let Ok(mut nats) = Nats::start().await else { return };
    let broker = format!("{{ kind: nats, servers: ['{}'], create_streams: {{}} }}", nats.url());
    let well = receiver(200).await;
    let mut away = Some(receiver(200).await);
    let away_url = away.as_ref().unwrap().url("/");
    let (refusing, gone) = (receiver(400).await, receiver(410).await);
    let local = "{ kind: embedded, dir: data }";
    let mut sidecars = Vec::new();
    for (name, _) in TROUBLES {
        let (bridge, push) = match name {
            "broker" => (broker.as_str(), None),
            "endpoint" => (local, Some((away_url.clone(), ""))),
            "refusing" => (local, Some((refusing.url("/"), ""))),
            "placeless" => (local, Some((refusing.url("/"), "dead_letter: false, "))),
            "gone" => (local, Some((gone.url("/"), ""))),
            _ => (local, Some((well.url("/"), ""))),
        };
        let subscriptions = push.map_or(String::new(), |(url, more)| {
            format!("subscriptions: {{ billing: {{ topic: orders, {more}push: {{ url: '{url}' }} }} }}\n")
        });
        let config = format!(
            "version: 1\nservice: {}\nbridges: {{ main: {bridge} }}\ntopics: {{ orders: {{}} }}\n{subscriptions}",
            unique_name(name)
        );
        sidecars.push(Launch::new(SIDESPAN).config(&config).start().await);
    }
    for sidecar in &sidecars {
        sidecar.until_ready().await;
    }
    let mut load = JoinSet::new();
    let mut jobs = Vec::new();
    for ((name, _), sidecar) in TROUBLES.iter().zip(&sidecars) {
        load.spawn(publish(sidecar.url("/v1/topics/orders/messages")));
        jobs.push((*name, sidecar.admin_url("").trim_start_matches("http://").to_owned()));
    }
    let rules = fs::read_to_string(chart("alerts.yaml")).unwrap();
    let prometheus = Prometheus::start(&rules, &jobs).await;
    prometheus.until_seen(jobs.len()).await;
    let named = |name: &str| TROUBLES.iter().position(|(trouble, _)| *trouble == name).unwrap();

    nats.kill();
    away.take().unwrap().close().await;
    let file = sidecars[named("mistyped")].directory().join("sidespan.yaml");
    fs::write(file, "version: 1\nsurvice: shop\n").unwrap();
    drain(&sidecars[named("drained")]).await;
    sidecars[named("killed")].kill();

    let expected: BTreeSet<(String, String)> = TROUBLES
        .iter()
        .flat_map(|(job, alerts)| alerts.iter().map(|alert| ((*job).to_owned(), (*alert).to_owned())))
        .collect();
    let end = Instant::now() + PATIENCE;
    let mut fired = prometheus.fired().await;
    let mut ticks = interval(Duration::from_millis(500));
    while !fired.is_superset(&expected) && Instant::now() < end {
        ticks.tick().await;
        fired = prometheus.fired().await;
    }
    let missing: Vec<_> = expected.difference(&fired).collect();
    let others: Vec<_> = fired.difference(&expected).collect();
    assert!(
        missing.is_empty() && others.is_empty(),
        "missing: {missing:?}; and fired, which should not: {others:?}"
    );
}

async fn receiver(status: u16) -> Webhook {
    Webhook::start(move |_| Answer::status(status)).await
}

async fn drain(sidecar: &Sidecar) {
    let drained = Client::new().post(&sidecar.admin_url("/drain"), "").send().await.unwrap();
    assert_eq!(drained.status, 200, "{}", drained.text());
}

/// Publishes at a steady rate; whether it is taken is for the alerts to tell.
async fn publish(url: String) {
    let client = Client::new();
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let _ = client.post(&url, "x").send().await;
    }
}
