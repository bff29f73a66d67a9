//! A steady load for long, and how the memory grows under it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::brokers::{Broker, DELIVERED};
use crate::load::Speed;
use crate::part::Part;
use crate::report::Report;
use crate::sink::{Accepted, Order};
use crate::usage::Usage;
use crate::{Failed, Plan, sidecar};

/// Publishes and delivers for so long.
pub(crate) async fn measure<B: Broker>(
    broker: &B,
    plan: &Plan,
    time: Duration,
    report: &mut Report,
) -> Result<(), Failed> {
    let (mut sink, address): (_, SocketAddr) = Part::start(&["sink"]).await?;
    sink.ask::<Accepted>(&Order::Open).await?;
    let sidecar = sidecar::start(broker, plan, Some(("soak", address))).await;
    let usage = Usage::of(sidecar.id());
    let at = sidecar::door(&sidecar);
    let load = ["http", "--topic", DELIVERED, "--publishers", "16", "--pause", "4", "--at", &at];
    let (mut load, _): (_, String) = Part::start(&load).await?;
    load.tell(&time.as_secs_f64()).await?;
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        sleep((time / SAMPLES).min(Duration::from_secs(5))).await;
        samples.push((began.elapsed().as_secs_f64(), usage.memory()?.resident));
    }
    let speed: Speed = load.answer().await?;
    let last = samples.last().map_or(0.0, |(_, memory)| *memory);
    // Buffers and tables come to their size first.
    let settled = samples.split_off(samples.len() / 5);
    report.note(B::KIND, "soak: messages a second", speed.rate);
    report.note(B::KIND, "soak: requests that failed", speed.failed as f64);
    report.note(B::KIND, "soak: resident at the end, MiB", last);
    report.note(B::KIND, "soak: growth, KiB an hour", slope(&settled) * 3600.0 * 1024.0);
    Ok(())
}

/// Returns the slope of the line that fits best (least squares).
fn slope(samples: &[(f64, f64)]) -> f64 {
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
    let (time, memory) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let along: f64 = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - memory)).sum();
    along / samples.iter().map(|sample| (sample.0 - time).powi(2)).sum::<f64>()
}

const SAMPLES: u32 = 100;
