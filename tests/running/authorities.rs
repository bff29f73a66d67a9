//! The machine's own certificate authorities, where the configuration names none.

use sidespan_test_support::{Certificates, Launch, Nats, NotOurs, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, readiness};

/// OpenSSL's variable, which says where a machine keeps them.
const MACHINE: &str = "SSL_CERT_FILE";

/// Starts a sidecar on a machine that trusts these.
async fn trusting(nats: &Nats, authorities: &Certificates) -> Sidecar {
    let server = nats.url().replace("nats://", "tls://");
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: nats, servers: [\"{server}\"], tls: {{}} }} }}\n"
    );
    Launch::new(SIDESPAN)
        .config(&config)
        .env(MACHINE, authorities.authority().to_str().unwrap())
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_trusted_as_far_as_the_machine_trusts_it() -> Result<(), NotOurs> {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let shown = ours.server();
    let settings = format!("tls {{ cert_file: {:?}, key_file: {:?} }}\n", shown.certificate, shown.key);
    let nats = Nats::start_with(&settings).await?;
    let known = trusting(&nats, &ours).await;
    eventually(PATIENCE, "a known authority is trusted", async || readiness(&known).await.0 == 200).await;
    let unknown = trusting(&nats, &others).await;
    let mut said = String::new();
    eventually(PATIENCE, "an unknown one is refused", async || {
        let (status, body) = readiness(&unknown).await;
        said = body.to_string();
        status == 503 && said.contains("authority")
    })
    .await;
    assert!(said.contains("tls.ca"), "it says what to change: {said}");
    Ok(())
}
