//! `uniform`: loads that differ by one at most, with as few moves as that takes.
//!
//! Where all subscribe to the same topics:
//! 1. Everyone's quota is the even share; those who have the most get one of what is left over.
//! 2. Whoever has more than its quota gives up the rest, everyone else keeps all.
//! 3. What is nobody's fills up those below their quota.
//!
//! Where subscriptions differ, an even share may not exist:
//! 1. Everyone keeps what it has and still subscribes to.
//! 2. What is nobody's goes to the subscriber with the least, topics with few subscribers first.
//! 3. Partitions move from a topic's most loaded subscriber to its least loaded one while that
//!    brings two loads closer, until no topic has such a move.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringlog_types::Uuid;

use super::Subscriber;
use crate::group::consumer::partitions::Partitions;

/// Rounds over all topics in which loads are brought closer. Each move makes them more even, so
/// that there is an end to it; what is not even by then stays so.
const ROUNDS_MAX: usize = 20;

pub(super) fn assign(
    members: &[Subscriber<'_>],
    partition_counts: &BTreeMap<Uuid, i32>,
) -> BTreeMap<Rc<str>, Partitions> {
    let Some(first) = members.first() else { return BTreeMap::new() };
    let mut taken = BTreeSet::new();
    let mut parts: Vec<Partitions> =
        members.iter().map(|member| kept(member, partition_counts, &mut taken)).collect();
    if members.iter().all(|member| member.topics == first.topics) {
        let free = nobodys(&first.topics, partition_counts, &parts);
        even_out(&mut parts, members, free);
    } else {
        Balance::new(members, parts.as_mut_slice()).run(partition_counts);
    }
    members.iter().map(|member| member.id.clone()).zip(parts).collect()
}

/// What a member keeps if nobody takes it away. What was promised to two (by a log that is not as
/// it should be) is the first one's.
fn kept(
    member: &Subscriber<'_>,
    partition_counts: &BTreeMap<Uuid, i32>,
    taken: &mut BTreeSet<(Uuid, i32)>,
) -> Partitions {
    let before = member.before.iter().filter(|(topic_id, _)| member.topics.contains(*topic_id));
    let kept = before.filter_map(|(topic_id, indexes)| {
        let count = partition_counts.get(topic_id).copied().unwrap_or(0);
        let mut there: BTreeSet<i32> =
            indexes.iter().copied().filter(|index| (0..count).contains(index)).collect();
        there.retain(|index| taken.insert((*topic_id, *index)));
        (!there.is_empty()).then_some((*topic_id, there))
    });
    kept.collect()
}

fn load_of(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// The partitions of these topics that nobody has.
fn nobodys(
    topics: &BTreeSet<Uuid>,
    partition_counts: &BTreeMap<Uuid, i32>,
    parts: &[Partitions],
) -> Vec<(Uuid, i32)> {
    let mut free = Vec::new();
    for topic_id in topics {
        let count = partition_counts.get(topic_id).copied().unwrap_or(0);
        let mut indexes: BTreeSet<i32> = (0..count).collect();
        for taken in parts.iter().filter_map(|part| part.get(topic_id)).flatten() {
            indexes.remove(taken);
        }
        free.extend(indexes.into_iter().map(|index| (*topic_id, index)));
    }
    free
}

fn even_out(parts: &mut [Partitions], members: &[Subscriber<'_>], mut free: Vec<(Uuid, i32)>) {
    let loads: Vec<usize> = parts.iter().map(load_of).collect();
    let total = loads.iter().sum::<usize>() + free.len();
    let (each, extra) = (total / members.len(), total % members.len());
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|&one, &other| {
        loads[other].cmp(&loads[one]).then_with(|| members[one].id.cmp(&members[other].id))
    });
    let quota = |place: usize| each + usize::from(place < extra);
    for (place, &at) in order.iter().enumerate() {
        for _ in quota(place)..loads[at] {
            free.push(take_last(&mut parts[at]));
        }
    }
    let mut free = free.into_iter();
    for (place, &at) in order.iter().enumerate() {
        for _ in load_of(&parts[at])..quota(place) {
            let (topic_id, index) = free.next().expect("quotas are of all that there is");
            parts[at].entry(topic_id).or_default().insert(index);
        }
    }
    assert!(free.next().is_none(), "every partition is somebody's");
}

/// Takes a partition away: the last one of the last topic.
fn take_last(part: &mut Partitions) -> (Uuid, i32) {
    let mut last = part.last_entry().expect("it has more than its quota");
    let topic_id = *last.key();
    let index = last.get_mut().pop_last().expect("no topic is without partitions");
    if last.get().is_empty() {
        last.remove();
    }
    (topic_id, index)
}

/// Loads that are brought closer to each other, where not everyone may have everything.
struct Balance<'a> {
    parts: &'a mut [Partitions],
    loads: Vec<usize>,
    /// Who subscribes to a topic, by place.
    subscribers: BTreeMap<Uuid, Vec<usize>>,
}

impl<'a> Balance<'a> {
    fn new(members: &[Subscriber<'_>], parts: &'a mut [Partitions]) -> Balance<'a> {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (at, member) in members.iter().enumerate() {
            for topic_id in member.topics.iter() {
                subscribers.entry(*topic_id).or_default().push(at);
            }
        }
        let loads = parts.iter().map(load_of).collect();
        Balance { parts, loads, subscribers }
    }

    fn run(mut self, partition_counts: &BTreeMap<Uuid, i32>) {
        let mut topics: Vec<(usize, Uuid)> =
            self.subscribers.iter().map(|(id, subscribers)| (subscribers.len(), *id)).collect();
        topics.sort_unstable();
        for (_, topic_id) in &topics {
            let wanted = BTreeSet::from([*topic_id]);
            let free = nobodys(&wanted, partition_counts, self.parts);
            self.hand_out(topic_id, free);
        }
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            for (_, topic_id) in &topics {
                has_moved |= self.even_out_topic(topic_id);
            }
            if !has_moved {
                break;
            }
        }
    }

    /// The subscribers of a topic, the least loaded first.
    fn by_load(&self, topic_id: &Uuid) -> BTreeSet<(usize, usize)> {
        self.subscribers[topic_id].iter().map(|&at| (self.loads[at], at)).collect()
    }

    fn hand_out(&mut self, topic_id: &Uuid, free: Vec<(Uuid, i32)>) {
        let mut by_load = self.by_load(topic_id);
        for (_, index) in free {
            let (load, at) = by_load.pop_first().expect("a topic here has subscribers");
            self.parts[at].entry(*topic_id).or_default().insert(index);
            self.loads[at] = load + 1;
            by_load.insert((load + 1, at));
        }
    }

    /// Whether a partition of the topic has moved.
    fn even_out_topic(&mut self, topic_id: &Uuid) -> bool {
        let mut by_load = self.by_load(topic_id);
        let mut has_moved = false;
        loop {
            let has_some = |&(_, at): &(usize, usize)| self.parts[at].contains_key(topic_id);
            let most = by_load.iter().rev().copied().find(has_some);
            let (Some(most), Some(least)) = (most, by_load.first().copied()) else { break };
            if most.0 < least.0 + 2 {
                break;
            }
            self.move_one(topic_id, most.1, least.1);
            for (load, at) in [most, least] {
                by_load.remove(&(load, at));
                by_load.insert((self.loads[at], at));
            }
            has_moved = true;
        }
        has_moved
    }

    fn move_one(&mut self, topic_id: &Uuid, from: usize, to: usize) {
        let indexes = self.parts[from].get_mut(topic_id).expect("it has some");
        let index = indexes.pop_last().expect("no topic is without partitions");
        if indexes.is_empty() {
            self.parts[from].remove(topic_id);
        }
        self.parts[to].entry(*topic_id).or_default().insert(index);
        self.loads[from] -= 1;
        self.loads[to] += 1;
    }
}
