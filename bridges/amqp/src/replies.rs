//! Asks, and waits for the one reply; and answers others who ask.
//!
//! # Asking
//!
//! Replies come directly (`amq.rabbitmq.reply-to`): no queue is made for them, and the broker gives
//! them to the channel on which the request went. The broker ends the channel of who publishes to an exchange
//! that does not exist or is not allowed, and with it all replies that are awaited there. So there is one
//! channel for each exchange ([`mod@line`]): what goes wrong with one leaves the requests to others alone.
//!
//! A request that no queue takes is returned, and is `Unroutable` at once.
//!
//! # Answering
//!
//! To the broker an address of direct replies is no queue, and what is `mandatory` there is returned though
//! somebody waits. So it is asked first whether somebody does, and the reply goes without that.

mod line;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Awaited, Batch, Budget, Error, Fault, Message, Requests, Topic};
use tokio::sync::mpsc::{self, error::SendError};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::address::{Address, DIRECT, SHORT};
use crate::link::{self, Link};
use crate::publisher::AmqpPublisher;
use crate::settings::AmqpSettings;
use crate::topology;

use line::{Asked, Line};

/// Asks and answers over one link.
pub(crate) struct Replies {
    link: Arc<Link>,
    publisher: Arc<AmqpPublisher>,
    requests: Arc<Requests>,
    /// Bounds what is on its way to the broker.
    budget: Arc<Budget>,
    lines: Mutex<Lines>,
    over: CancellationToken,
}

/// The way to each exchange.
#[derive(Default)]
struct Lines {
    open: HashMap<Box<str>, mpsc::UnboundedSender<Asked>>,
    tasks: JoinSet<()>,
}

impl Replies {
    /// Does nothing until somebody asks.
    pub(crate) fn new(settings: &AmqpSettings, link: Arc<Link>, publisher: Arc<AmqpPublisher>) -> Self {
        let most = usize::try_from(settings.max_requests).unwrap_or(usize::MAX);
        Self {
            link,
            publisher,
            requests: Requests::bounded("", most),
            // More than may wait: one that is dropped is on its way for a moment still.
            budget: Budget::new(most.saturating_mul(2)),
            lines: Mutex::default(),
            over: CancellationToken::new(),
        }
    }

    /// Publishes a request and waits for its reply.
    pub(crate) async fn request(
        &self,
        topic: &Topic,
        mut message: Message,
        deadline: Instant,
    ) -> Result<Message, Error> {
        let address = Address::of(topic)?;
        if let Some(refusal) = self.publisher.refusal() {
            return Err(refusal);
        }
        let awaited = self.requests.take()?;
        let share = self.budget.admit(message.weight()).ok_or_else(|| Error::new(Fault::Overloaded))?;
        let own = message.correlation.replace(awaited.correlation().into());
        message.reply_to = Some(DIRECT.into());
        let (properties, payload) = self.publisher.carried(message)?;
        let batch = Batch::new(1);
        let (correlation, ticket) = (awaited.correlation().into(), batch.ticket(0, share));
        self.pass(Asked { address, properties, payload, correlation, ticket });
        let mut reply = hear(&batch, awaited, deadline).await?;
        if own.is_some() {
            reply.correlation = own;
        }
        Ok(reply)
    }

    /// Publishes a reply to where it is awaited.
    pub(crate) async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        if to.is_empty() || to.len() > SHORT {
            let detail = format!("a reply address of AMQP is the name of a queue, of 1 to {SHORT} bytes");
            return Err(Error::new(Fault::Invalid).detail(detail));
        }
        if let Some(refusal) = self.publisher.refusal() {
            return Err(refusal);
        }
        let direct = to.starts_with(DIRECT);
        if direct {
            let wire = self.link.wire(deadline).await?;
            let looked = timeout_at(deadline, topology::depth(&wire, to)).await;
            let silent = |_| Error::new(Fault::Unavailable).detail("rabbitmq does not answer");
            looked.map_err(silent)??.ok_or_else(|| {
                Error::new(Fault::Unroutable).detail("nobody waits for this reply any more")
            })?;
        }
        let address = Address { exchange: "".into(), key: to.into() };
        let mut outcomes = self.publisher.publish_to(Ok(address), !direct, vec![reply], deadline).await;
        outcomes.pop().unwrap_or_else(|| Err(Fault::Timeout.into())).map(drop)
    }

    /// Ends all waiting.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.over.cancel();
        let mut tasks = std::mem::take(&mut *self.lock()).tasks;
        let _ = timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
    }

    /// Hands a request to the line to its exchange; makes one where there is none.
    fn pass(&self, mut asked: Asked) {
        let mut lines = self.lock();
        if let Some(line) = lines.open.get(&asked.address.exchange) {
            match line.send(asked) {
                Ok(()) => return,
                // It has ended.
                Err(SendError(back)) => asked = back,
            }
        }
        lines.open.retain(|_, line| !line.is_closed());
        while lines.tasks.try_join_next().is_some() {}
        if self.over.is_cancelled() {
            return asked.ticket.conclude(Err(link::closed()));
        }
        if lines.open.len() >= LINES {
            let detail = format!("requests go to {LINES} exchanges already: try again in a minute");
            return asked.ticket.conclude(Err(Error::new(Fault::Overloaded).detail(detail)));
        }
        let exchange = asked.address.exchange.clone();
        let (line, inbox) = mpsc::unbounded_channel();
        // The other end is still here.
        let _ = line.send(asked);
        let serving = Line::new(Arc::clone(&self.link), Arc::clone(&self.requests), exchange.clone(), inbox);
        lines.tasks.spawn(serving.run(self.over.clone()));
        lines.open.insert(exchange, line);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the reply, or to hear that there will be none.
async fn hear(batch: &Batch, mut awaited: Awaited, deadline: Instant) -> Result<Message, Error> {
    let reply = tokio::select! {
        biased;
        reply = awaited.reply(deadline) => reply,
        () = batch.until_concluded() => {
            batch.outcomes().pop().unwrap_or_else(|| Err(Fault::Timeout.into()))?;
            return awaited.reply(deadline).await;
        }
    };
    match (reply, batch.outcomes().pop()) {
        // It was never handed over.
        (Err(_), Some(Err(error))) if error.fault == Fault::Unavailable => Err(error),
        (reply, _) => reply,
    }
}

/// To how many exchanges requests may be on their way.
const LINES: usize = 256;
