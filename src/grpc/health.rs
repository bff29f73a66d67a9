//! `grpc.health.v1.Health`: readiness, as a whole and for each service.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::IntervalStream;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::health::Health;

/// Says how a service is now.
///
/// # Errors
///
/// `NOT_FOUND`, as the protocol says, for a service that there is not.
pub(super) fn check(health: &Health, request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
    match serving(health, &request.service) {
        ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service here")),
        known => Ok(HealthCheckResponse { status: known.into() }),
    }
}

/// Says how a service is, now and whenever that changes.
pub(super) fn watch(
    health: Arc<Health>,
    request: HealthCheckRequest,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = IntervalStream::new(looks).map(move |_| serving(&health, &request.service));
    let mut last = None;
    seen.filter_map(move |now| {
        let news = last.replace(now) != Some(now);
        ready(news.then(|| Ok(HealthCheckResponse { status: now.into() })))
    })
}

fn serving(health: &Health, service: &str) -> ServingStatus {
    let serves = match service {
        "" | SUBSCRIBER => health.report().ready,
        // Messages are taken until the very end of stopping.
        PUBLISHER | REQUESTER => health.publish_report().ready,
        ADMIN | HEALTH | REFLECTION | REFLECTION_ALPHA => true,
        _ => return ServingStatus::ServiceUnknown,
    };
    if serves { ServingStatus::Serving } else { ServingStatus::NotServing }
}

pub(super) const ADMIN: &str = "sidespan.v1.Admin";
pub(super) const HEALTH: &str = "grpc.health.v1.Health";
pub(super) const PUBLISHER: &str = "sidespan.v1.Publisher";
pub(super) const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
pub(super) const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
pub(super) const REQUESTER: &str = "sidespan.v1.Requester";
pub(super) const SUBSCRIBER: &str = "sidespan.v1.Subscriber";
/// How soon a change is told.
const EVERY: Duration = Duration::from_secs(1);
