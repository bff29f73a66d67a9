//! Delivering: stored messages to a webhook that accepts them all at once.

use std::net::SocketAddr;

use sidespan_test_support::{Client, Sidecar};

use crate::brokers::{Broker, DELIVERED};
use crate::load::{SIZE, Speed};
use crate::part::Part;
use crate::publishing::share;
use crate::report::{Report, Round, Row};
use crate::sidecar::{self, IN_FLIGHT};
use crate::sink::{Accepted, Order};
use crate::usage::Usage;
use crate::{Failed, Plan};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    let (mut sink, address): (_, SocketAddr) = Part::start(&["sink"]).await?;
    let sidecar = sidecar::start(broker, plan, Some(("deliver", address))).await;
    let usage = Usage::of(sidecar.id());
    let batches = BATCHES_A_SECOND * usize::try_from(plan.time.as_secs())?;
    let messages = batches * BATCH;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        store(&sidecar, DELIVERED, batches).await?;
        let before = usage.time()?;
        let accepted: Accepted = sink.ask(&Order::Accept(messages)).await?;
        let cpu = share(usage.time()? - before, messages);
        let speed = Speed { rate: accepted.rate, messages, ..Speed::default() };
        rounds.push(Round { sidespan: Some(speed), cpu: Some(cpu), ..Round::default() });
    }
    let memory = Some(usage.memory()?.peak);
    report.add(Row { broker: B::KIND, what: "deliver", at_a_time: IN_FLIGHT, rounds, memory });
    Ok(())
}

/// Has messages stored, to be delivered or fetched later.
pub(crate) async fn store(sidecar: &Sidecar, topic: &str, batches: usize) -> Result<(), Failed> {
    let (client, url) = (Client::new(), sidecar.url(&format!("/v1/topics/{topic}/batches")));
    let text = "x".repeat(SIZE);
    let line = |key| format!("{{\"key\":\"key-{key}\",\"text\":\"{text}\"}}\n");
    let batch: String = (0..BATCH).map(line).collect();
    for _ in 0..batches {
        let request = client.post(&url, batch.clone()).header("content-type", "application/x-ndjson");
        let answer = request.send().await?;
        if answer.status != 200 {
            return Err(format!("a batch was not stored: {} {}", answer.status, answer.text()).into());
        }
    }
    Ok(())
}

/// As many messages, each with a key of its own, are stored by one request.
pub(crate) const BATCH: usize = 500;
/// So that a round of deliveries takes about as long as one of publishing.
pub(crate) const BATCHES_A_SECOND: usize = 40;
