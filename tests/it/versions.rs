//! Every version of every API that the node says it serves: a request in that version is
//! answered in that version, with what matters in it.
//!
//! An API without a check here, or a version that none of its checks can send, fails the test.

mod cluster;
mod configs;
mod consumer_groups;
mod groups;
mod quotas;
mod records;
mod security;
mod topics;

use std::sync::Arc;

use ringlog_record::{BatchBuilder, Compression, Header};
use ringlog_types::Uuid;
use ringlog_wire::ApiKey;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;

use crate::node::Node;
use crate::old_clients::produce;
use crate::raw_client::RawClient;

/// A topic with two partitions; the first has the four records of [`fill`].
const TOPIC: &str = "v";
/// A setting of it that is not the default's.
const RETENTION_MS: &str = "123456789";
/// The timestamp of its first record; the others follow a second apart.
const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

struct World {
    node: Node,
    wire: RawClient,
    topic_id: Uuid,
}

impl World {
    async fn new() -> World {
        let flags = ["--shards", "2", "--set", "group.initial.rebalance.delay.ms=0"];
        let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags);
        node.create(TOPIC, 2, &[("retention.ms", RETENTION_MS)]).await;
        let mut wire = RawClient::connect(&node);
        fill(&mut wire, TOPIC);
        let topic_id = topics::id_of(&mut wire, TOPIC);
        groups::prepare(&mut wire);
        World { node, wire, topic_id }
    }
}

/// Four records: three in a compressed batch, with a null key, a null value and a header, and one
/// alone.
fn fill(wire: &mut RawClient, topic: &str) {
    let headers = [Header { key: "h", value: Some(b"x") }];
    let mut three = BatchBuilder::new(FIRST_TIMESTAMP).compression(Compression::Lz4, None);
    three.push(FIRST_TIMESTAMP, Some(b"k0"), Some(b"v0"), &headers);
    three.push(FIRST_TIMESTAMP + 1000, None, Some(b"v1"), &[]);
    three.push(FIRST_TIMESTAMP + 2000, Some(b"k2"), None, &[]);
    let mut alone = BatchBuilder::new(FIRST_TIMESTAMP + 3000);
    alone.push(FIRST_TIMESTAMP + 3000, Some(b"k3"), Some(b"v3"), &[]);
    assert_eq!(produce(wire, 7, topic, 0, &three.build().unwrap().0), (0, 0));
    assert_eq!(produce(wire, 7, topic, 0, &alone.build().unwrap().0), (0, 3));
}

type Check = fn(&mut World, i16);

const CHECKS: &[(ApiKey, Check)] = &[
    (ApiKey::Produce, records::produce),
    (ApiKey::Fetch, records::fetch),
    (ApiKey::ListOffsets, records::list_offsets),
    (ApiKey::OffsetForLeaderEpoch, records::offset_for_leader_epoch),
    (ApiKey::DeleteRecords, records::delete_records),
    (ApiKey::InitProducerId, records::init_producer_id),
    (ApiKey::FindCoordinator, groups::find_coordinator),
    (ApiKey::JoinGroup, groups::join_group),
    (ApiKey::SyncGroup, groups::sync_group),
    (ApiKey::Heartbeat, groups::heartbeat),
    (ApiKey::LeaveGroup, groups::leave_group),
    (ApiKey::OffsetCommit, groups::offset_commit),
    (ApiKey::OffsetFetch, groups::offset_fetch),
    (ApiKey::OffsetDelete, groups::offset_delete),
    (ApiKey::DescribeGroups, groups::describe_groups),
    (ApiKey::ListGroups, groups::list_groups),
    (ApiKey::DeleteGroups, groups::delete_groups),
    (ApiKey::ConsumerGroupHeartbeat, consumer_groups::consumer_group_heartbeat),
    (ApiKey::ConsumerGroupDescribe, consumer_groups::consumer_group_describe),
    (ApiKey::ApiVersions, api_versions),
    (ApiKey::Metadata, topics::metadata),
    (ApiKey::CreateTopics, topics::create_topics),
    (ApiKey::DeleteTopics, topics::delete_topics),
    (ApiKey::CreatePartitions, topics::create_partitions),
    (ApiKey::DescribeTopicPartitions, topics::describe_topic_partitions),
    (ApiKey::DescribeCluster, topics::describe_cluster),
    (ApiKey::DescribeConfigs, configs::describe_configs),
    (ApiKey::AlterConfigs, configs::alter_configs),
    (ApiKey::IncrementalAlterConfigs, configs::incremental_alter_configs),
    (ApiKey::ListConfigResources, configs::list_config_resources),
    (ApiKey::DescribeLogDirs, configs::describe_log_dirs),
    (ApiKey::AlterClientQuotas, quotas::alter_client_quotas),
    (ApiKey::DescribeClientQuotas, quotas::describe_client_quotas),
    (ApiKey::ListPartitionReassignments, cluster::list_partition_reassignments),
    (ApiKey::DescribeQuorum, cluster::describe_quorum),
    (ApiKey::DescribeProducers, cluster::describe_producers),
    (ApiKey::DescribeAcls, security::describe_acls),
    (ApiKey::CreateAcls, security::create_acls),
    (ApiKey::DeleteAcls, security::delete_acls),
    (ApiKey::CreateDelegationToken, security::create_delegation_token),
    (ApiKey::RenewDelegationToken, security::renew_delegation_token),
    (ApiKey::ExpireDelegationToken, security::expire_delegation_token),
    (ApiKey::DescribeDelegationToken, security::describe_delegation_token),
];

/// What is advertised: API and first and last version.
fn served(wire: &mut RawClient) -> Vec<(ApiKey, i16, i16)> {
    let answer = wire.ask(0, &ApiVersionsRequest::default());
    let body: ApiVersionsResponse = answer.decode();
    assert_eq!(body.error_code, 0);
    let rows = body
        .api_keys
        .iter()
        .map(|row| (ApiKey::from_number(row.api_key).unwrap(), row.min_version, row.max_version));
    rows.collect()
}

#[tokio::test]
async fn every_version_that_is_advertised_works() {
    let mut world = World::new().await;
    let served = served(&mut world.wire);
    assert_eq!(served.len(), CHECKS.len());
    for (api, first, last) in served {
        let check = CHECKS.iter().find(|(key, _)| *key == api);
        let (_, check) = check.unwrap_or_else(|| panic!("{api:?} has no check"));
        for version in first..=last {
            println!("{api:?} {version}");
            check(&mut world, version);
        }
    }
}

fn api_versions(world: &mut World, version: i16) {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = "it".into();
        request.client_software_version = "1.0".into();
    }
    let answer = world.wire.ask(version, &request);
    let body: ApiVersionsResponse = answer.decode();
    assert_eq!((body.error_code, body.api_keys.len()), (0, CHECKS.len()));
    let metadata_version =
        body.finalized_features.iter().find(|feature| feature.name == "metadata.version");
    assert_eq!(metadata_version.is_some(), version >= 3);
    let supported = body.supported_features.iter().any(|it| it.name == "metadata.version");
    assert_eq!(supported, version >= 3);
    // Features whose lowest level is 0 would end clients that read version 3.
    let supported = body.supported_features.iter().any(|it| it.name == "group.version");
    assert_eq!(supported, version >= 4);
    let groups = body.finalized_features.iter().find(|feature| feature.name == "group.version");
    assert_eq!(groups.map(|level| level.max_version_level), (version >= 3).then_some(1));
}
