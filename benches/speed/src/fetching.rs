//! Fetching: stored messages to consumers that pull and acknowledge a hundred at a time, beside a client
//! of the broker that acknowledges one by one, and where the broker confirms that waits for its word too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use sidespan_test_support::Launch;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::brokers::{Broker, FETCHED, TAKEN};
use crate::delivering::{BATCH, BATCHES_A_SECOND, store};
use crate::http::Wire;
use crate::load::Speed;
use crate::part::{Orders, Part, say};
use crate::publishing::share;
use crate::report::{Report, Round, Row};
use crate::usage::Usage;
use crate::{Failed, Plan, sidecar};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    let subscription =
        format!("subscriptions:\n  fetch: {{ topic: {FETCHED}, start: {}, pull: {{}} }}\n", B::START);
    let configuration = sidecar::configuration(broker) + &subscription;
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    eprintln!("benches/run: sidespan runs as process {}", sidecar.id());
    let usage = Usage::of(sidecar.id());
    let (at, door) = (broker.at(), sidecar::door(&sidecar));
    let (mut fetch, _): (_, String) = Part::start(&["fetch", "--at", &door]).await?;
    let mut take: Option<(Part, String)> = match B::TAILS {
        true => Some(Part::start(&["take", "--kind", B::KIND, "--at", &at]).await?),
        false => None,
    };
    let batches = BATCHES_A_SECOND * usize::try_from(plan.time.as_secs())?;
    let messages = batches * BATCH;
    let mut rounds = Vec::new();
    // One more, in which groups are joined and which does not count.
    for _ in 0..=plan.rounds {
        let mut round = Round::default();
        if let Some((take, _)) = &mut take {
            store(&sidecar, TAKEN, batches).await?;
            round.raw = Some(take.ask(&messages).await?);
        }
        store(&sidecar, FETCHED, batches).await?;
        let before = usage.time()?;
        round.sidespan = Some(fetch.ask(&messages).await?);
        round.cpu = Some(share(usage.time()? - before, messages));
        rounds.push(round);
    }
    rounds.remove(0);
    let memory = Some(usage.memory()?.peak);
    report.add(Row { broker: B::KIND, what: "pull", at_a_time: CONSUMERS * AT_A_TIME, rounds, memory });
    Ok(())
}

/// Where is fetched from.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The door for services
    #[arg(long)]
    at: String,
}

/// Fetches as many messages as it is told, and tells how fast that was.
pub(crate) async fn fetch(target: Target) -> Result<(), Failed> {
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let wire = Wire::new(TcpStream::connect(&target.at).await?)?;
        consumers.push(Consumer { wire, at: target.at.clone() });
    }
    let mut orders = Orders::new();
    say(&"ready")?;
    while let Some(messages) = orders.next::<usize>().await? {
        let began = Instant::now();
        let mut working = JoinSet::new();
        let left = Arc::new(AtomicUsize::new(messages));
        for consumer in consumers.drain(..) {
            working.spawn(consumer.work(left.clone()));
        }
        while let Some(done) = working.join_next().await {
            consumers.push(done??);
        }
        say(&Speed { rate: messages as f64 / began.elapsed().as_secs_f64(), messages, ..Speed::default() })?;
    }
    Ok(())
}

/// Pulls and acknowledges over one connection.
struct Consumer {
    wire: Wire,
    at: String,
}

impl Consumer {
    /// Works until nothing is left.
    async fn work(mut self, left: Arc<AtomicUsize>) -> Result<Self, Failed> {
        while left.load(Relaxed) > 0 {
            let pulled =
                self.ask("pull", &format!("{{\"max_messages\":{AT_A_TIME},\"wait\":\"100ms\"}}")).await?;
            let ids: Vec<&str> =
                pulled.split("\"ack_id\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            if ids.is_empty() {
                continue;
            }
            let count = ids.len();
            let ids = ids.join("\",\"");
            self.ask("ack", &format!("{{\"ack_ids\":[\"{ids}\"]}}")).await?;
            left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(count))).unwrap_or_default();
        }
        Ok(self)
    }

    async fn ask(&mut self, verb: &str, body: &str) -> Result<String, Failed> {
        let head = format!(
            "POST /v1/subscriptions/fetch/{verb} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.at,
            body.len()
        );
        self.wire.write(head.as_bytes()).await?;
        let answer = self.wire.read().await?.ok_or("the connection was closed")?;
        let text = String::from_utf8_lossy(&answer.all).into_owned();
        if text.starts_with("HTTP/1.1 200") { Ok(text) } else { Err(text.into()) }
    }
}

/// Each has one pull or one acknowledgement under way.
const CONSUMERS: usize = 4;
const AT_A_TIME: usize = 100;
