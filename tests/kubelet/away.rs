//! A broker that is away: the probes of a pod that starts, and of one that runs.

use sidespan_test_support::{Client, Ground, Launch, eventually, on};

use crate::app::{self, App, Character};
use crate::pod::ORDERS;
use crate::{NEVER, PATIENCE, SIDESPAN, probe, until};

on!(a_pod_starts_and_waits_for_it on every server);

/// No outage may restart a pod, or take the service beside a sidecar out of service; a gateway has nothing to offer
/// meanwhile. All heals by itself.
async fn a_pod_starts_and_waits_for_it(ground: Ground) {
    let Some((mut own, scene)) = ground.own().await else { return };
    own.flush().await;
    own.broker_mut().kill();
    let port = app::port();
    let [webhook, dead] = ["/0", "/dead"].map(|path| format!("http://127.0.0.1:{port}{path}"));
    let mut sidecar = Launch::new(SIDESPAN).config(&scene.config(&webhook, &dead, NEVER)).start().await;
    let open = async |statuses: [u16; 2]| {
        for path in ["/livez", "/startupz", "/readyz/listeners"] {
            assert_eq!(probe(&sidecar, path).await, 200, "{path} knows of no broker");
        }
        for (path, status) in ["/readyz/publish", "/readyz"].into_iter().zip(statuses) {
            until(&sidecar, path, status).await;
        }
    };
    open([503, 503]).await;
    let refused = Client::new().post(&sidecar.url(ORDERS), "0 0").send().await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());

    own.broker_mut().start_again().await;
    open([200, 200]).await;
    let app = App::start(port, &sidecar.url(ORDERS), &Character::busy()).await;
    let delivered = async |more: usize| {
        let wanted = app.count("got: ") + more;
        eventually(PATIENCE, "deliveries", async || app.count("got: ") >= wanted).await;
    };
    delivered(100).await;

    own.flush().await;
    own.broker_mut().kill();
    open([503, 503]).await;
    own.broker_mut().start_again().await;
    open([200, 200]).await;
    delivered(100).await;
    assert_eq!(sidecar.stop().await.status.code(), Some(0));
}
