//! Consumer groups: members join and leave, partitions change hands, and never have two owners.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions as Reported,
};
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::assignor::Assignor;
use super::heartbeat::Beater;
use super::regex::Viewer;
use crate::group::tests::{World, join};
use crate::group::{ClusterView, ConsumerSettings, GroupSettings, ListFilter};

type Owned = BTreeMap<Uuid, BTreeSet<i32>>;
type Answer = ConsumerGroupHeartbeatResponse<'static>;

/// A client of a consumer group, as KIP-848 wants it: it gives back what it is told to, then says
/// so.
#[derive(Debug, Clone)]
pub(super) struct Client {
    id: String,
    instance: Option<&'static str>,
    topics: Vec<String>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
    epoch: i32,
    pub(super) owned: Owned,
    /// Says what it owns with its next heartbeat.
    reports: bool,
}

impl Client {
    pub(super) fn new(id: &str, topics: &[&str]) -> Client {
        Client {
            id: id.to_owned(),
            instance: None,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            regex: None,
            assignor: None,
            epoch: 0,
            owned: Owned::new(),
            reports: true,
        }
    }

    pub(super) fn request(&self) -> ConsumerGroupHeartbeatRequest<'static> {
        let joins = self.epoch == 0;
        let owned = self.owned.iter().map(|(topic_id, partitions)| Reported {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
        });
        let topics = self.topics.iter().map(|topic| Cow::Owned(topic.clone()));
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.clone().into(),
            member_epoch: self.epoch,
            instance_id: self.instance.map(Cow::Borrowed),
            rebalance_timeout_ms: if joins { 30_000 } else { -1 },
            subscribed_topic_names: joins.then(|| topics.collect()),
            subscribed_topic_regex: self.regex.filter(|_| joins).map(Cow::Borrowed),
            server_assignor: self.assignor.filter(|_| joins).map(Cow::Borrowed),
            topic_partitions: (joins || self.reports).then(|| owned.collect()),
            ..Default::default()
        }
    }

    /// Sends a heartbeat and takes what it is given. What it is to give back it reports next time.
    pub(super) fn beat(&mut self, world: &mut World) -> ErrorCode {
        let answer = world.beat(&self.request());
        let error = ErrorCode::from_code(answer.error_code).unwrap();
        if error != ErrorCode::None {
            if matches!(error, ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) {
                self.epoch = 0;
                self.owned.clear();
            }
            return error;
        }
        self.reports = false;
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let next: Owned = topics
                .map(|topic| (topic.topic_id, topic.partitions.into_iter().collect()))
                .collect();
            self.reports = next != self.owned;
            self.owned = next;
        }
        ErrorCode::None
    }

    pub(super) fn load(&self) -> usize {
        self.owned.values().map(BTreeSet::len).sum()
    }

    pub(super) fn leave(&mut self, world: &mut World, epoch: i32) -> ErrorCode {
        let request = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..self.request() };
        let answer = world.beat(&request);
        self.epoch = 0;
        self.owned.clear();
        ErrorCode::from_code(answer.error_code).unwrap()
    }
}

impl World {
    pub(super) fn beat(&mut self, request: &ConsumerGroupHeartbeatRequest<'_>) -> Answer {
        let beater = Beater {
            client_id: "c",
            client_host: "/127.0.0.1",
            version: 1,
            random: 7,
            viewer: Viewer::new(|name| !name.starts_with("secret")),
        };
        let outcome = self.groups.consumer_heartbeat(request, &beater, self.now);
        self.done(outcome)
    }

    /// Everyone sends heartbeats until nothing changes any more.
    pub(super) fn settle(&mut self, clients: &mut [Client]) {
        for _ in 0..20 {
            let before: Vec<(i32, Owned)> =
                clients.iter().map(|client| (client.epoch, client.owned.clone())).collect();
            for client in clients.iter_mut() {
                client.beat(self);
                assert_exclusive(clients_of(self), "settling");
            }
            self.pass(1_000);
            let after = clients.iter().map(|client| (client.epoch, client.owned.clone()));
            if before.into_iter().eq(after) {
                return;
            }
        }
        panic!("the group does not come to rest: {clients:?}");
    }

    fn describe_consumer(&self) -> (String, i32, i32) {
        let group = self.groups.describe_consumer("g");
        (group.group_state.into_owned(), group.group_epoch, group.assignment_epoch)
    }

    fn commit_as(&mut self, member: &str, epoch: i32, topic_id: Uuid, version: i16) -> ErrorCode {
        let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), topic_id, partitions: vec![partition] };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member.to_owned().into(),
            topics: vec![topic],
            ..Default::default()
        };
        let outcome = self.groups.commit_offsets(&request, version, self.now);
        let response = self.done(outcome);
        ErrorCode::from_code(response.topics[0].partitions[0].error_code).unwrap()
    }

    /// The log as compaction leaves it, and another process that reads it.
    pub(super) fn compact_and_restart(&mut self, drops_deletions: bool) {
        let mut last = BTreeMap::new();
        for (at, record) in self.log.iter().enumerate() {
            last.insert(record.key.clone(), at);
        }
        let mut at = 0;
        self.log.retain(|record| {
            let is_last = last[&record.key] == at;
            at += 1;
            is_last && (record.value.is_some() || !drops_deletions)
        });
        self.restart();
    }
}

/// What the coordinator says that each member owns.
pub(super) fn clients_of(world: &World) -> Vec<Owned> {
    let group = world.groups.describe_consumer("g");
    let members = group.members.into_iter().map(|member| {
        let topics = member.assignment.topic_partitions.into_iter();
        topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect()
    });
    members.collect()
}

pub(super) fn assert_exclusive(owned: Vec<Owned>, what: &str) {
    let mut seen = BTreeSet::new();
    for (topic_id, partitions) in owned.iter().flatten() {
        for index in partitions {
            assert!(seen.insert((topic_id, index)), "{what}: {index} has two owners: {owned:?}");
        }
    }
}

pub(super) fn world_with(topics: &[(&str, i32)]) -> World {
    let world = World::new(GroupSettings::default());
    for (name, count) in topics {
        world.cluster.put(name, *count);
    }
    world
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut world = world_with(&[("t", 3)]);
    let mut client = Client::new("a", &["t"]);
    let answer = world.beat(&client.request());
    assert_eq!((answer.error_code, answer.member_epoch), (0, 2));
    assert_eq!((answer.member_id.as_deref(), answer.heartbeat_interval_ms), (Some("a"), 5_000));
    client.beat(&mut world);
    assert_eq!((client.load(), world.describe_consumer()), (3, ("Stable".to_owned(), 2, 2)));
    // Nothing is new: nothing is written, and the assignment is not repeated.
    client.reports = false;
    let written = world.log.len();
    let answer = world.beat(&client.request());
    assert_eq!((answer.assignment, answer.member_epoch, world.log.len()), (None, 2, written));
}

#[test]
fn partitions_change_hands_in_two_steps() {
    let mut world = world_with(&[("t", 4)]);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    a.beat(&mut world);
    world.pass(1_000);
    assert_eq!(b.beat(&mut world), ErrorCode::None);
    assert_eq!((b.epoch, b.load()), (3, 0), "nothing is free yet");
    assert_eq!(world.describe_consumer().0, "Reconciling");
    a.reports = false;
    a.beat(&mut world);
    assert_eq!(
        (a.epoch, a.load()),
        (2, 2),
        "it is told to give back, and has not said that it did"
    );
    assert!(a.reports);
    b.beat(&mut world);
    assert_eq!(b.load(), 0);
    a.beat(&mut world);
    assert_eq!((a.epoch, a.load()), (3, 2));
    b.beat(&mut world);
    assert_eq!((b.epoch, b.load()), (3, 2));
    assert_eq!(world.describe_consumer(), ("Stable".to_owned(), 3, 3));
    // One leaves: the other gets all.
    assert_eq!(b.leave(&mut world, -1), ErrorCode::None);
    world.pass(1_000);
    a.beat(&mut world);
    assert_eq!(a.load(), 4);
}

#[test]
fn assignments_are_made_at_most_once_in_an_interval() {
    let mut world = world_with(&[("t", 4)]);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    a.beat(&mut world);
    world.pass(400);
    b.beat(&mut world);
    assert_eq!(world.describe_consumer(), ("Assigning".to_owned(), 3, 2));
    assert_eq!((b.epoch, b.load()), (2, 0));
    world.pass(600);
    b.beat(&mut world);
    assert_eq!(world.describe_consumer().2, 3);
}

#[test]
fn a_silent_member_is_fenced_and_its_partitions_are_free() {
    let mut world = world_with(&[("t", 2)]);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    a.beat(&mut world);
    world.pass(1_000);
    b.beat(&mut world);
    for _ in 0..9 {
        world.pass(5_000);
        b.beat(&mut world);
    }
    assert_eq!(b.load(), 2, "the other was silent for a session");
    assert_eq!(a.beat(&mut world), ErrorCode::UnknownMemberId);
    world.settle(&mut [a, b]);
}

#[test]
fn who_does_not_give_back_in_time_is_fenced() {
    let mut world = world_with(&[("t", 2)]);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    a.beat(&mut world);
    world.pass(1_000);
    b.beat(&mut world);
    // It is alive and hears what it is to give back, and does not.
    for _ in 0..6 {
        a.reports = false;
        a.beat(&mut world);
        a.reports = false;
        b.beat(&mut world);
        world.pass(5_000);
    }
    assert_eq!(a.beat(&mut world), ErrorCode::UnknownMemberId);
    b.beat(&mut world);
    b.beat(&mut world);
    assert_eq!(b.load(), 2);
}

#[test]
fn old_and_future_epochs_are_fenced_and_a_lost_answer_is_not() {
    let mut world = world_with(&[("t", 2)]);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    a.beat(&mut world);
    world.pass(1_000);
    b.beat(&mut world);
    let mut clients = [a, b];
    world.settle(&mut clients);
    let [mut a, _] = clients;
    assert_eq!(a.epoch, 3);
    // The answer with epoch 3 was lost; what it owns is what it shall own.
    a.reports = true;
    let old = ConsumerGroupHeartbeatRequest { member_epoch: 2, ..a.request() };
    assert_eq!(world.beat(&old).error_code, 0);
    let unsure = ConsumerGroupHeartbeatRequest { topic_partitions: None, ..old };
    let answer = world.beat(&unsure);
    assert_eq!(answer.error_code, ErrorCode::FencedMemberEpoch.code());
    assert!(answer.error_message.unwrap().contains("smaller member epoch (2)"));
    let future = ConsumerGroupHeartbeatRequest { member_epoch: 9, ..a.request() };
    assert_eq!(world.beat(&future).error_code, ErrorCode::FencedMemberEpoch.code());
    let stranger = ConsumerGroupHeartbeatRequest { member_id: "x".into(), ..a.request() };
    assert_eq!(world.beat(&stranger).error_code, ErrorCode::UnknownMemberId.code());
    let nowhere = ConsumerGroupHeartbeatRequest { group_id: "h".into(), ..a.request() };
    let answer = world.beat(&nowhere);
    assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(answer.error_message.as_deref(), Some("Consumer group h not found."));
}

#[test]
fn requests_that_are_nobodys_are_refused_in_kafkas_words() {
    let mut world = world_with(&[("t", 1)]);
    let good = Client::new("a", &["t"]).request();
    let mut check = |change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest<'static>), words: &str| {
        let mut request = good.clone();
        change(&mut request);
        let answer = world.beat(&request);
        assert_eq!(answer.error_message.as_deref(), Some(words));
        answer.error_code
    };
    check(&|r| r.group_id = " ".into(), "GroupId can't be empty.");
    check(&|r| r.member_id = "".into(), "MemberId can't be empty.");
    check(&|r| r.instance_id = Some("".into()), "InstanceId can't be empty.");
    check(&|r| r.rack_id = Some("".into()), "RackId can't be empty.");
    check(&|r| r.member_epoch = -3, "MemberEpoch is invalid.");
    check(&|r| r.member_epoch = -2, "InstanceId can't be null.");
    let words = "RebalanceTimeoutMs must be provided in first request.";
    check(&|r| r.rebalance_timeout_ms = -1, words);
    check(&|r| r.topic_partitions = None, "TopicPartitions must be empty when (re-)joining.");
    let words = "ServerAssignor sticky is not supported. Supported assignors: uniform, range.";
    let code = check(&|r| r.server_assignor = Some("sticky".into()), words);
    assert_eq!(code, ErrorCode::UnsupportedAssignor.code());
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut world = world_with(&[("t", 4)]);
    let mut clients = [Client::new("a", &["t"]), Client::new("b", &["t"])];
    clients[0].instance = Some("i");
    world.settle(&mut clients);
    let kept = clients[0].owned.clone();
    let mut double = Client { instance: Some("i"), ..Client::new("x", &["t"]) };
    assert_eq!(double.beat(&mut world), ErrorCode::UnreleasedInstanceId);
    assert_eq!(clients[0].leave(&mut world, -2), ErrorCode::None);
    let epoch = world.describe_consumer().1;
    // It comes back under another id, and nobody else notices.
    assert_eq!(double.beat(&mut world), ErrorCode::None);
    assert_eq!((double.owned.clone(), world.describe_consumer().1), (kept, epoch));
    let mut fenced = clients[0].clone();
    fenced.epoch = epoch;
    assert_eq!(fenced.beat(&mut world), ErrorCode::FencedInstanceId);
    // Away for longer than a session, it is gone.
    assert_eq!(double.leave(&mut world, -2), ErrorCode::None);
    for _ in 0..10 {
        world.pass(5_000);
        clients[1].beat(&mut world);
    }
    assert_eq!(clients[1].load(), 4);
    let unknown = ConsumerGroupHeartbeatRequest { member_epoch: 3, ..double.request() };
    assert_eq!(world.beat(&unknown).error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn topics_that_come_grow_and_go_change_the_assignment() {
    let mut world = world_with(&[("t", 2)]);
    let mut clients = [Client::new("a", &["t", "later"]), Client::new("b", &["t", "later"])];
    world.settle(&mut clients);
    let epoch = world.describe_consumer().1;
    for (change, expected) in [(Some(4), 4), (Some(6), 6), (None, 2)] {
        match change {
            Some(count) => drop(world.cluster.put("later", count - 2)),
            None => world.cluster.remove("later"),
        }
        world.groups.topics_changed(change.is_some());
        world.pass(1_000);
        world.settle(&mut clients);
        assert_eq!(clients.iter().map(Client::load).sum::<usize>(), expected);
    }
    assert_eq!(world.describe_consumer().1, epoch + 3, "an epoch for each change");
    world.groups.topics_changed(false);
    world.settle(&mut clients);
    assert_eq!(world.describe_consumer().1, epoch + 3, "nothing has changed for this group");
}

#[test]
fn an_expression_is_resolved_after_the_heartbeat_and_again_for_new_topics() {
    let mut world = world_with(&[("logs-a", 2), ("logs-b", 1), ("other", 3), ("secret-logs", 5)]);
    let mut client = Client { regex: Some(".*logs.*"), ..Client::new("a", &[]) };
    client.beat(&mut world);
    assert_eq!((client.epoch, client.load()), (1, 0));
    world.pass(1_000);
    world.settle(std::slice::from_mut(&mut client));
    assert_eq!(client.load(), 3, "what it may not see is not among them");
    world.cluster.put("more-logs", 4);
    world.groups.topics_changed(true);
    world.pass(11_000);
    client.beat(&mut world);
    world.pass(1_000);
    world.settle(std::slice::from_mut(&mut client));
    assert_eq!(client.load(), 7);
    // The expression outlives a restart, and goes with its last subscriber.
    world.compact_and_restart(true);
    world.settle(std::slice::from_mut(&mut client));
    assert_eq!(client.load(), 7);
    client.leave(&mut world, -1);
    let mut broken = Client { regex: Some("("), ..Client::new("b", &[]) };
    assert_eq!(broken.beat(&mut world), ErrorCode::InvalidRegularExpression);
    world.compact_and_restart(true);
    assert_eq!(world.describe_consumer().0, "Empty");
    assert!(world.log.iter().all(|record| record.key[1] != 16), "its record is deleted");
}

#[test]
fn the_assignor_that_most_want_assigns() {
    let mut world = world_with(&[("t", 4)]);
    let mut clients: Vec<Client> =
        ["a", "b", "c"].iter().map(|id| Client::new(id, &["t"])).collect();
    for client in &mut clients[..2] {
        client.assignor = Some("range");
    }
    clients[2].assignor = Some("uniform");
    world.settle(&mut clients);
    assert_eq!(world.groups.describe_consumer("g").assignor_name, "range");
    assert_eq!(clients[0].owned.values().next().unwrap(), &BTreeSet::from([0, 1]));
}

#[test]
fn a_full_group_takes_nobody_else() {
    let consumer = ConsumerSettings { size_max: 1, ..Default::default() };
    let mut world = World::new(GroupSettings { consumer, ..Default::default() });
    world.cluster.put("t", 2);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["t"]));
    assert_eq!(a.beat(&mut world), ErrorCode::None);
    assert_eq!(b.beat(&mut world), ErrorCode::GroupMaxSizeReached);
    assert_eq!(a.beat(&mut world), ErrorCode::None);
}

#[test]
fn only_members_of_their_epoch_commit() {
    let mut world = world_with(&[]);
    let id = world.cluster.put("t", 1);
    let (mut a, mut b) = (Client::new("a", &["t"]), Client::new("b", &["u"]));
    a.beat(&mut world);
    assert_eq!(world.commit_as("a", 2, id, 9), ErrorCode::None);
    assert_eq!(world.commit_as("a", 3, id, 9), ErrorCode::StaleMemberEpoch);
    assert_eq!(world.commit_as("x", 2, id, 9), ErrorCode::UnknownMemberId);
    assert_eq!(world.commit_as("a", 2, id, 8), ErrorCode::UnsupportedVersion);
    assert_eq!(world.commit_as("", -1, id, 9), ErrorCode::UnknownMemberId);
    world.pass(1_000);
    b.beat(&mut world);
    a.beat(&mut world);
    assert_eq!(a.epoch, 3);
    // It has owned the partition since epoch 2: what it read then counts.
    assert_eq!(world.commit_as("a", 2, id, 9), ErrorCode::None);
    assert_eq!(world.commit_as("b", 2, id, 9), ErrorCode::StaleMemberEpoch);
    let check = |world: &World, member, epoch| world.groups.check_fetch("g", member, epoch);
    assert_eq!(check(&world, Some("a"), 3), Ok(()));
    assert_eq!(check(&world, Some("a"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(&world, Some("x"), 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(check(&world, None, -1), Ok(()));
    // Who is gone commits no more, and an empty group may be written to by anyone.
    a.leave(&mut world, -1);
    assert_eq!(world.commit_as("a", 3, id, 9), ErrorCode::UnknownMemberId);
    b.leave(&mut world, -1);
    assert_eq!(world.commit_as("", -1, id, 9), ErrorCode::None);
}

#[test]
fn consumer_groups_are_listed_described_and_deleted() {
    let mut world = world_with(&[("t", 1)]);
    let mut client = Client::new("a", &["t"]);
    client.beat(&mut world);
    let id = world.cluster.put("t", 1);
    assert_eq!(world.commit_as("a", 2, id, 9), ErrorCode::None);
    let filter = ListFilter { types: vec!["Consumer"], states: vec!["stable"] };
    let listed = world.groups.list(&filter);
    assert_eq!((listed.len(), &*listed[0].group_type), (1, "consumer"));
    let group = world.groups.describe_consumer("g");
    let member = &group.members[0];
    assert_eq!((&*member.member_id, member.member_epoch, member.member_type), ("a", 2, 1));
    assert_eq!(&*member.target_assignment.topic_partitions[0].topic_name, "t");
    let classic = world.groups.describe("g", 6);
    assert_eq!(classic.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(world.groups.delete_group("g").response, ErrorCode::NonEmptyGroup);
    let request = OffsetDeleteRequest {
        group_id: "g".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let outcome = world.groups.delete_offsets(&request);
    let code = world.done(outcome).topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::GroupSubscribedToTopic.code());
    client.leave(&mut world, -1);
    let outcome = world.groups.delete_group("g");
    assert_eq!(world.done(outcome), ErrorCode::None);
    world.compact_and_restart(false);
    assert_eq!((world.groups.group_count(), world.groups.offset_count()), (0, 0));
    assert_eq!(
        world.groups.describe_consumer("g").error_message.as_deref(),
        Some("Group g not found.")
    );
}

#[test]
fn an_empty_group_without_offsets_goes_in_the_end() {
    let mut world = world_with(&[("t", 1)]);
    let mut client = Client::new("a", &["t"]);
    client.beat(&mut world);
    let id = world.cluster.put("t", 1);
    assert_eq!(world.commit_as("a", 2, id, 9), ErrorCode::None);
    client.leave(&mut world, -1);
    let week = GroupSettings::default().offsets_retention_ms as u64;
    world.pass(week - 600_000);
    assert_eq!((world.groups.group_count(), world.groups.offset_count()), (1, 1));
    world.pass(1_200_000);
    assert_eq!((world.groups.group_count(), world.groups.offset_count()), (0, 0));
}

#[test]
fn an_empty_classic_group_becomes_a_consumer_group_with_its_offsets() {
    let mut world = world_with(&[("t", 1)]);
    assert_eq!(world.commit_offset("", -1, 7), ErrorCode::None);
    let mut client = Client::new("a", &["t"]);
    assert_eq!(client.beat(&mut world), ErrorCode::None);
    assert_eq!((client.load(), world.committed()), (1, 7));
    world.compact_and_restart(true);
    assert_eq!((world.describe_consumer().0.as_str(), world.committed()), ("Stable", 7));
    assert_eq!(client.beat(&mut world), ErrorCode::None);
}

#[test]
fn a_decision_that_cannot_be_written_was_not_made() {
    let mut world = world_with(&[("t", 2)]);
    let mut a = Client::new("a", &["t"]);
    a.beat(&mut world);
    let beater = Beater {
        client_id: "c",
        client_host: "/h",
        version: 1,
        random: 7,
        viewer: Viewer::of_all(),
    };
    world.cluster.put("t", 3);
    world.groups.topics_changed(false);
    world.pass(1_000);
    // Its records are lost; the next heartbeat decides the same again.
    for _ in 0..2 {
        let outcome = world.groups.consumer_heartbeat(&a.request(), &beater, world.now);
        assert!(!outcome.effects.records.is_empty());
    }
    a.beat(&mut world);
    assert_eq!(a.load(), 3);
}

/// A group under random members: they come, go, fall silent, change what they read and lose
/// answers, over restarts of the coordinator from a compacted log.
struct History {
    world: World,
    clients: Vec<Client>,
    random: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let world = world_with(&[("t", 5), ("u", 3), ("v", 1)]);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        History { world, clients: Vec::new(), random }
    }

    fn next(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    fn newcomer(&mut self, step: i32) -> Client {
        let topics: &[&str] = [&["t"][..], &["t", "u"], &["u", "v"]][self.next(3) as usize];
        let mut client = Client::new(&format!("m{step}"), topics);
        if self.next(4) == 0 {
            client.regex = Some(["t|u", "[u-z]", ".*"][self.next(3) as usize]);
            client.topics.clear();
        }
        client.assignor = [None, Some("range"), Some("uniform")][self.next(3) as usize];
        client
    }

    fn step(&mut self, step: i32) {
        let at = self.next(self.clients.len().max(1) as u64) as usize;
        let is_there = at < self.clients.len();
        match self.next(16) {
            0 | 1 if self.clients.len() < 5 => {
                let client = self.newcomer(step);
                self.clients.push(client);
            }
            2 if is_there => {
                let mut client = self.clients.swap_remove(at);
                if client.epoch > 0 && self.next(2) == 0 {
                    client.leave(&mut self.world, -1);
                }
            }
            3 => {
                let count = 5 + self.next(4) as i32;
                self.world.cluster.put("t", count);
                self.world.groups.topics_changed(true);
            }
            4 => {
                let drops_deletions = self.next(2) == 0;
                self.world.compact_and_restart(drops_deletions);
            }
            5 => {
                let ms = self.next(20_000);
                self.world.pass(ms);
            }
            6 if is_there && self.clients[at].epoch > 0 => {
                // The answer is lost.
                let _ = self.world.beat(&self.clients[at].request());
            }
            _ if is_there => {
                self.clients[at].beat(&mut self.world);
            }
            _ => {}
        }
    }

    /// No partition has two owners: as the coordinator says, and as clients do that it knows.
    fn check(&self, what: &str) {
        assert_exclusive(clients_of(&self.world), what);
        let group = self.world.groups.describe_consumer("g");
        let is_known = |client: &&Client| group.members.iter().any(|m| m.member_id == client.id);
        let held = self.clients.iter().filter(is_known).map(|client| client.owned.clone());
        assert_exclusive(held.collect(), what);
    }

    /// Everyone who is left joins anew, and in the end all is assigned.
    fn end(mut self, seed: u64) {
        self.world.pass(50_000);
        for client in &mut self.clients {
            client.epoch = 0;
            client.owned.clear();
        }
        for _ in 0..4 {
            self.world.settle(&mut self.clients);
            self.world.pass(11_000);
        }
        self.world.settle(&mut self.clients);
        let names: BTreeSet<String> = self.clients.iter().flat_map(wanted_by).collect();
        let count = |name: &String| self.world.cluster.by_name(name).unwrap().partition_count;
        let total: i32 = names.iter().map(count).sum();
        let owned: usize = self.clients.iter().map(Client::load).sum();
        assert_eq!(owned, total as usize, "seed {seed}: all is assigned in the end");
        let described = self.world.groups.describe_consumer("g");
        self.world.compact_and_restart(true);
        if described.error_code == 0 {
            assert_eq!(self.world.groups.describe_consumer("g"), described, "seed {seed}");
        }
    }
}

/// The topics of a history that a client subscribes to.
fn wanted_by(client: &Client) -> Vec<String> {
    let pattern = client.regex.map(|regex| format!("^(?:{regex})$"));
    let pattern = pattern.map(|pattern| regex::Regex::new(&pattern).unwrap());
    let is_match = |name: &&str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(name));
    let by_regex = ["t", "u", "v"].into_iter().filter(is_match).map(str::to_owned);
    client.topics.iter().cloned().chain(by_regex).collect()
}

#[test]
fn any_history_leaves_each_partition_one_owner_and_all_assigned() {
    for seed in 0..100 {
        let mut history = History::new(seed);
        for step in 0..150 {
            history.step(step);
            history.check(&format!("seed {seed}, step {step}"));
            let ms = history.next(1_500);
            history.world.pass(ms);
        }
        history.end(seed);
    }
}

#[test]
fn assignors_are_known_by_name_and_by_kafkas_class() {
    let class = "org.apache.kafka.coordinator.group.assignor.RangeAssignor";
    assert_eq!(Assignor::by_name(class), Some(Assignor::Range));
    assert_eq!(Assignor::by_name("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::by_name("sticky"), None);
}

/// A member of one protocol finds a group of the other.
#[test]
fn a_classic_member_is_refused_by_a_group_of_another_protocol() {
    let mut world = world_with(&[("t", 1)]);
    Client::new("a", &["t"]).beat(&mut world);
    let mut request = join("", None);
    request.protocol_type = "connect".into();
    let to = world.join(&request, 9);
    let code = world.joined(to).unwrap().error_code;
    assert_eq!(code, ErrorCode::InconsistentGroupProtocol.code());
}
