//! TLS, with certificates that are right, wrong, and replaced.

use std::fs;
use std::path::Path;

use sidespan_bridge::Topic;
use sidespan_test_support::{Certificates, NotOurs, eventually, free_port, unique_name};
use tempfile::TempDir;
use tracing::Level;

use super::log::Log;
use super::*;

/// What a server shows, and what it asks for.
fn shows(pair: &sidespan_test_support::Pair, more: &str) -> String {
    shows_files(&pair.certificate, &pair.key, more)
}

fn shows_files(certificate: &Path, key: &Path, more: &str) -> String {
    format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, {more} }}\n")
}

/// Asks for a certificate of an authority.
fn verifies(authority: &Path) -> String {
    format!("ca_file: {authority:?}, verify: true")
}

/// Opens a bridge to a server by an address of this scheme.
fn open_by(scheme: &str, nats: &Nats, mut more: Value) -> Arc<dyn Bridge> {
    more["servers"] = json!([nats.url().replace("nats", scheme)]);
    more["create_streams"] = json!({"storage": "memory"});
    open_with(nats, more)
}

/// Publishes and receives one message.
async fn works(bridge: &dyn Bridge) {
    let topic = unique_name("tls");
    bridge.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    publish(bridge, &topic, vec![text("x")]).await;
    accept(next(&mut inbox).await).await;
    bridge.probe(soon()).await.unwrap();
    close(inbox).await;
}

#[tokio::test]
async fn messages_go_by_tls_as_the_server_wants_it() -> Result<(), NotOurs> {
    let ours = Certificates::new();
    let (ca, client) = (ours.authority(), ours.client("shop"));
    let server = ours.server();
    let trusts = json!({"ca": {"file": ca}});
    let shows_itself =
        json!({"ca": {"file": ca}, "certificate": {"file": client.certificate}, "key": {"file": client.key}});
    let plain = Nats::start_with(&shows(&server, "")).await?;
    works(&*open_by("nats", &plain, json!({"tls": trusts}))).await;
    works(&*open_by("tls", &plain, json!({"tls": trusts}))).await;
    let mutual = Nats::start_with(&shows(&server, &verifies(&ca))).await?;
    works(&*open_by("nats", &mutual, json!({"tls": shows_itself}))).await;
    let first = Nats::start_with(&shows(&server, "handshake_first: true")).await?;
    works(&*open_by("tls", &first, json!({"tls": trusts, "tls_first": true}))).await;
    Ok(())
}

/// Each mistake is one line that says what to change: in the probe's error, and once in the log of each of the
/// two connections.
#[tokio::test]
async fn what_is_wrong_with_tls_is_said_in_a_line_with_what_to_change() -> Result<(), NotOurs> {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let trusts = json!({"tls": {"ca": {"file": ours.authority()}}});
    let stranger = others.client("shop");
    let strange = json!({"tls": {"ca": {"file": ours.authority()},
        "certificate": {"file": stranger.certificate}, "key": {"file": stranger.key}}});
    let trusts_others = json!({"tls": {"ca": {"file": others.authority()}}});
    let mut first = trusts.clone();
    first["tls_first"] = json!(true);
    let verifying = verifies(&ours.authority());
    let plain = Nats::start_with("").await?;
    let secure = Nats::start_with(&shows(&ours.server(), "")).await?;
    let expired = Nats::start_with(&shows(&ours.expired(), "")).await?;
    let elsewhere = Nats::start_with(&shows(&ours.elsewhere(), "")).await?;
    let mutual = Nats::start_with(&shows(&ours.server(), &verifying)).await?;
    let begins = Nats::start_with(&shows(&ours.server(), "handshake_first: true")).await?;
    let cases = [
        (&expired, &trusts, "the server's certificate has expired: renew it"),
        (&elsewhere, &trusts, "the server's certificate is for another name: name the server"),
        (&secure, &trusts_others, "from an unknown authority: set `tls.ca`"),
        (&secure, &json!({}), "from an unknown authority: set `tls.ca`"),
        (&plain, &trusts, "the server does not speak TLS: set it up there, or leave `tls` out"),
        (&mutual, &trusts, "the server asks for a certificate: set `tls.certificate` and `tls.key`"),
        (&mutual, &strange, "the server refuses `tls.certificate`: is it from an authority"),
        (&begins, &trusts, "set `tls_first: true`"),
        (&begins, &json!({}), "set `tls: {}` and `tls_first: true`"),
        (&secure, &first, "leave `tls_first` out"),
    ];
    for (nats, keys, wanted) in cases {
        let log = Log::begin(Level::DEBUG);
        let bridge = open_by("nats", nats, keys.clone());
        let mut said = String::new();
        eventually(PATIENCE, wanted, async || {
            let told = bridge.probe(soon()).await.expect_err("nothing can be reached");
            assert_eq!(told.fault, Fault::Unavailable, "{told}");
            said = told.to_string();
            said.contains(wanted)
        })
        .await;
        assert!(!said.contains('\n'), "{said}");
        let again = log.lines("establishing connection").len();
        eventually(PATIENCE, "more attempts", async || {
            log.lines("establishing connection").len() > again + 2
        })
        .await;
        let lines = log.lines(wanted);
        let warned = lines.iter().filter(|line| line.contains("WARN")).count();
        assert!((1..=2).contains(&warned), "{lines:#?}");
        assert!(!log.text().contains("PRIVATE KEY"), "{}", log.text());
        bridge.close(soon()).await;
    }
    Ok(())
}

/// Authority, certificate and key are replaced at the server and in their files: they are used from the next
/// connection on.
#[tokio::test]
async fn certificates_that_are_replaced_are_used_at_the_next_connection() -> Result<(), NotOurs> {
    let place = TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    let install = |made: &Certificates, server: bool| {
        let pair = if server { made.server() } else { made.client("shop") };
        let name = if server { "server" } else { "client" };
        fs::copy(made.authority(), at(&format!("{name}.ca"))).unwrap();
        fs::copy(pair.certificate, at(&format!("{name}.certificate"))).unwrap();
        fs::copy(pair.key, at(&format!("{name}.key"))).unwrap();
    };
    let (before, after) = (Certificates::new(), Certificates::new());
    install(&before, true);
    install(&before, false);
    let settings = shows_files(&at("server.certificate"), &at("server.key"), &verifies(&at("server.ca")));
    let mut nats = Nats::start_with(&settings).await?;
    let tls = json!({"ca": {"file": at("client.ca")}, "certificate": {"file": at("client.certificate")},
        "key": {"file": at("client.key")}});
    let bridge = open_by("nats", &nats, json!({"tls": tls}));
    works(&*bridge).await;

    nats.kill();
    install(&after, true);
    nats.start_again().await;
    eventually(PATIENCE, "the new certificate to be refused", async || {
        bridge.probe(soon()).await.is_err_and(|error| error.to_string().contains("unknown authority"))
    })
    .await;
    install(&after, false);
    eventually(PATIENCE, "the new certificates to be used", async || bridge.probe(soon()).await.is_ok())
        .await;
    works(&*bridge).await;
    Ok(())
}

/// Servers are tried in turn: one that is dead holds up nobody.
#[tokio::test]
async fn a_dead_server_among_several_is_passed_over() -> Result<(), NotOurs> {
    let ours = Certificates::new();
    let nats = Nats::start_with(&shows(&ours.server(), "")).await?;
    let dead = format!("nats://127.0.0.1:{}", free_port());
    let bridge = open_with(
        &nats,
        json!({"servers": [dead, nats.url()], "tls": {"ca": {"file": ours.authority()}}, "create_streams": {}}),
    );
    works(&*bridge).await;
    Ok(())
}
