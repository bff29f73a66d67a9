//! What telemetry costs: the same loads through three `sidespan` that differ in nothing else, in turns.

use std::net::SocketAddr;

use sidespan_test_support::Sidecar;

use crate::brokers::{Broker, DELIVERED, TOPIC};
use crate::delivering::{BATCH, BATCHES_A_SECOND, store};
use crate::load::Speed;
use crate::part::Part;
use crate::publishing::share;
use crate::report::Report;
use crate::sink::{Accepted, Order};
use crate::usage::Usage;
use crate::{Failed, Plan, sidecar};

/// A `sidespan`, and who publishes to it and receives from it.
struct Contender {
    what: &'static str,
    sidecar: Sidecar,
    load: Part,
    sink: Part,
    /// Processor time for a message, in microseconds, of each round.
    publish: Vec<f64>,
    deliver: Vec<f64>,
}

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    // It takes whatever is sent.
    let (_collector, collector): (_, SocketAddr) = Part::start(&["echo"]).await?;
    let traces = format!(
        "telemetry: {{ traces: {{ ratio: 0.01 }}, otlp: {{ endpoint: \"http://{collector}\", protocol: http }} }}\n"
    );
    let mut contenders = Vec::new();
    for (what, configuration) in
        [("off", "telemetry: { metrics: false }\n"), ("metrics", ""), ("traces", traces.as_str())]
    {
        contenders.push(Contender::start(broker, plan, what, configuration).await?);
    }
    for contender in &mut contenders {
        contender.load.ask::<Speed>(&1.0).await?;
    }
    let batches = BATCHES_A_SECOND * usize::try_from(plan.time.as_secs())?;
    for round in 0..plan.rounds {
        // Who goes first has another machine before it than who goes last.
        let first = usize::try_from(round)? % contenders.len();
        contenders.rotate_left(first);
        for contender in &mut contenders {
            contender.publish(plan).await?;
        }
        // What brokers store goes to all; only the embedded log is each one's own.
        let stores = if B::TAILS { &contenders[..1] } else { &contenders[..] };
        for contender in stores {
            store(&contender.sidecar, DELIVERED, batches).await?;
        }
        for contender in &mut contenders {
            contender.deliver(batches * BATCH).await?;
        }
        contenders.rotate_right(first);
    }
    let Some((off, others)) = contenders.split_first() else { return Ok(()) };
    for (what, figures) in
        [("publish", Contender::published as fn(&Contender) -> &[f64]), ("deliver", Contender::delivered)]
    {
        report.note(B::KIND, &format!("telemetry off, {what}: us a message"), median(figures(off).to_vec()));
        for other in others {
            let ratios =
                figures(other).iter().zip(figures(off)).map(|(with, without)| 100.0 * (with / without - 1.0));
            report.note(
                B::KIND,
                &format!("telemetry {}, {what}: us a message", other.what),
                median(figures(other).to_vec()),
            );
            report.note(
                B::KIND,
                &format!("telemetry {}, {what}: % more than off", other.what),
                median(ratios.collect()),
            );
        }
    }
    Ok(())
}

impl Contender {
    async fn start<B: Broker>(
        broker: &B,
        plan: &Plan,
        what: &'static str,
        configuration: &str,
    ) -> Result<Self, Failed> {
        let (sink, address): (_, SocketAddr) = Part::start(&["sink"]).await?;
        let webhook = Some((what, address));
        let sidecar = sidecar::start_with(broker, plan, webhook, configuration).await;
        let door = sidecar::door(&sidecar);
        let by = ["http", "--topic", TOPIC, "--publishers", "64", "--batch", "1", "--at", &door];
        let (load, _): (_, String) = Part::start(&by).await?;
        Ok(Self { what, sidecar, load, sink, publish: Vec::new(), deliver: Vec::new() })
    }

    async fn publish(&mut self, plan: &Plan) -> Result<(), Failed> {
        let usage = Usage::of(self.sidecar.id());
        let before = usage.time()?;
        let speed: Speed = self.load.ask(&plan.time.as_secs_f64()).await?;
        self.publish.push(share(usage.time()? - before, speed.messages));
        Ok(())
    }

    async fn deliver(&mut self, messages: usize) -> Result<(), Failed> {
        let usage = Usage::of(self.sidecar.id());
        let before = usage.time()?;
        self.sink.ask::<Accepted>(&Order::Accept(messages)).await?;
        self.deliver.push(share(usage.time()? - before, messages));
        Ok(())
    }

    fn published(&self) -> &[f64] {
        &self.publish
    }

    fn delivered(&self) -> &[f64] {
        &self.deliver
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
