//! Failures as `application/problem+json` (RFC 9457).
//!
//! `openapi/problems.md` lists every type. `instance` names this one occurrence and stands in the
//! log too.

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::tally::{Outcome, Tally};
use super::verdicts::Verdicts;
use crate::error::{Class, Error};
use crate::publish::new_id;
use crate::telemetry::counts::Door;

/// Begins the `type` of every problem; the class's slug follows.
pub(super) const TYPE: &str = "urn:sidespan:problem:";
/// The media type of problems.
pub(super) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A failed request, as its caller is told.
#[derive(Debug)]
pub(super) struct Problem {
    class: Class,
    detail: String,
    retryable: bool,
    outcome: Outcome,
    parts: Option<Parts>,
}

/// What became of the parts of a request that failed in some.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Parts {
    Batch(Tally),
    Verdicts(Verdicts),
}

impl Problem {
    /// A batch that is not wholly stored, told by its worst message.
    pub(super) fn of_batch(class: Class, detail: String, tally: Tally) -> Self {
        let (outcome, retryable) = (tally.outcome(), tally.retryable());
        Self { class, detail, retryable, outcome, parts: Some(Parts::Batch(tally)) }
    }

    /// Verdicts that were not all taken, told by the worst.
    pub(super) fn of_verdicts(class: Class, detail: String, verdicts: Verdicts) -> Self {
        let (retryable, outcome) = (class.retryable, Outcome::of(&class));
        Self { class, detail, retryable, outcome, parts: Some(Parts::Verdicts(verdicts)) }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let class = error.class();
        Self {
            class,
            detail: error.to_string(),
            retryable: class.retryable,
            outcome: Outcome::of(&class),
            parts: None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (mut response, instance) = render(&Problem::from(&self));
        if matches!(self, Self::UnsupportedEncoding) {
            // RFC 9110, section 15.5.16.
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        if matches!(self, Self::Unauthenticated(_)) {
            // RFC 6750, section 3.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::UpgradeRequired(_)) {
            // RFC 9110, section 15.5.22; RFC 6455, section 4.4.
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        let class = self.class();
        let source = std::error::Error::source(&self).map(tracing::field::display);
        if matches!(class.status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY) {
            tracing::warn!(%instance, code = class.code(), error = %self, source, "request failed");
        } else {
            // Overload and bad requests come by the thousand; a gone broker is told by its bridge.
            tracing::debug!(%instance, code = class.code(), error = %self, source, "request refused");
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (response, instance) = render(&self);
        tracing::debug!(%instance, code = self.class.code(), detail = %self.detail, "not done for every message");
        response
    }
}

fn render(problem: &Problem) -> (Response, String) {
    #[derive(Serialize)]
    struct Body<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        detail: &'a str,
        instance: &'a str,
        code: String,
        retryable: bool,
        outcome: Outcome,
        #[serde(flatten)]
        parts: Option<&'a Parts>,
    }
    let class = &problem.class;
    Door::Rest.refused(class.slug);
    let instance = format!("urn:uuid:{}", new_id());
    let body = Body {
        r#type: format!("{TYPE}{}", class.slug),
        title: class.title,
        status: class.status.as_u16(),
        detail: &problem.detail,
        instance: &instance,
        code: class.code(),
        retryable: problem.retryable,
        outcome: problem.outcome,
        parts: problem.parts.as_ref(),
    };
    let mut response = (class.status, super::json(&body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    if let Some(wait) = class.retry_after.filter(|_| problem.retryable) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    (response, instance)
}
