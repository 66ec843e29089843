//! One file for each API, and the table of them: [`APIS`].
//!
//! A row is everything about an API that is not its work. What ApiVersions offers, what a request
//! claims before it is taken up, how it finds its handler and `docs/apis.md` follow from the table,
//! and `tests/it/versions.rs` refuses a row without a check. Only versions that really work stand
//! in it. Which listeners take an API, and since which version its answer can tell a client to hold
//! back, the schemas say; the table has that from [`ApiKey`].

mod alter_client_quotas;
mod alter_configs;
mod api_versions;
mod authorized_configs;
mod authorized_operations;
mod authorized_topics;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod expire_delegation_token;
mod fetch;
mod find_coordinator;
mod forwarded;
mod group_routing;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod renew_delegation_token;
mod service;
mod sync_group;

use std::rc::Rc;

use ringlog_wire::{ApiKey, ListenerKind};

use crate::authorizer::Ask;
use crate::authorizer::Operation::*;
use crate::authorizer::ResourceKind::*;
use crate::network::request::Request;
use crate::network::request_memory::MemoryNeed;
pub(crate) use crate::network::work::Work;
use crate::shard::Shard;

/// Everything about an API that is not its work.
pub(crate) struct ApiRow {
    pub(crate) api: ApiKey,
    pub(crate) version_min: i16,
    pub(crate) version_max: i16,
    handle: fn(&Rc<Shard>, Request) -> Work,
    /// The memory that a request claims before it is taken up.
    memory: MemoryNeed,
    /// Every question that the handler may ask the authorizer.
    asks: &'static [Ask],
}

impl ApiRow {
    fn serves(&self, listener: ListenerKind, version: i16) -> bool {
        (self.version_min..=self.version_max).contains(&version) && self.api.is_taken_by(listener)
    }

    /// Its requests bring records, which are most of them.
    const fn brings_records(mut self) -> ApiRow {
        self.memory = MemoryNeed::Records;
        self
    }
}

const fn row(
    api: ApiKey,
    (version_min, version_max): (i16, i16),
    handle: fn(&Rc<Shard>, Request) -> Work,
    asks: &'static [Ask],
) -> ApiRow {
    ApiRow { api, version_min, version_max, handle, memory: MemoryNeed::CONTROL, asks }
}

/// A handler that gives its answer as a future, as the table has it.
macro_rules! later {
    ($api:ident) => {
        |shard, request| Work::later($api::handle(shard.clone(), request))
    };
}

/// The APIs of this node with their versions: those of Kafka 4.3, and the older ones that Kafka 3.9
/// still took. The most frequent come first.
pub(crate) const APIS: &[ApiRow] = &[
    row(ApiKey::Produce, (0, 13), produce::handle, &[(Write, Topic), (Write, TransactionalId)])
        .brings_records(),
    row(ApiKey::Fetch, (0, 18), later!(fetch), &[(Read, Topic), (ClusterAction, Cluster)]),
    row(ApiKey::ListOffsets, (0, 11), later!(list_offsets), &[(Describe, Topic)]),
    row(
        ApiKey::Metadata,
        (0, 13),
        later!(metadata),
        &[(Describe, Topic), (Create, Topic), (Create, Cluster), (Describe, Cluster)],
    ),
    row(ApiKey::OffsetCommit, (2, 10), later!(offset_commit), &[(Read, Group), (Read, Topic)]),
    row(
        ApiKey::OffsetFetch,
        (1, 10),
        later!(offset_fetch),
        &[(Describe, Group), (Describe, Topic)],
    ),
    row(
        ApiKey::FindCoordinator,
        (0, 6),
        later!(find_coordinator),
        &[(Describe, Group), (Describe, TransactionalId)],
    ),
    row(ApiKey::JoinGroup, (0, 9), later!(join_group), &[(Read, Group)]),
    row(ApiKey::Heartbeat, (0, 4), later!(heartbeat), &[(Read, Group)]),
    row(ApiKey::LeaveGroup, (0, 5), later!(leave_group), &[(Read, Group)]),
    row(ApiKey::SyncGroup, (0, 5), later!(sync_group), &[(Read, Group)]),
    row(ApiKey::DescribeGroups, (0, 6), later!(describe_groups), &[(Describe, Group)]),
    row(ApiKey::ListGroups, (0, 5), later!(list_groups), &[(Describe, Cluster), (Describe, Group)]),
    row(ApiKey::DeleteGroups, (0, 2), later!(delete_groups), &[(Delete, Group)]),
    row(ApiKey::OffsetDelete, (0, 0), later!(offset_delete), &[(Delete, Group), (Read, Topic)]),
    row(
        ApiKey::ConsumerGroupHeartbeat,
        (0, 1),
        later!(consumer_group_heartbeat),
        &[(Read, Group), (Describe, Topic)],
    ),
    row(
        ApiKey::ConsumerGroupDescribe,
        (0, 1),
        later!(consumer_group_describe),
        &[(Describe, Group), (Describe, Topic)],
    ),
    row(ApiKey::ApiVersions, (0, 4), api_versions::handle, &[]),
    row(
        ApiKey::CreateTopics,
        (0, 7),
        later!(create_topics),
        &[(Create, Cluster), (Create, Topic), (DescribeConfigs, Topic)],
    ),
    row(
        ApiKey::DeleteTopics,
        (0, 6),
        later!(delete_topics),
        &[(Delete, Cluster), (Delete, Topic), (Describe, Topic)],
    ),
    row(ApiKey::DeleteRecords, (0, 2), later!(delete_records), &[(Delete, Topic)]),
    row(
        ApiKey::InitProducerId,
        (0, 5),
        later!(init_producer_id),
        &[(IdempotentWrite, Cluster), (Write, Topic), (Write, TransactionalId)],
    ),
    row(
        ApiKey::OffsetForLeaderEpoch,
        (0, 4),
        later!(offset_for_leader_epoch),
        &[(Describe, Topic), (ClusterAction, Cluster)],
    ),
    row(
        ApiKey::DescribeConfigs,
        (0, 4),
        later!(describe_configs),
        &[(DescribeConfigs, Cluster), (DescribeConfigs, Topic), (DescribeConfigs, Group)],
    ),
    row(
        ApiKey::AlterConfigs,
        (0, 2),
        later!(alter_configs),
        &[(AlterConfigs, Cluster), (AlterConfigs, Topic), (AlterConfigs, Group)],
    ),
    row(ApiKey::DescribeAcls, (0, 3), describe_acls::handle, &[(Describe, Cluster)]),
    row(ApiKey::CreateAcls, (0, 3), create_acls::handle, &[(Alter, Cluster)]),
    row(ApiKey::DeleteAcls, (0, 3), delete_acls::handle, &[(Alter, Cluster)]),
    row(ApiKey::DescribeLogDirs, (0, 5), later!(describe_log_dirs), &[(Describe, Cluster)]),
    row(ApiKey::CreatePartitions, (0, 3), later!(create_partitions), &[(Alter, Topic)]),
    row(ApiKey::CreateDelegationToken, (0, 3), create_delegation_token::handle, &[]),
    row(ApiKey::RenewDelegationToken, (0, 2), renew_delegation_token::handle, &[]),
    row(ApiKey::ExpireDelegationToken, (0, 2), expire_delegation_token::handle, &[]),
    row(ApiKey::DescribeDelegationToken, (0, 3), describe_delegation_token::handle, &[]),
    row(
        ApiKey::IncrementalAlterConfigs,
        (0, 1),
        later!(incremental_alter_configs),
        &[(AlterConfigs, Cluster), (AlterConfigs, Topic), (AlterConfigs, Group)],
    ),
    row(
        ApiKey::DescribeClientQuotas,
        (0, 1),
        later!(describe_client_quotas),
        &[(DescribeConfigs, Cluster)],
    ),
    row(ApiKey::AlterClientQuotas, (0, 1), later!(alter_client_quotas), &[(AlterConfigs, Cluster)]),
    row(
        ApiKey::ListPartitionReassignments,
        (0, 0),
        list_partition_reassignments::handle,
        &[(Describe, Cluster)],
    ),
    row(ApiKey::DescribeQuorum, (0, 2), later!(describe_quorum), &[(Describe, Cluster)]),
    row(ApiKey::DescribeCluster, (0, 2), later!(describe_cluster), &[(Describe, Cluster)]),
    row(ApiKey::DescribeProducers, (0, 0), later!(describe_producers), &[(Read, Topic)]),
    row(
        ApiKey::ListConfigResources,
        (0, 1),
        later!(list_config_resources),
        &[(DescribeConfigs, Cluster)],
    ),
    row(
        ApiKey::DescribeTopicPartitions,
        (0, 0),
        later!(describe_topic_partitions),
        &[(Describe, Topic)],
    ),
];

/// The row of an API that this node serves.
pub(crate) fn api_row(api: ApiKey) -> Option<&'static ApiRow> {
    APIS.iter().find(|row| row.api == api)
}

/// The memory that a request of an API claims before it is taken up. One of an API that nobody
/// serves is hung up on.
pub(crate) fn memory_need(api_key: i16) -> MemoryNeed {
    let row = APIS.iter().find(|row| row.api.number() == api_key);
    row.map_or(MemoryNeed::CONTROL, |row| row.memory)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    use super::*;

    fn in_repository(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
    }

    #[test]
    fn an_api_has_one_row_and_versions_that_kafka_has() {
        let mut seen = HashSet::new();
        for row in APIS {
            let api = row.api;
            assert!(seen.insert(api), "{api:?} stands twice");
            assert!(row.version_min <= row.version_max, "{api:?}");
            assert!(api.min_version() <= row.version_min, "{api:?}");
            assert!(row.version_max <= api.max_version(), "{api:?}");
            let listeners = [ListenerKind::Broker, ListenerKind::Controller];
            let taken = listeners.map(|listener| row.serves(listener, row.version_min));
            assert_ne!(taken, [false; 2], "{api:?}: nobody takes it");
        }
    }

    /// Requests that bring records are worked on side by side, and counted at their own size.
    #[test]
    fn a_request_claims_what_its_row_says() {
        for row in APIS {
            let brings_records = memory_need(row.api.number()).brings_records();
            assert_eq!(brings_records, row.api == ApiKey::Produce, "{:?}", row.api);
        }
        assert_eq!(memory_need(-1), MemoryNeed::CONTROL);
    }

    #[test]
    fn a_listener_takes_what_kafkas_takes() {
        let taken = |api, listener| api_row(api).is_some_and(|row| row.serves(listener, 0));
        assert!(taken(ApiKey::Produce, ListenerKind::Broker));
        assert!(!taken(ApiKey::Produce, ListenerKind::Controller));
        assert!(taken(ApiKey::DescribeQuorum, ListenerKind::Controller));
    }

    fn markdown() -> String {
        let mut out = "# APIs\n\nGenerated from the table in `src/broker/handlers/mod.rs`; a test \
                       keeps it current.\n\nA request claims so many times its size of the \
                       memory for requests before it is\ntaken up; one that brings records \
                       claims its size. \
                       Answers have `throttle_time_ms` from the\nversion that is named.\n\n\
                       | API | key | versions | listeners | claims | throttled from | may ask the \
                       authorizer |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
        for row in APIS {
            let asks = row.asks.iter().map(|(operation, kind)| format!("{operation:?} {kind:?}"));
            let asks = asks.collect::<Vec<_>>().join(", ");
            let (api, key) = (row.api, row.api.number());
            let (min, max) = (row.version_min, row.version_max);
            let listeners = match row.api.spec().listeners {
                [true, true] => "broker, controller",
                [false, true] => "controller",
                _ => "broker",
            };
            let claims = match row.memory {
                MemoryNeed::Records => "1".to_owned(),
                MemoryNeed::Times(factor) => factor.to_string(),
            };
            let throttled = match row.api.spec().throttle_time_from {
                i16::MAX => "never".to_owned(),
                from => from.max(min).to_string(),
            };
            let columns = format!("{listeners} | {claims} | {throttled} | {asks}");
            writeln!(out, "| {api:?} | {key} | {min}–{max} | {columns} |").unwrap();
        }
        out
    }

    /// `BLESS=1 cargo test -p ringlog-broker` writes it.
    #[test]
    fn the_document_is_current() {
        let path = in_repository("docs/apis.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == markdown(), "docs/apis.md is stale: BLESS=1 cargo test writes it");
    }

    /// Versions that the README names, as in "Fetch 0–18".
    #[test]
    fn the_readme_names_versions_of_the_table() {
        let readme = std::fs::read_to_string(in_repository("README.md")).unwrap();
        let mut named = 0;
        for row in APIS {
            let name = format!("{:?} {}–", row.api, row.version_min);
            for (at, _) in readme.match_indices(&name) {
                let rest = &readme[at + name.len()..];
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let claimed = rest[..digits].parse();
                assert_eq!(claimed, Ok(row.version_max), "README.md: {name}");
                named += 1;
            }
        }
        assert!(named >= 2, "the README names the versions of Produce and Fetch");
    }
}
