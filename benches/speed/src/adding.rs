//! One subscription more, made while many run under a steady load: how long each of those has to wait for its next
//! message meanwhile.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use serde::{Deserialize, Serialize};
use sidespan_test_support::{Client, Launch, Sidecar};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::brokers::{Broker, DELIVERED, Embedded, Nats};
use crate::http::Wire;
use crate::load::Speed;
use crate::part::{Orders, Part, say};
use crate::report::Report;
use crate::{Failed, Plan, sidecar};

/// Measures a broker that keeps a registry and has a subscription for little.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    if ![Embedded::KIND, Nats::KIND].contains(&B::KIND) {
        return Ok(());
    }
    let (mut watch, address): (_, SocketAddr) = Part::start(&["watch"]).await?;
    let mut configuration = sidecar::configuration(broker) + "registry: { bridge: main }\nsubscriptions:\n";
    for number in 0..STEADY {
        writeln!(configuration, "  steady-{number}: {}", spec(address, number))?;
    }
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    eprintln!("benches/run: sidespan runs as process {}", sidecar.id());
    let at = sidecar::door(&sidecar);
    let pause = EVERY.as_millis().to_string();
    let load = ["http", "--topic", DELIVERED, "--publishers", "1", "--pause", &pause, "--at", &at];
    let (mut load, _): (_, String) = Part::start(&load).await?;
    let time = SETTLE + (SECOND * 3).saturating_mul(ADDED) + SECOND;
    load.tell(&time.as_secs_f64()).await?;
    sleep(SETTLE).await;
    let (mut quiet, mut adding) = (Vec::new(), Vec::new());
    for _ in 0..ADDED {
        watch.ask::<Vec<f64>>(&Order::Begin).await?;
        sleep(SECOND).await;
        quiet.extend(watch.ask::<Vec<f64>>(&Order::Tell).await?);
        watch.ask::<Vec<f64>>(&Order::Begin).await?;
        sleep(SECOND / 2).await;
        change(&sidecar, Method::PUT, spec(address, STEADY)).await?;
        sleep(SECOND / 2).await;
        adding.extend(watch.ask::<Vec<f64>>(&Order::Tell).await?);
        change(&sidecar, Method::DELETE, String::new()).await?;
    }
    load.answer::<Speed>().await?;
    for (what, mut gaps) in [("nothing is added", quiet), ("one is added", adding)] {
        gaps.sort_unstable_by(f64::total_cmp);
        let of = format!("{STEADY} subscriptions, one message each {} ms, while {what}", EVERY.as_millis());
        let nth = |share: f64| gaps.get((gaps.len() as f64 * share) as usize).or(gaps.last()).copied();
        report.note(B::KIND, &format!("{of}: gap, 99th, ms"), nth(0.99).unwrap_or(f64::NAN));
        report.note(B::KIND, &format!("{of}: gap, worst, ms"), nth(1.0).unwrap_or(f64::NAN));
    }
    Ok(())
}

fn spec(address: SocketAddr, number: usize) -> String {
    let push = format!("{{\"url\": \"http://{address}/{number}\"}}");
    format!("{{\"topic\": \"{DELIVERED}\", \"dead_letter\": false, \"push\": {push}}}")
}

async fn change(sidecar: &Sidecar, method: Method, body: String) -> Result<(), Failed> {
    let url = sidecar.url("/v1/subscriptions/added");
    let request = Client::new().request(method, &url).header("content-type", "application/json");
    let answer = request.body(body).send().await?;
    if answer.status.is_success() { Ok(()) } else { Err(answer.text().to_owned().into()) }
}

/// What a watch is told. It answers each with the largest gap of each subscription, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Order {
    /// To begin anew.
    Begin,
    /// To tell what was seen since then.
    Tell,
}

/// When messages came, by the path of the webhook.
type Seen = Arc<Mutex<HashMap<Box<[u8]>, Vec<Instant>>>>;

/// Is a webhook for all of them, until nobody needs it.
pub(crate) async fn watch() -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&listener.local_addr()?)?;
    let seen = Seen::default();
    let book = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(receive(stream, book.clone()));
        }
    });
    let (mut orders, mut began) = (Orders::new(), Instant::now());
    // The one that comes and goes has gaps of its own.
    let added = format!("/{STEADY}").into_bytes();
    while let Some(order) = orders.next::<Order>().await? {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gaps = match order {
            Order::Begin => Vec::new(),
            Order::Tell => {
                let steady = seen.iter().filter(|(path, _)| ***path != *added);
                steady.map(|(_, times)| largest(began, times, now)).collect()
            }
        };
        seen.values_mut().for_each(Vec::clear);
        began = now;
        drop(seen);
        say(&gaps)?;
    }
    Ok(())
}

/// Returns the largest gap between two of these instants, from the first to the last.
fn largest(began: Instant, times: &[Instant], ended: Instant) -> f64 {
    let next = times.iter().copied().chain([ended]);
    let gaps = [began].into_iter().chain(times.iter().copied()).zip(next);
    gaps.map(|(one, next)| next.saturating_duration_since(one).as_secs_f64() * 1e3).fold(0.0, f64::max)
}

async fn receive(stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(request) = wire.read().await? {
        let path = request.all.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        note(&seen, path);
        wire.write(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
    Ok(())
}

fn note(seen: &Seen, path: &[u8]) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match seen.get_mut(path) {
        Some(times) => times.push(Instant::now()),
        None => drop(seen.insert(path.into(), vec![Instant::now()])),
    }
}

/// Subscriptions that are not to be disturbed.
const STEADY: usize = 500;
/// How often one is added.
const ADDED: u32 = 20;
/// How often a message comes to each.
const EVERY: Duration = Duration::from_millis(40);
const SECOND: Duration = Duration::from_secs(1);
/// What has just started may still be busy.
const SETTLE: Duration = Duration::from_secs(5);
