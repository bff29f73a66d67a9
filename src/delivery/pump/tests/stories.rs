//! What may happen to a subscription in any order: arrivals, answers of all kinds, shards that are lost.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::sleep;

use super::*;

#[derive(Clone, Debug)]
enum Happening {
    Answer {
        which: Index,
        status: u16,
    },
    Arrive {
        shard: usize,
        key: usize,
    },
    /// What was lost before is not ours any more, attempts included.
    CutOff,
    Lose {
        shard: usize,
    },
    Wait,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let status = prop_oneof![3 => Just(200), 1 => Just(500), 1 => Just(503), 1 => Just(400)];
    let happening = prop_oneof![
        6 => (0..SHARDS, 0..3_usize).prop_map(|(shard, key)| Happening::Arrive { shard, key }),
        8 => (any::<Index>(), status).prop_map(|(which, status)| Happening::Answer { which, status }),
        1 => Just(Happening::CutOff),
        1 => (0..SHARDS).prop_map(|shard| Happening::Lose { shard }),
        2 => Just(Happening::Wait),
    ];
    prop::collection::vec(happening, 0..60)
}

/// A message, and what has become of it.
struct Known {
    shard: usize,
    key: usize,
    epoch: u64,
    lost: CancellationToken,
    accepted: bool,
    settled: Option<Verdict>,
}

/// Plays a story, and looks after each happening whether what was promised still holds.
struct Story {
    order: Order,
    play: Play,
    known: BTreeMap<usize, Known>,
    epochs: [u64; SHARDS],
    running: Vec<Attempt>,
}

impl Story {
    fn begin(order: Order) -> Self {
        let mut play = Play::start(order, IN_FLIGHT, Guarantee::AtLeastOnce);
        play.waits(Duration::from_millis(1));
        play.run();
        Self { order, play, known: BTreeMap::new(), epochs: [1; SHARDS], running: Vec::new() }
    }

    async fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        match *happening {
            Happening::Answer { which, status } if !self.running.is_empty() => {
                self.answer(which.index(self.running.len()), status);
            }
            Happening::Answer { .. } => {}
            Happening::Arrive { shard, key } => self.arrive(shard, key),
            Happening::CutOff => {
                let gone = self.known.values().filter(|known| self.is_lost(known));
                gone.for_each(|known| known.lost.cancel());
            }
            Happening::Lose { shard } => {
                self.play.lose_of(&shard.to_string(), self.epochs[shard]);
                self.epochs[shard] += 1;
            }
            Happening::Wait => sleep(Duration::from_millis(3)).await,
        }
        self.look().await
    }

    fn arrive(&mut self, shard: usize, key: usize) {
        let (number, epoch) = (self.known.len(), self.epochs[shard]);
        let lost = self.play.deliver_to(&shard.to_string(), &number.to_string(), &key.to_string(), epoch);
        self.known.insert(number, Known { shard, key, epoch, lost, accepted: false, settled: None });
    }

    fn answer(&mut self, which: usize, status: u16) {
        let attempt = self.running.swap_remove(which);
        if attempt.reply.is_closed() {
            return;
        }
        if status == 200 {
            self.of(&attempt.body.clone()).accepted = true;
        }
        attempt.answer(status);
    }

    fn of(&mut self, body: &str) -> &mut Known {
        let number: usize = body.parse().unwrap();
        self.known.get_mut(&number).unwrap()
    }

    fn is_lost(&self, known: &Known) -> bool {
        known.epoch < self.epochs[known.shard]
    }

    /// Two messages of which one must not overtake the other.
    fn are_ordered(&self, one: &Known, other: &Known) -> bool {
        match self.order {
            Order::None => false,
            Order::Key => one.shard == other.shard && one.key == other.key,
            Order::Topic => one.shard == other.shard,
        }
    }

    /// Lets the pump do what it can do now, and checks all that it did.
    async fn look(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        // A message is settled before the next one of its lane is attempted.
        let attempts: Vec<Attempt> = std::iter::from_fn(|| self.play.attempts.try_recv().ok()).collect();
        while let Ok((body, verdict)) = self.play.settled.try_recv() {
            let number: usize = body.parse().unwrap();
            let known = &self.known[&number];
            prop_assert_eq!(known.settled, None, "{} is settled twice", body);
            match verdict {
                Verdict::Accept => prop_assert!(known.accepted, "{} is settled, and nobody took it", body),
                _ => prop_assert!(self.is_lost(known), "{} goes back, and is ours", body),
            }
            self.of(&body).settled = Some(verdict);
        }
        self.running.retain(|attempt| !attempt.reply.is_closed());
        for attempt in attempts {
            self.begun(attempt)?;
        }
        Ok(())
    }

    fn begun(&mut self, attempt: Attempt) -> Result<(), TestCaseError> {
        let number: usize = attempt.body.parse().unwrap();
        let known = &self.known[&number];
        prop_assert!(known.settled.is_none() && !known.accepted, "{} is done with", number);
        prop_assert!(!self.is_lost(known), "{} is attempted after its shard was lost", number);
        for (earlier, other) in self.known.range(..number) {
            if self.are_ordered(known, other) && other.epoch == known.epoch {
                prop_assert_eq!(other.settled, Some(Verdict::Accept), "{} overtakes {}", number, earlier);
            }
        }
        for running in &self.running {
            let other: usize = running.body.parse().unwrap();
            prop_assert!(!self.are_ordered(known, &self.known[&other]), "{} and {} at a time", number, other);
        }
        self.running.push(attempt);
        prop_assert!(self.running.len() <= IN_FLIGHT);
        Ok(())
    }

    /// From here on the receiver takes everything: all that is ours must get there.
    async fn end(mut self) -> Result<(), TestCaseError> {
        let by = Instant::now() + PATIENCE;
        while self.known.values().any(|known| known.settled.is_none() && !self.is_lost(known)) {
            prop_assert!(Instant::now() < by, "something is stuck");
            while !self.running.is_empty() {
                self.answer(0, 200);
            }
            sleep(Duration::from_millis(1)).await;
            self.look().await?;
        }
        prop_assert!(!self.play.task.is_finished());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_settled_untaken_overtaken_or_stuck(
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
        story in happenings(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut told = Story::begin(order);
            for happening in &story {
                told.happen(happening).await?;
            }
            told.end().await
        })?;
    }
}

const SHARDS: usize = 2;
const IN_FLIGHT: usize = 3;
/// More than any happening takes.
const TURNS: usize = 50;
