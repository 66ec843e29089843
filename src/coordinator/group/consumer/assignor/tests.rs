//! Assignors: complete, exclusive, even, and no more moves than needed.

use super::*;

fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A group for assignors: members by id, with the topics they subscribe to.
struct Case {
    members: Vec<(&'static str, Vec<u128>)>,
    counts: BTreeMap<Uuid, i32>,
    before: BTreeMap<Rc<str>, Partitions>,
}

impl Case {
    fn new(members: &[(&'static str, &[u128])], counts: &[(u128, i32)]) -> Case {
        Case {
            members: members.iter().map(|(id, topics)| (*id, topics.to_vec())).collect(),
            counts: counts.iter().map(|(id, count)| (topic(*id), *count)).collect(),
            before: BTreeMap::new(),
        }
    }

    /// Assigns, checks what always holds, and keeps the result as the next time's `before`.
    fn assign(&mut self, assignor: Assignor) -> BTreeMap<Rc<str>, Partitions> {
        let empty = Partitions::new();
        let subscribers: Vec<Subscriber<'_>> = self
            .members
            .iter()
            .map(|(id, topics)| Subscriber {
                id: (*id).into(),
                instance_id: id.strip_prefix("static-").map(Rc::from),
                topics: Rc::new(topics.iter().map(|id| topic(*id)).collect()),
                before: self.before.get(*id).unwrap_or(&empty),
            })
            .collect();
        let result = assignor.assign(&subscribers, &self.counts);
        let again = assignor.assign(&subscribers, &self.counts);
        assert_eq!(result, again, "the same comes out of the same");
        assert_eq!(result.len(), subscribers.len());
        let mut owned = BTreeSet::new();
        for subscriber in &subscribers {
            for (topic_id, indexes) in &result[&subscriber.id] {
                assert!(subscriber.topics.contains(topic_id) && !indexes.is_empty());
                for index in indexes {
                    assert!((0..self.counts[topic_id]).contains(index));
                    assert!(owned.insert((*topic_id, *index)), "{index} is given twice");
                }
            }
        }
        let wanted: BTreeSet<Uuid> =
            subscribers.iter().flat_map(|s| s.topics.iter().copied()).collect();
        let total: i32 = wanted.iter().map(|topic_id| self.counts[topic_id]).sum();
        assert_eq!(owned.len(), total as usize, "every partition has an owner");
        self.before = result.clone();
        result
    }

    fn loads(&mut self, assignor: Assignor) -> Vec<usize> {
        let result = self.assign(assignor);
        let load = |id: &str| result[id].values().map(BTreeSet::len).sum();
        self.members.iter().map(|(id, _)| load(id)).collect()
    }
}

fn moved(before: &BTreeMap<Rc<str>, Partitions>, after: &BTreeMap<Rc<str>, Partitions>) -> usize {
    let had = |id: &str, topic_id: &Uuid, index: &i32| {
        before.get(id).and_then(|p| p.get(topic_id)).is_some_and(|p| p.contains(index))
    };
    let places = after.iter().flat_map(|(id, partitions)| {
        let topics = partitions.iter();
        topics.flat_map(move |(topic_id, indexes)| indexes.iter().map(move |i| (id, topic_id, i)))
    });
    places.filter(|(id, topic_id, index)| !had(id, topic_id, index)).count()
}

#[test]
fn uniform_is_even_and_moves_only_what_it_must() {
    let mut case = Case::new(&[("a", &[1, 2]), ("b", &[1, 2])], &[(1, 5), (2, 4)]);
    assert_eq!(case.loads(Assignor::Uniform), [5, 4]);
    let before = case.before.clone();
    case.members.push(("c", vec![1, 2]));
    assert_eq!(case.loads(Assignor::Uniform), [3, 3, 3]);
    assert_eq!(moved(&before, &case.before), 3, "the newcomer's share and no more");
    let before = case.before.clone();
    case.members.remove(0);
    let mut loads = case.loads(Assignor::Uniform);
    loads.sort_unstable();
    assert_eq!(loads, [4, 5]);
    assert_eq!(moved(&before, &case.before), 3, "what the leaver had and no more");
    // A topic that grows, and one that is gone.
    case.counts.insert(topic(1), 7);
    let before = case.before.clone();
    case.assign(Assignor::Uniform);
    assert!(moved(&before, &case.before) <= 3);
    case.members.iter_mut().for_each(|(_, topics)| *topics = vec![1]);
    assert_eq!(case.loads(Assignor::Uniform).iter().sum::<usize>(), 7);
}

#[test]
fn more_members_than_partitions_leave_some_without() {
    let mut case = Case::new(&[("a", &[1]), ("b", &[1]), ("c", &[1])], &[(1, 2)]);
    for assignor in Assignor::ALL {
        assert_eq!(case.loads(assignor), [1, 1, 0]);
    }
}

#[test]
fn uniform_evens_out_different_subscriptions() {
    let mut case =
        Case::new(&[("a", &[1, 2, 3]), ("b", &[1]), ("c", &[2, 3])], &[(1, 6), (2, 3), (3, 3)]);
    assert_eq!(case.loads(Assignor::Uniform), [4, 4, 4]);
    // One that can have nothing else keeps its own.
    case.members.push(("d", vec![1]));
    let loads = case.loads(Assignor::Uniform);
    // Even but for what takes two moves in a row.
    assert!(loads.iter().all(|load| (2..=4).contains(load)), "{loads:?}");
    let mut case = Case::new(&[("a", &[1]), ("b", &[])], &[(1, 3)]);
    assert_eq!(case.loads(Assignor::Uniform), [3, 0]);
}

#[test]
fn range_gives_runs_and_equal_places_in_equal_topics() {
    let mut case = Case::new(&[("b", &[1, 2]), ("static-z", &[1, 2])], &[(1, 3), (2, 3)]);
    let result = case.assign(Assignor::Range);
    for topic_id in [topic(1), topic(2)] {
        assert_eq!(result["static-z"][&topic_id], BTreeSet::from([0, 1]), "static members first");
        assert_eq!(result["b"][&topic_id], BTreeSet::from([2]));
    }
    let mut case = Case::new(&[("a", &[1]), ("b", &[1, 2]), ("c", &[2])], &[(1, 4), (2, 1)]);
    let result = case.assign(Assignor::Range);
    assert_eq!(result["a"][&topic(1)], BTreeSet::from([0, 1]));
    assert_eq!(result["b"], BTreeMap::from([(topic(1), [2, 3].into()), (topic(2), [0].into())]));
    assert!(result["c"].is_empty());
}

#[test]
fn any_history_of_members_stays_complete_and_even() {
    const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "static-f"];
    for seed in 1..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut case = Case::new(&[], &[(1, 3), (2, 7), (3, 1)]);
        for _ in 0..30 {
            let id = IDS[next(IDS.len() as u64) as usize];
            case.members.retain(|(known, _)| *known != id);
            if next(3) > 0 {
                let topics = if next(2) == 0 { vec![1, 2, 3] } else { vec![1 + next(3) as u128] };
                case.members.push((id, topics));
            }
            case.counts.insert(topic(1), 1 + next(9) as i32);
            let assignor = Assignor::ALL[usize::from(next(5) == 0)];
            let loads = case.loads(assignor);
            let all_alike = case.members.windows(2).all(|pair| pair[0].1 == pair[1].1);
            if all_alike && assignor == Assignor::Uniform && !loads.is_empty() {
                let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
                assert!(most - least <= 1, "seed {seed}: {loads:?}");
            }
        }
    }
}
