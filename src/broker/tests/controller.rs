//! The controller and its log on a simulated disk: a change that failed in the middle, and a log of
//! a newer version.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_metadata::{
    BrokerEndpoint, Controller as Decisions, Decision, METADATA_VERSION, MetadataRecord,
    Registration, Unlimited,
};
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_storage::{LogDirs, OpenedDirs, StorageOptions, StorageShard};
use ringlog_types::{BrokerId, ErrorCode, Uuid};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::feature_level_record::FeatureLevelRecord;

use crate::metadata_source::embedded::controller::Controller;
use crate::metadata_source::embedded::log;

/// No life takes longer than this, in virtual time.
const LIFE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Opening,
    /// The first life is over.
    Again,
    Finished,
}

type Shared = Arc<Mutex<Stage>>;

fn stage(shared: &Shared) -> Stage {
    *shared.lock().expect("one thread")
}

async fn open(rt: &Runtime, storage: &StorageShard) -> (Rc<Controller>, OpenedDirs) {
    let mut opened = LogDirs::open(rt, &[PathBuf::from("/data")], 1, None).await.unwrap();
    let config = BrokerConfig { node_id: BrokerId(1), ..BrokerConfig::default() };
    let log = log::open(storage, &opened.dirs, &config, &mut opened.logs);
    let (log, image) = log.await.unwrap();
    (Rc::new(Controller::new(Decisions::new(image, Arc::new(config)), log)), opened)
}

async fn register(controller: &Controller) {
    let bootstrap = controller.decisions().bootstrap();
    controller.write_all(&bootstrap).await.unwrap();
    let registration = Registration {
        broker_id: BrokerId(1),
        incarnation_id: Uuid::from_u128(5),
        endpoints: vec![BrokerEndpoint {
            name: "PLAINTEXT".into(),
            host: "127.0.0.1".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        log_dirs: vec![Uuid::from_u128(6)],
        stopped_cleanly: true,
    };
    let next_offset = controller.log().log_end_offset();
    let registered = controller.decisions().register_broker(registration, next_offset);
    controller.write_all(&registered).await.unwrap();
}

fn decide(
    controller: &Controller,
    name: &str,
    partitions: i32,
) -> Decision<CreateTopicsResponse<'static>> {
    let topic = CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let random = controller.log().log_end_offset() as u128;
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let decision = controller.decisions().create_topics(&request, random, &Unlimited);
    assert_eq!(decision.response.topics[0].error_code, 0, "{name}");
    decision
}

/// What a client's CreateTopics does, without the shards.
async fn create(controller: &Controller, name: &str, partitions: i32) -> Result<(), ErrorCode> {
    controller.end_unfinished().await?;
    let decision = decide(controller, name, partitions);
    controller.write_all(&decision).await.map(drop)
}

fn topics(controller: &Controller) -> Vec<String> {
    let decisions = controller.decisions();
    decisions.image().settled().topics().map(|topic| topic.name.to_string()).collect()
}

async fn first_life(rt: Runtime, shared: Shared) {
    let storage = StorageShard::new(rt.clone(), StorageOptions::default());
    let (controller, _opened) = open(&rt, &storage).await;
    register(&controller).await;
    // The first of two batches, as if there had been no space for the second nor for more.
    let half = {
        let decision = decide(&controller, "a.b", 10_000);
        let records = decision.batches().next().expect("there are two").to_vec();
        assert!(records.len() < decision.records.len());
        Decision { response: (), records }
    };
    controller.write_all(&half).await.unwrap();
    assert!(controller.decisions().image().in_transaction());
    assert_eq!(topics(&controller), Vec::<String>::new());

    create(&controller, "a_b", 1).await.expect("the aborted topic's name collides with nothing");
    assert!(!controller.decisions().image().in_transaction());
    assert_eq!(topics(&controller), ["a_b"]);
    create(&controller, "wide", 10_000).await.expect("a transaction of its own");
    assert_eq!(topics(&controller), ["a_b", "wide"]);
    *shared.lock().expect("one thread") = Stage::Finished;
}

async fn second_life(rt: Runtime, shared: Shared) {
    let storage = StorageShard::new(rt.clone(), StorageOptions::default());
    let (controller, _opened) = open(&rt, &storage).await;
    assert_eq!(topics(&controller), ["a_b", "wide"]);
    *shared.lock().expect("one thread") = Stage::Finished;
}

/// Finalizes a level that no version knows, and opens the log again.
async fn take_over_newer(rt: Runtime, shared: Shared) {
    let storage = StorageShard::new(rt.clone(), StorageOptions::default());
    if stage(&shared) == Stage::Opening {
        let (controller, _opened) = open(&rt, &storage).await;
        register(&controller).await;
        let level = FeatureLevelRecord { name: METADATA_VERSION.into(), feature_level: 1000 };
        let records = vec![MetadataRecord::FeatureLevel(level)];
        controller.write_all(&Decision { response: (), records }).await.unwrap();
    } else {
        let mut opened = LogDirs::open(&rt, &[PathBuf::from("/data")], 1, None).await.unwrap();
        let config = BrokerConfig { node_id: BrokerId(1), ..BrokerConfig::default() };
        let log = log::open(&storage, &opened.dirs, &config, &mut opened.logs).await;
        let Err(error) = log else { panic!("taken over") };
        assert!(error.to_string().contains("metadata.version 1000"), "{error}");
        // What was appended would be written by now.
        rt.sleep(Duration::from_secs(5)).await;
    }
    *shared.lock().expect("one thread") = Stage::Finished;
}

/// Each start that was refused wrote the beginning of an epoch into a log that a newer version
/// is to go on with.
#[test]
fn a_metadata_log_that_is_refused_is_not_written_to() {
    const LOG: &str = "/data/__cluster_metadata-0/00000000000000000000.log";
    let mut sim = Simulation::new(2, SimOptions::default());
    let node = sim.add_node("node");
    let shared = Shared::default();
    let reached = shared.clone();
    let life = move |rt: Runtime, _: Mesh<()>| take_over_newer(rt, reached.clone());
    sim.start(node, 1, life);
    sim.run_until(|| stage(&shared) == Stage::Finished, LIFE);
    sim.crash(node);
    let before = sim.disk(node).read(LOG).unwrap();
    *shared.lock().expect("one thread") = Stage::Again;
    sim.restart(node);
    sim.run_until(|| stage(&shared) == Stage::Finished, LIFE);
    assert_eq!(stage(&shared), Stage::Finished);
    let after = sim.disk(node).read(LOG).unwrap();
    let bytes = |log: &[u8]| log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert!(bytes(&before) > 0 && after[..bytes(&after)] == before[..bytes(&before)]);
}

/// A topic of 10,000 partitions takes two batches, and the second failed. What was acknowledged
/// later stood inside the open transaction, and the next start undid it.
#[test]
fn a_change_that_fails_in_the_middle_takes_no_later_one_with_it() {
    let mut sim = Simulation::new(1, SimOptions::default());
    let node = sim.add_node("node");
    let shared = Shared::default();
    let reached = shared.clone();
    sim.start(node, 1, move |rt: Runtime, _: Mesh<()>| {
        let shared = reached.clone();
        async move {
            match stage(&shared) {
                Stage::Opening => first_life(rt, shared).await,
                _ => second_life(rt, shared).await,
            }
        }
    });
    sim.run_until(|| stage(&shared) == Stage::Finished, LIFE);
    assert_eq!(stage(&shared), Stage::Finished);
    sim.crash(node);
    *shared.lock().expect("one thread") = Stage::Again;
    sim.restart(node);
    sim.run_until(|| stage(&shared) == Stage::Finished, LIFE);
    assert_eq!(stage(&shared), Stage::Finished);
}
