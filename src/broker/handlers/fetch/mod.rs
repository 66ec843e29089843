//! Fetch (key 1): records out, from memory or spliced from files, with sessions (KIP-227) and
//! long polls. Versions 0 to 3 get message sets of the old formats (Apache Kafka 4 hangs up on
//! them).

mod gather;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringlog_runtime::Piece;
use ringlog_types::{BrokerId, ErrorCode, LeaderEpoch, Uuid};
use ringlog_wire::fetch::{ResponseHead, ResponseWriter};
use ringlog_wire::messages::fetch_request::FetchRequest;
use ringlog_wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use ringlog_wire::{ApiKey, EncodeError, Records, Writer};

use crate::authorizer::{Operation, Resource};
use crate::fetch_session::{FetchPlan, FetchTarget, LastSent, SessionRequest};
use crate::handlers::authorized_topics;
use crate::handlers::fetch::gather::{Fetched, Wanted, fetch};
use crate::network::answers::Answer;
use crate::network::connection::Peer;
use crate::network::request::Request;
use crate::network::throttle::Client;
use crate::replicas::message_sets::OldReader;
use crate::replicas::read::{FetchLimits, PartitionRead};
use crate::replicas::topics::TopicRef;
use crate::shard::Shard;

/// From this version a request carries a limit for the whole response, and the first batch is
/// returned whole whatever its size (KIP-74).
const VERSION_BYTES_MAX: i16 = 3;
/// From this version a client knows that a log directory may fail (KIP-112).
const VERSION_STORAGE_ERROR: i16 = 6;
/// From this version a client may know zstd (KIP-110).
const VERSION_ZSTD: i16 = 10;
/// From this version topics are named by id (KIP-516).
const VERSION_TOPIC_IDS: i16 = 13;
/// From this version the replica id is a tagged field.
const VERSION_REPLICA_STATE: i16 = 15;
/// From this version a client that asked the wrong leader is told who is the right one (KIP-951).
const VERSION_CURRENT_LEADER: i16 = 16;

/// A fetch of so many partitions holds hardly anything while it waits.
const FEW_TARGETS: usize = 16;
/// The memory that a fetch takes for each of its partitions, about, while it waits.
const TARGET_BYTES: usize = 256;
/// How often a fetch of many partitions looks whether others wait for memory.
const SHORT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// `IsolationLevel.READ_COMMITTED`.
const READ_COMMITTED: i8 = 1;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<FetchRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let replica_id = replica_id(&asked, request.version);
    let session = session_request(&asked, request.version);
    let limits = limits(&shard, &request, &asked);
    drop(asked);
    let planned = {
        let random = shard.rt.random_u64() as u32;
        let name_of = |id: &Uuid| shard.replicas.topics.by_id(id).map(|topic| topic.name.clone());
        shard.fetch_sessions.borrow_mut().plan(session, shard.rt.now(), random, name_of)
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => return refuse(&request, error),
    };
    let before = request.peer.fetch_session.replace(plan.session_id);
    if before != plan.session_id {
        // A connection has one session; what it began before, it will not go on with.
        drop(shard.fetch_sessions.borrow_mut().take(before));
    }
    let denied = denied(&shard, &request, &plan.targets, replica_id >= 0);
    // The plan is all that is left of the request, which may wait for long.
    let request = request.without_body();
    match plan.targets.len() {
        ..=FEW_TARGETS => request.held.release(),
        many => request.held.shrink_to(many * TARGET_BYTES),
    }
    let reads = if replica_id >= 0 {
        // No other broker is a replica of anything here.
        let error = match denied.is_empty() {
            true => ErrorCode::NotLeaderOrFollower,
            false => ErrorCode::TopicAuthorizationFailed,
        };
        plan.targets.iter().map(|_| PartitionRead::failed(error)).collect()
    } else {
        let Fetched { reads, owner } = fetch_for(
            &shard,
            &request.peer,
            Wanted { targets: &plan.targets, denied: &denied },
            limits,
        )
        .await;
        let bytes = reads.iter().map(|read| read.bytes).sum();
        shard.touched(&request.peer, owner, bytes);
        if limits.old_reader.is_some() {
            // Made for this answer alone.
            request.held.count_answer(bytes);
        }
        reads
    };
    let news = news(&shard, &plan, reads, request.version);
    let endpoints = endpoints(&shard, &news);
    let head = ResponseHead {
        session_id: plan.session_id,
        topic_count: by_topic(&news).count(),
        ..ResponseHead::default()
    };
    request.respond_with_records(|writer, records| {
        write(writer, request.version, head, news, &endpoints, records)
    })
}

/// Fetches, but waits for nothing that the peer does not wait for: when its side of the
/// connection has ended, it gets what is there. So it does if it waits for many partitions, and
/// others for the memory that they take.
async fn fetch_for(
    shard: &Rc<Shard>,
    peer: &Peer,
    wanted: Wanted<'_>,
    limits: FetchLimits,
) -> Fetched {
    {
        let mut fetched = pin!(fetch(shard, wanted, limits));
        let mut ended = pin!(peer.ended.wait());
        let mut short = pin!(until_short(shard));
        let until_ended = poll_fn(|context| match fetched.as_mut().poll(context) {
            Poll::Ready(fetched) => Poll::Ready(Some(fetched)),
            Poll::Pending if ended.as_mut().poll(context).is_ready() => Poll::Ready(None),
            Poll::Pending if wanted.targets.len() <= FEW_TARGETS => Poll::Pending,
            Poll::Pending => short.as_mut().poll(context).map(|()| None),
        });
        if let Some(fetched) = until_ended.await {
            return fetched;
        }
    }
    let limits = FetchLimits { deadline: shard.rt.now(), ..limits };
    fetch(shard, wanted, limits).await
}

/// Which of the targets may not be read; nothing where all may. A broker that follows needs to be
/// one of the cluster (`KafkaApis.handleFetchRequest`).
fn denied(shard: &Shard, request: &Request, targets: &[FetchTarget], follows: bool) -> Vec<bool> {
    if shard.node.authorizer.allows_all() {
        return Vec::new();
    }
    if follows {
        let cluster = Resource::Cluster;
        return match request.authorize(shard.node.authorizer, Operation::ClusterAction, cluster) {
            true => Vec::new(),
            false => vec![true; targets.len()],
        };
    }
    let is_denied = |target: &FetchTarget| {
        let found = authorized_topics::find(shard, request, Operation::Read, &target.topic);
        matches!(found, Err(ErrorCode::TopicAuthorizationFailed))
    };
    targets.iter().map(is_denied).collect()
}

/// Waits until somebody waits for memory.
async fn until_short(shard: &Shard) {
    while !shard.network.memory.is_short() {
        shard.rt.sleep(SHORT_LOOK_INTERVAL).await;
    }
}

fn refuse(request: &Request, error: ErrorCode) -> Answer {
    let response = FetchResponse { error_code: error.code(), ..Default::default() };
    request.respond(&response)
}

fn session_request(asked: &FetchRequest<'_>, version: i16) -> SessionRequest {
    let uses_topic_ids = version >= VERSION_TOPIC_IDS;
    let mut targets = Vec::new();
    for topic in &asked.topics {
        let named = match uses_topic_ids {
            true => TopicRef::Id(topic.topic_id),
            false => TopicRef::Name(topic.topic.as_ref().into()),
        };
        targets.extend(topic.partitions.iter().map(|partition| FetchTarget {
            topic: named.clone(),
            known_as: None,
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            partition_bytes_max: partition.partition_max_bytes.max(0) as usize,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &asked.forgotten_topics_data {
        let named = match uses_topic_ids {
            true => TopicRef::Id(topic.topic_id),
            false => TopicRef::Name(topic.topic.as_ref().into()),
        };
        forgotten.extend(topic.partitions.iter().map(|partition| (named.clone(), *partition)));
    }
    SessionRequest {
        session_id: asked.session_id,
        epoch: asked.session_epoch,
        uses_topic_ids,
        targets,
        forgotten,
    }
}

/// Which broker asks; -1 for a consumer.
fn replica_id(asked: &FetchRequest<'_>, version: i16) -> i32 {
    match version {
        VERSION_REPLICA_STATE.. => asked.replica_state.replica_id,
        _ => asked.replica_id,
    }
}

fn limits(shard: &Shard, request: &Request, asked: &FetchRequest<'_>) -> FetchLimits {
    let bytes_max = asked.max_bytes.min(shard.node.config.fetch_max_bytes).max(0) as usize;
    let bytes_max = bytes_max.min(quota_bytes_max(shard, request));
    let idle_max = shard.node.config.connections_max_idle_ms;
    let wait_max = if idle_max > 0 { idle_max as u64 } else { u64::MAX };
    let wait_ms = (asked.max_wait_ms.max(0) as u64).min(wait_max);
    FetchLimits {
        passes_damage: replica_id(asked, request.version) < 0,
        bytes_min: (asked.min_bytes.max(0) as usize).min(bytes_max),
        bytes_max,
        whole_first_batch: request.version >= VERSION_BYTES_MAX,
        read_committed: asked.isolation_level == READ_COMMITTED,
        takes_zstd: request.version >= VERSION_ZSTD,
        old_reader: OldReader::of(request.version),
        deadline: request.arrived + Duration::from_millis(wait_ms),
        standing: request.peer.record.standing(),
        work_owner: request.peer.work_owner,
    }
}

/// The most that its quota lets the client have at once.
fn quota_bytes_max(shard: &Shard, request: &Request) -> usize {
    let throttle = &shard.network.throttle;
    if !throttle.is_limited(ApiKey::Fetch.number()) {
        return usize::MAX;
    }
    let client = Client { user: &request.peer.principal.name, client_id: &request.client_id() };
    throttle.fetch_bytes_max(client).unwrap_or(usize::MAX)
}

/// A partition that the client is told of.
struct News<'p> {
    topic: &'p TopicRef,
    partition: i32,
    read: PartitionRead,
    /// The leader, if the client should learn that.
    leader: Option<(BrokerId, LeaderEpoch)>,
}

/// The partitions that the client is told of: in a session only those with news.
fn news<'p>(
    shard: &Shard,
    plan: &'p FetchPlan,
    reads: Vec<PartitionRead>,
    version: i16,
) -> Vec<News<'p>> {
    let mut sessions = shard.fetch_sessions.borrow_mut();
    let mut news = Vec::with_capacity(if plan.incremental { 0 } else { reads.len() });
    for (index, (target, read)) in plan.targets.iter().zip(reads).enumerate() {
        let sent = LastSent {
            high_watermark: read.high_watermark,
            log_start_offset: read.log_start_offset,
        };
        let is_news = sessions.note_sent(plan, index, sent, read.bytes > 0);
        let has_news =
            is_news || read.bytes > 0 || read.error.is_error() || read.diverging.is_some();
        if has_news || !plan.incremental {
            let leader = (version >= VERSION_CURRENT_LEADER)
                .then(|| current_leader(shard, target, read.error))
                .flatten();
            news.push(News { topic: &target.topic, partition: target.partition, read, leader });
        }
    }
    news
}

/// The leader of a partition that was asked of another, or as it was under another epoch.
fn current_leader(
    shard: &Shard,
    target: &FetchTarget,
    error: ErrorCode,
) -> Option<(BrokerId, LeaderEpoch)> {
    if !matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
        return None;
    }
    let topic = shard.replicas.topics.find(&target.topic).ok()?;
    let partition = topic.partition(target.partition)?;
    Some((partition.leader, partition.leader_epoch))
}

/// Where the leaders listen that the client is told of.
fn endpoints(shard: &Shard, news: &[News<'_>]) -> Vec<NodeEndpoint<'static>> {
    let is_told =
        |id: BrokerId| news.iter().any(|news| news.leader.is_some_and(|(leader, _)| leader == id));
    let brokers = shard.node.brokers().into_iter().filter(|broker| is_told(broker.id));
    brokers
        .map(|broker| NodeEndpoint {
            node_id: broker.id.0,
            host: broker.host.into(),
            port: broker.port,
            rack: broker.rack.map(Into::into),
        })
        .collect()
}

/// The partitions of one topic follow each other.
fn by_topic<'n, 'p>(news: &'n [News<'p>]) -> impl Iterator<Item = &'n [News<'p>]> {
    news.chunk_by(|one, next| one.topic == next.topic)
}

/// Writes the response; the pieces of the records go to `records`, and stand in the response by
/// their index there.
fn write(
    writer: &mut Writer,
    version: i16,
    head: ResponseHead,
    news: Vec<News<'_>>,
    endpoints: &[NodeEndpoint<'_>],
    records: &mut Vec<Vec<Piece>>,
) -> Result<(), EncodeError> {
    let sizes: Vec<usize> = by_topic(&news).map(<[News<'_>]>::len).collect();
    let mut response = ResponseWriter::begin(writer, version, head)?;
    let mut news = news.into_iter();
    for size in sizes {
        let topic = news.as_slice()[0].topic;
        match topic {
            TopicRef::Name(name) => response.topic(name, Uuid::ZERO, size)?,
            TopicRef::Id(id) => response.topic("", *id, size)?,
        }
        for News { partition, read, leader, .. } in news.by_ref().take(size) {
            let mut data = partition_data(partition, version, read, records);
            if let Some((leader_id, leader_epoch)) = leader {
                data.current_leader = LeaderIdAndEpoch { leader_id: leader_id.0, leader_epoch };
            }
            response.partition(&data)?;
        }
    }
    response.finish(endpoints)
}

fn partition_data(
    partition_index: i32,
    version: i16,
    read: PartitionRead,
    records: &mut Vec<Vec<Piece>>,
) -> PartitionData<'static> {
    let error = match read.error {
        // Older clients do the same at this error: ask for the leader again.
        ErrorCode::KafkaStorageError if version < VERSION_STORAGE_ERROR => {
            ErrorCode::NotLeaderOrFollower
        }
        error => error,
    };
    let mut data = PartitionData {
        partition_index,
        error_code: error.code(),
        high_watermark: read.high_watermark,
        last_stable_offset: read.last_stable_offset,
        log_start_offset: read.log_start_offset,
        ..Default::default()
    };
    if !read.aborted.is_empty() {
        let aborted = read.aborted.iter().map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset,
        });
        data.aborted_transactions = Some(aborted.collect());
    }
    if let Some(end) = read.diverging {
        data.diverging_epoch = EpochEndOffset { epoch: end.epoch, end_offset: end.end_offset };
    }
    // Clients of every version take an empty list of batches, not all of them null.
    data.records = Some(Records::default());
    if read.bytes > 0 {
        let id = records.len() as u32;
        data.records = Some(Records::External { id, len: read.bytes });
        records.push(read.pieces);
    }
    data
}
