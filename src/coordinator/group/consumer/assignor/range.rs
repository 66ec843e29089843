//! `range`: each topic's partitions in runs, one for each of its subscribers, in their order.
//!
//! Topics with the same number of partitions and the same subscribers are split alike, so that what
//! belongs together by its partition number is read by one member. Static members come first, by
//! their instance ids: a restart does not change their places.

use std::collections::BTreeMap;
use std::rc::Rc;

use ringlog_types::Uuid;

use super::Subscriber;
use crate::group::consumer::partitions::Partitions;

pub(super) fn assign(
    members: &[Subscriber<'_>],
    partition_counts: &BTreeMap<Uuid, i32>,
) -> BTreeMap<Rc<str>, Partitions> {
    let mut sorted: Vec<&Subscriber<'_>> = members.iter().collect();
    sorted.sort_by_key(|member| {
        (member.instance_id.is_none(), member.instance_id.clone(), member.id.clone())
    });
    let mut subscriber_counts: BTreeMap<Uuid, i32> = BTreeMap::new();
    for topic_id in members.iter().flat_map(|member| member.topics.iter()) {
        *subscriber_counts.entry(*topic_id).or_default() += 1;
    }
    let mut served_counts: BTreeMap<Uuid, i32> = BTreeMap::new();
    let mut assignment = BTreeMap::new();
    for member in sorted {
        let mut partitions = Partitions::new();
        for topic_id in member.topics.iter() {
            let of = partition_counts.get(topic_id).copied().unwrap_or(0);
            let among = subscriber_counts[topic_id];
            let served = served_counts.entry(*topic_id).or_default();
            let run = run(*served, of, among);
            *served += 1;
            if !run.is_empty() {
                partitions.insert(*topic_id, run.collect());
            }
        }
        assignment.insert(member.id.clone(), partitions);
    }
    assignment
}

/// The run of the subscriber at `place` among so many: the first ones get one more if it does not
/// come out even.
fn run(place: i32, partition_count: i32, among: i32) -> std::ops::Range<i32> {
    let (each, extra) = (partition_count / among, partition_count % among);
    let begin = place * each + place.min(extra);
    begin..begin + each + i32::from(place < extra)
}
