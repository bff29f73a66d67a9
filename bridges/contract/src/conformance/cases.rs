//! All cases, by theme.

use std::fmt;

use futures_util::future::BoxFuture;

use super::Ability::{
    self, Ages, Broker, Deduplication, DelayedRelease, Groups, Listeners, Listing, Order, OrderedSharing,
    Partitions, Registry, Requests, Seek, Start, Tombstone, UnknownTopic,
};
use super::{
    Harness, ending, faults, lag, limits, load, lost, order, publish, registry, requests, seek, settle,
    start, subscribe, topics, window,
};

/// One sentence of the specification.
#[derive(Clone, Copy)]
pub struct Case {
    /// The sentence: the name of the function.
    pub name: &'static str,
    /// What the broker must be able to do for the case to mean something.
    pub needs: &'static [Ability],
    /// It disturbs the broker, or measures time, and runs while no other case does.
    pub alone: bool,
    /// Runs it; panics where the bridge does otherwise.
    pub run: Run,
}

type Run = for<'a> fn(&'a dyn Harness) -> BoxFuture<'a, ()>;

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The specification of a bridge.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    case("a_message_arrives_as_it_was_published", &[], |h| Box::pin(publish::a_message_arrives_as_it_was_published(h))),
    case("the_attributes_of_a_cloud_event_arrive_unchanged", &[], |h| Box::pin(publish::the_attributes_of_a_cloud_event_arrive_unchanged(h))),
    case("a_tombstone_stays_a_tombstone", &[Tombstone], |h| Box::pin(publish::a_tombstone_stays_a_tombstone(h))),
    case("a_message_just_below_the_largest_size_arrives", &[], |h| Box::pin(publish::a_message_just_below_the_largest_size_arrives(h))),
    case("a_message_too_large_fails_alone_in_its_batch", &[], |h| Box::pin(publish::a_message_too_large_fails_alone_in_its_batch(h))),
    case("a_batch_keeps_its_order_per_key", &[Order], |h| Box::pin(publish::a_batch_keeps_its_order_per_key(h))),
    case("publishes_that_follow_one_another_stay_in_order", &[Order], |h| Box::pin(publish::publishes_that_follow_one_another_stay_in_order(h))),
    case("a_receipt_tells_where_the_message_is_and_what_that_is_worth", &[], |h| Box::pin(publish::a_receipt_tells_where_the_message_is_and_what_that_is_worth(h))),
    alone("a_thousand_publishes_at_once_share_one_connection", &[], |h| Box::pin(load::a_thousand_publishes_at_once_share_one_connection(h))),
    case("a_caller_that_goes_away_cancels_nothing_and_leaks_nothing", &[], |h| Box::pin(load::a_caller_that_goes_away_cancels_nothing_and_leaks_nothing(h))),
    case("close_waits_for_what_was_handed_over", &[Groups], |h| Box::pin(load::close_waits_for_what_was_handed_over(h))),
    case("an_unknown_topic_is_said_at_once_and_not_created", &[UnknownTopic], |h| Box::pin(topics::an_unknown_topic_is_said_at_once_and_not_created(h))),
    case("topics_are_listed_by_pattern", &[Listing], |h| Box::pin(topics::topics_are_listed_by_pattern(h))),
    case("a_message_goes_to_the_partition_it_asks_for", &[Partitions], |h| Box::pin(topics::a_message_goes_to_the_partition_it_asks_for(h))),
    case("a_deduplication_id_counts_within_one_topic", &[Deduplication], |h| Box::pin(topics::a_deduplication_id_counts_within_one_topic(h))),
    case("a_deduplication_id_is_remembered_over_a_restart", &[Deduplication], |h| Box::pin(topics::a_deduplication_id_is_remembered_over_a_restart(h))),
    case("what_the_broker_lacks_it_says", &[], |h| Box::pin(limits::what_the_broker_lacks_it_says(h))),
    case("two_subscriptions_each_get_everything", &[], |h| Box::pin(subscribe::two_subscriptions_each_get_everything(h))),
    case("two_members_share_a_subscription", &[Groups], |h| Box::pin(subscribe::two_members_share_a_subscription(h))),
    case("a_wildcard_covers_topics_that_are_made_later", &[], |h| Box::pin(subscribe::a_wildcard_covers_topics_that_are_made_later(h))),
    case("waiting_can_be_cancelled_without_loss", &[], |h| Box::pin(subscribe::waiting_can_be_cancelled_without_loss(h))),
    case("a_cursor_shares_nothing_and_settles_nothing", &[], |h| Box::pin(subscribe::a_cursor_shares_nothing_and_settles_nothing(h))),
    case("lag_counts_what_is_not_settled", &[Groups], |h| Box::pin(lag::lag_counts_what_is_not_settled(h))),
    case("lag_tells_the_age_of_the_oldest", &[Ages, Groups], |h| Box::pin(lag::lag_tells_the_age_of_the_oldest(h))),
    case("the_lag_of_a_group_without_members_is_told", &[Groups], |h| Box::pin(lag::the_lag_of_a_group_without_members_is_told(h))),
    case("the_end_is_what_is_published_after_subscribing", &[], |h| Box::pin(start::the_end_is_what_is_published_after_subscribing(h))),
    case("a_new_group_begins_where_it_asks", &[Start], |h| Box::pin(start::a_new_group_begins_where_it_asks(h))),
    case("partitions_without_a_position_begin_at_their_beginning", &[Start, Partitions], |h| Box::pin(start::partitions_without_a_position_begin_at_their_beginning(h))),
    case("a_cursor_goes_on_where_another_stopped", &[Start], |h| Box::pin(start::a_cursor_goes_on_where_another_stopped(h))),
    case("a_cursor_of_a_pattern_goes_on_where_another_stopped", &[Start], |h| Box::pin(start::a_cursor_of_a_pattern_goes_on_where_another_stopped(h))),
    case("partitions_without_a_position_begin_at_a_time", &[Start, Partitions], |h| Box::pin(start::partitions_without_a_position_begin_at_a_time(h))),
    case("a_start_applies_once", &[Start, Groups], |h| Box::pin(start::a_start_applies_once(h))),
    case("a_start_is_recorded_before_the_first_delivery", &[Groups], |h| Box::pin(start::a_start_is_recorded_before_the_first_delivery(h))),
    case("what_comes_before_the_first_acknowledgement_survives_a_kill", &[Groups], |h| Box::pin(start::what_comes_before_the_first_acknowledgement_survives_a_kill(h))),
    case("a_dropped_token_brings_the_message_back", &[Groups], |h| Box::pin(settle::a_dropped_token_brings_the_message_back(h))),
    case("a_released_message_waits_as_long_as_it_is_told", &[Groups], |h| Box::pin(settle::a_released_message_waits_as_long_as_it_is_told(h))),
    case("a_release_outlives_a_restart", &[DelayedRelease], |h| Box::pin(settle::a_release_outlives_a_restart(h))),
    case("a_held_message_is_not_delivered_again", &[Groups], |h| Box::pin(settle::a_held_message_is_not_delivered_again(h))),
    case("what_was_accepted_is_not_seen_after_a_restart", &[Groups], |h| Box::pin(settle::what_was_accepted_is_not_seen_after_a_restart(h))),
    case("no_more_messages_are_out_than_the_window_holds", &[Groups], |h| Box::pin(window::no_more_messages_are_out_than_the_window_holds(h))),
    case("no_more_bytes_are_out_than_the_window_holds", &[Groups], |h| Box::pin(window::no_more_bytes_are_out_than_the_window_holds(h))),
    case("a_release_leaves_the_window", &[DelayedRelease], |h| Box::pin(window::a_release_leaves_the_window(h))),
    case("what_is_unsettled_at_a_close_comes_again", &[Groups], |h| Box::pin(ending::what_is_unsettled_at_a_close_comes_again(h))),
    case("what_is_unsettled_at_a_kill_comes_again", &[Groups], |h| Box::pin(ending::what_is_unsettled_at_a_kill_comes_again(h))),
    case("stopping_intake_leaves_what_is_out_to_be_settled", &[Groups], |h| Box::pin(ending::stopping_intake_leaves_what_is_out_to_be_settled(h))),
    case("tokens_out_at_a_close_are_stale", &[Groups], |h| Box::pin(ending::tokens_out_at_a_close_are_stale(h))),
    case("a_dropped_subscription_gives_back_what_it_held", &[Groups], |h| Box::pin(ending::a_dropped_subscription_gives_back_what_it_held(h))),
    case("a_release_keeps_the_order_of_its_key", &[Order], |h| Box::pin(order::a_release_keeps_the_order_of_its_key(h))),
    case("a_release_keeps_the_order_of_its_topic", &[Order], |h| Box::pin(order::a_release_keeps_the_order_of_its_topic(h))),
    case("what_is_released_together_comes_again_in_order", &[Order], |h| Box::pin(order::what_is_released_together_comes_again_in_order(h))),
    case("a_held_key_does_not_hold_up_others", &[Order], |h| Box::pin(order::a_held_key_does_not_hold_up_others(h))),
    case("order_survives_a_killed_member", &[Order], |h| Box::pin(order::order_survives_a_killed_member(h))),
    case("order_survives_a_second_member_joining", &[Order], |h| Box::pin(order::order_survives_a_second_member_joining(h))),
    case("order_survives_a_polite_stop", &[Order], |h| Box::pin(order::order_survives_a_polite_stop(h))),
    case("members_say_which_of_them_is_active", &[Order], |h| Box::pin(order::members_say_which_of_them_is_active(h))),
    case("what_another_member_takes_over_is_said_to_be_lost", &[OrderedSharing], |h| Box::pin(lost::what_another_member_takes_over_is_said_to_be_lost(h))),
    case("a_request_gets_the_reply_that_names_it", &[Requests], |h| Box::pin(requests::a_request_gets_the_reply_that_names_it(h))),
    case("requests_at_once_each_get_their_own_reply", &[Requests], |h| Box::pin(requests::requests_at_once_each_get_their_own_reply(h))),
    case("a_reply_to_nobody_harms_nobody", &[Requests], |h| Box::pin(requests::a_reply_to_nobody_harms_nobody(h))),
    case("a_request_without_a_reply_is_a_timeout", &[Requests], |h| Box::pin(requests::a_request_without_a_reply_is_a_timeout(h))),
    case("a_request_that_nobody_hears_is_unroutable", &[Requests, Listeners], |h| Box::pin(requests::a_request_that_nobody_hears_is_unroutable(h))),
    case("a_reply_to_no_address_is_refused", &[Requests], |h| Box::pin(requests::a_reply_to_no_address_is_refused(h))),
    alone("too_many_requests_are_refused_and_dropped_ones_give_way", &[Requests], |h| Box::pin(requests::too_many_requests_are_refused_and_dropped_ones_give_way(h))),
    case("a_group_goes_where_it_is_moved", &[Seek, Start], |h| Box::pin(seek::a_group_goes_where_it_is_moved(h))),
    case("a_moved_group_forgets_what_was_unsettled", &[Seek], |h| Box::pin(seek::a_moved_group_forgets_what_was_unsettled(h))),
    case("a_group_with_members_is_not_moved", &[Seek], |h| Box::pin(seek::a_group_with_members_is_not_moved(h))),
    case("a_group_that_is_not_there_is_made_by_a_move", &[Seek, Start], |h| Box::pin(seek::a_group_that_is_not_there_is_made_by_a_move(h))),
    case("a_move_survives_a_kill", &[Seek], |h| Box::pin(seek::a_move_survives_a_kill(h))),
    case("a_watcher_is_told_what_is_there_and_then_what_changes", &[Registry], |h| Box::pin(registry::a_watcher_is_told_what_is_there_and_then_what_changes(h))),
    case("of_those_who_expect_one_revision_one_succeeds", &[Registry], |h| Box::pin(registry::of_those_who_expect_one_revision_one_succeeds(h))),
    case("a_record_made_again_has_a_greater_revision", &[Registry], |h| Box::pin(registry::a_record_made_again_has_a_greater_revision(h))),
    case("members_see_changes_in_order_and_soon", &[Registry], |h| Box::pin(registry::members_see_changes_in_order_and_soon(h))),
    case("a_registry_outlives_its_members", &[Registry], |h| Box::pin(registry::a_registry_outlives_its_members(h))),
    case("registries_are_apart", &[Registry], |h| Box::pin(registry::registries_are_apart(h))),
    case("what_strangers_wrote_harms_nothing", &[Registry], |h| Box::pin(registry::what_strangers_wrote_harms_nothing(h))),
    case("what_a_registry_cannot_take_it_refuses", &[Registry], |h| Box::pin(registry::what_a_registry_cannot_take_it_refuses(h))),
    alone("a_broker_that_is_down_is_said_at_once", &[Broker], |h| Box::pin(faults::a_broker_that_is_down_is_said_at_once(h))),
    alone("a_deadline_after_the_hand_over_is_a_timeout", &[Broker], |h| Box::pin(faults::a_deadline_after_the_hand_over_is_a_timeout(h))),
    alone("a_subscription_outlives_its_broker", &[Broker, Groups], |h| Box::pin(faults::a_subscription_outlives_its_broker(h))),
    alone("a_registry_outlives_its_broker", &[Broker, Registry], |h| Box::pin(registry::a_registry_outlives_its_broker(h))),
];

/// A case that others may run beside.
const fn case(name: &'static str, needs: &'static [Ability], run: Run) -> Case {
    Case { name, needs, alone: false, run }
}

/// A case that disturbs the broker or measures time.
const fn alone(name: &'static str, needs: &'static [Ability], run: Run) -> Case {
    Case { name, needs, alone: true, run }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_sentence_of_the_suite_is_a_case_once() {
        let sources = [
            include_str!("publish.rs"),
            include_str!("load.rs"),
            include_str!("topics.rs"),
            include_str!("limits.rs"),
            include_str!("subscribe.rs"),
            include_str!("lag.rs"),
            include_str!("start.rs"),
            include_str!("settle.rs"),
            include_str!("window.rs"),
            include_str!("ending.rs"),
            include_str!("order.rs"),
            include_str!("lost.rs"),
            include_str!("requests.rs"),
            include_str!("faults.rs"),
            include_str!("registry.rs"),
            include_str!("seek.rs"),
        ];
        let functions: BTreeSet<&str> = sources
            .iter()
            .flat_map(|source| source.lines())
            .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
            .collect();
        let cases: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(cases, functions);
        assert_eq!(cases.len(), CASES.len(), "two cases of one name");
    }
}
