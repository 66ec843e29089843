//! What groups do, request by request: members join, sync, leave and fall silent; offsets are
//! committed, read and deleted; a restart goes on from the records.
//!
//! [`World`] is the smallest thing that runs a coordinator: it keeps the log, commits what is
//! appended (at once, unless told to hold), and collects the answers.

mod random;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ringlog_wire::messages::join_group_response::JoinGroupResponse;
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ringlog_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use super::classic::join::PENDING_JOINS_MAX;
use super::{
    ClusterView, ConsumerTimes, Continuation, Deferred, Effects, GroupCoordinator, GroupSettings,
    Joiner, LeavingMember, ListFilter, Outcome, TopicFacts, WantedOffsets,
};
use crate::coordinator::Coordinator;
use crate::outcome::{Now, Record, ReplyTo};

const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 60_000;

/// What waits for a batch to be committed.
struct Held {
    end_offset: i64,
    answers: Vec<(ReplyTo, Deferred)>,
    then: Option<Continuation>,
}

/// Topics by name, with ids of their own.
#[derive(Default)]
pub(in crate::group) struct Cluster {
    topics: RefCell<BTreeMap<String, TopicFacts>>,
    version: Cell<i64>,
}

impl Cluster {
    /// Creates a topic, or lets it grow.
    pub(in crate::group) fn put(&self, name: &str, partition_count: i32) -> Uuid {
        self.version.set(self.version.get() + 1);
        let mut topics = self.topics.borrow_mut();
        let fresh = Uuid::from_u128(self.version.get() as u128);
        let facts = topics.entry(name.to_owned());
        let facts = facts.or_insert(TopicFacts { id: fresh, partition_count });
        facts.partition_count = partition_count;
        facts.id
    }

    pub(in crate::group) fn remove(&self, name: &str) {
        self.version.set(self.version.get() + 1);
        self.topics.borrow_mut().remove(name);
    }
}

impl ClusterView for Cluster {
    fn by_name(&self, name: &str) -> Option<TopicFacts> {
        self.topics.borrow().get(name).copied()
    }

    fn name_of(&self, id: &Uuid) -> Option<Rc<str>> {
        let topics = self.topics.borrow();
        topics.iter().find(|(_, facts)| facts.id == *id).map(|(name, _)| name.as_str().into())
    }

    fn names(&self) -> Vec<Rc<str>> {
        self.topics.borrow().keys().map(|name| name.as_str().into()).collect()
    }

    fn version(&self) -> i64 {
        self.version.get()
    }

    fn consumer_times(&self, _: &str) -> ConsumerTimes {
        ConsumerTimes::default()
    }
}

pub(in crate::group) struct World {
    pub(in crate::group) groups: GroupCoordinator,
    pub(in crate::group) cluster: Rc<Cluster>,
    settings: GroupSettings,
    pub(in crate::group) now: Now,
    pub(in crate::group) log: Vec<Record>,
    answers: BTreeMap<ReplyTo, Deferred>,
    next_reply: u64,
    /// Appended, and not committed yet.
    held: Vec<Held>,
    pub(in crate::group) holds: bool,
}

impl World {
    pub(in crate::group) fn new(settings: GroupSettings) -> World {
        let cluster = Rc::<Cluster>::default();
        let mut world = World {
            groups: GroupCoordinator::new(settings.clone(), cluster.clone()),
            cluster,
            settings,
            now: Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 },
            log: Vec::new(),
            answers: BTreeMap::new(),
            next_reply: 0,
            held: Vec::new(),
            holds: false,
        };
        let effects = world.groups.loaded(world.now);
        world.carry_out(effects);
        world
    }

    pub(in crate::group) fn carry_out(&mut self, effects: Effects) {
        if effects.records.is_empty() {
            assert_eq!(effects.then, None);
            self.answer(effects.answers);
            return;
        }
        self.log.extend(effects.records.iter().cloned());
        let end = self.log.len() as i64;
        self.groups.replay(end, &effects.records, self.now);
        let (answers, then) = (effects.answers, effects.then);
        self.held.push(Held { end_offset: end, answers, then });
        if !self.holds {
            self.commit(Ok(()));
        }
    }

    /// What is held is committed, or cannot be.
    pub(in crate::group) fn commit(&mut self, result: Result<(), ErrorCode>) {
        for Held { end_offset, answers, then } in std::mem::take(&mut self.held) {
            if result.is_ok() {
                self.groups.committed(end_offset);
                self.answer(answers);
            }
            if let Some(then) = then {
                let effects = self.groups.continued(&then, result, self.now);
                self.carry_out(effects);
            }
        }
    }

    fn answer(&mut self, answers: Vec<(ReplyTo, Deferred)>) {
        for (to, answer) in answers {
            let before = self.answers.insert(to, answer);
            assert!(before.is_none(), "a request is answered once");
        }
    }

    pub(in crate::group) fn done<R>(&mut self, outcome: Outcome<R>) -> R {
        self.carry_out(outcome.effects);
        outcome.response
    }

    /// Time goes by, and everything that is due happens in between.
    pub(in crate::group) fn pass(&mut self, ms: u64) {
        let until = self.now.monotonic_ms + ms;
        while let Some(at) = self.groups.next_deadline_ms().filter(|at| *at <= until) {
            let step = at.saturating_sub(self.now.monotonic_ms);
            self.now.monotonic_ms += step;
            self.now.wall_ms += step as i64;
            while let Some(effects) = self.groups.tick(self.now) {
                self.carry_out(effects);
            }
        }
        let step = until - self.now.monotonic_ms;
        self.now.monotonic_ms += step;
        self.now.wall_ms += step as i64;
    }

    fn reply_to(&mut self) -> ReplyTo {
        self.next_reply += 1;
        ReplyTo(self.next_reply)
    }

    pub(in crate::group) fn join(
        &mut self,
        request: &JoinGroupRequest<'_>,
        version: i16,
    ) -> ReplyTo {
        let to = self.reply_to();
        let random = u128::from(to.0);
        let joiner = Joiner { client_id: "c", client_host: "/127.0.0.1", version, random };
        let effects = self.groups.join(request, joiner, to, self.now);
        self.carry_out(effects);
        to
    }

    pub(in crate::group) fn sync(
        &mut self,
        member: &str,
        generation: i32,
        parts: &[(&str, &[u8])],
    ) -> ReplyTo {
        let to = self.reply_to();
        let part = |(id, assignment): &(&str, &[u8])| SyncGroupRequestAssignment {
            member_id: (*id).to_owned().into(),
            assignment: assignment.to_vec().into(),
        };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.to_owned().into(),
            assignments: parts.iter().map(part).collect(),
            ..Default::default()
        };
        let effects = self.groups.sync(&request, to, self.now);
        self.carry_out(effects);
        to
    }

    pub(in crate::group) fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: member.to_owned().into(),
            ..Default::default()
        };
        let outcome = self.groups.heartbeat(&request, self.now);
        self.done(outcome)
    }

    pub(in crate::group) fn joined(&mut self, to: ReplyTo) -> Option<JoinGroupResponse<'static>> {
        match self.answers.remove(&to)? {
            Deferred::Join(answer) => Some(answer),
            other @ Deferred::Sync(_) => panic!("{other:?}"),
        }
    }

    pub(in crate::group) fn synced(&mut self, to: ReplyTo) -> Option<SyncGroupResponse<'static>> {
        match self.answers.remove(&to)? {
            Deferred::Sync(answer) => Some(answer),
            other @ Deferred::Join(_) => panic!("{other:?}"),
        }
    }

    pub(in crate::group) fn commit_offset(
        &mut self,
        member: &str,
        generation: i32,
        offset: i64,
    ) -> ErrorCode {
        let request = commit("g", member, generation, offset);
        let outcome = self.groups.commit_offsets(&request, 8, self.now);
        let response = self.done(outcome);
        ErrorCode::from_code(response.topics[0].partitions[0].error_code).unwrap()
    }

    pub(in crate::group) fn committed(&self) -> i64 {
        let wanted =
            [WantedOffsets { topic: "t", topic_id: ringlog_types::Uuid::ZERO, partitions: &[0] }];
        self.groups.fetch_offsets("g", Some(&wanted)).topics[0].partitions[0].committed_offset
    }

    pub(in crate::group) fn state(&self) -> String {
        self.groups.describe("g", 5).group_state.into_owned()
    }

    /// One member alone in a stable group; its id.
    fn settle_one(&mut self) -> String {
        let to = self.join(&join("", None), 3);
        self.pass(self.settings.group_initial_rebalance_delay_ms);
        let answer = self.joined(to).unwrap();
        assert_eq!((answer.error_code, answer.generation_id), (0, 1));
        let id = answer.member_id.into_owned();
        let to = self.sync(&id, 1, &[(&id, b"all")]);
        assert_eq!(self.synced(to).unwrap().assignment[..], *b"all");
        id
    }

    /// The node goes down, and another process reads the log.
    pub(in crate::group) fn restart(&mut self) {
        assert!(self.held.is_empty());
        self.groups = GroupCoordinator::new(self.settings.clone(), self.cluster.clone());
        for (at, record) in self.log.iter().enumerate() {
            let end = at as i64 + 1;
            let value = record.value.as_deref();
            self.groups.load(end, Some(&record.key), value, self.now).unwrap();
        }
        self.groups.committed(self.log.len() as i64);
        let effects = self.groups.loaded(self.now);
        self.carry_out(effects);
    }
}

pub(in crate::group) fn join(member: &str, instance: Option<&str>) -> JoinGroupRequest<'static> {
    join_with(member, instance, &[("range", b"subscription")])
}

pub(in crate::group) fn join_with(
    member: &str,
    instance: Option<&str>,
    protocols: &[(&str, &[u8])],
) -> JoinGroupRequest<'static> {
    let protocol = |(name, metadata): &(&str, &[u8])| JoinGroupRequestProtocol {
        name: (*name).to_owned().into(),
        metadata: metadata.to_vec().into(),
    };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: SESSION_MS as i32,
        rebalance_timeout_ms: REBALANCE_MS as i32,
        member_id: member.to_owned().into(),
        group_instance_id: instance.map(|id| id.to_owned().into()),
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(protocol).collect(),
        reason: None,
    }
}

fn commit(
    group: &'static str,
    member: &str,
    generation: i32,
    offset: i64,
) -> OffsetCommitRequest<'static> {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned().into(),
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn the_first_members_share_one_generation() {
    let mut world = World::new(GroupSettings::default());
    let first = world.join(&join("", None), 3);
    world.pass(2_000);
    let second = world.join(&join("", None), 3);
    world.pass(1_000);
    assert_eq!(world.joined(first), None, "the delay starts anew with each newcomer");
    world.pass(3_000);
    let (first, second) = (world.joined(first).unwrap(), world.joined(second).unwrap());
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!((first.members.len(), second.members.len()), (2, 0), "the leader hears of all");
    assert_eq!(first.leader, first.member_id);
    assert_eq!(second.leader, first.member_id);
    assert_eq!(first.protocol_name.as_deref(), Some("range"));

    let follower = world.sync(&second.member_id, 1, &[]);
    assert_eq!(world.synced(follower), None);
    let parts = [(&*first.member_id, &b"1"[..]), (&*second.member_id, &b"2"[..])];
    let leader = world.sync(&first.member_id, 1, &parts);
    assert_eq!(world.synced(leader).unwrap().assignment[..], *b"1");
    assert_eq!(world.synced(follower).unwrap().assignment[..], *b"2");
    assert_eq!(world.state(), "Stable");
}

#[test]
fn an_assignment_is_given_out_when_it_is_committed() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    let to = world.join(&join(&id, None), 3);
    let generation = world.joined(to).unwrap().generation_id;
    world.holds = true;
    let to = world.sync(&id, generation, &[(&id, b"all")]);
    assert_eq!(world.synced(to), None);
    assert_eq!(world.state(), "CompletingRebalance");
    world.commit(Ok(()));
    assert_eq!(world.synced(to).unwrap().assignment[..], *b"all");
    assert_eq!(world.state(), "Stable");
}

#[test]
fn an_assignment_that_cannot_be_written_is_an_error_and_a_rebalance() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    let to = world.join(&join(&id, None), 3);
    let generation = world.joined(to).unwrap().generation_id;
    world.holds = true;
    let to = world.sync(&id, generation, &[(&id, b"all")]);
    world.commit(Err(ErrorCode::NotCoordinator));
    assert_eq!(world.synced(to).unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(&id, generation), ErrorCode::RebalanceInProgress);
}

#[test]
fn members_without_an_id_come_back_with_the_one_they_are_given() {
    let mut world = World::new(GroupSettings::default());
    let to = world.join(&join("", None), 4);
    let answer = world.joined(to).unwrap();
    assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
    assert!(answer.member_id.starts_with("c-"), "{}", answer.member_id);
    let to = world.join(&join(&answer.member_id, None), 4);
    world.pass(3_000);
    assert_eq!(world.joined(to).unwrap().generation_id, 1);

    // One that does not come back is forgotten, and a group that it alone made too.
    let mut world = World::new(GroupSettings::default());
    let to = world.join(&join("", None), 4);
    let id = world.joined(to).unwrap().member_id;
    assert_eq!(world.groups.group_count(), 1);
    world.pass(SESSION_MS);
    assert_eq!(world.groups.group_count(), 0);
    let to = world.join(&join(&id, None), 4);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn ids_that_do_not_come_back_are_bounded() {
    let mut world = World::new(GroupSettings::default());
    for _ in 0..PENDING_JOINS_MAX {
        let to = world.join(&join("", None), 4);
        assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::MemberIdRequired.code());
    }
    let to = world.join(&join("", None), 4);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::GroupMaxSizeReached.code());
    world.pass(SESSION_MS);
    let to = world.join(&join("", None), 4);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::MemberIdRequired.code());
}

#[test]
fn a_silent_member_is_replaced_in_the_next_generation() {
    let mut world = World::new(GroupSettings::default());
    let silent = world.settle_one();
    let to = world.join(&join("", None), 3);
    assert_eq!(world.heartbeat(&silent, 1), ErrorCode::RebalanceInProgress);
    world.pass(SESSION_MS);
    let answer = world.joined(to).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (2, 1));
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(world.heartbeat(&silent, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn heartbeats_keep_a_session_and_old_generations_are_told() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    for _ in 0..20 {
        world.pass(SESSION_MS - 1);
        assert_eq!(world.heartbeat(&id, 1), ErrorCode::None);
    }
    assert_eq!(world.heartbeat(&id, 0), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat("nobody", 1), ErrorCode::UnknownMemberId);
    world.pass(SESSION_MS);
    assert_eq!((world.heartbeat(&id, 1), &*world.state()), (ErrorCode::UnknownMemberId, "Empty"));
}

#[test]
fn a_member_that_joins_again_with_nothing_new_disturbs_nobody() {
    let mut world = World::new(GroupSettings::default());
    let leader = world.settle_one();
    let to = world.join(&join("", None), 3);
    let again = world.join(&join(&leader, None), 3);
    let second = world.joined(to).unwrap().member_id.into_owned();
    assert_eq!(world.joined(again).unwrap().generation_id, 2);
    let leader_sync = world.sync(&leader, 2, &[(&leader, b"1"), (&second, b"2")]);
    let second_sync = world.sync(&second, 2, &[]);
    assert!(world.synced(leader_sync).is_some() && world.synced(second_sync).is_some());

    let to = world.join(&join(&second, None), 3);
    let answer = world.joined(to).unwrap();
    assert_eq!((answer.error_code, answer.generation_id, &*world.state()), (0, 2, "Stable"));
    // The leader may have news that only it knows.
    let to = world.join(&join(&leader, None), 3);
    assert_eq!((world.joined(to), &*world.state()), (None, "PreparingRebalance"));
    // And whoever subscribes to something else.
    let to = world.join(&join_with(&second, None, &[("range", b"other")]), 3);
    let answer = world.joined(to).unwrap();
    assert_eq!(answer.generation_id, 3);
}

#[test]
fn the_protocol_is_one_that_all_support() {
    let mut world = World::new(GroupSettings::default());
    let both: [(&str, &[u8]); 2] = [("sticky", b"s"), ("range", b"r")];
    let first = world.join(&join_with("", None, &both), 3);
    let second = world.join(&join("", None), 3);
    let stranger = world.join(&join_with("", None, &[("other", b"o")]), 3);
    let answer = world.joined(stranger).unwrap();
    assert_eq!(answer.error_code, ErrorCode::InconsistentGroupProtocol.code());
    world.pass(6_000);
    let answer = world.joined(first).unwrap();
    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    assert!(answer.members.iter().any(|member| member.metadata[..] == *b"r"));
    assert!(world.joined(second).is_some());
}

#[test]
fn whoever_leaves_makes_room_at_once() {
    let mut world = World::new(GroupSettings { group_max_size: 1, ..Default::default() });
    let id = world.settle_one();
    let to = world.join(&join("", None), 3);
    let error = world.joined(to).unwrap().error_code;
    assert_eq!(error, ErrorCode::GroupMaxSizeReached.code());
    let leaving = [
        LeavingMember { member_id: &id, instance_id: None },
        LeavingMember { member_id: "nobody", instance_id: None },
    ];
    let outcome = world.groups.leave("g", &leaving, world.now);
    let response = world.done(outcome);
    let errors: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!(errors, [0, ErrorCode::UnknownMemberId.code()]);
    assert_eq!(world.state(), "Empty");
    let to = world.join(&join("", None), 3);
    world.pass(3_000);
    assert_eq!(world.joined(to).unwrap().generation_id, 3);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_double() {
    let mut world = World::new(GroupSettings::default());
    let to = world.join(&join("", Some("i")), 9);
    world.pass(3_000);
    let old = world.joined(to).unwrap().member_id.into_owned();
    let to = world.sync(&old, 1, &[(&old, b"all")]);
    assert!(world.synced(to).is_some());

    let to = world.join(&join("", Some("i")), 9);
    let answer = world.joined(to).unwrap();
    assert_eq!((answer.error_code, answer.generation_id), (0, 1));
    assert!(answer.skip_assignment && answer.leader == answer.member_id);
    let new = answer.member_id.into_owned();
    assert_ne!(new, old);
    let fenced = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: old.into(),
        group_instance_id: Some("i".into()),
    };
    let outcome = world.groups.heartbeat(&fenced, world.now);
    assert_eq!(world.done(outcome), ErrorCode::FencedInstanceId);
    let to = world.sync(&new, 1, &[]);
    assert_eq!(world.synced(to).unwrap().assignment[..], *b"all");
    // The log knows the new id.
    world.restart();
    assert_eq!(world.heartbeat(&new, 1), ErrorCode::None);
}

#[test]
fn those_who_never_sync_are_removed() {
    let mut world = World::new(GroupSettings::default());
    let (first, second) = (world.join(&join("", None), 3), world.join(&join("", None), 3));
    world.pass(6_000);
    let leader = world.joined(first).unwrap().member_id.into_owned();
    let lazy = world.joined(second).unwrap().member_id.into_owned();
    let to = world.sync(&leader, 1, &[(&leader, b"1"), (&lazy, b"2")]);
    assert!(world.synced(to).is_some());
    for _ in 0..(REBALANCE_MS / 5_000) {
        world.pass(5_000);
        world.heartbeat(&leader, 1);
        world.heartbeat(&lazy, 1);
    }
    assert_eq!(world.heartbeat(&lazy, 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_commit_is_read_when_it_is_committed_and_not_before() {
    let mut world = World::new(GroupSettings::default());
    assert_eq!(world.commit_offset("", -1, 5), ErrorCode::None);
    assert_eq!(world.committed(), 5);
    world.holds = true;
    let _ = world.commit_offset("", -1, 6);
    assert_eq!(world.committed(), 5, "a dirty read");
    world.commit(Ok(()));
    assert_eq!(world.committed(), 6);
}

#[test]
fn only_members_of_the_generation_commit() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    assert_eq!(world.commit_offset(&id, 1, 5), ErrorCode::None);
    assert_eq!(world.commit_offset(&id, 0, 1), ErrorCode::IllegalGeneration);
    assert_eq!(world.commit_offset("nobody", 1, 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.commit_offset("", -1, 1), ErrorCode::UnknownMemberId);
    // While members join, those of the last generation may still say how far they came.
    let to = world.join(&join("", None), 3);
    assert_eq!(world.commit_offset(&id, 1, 6), ErrorCode::None);
    let again = world.join(&join(&id, None), 3);
    assert!(world.joined(to).is_some() && world.joined(again).is_some());
    assert_eq!(world.commit_offset(&id, 2, 7), ErrorCode::RebalanceInProgress);
    assert_eq!(world.committed(), 6);

    let other = commit("other", "", 3, 1);
    let outcome = world.groups.commit_offsets(&other, 8, world.now);
    let code = world.done(outcome).topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::IllegalGeneration.code());
}

#[test]
fn a_long_note_is_refused_alone() {
    let mut world = World::new(GroupSettings::default());
    let mut request = commit("g", "", -1, 5);
    let mut noted = request.topics[0].partitions[0].clone();
    noted.partition_index = 1;
    noted.committed_metadata = Some("n".repeat(4_097).into());
    request.topics[0].partitions.push(noted);
    let outcome = world.groups.commit_offsets(&request, 8, world.now);
    let response = world.done(outcome);
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::OffsetMetadataTooLarge.code()]);
    assert_eq!(world.committed(), 5);
}

#[test]
fn a_restart_goes_on_where_the_records_end() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    assert_eq!(world.commit_offset(&id, 1, 42), ErrorCode::None);
    let before = world.groups.describe("g", 5);
    world.restart();
    assert_eq!(world.groups.describe("g", 5), before);
    assert_eq!(world.committed(), 42);
    assert_eq!(world.heartbeat(&id, 1), ErrorCode::None);
    world.pass(SESSION_MS);
    assert_eq!(world.state(), "Empty");
    world.restart();
    assert_eq!((&*world.state(), world.committed()), ("Empty", 42));
}

#[test]
fn offsets_of_an_empty_group_expire_and_the_group_with_them() {
    let week = GroupSettings::default().offsets_retention_ms as u64;
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    assert_eq!(world.commit_offset(&id, 1, 42), ErrorCode::None);
    world.pass(SESSION_MS);
    world.pass(week - 600_000);
    assert_eq!(world.committed(), 42);
    world.pass(2 * 600_000);
    assert_eq!((world.committed(), world.groups.group_count()), (-1, 0));
    world.restart();
    assert_eq!((world.groups.offset_count(), world.groups.group_count()), (0, 0));
}

#[test]
fn many_expired_offsets_go_some_at_a_time() {
    let mut world = World::new(GroupSettings::default());
    let mut request = commit("g", "", -1, 5);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..2_500)
        .map(|partition_index| OffsetCommitRequestPartition { partition_index, ..one.clone() })
        .collect();
    let outcome = world.groups.commit_offsets(&request, 8, world.now);
    let _ = world.done(outcome);
    let written = world.log.len();
    world.now.wall_ms += GroupSettings::default().offsets_retention_ms;
    world.now.monotonic_ms += 600_000;
    let effects = world.groups.tick(world.now).unwrap();
    assert_eq!(effects.records.len(), 1_000);
    world.carry_out(effects);
    world.pass(1_000);
    assert_eq!((world.log.len(), world.groups.offset_count()), (written + 2_501, 0));
}

#[test]
fn groups_with_members_are_not_deleted() {
    let mut world = World::new(GroupSettings::default());
    let id = world.settle_one();
    assert_eq!(world.commit_offset(&id, 1, 42), ErrorCode::None);
    assert_eq!(world.groups.delete_group("g").response, ErrorCode::NonEmptyGroup);
    assert_eq!(world.groups.delete_group("none").response, ErrorCode::GroupIdNotFound);
    world.pass(SESSION_MS);
    let outcome = world.groups.delete_group("g");
    assert_eq!(world.done(outcome), ErrorCode::None);
    assert_eq!((world.committed(), world.groups.group_count()), (-1, 0));
    world.restart();
    assert_eq!((world.committed(), world.groups.group_count()), (-1, 0));
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    let mut world = World::new(GroupSettings::default());
    // Version 0, one topic "t", no user data.
    let subscription = [0, 0, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255];
    let to = world.join(&join_with("", None, &[("range", &subscription)]), 3);
    world.pass(3_000);
    let id = world.joined(to).unwrap().member_id.into_owned();
    let _ = world.sync(&id, 1, &[(&id, b"all")]);
    for (group_topic, expected) in
        [("t", ErrorCode::GroupSubscribedToTopic), ("u", ErrorCode::None)]
    {
        let mut request = commit("g", &id, 1, 9);
        request.topics[0].name = group_topic.into();
        let outcome = world.groups.commit_offsets(&request, 8, world.now);
        let _ = world.done(outcome);
        let request = OffsetDeleteRequest {
            group_id: "g".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: group_topic.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        };
        let outcome = world.groups.delete_offsets(&request);
        let response = world.done(outcome);
        assert_eq!(response.topics[0].partitions[0].error_code, expected.code());
    }
    assert_eq!((world.committed(), world.groups.offset_count()), (9, 1));
    let effects = world.groups.topic_deleted("t");
    world.carry_out(effects);
    assert_eq!(world.committed(), -1);
}

#[test]
fn groups_of_other_kinds_keep_their_ids() {
    let mut world = World::new(GroupSettings::default());
    let key = [0, 11, 0, 1, b'g'];
    world.groups.load(1, Some(&key), Some(&[0, 0, 0, 0, 0, 1]), world.now).unwrap();
    let to = world.join(&join("", None), 9);
    let code = world.joined(to).unwrap().error_code;
    assert_eq!(code, ErrorCode::InconsistentGroupProtocol.code());
    let listed = world.groups.list(&ListFilter { types: vec!["Share"], ..Default::default() });
    assert_eq!((listed.len(), &*listed[0].group_id), (1, "g"));
    assert_eq!(world.groups.list(&ListFilter { types: vec!["classic"], ..Default::default() }), []);
    world.groups.load(2, Some(&key), None, world.now).unwrap();
    assert_eq!(world.groups.group_count(), 0);
}

#[test]
fn what_does_not_fit_into_a_record_is_refused() {
    let mut world = World::new(GroupSettings::default());
    let long = "x".repeat(40_000);
    let to = world.join(&JoinGroupRequest { group_id: long.clone().into(), ..join("", None) }, 9);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::InvalidGroupId.code());
    let to = world.join(&join_with("", None, &[(&long, b"")]), 9);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::InvalidRequest.code());
    let mut request = commit("g", "", -1, 5);
    request.topics[0].name = long.into();
    let outcome = world.groups.commit_offsets(&request, 8, world.now);
    let code = world.done(outcome).topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
    let short = JoinGroupRequest { session_timeout_ms: 5, ..join("", None) };
    let to = world.join(&short, 9);
    assert_eq!(world.joined(to).unwrap().error_code, ErrorCode::InvalidSessionTimeout.code());
    assert_eq!(world.groups.group_count(), 0);
}
