//! What is said in protobuf, at this door and over the WebSockets of [`crate::rest`].
//!
//! In: [`read`] and the verdicts. Out: what was handed out, and what became of things. [`crowd`] looks at
//! what is yet to be decoded.

pub(crate) mod crowd;
mod input;
mod output;

pub(crate) use input::{Refused, cloudevents, extend, nack, read, reply, span};
pub(crate) use output::{failure, outcome, received, settled};
