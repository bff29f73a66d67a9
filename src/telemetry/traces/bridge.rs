//! A bridge that makes spans of what goes through it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sidespan_bridge::{
    AckToken, Bridge, Control, Delivery, Error, Event, Guarantees, Lag, Message, Pattern, Position,
    Publisher, Receipt, Registry, Settle, Settled, Subscribe, Subscription, Topic, TopicInfo, Unsupported,
    Verdict,
};
use tokio::time::Instant;

use super::attributes::error_type;
use super::span::{fail, settled};
use super::tracer::{Received, Tracer};

/// The bridge within does all the work.
pub(super) struct Traced {
    within: Arc<dyn Bridge>,
    tracer: Tracer,
}

impl Traced {
    pub(super) fn new(within: Arc<dyn Bridge>, tracer: Tracer) -> Self {
        Self { within, tracer }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a default would hide the bridge within")]
#[async_trait]
impl Bridge for Traced {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(TracedPublisher { within: self.within.publisher(), tracer: self.tracer.clone() })
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        let group = to.group.clone();
        let within = self.within.subscribe(to).await?;
        Ok(Box::new(TracedSubscription { within, tracer: self.tracer.clone(), group }))
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        self.within.probe(deadline).await
    }

    fn guarantees(&self) -> Guarantees {
        self.within.guarantees()
    }

    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        self.within.topics(pattern, deadline).await
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        self.within.ensure(topic, deadline).await
    }

    async fn ensure_kept(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        self.within.ensure_kept(topic, deadline).await
    }

    async fn accept(&self, receipt: &str, deadline: Instant) -> Result<(), Error> {
        self.within.accept(receipt, deadline).await
    }

    /// The span lasts until the reply is there.
    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        let mut one = [message];
        let sending = self.tracer.send(topic, &mut one);
        let [message] = one;
        let replied = self.within.request(topic, message, deadline).await;
        if let (Some(mut sending), Err(error)) = (sending, &replied) {
            fail(&mut sending.span, error_type(error.fault));
        }
        replied
    }

    /// Who answers knows the request, and makes the span: [`Tracer::reply`].
    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        self.within.reply(to, reply, deadline).await
    }

    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        self.within.seek(to, deadline).await
    }

    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        self.within.lag(to, deadline).await
    }

    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        self.within.registry(name)
    }

    async fn close(&self, deadline: Instant) {
        self.within.close(deadline).await;
    }
}

struct TracedPublisher {
    within: Arc<dyn Publisher>,
    tracer: Tracer,
}

#[deny(clippy::missing_trait_methods, reason = "a default would hide the publisher within")]
impl Publisher for TracedPublisher {
    fn publish(
        &self,
        topic: &Topic,
        mut batch: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        let sending = self.tracer.send(topic, &mut batch);
        let outcomes = self.within.publish(topic, batch, deadline);
        let Some(sending) = sending else { return outcomes };
        async move {
            let outcomes = outcomes.await;
            sending.end(&outcomes);
            outcomes
        }
        .boxed()
    }
}

struct TracedSubscription {
    within: Box<dyn Subscription>,
    tracer: Tracer,
    group: Option<Box<str>>,
}

#[deny(clippy::missing_trait_methods, reason = "a default would hide the subscription within")]
#[async_trait]
impl Subscription for TracedSubscription {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        match self.within.next().await {
            Some(Ok(Event::Delivery(delivery))) => Some(Ok(Event::Delivery(self.receive(delivery)))),
            other => other,
        }
    }

    fn begun(&self) -> Option<Vec<(Topic, Position)>> {
        self.within.begun()
    }

    fn control(&self) -> Arc<dyn Control> {
        self.within.control()
    }
}

impl TracedSubscription {
    /// A cursor of its own settles nothing.
    fn receive(&self, mut delivery: Delivery) -> Delivery {
        match self.tracer.receive(&mut delivery, self.group.as_deref()) {
            Some(received) if self.group.is_some() => {
                Delivery { ack: AckToken::new(TracedSettle { within: delivery.ack, received }), ..delivery }
            }
            Some(_) | None => delivery,
        }
    }
}

struct TracedSettle {
    within: AckToken,
    received: Received,
}

#[deny(clippy::missing_trait_methods, reason = "a default would hide the token within")]
impl Settle for TracedSettle {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        let mut span = self.received.settle(verdict);
        let within = self.within.settle(verdict);
        // Where nobody waits, the span ends with the call.
        Settled::when(async move {
            let settlement = within.await;
            settled(&mut span, settlement);
            settlement
        })
    }

    fn receipt(&self) -> Option<Box<str>> {
        self.within.receipt()
    }
}
