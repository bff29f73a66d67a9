//! `GET /openapi.json`, `GET /openapi.yaml`: the door describes itself.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::error::Error;

/// Serves the description as JSON.
pub(super) async fn json() -> Result<Response, Error> {
    let json = AS_JSON.clone().ok_or(Error::Internal)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response())
}

/// Serves the description as it is kept.
pub(super) async fn yaml() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], YAML).into_response()
}

/// Returns the paths that the door has, with `{name}` for what differs.
pub(super) fn paths() -> Vec<String> {
    let document: serde_json::Value = yaml_serde::from_str(YAML).unwrap_or_default();
    let paths = document.get("paths").and_then(serde_json::Value::as_object);
    paths.map(|paths| paths.keys().cloned().collect()).unwrap_or_default()
}

const YAML: &str = include_str!("../../openapi/sidespan.yaml");

/// Made once, when first asked for. A test reads it, so `None` never leaves this workshop.
static AS_JSON: LazyLock<Option<Bytes>> = LazyLock::new(|| {
    let document: serde_json::Value = yaml_serde::from_str(YAML).ok()?;
    serde_json::to_vec(&document).ok().map(Bytes::from)
});
