//! Publishing: the client library, the HTTP stack and Sidespan in turns.

use std::net::SocketAddr;
use std::time::Duration;

use crate::brokers::{Broker, TOPIC};
use crate::load::Speed;
use crate::part::Part;
use crate::report::{Report, Round, Row};
use crate::usage::Usage;
use crate::{Failed, Plan, Way, sidecar};

/// Measures single messages with every number of connections.
pub(crate) async fn single<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    for &connections in &plan.connections {
        measure(broker, plan, report, Load { what: "publish", connections, batch: 1 }).await?;
    }
    Ok(())
}

/// Measures batches, against as many messages outstanding at the client.
pub(crate) async fn batches<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    measure(broker, plan, report, Load { what: "batch", connections: 16, batch: 100 }).await
}

/// Measures gRPC: calls against REST, and a stream against the client.
pub(crate) async fn calls<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    for what in ["grpc", "grpc stream"] {
        measure(broker, plan, report, Load { what, connections: 64, batch: 1 }).await?;
    }
    Ok(())
}

struct Load {
    what: &'static str,
    connections: usize,
    batch: usize,
}

async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report, load: Load) -> Result<(), Failed> {
    let Load { what, connections, batch } = load;
    let (messages, connections) = ((connections * batch).to_string(), connections.to_string());
    let batch = batch.to_string();
    let sidecar = sidecar::start(broker, plan, None).await;
    let usage = Usage::of(sidecar.id());
    let (_echo, echo): (_, SocketAddr) = Part::start(&["echo"]).await?;
    let (door, echo, raw_at) = (sidecar::door(&sidecar), echo.to_string(), broker.at());
    let by = |role, at| [role, "--topic", TOPIC, "--publishers", &connections, "--batch", &batch, "--at", at];
    let raw =
        ["raw", "--topic", TOPIC, "--publishers", &messages, "--kind", B::KIND, "--at", raw_at.as_str()];
    let mut ways = Vec::new();
    for way in [Way::Raw, Way::Echo, Way::Sidespan] {
        if !plan.ways.contains(&way) || (way == Way::Echo && what != "publish") {
            continue;
        }
        let started = match (way, what) {
            (Way::Raw, "grpc") => Part::start(&by("http", &door)).await?,
            (Way::Raw, _) => Part::start::<String>(&raw).await?,
            (Way::Echo, _) => Part::start(&by("http", &echo)).await?,
            (Way::Sidespan, "grpc") => Part::start(&by("grpc", &door)).await?,
            (Way::Sidespan, "grpc stream") => Part::start(&by("grpc-stream", &door)).await?,
            (Way::Sidespan, _) => Part::start(&by("http", &door)).await?,
        };
        ways.push((way, started.0));
    }
    let rounds = take_turns(&mut ways, usage, plan).await?;
    report.add(Row {
        broker: B::KIND,
        what,
        at_a_time: messages.parse()?,
        rounds,
        memory: Some(usage.memory()?.peak),
    });
    Ok(())
}

/// Runs loads one after another, as often as there are rounds.
pub(crate) async fn take_turns(
    ways: &mut [(Way, Part)],
    usage: Usage,
    plan: &Plan,
) -> Result<Vec<Round>, Failed> {
    for (_, load) in &mut *ways {
        load.ask::<Speed>(&WARM.as_secs_f64()).await?;
    }
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let mut round = Round::default();
        for (way, load) in &mut *ways {
            let before = usage.time()?;
            let speed: Speed = load.ask(&plan.time.as_secs_f64()).await?;
            match way {
                Way::Raw => round.raw = Some(speed),
                Way::Echo => round.echo = Some(speed),
                Way::Sidespan => {
                    round.sidespan = Some(speed);
                    round.cpu = Some(share(usage.time()? - before, speed.messages));
                }
            }
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Returns a message's share of the processor time, in microseconds.
pub(crate) fn share(time: Duration, messages: usize) -> f64 {
    time.as_secs_f64() * 1e6 / messages.max(1) as f64
}

/// Connections, caches and compilers come up to speed before anything counts.
const WARM: Duration = Duration::from_secs(1);
