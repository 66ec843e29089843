//! Groups that change their protocol: empty ones, and with members of both among them.

use std::collections::BTreeSet;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use ringlog_wire::messages::consumer_protocol_subscription::{
    ConsumerProtocolSubscription, TopicPartition,
};
use ringlog_wire::{Message, Reader, Writer};

use super::tests::{Client, assert_exclusive, clients_of, world_with};
use crate::coordinator::Coordinator;
use crate::group::tests::{World, join, join_with};
use crate::group::{ConsumerSettings, GroupSettings, LeavingMember, MigrationPolicy};

/// A consumer of the classic protocol, with an eager or a cooperative assignor.
struct ClassicClient {
    id: String,
    generation: i32,
    owned: BTreeSet<i32>,
    is_cooperative: bool,
}

impl ClassicClient {
    fn new(is_cooperative: bool) -> ClassicClient {
        ClassicClient { id: String::new(), generation: -1, owned: BTreeSet::new(), is_cooperative }
    }

    fn subscription(&self) -> Vec<u8> {
        let owned =
            TopicPartition { topic: "t".into(), partitions: self.owned.iter().copied().collect() };
        let value = ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            owned_partitions: if self.is_cooperative { vec![owned] } else { vec![] },
            ..Default::default()
        };
        let mut writer = Writer::new();
        writer.i16(1);
        value.encode(&mut writer, 1).unwrap();
        writer.into_bytes().to_vec()
    }

    /// Joins, and takes its part; whether it has one.
    fn join(&mut self, world: &mut World) -> bool {
        if !self.is_cooperative {
            self.owned.clear();
        }
        let subscription = self.subscription();
        let to = world.join(&join_with(&self.id, None, &[("range", &subscription)]), 9);
        let Some(answer) = world.joined(to) else { return false };
        if answer.error_code == ErrorCode::MemberIdRequired.code() {
            self.id = answer.member_id.into_owned();
            return self.join(world);
        }
        if answer.error_code != 0 {
            self.id.clear();
            return false;
        }
        self.id = answer.member_id.into_owned();
        self.generation = answer.generation_id;
        let to = world.sync(&self.id, self.generation, &[]);
        let Some(part) = world.synced(to).filter(|part| part.error_code == 0) else {
            return false;
        };
        self.take(&part.assignment);
        true
    }

    fn take(&mut self, assignment: &[u8]) {
        let mut reader = Reader::new(assignment);
        let version = reader.i16().unwrap();
        let value = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
        let topics = value.assigned_partitions.iter();
        self.owned = topics.flat_map(|topic| topic.partitions.iter().copied()).collect();
    }

    fn beat(&mut self, world: &mut World) {
        let error = world.heartbeat(&self.id, self.generation);
        if error != ErrorCode::None {
            self.join(world);
        }
    }
}

fn encoded(partitions: &[i32]) -> Vec<u8> {
    let topic = ringlog_wire::messages::consumer_protocol_assignment::TopicPartition {
        topic: "t".into(),
        partitions: partitions.to_vec(),
    };
    let value =
        ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() };
    let mut writer = Writer::new();
    writer.i16(1);
    value.encode(&mut writer, 1).unwrap();
    writer.into_bytes().to_vec()
}

/// A stable classic group of one, who owns all of four partitions.
fn classic_group(is_cooperative: bool) -> (World, ClassicClient) {
    let mut world = world_with(&[("t", 4)]);
    let mut client = ClassicClient::new(is_cooperative);
    let subscription = client.subscription();
    let to = world.join(&join_with("", None, &[("range", &subscription)]), 3);
    world.pass(3_000);
    let answer = world.joined(to).unwrap();
    client.id = answer.member_id.into_owned();
    client.generation = answer.generation_id;
    let all = encoded(&[0, 1, 2, 3]);
    let to = world.sync(&client.id, client.generation, &[(&client.id, &all)]);
    client.take(&world.synced(to).unwrap().assignment);
    (world, client)
}

#[test]
fn an_empty_consumer_group_becomes_a_classic_one() {
    let mut world = world_with(&[("t", 1)]);
    let mut client = Client::new("a", &["t"]);
    client.beat(&mut world);
    client.leave(&mut world, -1);
    let to = world.join(&join("", None), 3);
    world.pass(3_000);
    let id = world.joined(to).unwrap().member_id.into_owned();
    let to = world.sync(&id, 1, &[(&id, b"all")]);
    assert!(world.synced(to).is_some());
    assert_eq!(world.state(), "Stable");
    for drops_deletions in [false, true] {
        world.compact_and_restart(drops_deletions);
        assert_eq!(world.state(), "Stable");
        assert_eq!(world.heartbeat(&id, 1), ErrorCode::None);
    }
}

#[test]
fn a_classic_group_is_upgraded_member_by_member_and_back() {
    for is_cooperative in [false, true] {
        let (mut world, mut old) = classic_group(is_cooperative);
        let mut new = Client::new("new", &["t"]);
        for _ in 0..8 {
            assert_eq!(new.beat(&mut world), ErrorCode::None);
            old.beat(&mut world);
            assert_exclusive(clients_of(&world), "mixed");
            let news: BTreeSet<i32> = new.owned.values().flatten().copied().collect();
            assert!(news.is_disjoint(&old.owned), "{news:?} {:?}", old.owned);
            world.pass(1_000);
        }
        assert_eq!((new.load(), old.owned.len()), (2, 2), "cooperative: {is_cooperative}");
        let described = world.groups.describe_consumer("g");
        let types: Vec<i8> = described.members.iter().map(|member| member.member_type).collect();
        assert_eq!((types.iter().sum::<i8>(), types.len()), (1, 2), "one of each protocol");
        world.compact_and_restart(true);
        assert_eq!(world.groups.describe_consumer("g"), described);
        assert_eq!(world.heartbeat(&old.id, old.generation), ErrorCode::None);

        // The last one of the new protocol leaves: the group is classic again.
        new.leave(&mut world, -1);
        assert_eq!(world.state(), "PreparingRebalance");
        let error = world.heartbeat(&old.id, old.generation);
        assert_eq!(error, ErrorCode::RebalanceInProgress);
        let subscription = old.subscription();
        let to = world.join(&join_with(&old.id, None, &[("range", &subscription)]), 9);
        let answer = world.joined(to).unwrap();
        assert_eq!((answer.error_code, &answer.leader), (0, &answer.member_id));
        let all = encoded(&[0, 1, 2, 3]);
        let to = world.sync(&old.id, answer.generation_id, &[(&old.id, &all)]);
        assert_eq!(world.synced(to).unwrap().assignment[..], all);
        world.compact_and_restart(true);
        assert_eq!(world.state(), "Stable");
    }
}

#[test]
fn a_classic_member_joins_and_leaves_a_consumer_group() {
    let mut world = world_with(&[("t", 4)]);
    let mut clients = [Client::new("a", &["t"])];
    world.settle(&mut clients);
    let mut old = ClassicClient::new(true);
    for _ in 0..8 {
        if old.id.is_empty() {
            old.join(&mut world);
        } else {
            old.beat(&mut world);
        }
        clients[0].beat(&mut world);
        assert_exclusive(clients_of(&world), "mixed");
        world.pass(1_000);
    }
    assert_eq!((clients[0].load(), old.owned.len()), (2, 2));
    let leaving = [LeavingMember { member_id: &old.id, instance_id: None }];
    let outcome = world.groups.leave("g", &leaving, world.now);
    assert_eq!(world.done(outcome).members[0].error_code, 0);
    world.pass(1_000);
    world.settle(&mut clients);
    assert_eq!(clients[0].load(), 4);
    // One that falls silent is fenced by its own session.
    let mut silent = ClassicClient::new(true);
    silent.join(&mut world);
    for _ in 0..4 {
        world.pass(4_000);
        clients[0].beat(&mut world);
    }
    assert_eq!(world.heartbeat(&silent.id, silent.generation), ErrorCode::UnknownMemberId);
}

#[test]
fn what_the_policy_does_not_allow_is_refused_in_kafkas_words() {
    let (world, _) = classic_group(true);
    let consumer = ConsumerSettings { migration: MigrationPolicy::Disabled, ..Default::default() };
    let mut disabled = World::new(GroupSettings { consumer, ..Default::default() });
    disabled.cluster.put("t", 4);
    disabled.log = world.log;
    disabled.restart();
    let answer = disabled.beat(&Client::new("new", &["t"]).request());
    assert_eq!(
        answer.error_message.as_deref(),
        Some(
            "Cannot upgrade classic group g to consumer group because online upgrade is disabled."
        )
    );
    assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.code());

    // A leader of its own kind, whose assignment has data that would be lost, and none at all.
    for assignment in [&b"\0\0\0\0\0\0\0\0\0\x01x"[..], b"\0"] {
        let (mut world, old) = classic_group(true);
        let to = world.join(&join_with(&old.id, None, &[("range", &old.subscription())]), 9);
        let generation = world.joined(to).unwrap().generation_id;
        let _ = world.sync(&old.id, generation, &[(&old.id, assignment)]);
        let answer = world.beat(&Client::new("new", &["t"]).request());
        assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.code());
    }
}

#[test]
fn who_cannot_be_fenced_now_is_fenced_later() {
    let mut world = world_with(&[("t", 1)]);
    let mut client = Client::new("a", &["t"]);
    client.beat(&mut world);
    world.now.monotonic_ms += 45_000;
    // The log does not take it.
    let effects = world.groups.tick(world.now).unwrap();
    assert!(!effects.records.is_empty());
    drop(effects);
    world.pass(1_000);
    assert_eq!(client.beat(&mut world), ErrorCode::UnknownMemberId);
}
