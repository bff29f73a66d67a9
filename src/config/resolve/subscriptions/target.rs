//! Where the messages of a subscription go.

use std::time::Duration;

use super::super::Errors;
use super::super::server::span;
use super::webhook;
use crate::config::file::{PullFile, PushFile};
use crate::config::{Pull, Target};

/// Reads where messages go: to a webhook, or to those who fetch them.
pub(super) fn target(
    key: &str,
    push: Option<PushFile>,
    pull: Option<PullFile>,
    largest_reply: usize,
    errors: &mut Errors,
) -> Option<Target> {
    match (push, pull) {
        (Some(push), None) => {
            webhook::push(&format!("{key}.push"), push, largest_reply, errors).map(Target::Push)
        }
        (None, Some(file)) => Some(Target::Pull(read(&format!("{key}.pull"), &file, errors))),
        (Some(_), Some(_)) => {
            let reason =
                "there is `push` as well: each message goes one way, so make two subscriptions of it";
            errors.add(format!("{key}.pull"), reason);
            None
        }
        (None, None) => {
            let reason = "says nothing of where messages go: add `push: {url: ...}`, or `pull: {}` for consumers \
                          that fetch them";
            errors.add(key, reason);
            None
        }
    }
}

fn read(key: &str, file: &PullFile, errors: &mut Errors) -> Pull {
    let lease = span(&format!("{key}.lease"), file.lease, Duration::from_secs(30), errors);
    if !(Pull::SHORTEST..=Pull::LONGEST).contains(&lease) {
        errors.add(format!("{key}.lease"), "must be from 1s to 10m");
    }
    Pull { lease }
}
