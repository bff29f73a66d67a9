use futures_util::FutureExt;
use lapin::ErrorKind;
use lapin::message::Delivery;
use lapin::protocol::{AMQPError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::oneshot;

use super::*;
use sidespan_bridge::{Batch, Budget};

/// Messages on their way, whose answers are given by hand.
struct Scene {
    flights: Flights,
    batch: Arc<Batch>,
    answers: Vec<Option<oneshot::Sender<Answer>>>,
    contents: Vec<Content>,
}

impl Scene {
    fn of(contents: impl IntoIterator<Item = Content>) -> Self {
        let contents: Vec<_> = contents.into_iter().collect();
        let batch = Batch::new(contents.len());
        let (mut flights, mut answers) = (Flights::default(), Vec::new());
        for (index, content) in contents.iter().enumerate() {
            let ticket = batch.ticket(index, Budget::new(1).admit(1).unwrap());
            assert!(ticket.hand_over());
            let (sender, answer) = oneshot::channel();
            flights.push(Letter { content: content.clone(), ticket }, answer.map(Result::unwrap).boxed());
            answers.push(Some(sender));
        }
        Self { flights, batch, answers, contents }
    }

    /// The broker confirms a message; the client adds the return of another.
    fn confirm(&mut self, index: usize, returned: Option<usize>) {
        let returned = returned.map(|whose| Box::new(returned_of(&self.contents[whose])));
        self.answer(index, Answer::Confirmed { stored: true, returned });
    }

    fn answer(&mut self, index: usize, answer: Answer) {
        assert!(self.answers[index].take().unwrap().send(answer).is_ok());
    }

    fn look(&mut self) {
        let _ = self.flights.poll_answers(&mut Context::from_waker(std::task::Waker::noop()));
    }

    /// What callers are told, whatever is still on its way.
    fn outcomes(&mut self) -> Vec<Option<Fault>> {
        self.look();
        self.batch.outcomes().into_iter().map(|outcome| outcome.err().map(|error| error.fault)).collect()
    }
}

fn content(key: &str, id: &str) -> Content {
    let address = Arc::new(Address { exchange: "shop".into(), key: key.into() });
    let properties = BasicProperties::default().with_message_id(id.into()).with_timestamp(1);
    Content { address, properties, payload: "body".into(), mandatory: true }
}

fn returned_of(content: &Content) -> BasicReturnMessage {
    let Address { exchange, key } = &*content.address;
    let mut delivery =
        Delivery::mock(0, (&**exchange).into(), (&**key).into(), false, content.payload.to_vec());
    delivery.properties = content.properties.clone();
    BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
}

const OK: Option<Fault> = None;
const UNROUTABLE: Option<Fault> = Some(Fault::Unroutable);
const UNKNOWN: Option<Fault> = Some(Fault::Timeout);

#[test]
fn a_return_is_its_own_messages_whosever_confirm_brings_it() {
    let mut scene = Scene::of([content("a", "1"), content("nowhere", "2"), content("a", "3")]);
    scene.confirm(0, Some(1));
    scene.confirm(1, None);
    scene.confirm(2, None);
    assert_eq!(scene.outcomes(), [OK, UNROUTABLE, OK]);
}

#[test]
fn a_confirm_with_anothers_return_is_not_believed_before_a_later_one_without() {
    let mut scene = Scene::of(["1", "2", "3"].map(|id| content("nowhere", id)));
    scene.confirm(1, Some(0));
    scene.look();
    scene.confirm(0, Some(1));
    assert_eq!(scene.outcomes(), [UNROUTABLE, UNROUTABLE, UNKNOWN]);
}

#[test]
fn a_confirm_with_anothers_return_is_not_believed_when_the_channel_ends() {
    let mut scene = Scene::of([content("nowhere", "1"), content("nowhere", "2")]);
    scene.confirm(1, Some(0));
    scene.look();
    scene.answer(0, Answer::Lost(ErrorKind::FutureCompleted.into()));
    assert_eq!(scene.outcomes(), [UNKNOWN, UNKNOWN]);
}

/// The second one finds no queue any more: what the first one has stored is not confirmed yet.
#[test]
fn of_equal_messages_the_one_that_is_confirmed_takes_the_return() {
    let mut scene = Scene::of([content("a", "1"), content("a", "1")]);
    scene.confirm(1, Some(1));
    scene.look();
    scene.answer(0, Answer::Lost(ErrorKind::FutureCompleted.into()));
    assert_eq!(scene.outcomes(), [UNKNOWN, UNROUTABLE]);
}

#[test]
fn a_return_is_not_the_one_of_an_equal_message_that_was_refused() {
    let mut scene = Scene::of([content("a", "1"), content("a", "1")]);
    scene.answer(0, Answer::Confirmed { stored: false, returned: None });
    scene.confirm(1, Some(1));
    assert_eq!(scene.outcomes(), [Some(Fault::StorageFull), UNROUTABLE]);
}

#[test]
fn what_the_broker_has_stamped_is_known_again() {
    let mut scene = Scene::of([content("a", "1"), content("a", "2")]);
    let mut stamped = returned_of(&scene.contents[1]);
    let mut headers = FieldTable::default();
    headers.insert("timestamp_in_ms".into(), AMQPValue::LongLongInt(5));
    stamped.delivery.properties = stamped.delivery.properties.clone().with_timestamp(7).with_headers(headers);
    scene.answer(0, Answer::Confirmed { stored: true, returned: Some(Box::new(stamped)) });
    scene.confirm(1, None);
    assert_eq!(scene.outcomes(), [OK, UNROUTABLE]);
}

#[test]
fn a_return_of_nobody_makes_all_unbelievable() {
    let mut scene = Scene::of([content("a", "1"), content("a", "2")]);
    scene.contents[1].payload = "another body".into();
    scene.confirm(0, Some(1));
    scene.confirm(1, None);
    assert_eq!(scene.outcomes(), [UNKNOWN, UNKNOWN]);
    assert!(scene.flights.is_broken());
}

#[test]
fn a_missing_exchange_is_said_of_the_only_message_that_it_can_be_said_of() {
    let lost = || {
        let said = "NOT_FOUND - no exchange 'shop' in vhost '/'".into();
        Answer::Lost(ErrorKind::ProtocolError(AMQPError::new(AMQPSoftError::NOTFOUND.into(), said)).into())
    };
    let mut alone = Scene::of([content("a", "1")]);
    alone.answer(0, lost());
    assert_eq!(alone.outcomes(), [Some(Fault::UnknownTopic)]);
    // The answer of the other is about to come.
    let mut both = Scene::of([content("a", "1"), content("a", "2")]);
    both.answer(0, lost());
    assert_eq!(both.outcomes(), [UNKNOWN, UNKNOWN]);
}
