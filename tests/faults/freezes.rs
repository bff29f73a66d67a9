//! The broker is frozen: it keeps its connections, and answers nothing.
//!
//! Meanwhile publishers are told so within their deadline, also when there are many of them with
//! much to say; the sidecar's memory stays bounded; and all heals without a restart.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidespan_test_support::{Client, Ground, NoAnswer, PUBLISH_DEADLINE, Request, Response, on};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::run::Run;
use crate::scale;

on!(the_broker on every server);

async fn the_broker(ground: Ground) {
    let Some((mut own, scene)) = ground.own().await else { return };
    let name = format!("{}, broker frozen", ground.name());
    let mut run = Run::begin(&name, &scene).await;
    run.load.until_delivered(scale::messages() / 4).await;
    let before = run.sidecar.resident();

    own.broker_mut().freeze();
    run.fault();
    let crowd = Crowd::gather(&run.sidecar.url("/v1/topics/ballast/messages"));
    let mut peak = 0;
    let end = Instant::now() + scale::freeze();
    while Instant::now() < end {
        peak = run.sidecar.resident().max(peak);
        sleep(Duration::from_millis(50)).await;
    }
    // The last of them still get their answers from a sidecar whose broker is frozen.
    let told = crowd.disperse().await;
    peak = run.sidecar.resident().max(peak);
    own.broker_mut().thaw();

    let thawed = Instant::now();
    run.sidecar.until_ready().await;
    let ready = thawed.elapsed();
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{name}: {told:?}; {} MiB before and {} MiB at most meanwhile; ready {ready:.1?} after the thaw",
        mib(before),
        mib(peak)
    );
    assert!(told.refused + told.unknown > 0, "{told:?}");
    assert!(told.other.is_empty(), "{told:?}");
    assert!(told.slowest < PUBLISH_DEADLINE + NOISE, "{told:?}");
    assert!(peak < CAP, "{} MiB", mib(peak));
    let figures = run.finish().await;
    assert!(figures.slowest < PUBLISH_DEADLINE + NOISE, "{figures}");
    assert_eq!(figures.refusals.unanswered + figures.refusals.other, 0, "{figures}");
}

/// Many publishers with large messages, who go on whatever they are told.
struct Crowd {
    told: Arc<Mutex<Told>>,
    enough: CancellationToken,
    publishers: JoinSet<()>,
}

/// What a crowd was told.
#[derive(Clone, Debug, Default)]
struct Told {
    refused: usize,
    unknown: usize,
    slowest: Duration,
    other: Vec<String>,
}

impl Crowd {
    fn gather(door: &str) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let (enough, mut publishers) = (CancellationToken::new(), JoinSet::new());
        let client = Client::new();
        for _ in 0..CROWD {
            let request = client.post(door, vec![b'x'; SIZE]).deadline(2 * PUBLISH_DEADLINE);
            let timeout = format!("{}ms", PUBLISH_DEADLINE.as_millis());
            publishers.spawn(publish(
                request.header("sidespan-timeout", timeout),
                told.clone(),
                enough.clone(),
            ));
        }
        Self { told, enough, publishers }
    }

    /// Lets them go once each has its answer.
    async fn disperse(self) -> Told {
        self.enough.cancel();
        self.publishers.join_all().await;
        self.told.lock().expect("nobody panics with it in hand").clone()
    }
}

impl Told {
    fn note(&mut self, answer: Result<Response, NoAnswer>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match answer {
            Ok(answer) if [429, 503].contains(&answer.status.as_u16()) => self.refused += 1,
            Ok(answer) if answer.status == 504 => self.unknown += 1,
            Ok(answer) => self.other.push(format!("{} {}", answer.status, answer.text())),
            Err(none) => self.other.push(none.to_string()),
        }
    }
}

async fn publish(request: Request, told: Arc<Mutex<Told>>, enough: CancellationToken) {
    while !enough.is_cancelled() {
        let began = Instant::now();
        let answer = request.clone().send().await;
        told.lock().expect("nobody panics with it in hand").note(answer, began.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
}

/// How many publish beside the load.
const CROWD: usize = 200;
/// How large their messages are, in bytes.
const SIZE: usize = 16 << 10;
/// How late an answer may be on a machine that does much else.
const NOISE: Duration = Duration::from_secs(1);
/// What a sidecar may take of the memory meanwhile (an unoptimised build).
const CAP: u64 = 128 << 20;
