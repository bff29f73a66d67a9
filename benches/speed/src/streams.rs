//! Streams: what many take that are idle, a topic to many sockets, a subscription to one socket or one
//! stream of gRPC that acknowledges.

use std::time::Duration;

use sidespan_test_support::{Launch, Sidecar};
use tokio::time::sleep;

use crate::brokers::{Broker, DELIVERED, TOPIC};
use crate::delivering::{BATCH, store};
use crate::load::Speed;
use crate::part::Part;
use crate::publishing::share;
use crate::report::{Report, Round, Row};
use crate::sidecar;
use crate::sink::{Accepted, Order};
use crate::sockets::Socket;
use crate::usage::Usage;
use crate::{Failed, Plan};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    for (what, path, is_socket) in [
        ("event streams", format!("/v1/topics/{TOPIC}/stream"), false),
        ("sockets on a topic", format!("/v1/topics/{TOPIC}/stream"), true),
        ("sockets on a subscription", format!("/v1/subscriptions/{NAME}/stream"), true),
    ] {
        let each = idle(broker, plan, &path, is_socket).await?;
        report.note(B::KIND, &format!("{IDLE} idle {what}: resident each, KiB"), each);
    }
    let topic = format!("/v1/topics/{TOPIC}/stream");
    let subscription = format!("/v1/subscriptions/{NAME}/stream");
    let fan = FAN.to_string();
    for load in [
        Load {
            what: "fan-out",
            topic: TOPIC,
            clients: FAN,
            part: &["sockets", "--path", &topic, "--count", &fan],
        },
        Load {
            what: "socket, acks",
            topic: DELIVERED,
            clients: 1,
            part: &["sockets", "--path", &subscription, "--count", "1", "--acks"],
        },
        Load {
            what: "grpc subscribe, acks",
            topic: DELIVERED,
            clients: 1,
            part: &["subscriber", "--subscription", NAME],
        },
    ] {
        flow(broker, plan, report, load).await?;
    }
    Ok(())
}

/// Returns what an open stream takes with nothing to do, in KiB.
async fn idle<B: Broker>(broker: &B, plan: &Plan, path: &str, is_socket: bool) -> Result<f64, Failed> {
    let sidecar = start(broker, plan).await;
    let at = sidecar::door(&sidecar);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let open = async || {
        if is_socket {
            Socket::open(&at, path).await
        } else {
            Socket::ask(&at, &request, "HTTP/1.1 200 ").await
        }
    };
    // The first has to find the broker.
    let mut streams = vec![open().await?];
    sleep(SETTLE).await;
    let usage = Usage::of(sidecar.id());
    let before = usage.memory()?.resident;
    for _ in 0..IDLE {
        streams.push(open().await?);
    }
    sleep(SETTLE).await;
    Ok((usage.memory()?.resident - before) * 1024.0 / IDLE as f64)
}

/// Messages that come as fast as they are taken.
struct Load<'a> {
    what: &'static str,
    topic: &'static str,
    /// Each gets every message.
    clients: usize,
    /// The process with the clients.
    part: &'a [&'a str],
}

async fn flow<B: Broker>(broker: &B, plan: &Plan, report: &mut Report, load: Load<'_>) -> Result<(), Failed> {
    let Load { what, topic, clients: count, part } = load;
    let sidecar = start(broker, plan).await;
    let at = sidecar::door(&sidecar);
    let (mut clients, _): (_, String) = Part::start(&[part, &["--at", &at]].concat()).await?;
    let usage = Usage::of(sidecar.id());
    let batches = (MESSAGES_A_SECOND / BATCH / count).max(1) * usize::try_from(plan.time.as_secs())?;
    let messages = batches * BATCH * count;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let before = usage.time()?;
        clients.tell(&Order::Accept(messages)).await?;
        store(&sidecar, topic, batches).await?;
        let accepted: Accepted = clients.answer().await?;
        let cpu = share(usage.time()? - before, messages);
        let speed = Speed { rate: accepted.rate, messages, ..Speed::default() };
        rounds.push(Round { sidespan: Some(speed), cpu: Some(cpu), ..Round::default() });
    }
    let memory = Some(usage.memory()?.peak);
    report.add(Row { broker: B::KIND, what, at_a_time: count, rounds, memory });
    Ok(())
}

/// Starts it with a subscription to fetch from, and room for all streams.
async fn start<B: Broker>(broker: &B, plan: &Plan) -> Sidecar {
    let configuration = sidecar::configuration(broker)
        + &format!(
            "limits: {{ max_streams: {most} }}\n\
             subscriptions:\n  {NAME}: {{ topic: {DELIVERED}, max_in_flight: 1024, dead_letter: false, pull: {{}} }}\n",
            most = IDLE + 1
        );
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    eprintln!("benches/run: sidespan runs as process {}", sidecar.id());
    sidecar
}

const NAME: &str = "taken";
/// Open streams with nothing to do.
const IDLE: usize = 2000;
/// Sockets that follow one topic.
const FAN: usize = 100;
/// So that a round takes about as long as one of publishing.
const MESSAGES_A_SECOND: usize = 200_000;
const SETTLE: Duration = Duration::from_secs(2);
