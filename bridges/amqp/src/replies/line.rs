//! A channel by which requests go to one exchange, and their replies come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use sidespan_bridge::{Error, Fault, Requests, Ticket};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::address::Address;
use crate::address::DIRECT;
use crate::link::{self, Link, State};
use crate::publisher::{Answer, RECEIPT, publish, refused, unroutable};
use crate::wire::{CALL, Wire, within};
use crate::{fault, message, topology};

/// A request that is ready to be handed over.
pub(super) struct Asked {
    pub(super) address: Address,
    pub(super) properties: BasicProperties,
    pub(super) payload: Bytes,
    pub(super) correlation: Box<str>,
    /// Says whether the broker has it.
    pub(super) ticket: Ticket,
}

/// The task that hands requests over and hears what becomes of them.
pub(super) struct Line {
    link: Arc<Link>,
    requests: Arc<Requests>,
    exchange: Box<str>,
    /// Bounded by the budget: what is in it has been admitted.
    inbox: mpsc::UnboundedReceiver<Asked>,
    /// Where what awaits a reply here has gone, by correlation. Whose asker has gone away is swept out every
    /// so often.
    waiting: HashMap<Box<str>, Address>,
    unconfirmed: FuturesUnordered<BoxFuture<'static, Told>>,
    /// When the broker last confirmed, or was given something to confirm.
    since: Instant,
    /// The broker has confirmed something: it takes what goes to this exchange.
    proven: bool,
}

/// What the client says of a request, by its correlation.
type Told = (Box<str>, Ticket, Answer);

/// Where requests go and replies come.
struct Ends {
    wire: Arc<Wire>,
    channel: Channel,
    replies: Consumer,
}

impl Line {
    /// Begins nothing yet.
    pub(super) fn new(
        link: Arc<Link>,
        requests: Arc<Requests>,
        exchange: Box<str>,
        inbox: mpsc::UnboundedReceiver<Asked>,
    ) -> Self {
        Self {
            link,
            requests,
            exchange,
            inbox,
            waiting: HashMap::new(),
            unconfirmed: FuturesUnordered::new(),
            since: Instant::now(),
            proven: false,
        }
    }

    /// Works until the channel ends, nobody has asked for a while, or the bridge is closed.
    pub(super) async fn run(mut self, over: CancellationToken) {
        let opened = tokio::select! {
            opened = open(&self.link, &self.exchange) => opened,
            () = over.cancelled() => Err(link::closed()),
        };
        match opened {
            Ok(mut ends) => {
                let why = self.serve(&mut ends, &over).await;
                self.end(why).await;
                let _ = timeout(CALL, ends.channel.close(SUCCESS, "OK".into())).await;
            }
            Err(error) => {
                self.inbox.close();
                while let Ok(asked) = self.inbox.try_recv() {
                    asked.ticket.conclude(Err(Error::new(error.fault).detail(error.to_string())));
                }
            }
        }
    }

    /// Hands over and hears; returns why no more replies can come.
    async fn serve(&mut self, ends: &mut Ends, over: &CancellationToken) -> &'static str {
        let mut changes = self.link.changes();
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut idle, mut asks) = (0, true);
        while asks || !self.waiting.is_empty() || !self.unconfirmed.is_empty() {
            let busy = !self.unconfirmed.is_empty();
            tokio::select! {
                Some(told) = self.unconfirmed.next(), if busy => {
                    self.since = Instant::now();
                    if !self.hear(told) {
                        return LOST;
                    }
                }
                reply = ends.replies.next() => match reply {
                    Some(Ok(reply)) => self.receive(reply),
                    Some(Err(error)) => {
                        if fault::is_unreadable(&error) {
                            self.link.mend();
                        }
                        return LOST;
                    }
                    None => return LOST,
                },
                Ok(()) = changes.changed() => {
                    if !matches!(self.link.state(), State::Up(_)) {
                        return LOST;
                    }
                }
                // The first one goes alone: if nothing may go to this exchange it is known whose fault it is.
                asked = self.inbox.recv(), if asks && (self.proven || !busy) => match asked {
                    Some(asked) => {
                        idle = 0;
                        self.send(&ends.channel, asked);
                    }
                    None => asks = false,
                },
                () = sleep_until(self.since + STALL), if busy => {
                    if ends.wire.blocked().is_none() {
                        warn!("rabbitmq confirms no requests any more: they go on over a new channel");
                        return LOST;
                    }
                    self.since = Instant::now();
                }
                _ = sweeps.tick() => {
                    self.waiting.retain(|correlation, _| self.requests.awaits(correlation));
                    idle = if self.waiting.is_empty() { idle + 1 } else { 0 };
                    if idle >= IDLE {
                        // What is in it already is still taken.
                        self.inbox.close();
                    }
                }
                () = over.cancelled() => return CLOSED,
            }
        }
        LOST
    }

    fn send(&mut self, channel: &Channel, asked: Asked) {
        let Asked { address, properties, payload, correlation, ticket } = asked;
        let to = match (topology::short(&address.exchange), topology::short(&address.key)) {
            (Ok(exchange), Ok(key)) => (exchange, key),
            (Err(error), _) | (_, Err(error)) => return ticket.conclude(Err(error)),
        };
        // Who has gone away asks nothing any more.
        if !self.requests.awaits(&correlation) || !ticket.hand_over() {
            return;
        }
        if self.unconfirmed.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.insert(correlation.clone(), address);
        let mandatory = BasicPublishOptions { mandatory: true, immediate: false };
        let published = publish(channel.clone(), to, mandatory, payload, properties);
        let mut told = published.map(|answer| (correlation, ticket, answer)).boxed();
        // The first poll queues the message.
        self.unconfirmed.push(match (&mut told).now_or_never() {
            None => told,
            Some(told) => std::future::ready(told).boxed(),
        });
    }

    /// Takes what the client says of a request; tells whether the channel is still good.
    fn hear(&mut self, (correlation, ticket, answer): Told) -> bool {
        match answer {
            Answer::Confirmed { stored, returned } => {
                self.proven = true;
                // The client may have given it to another's confirm; its correlation tells whose it is.
                if let Some(returned) = returned {
                    self.give_back(&returned);
                }
                if stored {
                    ticket.conclude(Ok(RECEIPT));
                } else {
                    self.waiting.remove(&correlation);
                    ticket.conclude(Err(refused()));
                }
                true
            }
            Answer::Kept(error) => {
                self.waiting.remove(&correlation);
                ticket.conclude(Err(fault::of_handover(error)));
                false
            }
            Answer::Lost(error) => {
                self.waiting.remove(&correlation);
                // Of several, the first ones may have arrived.
                let alone = self.unconfirmed.is_empty() && fault::is_refusal(&error);
                ticket.conclude(Err(match alone {
                    true => fault::of_exchange(&self.exchange, error),
                    false => fault::of_silence(error),
                }));
                false
            }
        }
    }

    /// Tells who asked that no queue took it.
    fn give_back(&mut self, returned: &BasicReturnMessage) {
        let correlation = returned.properties.correlation_id().as_ref();
        let Some(correlation) = correlation.map(ShortString::as_str) else { return };
        if let Some(address) = self.waiting.remove(correlation) {
            self.requests.conclude(correlation, Err(unroutable(&address)));
        }
    }

    fn receive(&mut self, reply: Delivery) {
        let (reply, _) = message::of_delivery(reply);
        let correlation = reply.correlation.clone().unwrap_or_default();
        self.waiting.remove(&correlation);
        if !self.requests.conclude(&correlation, Ok(reply)) {
            debug!("a reply came for nobody");
        }
    }

    /// Says what is true to all who wait.
    async fn end(&mut self, why: &'static str) {
        self.inbox.close();
        let last = async {
            while let Some(told) = self.unconfirmed.next().await {
                self.hear(told);
            }
        };
        let _ = timeout(LAST_ANSWERS, last).await;
        for (correlation, _) in self.waiting.drain() {
            self.requests.conclude(&correlation, Err(Error::new(Fault::Timeout).detail(why)));
        }
    }
}

/// Opens a channel on which the broker confirms, and to which it gives replies.
async fn open(link: &Link, exchange: &str) -> Result<Ends, Error> {
    let wire = link.wire(Instant::now() + CALL).await?;
    if !topology::has_exchange(&wire, exchange).await? {
        return Err(fault::no_exchange(exchange));
    }
    let channel = wire.channel().await?;
    within(CALL, channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let unsettled = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumed = channel.basic_consume(DIRECT.into(), "".into(), unsettled, FieldTable::default());
    let replies = within(CALL, consumed).await?;
    Ok(Ends { wire, channel, replies })
}

const LOST: &str = "the connection was lost before a reply came; the request may have been handled";
const CLOSED: &str = "the bridge was closed before a reply came; the request may have been handled";
/// How often it is looked who has gone away.
const SWEEP: Duration = Duration::from_secs(1);
/// After how many looks at nobody a line ends.
const IDLE: u32 = 60;
/// How long the broker may confirm nothing at all.
const STALL: Duration = Duration::from_secs(5);
/// How long the client has to say of the last requests that their channel is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// AMQP's reply code for an end without error.
const SUCCESS: u16 = 200;
