//! An operator, its accounts and their users, as `nsc` makes them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// One operator with a system account, and an account with JetStream.
pub(super) struct Operator {
    key: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

/// A user of the account.
pub(super) struct User {
    key: KeyPair,
    jwt: String,
}

impl Operator {
    pub(super) fn new() -> Self {
        Self { key: KeyPair::new_operator(), account: KeyPair::new_account(), system: KeyPair::new_account() }
    }

    /// Makes a user of the account.
    pub(super) fn user(&self) -> User {
        let key = KeyPair::new_user();
        let limits = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": {}, "sub": {}});
        let jwt = token(&self.account, &key.public_key(), limits);
        User { key, jwt }
    }

    /// Returns what a server must be told to let in the users of the account, but for one.
    pub(super) fn settings(&self, but_for: Option<&User>) -> String {
        let account = |revoked: Value| {
            json!({"type": "account", "version": 2, "default_permissions": {"pub": {}, "sub": {}},
                "limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                    "wildcards": true, "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1,
                    "streams": -1, "consumer": -1},
                "revocations": revoked})
        };
        let revoked = but_for.map_or(json!({}), |user| json!({user.key.public_key(): now() + 60}));
        let operator = json!({"type": "operator", "version": 2});
        let (name, system) = (self.account.public_key(), self.system.public_key());
        format!(
            "operator: \"{}\"\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{ {name}: \"{}\", {system}: \"{}\" }}\n",
            token(&self.key, &self.key.public_key(), operator),
            token(&self.key, &name, account(revoked)),
            token(
                &self.key,
                &system,
                json!({"type": "account", "version": 2,
                "limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                    "wildcards": true, "conn": -1, "leaf": -1}})
            ),
        )
    }
}

impl User {
    /// Returns the text of a credentials file.
    pub(super) fn credentials(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt,
            self.key.seed().unwrap()
        )
    }
}

/// Returns claims about a key, signed.
fn token(issuer: &KeyPair, subject: &str, nats: Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({"jti": subject, "iat": now(), "iss": issuer.public_key(), "name": "test",
        "sub": subject, "nats": nats});
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
