//! `/log`: what is said in the log, and how to change that while it runs.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::Request;
use serde::{Deserialize, Serialize};
use sidespan_bridge::Span;

use crate::config::Level;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::telemetry::log::{self, LevelReport, Unchanged};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: String,
    /// How long; without it until the configured level changes.
    r#for: Option<Span>,
}

/// What is said, and what was not.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    level: LevelReport,
    /// Lines that were left out since the start, as there were too many of the kind.
    suppressed: u64,
    /// Lines that were lost since the start, as nobody read them.
    dropped: u64,
}

/// Tells the level.
pub(super) async fn show(caller: Option<Extension<Caller>>) -> Result<Response, Error> {
    may_manage(caller)?;
    Ok(report(log::level()?))
}

/// Changes the level, for some time or until the configured one changes.
pub(super) async fn change(
    caller: Option<Extension<Caller>>,
    request: Request<Body>,
) -> Result<Response, Error> {
    may_manage(caller)?;
    let body = to_bytes(request.into_body(), LARGEST).await;
    let body = body.map_err(|_| Error::Invalid("the body cannot be read, or is too large".into()))?;
    let Wanted { level, r#for } = serde_json::from_slice(&body).map_err(|error| {
        Error::Invalid(format!(
            r#"send {{"level": "info", "for": "10m"}}, where `for` may be left out: {error}"#
        ))
    })?;
    let level = Level::parse(&level).map_err(|error| Error::Invalid(format!("level: {error}")))?;
    let time = r#for.map(|span| span.0);
    if time.is_some_and(|time| time.is_zero() || time > LONGEST) {
        return Err(Error::Invalid("for: must be more than nothing and at most 24h".into()));
    }
    Ok(report(log::ask(level, time)?))
}

fn report(level: LevelReport) -> Response {
    Json(Report { level, suppressed: log::suppressed(), dropped: log::dropped() }).into_response()
}

fn may_manage(caller: Option<Extension<Caller>>) -> Result<(), Error> {
    caller.map_or(Ok(()), |Extension(caller)| caller.require_manage())
}

impl From<Unchanged> for Error {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::NotOurs => Self::NotFound,
        }
    }
}

const LARGEST: usize = 4096;
const LONGEST: Duration = Duration::from_secs(24 * 3600);
