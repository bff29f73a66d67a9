//! The gRPC door: `proto/sidespan/v1` in protobuf, over the same use cases as [`crate::rest`] and on the
//! same port. [`is_call`] tells the two apart.
//!
//! # Why the methods are called from here
//!
//! tonic would route by itself. But each method has its own bound for a message, and what comes is
//! counted while it comes ([`body`]); and the most used call does without a router and its boxes.

mod admin;
mod body;
mod change;
mod codec;
mod health;
mod held;
pub(crate) mod message;
mod paths;
mod publish;
mod publish_stream;
mod reflection;
mod request;
mod status;
mod streaming;
mod subscribe;
mod subscriber;
mod terms;

use std::future::{Future, ready};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Version};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tower::service_fn;

use self::body::{Bounds, Incoming};
use self::codec::{Check, Codec, anything};
use self::held::Held;
use self::message::crowd::{messages, reply};
use self::reflection::Reflection;
use self::terms::Terms;
use crate::config::Limits;
use crate::error::Error;
use crate::health::Health;
use crate::listen::Service;
use crate::publish::{Budget, Publishing, Route};
use crate::pull::Pulling;
use crate::request::Requesting;
use crate::rest::OpenStream;
use crate::security::caller::Caller;
use crate::subscriptions::Subscriptions;
use crate::telemetry::counts::{self, Stream};

pub use paths::paths;
pub(crate) use status::refusal;

/// What the methods share.
pub struct Door {
    /// The publish use case.
    pub publishing: Arc<Publishing>,
    /// What is subscribed to.
    pub subscriptions: Arc<Subscriptions>,
    /// The request use case.
    pub requesting: Arc<Requesting>,
    /// The fetch use case.
    pub pulling: Arc<Pulling>,
    /// How everything stands.
    pub health: Arc<Health>,
    /// Every bound.
    pub limits: Limits,
    /// Streams end when this is cancelled.
    pub drain: CancellationToken,
    /// Places for streams, which all doors share.
    pub streams: Arc<Semaphore>,
    /// The tasks of streams. Close and await it before the bridges are closed.
    pub tasks: TaskTracker,
}

/// Answers calls, and leaves all else to another door.
#[derive(Clone)]
pub struct Grpc<S> {
    door: Arc<Door>,
    /// What has come of messages that are not whole.
    reading: Budget,
    reflection: Option<Reflection>,
    other: S,
}

impl<S: Service> Grpc<S> {
    /// Answers by what the door has, and everything that is no call by the `other` one.
    pub fn before(other: S, door: Door) -> Self {
        let reading = Budget::new(0, door.limits.max_in_flight_bytes);
        let reflection = Reflection::new();
        let reflection = reflection.inspect_err(|error| tracing::error!(%error, "there is no reflection"));
        Self { door: Arc::new(door), reading, reflection: reflection.ok(), other }
    }

    async fn call(self, request: Request<Body>) -> Result<Response, Error> {
        let door = self.door.clone();
        let terms = Arc::new(Terms::read(&request, &door.limits)?);
        let limits = &door.limits;
        let batch = ("limits.max_batch", limits.max_batch);
        let single = ("limits.max_message", limits.max_message.saturating_add(BESIDE_PAYLOAD));
        let small = ("a request's bound", BESIDE_PAYLOAD);
        Ok(match request.uri().path() {
            "/sidespan.v1.Publisher/Publish" => {
                self.unary(request, batch, messages::<1>, move |batch| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { publish::publish(&door, &terms, batch).await }
                })
                .await
            }
            "/sidespan.v1.Publisher/PublishStream" => {
                let permit = self.permit()?;
                let mut run = Some((door, terms, permit));
                let serve = service_fn(move |requests: tonic::Request<tonic::Streaming<_>>| {
                    let begun = run.take().ok_or_else(|| Status::internal("a call is served once"));
                    ready(begun.map(|(door, terms, permit)| {
                        let answers =
                            publish_stream::publish_stream(door, terms, permit, requests.into_inner());
                        tonic::Response::new(answers)
                    }))
                });
                let request = self.incoming(request, single, true);
                grpc(Codec::new(messages::<2>), single.1).streaming(serve, request).await.map(Body::new)
            }
            "/sidespan.v1.Requester/Request" => {
                self.unary(request, single, messages::<1>, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { request::request(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Subscriber/Subscribe" => {
                let permit = self.permit()?;
                let mut run = Some((door, terms, permit));
                let serve = service_fn(move |requests: tonic::Request<tonic::Streaming<_>>| {
                    let begun = run.take().ok_or_else(|| Status::internal("a call is served once"));
                    ready(begun.map(|(door, terms, permit)| {
                        let answers = subscribe::subscribe(door, terms, permit, requests.into_inner());
                        tonic::Response::new(answers)
                    }))
                });
                let request = self.incoming(request, single, true);
                let codec = Codec::new(|body| reply(body, &[6, 2]));
                grpc(codec, single.1).streaming(serve, request).await.map(Body::new)
            }
            "/sidespan.v1.Subscriber/Pull" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { subscriber::pull(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Subscriber/Acknowledge" => {
                self.unary(request, single, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { subscriber::acknowledge(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Subscriber/ModifyDeadline" => {
                self.unary(request, single, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { subscriber::modify_deadline(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Subscriber/Reply" => {
                self.unary(
                    request,
                    single,
                    |body| reply(body, &[3]),
                    move |request| {
                        let (door, terms) = (door.clone(), terms.clone());
                        async move { subscriber::reply(&door, &terms, request).await }
                    },
                )
                .await
            }
            "/sidespan.v1.Admin/ListTopics" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { admin::list_topics(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/GetTopic" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { admin::get_topic(&door, &terms, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/ListSubscriptions" => {
                let list = move |request| ready(admin::list_subscriptions(&door, &terms.caller, &request));
                self.unary(request, small, anything, list).await
            }
            "/sidespan.v1.Admin/GetSubscription" => {
                let one = move |request| ready(admin::get_subscription(&door, &terms.caller, request));
                self.unary(request, small, anything, one).await
            }
            "/sidespan.v1.Admin/PutSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::put(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/PatchSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::patch(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/DeleteSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::delete(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/PauseSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::pause(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/ResumeSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::resume(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/SeekSubscription" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::seek(&door, &terms.caller, request).await }
                })
                .await
            }
            "/sidespan.v1.Admin/GetLag" => {
                self.unary(request, small, anything, move |request| {
                    let (door, terms) = (door.clone(), terms.clone());
                    async move { change::lag(&door, &terms, request).await }
                })
                .await
            }
            "/grpc.health.v1.Health/Check" => {
                let check = move |request| ready(health::check(&door.health, &request));
                self.unary(request, small, anything, check).await
            }
            "/grpc.health.v1.Health/Watch" => {
                let permit = self.permit()?;
                let watch = service_fn(|request: tonic::Request<_>| {
                    let news = health::watch(door.health.clone(), request.into_inner());
                    ready(Ok::<_, Status>(tonic::Response::new(news)))
                });
                let request = self.incoming(request, small, false);
                let answer = grpc(Codec::new(anything), small.1).server_streaming(watch, request).await;
                self.held(answer, terms, permit)
            }
            path if path.starts_with("/grpc.reflection.") => {
                let permit = self.permit()?;
                let request = self.incoming(request, small, true);
                let answer = match self.reflection.clone() {
                    Some(reflection) => reflection.answer(request).await,
                    None => reflection::none(),
                };
                self.held(answer, terms, permit)
            }
            _ => return Err(Error::NotFound),
        })
    }

    /// Serves a method with one request and one answer.
    async fn unary<Question, Answer, F>(
        &self,
        request: Request<Body>,
        limit: (&'static str, usize),
        check: Check,
        mut serve: impl FnMut(Question) -> F,
    ) -> Response
    where
        Question: prost::Message + Default + 'static,
        Answer: prost::Message + 'static,
        F: Future<Output = Result<Answer, Status>>,
    {
        let serve = service_fn(|request: tonic::Request<Question>| {
            serve(request.into_inner()).map_ok(tonic::Response::new)
        });
        let request = self.incoming(request, limit, false);
        grpc(Codec::new(check), limit.1).unary(serve, request).await.map(Body::new)
    }

    fn incoming(
        &self,
        request: Request<Body>,
        (limit, most): (&'static str, usize),
        stream: bool,
    ) -> Request<Incoming> {
        let bounds = Bounds { limit, most, pause: self.door.limits.read_timeout, stream };
        request.map(|body| Incoming::new(body, bounds, self.reading.clone()))
    }

    /// Takes a place for a stream.
    fn permit(&self) -> Result<OpenStream, Error> {
        if self.door.drain.is_cancelled() {
            return Err(Error::Draining);
        }
        OpenStream::take(&self.door.streams, Stream::Grpc).ok_or_else(|| Error::Limited {
            limit: "limits.max_streams",
            reason: format!("{} streams are open", self.door.limits.max_streams),
        })
    }

    fn held(
        &self,
        answer: http::Response<tonic::body::Body>,
        terms: Arc<Terms>,
        permit: OpenStream,
    ) -> Response {
        let drain = self.door.drain.clone();
        let over = async move {
            tokio::select! {
                () = drain.cancelled() => Error::Draining,
                error = terms.caller.revoked() => error,
            }
        };
        answer.map(|body| Body::new(Held::new(body, over, permit)))
    }
}

impl<S: Service> Service for Grpc<S> {
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        if !is_call(&request) {
            return Either::Left(self.other.answer(request));
        }
        counts::Door::Grpc.asked();
        // In a box, as every connection has room for what is returned here.
        let answered = Box::pin(self.call(request));
        // A failure here comes before the method is found; later ones are statuses already.
        Either::Right(answered.unwrap_or_else(|error| refusal(&error)))
    }
}

impl Door {
    /// Finds where a caller's messages of a topic go.
    fn route(&self, caller: &Caller, topic: &str) -> Result<Route, message::Refused> {
        let route = self.publishing.route(caller, topic);
        route.map_err(|error| message::Refused { error, field: Some("topic") })
    }
}

/// Tells whether a request is a call: HTTP/2, and a content type of gRPC in protobuf.
pub fn is_call<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let protobuf = |rest: &[u8]| rest.is_empty() || rest == b"+proto" || rest.starts_with(b";");
    content_type.strip_prefix(b"application/grpc").is_some_and(protobuf)
        && request.method() == Method::POST
        && request.version() == Version::HTTP_2
}

/// Takes what is compressed by gzip too; what comes out is held to the same bound.
fn grpc<A, Q>(codec: Codec<A, Q>, most: usize) -> tonic::server::Grpc<Codec<A, Q>>
where
    A: prost::Message + 'static,
    Q: prost::Message + Default + 'static,
{
    tonic::server::Grpc::new(codec)
        .max_decoding_message_size(most)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
}

/// What a caller need not say its name for: it tells no more than the probes of the kubelet.
pub const OPEN: &[&str] = &["/grpc.health.v1.Health/Check"];
/// What a message takes beside its payload, and what a request without one may take.
const BESIDE_PAYLOAD: usize = 64 << 10;
