//! What Sidespan takes with nothing to do: memory, processor time, the time to start, the disk.

use std::fmt::Write;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sidespan_test_support::{Client, Launch, free_port};
use tokio::time::sleep;

use crate::brokers::{Broker, DELIVERED, Embedded};
use crate::report::Report;
use crate::usage::Usage;
use crate::{Failed, Plan, sidecar};

/// Measures a broker.
pub(crate) async fn measure<B: Broker>(broker: &B, plan: &Plan, report: &mut Report) -> Result<(), Failed> {
    if B::KIND == Embedded::KIND {
        let bytes = std::fs::metadata(&plan.program)?.len();
        report.note("", "program, MB", bytes as f64 / 1e6);
        report.note(B::KIND, "from exec to ready, ms", ready(broker, plan).await?);
    }
    let bare = sidecar::start(broker, plan, None).await;
    sleep(SETTLE).await;
    let memory = Usage::of(bare.id()).memory()?;
    report.note(B::KIND, "idle: resident, MiB", memory.resident);
    report.note(B::KIND, "idle: anonymous, MiB", memory.anonymous);
    drop(bare);

    let mut configuration = sidecar::configuration(broker) + "subscriptions:\n";
    for number in 0..B::SUBSCRIPTIONS {
        writeln!(
            configuration,
            "  idle-{number}: {{ topic: {DELIVERED}, dead_letter: false, push: {{ url: \"http://127.0.0.1:1/\" }} }}"
        )?;
    }
    let idle = Launch::new(&plan.program).config(&configuration).start().await;
    let (client, url, end) = (Client::new(), idle.admin_url("/readyz"), Instant::now() + LONG);
    while client.get(&url).send().await.map_or(0, |answer| answer.status.as_u16()) != 200 {
        if Instant::now() > end {
            return Err(format!("{} subscriptions are not ready after {LONG:?}", B::SUBSCRIPTIONS).into());
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(SETTLE).await;
    let usage = Usage::of(idle.id());
    let each = (usage.memory()?.resident - memory.resident) * 1024.0 / B::SUBSCRIPTIONS as f64;
    let before = usage.time()?;
    sleep(WATCH).await;
    let busy = (usage.time()? - before).as_secs_f64() / WATCH.as_secs_f64() * 100.0;
    let of = format!("{} idle subscriptions", B::SUBSCRIPTIONS);
    report.note(B::KIND, &format!("{of}: resident each, KiB"), each);
    report.note(B::KIND, &format!("{of}: processor, %"), busy);
    Ok(())
}

/// Returns the median of some starts, in milliseconds.
async fn ready<B: Broker>(broker: &B, plan: &Plan) -> Result<f64, Failed> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("sidespan.yaml"), sidecar::configuration(broker))?;
        let (listen, admin) = (free_port(), free_port());
        let mut command = Command::new(&plan.program);
        command.args(["serve", "--config", "sidespan.yaml"]).current_dir(directory.path());
        command.env("SIDESPAN__LISTEN", format!("127.0.0.1:{listen}"));
        command.env("SIDESPAN__ADMIN", format!("127.0.0.1:{admin}"));
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        while !is_ready(SocketAddr::from(([127, 0, 0, 1], admin))) && began.elapsed() < WATCH {
            sleep(Duration::from_millis(1)).await;
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
        child.kill()?;
        child.wait()?;
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times.get(STARTS / 2).copied().unwrap_or(f64::NAN))
}

fn is_ready(admin: SocketAddr) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(WATCH))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

const STARTS: usize = 5;
/// How long what has just started may still be busy.
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);
/// A broker takes its time to make a thousand queues.
const LONG: Duration = Duration::from_secs(600);
