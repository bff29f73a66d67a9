//! Delivering: stored messages to a webhook that accepts them all at once.

use std::time::Instant;

use sidespan_test_support::{Client, Sidecar};

use crate::brokers::{Broker, DELIVERED};
use crate::publishing::{BODY, share};
use crate::sidecar::{self, IN_FLIGHT};
use crate::sink::Sink;
use crate::table::{Delivered, Row, delivered};
use crate::usage::{Usage, load_average};
use crate::{Failed, Plan};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan) -> Result<(), Failed> {
    let sink = Sink::start().await?;
    let sidecar = sidecar::start(broker, plan, Some(&sink)).await;
    let batches = BATCHES_A_SECOND * usize::try_from(plan.time.as_secs())?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        store(&sidecar, batches).await?;
        rounds.push(round(&sink, &sidecar, batches * BATCH).await?);
    }
    let memory = Usage::of(sidecar.id()).memory()?;
    delivered(&Row { broker: B::KIND, connections: IN_FLIGHT, rounds, memory, load: load_average()? });
    Ok(())
}

/// Has messages stored while the webhook's gate is closed.
async fn store(sidecar: &Sidecar, batches: usize) -> Result<(), Failed> {
    let (client, url) = (Client::new(), sidecar.url(&format!("/v1/topics/{DELIVERED}/batches")));
    let line = format!("{{\"text\":\"{}\"}}\n", String::from_utf8_lossy(&BODY));
    let batch = line.repeat(BATCH);
    for _ in 0..batches {
        let request = client.post(&url, batch.clone()).header("content-type", "application/x-ndjson");
        let answer = request.send().await?;
        if answer.status != 200 {
            return Err(format!("a batch was not stored: {} {}", answer.status, answer.text()).into());
        }
    }
    Ok(())
}

async fn round(sink: &Sink, sidecar: &Sidecar, messages: usize) -> Result<Delivered, Failed> {
    let (own, sidespan) = (Usage::own(), Usage::of(sidecar.id()));
    let before = (own.time()?, sidespan.time()?);
    let began = Instant::now();
    sink.accept(messages).await;
    let took = began.elapsed();
    let after = (own.time()?, sidespan.time()?);
    Ok(Delivered {
        rate: messages as f64 / took.as_secs_f64(),
        cpu: share(after.1 - before.1, messages),
        sink_cpu: share(after.0 - before.0, messages),
    })
}

const BATCH: usize = 500;
/// So that a round of deliveries takes about as long as one of publishing.
const BATCHES_A_SECOND: usize = 40;
