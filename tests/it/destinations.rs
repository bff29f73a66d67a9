//! Where webhooks may be.

use std::time::Duration;

use sidespan_test_support::eventually;

use crate::server::Server;

/// A configuration that is read without the command line's checks stands for a name that led elsewhere
/// then.
#[tokio::test]
async fn link_local_and_metadata_addresses_are_never_called() {
    let hosts = [
        "169.254.169.254",
        "2852039166",
        "0xA9.0xFE.0xA9.0xFE",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ];
    let subscriptions = hosts.iter().enumerate().map(|(index, host)| {
        format!("  s{index}: {{ topic: declared, push: {{ url: \"http://{host}/latest?token=secret\" }} }}\n")
    });
    let server = Server::with(&format!("subscriptions:\n{}", subscriptions.collect::<String>())).await;
    let described = async |index: usize| server.get(&format!("/v1/subscriptions/s{index}")).expect(200).await;
    for index in 0..hosts.len() {
        let running = async || described(index).await["state"] == "running";
        eventually(PATIENCE, "a subscription that runs", running).await;
    }
    server.publish("declared", "x").await;
    for (index, host) in hosts.iter().enumerate() {
        let told = async || described(index).await["endpoint"]["error"].is_string();
        eventually(PATIENCE, "an endpoint that is told", told).await;
        let subscription = described(index).await;
        let error = subscription["endpoint"]["error"].as_str().unwrap();
        assert!(error.contains("is never called") && !error.contains("secret"), "{host}: {error}");
        assert_eq!((&subscription["held"], &subscription["dead_lettered"]), (&1.into(), &0.into()), "{host}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
