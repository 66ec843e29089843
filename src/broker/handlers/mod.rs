//! One file for each API, and the table of what this node serves.
//!
//! Only version ranges that really work stand in [`SERVED`]; ApiVersions advertises exactly it.

mod alter_configs;
mod api_versions;
mod authorized_operations;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_topic_partitions;
mod fetch;
mod incremental_alter_configs;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_wire::ApiKey;

use crate::network::answers::Answer;
use crate::network::connection::Peer;
use crate::network::request::{Held, Request};
use crate::shard::Shard;

/// The APIs of this node with their version ranges: those of Kafka 4.3, and the older versions
/// that Kafka 3.9 still took.
pub(crate) const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, 13),
    (ApiKey::Fetch, 0, 18),
    (ApiKey::ListOffsets, 0, 11),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 0, 7),
    (ApiKey::DeleteTopics, 0, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 0, 4),
    (ApiKey::DescribeConfigs, 0, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::DescribeLogDirs, 0, 5),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ListConfigResources, 0, 1),
    (ApiKey::DescribeTopicPartitions, 0, 0),
];

/// The work on one request.
pub(crate) enum Work {
    /// It is done.
    Done(Answer),
    /// It goes on.
    Later(Pin<Box<dyn Future<Output = Answer>>>),
    /// It begins later, and nothing else of the connection may begin before it. It is not `First`
    /// again then.
    First(Pin<Box<dyn Future<Output = Work>>>),
}

impl Work {
    pub(crate) fn later(future: impl Future<Output = Answer> + 'static) -> Work {
        Work::Later(Box::pin(future))
    }

    pub(crate) fn first(future: impl Future<Output = Work> + 'static) -> Work {
        Work::First(Box::pin(future))
    }
}

/// Whether this node serves the API in this version.
pub(crate) fn serves(api: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|&(key, min, max)| key == api && (min..=max).contains(&version))
}

/// Starts the work on one request frame.
///
/// Produce appends before this returns, or before what comes [`Work::First`] has ended, so that
/// requests of one connection append in order.
pub(crate) fn dispatch(shard: &Rc<Shard>, peer: &Rc<Peer>, frame: Bytes, held: &Held) -> Work {
    let request = match Request::parse(frame, peer.clone(), shard.rt.now(), held.clone()) {
        Ok(request) => request,
        Err(reason) => return Work::Done(Answer::Close(reason)),
    };
    if !serves(request.api, request.version) {
        return Work::Done(unsupported(&request));
    }
    let shard = shard.clone();
    match request.api {
        ApiKey::Produce => produce::handle(&shard, request),
        ApiKey::ApiVersions => Work::Done(api_versions::handle(&shard, &request)),
        ApiKey::Fetch => Work::later(fetch::handle(shard, request)),
        ApiKey::ListOffsets => Work::later(list_offsets::handle(shard, request)),
        ApiKey::Metadata => Work::later(metadata::handle(shard, request)),
        ApiKey::CreateTopics => Work::later(create_topics::handle(shard, request)),
        ApiKey::DeleteTopics => Work::later(delete_topics::handle(shard, request)),
        ApiKey::DeleteRecords => Work::later(delete_records::handle(shard, request)),
        ApiKey::InitProducerId => Work::later(init_producer_id::handle(shard, request)),
        ApiKey::OffsetForLeaderEpoch => {
            Work::later(offset_for_leader_epoch::handle(shard, request))
        }
        ApiKey::DescribeConfigs => Work::later(describe_configs::handle(shard, request)),
        ApiKey::AlterConfigs => Work::later(alter_configs::handle(shard, request)),
        ApiKey::DescribeLogDirs => Work::later(describe_log_dirs::handle(shard, request)),
        ApiKey::CreatePartitions => Work::later(create_partitions::handle(shard, request)),
        ApiKey::IncrementalAlterConfigs => {
            Work::later(incremental_alter_configs::handle(shard, request))
        }
        ApiKey::DescribeCluster => Work::later(describe_cluster::handle(shard, request)),
        ApiKey::ListConfigResources => Work::later(list_config_resources::handle(shard, request)),
        ApiKey::DescribeTopicPartitions => {
            Work::later(describe_topic_partitions::handle(shard, request))
        }
        _ => unreachable!("every served API is dispatched above"),
    }
}

/// An ApiVersions request of an unknown version is answered, so that the client can choose
/// another (KIP-511); nothing else can be, since not even the response's form is known.
fn unsupported(request: &Request) -> Answer {
    if request.api == ApiKey::ApiVersions {
        return api_versions::unsupported_version(request);
    }
    let Request { api, version, .. } = request;
    Answer::Close(format!("{api:?} version {version} is not served"))
}
