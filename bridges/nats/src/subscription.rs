//! Receiving from a stream.
//!
//! A subscription is a consumer at the broker ([`consumer`]), a task that drives it ([`engine`]), and
//! what both and the tokens share ([`shared`]). The reader takes from the shelf what the window allows.

mod accepted;
mod acks;
mod consumer;
mod control;
mod engine;
pub(crate) mod lag;
pub(crate) mod received;
pub(crate) mod seek;
pub(crate) mod shared;
pub(crate) mod shelf;
mod token;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sidespan_bridge::{Control, Error, Event, Fault, Order, Position, Subscribe, Subscription, Topic};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::link::at_once;
use crate::settings::NatsSettings;
use crate::streams::Streams;
use crate::subject::plain_name;

use consumer::{From, Wanted};
use control::StreamControl;
use engine::{Engine, Parts, Place};
use shared::{Kind, Shared};
use turn::Turn;

/// What a subscription needs of its bridge.
pub(crate) struct Plan {
    pub(crate) to: Subscribe,
    pub(crate) settings: Arc<NatsSettings>,
    pub(crate) api: Api,
    pub(crate) streams: Arc<Streams>,
    pub(crate) gone: CancellationToken,
}

/// A subscription on a stream, or without one.
pub(crate) struct NatsSubscription {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) begun: Option<Vec<(Topic, Position)>>,
}

/// Joins or makes a subscription on a stream; its start is recorded when this returns.
pub(crate) async fn join(plan: Plan) -> Result<NatsSubscription, Error> {
    let Plan { to, settings, api, streams, gone } = plan;
    let deadline = Instant::now() + JOIN;
    let stream = streams.find(&to.pattern, deadline).await?;
    if stream.config.sealed && to.group.is_some() {
        let detail = format!("the stream {} is sealed: a group cannot settle there", stream.config.name);
        return Err(Error::new(Fault::Rejected).detail(detail));
    }
    let kind = match (&to.group, to.order) {
        (None, _) => Kind::Cursor,
        (Some(_), Order::None) => Kind::Shared,
        (Some(_), Order::Key | Order::Topic) => Kind::Ordered,
    };
    let name = to.group.as_deref().map_or_else(|| engine::cursor_name(&api), plain_name);
    let wanted = Wanted::of(&to, &settings, name);
    let (deliveries, inbox) = subscribe(&api)?;
    let (confirmations, answers) = subscribe(&api)?;
    let from = From::Start(to.start.clone());
    let info = wanted.attach(&api, &stream.config.name, &from, deadline).await?;
    let begun = (kind == Kind::Cursor).then(|| {
        let position = Position { partition: 0, sequence: info.next() };
        vec![(Topic::new(to.pattern.as_str()), position)]
    });
    // The order of a cursor is the stream's, whatever is asked for.
    let order = if kind == Kind::Ordered { to.order } else { Order::None };
    let shared = Arc::new(Shared::new(kind, order, to.window, &wanted.name));
    let (orders, closing) = mpsc::channel(1);
    let control = StreamControl {
        shared: Arc::clone(&shared),
        api: api.clone(),
        streams: Arc::clone(&streams),
        wanted: wanted.clone(),
        orders,
    };
    let parts = Parts {
        shared: Arc::clone(&shared),
        api,
        streams,
        wanted,
        place: Place::of(&stream),
        info,
        deliveries,
        confirmations,
        inbox,
        answers,
        orders: closing,
        gone,
    };
    // It ends when it is closed, when the last handle is dropped, or with the bridge.
    tokio::spawn(Engine::new(parts).run());
    Ok(NatsSubscription { shared, control: Arc::new(control), begun })
}

/// Makes an inbox; returns what comes there, and its name.
fn subscribe(api: &Api) -> Result<(async_nats::Subscriber, String), Error> {
    let inbox = api.client.new_inbox();
    // The client only queues.
    match at_once(api.client.subscribe(format!("{inbox}.*"))) {
        Some(Ok(subscriber)) => Ok((subscriber, inbox)),
        Some(Err(error)) => Err(Error::new(Fault::Unavailable).because(error)),
        None => Err(Fault::Overloaded.into()),
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        // A reader that always finds something must not keep the executor to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            let woken = self.shared.reader.notified();
            match self.shared.turn() {
                Turn::Event(event) => return Some(Ok(event)),
                Turn::End(end) => return end.map(Err),
                Turn::Wait(None) => woken.await,
                Turn::Wait(Some(due)) => tokio::select! {
                    () = woken => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    fn begun(&self) -> Option<Vec<(Topic, Position)>> {
        self.begun.clone()
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }
}

impl Drop for NatsSubscription {
    fn drop(&mut self) {
        self.shared.dropped();
    }
}

/// How long joining may take.
const JOIN: Duration = Duration::from_secs(5);
