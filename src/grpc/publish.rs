//! `Publisher.Publish`: a batch that comes in one piece.

use std::collections::HashMap;
use std::future::Future;

use futures_util::future::join_all;
use sidespan_bridge::Message;
use tokio::time::Instant;
use tonic::Status;

use super::Door;
use super::message::{Refused, outcome, read};
use super::status::status;
use super::terms::Terms;
use crate::error::Error;
use crate::proto::{self, PublishRequest, PublishResponse};
use crate::publish::{Admission, Route, Stored};

/// Publishes a batch and tells the outcome of each message.
pub(super) async fn publish(
    door: &Door,
    terms: &Terms,
    request: PublishRequest,
) -> Result<PublishResponse, Status> {
    let messages = request.messages;
    let most = door.limits.max_batch_messages;
    if messages.is_empty() {
        let none = Error::Invalid("the batch has no messages".into());
        return Err(status(&none, Some("messages")));
    }
    if messages.len() > most {
        return Err(status(&Error::TooMany { limit: "limits.max_batch_messages", most }, None));
    }
    let deadline = terms.deadline().map_err(|error| status(&error, None))?;
    let mut results: Vec<Option<Result<Stored, Refused>>> = Vec::with_capacity(messages.len());
    let mut lots = Lots::default();
    for (index, message) in messages.into_iter().enumerate() {
        let taken = lots.take(door, terms, index, message);
        results.push(taken.err().map(Err));
    }
    let waiting = lots.lots.into_iter().map(|lot| lot.submit(door, terms, deadline));
    for (places, outcomes) in join_all(waiting.collect::<Vec<_>>()).await {
        for (place, outcome) in places.into_iter().zip(outcomes) {
            if let Some(result) = results.get_mut(place) {
                *result = Some(outcome.map_err(Refused::from));
            }
        }
    }
    let results = results.into_iter().map(|result| result.unwrap_or(Err(Error::Internal.into())));
    answer(results.collect())
}

/// Nothing stored at all is a failure of the call, which nobody can take for success.
fn answer(results: Vec<Result<Stored, Refused>>) -> Result<PublishResponse, Status> {
    let failed = results.iter().filter(|result| result.is_err()).count();
    if failed == results.len() {
        let failures = results
            .iter()
            .enumerate()
            .filter_map(|(index, result)| result.as_ref().err().map(|refused| (index, refused)));
        // The first of the worst.
        let worst = failures.reduce(|worst, next| {
            if next.1.error.class().rank() > worst.1.error.class().rank() { next } else { worst }
        });
        if let Some((index, Refused { error, field })) = worst {
            let field = field.map(|field| format!("messages[{index}].{field}"));
            return Err(status(error, field.as_deref()));
        }
    }
    let failed = u32::try_from(failed).unwrap_or(u32::MAX);
    Ok(PublishResponse { outcomes: results.into_iter().map(outcome).collect(), failed })
}

/// The messages of one batch, by topic.
#[derive(Default)]
struct Lots {
    lots: Vec<Lot>,
    by_topic: HashMap<String, usize>,
}

/// The messages of one topic.
struct Lot {
    topic: String,
    route: Route,
    messages: Vec<Message>,
    places: Vec<usize>,
    admission: Admission,
    /// The limit that was met: what follows may not overtake.
    full: Option<&'static str>,
}

impl Lots {
    /// Adds a message where there is room for it.
    fn take(
        &mut self,
        door: &Door,
        terms: &Terms,
        place: usize,
        message: proto::Message,
    ) -> Result<(), Refused> {
        let lot = self.find(door, terms, &message.topic)?;
        let message = read(message, &terms.context, door.limits.max_message)?;
        let lot = self.lots.get_mut(lot).ok_or(Error::Internal)?;
        Ok(lot.add(place, message)?)
    }

    /// Finds the lot of a topic. Most batches have one topic.
    fn find(&mut self, door: &Door, terms: &Terms, topic: &str) -> Result<usize, Refused> {
        match self.lots.last() {
            Some(last) if last.topic == topic => return Ok(self.lots.len() - 1),
            Some(_) => {
                if let Some(known) = self.by_topic.get(topic) {
                    return Ok(*known);
                }
            }
            None => {}
        }
        let route = door.route(&terms.caller, topic)?;
        let admission = door.publishing.admit(&route, 0, 0)?;
        self.by_topic.insert(topic.to_owned(), self.lots.len());
        let (messages, places) = (Vec::new(), Vec::new());
        self.lots.push(Lot { topic: topic.to_owned(), route, messages, places, admission, full: None });
        Ok(self.lots.len() - 1)
    }
}

impl Lot {
    fn add(&mut self, place: usize, message: Message) -> Result<(), Error> {
        if let Some(limit) = self.full {
            return Err(Error::Saturated { limit });
        }
        let grown = self.admission.grow(1, message.weight());
        if let Err(Error::Saturated { limit }) = grown {
            self.full = Some(limit);
        }
        grown?;
        self.messages.push(message);
        self.places.push(place);
        Ok(())
    }

    /// Hands the messages over, in this call.
    fn submit(
        self,
        door: &Door,
        terms: &Terms,
        deadline: Instant,
    ) -> impl Future<Output = (Vec<usize>, Vec<Result<Stored, Error>>)> + use<> {
        let Self { route, messages, places, admission, .. } = self;
        let outcomes = door.publishing.publish(&terms.caller, &route, admission, messages, deadline);
        async move { (places, outcomes.await) }
    }
}
