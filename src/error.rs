//! What can fail, and what each failure means outside.

use std::time::Duration;

use http::StatusCode;
use sidespan_bridge::Fault;

/// A failed request. `Display` goes to the caller; `source` goes to the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker failed; its own error is the source.
    #[error(transparent)]
    Broker(#[from] sidespan_bridge::Error),
    /// The subscription became another while something was asked of it.
    #[error("the subscription {0} was changed just now; ask again")]
    Changed(String),
    /// The subscription is the configuration file's to change.
    #[error(
        "the subscription {0} is in the configuration file: change it there, which needs no restart; only \
         pause, resume and seek work here"
    )]
    Configured(String),
    /// The caller is known, and lacks the right.
    #[error("{0}")]
    Denied(String),
    /// The server is stopping.
    #[error("this server is stopping; try again in a moment")]
    Draining,
    /// Something that we did not foresee; the log has more.
    #[error("something went wrong here; the log has more")]
    Internal,
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// A subscription cannot be as it is described; each reason begins with its key.
    #[error("{0}")]
    InvalidSubscription(String),
    /// The page or host that asks is not listed.
    #[error("{0}")]
    Forbidden(String),
    /// The lease that an ack id stands for is over, or its message was settled already.
    #[error("the lease is over: the message was settled, or has gone to somebody else")]
    LeaseEnded,
    /// Only other replicas get messages of the subscription.
    #[error("{}", misdirected(subscription, *alone))]
    Misdirected {
        /// Which.
        subscription: String,
        /// Whether no others are configured.
        alone: bool,
    },
    /// The method is not one of the resource's.
    #[error("this resource has no such method")]
    MethodNotAllowed,
    /// A reply is given to a message that awaits none.
    #[error(
        "the message awaits no reply, and the lease goes on: only one with a `reply_to` can be answered; \
         acknowledge it instead"
    )]
    NoReplyAwaited,
    /// None of the media types that the caller takes can be made.
    #[error("{0}")]
    NotAcceptable(String),
    /// The subscription's messages are pushed.
    #[error(
        "the messages of {0} are pushed to its webhook: set `pull: {{}}` instead of `push` to fetch them"
    )]
    NotPulled(String),
    /// Nothing is kept that replicas share.
    #[error(
        "there is nowhere to keep what is changed at run time: set the key `registry` in the configuration, \
         such as `registry: {{bridge: main}}`"
    )]
    NoRegistry,
    /// Somebody paused the subscription.
    #[error("the subscription {0} is paused: nothing is handed out until it is resumed")]
    Paused(String),
    /// There is no such resource.
    #[error("there is nothing at this path; /openapi.json describes what there is")]
    NotFound,
    /// A configured limit is reached; the name of the limit comes first.
    #[error("{limit} is reached: {reason}")]
    Limited {
        /// Name of the limit in the configuration.
        limit: &'static str,
        /// What there is too much of.
        reason: String,
    },
    /// The subscription is being moved.
    #[error("the subscription {0} is being moved to another position; ask again in a moment")]
    Seeking(String),
    /// What is asked for was meant for another version of the resource.
    #[error("{0}")]
    Stale(String),
    /// What the registry has of this name is not ours to change.
    #[error("{0}")]
    Strange(String),
    /// Too much is in flight to a broker that is slow or down.
    #[error("{limit} is reached: too much is in flight to the broker")]
    Saturated {
        /// Name of the limit in the configuration.
        limit: &'static str,
    },
    /// The body is larger than the door allows.
    #[error("the body is larger than {limit} allows ({most} bytes)")]
    TooLarge {
        /// Name of the limit in the configuration.
        limit: &'static str,
        /// Its value.
        most: usize,
    },
    /// Messages may not be pushed there by who was not asked at the start.
    #[error("{0}")]
    TargetDenied(String),
    /// The batch has more messages than the door allows.
    #[error("the batch has more messages than {limit} allows ({most})")]
    TooMany {
        /// Name of the limit in the configuration.
        limit: &'static str,
        /// Its value.
        most: usize,
    },
    /// A reply came, and is larger than the door allows.
    #[error("the reply is larger than the {most} bytes that are passed on; the request was handled")]
    ReplyTooLarge {
        /// The bound.
        most: usize,
    },
    /// The body did not come in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The caller does not say who it is, or it is nobody that we know.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The replica that leased a message cannot be reached.
    #[error("the replica that leased the message cannot be reached, and has not been told")]
    Unreached,
    /// No subscription has this name.
    #[error("there is no subscription named {0:?}; /v1/subscriptions lists those that there are")]
    UnknownSubscription(String),
    /// No topic has this name.
    #[error(
        "there is no topic named {0:?}: declare it under `topics`, or set `open: true` on the default bridge"
    )]
    UnknownTopic(String),
    /// The resource is a WebSocket, and the request does not open one.
    #[error("{0}")]
    UpgradeRequired(String),
    /// The body's content encoding is not understood.
    #[error("of content encodings gzip and zstd are understood, one at a time")]
    UnsupportedEncoding,
    /// The body's media type is not understood.
    #[error("{0}")]
    UnsupportedMediaType(String),
}

/// What a failure means to a caller, at every door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The last part of the problem's type, in kebab case; in capitals it is the code.
    pub slug: &'static str,
    /// One line for people, the same for each failure of the class.
    pub title: &'static str,
    /// HTTP status.
    pub status: StatusCode,
    /// Status at the gRPC door.
    pub grpc: Code,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Whether the message may have been stored nevertheless.
    pub unknown: bool,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// The statuses of gRPC that failures have; the numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Another caller or an earlier state is in the way.
    Aborted = 10,
    /// It did not happen in time, as far as is known.
    DeadlineExceeded = 4,
    /// The state is not one in which this can be done.
    FailedPrecondition = 9,
    /// A fault of ours.
    Internal = 13,
    /// It cannot be understood.
    InvalidArgument = 3,
    /// There is none.
    NotFound = 5,
    /// Not for this caller.
    PermissionDenied = 7,
    /// Too large, or too many.
    ResourceExhausted = 8,
    /// Nobody knows who the caller is.
    Unauthenticated = 16,
    /// Later, perhaps.
    Unavailable = 14,
    /// There is no such method here.
    Unimplemented = 12,
}

impl Code {
    /// Returns the status that says at the gRPC door what this one says over HTTP.
    const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            408 | 504 => Self::DeadlineExceeded,
            409 => Self::Aborted,
            412 => Self::FailedPrecondition,
            413 | 429 => Self::ResourceExhausted,
            421 | 502 | 503 => Self::Unavailable,
            405 | 501 => Self::Unimplemented,
            400..=499 => Self::InvalidArgument,
            _ => Self::Internal,
        }
    }
}

impl Error {
    /// Returns what this failure means to the caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Broker(error) => Class::of(error.fault),
            Self::Changed(_) => {
                Class::later("changed", "The subscription was changed", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Configured(_) => {
                Class::new("read-only", "The configuration file has this", StatusCode::CONFLICT)
            }
            Self::Denied(_) => {
                Class::new("permission-denied", "The caller may not do this", StatusCode::FORBIDDEN)
            }
            Self::Draining => {
                Class::later("draining", "The server is stopping", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Forbidden(_) => {
                Class::new("forbidden", "The request is not allowed here", StatusCode::FORBIDDEN)
            }
            Self::Internal => Class::new("internal", "An internal error", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Invalid(_) => {
                Class::new("invalid-request", "The request cannot be understood", StatusCode::BAD_REQUEST)
            }
            Self::InvalidSubscription(_) => Class::new(
                "invalid-subscription",
                "The subscription cannot be like this",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::Limited { .. } => Class::of(Fault::Limited),
            Self::LeaseEnded => Class::new("lease-ended", "The lease is over", StatusCode::CONFLICT),
            Self::Misdirected { .. } => {
                Class::later("misdirected", "Another replica has this", StatusCode::MISDIRECTED_REQUEST)
            }
            Self::MethodNotAllowed => Class::new(
                "method-not-allowed",
                "The resource has no such method",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::NotAcceptable(_) => {
                Class::new("not-acceptable", "No such representation can be made", StatusCode::NOT_ACCEPTABLE)
            }
            Self::NoRegistry => {
                Class::new("no-registry", "There is no registry", StatusCode::NOT_IMPLEMENTED)
            }
            Self::NoReplyAwaited => {
                Class::new("no-reply-awaited", "The message awaits no reply", StatusCode::CONFLICT)
            }
            Self::NotPulled(_) => {
                Class::new("not-pulled", "The subscription is not one to fetch from", StatusCode::CONFLICT)
            }
            // At the gRPC door a path is a method.
            Self::NotFound => Class {
                grpc: Code::Unimplemented,
                ..Class::new("not-found", "There is nothing here", StatusCode::NOT_FOUND)
            },
            Self::Paused(_) => Class::new("paused", "The subscription is paused", StatusCode::CONFLICT),
            Self::ReplyTooLarge { .. } => Class {
                unknown: true,
                ..Class::new("reply-too-large", "The reply is too large", StatusCode::PAYLOAD_TOO_LARGE)
            },
            Self::RequestTimeout => Class::later(
                "request-timeout",
                "The request did not arrive in time",
                StatusCode::REQUEST_TIMEOUT,
            ),
            Self::Saturated { .. } => {
                Class::later("overloaded", "Too much is in flight", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Seeking(_) => {
                Class::later("seeking", "The subscription is being moved", StatusCode::CONFLICT)
            }
            Self::Stale(_) => Class::new(
                "precondition-failed",
                "The resource has another version",
                StatusCode::PRECONDITION_FAILED,
            ),
            Self::Strange(_) => Class::of(Fault::Conflict),
            Self::TargetDenied(_) => {
                Class::new("target-denied", "Messages may not be pushed there", StatusCode::FORBIDDEN)
            }
            Self::TooLarge { .. } | Self::TooMany { .. } => {
                Class::new("too-large", "The message is too large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::Unauthenticated(_) => {
                Class::new("unauthenticated", "The caller is not known", StatusCode::UNAUTHORIZED)
            }
            Self::Unreached => Class::later(
                "replica-unreachable",
                "Another replica cannot be reached",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::UnknownSubscription(_) => {
                Class::new("unknown-subscription", "There is no such subscription", StatusCode::NOT_FOUND)
            }
            Self::UnknownTopic(_) => {
                Class::new("unknown-topic", "There is no such topic", StatusCode::NOT_FOUND)
            }
            Self::UpgradeRequired(_) => {
                Class::new("upgrade-required", "The resource is a WebSocket", StatusCode::UPGRADE_REQUIRED)
            }
            Self::UnsupportedEncoding | Self::UnsupportedMediaType(_) => Class::new(
                "unsupported-media-type",
                "The body's media type is not understood",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
        }
    }
}

impl Class {
    /// Returns what a broker's fault means to the caller.
    pub fn of(fault: Fault) -> Self {
        match fault {
            Fault::Conflict => Self::new("conflict", "It exists with other settings", StatusCode::CONFLICT),
            Fault::Denied => Self::new("denied", "The broker does not allow this", StatusCode::FORBIDDEN),
            Fault::Invalid => {
                Self::new("invalid-request", "The request cannot be understood", StatusCode::BAD_REQUEST)
            }
            Fault::Limited => {
                Self::later("limited", "A configured limit is reached", StatusCode::TOO_MANY_REQUESTS)
            }
            Fault::Overloaded => {
                Self::later("overloaded", "Too much is in flight", StatusCode::SERVICE_UNAVAILABLE)
            }
            Fault::Rejected => Self::later("rejected", "The broker refused", StatusCode::BAD_GATEWAY),
            Fault::StorageFull => {
                Self::later("storage-full", "The storage is full", StatusCode::SERVICE_UNAVAILABLE)
            }
            Fault::Timeout => Self {
                unknown: true,
                ..Self::later(
                    "timeout",
                    "The outcome is unknown at the deadline",
                    StatusCode::GATEWAY_TIMEOUT,
                )
            },
            Fault::TooLarge => {
                Self::new("too-large", "The message is too large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Fault::Unavailable => {
                Self::later("unavailable", "The broker cannot be reached", StatusCode::SERVICE_UNAVAILABLE)
            }
            Fault::UnknownTopic => {
                Self::new("unknown-topic", "There is no such topic", StatusCode::NOT_FOUND)
            }
            Fault::Unroutable => {
                Self::new("unroutable", "Nobody would receive the message", StatusCode::NOT_FOUND)
            }
            Fault::Unsupported => {
                Self::new("unsupported", "The broker cannot do this", StatusCode::NOT_IMPLEMENTED)
            }
        }
    }

    /// Returns the code: the slug in capitals, `UNKNOWN_TOPIC`.
    pub fn code(&self) -> String {
        self.slug.replace('-', "_").to_ascii_uppercase()
    }

    /// Orders failures by how bad they are for a batch: what may be stored is worse than what is not.
    pub fn rank(&self) -> (bool, u16) {
        (self.unknown, self.status.as_u16())
    }

    const fn new(slug: &'static str, title: &'static str, status: StatusCode) -> Self {
        let grpc = Code::of(status);
        Self { slug, title, status, grpc, retryable: false, unknown: false, retry_after: None }
    }

    const fn later(slug: &'static str, title: &'static str, status: StatusCode) -> Self {
        Self { retryable: true, retry_after: Some(Duration::from_secs(1)), ..Self::new(slug, title, status) }
    }
}

fn misdirected(subscription: &str, alone: bool) -> String {
    let what = format!("another replica gets the messages of {subscription}, and this one stands by: ");
    what + if alone {
        "set `replicas` on all of them, and each fetches from the others"
    } else {
        "none of `replicas.peers` can be asked; the log says why"
    }
}
