use std::fs;
use std::path::Path;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use serde_json::{Value, json};
use sidespan_test_support::{Certificates, Pair};

use super::*;
use crate::{Settings, tls};

#[test]
fn a_broker_is_trusted_by_the_authority_of_the_configuration() {
    let made = Certificates::new();
    let client = client(json!({"ca": file(&made.authority())}));
    meet(&client, &broker(&made.server(), None)).unwrap();
}

#[test]
fn what_is_wrong_with_a_brokers_certificate_is_said() {
    let (made, stranger) = (Certificates::new(), Certificates::new());
    let client = client(json!({"ca": file(&made.authority())}));
    for (shown, said) in [
        (made.expired(), "has expired"),
        (made.elsewhere(), "is not for localhost, but for"),
        (stranger.server(), "set `tls.ca`"),
    ] {
        let error = meet(&client, &broker(&shown, None)).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_certificate_that_is_renewed_is_shown_at_the_next_handshake() {
    let made = Certificates::new();
    let other = Certificates::new();
    let mine = other.client("me");
    let asking = broker(&made.server(), Some(&made));
    let client = client(json!({
        "ca": file(&made.authority()), "certificate": file(&mine.certificate), "key": file(&mine.key),
    }));
    let error = meet(&client, &asking).unwrap_err();
    assert!(error.contains("authority that the broker does not know"), "{error}");

    let renewed = made.client("me");
    fs::copy(&renewed.certificate, &mine.certificate).unwrap();
    fs::copy(&renewed.key, &mine.key).unwrap();
    meet(&client, &asking).unwrap();
}

#[test]
fn an_authority_that_is_replaced_counts_at_the_next_handshake() {
    let (before, after) = (Certificates::new(), Certificates::new());
    let client = client(json!({"ca": file(&before.authority())}));
    fs::copy(after.authority(), before.authority()).unwrap();
    meet(&client, &broker(&after.server(), None)).unwrap();
}

#[test]
fn a_broker_that_asks_for_a_certificate_and_gets_none_is_understood() {
    let made = Certificates::new();
    let client = client(json!({"ca": file(&made.authority())}));
    let error = meet(&client, &broker(&made.server(), Some(&made))).unwrap_err();
    assert!(error.contains("set `tls.certificate` and `tls.key`"), "{error}");
}

#[test]
fn certificates_that_cannot_be_used_name_their_key() {
    let made = Certificates::new();
    let (mine, other) = (made.client("me"), made.client("other"));
    let (certificate, key) = (file(&mine.certificate), file(&mine.key));
    for (keys, named) in [
        (json!({"ca": "nothing"}), "`tls.ca`"),
        (json!({"ca": file(Path::new("/there/is/none"))}), "/there/is/none"),
        (json!({"certificate": key, "key": key}), "`tls.certificate`"),
        (json!({"certificate": certificate, "key": certificate}), "`tls.key`"),
        (json!({"certificate": certificate, "key": file(&other.key)}), "`tls.key` does not belong"),
    ] {
        let error = read(keys).client().unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

fn file(path: &Path) -> Value {
    json!({"file": path})
}

fn read(keys: Value) -> Tls {
    Settings::new("s", keys).parse().unwrap()
}

fn client(keys: Value) -> Arc<ClientConfig> {
    Arc::new(read(keys).client().unwrap())
}

/// A broker's side, which asks for a certificate of an authority if one is named.
fn broker(shown: &Pair, asks: Option<&Certificates>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_file_iter(&shown.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&shown.key).unwrap();
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match asks {
        None => config.with_no_client_auth(),
        Some(asks) => {
            let trusted = authorities(&fs::read_to_string(asks.authority()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// Lets both sides shake hands, without a socket. Returns what the client says of a failure.
fn meet(client: &Arc<ClientConfig>, broker: &Arc<ServerConfig>) -> Result<(), String> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut broker = ServerConnection::new(broker.clone()).unwrap();
    let said = |error: Error| tls::explain(&error).unwrap();
    while client.wants_write() || broker.wants_write() {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        broker.read_tls(&mut sent.as_slice()).unwrap();
        // What the broker cannot accept it says to the client, in an alert.
        let _ = broker.process_new_packets();
        let mut answered = Vec::new();
        while broker.wants_write() {
            broker.write_tls(&mut answered).unwrap();
        }
        client.read_tls(&mut answered.as_slice()).unwrap();
        client.process_new_packets().map_err(said)?;
    }
    Ok(())
}
