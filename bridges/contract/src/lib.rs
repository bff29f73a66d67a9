//! The contract between Sidespan and a broker.
//!
//! A broker takes part by implementing four small traits: a [`Driver`] reads its settings and opens
//! a [`Bridge`]; the bridge hands out one shared [`Publisher`] and any number of [`Subscription`]s;
//! a [`Control`] steers a subscription from outside the task that reads it.
//!
//! ```text
//! publish:  Message  -> Publisher::publish   -> Receipt | Error{fault}
//! deliver:  Delivery <- Subscription::next   -> AckToken::settle(Verdict) -> Settled
//! ask:      Message  -> Bridge::request      -> Message | Error{fault}
//! answer:   Delivery with reply_to           -> Bridge::reply
//! ```
//!
//! Five decisions carry it:
//!
//! 1. Settling consumes the token: acknowledging twice does not compile.
//! 2. Dropping a token releases the message: a panic, a closed stream or a failed `?` means
//!    redelivery, never loss.
//! 3. A held token stays alive: the bridge renews the broker's own lease while the token lives.
//! 4. What is no longer ours is said at once: [`Event::Lost`], and late results are
//!    [`Settlement::Stale`].
//! 5. [`Fault`] is small: what callers branch on. Everything else is the error's source, for logs.
//!
//! What a bridge must do beyond what types can say is written as the `conformance` suite (behind
//! the feature of that name), which every bridge runs.

mod ack;
mod bridge;
#[cfg(feature = "conformance")]
pub mod conformance;
mod delivery;
mod event;
mod fault;
mod message;
mod outcome;
mod prefix;
mod registry;
mod requests;
mod secret;
mod settings;
mod subscribe;
pub mod tls;
mod topic;
mod units;
mod waiting;

pub use ack::{AckToken, Settle, Settled, Settlement, Verdict};
pub use bridge::{Bridge, Control, Driver, Guarantees, Lag, Publisher, Role, Subscription, TopicInfo};
pub use delivery::{Delivery, Epoch, Event, Position, PositionError, Shard};
pub use event::decode_attribute;
pub use fault::{Error, Fault};
pub use message::{CE_PREFIX, Guarantee, Header, Message, REPLY_STATUS, Receipt, is_reserved};
pub use outcome::{Batch, Budget, Share, Ticket};
pub use prefix::Prefix;
pub use registry::{Change, LARGEST_RECORD, MOST_RECORDS, Registry, Revision, check_record, outdated};
pub use requests::{Awaited, Requests};
pub use secret::{Secret, SecretError};
pub use settings::{Settings, SettingsError};
pub use subscribe::{Limits, Order, Start, Subscribe, Unsupported, Window};
pub use tls::Tls;
pub use topic::{Pattern, PatternError, Topic};
pub use units::{Size, Span, UnitError};
pub use waiting::{Lane, Waiting};
