//! Random lives of a durable group, with stored cursors and kills, and what must always hold.

use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use serde_json::json;
use sidespan_bridge::Settings;
use tokio::sync::Notify;

use super::*;
use crate::index::{Meta, Row};
use crate::log::Limits;
use crate::record::{Record, Stamp};
use crate::store::{RECORDS, Store};

#[derive(Clone, Debug)]
enum Step {
    Accept(prop::sample::Index),
    Join,
    Kill,
    Leave(prop::sample::Index),
    Release(prop::sample::Index),
    Store,
    Take(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        8 => index().prop_map(Step::Accept),
        3 => Just(Step::Join),
        1 => Just(Step::Kill),
        1 => index().prop_map(Step::Leave),
        2 => index().prop_map(Step::Release),
        3 => Just(Step::Store),
        12 => index().prop_map(Step::Take),
    ];
    prop::collection::vec(one, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_stored_cursor_never_passes_an_unsettled_message_and_nothing_is_stuck(
        steps in steps(),
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
    ) {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut life = Life::new(order);
        executor.block_on(async {
            for step in steps {
                life.step(step).await;
            }
            life.end().await;
        });
    }
}

/// A group, and what it has been told.
struct Life {
    log: Arc<Log>,
    group: Arc<Group>,
    order: Order,
    members: Vec<u64>,
    bells: HashMap<u64, Arc<Notify>>,
    out: Vec<(u64, u64)>,
    accepted: BTreeSet<u64>,
    /// The cursor as it is stored, and what was accepted by then.
    stored: (Saved, BTreeSet<u64>),
    _dir: tempfile::TempDir,
}

impl Life {
    fn new(order: Order) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let log = log(&dir);
        fill(&log);
        let saved = Saved::new("g".into(), pattern(), 0);
        let (group, stored) = (Group::durable(&log, saved.clone()), (saved, BTreeSet::new()));
        let (members, out, accepted) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { log, group, order, members, bells: HashMap::new(), out, accepted, stored, _dir: dir }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Join => self.join(5),
            Step::Take(index) if !self.members.is_empty() => {
                let member = *index.get(&self.members);
                if let Some(sequence) = self.take(member).await {
                    self.out.push((member, sequence));
                }
            }
            Step::Accept(index) if !self.out.is_empty() => {
                let (member, sequence) = self.out.swap_remove(index.index(self.out.len()));
                assert!(self.group.accept(member, sequence).is_some());
                self.accepted.insert(sequence);
            }
            Step::Release(index) if !self.out.is_empty() => {
                let (member, sequence) = self.out.swap_remove(index.index(self.out.len()));
                assert!(self.group.release(member, sequence, Duration::ZERO).is_some());
            }
            Step::Leave(index) if !self.members.is_empty() => {
                let member = self.members.swap_remove(index.index(self.members.len()));
                self.group.leave(member);
                self.out.retain(|(holder, _)| *holder != member);
            }
            Step::Store => self.store(),
            Step::Kill => {
                let (saved, accepted) = self.stored.clone();
                self.group = Group::durable(&self.log, saved);
                self.accepted = accepted;
                (self.members, self.out) = (Vec::new(), Vec::new());
            }
            Step::Accept(_) | Step::Leave(_) | Step::Release(_) | Step::Take(_) => {}
        }
        assert!(self.group.floor().1 <= self.unsettled().next().unwrap_or(u64::MAX), "retention passes it");
    }

    fn join(&mut self, messages: usize) {
        let member = self.log.number();
        let window = Window { messages, bytes: usize::MAX };
        let seat = Seat::default();
        self.bells.insert(member, Arc::clone(&seat.bell));
        self.group.join(member, &pattern(), self.order, window, seat).unwrap();
        self.members.push(member);
    }

    async fn take(&self, member: u64) -> Option<u64> {
        loop {
            match self.group.next(member) {
                Next::Message(handed) => {
                    let sequence = handed.sequence;
                    assert!(!self.accepted.contains(&sequence), "{sequence} is settled and comes again");
                    assert!(self.out.iter().all(|(_, out)| *out != sequence), "{sequence} is out twice");
                    return Some(sequence);
                }
                // Whoever reads ahead rings when that is done.
                Next::Wait(_) if self.group.lock().reading => self.bells[&member].notified().await,
                Next::Wait(_) if self.bells[&member].notified().now_or_never().is_some() => {}
                Next::Wait(_) | Next::End => return None,
            }
        }
    }

    fn store(&mut self) {
        let Some((version, saved)) = self.group.unsaved() else { return };
        let saved = Saved::from_row("g", &saved.to_row().unwrap()).unwrap();
        for sequence in 1..=MESSAGES {
            let is_open = sequence >= saved.next || saved.open.contains_key(&sequence);
            assert_eq!(is_open, !self.accepted.contains(&sequence), "{sequence} in {saved:?}");
        }
        assert!(saved.floor() <= self.unsettled().next().unwrap_or(u64::MAX));
        self.group.saved(version);
        self.stored = (saved, self.accepted.clone());
    }

    /// A member that comes last and alone gets everything that is left, in order where that is asked.
    async fn end(&mut self) {
        for member in std::mem::take(&mut self.members) {
            self.group.leave(member);
        }
        self.out.clear();
        self.join(usize::MAX);
        let mut taken = Vec::new();
        while let Some(sequence) = self.take(self.members[0]).await {
            self.out.push((self.members[0], sequence));
            taken.push(sequence);
        }
        assert_eq!(taken, self.unsettled().collect::<Vec<_>>());
    }

    fn unsettled(&self) -> impl Iterator<Item = u64> {
        (1..=MESSAGES).filter(|sequence| !self.accepted.contains(sequence))
    }
}

#[test]
fn a_rest_that_is_over_does_not_keep_a_member_awake_that_has_no_room() {
    let dir = tempfile::TempDir::new().unwrap();
    let group = Group::private(&log(&dir), pattern(), 0);
    let window = Window { messages: 0, bytes: 0 };
    group.join(1, &pattern(), Order::None, window, Seat::default()).unwrap();
    group.lock().rest = Some(Instant::now());
    let next = group.next(1);
    assert!(matches!(next, Next::Wait(None)), "{next:?}");
}

fn log(dir: &tempfile::TempDir) -> Arc<Log> {
    let opened = Store::open(&dir.path().join("log")).unwrap();
    let settings = Settings::new("s", json!({"dir": dir.path()})).parse().unwrap();
    Log::new(dir.path().to_owned(), Limits::new(&settings), opened.store, opened.index)
}

/// Puts messages of a few keys into one topic.
fn fill(log: &Log) {
    let mut row = Row::new(0, Topic::new("a"));
    (row.messages, row.first, row.end, row.ordinal) = (MESSAGES, 1, MESSAGES + 1, MESSAGES);
    let write = |txn: &redb::WriteTransaction| {
        let mut records = txn.open_table(RECORDS)?;
        for sequence in 1..=MESSAGES {
            let message = Message { key: Some(vec![(sequence % 4) as u8].into()), ..Message::default() };
            let mut bytes = vec![0; Record::length(&message)];
            Record::write(
                &mut bytes,
                0,
                sequence,
                Stamp { ordinal: sequence - 1, time: sequence },
                &message,
            )?;
            records.insert((0, sequence), bytes.as_slice())?;
        }
        Ok(())
    };
    log.store.write(write, &mut false).unwrap();
    log.apply(Meta { head: MESSAGES + 1, ..Meta::default() }, [row]);
}

fn pattern() -> Pattern {
    Pattern::parse("a").unwrap()
}

const MESSAGES: u64 = 40;
