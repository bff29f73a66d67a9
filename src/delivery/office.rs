//! The task of one subscription: subscribes, delivers until something breaks, waits, and subscribes again.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::Bridge;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::courier::Desk;
use super::dead_letters::{DeadLetterPlace, DeadLetters};
use super::meter::Meter;
use super::pump::{self, Broken, Orders};
use super::replies::{Replies, Silence};
use super::retry;
use super::status::{Board, State};
use super::target::{Receiver, Shelf, Target, Webhook, WebhookError};
use crate::config::{self, Push, PushProtocol, Subscription};
use crate::telemetry::traces::Tracer;

/// Why a subscription does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the dead-letter place: {0}")]
    DeadLetters(#[source] sidespan_bridge::Error),
    #[error("the broker did not answer within {} seconds", SUBSCRIBE.as_secs())]
    Slow,
    #[error(transparent)]
    Subscribe(sidespan_bridge::Error),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
}

/// The task of one subscription.
pub(super) struct Office {
    pub(super) subscription: Arc<Subscription>,
    pub(super) bridge: Arc<dyn Bridge>,
    pub(super) dead_letters: Option<DeadLetterPlace>,
    pub(super) board: Arc<Board>,
    pub(super) orders: Orders,
    pub(super) destination: Destination,
    /// Made when its secrets can be read; what it knows of the endpoint outlives the broker.
    pub(super) desk: Option<Arc<Desk>>,
    pub(super) tracer: Option<Tracer>,
}

impl Office {
    /// Delivers until it is drained or told to close.
    pub(super) async fn run(self) {
        let destination = self.destination.clone();
        let sweep = async {
            match destination.shelf() {
                Some(shelf) => shelf.sweep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.deliver() => {}
            () = sweep => {}
        }
    }

    async fn deliver(mut self) {
        let mut failures = 0_u32;
        loop {
            let began = Instant::now();
            let drain = self.orders.drain.clone();
            let failure = match self.session().await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            failures = if began.elapsed() > BACKOFF_CAP { 1 } else { failures.saturating_add(1) };
            if drain.is_cancelled() {
                break;
            }
            let wait = retry::backoff(BACKOFF_BASE, BACKOFF_CAP, failures, 1.0 - retry::roll() / 2.0);
            self.board.report(&self.subscription.name, &failure);
            tokio::select! {
                () = sleep(wait) => {}
                () = drain.cancelled() => break,
            }
        }
        self.board.held.set(0);
        self.board.set(State::Stopped);
    }

    /// Subscribes and delivers until something breaks, or we are told to close.
    async fn session(&mut self) -> Result<(), Failure> {
        let drain = self.orders.drain.clone();
        let (desk, subscription) = tokio::select! {
            begun = self.begin() => begun?,
            () = drain.cancelled() => return Ok(()),
        };
        tracing::info!(subscription = %self.subscription.name, topic = %self.subscription.topic, "delivering");
        self.board.member(Some(subscription.control()));
        self.board.set(State::Running);
        let delivered = pump::run(&desk, subscription, self.orders.clone()).await;
        self.board.member(None);
        Ok(delivered?)
    }

    async fn begin(&mut self) -> Result<(Arc<Desk>, Box<dyn sidespan_bridge::Subscription>), Failure> {
        let desk = match &self.desk {
            Some(desk) => desk.clone(),
            None => self.desk.insert(Arc::new(self.open()?)).clone(),
        };
        if let Some(place) = &desk.dead_letters {
            place.ensure().await.map_err(Failure::DeadLetters)?;
        }
        if let Some(topic) = self.subscription.pattern.literal() {
            self.bridge.ensure(&topic, Instant::now() + ENSURE).await.map_err(Failure::Subscribe)?;
        }
        let wish = self.subscription.wish();
        match timeout(SUBSCRIBE, self.bridge.subscribe(wish)).await {
            Ok(Ok(subscription)) => Ok((desk, subscription)),
            Ok(Err(error)) => Err(Failure::Subscribe(error)),
            Err(_) => Err(Failure::Slow),
        }
    }

    fn open(&self) -> Result<Desk, WebhookError> {
        let subscription = self.subscription.as_ref();
        let target: Arc<dyn Target> = match &self.destination {
            Destination::Shelf(shelf) => shelf.clone(),
            Destination::Push(push) if push.protocol == PushProtocol::Grpc => {
                Arc::new(Receiver::new(subscription, push)?)
            }
            Destination::Push(push) => Arc::new(Webhook::new(subscription, push)?),
        };
        let place = self.dead_letters.clone().map(|place| DeadLetters::new(place, subscription));
        let silence = match &self.destination {
            Destination::Shelf(_) => Some(Silence::Nothing),
            Destination::Push(push) => push.reply.map(|_| Silence::IsTold),
        };
        let (name, board, tracer) = (subscription.name.as_str(), self.board.clone(), self.tracer.clone());
        let replies = silence.map(|silence| Replies::new(self.bridge.clone(), name, silence, tracer.clone()));
        Ok(Desk::new(subscription.clone(), target, place, replies, board, tracer))
    }
}

/// Where messages go, as far as it is there before the broker is.
#[derive(Clone)]
pub(super) enum Destination {
    Shelf(Arc<Shelf>),
    Push(Push),
}

impl Destination {
    pub(super) fn of(subscription: &Subscription, drain: &CancellationToken, meter: Option<&Meter>) -> Self {
        match &subscription.target {
            config::Target::Pull(pull) => {
                Self::Shelf(Arc::new(Shelf::new(pull.lease, drain.clone(), meter.cloned())))
            }
            config::Target::Push(push) => Self::Push(push.clone()),
        }
    }

    pub(super) fn shelf(&self) -> Option<&Arc<Shelf>> {
        match self {
            Self::Shelf(shelf) => Some(shelf),
            Self::Push(_) => None,
        }
    }
}

/// The first and the longest wait before subscribing again.
const BACKOFF_BASE: Duration = Duration::from_millis(200);
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Making sure that a topic exists.
const ENSURE: Duration = Duration::from_secs(10);
/// Joining a group.
const SUBSCRIBE: Duration = Duration::from_secs(60);
