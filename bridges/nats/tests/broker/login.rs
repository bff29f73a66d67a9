//! Every way to log in, with secrets that are wrong, right, and replaced.

use std::fs;

use nkeys::KeyPair;
use sidespan_bridge::Topic;
use sidespan_test_support::{eventually, unique_name};
use tempfile::TempDir;
use tracing::Level;

use super::jwt;
use super::log::Log;
use super::*;

/// A way to log in, with a secret and the one that takes its place.
struct Way {
    key: &'static str,
    /// What the server is told while each of the secrets is the right one.
    server: [String; 2],
    secrets: [String; 2],
}

fn ways() -> Vec<Way> {
    let passwords = ["correct-horse-battery", "staple-of-another-day"].map(str::to_owned);
    let user =
        |password: &String| format!("authorization {{ users: [{{user: shop, password: \"{password}\"}}] }}");
    let token = |token: &String| format!("authorization {{ token: \"{token}\" }}");
    let keys = [KeyPair::new_user(), KeyPair::new_user()];
    let nkey = |key: &KeyPair| format!("authorization {{ users: [{{nkey: {}}}] }}", key.public_key());
    let operator = jwt::Operator::new();
    let users = [operator.user(), operator.user()];
    vec![
        Way { key: "password", server: passwords.each_ref().map(user), secrets: passwords.clone() },
        Way { key: "token", server: passwords.each_ref().map(token), secrets: passwords.clone() },
        Way {
            key: "nkey",
            server: keys.each_ref().map(nkey),
            secrets: keys.each_ref().map(|key| key.seed().unwrap()),
        },
        Way {
            key: "credentials",
            server: [operator.settings(Some(&users[1])), operator.settings(Some(&users[0]))],
            secrets: users.each_ref().map(jwt::User::credentials),
        },
    ]
}

/// The secret is replaced at the server, and later in its file: it is used from the next connection on. In
/// between it is wrong, and that is said once, with what to change. No secret is ever said.
#[tokio::test]
async fn a_secret_that_is_replaced_is_used_at_the_next_connection() {
    for way in ways() {
        let log = Log::begin(Level::TRACE);
        let place = TempDir::new().unwrap();
        let (server, secret) = (place.path().join("server.conf"), place.path().join("secret"));
        fs::write(&server, &way.server[0]).unwrap();
        fs::write(&secret, &way.secrets[0]).unwrap();
        // Where the server looks from is a directory beside it.
        let include = format!("include \"../{}/server.conf\"", place.path().file_name().unwrap().display());
        let mut nats = match Nats::start_with(&include).await {
            Ok(nats) => nats,
            Err(skipped) => return eprintln!("{skipped}"),
        };
        let mut keys = json!({"create_streams": {}, way.key: {"file": secret}});
        if way.key == "password" {
            keys["username"] = json!("shop");
        }
        let bridge = open_with(&nats, keys);
        let topic = unique_name("login");
        bridge.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
        let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
        publish(&*bridge, &topic, vec![text("before")]).await;
        accept(next(&mut inbox).await).await;

        nats.kill();
        fs::write(&server, &way.server[1]).unwrap();
        nats.start_again().await;
        let mut said = String::new();
        eventually(PATIENCE, "the server to refuse the secret", async || {
            let told = bridge.probe(soon()).await;
            said = told.as_ref().map_or_else(ToString::to_string, |()| String::new());
            told.is_err_and(|error| error.fault == Fault::Denied)
        })
        .await;
        assert!(said.contains(&format!("`{}`", way.key)) && !said.contains('\n'), "{said}");
        let refused = "the server refuses the credentials";
        eventually(PATIENCE, "several attempts", async || log.lines("authorization violation").len() > 6)
            .await;

        fs::write(&secret, &way.secrets[1]).unwrap();
        eventually(PATIENCE, "the new secret to be used", async || {
            attempt(&*bridge, &topic, text("after")).await.is_ok()
        })
        .await;
        until(&mut inbox, "after").await;
        let lines: Vec<String> = log.lines(refused);
        assert!((1..=2).contains(&lines.len()), "{}, of each connection: {lines:#?}", way.key);
        close(inbox).await;
        bridge.close(soon()).await;
        let words: Vec<&str> = way.secrets.iter().flat_map(|secret| secret.lines()).collect();
        for word in words.into_iter().filter(|word| word.len() > 20 && !word.contains(' ')) {
            let shown = log.lines(word);
            assert!(word.contains("---") || shown.is_empty(), "{}: {shown:?}", way.key);
            assert!(!said.contains(word), "{said}");
        }
    }
}

/// A secret that is not there, or no such secret, is named by its key and what to do about it.
#[tokio::test]
async fn a_secret_that_cannot_be_used_is_named_and_not_shown() {
    let log = Log::begin(Level::TRACE);
    let nats = Nats::shared().await;
    for (keys, wanted) in [
        (json!({"token": {"file": "/no/such/file"}}), "`token`: cannot read the secret in /no/such/file"),
        (json!({"nkey": "hunter2hunter2"}), "`nkey` holds no seed of a user's key"),
        (json!({"credentials": "hunter2hunter2"}), "`credentials` holds no user nkey seed"),
    ] {
        let bridge = open_with(nats, keys);
        let error = bridge.probe(soon()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Denied, "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert!(!log.text().contains("hunter2"), "{}", log.text());
}
