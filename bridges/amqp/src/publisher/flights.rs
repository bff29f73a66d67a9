//! What is on its way over one confirm channel, and what becomes of it.
//!
//! The broker returns what it cannot route, and always before it confirms the same message.
//!
//! # Whose message was returned
//!
//! The client library gives each confirm the oldest return that it has, whosever it is. So returns
//! are put aside, and a confirmed message is looked for among them: by all that was sent, and by
//! that alone where the broker has added to it (an interceptor that stamps messages). Of messages that are
//! equal, those that are confirmed take the returns first: one that is yet to be confirmed, or was
//! refused, must not leave an `Ok` to another that nobody has stored.
//!
//! A confirm is not believed before all returns ahead of it have been seen. For each confirm the
//! library takes a return off its list, if there is one, and then completes the confirm, all in
//! one thread. So a confirm without a return found the list empty: whatever was returned before
//! it came with confirms that are complete by now, and have said so. After one has been seen all that
//! have are looked at, until a look brings nothing new. A confirm that brings somebody else's return is
//! believed with a later one that brings none, or when nothing is on its way any more. If the channel
//! ends before, it is not believed at all: its own return may have been on the library's list.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::BasicProperties;
use lapin::message::BasicReturnMessage;
use sidespan_bridge::{Error, Fault, Guarantee, Receipt, Ticket};
use tracing::error;

use crate::address::Address;
use crate::fault;

/// A message that is ready to be handed over.
pub(super) struct Letter {
    pub(super) content: Content,
    pub(super) ticket: Ticket,
}

/// What is sent.
#[derive(Clone, PartialEq)]
pub(super) struct Content {
    pub(super) address: Arc<Address>,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
    /// The broker gives it back where it has nowhere to put it.
    pub(super) mandatory: bool,
}

/// What the client says of a message.
pub(crate) enum Answer {
    Confirmed {
        stored: bool,
        returned: Option<Box<BasicReturnMessage>>,
    },
    /// Not written to the broker.
    Kept(lapin::Error),
    /// Written, and no answer will come.
    Lost(lapin::Error),
}

/// The messages that have no outcome yet, in their order.
#[derive(Default)]
pub(super) struct Flights {
    flights: VecDeque<Flight>,
    /// What is awaited for those that are out. Looking asks only those that have an answer.
    answers: FuturesUnordered<Awaited>,
    /// How many there have ever been.
    count: u64,
    /// Returned, and not taken yet by a message that is confirmed.
    returned: Vec<Content>,
    /// The channel is of no use any more.
    broken: bool,
    /// What became of the message over whose exchange the broker has closed the channel.
    refusal: Option<(Fault, Box<str>)>,
}

struct Flight {
    number: u64,
    letter: Letter,
    state: State,
}

enum State {
    Out,
    /// Confirmed with a return, whosever; `before`: it was when the last look began.
    Doubtful {
        before: bool,
    },
    /// Confirmed, and all returns ahead of that have been seen.
    Confirmed,
    Refused,
    Kept(lapin::Error),
    Lost(lapin::Error),
}

/// The answer for a flight, by its number.
struct Awaited {
    number: u64,
    answer: BoxFuture<'static, Answer>,
}

impl Future for Awaited {
    type Output = (u64, Answer);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.poll_unpin(context));
        Poll::Ready((self.number, answer))
    }
}

/// What looks have brought.
#[derive(Default)]
struct News {
    some: bool,
    /// A confirm came without a return.
    clean: bool,
    returns: Vec<BasicReturnMessage>,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Says why the broker has closed the channel, if it was over a message's exchange.
    pub(super) fn refusal(&self) -> Option<Error> {
        let (fault, detail) = self.refusal.clone()?;
        Some(Error::new(fault).detail(detail))
    }

    pub(super) fn push(&mut self, letter: Letter, answer: BoxFuture<'static, Answer>) {
        self.count += 1;
        let number = self.count;
        self.flights.push_back(Flight { number, letter, state: State::Out });
        self.answers.push(Awaited { number, answer });
    }

    /// Passes on what has been answered; pending while nothing has.
    pub(super) fn poll_answers(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for flight in &mut self.flights {
            if let State::Doubtful { before } = &mut flight.state {
                *before = true;
            }
        }
        let mut news = News::default();
        while self.look(context, &mut news) {}
        if !news.some {
            return Poll::Pending;
        }
        for returned in &news.returns {
            self.put_aside(returned);
        }
        self.conclude(news.clean);
        Poll::Ready(())
    }

    /// Looks for an answer; tells whether there was one.
    fn look(&mut self, context: &mut Context<'_>, news: &mut News) -> bool {
        let Poll::Ready(Some((number, answer))) = self.answers.poll_next_unpin(context) else {
            return false;
        };
        news.some = true;
        let place = self.flights.binary_search_by_key(&number, |flight| flight.number);
        let Some(flight) = place.ok().and_then(|place| self.flights.get_mut(place)) else { return true };
        flight.state = match answer {
            Answer::Confirmed { stored, returned } => {
                news.clean |= returned.is_none();
                let state = match (stored, &returned) {
                    (false, _) => State::Refused,
                    (true, None) => State::Confirmed,
                    (true, Some(_)) => State::Doubtful { before: false },
                };
                news.returns.extend(returned.map(|returned| *returned));
                state
            }
            Answer::Kept(error) => State::Kept(error),
            Answer::Lost(error) => State::Lost(error),
        };
        true
    }

    /// Keeps a returned message, as it was sent, until it is known whose it is.
    fn put_aside(&mut self, returned: &BasicReturnMessage) {
        let contents = || self.flights.iter().map(|flight| &flight.letter.content);
        let sent = contents().find(|content| content.is(returned)).or_else(|| {
            contents().filter(|content| content.is_within(returned)).max_by_key(|content| content.headers())
        });
        if let Some(sent) = sent {
            self.returned.push(sent.clone());
            return;
        }
        error!("rabbitmq returned a message that is not on its way: nothing on this channel is believed");
        self.broken = true;
        // Their tickets say that they may be stored.
        self.flights.clear();
        self.answers.clear();
    }

    /// Passes on what is known for certain.
    fn conclude(&mut self, clean: bool) {
        let blamed = self.refused_exchange();
        self.broken |=
            self.flights.iter().any(|flight| matches!(flight.state, State::Kept(_) | State::Lost(_)));
        let idle = !self.flights.iter().any(|flight| matches!(flight.state, State::Out));
        for _ in 0..self.flights.len() {
            let Some(Flight { number, letter, state }) = self.flights.pop_front() else { break };
            let Letter { content, ticket } = letter;
            let address = &content.address;
            match state {
                State::Confirmed | State::Doubtful { .. } if self.take_back(&content) => {
                    ticket.conclude(Err(unroutable(address)));
                }
                State::Confirmed => ticket.conclude(Ok(RECEIPT)),
                State::Doubtful { before } if (before && clean) || (idle && !self.broken) => {
                    ticket.conclude(Ok(RECEIPT));
                }
                State::Doubtful { .. } if idle => drop(ticket),
                State::Refused => ticket.conclude(Err(refused())),
                State::Kept(error) => ticket.conclude(Err(fault::of_handover(error))),
                State::Lost(error) if blamed.as_deref() == Some(&*address.exchange) => {
                    let refusal = fault::of_exchange(&address.exchange, error);
                    self.refusal = Some((refusal.fault, refusal.to_string().into()));
                    ticket.conclude(Err(refusal));
                }
                State::Lost(error) => ticket.conclude(Err(fault::of_silence(error))),
                state @ (State::Doubtful { .. } | State::Out) => {
                    self.flights.push_back(Flight { number, letter: Letter { content, ticket }, state });
                }
            }
        }
        if self.flights.is_empty() {
            self.returned.clear();
        }
    }

    /// Takes a return of such a message, if there is one.
    fn take_back(&mut self, content: &Content) -> bool {
        let place = self.returned.iter().position(|returned| returned == content);
        place.map(|place| self.returned.swap_remove(place)).is_some()
    }

    /// Returns the exchange over which the broker has closed the channel, where only one message to it has
    /// no confirm: of several, the first ones may be stored.
    fn refused_exchange(&self) -> Option<Box<str>> {
        let exchange = |flight: &Flight| flight.letter.content.address.exchange.clone();
        let named = self.flights.iter().find(|flight| match &flight.state {
            State::Lost(error) => {
                let quoted = format!("'{}'", flight.letter.content.address.exchange);
                fault::is_refusal(error) && fault::text(error).is_some_and(|text| text.contains(&quoted))
            }
            State::Out | State::Doubtful { .. } | State::Confirmed | State::Refused | State::Kept(_) => false,
        });
        let named = exchange(named?);
        let open = |flight: &&Flight| {
            matches!(flight.state, State::Out | State::Lost(_)) && exchange(flight) == named
        };
        (self.flights.iter().filter(open).count() == 1).then_some(named)
    }
}

impl Content {
    /// Tells whether this is what was returned.
    fn is(&self, returned: &BasicReturnMessage) -> bool {
        self.goes_where(returned) && self.properties == returned.properties
    }

    /// Tells whether this may be what was returned, where the broker has added to it.
    fn is_within(&self, returned: &BasicReturnMessage) -> bool {
        let (sent, came) = (&self.properties, &returned.properties);
        let headers = came.headers().as_ref().map(lapin::types::FieldTable::inner);
        let kept = sent.headers().as_ref().is_none_or(|sent| {
            sent.into_iter().all(|(name, value)| headers.is_some_and(|all| all.get(name) == Some(value)))
        });
        kept && self.goes_where(returned)
            && sent.message_id() == came.message_id()
            && sent.correlation_id() == came.correlation_id()
            && sent.reply_to() == came.reply_to()
            && sent.content_type() == came.content_type()
    }

    fn goes_where(&self, returned: &BasicReturnMessage) -> bool {
        *self.address.exchange == *returned.exchange.as_str()
            && *self.address.key == *returned.routing_key.as_str()
            && self.payload == returned.data
    }

    fn headers(&self) -> usize {
        self.properties.headers().as_ref().map_or(0, |headers| headers.inner().len())
    }
}

/// Says that the broker has nowhere to put a message.
pub(crate) fn unroutable(address: &Address) -> Error {
    let Address { exchange, key } = address;
    Error::new(Fault::Unroutable).detail(match &**exchange {
        "" => format!("rabbitmq has no queue {key:?}"),
        exchange => format!("no queue is bound to exchange {exchange:?} for routing key {key:?}"),
    })
}

/// Says that the broker has refused to confirm a message.
pub(crate) fn refused() -> Error {
    Error::new(Fault::StorageFull)
        .detail("rabbitmq did not store the message: a queue is full (`reject-publish`), or has failed")
}

/// What a confirm is worth.
pub(crate) const RECEIPT: Receipt = Receipt {
    position: None,
    guarantee: Guarantee::AtLeastOnce,
    duplicate: false,
    deduplicated: false,
    local: false,
};

#[cfg(test)]
mod tests;
