use std::fs;
use std::path::Path;

use futures_util::FutureExt;
use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::config::Token;

const TILL: &str = "till-till-till-till-till-till";
const SHOP: &str = "shop/+=.shop-shop-shop-shop~shop";

fn token(name: &str, secret: Value) -> Token {
    let pattern = |text| Pattern::parse(text).unwrap();
    Token {
        name: Name::parse(name).unwrap(),
        secret: serde_json::from_value(secret).unwrap(),
        publish: vec![pattern("orders.*")],
        subscribe: vec![pattern("billing"), pattern("orders.*")],
        manage: name == "operator",
    }
}

fn auth(tokens: impl IntoIterator<Item = (&'static str, Value)>) -> Auth {
    Auth { tokens: tokens.into_iter().map(|(name, secret)| token(name, secret)).collect() }
}

fn two() -> Callers {
    Callers::new(&auth([("till", json!(TILL)), ("shop", json!(SHOP))]))
}

fn ask(callers: &Callers, name: http::HeaderName, value: &str) -> Result<String, String> {
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
    name_of(callers, &headers)
}

fn name_of(callers: &Callers, headers: &HeaderMap) -> Result<String, String> {
    let answer = callers.authenticate(headers);
    answer.map(|caller| caller.name().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_token_names_its_caller() {
    let callers = two();
    let bearer = |value: &str| ask(&callers, AUTHORIZATION, value);
    assert_eq!(bearer(&format!("Bearer {TILL}")), Ok("till".into()));
    assert_eq!(bearer(&format!("bearer  {SHOP} ")), Ok("shop".into()));
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        TILL,
        &format!("Basic {TILL}"),
        &format!("Bearer {TILL}x"),
        &format!("Bearer {}", &TILL[1..]),
        &format!("Bearer {TILL}, Bearer {SHOP}"),
    ] {
        let error = bearer(wrong).unwrap_err();
        assert!(error.contains("auth.tokens") && !error.contains("till-till"), "{wrong:?}: {error}");
    }
    let mut headers = HeaderMap::new();
    for token in [TILL, SHOP] {
        headers.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    }
    assert!(name_of(&callers, &headers).unwrap_err().contains("more than one"));
    assert!(name_of(&callers, &HeaderMap::new()).unwrap_err().contains("Authorization: Bearer"));
}

#[test]
fn a_page_shows_its_token_as_a_subprotocol() {
    let callers = two();
    let offers = |value: &str| ask(&callers, SEC_WEBSOCKET_PROTOCOL, value);
    let shop = URL_SAFE_NO_PAD.encode(SHOP);
    assert_eq!(offers(&format!("sidespan.v1.json, sidespan.token.{shop}")), Ok("shop".into()));
    assert_eq!(offers(&format!("sidespan.token.{shop},sidespan.v1.json")), Ok("shop".into()));
    for wrong in ["sidespan.v1.json", "sidespan.token.", &format!("sidespan.token.{TILL}"), &shop] {
        assert!(offers(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_caller_has_the_rights_of_its_patterns_and_no_others() {
    let callers = Callers::new(&auth([("till", json!(TILL)), ("operator", json!(SHOP))]));
    let of = |token| {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        callers.authenticate(&HeaderMap::from_iter([(AUTHORIZATION, value)])).unwrap()
    };
    let till = of(TILL);
    assert!(till.may_publish("orders.eu") && !till.may_publish("orders") && !till.may_publish("billing"));
    assert!(till.may_subscribe("billing") && till.may_subscribe("orders.*"));
    assert!(!till.may_subscribe("orders.>") && !till.may_subscribe("orders.eu.paid"));
    assert!(!till.may_manage() && of(SHOP).may_manage());
    let anyone = Caller::anyone();
    assert!(anyone.may_publish("x") && anyone.may_subscribe(">") && anyone.may_manage());
    assert_eq!(anyone.name(), "");
}

#[test]
fn a_refusal_names_the_caller_the_right_and_the_topic() {
    let callers = two();
    let value = HeaderValue::from_str(&format!("Bearer {TILL}")).unwrap();
    let till = callers.authenticate(&HeaderMap::from_iter([(AUTHORIZATION, value)])).unwrap();
    for (refused, parts) in [
        (till.require_publish("payments"), ["\"till\"", "\"payments\"", "`publish`"]),
        (till.require_subscribe("orders.>"), ["\"till\"", "\"orders.>\"", "`subscribe`"]),
        (till.require_manage(), ["\"till\"", "`manage: true`", "`auth.tokens`"]),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let auth = auth([("till", json!(TILL))]);
    for shown in [format!("{auth:?}"), format!("{:?}", Callers::new(&auth))] {
        assert!(!shown.contains("till-till"), "{shown}");
    }
}

#[test]
fn what_cannot_be_a_token_is_refused_without_showing_it() {
    let said = |secrets: &[&str]| -> Vec<String> {
        let tokens = ["a", "b"].into_iter().zip(secrets.iter().map(|secret| json!(secret)));
        let checked = check(&auth(tokens)).into_iter();
        checked.map(|one| one.map_or_else(|error| error.to_string(), |()| "fine".into())).collect()
    };
    assert_eq!(said(&[TILL, SHOP]), ["fine", "fine"]);
    for (secret, part) in [
        ("hunter2", "at least 24 bytes, this one 7"),
        ("hunter2 hunter2 hunter2 hunter2", "one word"),
        ("hünter2-hünter2-hünter2-hünter2", "one word"),
    ] {
        let error = &said(&[secret])[0];
        assert!(error.contains(part) && error.contains("openssl") && !error.contains("nter2"), "{error}");
    }
    assert!(said(&[TILL, TILL])[1].starts_with("a has the same token"));
}

#[test]
fn a_token_in_a_file_may_change_and_be_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let write = |text: &str| fs::write(&path, format!("{text}\n")).unwrap();
    let file = |path: &Path| json!({"file": path});
    let callers = Callers::new(&auth([("till", file(&path))]));
    let bearer = |token: &str| {
        lock(&callers.ring).read -= FRESH;
        ask(&callers, AUTHORIZATION, &format!("Bearer {token}"))
    };
    assert!(bearer(TILL).is_err(), "the file is not there yet");
    write(TILL);
    assert_eq!(bearer(TILL), Ok("till".into()));
    write(SHOP);
    assert!(bearer(TILL).is_err(), "the old one is nobody's");
    assert_eq!(bearer(SHOP), Ok("till".into()));
    write("");
    assert_eq!(bearer(SHOP), Ok("till".into()), "a file that is being written takes nothing away");
    fs::remove_file(&path).unwrap();
    assert!(bearer(SHOP).is_err(), "a file that is gone does");
}

#[tokio::test]
async fn only_those_who_are_not_listed_any_more_are_sent_away() {
    let callers = two();
    let caller = |secret: &str| {
        let value = HeaderValue::from_str(&format!("Bearer {secret}")).unwrap();
        callers.authenticate(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
    };
    let [till, shop] = [caller(TILL).unwrap(), caller(SHOP).unwrap()];
    callers.replace(&auth([("shop", json!(SHOP))]));
    till.revoked().await;
    assert!(shop.revoked().now_or_never().is_none());
    assert!(caller(TILL).is_err());
    assert_eq!(caller(SHOP).unwrap().name(), "shop");
}
