//! Reflection: the door describes itself to tools such as grpcurl.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::Status;
use tonic_reflection::server::{Builder, Error};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::body::Incoming;
use super::health::{ADMIN, HEALTH, PUBLISHER, REFLECTION, REFLECTION_ALPHA, REQUESTER, SUBSCRIBER};
use crate::proto;

type Service = BoxCloneSyncService<Request<Incoming>, Response<tonic::body::Body>, Infallible>;

/// Both versions of the protocol: some tools know the older one only.
#[derive(Clone)]
pub(super) struct Reflection {
    v1: Service,
    v1alpha: Service,
}

impl Reflection {
    /// Describes all services of the door.
    ///
    /// # Errors
    ///
    /// A description that was built in is broken.
    pub(super) fn new() -> Result<Self, Error> {
        // `Receiver` is described too, and is for others to serve.
        let all = |own| {
            let described = Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            [ADMIN, HEALTH, PUBLISHER, REQUESTER, SUBSCRIBER, own]
                .into_iter()
                .fold(described, Builder::with_service_name)
        };
        Ok(Self {
            v1: BoxCloneSyncService::new(all(REFLECTION).build_v1()?),
            v1alpha: BoxCloneSyncService::new(all(REFLECTION_ALPHA).build_v1alpha()?),
        })
    }

    /// Answers by the version that was asked for.
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<tonic::body::Body> {
        let older = request.uri().path().starts_with("/grpc.reflection.v1alpha.");
        let service = if older { self.v1alpha } else { self.v1 };
        service.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Says that there is no reflection.
pub(super) fn none() -> Response<tonic::body::Body> {
    Status::unimplemented("there is no reflection").into_http()
}
