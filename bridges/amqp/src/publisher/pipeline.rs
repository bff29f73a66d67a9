//! One confirm channel, and what is on its way over it.
//!
//! Messages go out in the order of their calls, without waiting for one another. The broker returns
//! what it cannot route, and always before it confirms the same message.
//!
//! # Whose message was returned
//!
//! The client library gives each confirm the oldest return that it has, whosever it is. So returns
//! are matched here: a returned message is the first one on its way that is equal to it. Equal
//! messages need no telling apart, as what is stored is equal too.
//!
//! A confirm is not believed before all returns ahead of it have been seen. For each confirm the
//! library takes a return off its list, if there is one, and then completes the confirm, all in
//! one thread. So a confirm without a return found the list empty: whatever was returned before
//! it came with confirms that are complete by now. After one has been seen all others are looked
//! at again, until a look brings nothing new. A confirm that brings somebody else's return is
//! believed with a later one that brings none, or when nothing is on its way any more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use sidespan_bridge::{Error, Fault, Guarantee, Receipt, Ticket};
use tokio::time::Instant;
use tracing::error;

use crate::address::Address;
use crate::wire::{CALL, Wire, within};
use crate::{fault, topology};

/// A message that is ready to be handed over.
pub(super) struct Letter {
    pub(super) address: Arc<Address>,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
    pub(super) ticket: Ticket,
}

/// A confirm channel.
pub(super) struct Pipeline {
    channel: Channel,
    /// On their way, in their order.
    flights: VecDeque<Flight>,
    /// It is of no use any more.
    broken: bool,
    /// When the broker last answered, or was given something to answer.
    since: Instant,
}

struct Flight {
    letter: Letter,
    state: State,
    returned: bool,
}

enum State {
    Out(BoxFuture<'static, Answer>),
    /// Confirmed with somebody else's return: its own may be yet to come.
    Doubtful {
        stored: bool,
    },
    Certain(Certainty),
}

enum Certainty {
    Confirmed {
        stored: bool,
    },
    /// Not written to the broker.
    Kept(lapin::Error),
    /// Written, and no answer will come.
    Lost(lapin::Error),
}

enum Answer {
    Confirmed { stored: bool, returned: Option<Box<BasicReturnMessage>> },
    Kept(lapin::Error),
    Lost(lapin::Error),
}

impl Pipeline {
    /// Opens a channel on which the broker confirms.
    pub(super) async fn open(wire: &Wire) -> Result<Self, Error> {
        let channel = wire.channel().await?;
        within(CALL, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, flights: VecDeque::new(), broken: false, since: Instant::now() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < ROOM
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Tells when to give the channel up, if the broker goes on answering nothing: what is for a queue
    /// that has lost its majority may never be confirmed, and must not take up all room for ever.
    pub(super) fn stalls_at(&self) -> Instant {
        self.since + STALL
    }

    /// Gives the broker more time.
    pub(super) fn is_excused(&mut self) {
        self.since = Instant::now();
    }

    /// Hands a message over.
    pub(super) fn send(&mut self, letter: Letter) {
        let Address { exchange, key } = &*letter.address;
        let (exchange, key) = match (topology::short(exchange), topology::short(key)) {
            (Ok(exchange), Ok(key)) => (exchange, key),
            (Err(error), _) | (_, Err(error)) => return letter.ticket.conclude(Err(error)),
        };
        if !letter.ticket.hand_over() {
            return;
        }
        if self.flights.is_empty() {
            self.since = Instant::now();
        }
        let (payload, properties) = (letter.payload.clone(), letter.properties.clone());
        let mut answer = publish(self.channel.clone(), exchange, key, payload, properties).boxed();
        // The first poll queues the message, and so the order of the calls is kept. An answer that
        // is there already is looked at with all others.
        let state = match (&mut answer).now_or_never() {
            None => State::Out(answer),
            Some(answer) => State::Out(std::future::ready(answer).boxed()),
        };
        self.flights.push_back(Flight { letter, state, returned: false });
    }

    /// Waits until the broker has answered something, and passes it on. Cancel-safe.
    pub(super) async fn answers(&mut self) {
        poll_fn(|context| self.poll_answers(context)).await;
    }

    fn poll_answers(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let doubtful: Vec<usize> = self.doubtful().collect();
        let (mut returns, mut clean, mut news) = (Vec::new(), false, false);
        while self.look(context, &mut returns, &mut clean) {
            news = true;
        }
        if !news {
            return Poll::Pending;
        }
        self.since = Instant::now();
        for returned in returns {
            self.take_back(&returned);
        }
        let idle = !self.flights.iter().any(|flight| matches!(flight.state, State::Out(_)));
        for (index, flight) in self.flights.iter_mut().enumerate() {
            if let State::Doubtful { stored } = flight.state
                && (idle || flight.returned || (clean && doubtful.contains(&index)))
            {
                flight.state = State::Certain(Certainty::Confirmed { stored });
            }
        }
        self.conclude();
        Poll::Ready(())
    }

    /// Looks at all that is on its way; tells whether there was anything new.
    fn look(
        &mut self,
        context: &mut Context<'_>,
        returns: &mut Vec<BasicReturnMessage>,
        clean: &mut bool,
    ) -> bool {
        let mut news = false;
        for flight in &mut self.flights {
            let State::Out(answer) = &mut flight.state else { continue };
            let Poll::Ready(answer) = answer.poll_unpin(context) else { continue };
            news = true;
            flight.state = match answer {
                Answer::Confirmed { stored, returned: None } => {
                    *clean = true;
                    State::Certain(Certainty::Confirmed { stored })
                }
                Answer::Confirmed { stored, returned: Some(returned) } => {
                    returns.push(*returned);
                    State::Doubtful { stored }
                }
                Answer::Kept(error) => State::Certain(Certainty::Kept(error)),
                Answer::Lost(error) => State::Certain(Certainty::Lost(error)),
            };
        }
        news
    }

    /// Returns the places of those that have been in doubt since an earlier look.
    fn doubtful(&self) -> impl Iterator<Item = usize> {
        let each = self.flights.iter().enumerate();
        each.filter(|(_, flight)| matches!(flight.state, State::Doubtful { .. })).map(|(index, _)| index)
    }

    /// Finds whose message was returned.
    fn take_back(&mut self, returned: &BasicReturnMessage) {
        let whose = self.flights.iter_mut().find(|flight| !flight.returned && flight.letter.is(returned));
        match whose {
            Some(flight) => flight.returned = true,
            None => {
                error!("rabbitmq returned a message that is not on its way: the channel is given up");
                self.broken = true;
            }
        }
    }

    /// Passes on what is certain.
    fn conclude(&mut self) {
        let missing = self.missing_exchange();
        for flight in std::mem::take(&mut self.flights) {
            let Flight { letter, state, returned } = flight;
            match state {
                State::Certain(certainty) => {
                    self.broken |= !matches!(certainty, Certainty::Confirmed { .. });
                    let unknown = missing.as_deref() == Some(&*letter.address.exchange);
                    letter.ticket.conclude(certainty.outcome(&letter.address, returned, unknown));
                }
                State::Doubtful { .. } | State::Out(_) => {
                    self.flights.push_back(Flight { letter, state, returned });
                }
            }
        }
    }

    /// Returns the exchange over which the broker has closed the channel, where that speaks of one
    /// message only: of several, the first ones may be stored.
    fn missing_exchange(&self) -> Option<Box<str>> {
        let mut lost = self.flights.iter().filter(|flight| match &flight.state {
            State::Certain(Certainty::Lost(error)) => {
                let quoted = format!("'{}'", flight.letter.address.exchange);
                fault::is_not_found(error) && fault::text(error).is_some_and(|text| text.contains(&quoted))
            }
            State::Certain(_) | State::Doubtful { .. } | State::Out(_) => false,
        });
        let first = lost.next()?;
        lost.next().is_none().then(|| first.letter.address.exchange.clone())
    }
}

impl Letter {
    /// Tells whether this is the message that was returned.
    fn is(&self, returned: &BasicReturnMessage) -> bool {
        *self.address.exchange == *returned.exchange.as_str()
            && *self.address.key == *returned.routing_key.as_str()
            && self.payload == returned.data
            && self.properties == returned.properties
    }
}

impl Certainty {
    fn outcome(self, address: &Address, returned: bool, unknown: bool) -> Result<Receipt, Error> {
        match self {
            Self::Confirmed { .. } if returned => Err(unroutable(address)),
            Self::Confirmed { stored: true } => Ok(RECEIPT),
            Self::Confirmed { stored: false } => Err(Error::new(Fault::StorageFull).detail(
                "rabbitmq did not store the message: a queue is full (`reject-publish`), or has failed",
            )),
            Self::Kept(error) => Err(fault::of_handover(error)),
            Self::Lost(error) if unknown => Err(topology::no_exchange(&address.exchange).because(error)),
            Self::Lost(error) => Err(fault::of_silence(error)),
        }
    }
}

/// Hands one message to the client, and waits for what becomes of it.
async fn publish(
    channel: Channel,
    exchange: ShortString,
    key: ShortString,
    payload: Bytes,
    properties: BasicProperties,
) -> Answer {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let confirm = match channel.basic_publish(exchange, key, options, &payload, properties).await {
        Ok(confirm) => confirm,
        Err(error) => return Answer::Kept(error),
    };
    match confirm.await {
        Ok(Confirmation::Ack(returned)) => {
            Answer::Confirmed { stored: true, returned: returned.map(Box::new) }
        }
        Ok(Confirmation::Nack(returned)) => {
            Answer::Confirmed { stored: false, returned: returned.map(Box::new) }
        }
        // The channel does not confirm, though it was asked to: nobody knows.
        Ok(Confirmation::NotRequested) => Answer::Lost(lapin::ErrorKind::FutureCompleted.into()),
        Err(error) => Answer::Lost(error),
    }
}

fn unroutable(address: &Address) -> Error {
    let Address { exchange, key } = address;
    Error::new(Fault::Unroutable).detail(match &**exchange {
        "" => format!("rabbitmq has no queue {key:?}"),
        exchange => format!("no queue is bound to exchange {exchange:?} for routing key {key:?}"),
    })
}

const RECEIPT: Receipt = Receipt {
    position: None,
    guarantee: Guarantee::AtLeastOnce,
    duplicate: false,
    deduplicated: false,
    local: false,
};
/// How many messages are on their way at a time. Each answer is followed by looks at all of them.
const ROOM: usize = 256;
/// How long the broker may answer nothing at all.
const STALL: Duration = Duration::from_secs(5);
