//! Failures as statuses, with `google.rpc` details.

use std::collections::HashMap;

use axum::body::Body;
use axum::response::Response;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Class, Error};
use crate::telemetry::counts::Door;

/// Returns the status that tells a failure. `field` is what is to blame in the request.
pub(super) fn status(error: &Error, field: Option<&str>) -> Status {
    let class = error.class();
    Door::Grpc.refused(class.slug);
    let source = std::error::Error::source(error).map(tracing::field::display);
    if matches!(code(&class), Code::Internal) {
        tracing::warn!(code = class.code(), %error, source, "call failed");
    } else {
        // Overload and bad requests come by the thousand; a gone broker is told by its bridge.
        tracing::debug!(code = class.code(), %error, source, "call refused");
    }
    let outcome = if class.unknown { "unknown" } else { "not_stored" };
    let metadata = HashMap::from([
        ("outcome".to_owned(), outcome.to_owned()),
        ("retryable".to_owned(), class.retryable.to_string()),
    ]);
    let mut details = ErrorDetails::with_error_info(class.code(), DOMAIN, metadata);
    if let Some(wait) = class.retry_after.filter(|_| class.retryable) {
        details.set_retry_info(Some(wait));
    }
    if let Some(field) = field {
        details.add_bad_request_violation(field, error.to_string());
    }
    Status::with_error_details(code(&class), error.to_string(), details)
}

/// Returns the answer to a call that fails before it has begun.
pub(crate) fn refusal(error: &Error) -> Response {
    status(error, None).into_http::<Body>()
}

/// Returns the status of a failure.
pub(super) fn code(class: &Class) -> Code {
    Code::from(class.grpc as i32)
}

const DOMAIN: &str = "sidespan";
