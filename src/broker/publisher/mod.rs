//! One change of the metadata: asked of its source, and then served by all shards.
//!
//! 1. The source's turn is taken: one change at a time.
//! 2. The source decides, and the checkpoints forget topics whose names are created anew.
//! 3. The records are made durable.
//! 4. Every shard takes over the image: it updates and closes logs, and forgets answers that were
//!    encoded from an older one. The checkpoints forget deleted topics. The turn ends.
//! 5. The shards create the logs of new partitions, however long that takes.
//! 6. In a turn of its own, the directories of new logs are recorded.
//!
//! The one who asked is answered after that, so that its next request sees the change on any
//! connection.

pub(crate) mod offline;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metadata::{Controller as Decisions, Decision, Delta, DirectoryAssignment, Image};
use ringlog_runtime::Runtime;
use ringlog_runtime::sync::Permit;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::Body;
use tokio::sync::oneshot;

use crate::checkpoints;
use crate::metadata_source::embedded::controller::Controller;
use crate::metadata_source::embedded::requests::{Answered, decide};
use crate::metadata_source::{AskError, Asked};
use crate::network::connection_limits::Refusal;
use crate::replicas::apply::{self, Change, FoundLogs};
use crate::replicas::opening::{self, Opening};
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// How long another shard may take to count a connection: far less, if its thread runs.
const COUNT_RETRY: Duration = Duration::from_micros(50);

/// Asks the metadata source from any shard. Returns the body of its response, in the version of
/// the request, when every shard serves what was changed.
pub(crate) async fn ask(shard: &Rc<Shard>, asked: Asked) -> Result<Body, AskError> {
    let on_controller = shard.start_on(CONTROLLER_SHARD, move |shard| {
        let shard = shard.clone();
        // Boxed: what a change holds while it waits would make every request's future large.
        Box::pin(async move {
            let controller = shard.controller().expect("set before connections are accepted");
            if asked.is_light() {
                let decide = |decisions: &Decisions, random| decide(decisions, random, &asked);
                return make(&shard, controller, decide).await;
            }
            answer_heavy(&shard, controller, asked).await
        })
    });
    on_controller.await.map_err(AskError::Refused)?.map_err(AskError::Unencodable)
}

/// Answers a request that takes long to decide on: that is done beside the shard. One that changes
/// nothing takes no turn, so that whoever asks in vain, or to see whether it could be done, keeps
/// nobody waiting.
async fn answer_heavy(
    shard: &Rc<Shard>,
    controller: &Controller,
    asked: Asked,
) -> Result<Answered, ErrorCode> {
    let tried = decide_beside(shard, controller, &asked.on_trial()).await;
    if tried.records.is_empty() {
        return Ok(tried.response);
    }
    // By the time of its turn the image may be another.
    drop(tried);
    let turn = begin_change(controller).await?;
    let decision = decide_beside(shard, controller, &asked).await;
    carry_out(shard, controller, turn, decision).await
}

async fn decide_beside(
    shard: &Rc<Shard>,
    controller: &Controller,
    asked: &Asked,
) -> Decision<Answered> {
    let (decisions, random, asked) =
        (controller.decisions().clone(), random(&shard.rt), asked.clone());
    shard.rt.compute(asked.work_owner, move || decide(&decisions, random, &asked)).await
}

fn random(rt: &Runtime) -> u128 {
    u128::from(rt.random_u64()) << 64 | u128::from(rt.random_u64())
}

/// The turn to make a change, which nothing stands in the way of.
async fn begin_change(controller: &Controller) -> Result<Permit, ErrorCode> {
    let turn = controller.turn().await;
    controller.end_unfinished().await?;
    Ok(turn)
}

/// Makes one change, on the controller's shard: `decide` looks at the image and says what to write
/// and to answer.
pub(crate) async fn make<R>(
    shard: &Rc<Shard>,
    controller: &Controller,
    decide: impl FnOnce(&Decisions, u128) -> Decision<R>,
) -> Result<R, ErrorCode> {
    let turn = begin_change(controller).await?;
    let decision = decide(&controller.decisions(), random(&shard.rt));
    carry_out(shard, controller, turn, decision).await
}

/// Writes what was decided on, in this turn, and has it served.
async fn carry_out<R>(
    shard: &Rc<Shard>,
    controller: &Controller,
    turn: Permit,
    decision: Decision<R>,
) -> Result<R, ErrorCode> {
    assert_eq!(shard.id(), CONTROLLER_SHARD, "changes are made where the controller is");
    let created = checkpoints::created_topics(&decision.records);
    Box::pin(checkpoints::forget_topics(shard, &created)).await.map_err(|error| {
        tracing::error!(%error, "checkpoints may know topics of these names: none is created");
        ErrorCode::KafkaStorageError
    })?;
    let delta = controller.write_all(&decision).await?;
    shard.node.metrics.metadata_records.add(decision.records.len() as u64);
    controller.count(&shard.node.metrics);
    if !delta.is_empty() && controller.publishes() {
        let topics = delta.topics.clone();
        let openings = Box::pin(publish(shard, controller, delta)).await;
        drop(turn);
        if openings.wait().await {
            Box::pin(record_directories(shard, controller, topics)).await;
        }
    }
    Ok(decision.response)
}

/// What shards still open of a change that they have taken over.
struct Openings(Vec<oneshot::Receiver<()>>);

impl Openings {
    /// Waits until everything is open that can be. Returns whether there was anything to open.
    async fn wait(self) -> bool {
        let is_any = !self.0.is_empty();
        for opened in self.0 {
            if opened.await.is_err() {
                // That shard stopped, as this one is about to: nobody is to be told of success.
                std::future::pending::<()>().await;
            }
        }
        is_any
    }
}

/// Hands the image to all shards and waits until they serve it, but for the logs of new
/// partitions.
async fn publish(shard: &Rc<Shard>, controller: &Controller, delta: Delta) -> Openings {
    let (image, config) = controller.newest();
    let delta = Arc::new(delta);
    let change = Change { image, config, delta: delta.clone() };
    let opening = shard.on_every_shard(move |shard| take_over(shard.clone(), change)).await;
    forget_committed_offsets(shard, &delta).await;
    let removed = delta.removed_topics.iter().map(|(name, _)| &**name).collect();
    if let Err(error) = checkpoints::forget_topics(shard, &removed).await {
        tracing::error!(%error, "checkpoints still know deleted topics");
    }
    Openings(opening.into_iter().flatten().collect())
}

/// Offsets that groups committed of deleted topics go with them.
async fn forget_committed_offsets(shard: &Rc<Shard>, delta: &Arc<Delta>) {
    if delta.removed_topics.is_empty() {
        return;
    }
    let delta = delta.clone();
    let forget = move |shard: &Rc<Shard>| {
        for (name, _) in &delta.removed_topics {
            shard.coordinators.topic_deleted(name);
        }
        std::future::ready(())
    };
    shard.on_every_shard(forget).await;
}

/// Gives every shard the first image and the directories of the partitions it owns. From now on
/// they get every change.
pub(crate) async fn install(shard: &Rc<Shard>, controller: &Controller, found: FoundLogs) {
    let (image, config) = controller.first_image();
    let change = Change { image, config, delta: Arc::default() };
    let found = Arc::new(found);
    let install = move |shard: &Rc<Shard>| {
        let shard = shard.clone();
        async move {
            begin(&shard, &change.image, &change.config).await;
            let openings = apply::install(&shard.replicas, &change, &found);
            open_all(&shard, openings).await;
            end(&shard, &change, true);
        }
    };
    shard.on_every_shard(install).await;
}

/// Applies a change to one shard. If there are logs to be created, their end is told by what is
/// returned.
async fn take_over(shard: Rc<Shard>, change: Change) -> Option<oneshot::Receiver<()>> {
    begin(&shard, &change.image, &change.config).await;
    let openings = apply::apply(&shard.replicas, &change).await;
    let has_topics = !change.delta.topics.is_empty() || !change.delta.removed_topics.is_empty();
    end(&shard, &change, has_topics);
    if openings.is_empty() {
        return None;
    }
    let (tell, told) = oneshot::channel();
    shard.rt.clone().spawn(async move {
        open_all(&shard, openings).await;
        // Whoever asked may be gone.
        let _ = tell.send(());
    });
    Some(told)
}

async fn open_all(shard: &Rc<Shard>, openings: Vec<Opening>) {
    let offline = opening::open_all(&shard.replicas, openings).await;
    offline::tell(shard, offline).await;
    show(shard);
}

async fn begin(shard: &Shard, image: &Image, config: &Arc<BrokerConfig>) {
    shard.take_over(image, config);
    let expiration_ms = i64::from(config.producer_id_expiration_ms);
    shard.replicas.storage.set_producer_id_expiration_ms(expiration_ms);
    update_limits(shard, config).await;
}

/// Takes over limits that were changed while running. They are the node's, so one shard does it.
async fn update_limits(shard: &Shard, config: &BrokerConfig) {
    if shard.id() != CONTROLLER_SHARD {
        return;
    }
    while let Err(Refusal::Busy) = shard.network.limits.update(config) {
        shard.rt.sleep(COUNT_RETRY).await;
    }
}

/// Everything of the change is served now, but for the logs that are opened yet.
fn end(shard: &Shard, change: &Change, has_topics: bool) {
    show(shard);
    shard.coordinators.changed(&change.image, &change.config, has_topics);
}

/// Shows what is served by now. Other changes may have come since logs began to be opened.
fn show(shard: &Shard) {
    // Answers given while logs were being opened and closed are of what was before.
    shard.forget_cached_answers();
    apply::count_partitions(&shard.replicas);
    offline::report(shard);
}

/// Records in which directories the shards have made new logs. If that fails, the next start does
/// it, where it finds them.
async fn record_directories(shard: &Rc<Shard>, controller: &Controller, topics: BTreeSet<Uuid>) {
    if topics.is_empty() || shard.node.directories().iter().nth(1).is_none() {
        return;
    }
    let Ok(_turn) = begin_change(controller).await else { return };
    let assignments = directories_of(shard, topics).await;
    let node_id = shard.node.config.node_id;
    let decision = controller.decisions().assign_directories(node_id, &assignments);
    if let Ok(delta) = controller.write_all(&decision).await
        && !delta.is_empty()
    {
        let openings = publish(shard, controller, delta).await;
        assert!(openings.0.is_empty(), "a directory is no new partition");
    }
}

/// In which directories the logs of these topics are, on all shards.
async fn directories_of(shard: &Rc<Shard>, topics: BTreeSet<Uuid>) -> Vec<DirectoryAssignment> {
    let of_shards = shard.on_every_shard(move |shard| {
        let topics = topics.iter().filter_map(|id| shard.replicas.topics.by_id(id));
        let mut assignments = Vec::new();
        for topic in topics {
            for (index, entry) in topic.partitions.iter().enumerate() {
                let Some(local) = entry.local() else { continue };
                assignments.push(DirectoryAssignment {
                    topic_id: topic.id,
                    partition: index as i32,
                    directory: Some(local.log.dir().id()),
                });
            }
        }
        std::future::ready(assignments)
    });
    of_shards.await.into_iter().flatten().collect()
}
