//! Asks by way of a broker: a message, and the one reply that names it.
//!
//! As a publish, a request has two steps, so that a door can refuse before it reads a body: a [`Place`] among those
//! that await their replies, and then [`Requesting::ask`]. A caller that goes away gives its place back at once.

use std::sync::Arc;

use sidespan_bridge::{Message, REPLY_STATUS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::error::Error;
use crate::publish::{Admission, Publishing, Route, new_id};

/// The request use case, shared by every door.
#[derive(Debug)]
pub struct Requesting {
    places: Arc<Semaphore>,
    most: usize,
    largest: usize,
}

/// A place among the requests that await their replies, given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);

impl Requesting {
    /// Lets so many requests await their replies at a time, of which the largest may weigh so many bytes.
    pub fn new(most: usize, largest: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), most, largest }
    }

    /// Takes a place, before the request is read.
    ///
    /// # Errors
    ///
    /// `Limited` where there is none.
    pub fn place(&self) -> Result<Place, Error> {
        self.places.clone().try_acquire_owned().map(Place).map_err(|_| Error::Limited {
            limit: "limits.max_requests",
            reason: format!("{} requests await their replies", self.most),
        })
    }

    /// Sends a request, and waits for its reply until `deadline`. Dropping the future forgets the request, which
    /// may be handled all the same. It is counted with what is published.
    ///
    /// # Errors
    ///
    /// `Invalid` for an idempotency key, since a repeat would never be answered; `ReplyTooLarge`; those of the
    /// bridge: nobody listens, no reply in time, no replies at all.
    pub async fn ask(
        &self,
        place: Place,
        publishing: &Publishing,
        route: &Route,
        admission: Admission,
        mut message: Message,
        deadline: Instant,
    ) -> Result<Message, Error> {
        if message.deduplication.is_some() {
            let detail =
                "a request has no idempotency key: the broker would drop a repeat, and nobody answer it";
            return Err(Error::Invalid(detail.into()));
        }
        message.id.get_or_insert_with(new_id);
        // A reply may take long, and its request is off our hands by then: the bridge bounds what is on its way.
        drop(admission);
        let asking = publishing.asking(route, &message);
        let reply = route.outlet().bridge().request(route.address(), message, deadline).await;
        if let Some(asking) = asking {
            asking.end(reply.as_ref());
        }
        let reply = reply?;
        drop(place);
        if reply.weight() > self.largest {
            return Err(Error::ReplyTooLarge { most: self.largest });
        }
        Ok(reply)
    }
}

/// Returns the status of a reply: one that says none, or none of an answer, is a success.
pub fn status(reply: &Message) -> u16 {
    let told = reply.header(REPLY_STATUS).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    told.filter(|status| (200..=599).contains(status)).unwrap_or(200)
}

#[cfg(test)]
mod tests {
    use sidespan_bridge::Header;

    use super::*;

    #[test]
    fn only_a_status_of_an_answer_is_one() {
        let of = |text: &'static str| {
            status(&Message { headers: vec![Header::new(REPLY_STATUS, text)], ..Message::default() })
        };
        assert_eq!(["201", "404", "599"].map(of), [201, 404, 599]);
        assert_eq!(["", "OK", "100", "600", "-1", "2 0 0"].map(of), [200; 6]);
        assert_eq!(status(&Message::default()), 200);
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let requesting = Requesting::new(1, 10);
        let place = requesting.place().unwrap();
        assert!(matches!(requesting.place(), Err(Error::Limited { limit: "limits.max_requests", .. })));
        drop(place);
        assert!(requesting.place().is_ok());
    }
}
