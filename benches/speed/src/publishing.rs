//! Publishing: the client library and Sidespan in turns.

use std::time::Duration;

use sidespan_test_support::Sidecar;

use crate::brokers::{Broker, TOPIC};
use crate::load::{self, Publish};
use crate::table::{Published, Row, published};
use crate::usage::{Usage, load_average};
use crate::wire::Http;
use crate::{Failed, Plan, sidecar};

/// Measures a broker with every number of connections.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan) -> Result<(), Failed> {
    let sidecar = sidecar::start(broker, plan, None).await;
    for &connections in &plan.connections {
        let mut raw = broker.publishers(connections, &BODY).await?;
        let mut http = connect(&sidecar, connections).await?;
        load::run(&mut http, WARM).await?;
        load::run(&mut raw, WARM).await?;
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            rounds.push(round(&mut raw, &mut http, &sidecar, plan.time).await?);
        }
        let memory = Usage::of(sidecar.id()).memory()?;
        published(&Row { broker: B::KIND, connections, rounds, memory, load: load_average()? });
    }
    Ok(())
}

async fn connect(sidecar: &Sidecar, count: usize) -> Result<Vec<Http>, Failed> {
    let url = sidecar.url("");
    let host = url.trim_start_matches("http://");
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Http::connect(host, TOPIC, &BODY).await?);
    }
    Ok(connections)
}

async fn round<R: Publish>(
    raw: &mut Vec<R>,
    http: &mut Vec<Http>,
    sidecar: &Sidecar,
    time: Duration,
) -> Result<Published, Failed> {
    let (own, sidespan) = (Usage::own(), Usage::of(sidecar.id()));
    let start = own.time()?;
    let raw = load::run(raw, time).await?;
    let (middle, before) = (own.time()?, sidespan.time()?);
    let through = load::run(http, time).await?;
    let (end, after) = (own.time()?, sidespan.time()?);
    Ok(Published {
        raw,
        raw_cpu: share(middle - start, raw.messages),
        through,
        through_cpu: share(after - before, through.messages),
        load_cpu: share(end - middle, through.messages),
    })
}

/// Returns a message's share of the processor time.
pub(crate) fn share(time: Duration, messages: usize) -> Duration {
    time / u32::try_from(messages.max(1)).unwrap_or(u32::MAX)
}

pub(crate) const BODY: [u8; 256] = [b'x'; 256];
/// Connections, caches and compilers come up to speed before anything counts.
const WARM: Duration = Duration::from_secs(1);
