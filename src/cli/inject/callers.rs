//! Whether `sidespan drain` is let in when a pod ends.

use yaml_serde::Value;

/// Says what is wrong with a configuration that asks who calls, and knows nobody who may drain the server.
pub(super) fn complaint(config: &str) -> Option<&'static str> {
    let config: Value = yaml_serde::from_str(config).ok()?;
    let tokens = config.get("auth")?.get("tokens").and_then(Value::as_sequence);
    let may = |token: &Value| token.get("manage").and_then(Value::as_bool) == Some(true);
    (!tokens.is_some_and(|tokens| tokens.iter().any(may))).then_some(
        "auth is set and no token may drain Sidespan when a pod ends: give one of them `manage: true`, which \
         `sidespan drain` shows",
    )
}
