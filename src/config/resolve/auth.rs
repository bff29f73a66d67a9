//! The callers.

use std::collections::BTreeMap;

use sidespan_bridge::Pattern;

use super::Errors;
use crate::config::file::{AuthFile, TokenFile};
use crate::config::{Auth, Name, Token};

/// Reads the callers; no two have the same name.
pub(super) fn resolve(file: &AuthFile, errors: &mut Errors) -> Auth {
    if file.tokens.is_empty() {
        errors.add("auth.tokens", "nobody could call: list at least one, or leave out `auth`");
    }
    let mut named = BTreeMap::new();
    let mut tokens = Vec::new();
    for (index, file) in file.tokens.iter().enumerate() {
        let key = format!("auth.tokens.{index}");
        if let Some(other) = named.insert(&file.name, index) {
            let reason = format!("auth.tokens.{other} has the same name: give each caller its own");
            errors.add(format!("{key}.name"), reason);
        }
        tokens.extend(token(&key, file, errors));
    }
    Auth { tokens }
}

fn token(key: &str, file: &TokenFile, errors: &mut Errors) -> Option<Token> {
    let name = errors.keep(format!("{key}.name"), Name::parse(&file.name));
    let publish = patterns(&format!("{key}.publish"), &file.publish, errors);
    let subscribe = patterns(&format!("{key}.subscribe"), &file.subscribe, errors);
    if file.publish.is_empty() && file.subscribe.is_empty() && !file.manage {
        errors
            .add(key, "it may do nothing: list topics under `publish` or `subscribe`, or set `manage: true`");
    }
    Some(Token { name: name?, secret: file.secret.clone(), publish, subscribe, manage: file.manage })
}

fn patterns(key: &str, texts: &[String], errors: &mut Errors) -> Vec<Pattern> {
    let read = texts.iter().enumerate();
    read.filter_map(|(index, text)| errors.keep(format!("{key}.{index}"), Pattern::parse(text))).collect()
}
