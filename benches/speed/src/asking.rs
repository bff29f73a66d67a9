//! Requests: over HTTP to a service behind HTTP and back, beside a request by the client library that is answered by it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use sidespan_test_support::Launch;
use tokio::net::{TcpListener, TcpStream};

use crate::brokers::Broker;
use crate::http::Wire;
use crate::part::{Orders, Part, say};
use crate::publishing::take_turns;
use crate::report::{Report, Row};
use crate::sidecar::{self, IN_FLIGHT};
use crate::usage::Usage;
use crate::{Failed, Plan, Way};

/// Measures a broker, if requests are measured there: one at a time, and many.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    let Some(bridge) = broker.requests() else { return Ok(()) };
    let (_service, address): (_, SocketAddr) = Part::start(&["service"]).await?;
    let at = broker.at();
    let (_responder, _): (_, String) = Part::start(&["respond", "--subject", RAW, "--at", &at]).await?;
    let configuration = format!(
        "version: 1
service: speed
bridges: {{ main: {bridge} }}
topics: {{ {ASKED}: {{}} }}
subscriptions:
  answering:
    topic: {ASKED}
    dead_letter: false
    max_in_flight: {IN_FLIGHT}
    push: {{ url: \"http://{address}/\", reply: true }}
"
    );
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    eprintln!("benches/run: sidespan runs as process {}", sidecar.id());
    let (usage, door) = (Usage::of(sidecar.id()), sidecar::door(&sidecar));
    for at_a_time in [1, IN_FLIGHT] {
        let publishers = at_a_time.to_string();
        let load = ["--ask", "--publishers", &publishers];
        let mut ways = Vec::new();
        for way in &plan.ways {
            let how = match way {
                Way::Raw => ["raw", "--kind", B::KIND, "--topic", RAW, "--at", &at].to_vec(),
                Way::Sidespan => ["http", "--topic", ASKED, "--at", &door].to_vec(),
                Way::Echo => continue,
            };
            let (part, _): (_, String) = Part::start(&[&how[..], &load[..]].concat()).await?;
            ways.push((*way, part));
        }
        let rounds = take_turns(&mut ways, usage, plan).await?;
        let memory = Some(usage.memory()?.peak);
        report.add(Row { broker: B::KIND, what: "request", at_a_time, rounds, memory });
    }
    Ok(())
}

/// Is a service that gives back what it is asked, until nobody needs it.
pub(crate) async fn serve() -> Result<(), Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&listener.local_addr()?)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let mut orders = Orders::new();
    while orders.next::<()>().await?.is_some() {}
    Ok(())
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(request) = wire.read().await? {
        let body = request.body();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        wire.write(&[head.as_bytes(), body].concat()).await?;
    }
    Ok(())
}

/// What the service behind HTTP is asked on.
const ASKED: &str = "asked";
/// What the responder by the client library is asked on.
const RAW: &str = "asked-raw";
