//! One broker, shared by everyone in the process.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sidespan_bridge::{
    Bridge, Error, Fault, Guarantee, Guarantees, Lag, Limits, Message, Order, Pattern, Publisher, Settings,
    Start, Subscribe, Subscription, Topic, TopicInfo, Unsupported,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::address::{Address, Source};
use crate::fault;
use crate::link::{Link, Told};
use crate::management;
use crate::publisher::AmqpPublisher;
use crate::replies::Replies;
use crate::settings::{AmqpSettings, Create, QueueType};
use crate::subscription::{self, Plan, Way, longest_hold};
use crate::topology;
use crate::wire::Wire;

/// A connection to one broker.
pub(crate) struct AmqpBridge {
    settings: Arc<AmqpSettings>,
    service: Box<str>,
    publisher: Arc<AmqpPublisher>,
    replies: Replies,
    publishing: Arc<Link>,
    /// Shared by all subscriptions without order; made when the first one comes.
    consuming: Mutex<Option<Arc<Link>>>,
    told: Arc<Told>,
    /// Cancelled when the bridge is dropped without a close: nothing more is said to the broker.
    mute: CancellationToken,
}

impl AmqpBridge {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let service = settings.service.clone();
        let settings = AmqpSettings::read(settings)
            .map_err(|error| Error::new(Fault::Invalid).detail(error.to_string()))?;
        let settings = Arc::new(settings);
        let (told, mute) = (Arc::<Told>::default(), CancellationToken::new());
        let name = format!("{service} (publishing)");
        let publishing = Arc::new(Link::open(Arc::clone(&settings), name, Arc::clone(&told), &mute));
        let publisher = Arc::new(AmqpPublisher::open(&settings, Arc::clone(&publishing)));
        let replies = Replies::new(&settings, Arc::clone(&publishing), Arc::clone(&publisher));
        let consuming = Mutex::default();
        Ok(Self { settings, service, publisher, replies, publishing, consuming, told, mute })
    }

    /// Returns the link that a subscription reads by, and whether it is for that one alone.
    fn link_for(&self, plan: &Plan) -> (Arc<Link>, bool) {
        let open = |what: &str| {
            let name = format!("{} ({what})", self.service);
            Arc::new(Link::open(Arc::clone(&self.settings), name, Arc::clone(&self.told), &self.mute))
        };
        if plan.order == Order::None {
            let mut consuming = self.consuming.lock().unwrap_or_else(PoisonError::into_inner);
            return (Arc::clone(consuming.get_or_insert_with(|| open("subscriptions"))), false);
        }
        (open(plan.group.as_deref().unwrap_or("cursor")), true)
    }

    /// Makes sure that the exchange, or the queue, of an address exists.
    async fn ensure_address(&self, wire: &Wire, address: &Address) -> Result<(), Error> {
        if address.is_queue() {
            let exists = topology::depth(wire, &address.key).await?.is_some();
            return match exists {
                true => Ok(()),
                false if self.settings.may_create(Create::Queues) => {
                    let arguments = topology::arguments(self.settings.queue_type, false);
                    topology::make_queue(wire, &address.key, arguments).await
                }
                false => Err(fault::no_queue(&address.key)),
            };
        }
        match topology::has_exchange(wire, &address.exchange).await? {
            true => Ok(()),
            false if self.settings.may_create(Create::Exchanges) => {
                topology::make_exchange(wire, &address.exchange).await
            }
            false => Err(fault::no_exchange(&address.exchange)),
        }
    }

    /// Makes sure that a queue of an address' name keeps what is published to it.
    async fn keep_address(&self, wire: &Wire, topic: &Topic, address: &Address) -> Result<(), Error> {
        let arguments = topology::arguments(QueueType::Quorum, false);
        if address.is_queue() {
            return topology::make_queue(wire, &address.key, arguments).await;
        }
        self.ensure_address(wire, address).await?;
        topology::make_queue(wire, topic.as_str(), arguments).await?;
        topology::bind(&wire.channel().await?, topic.as_str(), address).await
    }
}

/// Tells what RabbitMQ can do for a subscription.
pub(crate) fn limits(settings: &AmqpSettings, to: &Subscribe) -> Result<Limits, Unsupported> {
    if to.start != Start::End {
        let text = "a queue of RabbitMQ has no past: only `start: end` is possible";
        return Err(Unsupported(text.into()));
    }
    if to.group.is_none() && matches!(Source::of(&to.pattern), Ok(Source::Queue(_))) {
        let text =
            "a queue gives each message to one reader: read it by a subscription, or follow an exchange";
        return Err(Unsupported(text.into()));
    }
    Ok(Limits { longest_hold: Some(longest_hold(settings.consumer_timeout.0)), releases_to_broker: false })
}

#[async_trait]
impl Bridge for AmqpBridge {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publisher) as Arc<dyn Publisher>
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        limits(&self.settings, &to)?;
        // What a cursor was given cannot be given back.
        let most = if to.group.is_some() { usize::from(u16::MAX) } else { CURSOR };
        let plan = Plan {
            source: Source::of(&to.pattern)?,
            group: to.group,
            order: to.order,
            prefetch: u16::try_from(to.window.messages.min(most)).unwrap_or(u16::MAX).max(1),
            queue_type: self.settings.queue_type,
            create: self.settings.create.clone(),
        };
        let (link, alone) = self.link_for(&plan);
        let way = Way { link, alone };
        let hold = longest_hold(self.settings.consumer_timeout.0);
        let joined = subscription::join(plan, way, to.window, hold).await?;
        Ok(Box::new(joined))
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        self.publisher.probe(deadline).await
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            delivery: Guarantee::AtLeastOnce,
            deduplicates: false,
            ordered: true,
            start: false,
            seek: false,
            requests: true,
        }
    }

    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        let management = self.settings.management.as_ref().ok_or_else(management::absent)?;
        by(deadline, management::topics(&self.settings, management, pattern)).await
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        let address = Address::of(topic)?;
        let wire = self.publishing.wire(deadline).await?;
        by(deadline, self.ensure_address(&wire, &address)).await
    }

    async fn ensure_kept(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        let address = Address::of(topic)?;
        let wire = self.publishing.wire(deadline).await?;
        by(deadline, self.keep_address(&wire, topic, &address)).await
    }

    /// Counts what the queue holds ready. What members hold is not told by AMQP, and not counted.
    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        let source = Source::of(&to.pattern)?;
        let queue = match (&source, &to.group) {
            (_, None) => {
                let detail = "a cursor of its own settles nothing, so nothing is left to settle";
                return Err(Error::new(Fault::Unsupported).detail(detail));
            }
            (Source::Queue(queue), Some(_)) | (Source::Bound(_), Some(queue)) => queue,
        };
        let wire = self.publishing.wire(deadline).await?;
        let depth = by(deadline, topology::depth(&wire, queue)).await?;
        Ok(depth.map(|depth| Lag { messages: depth.ready, oldest: None }))
    }

    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        self.replies.request(topic, message, deadline).await
    }

    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        self.replies.reply(to, reply, deadline).await
    }

    async fn close(&self, deadline: Instant) {
        self.publisher.drain(deadline).await;
        self.replies.close(deadline).await;
        self.publishing.close(deadline).await;
        let consuming = self.consuming.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(consuming) = consuming {
            consuming.close(deadline).await;
        }
    }
}

impl Drop for AmqpBridge {
    fn drop(&mut self) {
        self.mute.cancel();
        self.publishing.cut();
        if let Some(consuming) = self.consuming.get_mut().unwrap_or_else(PoisonError::into_inner) {
            consuming.cut();
        }
    }
}

async fn by<T>(deadline: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout_at(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
    }
}

/// How many messages a cursor of its own is given ahead, whatever their size.
const CURSOR: usize = 64;
