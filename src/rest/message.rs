//! The one message object of every JSON door.
//!
//! In: [`parse`]. Out: [`Received`]. JSON payloads stay as they were written, on the way in and on
//! the way out.

mod input;
mod output;

pub(super) use input::parse;
pub(super) use output::Received;
