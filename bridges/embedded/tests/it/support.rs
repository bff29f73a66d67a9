//! Opening logs, publishing to them, and reading them.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use serde_json::{Value, json};
use sidespan_bridge::{
    Bridge, Delivery, Driver, Error, Event, Message, Order, Pattern, Receipt, Settings, Start, Subscribe,
    Subscription, Topic, Window,
};
use sidespan_bridge_embedded::Embedded;
use tokio::time::{Instant, timeout};

/// Everything that was logged by this process since the first call.
static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Begins to listen to the log.
pub(crate) fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Ear).init());
}

/// Returns the lines of the log that hold all of these words.
pub(crate) fn said(words: &[&str]) -> Vec<String> {
    let text = String::from_utf8(SAID.lock().unwrap().clone()).unwrap();
    let holds = |line: &&str| words.iter().all(|word| line.contains(word));
    text.lines().filter(holds).map(str::to_owned).collect()
}

struct Ear;

impl Write for Ear {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long any one step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a log with some settings besides its directory.
pub(crate) fn try_open(dir: &Path, more: impl Into<Value>) -> Result<Arc<dyn Bridge>, Error> {
    let mut keys = json!({"dir": dir});
    let more = more.into().as_object().cloned().unwrap_or_default();
    keys.as_object_mut().unwrap().extend(more);
    Embedded.open(&Settings::new("test", keys))
}

/// Opens a log with default settings.
pub(crate) fn open(dir: &Path) -> Arc<dyn Bridge> {
    try_open(dir, json!({})).unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name)
}

pub(crate) fn text(payload: &str) -> Message {
    Message { payload: Some(payload.to_owned().into()), ..Message::default() }
}

pub(crate) async fn publish(bridge: &dyn Bridge, to: &str, message: Message) -> Result<Receipt, Error> {
    bridge.publisher().publish(&topic(to), vec![message], soon()).await.remove(0)
}

pub(crate) fn wish(pattern: &str, group: Option<&str>, start: Start) -> Subscribe {
    Subscribe {
        pattern: Pattern::parse(pattern).unwrap(),
        group: group.map(Box::from),
        start,
        order: Order::None,
        window: Window::default(),
    }
}

pub(crate) async fn subscribe(
    bridge: &dyn Bridge,
    pattern: &str,
    group: Option<&str>,
    start: Start,
) -> Box<dyn Subscription> {
    bridge.subscribe(wish(pattern, group, start)).await.unwrap()
}

/// Waits for the next message.
pub(crate) async fn next(inbox: &mut dyn Subscription) -> Delivery {
    let event = timeout(PATIENCE, inbox.next()).await.expect("a message in time");
    match event.expect("a subscription that goes on").unwrap() {
        Event::Delivery(delivery) => delivery,
        Event::Lost { .. } => panic!("nothing is ever lost to another member"),
    }
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.clone().unwrap().to_vec()).unwrap()
}

/// Returns the payloads of all messages that a cursor sees, up to one that is published now.
pub(crate) async fn everything(bridge: &dyn Bridge, pattern: &str, last: &str) -> Vec<String> {
    let mut inbox = subscribe(bridge, pattern, None, Start::Begin).await;
    publish(bridge, last, text("last")).await.unwrap();
    let mut bodies = Vec::new();
    loop {
        let delivery = next(&mut *inbox).await;
        let body = body(&delivery);
        delivery.ack.settle(sidespan_bridge::Verdict::Accept);
        if body == "last" {
            return bodies;
        }
        bodies.push(body);
    }
}
