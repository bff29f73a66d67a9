//! The gRPC door.

mod admin;
mod answers;
mod callers;
mod changing;
mod events;
mod limits;
mod publish;
mod raw;
mod request;
mod stream;
mod subscriber;

use sidespan::proto::admin_client::AdminClient;
use sidespan::proto::outcome::Result::{Failure, Receipt};
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::{self, Message, PublishRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::server::Server;

impl Server {
    /// Connects a gRPC client.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address())).unwrap().connect().await.unwrap()
    }

    async fn publisher(&self) -> PublisherClient<Channel> {
        PublisherClient::new(self.channel().await)
    }

    async fn administer(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel().await)
    }
}

/// A message of text.
fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Message {
    let payload = payload.into().into();
    Message { topic: topic.into(), content_type: "text/plain".into(), payload, ..Message::default() }
}

/// A message that meets with trouble at its broker.
fn troubled(trouble: &str) -> Message {
    let header = proto::Header { name: "trouble".into(), value: trouble.into() };
    Message { headers: vec![header], ..message("orders", "x") }
}

fn batch(messages: impl IntoIterator<Item = Message>) -> PublishRequest {
    PublishRequest { messages: messages.into_iter().collect() }
}

/// A call with one name and value in its metadata.
fn with<T>(request: T, name: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert(name, value.parse().unwrap());
    request
}

#[track_caller]
fn receipt(outcome: &proto::Outcome) -> &proto::Receipt {
    match outcome.result.as_ref().unwrap() {
        Receipt(receipt) => receipt,
        Failure(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn failure(outcome: &proto::Outcome) -> &proto::Failure {
    match outcome.result.as_ref().unwrap() {
        Receipt(receipt) => panic!("{receipt:?}"),
        Failure(failure) => failure,
    }
}

/// Looks at what every failure has, and returns its details.
#[track_caller]
fn details(status: &Status, code: tonic::Code, reason: &str) -> ErrorDetails {
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("sidespan", reason), "{status:?}");
    details
}
