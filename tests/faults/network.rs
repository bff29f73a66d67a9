//! The network between the sidecar and its broker fails, in every way and in a random order.

use std::time::Duration;

use sidespan_test_support::{Cut, Ground, Proxy, on};
use tokio::time::{Instant, sleep};

use crate::run::Run;
use crate::scale;

on!(fails on every server);

/// What may happen to a network.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Connections end.
    Cut(Cut),
    /// Bytes take long.
    Delay(Duration),
    /// Connections are half-open, and new ones are well.
    Forget,
    /// Nothing is carried for a while, and what connected before is half-open for ever.
    Silence,
    /// So many bytes a second go through a connection.
    Throttle(u32),
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Cut(Cut::Finish),
    Trouble::Cut(Cut::Reset),
    Trouble::Delay(Duration::from_millis(150)),
    Trouble::Forget,
    Trouble::Silence,
    Trouble::Throttle(64 << 10),
];

async fn fails(ground: Ground) {
    let Some((_own, proxy, scene)) = ground.behind_a_proxy().await else { return };
    let name = format!("{}, network", ground.name());
    let mut run = Run::prepare(&name, &scene, crate::NEVER).await;
    run.publish_on();
    let mut troubles = TROUBLES.to_vec();
    while !troubles.is_empty() {
        run.load.until_delivered_more(stretch()).await;
        let trouble = troubles.swap_remove(run.random.below(troubles.len() as u64) as usize);
        run.fault();
        trouble.strike(&proxy).await;
        let since = Instant::now();
        run.load.until_delivered_more(stretch()).await;
        let took = since.elapsed();
        println!("{name}: {trouble:?}, {} delivered after {took:.1?}", stretch());
        assert!(took < HEALED, "{name}: {trouble:?}, {} delivered only after {took:.1?}", stretch());
        proxy.clear();
    }
    run.load.enough();
    run.finish().await;
}

impl Trouble {
    /// Has it happen; what ends by itself is over then.
    async fn strike(self, proxy: &Proxy) {
        match self {
            Self::Cut(how) => proxy.cut(how),
            Self::Delay(delay) => proxy.delay(delay),
            Self::Forget => proxy.forget(),
            Self::Silence => {
                proxy.silence();
                sleep(scale::freeze()).await;
                proxy.clear();
            }
            Self::Throttle(rate) => proxy.throttle(rate),
        }
    }
}

/// How many messages are delivered between two events, and so also under each trouble that lasts.
fn stretch() -> usize {
    scale::messages() / (4 * TROUBLES.len())
}

/// How soon a network that is well again, or troubled in another way, carries messages again: a silent
/// connection is noticed after ten seconds at most.
const HEALED: Duration = Duration::from_secs(30);
