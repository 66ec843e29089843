//! Consumer groups from outside: what was committed is there after a kill, a member that comes back
//! within its session goes on, and clients do not write to the groups' own topic.

use std::sync::Arc;

use ringlog_record::BatchBuilder;
use ringlog_types::ErrorCode;
use ringlog_types::Uuid;
use ringlog_wire::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use ringlog_wire::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use ringlog_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ringlog_wire::messages::describe_groups_response::DescribeGroupsResponse;
use ringlog_wire::messages::find_coordinator_request::FindCoordinatorRequest;
use ringlog_wire::messages::find_coordinator_response::FindCoordinatorResponse;
use ringlog_wire::messages::heartbeat_request::HeartbeatRequest;
use ringlog_wire::messages::heartbeat_response::HeartbeatResponse;
use ringlog_wire::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use ringlog_wire::messages::join_group_response::JoinGroupResponse;
use ringlog_wire::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringlog_wire::messages::offset_commit_response::OffsetCommitResponse;
use ringlog_wire::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use ringlog_wire::messages::offset_fetch_response::OffsetFetchResponse;
use ringlog_wire::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use ringlog_wire::messages::sync_group_response::SyncGroupResponse;

use crate::node::Node;
use crate::old_clients::produce;
use crate::raw_client::RawClient;

const FLAGS: [&str; 4] = ["--shards", "2", "--set", "group.initial.rebalance.delay.ms=0"];
const TOPIC: &str = "t";

fn find(wire: &mut RawClient) {
    let request = FindCoordinatorRequest { key: "g".into(), ..Default::default() };
    let answer = wire.ask(3, &request);
    assert_eq!(answer.decode::<FindCoordinatorResponse>().error_code, 0);
}

fn is_loading(code: i16) -> bool {
    code == ErrorCode::CoordinatorLoadInProgress.code()
}

/// Commits until the coordinator is there.
fn commit(wire: &mut RawClient, group: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: group.to_owned().into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    loop {
        let answer = wire.ask(8, &request);
        let code = answer.decode::<OffsetCommitResponse>().topics[0].partitions[0].error_code;
        if !is_loading(code) {
            assert_eq!(code, 0);
            return;
        }
    }
}

/// What a group has committed, once its coordinator is there.
fn committed(wire: &mut RawClient, group: &str) -> Vec<i64> {
    let group = OffsetFetchRequestGroup {
        group_id: group.to_owned().into(),
        topics: None,
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    loop {
        let answer = wire.ask(8, &request);
        let body: OffsetFetchResponse = answer.decode();
        if is_loading(body.groups[0].error_code) {
            continue;
        }
        assert_eq!(body.groups[0].error_code, 0);
        let topics = body.groups[0].topics.iter();
        return topics.flat_map(|t| t.partitions.iter().map(|p| p.committed_offset)).collect();
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_kill() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &FLAGS);
    node.create(TOPIC, 1, &[]).await;
    let mut wire = RawClient::connect(&node);
    find(&mut wire);
    for round in 0..3 {
        for group in 0..20 {
            commit(&mut wire, &format!("g{group}"), round * 100 + group);
        }
    }
    let node = Node::start_with(node.kill(), &FLAGS);
    let mut wire = RawClient::connect(&node);
    for group in 0..20 {
        assert_eq!(committed(&mut wire, &format!("g{group}")), [200 + group]);
    }
    // It goes with its topic.
    let client = node.client().await;
    client.delete_topic(TOPIC).await.unwrap();
    let deadline = std::time::Instant::now() + crate::node::PATIENCE;
    while !committed(&mut wire, "g7").is_empty() {
        assert!(std::time::Instant::now() < deadline, "offsets of a deleted topic stay");
    }
}

fn settle(wire: &mut RawClient) -> String {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: b"m"[..].into() };
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let member = loop {
        let answer = wire.ask(3, &request);
        let body: JoinGroupResponse = answer.decode();
        if !is_loading(body.error_code) {
            assert_eq!((body.error_code, body.generation_id), (0, 1));
            break body.member_id.into_owned();
        }
    };
    let part = SyncGroupRequestAssignment {
        member_id: member.clone().into(),
        assignment: b"all"[..].into(),
    };
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone().into(),
        assignments: vec![part],
        ..Default::default()
    };
    let answer = wire.ask(3, &request);
    assert_eq!(answer.decode::<SyncGroupResponse>().error_code, 0);
    member
}

#[tokio::test]
async fn a_member_goes_on_after_a_kill() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &FLAGS);
    let mut wire = RawClient::connect(&node);
    find(&mut wire);
    let member = settle(&mut wire);
    let node = Node::start_with(node.kill(), &FLAGS);
    let mut wire = RawClient::connect(&node);
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone().into(),
        ..Default::default()
    };
    loop {
        let answer = wire.ask(3, &request);
        let code = answer.decode::<HeartbeatResponse>().error_code;
        if !is_loading(code) {
            assert_eq!(code, 0);
            break;
        }
    }
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
    let answer = wire.ask(5, &request);
    let body: DescribeGroupsResponse = answer.decode();
    let group = &body.groups[0];
    assert_eq!((&*group.group_state, &*group.members[0].member_id), ("Stable", &*member));
    assert_eq!(group.members[0].member_assignment[..], *b"all");
}

/// Whoever wrote there could make groups' offsets unreadable.
#[tokio::test]
async fn clients_do_not_write_to_the_groups_topic() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &FLAGS);
    let mut wire = RawClient::connect(&node);
    find(&mut wire);
    let mut batch = BatchBuilder::new(0);
    batch.push(0, Some(&[0, 1, 0, 9]), Some(b"v"), &[]);
    let (code, _) = produce(&mut wire, 7, "__consumer_offsets", 0, &batch.build().unwrap().0);
    assert_eq!(code, ErrorCode::InvalidTopicException.code());
}

/// A member of a consumer group (KIP-848) that gives back what it is told to.
struct Member {
    wire: RawClient,
    id: &'static str,
    epoch: i32,
    owned: Vec<(Uuid, Vec<i32>)>,
    regex: Option<&'static str>,
}

impl Member {
    fn new(node: &Node, id: &'static str, regex: Option<&'static str>) -> Member {
        Member { wire: RawClient::connect(node), id, epoch: 0, owned: Vec::new(), regex }
    }

    /// Sends a heartbeat, and takes what it is given; the error.
    fn beat(&mut self) -> i16 {
        let joins = self.epoch == 0;
        let owned = self.owned.iter().map(|(topic_id, partitions)| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.clone(),
        });
        let names = if self.regex.is_some() { vec![] } else { vec![TOPIC.into()] };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.into(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then_some(names),
            subscribed_topic_regex: self.regex.filter(|_| joins).map(Into::into),
            topic_partitions: Some(owned.collect()),
            ..Default::default()
        };
        loop {
            let answer = self.wire.ask(1, &request);
            let body: ConsumerGroupHeartbeatResponse = answer.decode();
            if is_loading(body.error_code) {
                continue;
            }
            if body.error_code == 0 {
                self.epoch = body.member_epoch;
                if let Some(assignment) = body.assignment {
                    let topics = assignment.topic_partitions.into_iter();
                    self.owned = topics.map(|topic| (topic.topic_id, topic.partitions)).collect();
                }
            }
            return body.error_code;
        }
    }

    fn load(&self) -> usize {
        self.owned.iter().map(|(_, partitions)| partitions.len()).sum()
    }
}

/// Heartbeats until the members own so many partitions each.
fn until_loads(members: &mut [&mut Member], wanted: &[usize]) {
    let deadline = std::time::Instant::now() + crate::node::PATIENCE;
    loop {
        for member in members.iter_mut() {
            assert_eq!(member.beat(), 0, "{}", member.id);
        }
        let loads: Vec<usize> = members.iter().map(|member| member.load()).collect();
        if loads == wanted {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{loads:?} and not {wanted:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test]
async fn consumer_groups_share_partitions_and_survive_a_kill() {
    let flags = [&FLAGS[..], &["--set", "group.consumer.assignment.interval.ms=0"]].concat();
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags);
    node.create(TOPIC, 4, &[]).await;
    find(&mut RawClient::connect(&node));
    let (mut one, mut two) = (Member::new(&node, "one", None), Member::new(&node, "two", None));
    until_loads(&mut [&mut one], &[4]);
    until_loads(&mut [&mut one, &mut two], &[2, 2]);
    let (owned, epoch) = (one.owned.clone(), one.epoch);

    // The log has the whole group: after a kill both go on where they were.
    let node = Node::start_with(node.kill(), &flags);
    one.wire = RawClient::connect(&node);
    two.wire = RawClient::connect(&node);
    assert_eq!((one.beat(), two.beat()), (0, 0));
    assert_eq!((one.owned.clone(), one.epoch), (owned, epoch));

    // More partitions, and then a member that is fenced.
    let client = node.client().await;
    client.create_partitions(TOPIC, 6).await.unwrap();
    until_loads(&mut [&mut one, &mut two], &[3, 3]);
    let mut old = Member::new(&node, "two", None);
    old.epoch = two.epoch + 9;
    assert_eq!(old.beat(), ErrorCode::FencedMemberEpoch.code());

    // Topics that match are found when they come.
    let mut regex = Member::new(&node, "regex", Some("later-.*"));
    until_loads(&mut [&mut regex], &[0]);
    node.create("later-1", 2, &[]).await;
    until_loads(&mut [&mut one, &mut two, &mut regex], &[3, 3, 2]);
}
