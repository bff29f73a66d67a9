//! One publisher: the messages of a key, one after the other.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::client::Client;
use crate::history::{History, Order};

/// Publishes the messages of a key.
pub(super) struct Publisher {
    key: usize,
    doors: Vec<String>,
    client: Client,
    history: Arc<Mutex<History>>,
    enough: CancellationToken,
}

impl Publisher {
    pub(super) fn new(
        key: usize,
        doors: &[String],
        history: &Arc<Mutex<History>>,
        enough: &CancellationToken,
    ) -> Self {
        let (doors, history, enough) = (doors.to_vec(), Arc::clone(history), enough.clone());
        Self { key, doors, client: Client::new(), history, enough }
    }

    /// Publishes so many messages, or until it is enough.
    pub(super) async fn publish(self, messages: usize) {
        let Self { key, ref doors, ref history, ref enough, .. } = self;
        let mut doors = doors.iter().cycle().skip(key);
        for number in 0..messages {
            while lock(history).lead() >= LEAD && !enough.is_cancelled() {
                sleep(Duration::from_millis(5)).await;
            }
            if enough.is_cancelled() {
                return;
            }
            let order = Order { key, number };
            for attempt in 0.. {
                if self.is_stored(order, attempt, doors.next().expect("there is a door")).await {
                    break;
                }
                // As a client would that was told to try again.
                sleep(Duration::from_millis(50)).await;
            }
            lock(history).stored(order);
        }
    }

    /// Makes the so many-th try to publish a message.
    async fn is_stored(&self, order: Order, attempt: usize, door: &str) -> bool {
        let request = self
            .client
            .post(door, order.to_string())
            .deadline(2 * DEADLINE)
            .header("content-type", "text/plain")
            .header("sidespan-key", order.key.to_string())
            .header("sidespan-timeout", format!("{}ms", DEADLINE.as_millis()))
            .header("sidespan-header-attempt", attempt.to_string())
            .header("idempotency-key", format!("{}-{}", order.key, order.number));
        let began = Instant::now();
        let answer = request.send().await.ok();
        let mut history = lock(&self.history);
        let Some(answer) = answer else {
            history.publish_failed(None);
            return false;
        };
        history.answered(began.elapsed());
        if answer.status.is_success() {
            return true;
        }
        history.publish_failed(Some(answer.status.as_u16()));
        drop(history);
        // A server that was frozen finds the request late.
        let passes = answer.status.is_server_error() || answer.status == 408 || answer.status == 429;
        assert!(passes, "{order} was refused: {} {}", answer.status, answer.text());
        false
    }
}

/// How many messages publishers may be ahead of the deliveries, so that what is killed is killed
/// while both go on.
const LEAD: usize = 1_000;
/// How long a publisher gives the server to answer. A server that is frozen does not.
pub const DEADLINE: Duration = Duration::from_secs(2);
