//! From publisher to webhook, on a system that has nothing else to do, beside the time from publisher
//! to consumer that the broker takes with its own client.

use std::net::SocketAddr;

use crate::brokers::{Broker, DELIVERED, TAILED};
use crate::load::Speed;
use crate::part::Part;
use crate::report::{Report, Round, Row};
use crate::sink::{Accepted, Order};
use crate::usage::Usage;
use crate::{Failed, Plan, sidecar};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    let (mut sink, address): (_, SocketAddr) = Part::start(&["sink"]).await?;
    sink.ask::<Accepted>(&Order::Open).await?;
    let sidecar = sidecar::start(broker, plan, Some(("latency", address))).await;
    let (at, door) = (broker.at(), sidecar::door(&sidecar));
    let load = ["--publishers", "1", "--pause", PAUSE];
    let through = ["http", "--topic", DELIVERED, "--at", door.as_str()];
    let (mut through, _): (_, String) = Part::start(&[&through[..], &load[..]].concat()).await?;
    let mut raw = match B::TAILS {
        true => {
            let (tail, _): (_, String) = Part::start(&["tail", "--kind", B::KIND, "--at", &at]).await?;
            let raw = ["raw", "--topic", TAILED, "--kind", B::KIND, "--at", at.as_str()];
            let (raw, _): (_, String) = Part::start(&[&raw[..], &load[..]].concat()).await?;
            Some((raw, tail))
        }
        false => None,
    };
    let mut rounds = Vec::new();
    // One more, which comes up to speed and does not count.
    for _ in 0..=plan.rounds {
        let mut round = Round::default();
        if let Some((raw, tail)) = &mut raw {
            round.raw = Some(listen(raw, tail, plan).await?);
        }
        round.sidespan = Some(listen(&mut through, &mut sink, plan).await?);
        rounds.push(round);
    }
    rounds.remove(0);
    let memory = Some(Usage::of(sidecar.id()).memory()?.peak);
    report.add(Row { broker: B::KIND, what: "latency", at_a_time: 1, rounds, memory });
    Ok(())
}

/// Publishes for a while, and asks the other side how old the messages were.
async fn listen(load: &mut Part, other: &mut Part, plan: &Plan) -> Result<Speed, Failed> {
    let speed: Speed = load.ask(&plan.time.as_secs_f64()).await?;
    let Accepted { p50, p99, .. } = other.ask(&Order::Tell).await?;
    // The rate is that of the pauses.
    Ok(Speed { rate: 0.0, p50, p99, ..speed })
}

/// Milliseconds between two messages.
const PAUSE: &str = "5";
