//! Random lives of a board, compared with what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Accept(prop::sample::Index),
    Join,
    Leave(prop::sample::Index),
    Receive(u64),
    Release(prop::sample::Index, u64),
    Stop(prop::sample::Index),
    Take(prop::sample::Index),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        4 => index().prop_map(Move::Accept),
        1 => Just(Move::Join),
        1 => index().prop_map(Move::Leave),
        6 => (0_u64..4).prop_map(Move::Receive),
        2 => (index(), 0_u64..3).prop_map(|(index, delay)| Move::Release(index, delay)),
        1 => index().prop_map(Move::Stop),
        8 => index().prop_map(Move::Take),
        2 => (1_u64..3).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 0..200)
}

const WINDOW: Window = Window { messages: 3, bytes: 100 };

proptest! {
    #[test]
    fn lanes_hold_and_nothing_is_lost_or_given_twice(
        moves in moves(),
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
    ) {
        let mut board = Board::new(order);
        let mut now = Instant::now();
        let mut lanes: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        let mut out: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut members, mut stopped) = (Vec::new(), BTreeSet::new());
        let (mut sequence, mut number) = (0, 0);
        for step in moves {
            match step {
                Move::Join => {
                    number += 1;
                    board.join(number, WINDOW);
                    members.push(number);
                }
                Move::Receive(key) => {
                    sequence += 1;
                    // Key 0 is none.
                    let lane = (order != Order::None && key > 0).then_some(key);
                    let arrival = Arrival { topic: 0, lane, weight: 30, given: 0, due: None };
                    board.receive(sequence, arrival);
                    lanes.insert(sequence, lane);
                }
                Move::Take(index) if !members.is_empty() => {
                    let member = *index.get(&members);
                    let Offer::Message(taken) = board.peek(member, now) else { continue };
                    prop_assert!(!stopped.contains(&member));
                    prop_assert!(lanes.contains_key(&taken) && !out.contains_key(&taken));
                    prop_assert!(out.values().filter(|holder| **holder == member).count() < WINDOW.messages);
                    if let Some(lane) = lanes[&taken] {
                        for (other, _) in lanes.range(..).filter(|(_, other)| **other == Some(lane)) {
                            match out.get(other) {
                                Some(holder) => prop_assert_eq!(*holder, member, "a lane has two members"),
                                None => prop_assert!(*other >= taken, "{} overtakes {}", taken, other),
                            }
                        }
                    }
                    board.hand(member, taken);
                    out.insert(taken, member);
                }
                Move::Accept(index) if !out.is_empty() => {
                    let pairs: Vec<_> = out.clone().into_iter().collect();
                    let (taken, member) = *index.get(&pairs);
                    prop_assert!(!board.accept(member + 1000, taken), "a stranger settles");
                    prop_assert!(board.accept(member, taken));
                    prop_assert!(!board.accept(member, taken), "it is settled twice");
                    out.remove(&taken);
                    lanes.remove(&taken);
                }
                Move::Release(index, delay) if !out.is_empty() => {
                    let pairs: Vec<_> = out.clone().into_iter().collect();
                    let (taken, member) = *index.get(&pairs);
                    let due = (delay > 0).then(|| now + Duration::from_secs(delay));
                    prop_assert!(board.release(member, taken, due));
                    out.remove(&taken);
                }
                Move::Leave(index) if !members.is_empty() => {
                    let at = index.index(members.len());
                    let member = members.remove(at);
                    board.leave(member);
                    out.retain(|_, holder| *holder != member);
                    prop_assert_eq!(board.peek(member, now), Offer::Gone);
                }
                Move::Stop(index) if !members.is_empty() => {
                    let member = *index.get(&members);
                    board.stop(member);
                    stopped.insert(member);
                }
                Move::Wait(seconds) => now += Duration::from_secs(seconds),
                Move::Take(_) | Move::Accept(_) | Move::Release(..) | Move::Leave(_) | Move::Stop(_) => {}
            }
            let unsettled: Vec<u64> = board.unsettled().map(|(sequence, _)| sequence).collect();
            prop_assert_eq!(unsettled, lanes.keys().copied().collect::<Vec<_>>());
        }
        // A member that comes last and alone gets everything that is left.
        members.into_iter().for_each(|member| board.leave(member));
        board.join(u64::MAX, WINDOW);
        now += Duration::from_secs(10);
        let mut drained = Vec::new();
        while let Offer::Message(taken) = board.peek(u64::MAX, now) {
            board.hand(u64::MAX, taken);
            prop_assert!(board.accept(u64::MAX, taken));
            drained.push(taken);
        }
        prop_assert_eq!(drained, lanes.into_keys().collect::<Vec<_>>());
        prop_assert_eq!(board.ready(), 0);
        prop_assert!(board.lanes.is_empty() && board.free.is_empty() && board.delayed.is_empty());
    }
}

#[test]
fn a_window_of_bytes_is_kept_and_one_large_message_passes() {
    let mut board = Board::new(Order::None);
    board.join(1, Window { messages: 10, bytes: 100 });
    for (sequence, weight) in [(1, 500), (2, 60), (3, 40), (4, 1)] {
        board.receive(sequence, Arrival { topic: 0, lane: None, weight, given: 0, due: None });
    }
    let now = Instant::now();
    board.hand(1, 1);
    assert_eq!(board.peek(1, now), Offer::Full);
    board.accept(1, 1);
    board.hand(1, 2);
    assert_eq!(board.peek(1, now), Offer::Message(3));
    board.hand(1, 3);
    assert_eq!(board.peek(1, now), Offer::Full);
}

#[test]
fn one_member_is_active_where_topics_are_in_order() {
    let mut board = Board::new(Order::Topic);
    board.join(1, WINDOW);
    board.join(2, WINDOW);
    for sequence in 1..=3 {
        board.receive(sequence, Arrival { topic: 0, lane: Some(0), weight: 1, given: 0, due: None });
    }
    let now = Instant::now();
    assert_eq!(board.peek(2, now), Offer::Full);
    assert_eq!(board.peek(1, now), Offer::Message(1));
    board.hand(1, 1);
    board.stop(1);
    assert_eq!(board.peek(2, now), Offer::Full, "the active one has something out");
    board.accept(1, 1);
    assert_eq!(board.peek(2, now), Offer::Message(2));
}
