//! Receiving without a store.
//!
//! The server hands a message to whoever listens now, and forgets it. So it is taken from the client at
//! once and put on a shelf; what no longer fits there is dropped, counted, and said in the log. Nothing
//! can be settled; a release waits here.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message as Wire, Subscriber};
use async_trait::async_trait;
use futures_util::StreamExt;
use sidespan_bridge::{Control, Error, Fault, Lag, Role, Subscribe, Topic, Window};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api::{Api, round_trip};
use crate::link::{Denied, at_once};
use crate::message;
use crate::subscription::NatsSubscription;
use crate::subscription::shared::{Kind, Shared};
use crate::subscription::shelf::Item;

/// Subscribes; what is published from then on is received.
pub(crate) async fn join(
    to: Subscribe,
    api: Api,
    gone: &CancellationToken,
) -> Result<NatsSubscription, Error> {
    let deadline = Instant::now() + JOIN;
    api.link.until_up(deadline).await?;
    let subject = to.pattern.as_str().to_owned();
    let queued = match &to.group {
        Some(group) => at_once(api.client.queue_subscribe(subject, group.to_string())),
        None => at_once(api.client.subscribe(subject)),
    };
    let denied = api.link.denial_of(Denied::Subscribe(to.pattern.as_str().to_owned()));
    let incoming = match queued {
        Some(Ok(incoming)) => incoming,
        Some(Err(error)) => return Err(Error::new(Fault::Unavailable).because(error)),
        None => return Err(Fault::Overloaded.into()),
    };
    // The server handles what comes by one connection in order.
    tokio::select! {
        biased;
        error = denied => return Err(error),
        seen = round_trip(&api, deadline) => seen?,
    }
    let kind = if to.group.is_some() { Kind::Core } else { Kind::CoreCursor };
    let shared = Arc::new(Shared::new(kind, to.order, to.window, to.pattern.as_str()));
    let closed = gone.child_token();
    tokio::spawn(receive(Arc::clone(&shared), incoming, closed.clone()));
    let control = Arc::new(CoreControl { shared: Arc::clone(&shared), closed });
    Ok(NatsSubscription { shared, control, begun: None })
}

/// Takes what comes until the subscription is closed, or dropped.
async fn receive(shared: Arc<Shared>, mut incoming: Subscriber, closed: CancellationToken) {
    let mut number = 0;
    let mut drops = Drops::new();
    loop {
        if shared.lock().dropped {
            break;
        }
        tokio::select! {
            () = closed.cancelled() => break,
            () = shared.engine.notified() => {}
            () = sleep_until(drops.due), if drops.topic.is_some() => drops.say(),
            wire = incoming.next() => {
                let Some(wire) = wire else { break };
                number += 1;
                put(&shared, number, wire, &mut drops);
            }
        }
    }
    drops.say();
    shared.end(None);
}

fn put(shared: &Shared, number: u64, wire: Wire, drops: &mut Drops) {
    let topic = Topic::new(wire.subject.as_str());
    let mut message = message::of_map(wire.headers.as_ref(), wire.payload);
    if let Some(reply) = wire.reply {
        message.reply_to.get_or_insert_with(|| reply.as_str().into());
    }
    let mut state = shared.lock();
    if !state.intake {
        return;
    }
    if !state.fits(BACKLOG, &message) {
        drop(state);
        return drops.count(topic);
    }
    state.put(number, String::new(), Item { message, topic, redelivered: 0 });
    drop(state);
    shared.reader.notify_one();
}

/// What was dropped because nobody took it in time.
struct Drops {
    count: u64,
    /// Where the last one came, while some are unsaid.
    topic: Option<Topic>,
    /// When to say so.
    due: Instant,
}

impl Drops {
    fn new() -> Self {
        Self { count: 0, topic: None, due: Instant::now() }
    }

    fn count(&mut self, topic: Topic) {
        self.count += 1;
        self.topic = Some(topic);
    }

    fn say(&mut self) {
        if let Some(topic) = self.topic.take() {
            warn!(dropped = self.count, %topic, "messages are dropped: they come faster than they are taken");
            self.due = Instant::now() + SAID;
        }
    }
}

/// Steers a subscription without a store.
struct CoreControl {
    shared: Arc<Shared>,
    closed: CancellationToken,
}

#[async_trait]
impl Control for CoreControl {
    fn stop_intake(&self) {
        self.shared.stop_intake();
    }

    fn role(&self) -> Role {
        Role::Active
    }

    async fn lag(&self) -> Result<Lag, Error> {
        let detail = "nothing is stored with `mode: core`, so nothing lags";
        Err(Error::new(Fault::Unsupported).detail(detail))
    }

    async fn close(&self, _: Instant) -> Result<(), Error> {
        self.closed.cancel();
        self.shared.end(None);
        Ok(())
    }
}

/// What may wait to be taken.
const BACKLOG: Window = Window { messages: 65_536, bytes: 32 << 20 };
const JOIN: Duration = Duration::from_secs(5);
/// How often drops are said.
const SAID: Duration = Duration::from_secs(5);
