//! While the logs of a topic of many partitions are created, everybody else is served: other
//! topics are created, changed and deleted, and so is that topic itself.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use ringlog_broker::SimulatedNode;
use ringlog_config::{BrokerConfig, Listener};
use ringlog_metrics::{BuildInfo, NodeMetrics};
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ringlog_wire::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use super::asker::{Asker, PATIENCE};

const PORT: u16 = 9092;
const PARTITIONS: i32 = 600;
const CODE_OF_TOPICS: i8 = 2;

type Events = Rc<RefCell<Vec<&'static str>>>;

async fn create(asker: &mut Asker, name: &'static str, num_partitions: i32) {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 300_000, ..Default::default() };
    let answer = asker.ask(7, &request).await;
    let body: CreateTopicsResponse = answer.decode();
    assert_eq!(body.topics[0].error_code, 0, "{name}");
}

async fn delete(asker: &mut Asker, name: &'static str) {
    let topic = DeleteTopicState { name: Some(name.into()), ..Default::default() };
    let request =
        DeleteTopicsRequest { topics: vec![topic], timeout_ms: 300_000, ..Default::default() };
    let answer = asker.ask(6, &request).await;
    let body: DeleteTopicsResponse = answer.decode();
    assert_eq!(body.responses[0].error_code, 0, "{name}");
}

async fn alter(asker: &mut Asker, name: &'static str) {
    let config = AlterableConfig {
        name: "retention.ms".into(),
        value: Some("777777777".into()),
        ..Default::default()
    };
    let resource = AlterConfigsResource {
        resource_type: CODE_OF_TOPICS,
        resource_name: name.into(),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = asker.ask(1, &request).await;
    let body: IncrementalAlterConfigsResponse = answer.decode();
    assert_eq!(body.responses[0].error_code, 0, "{name}");
}

/// Waits until the topic is in the metadata.
async fn see(asker: &mut Asker, name: &'static str) {
    loop {
        let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = asker.ask(12, &request).await;
        let body: MetadataResponse = answer.decode();
        if body.topics[0].error_code == 0 {
            return;
        }
    }
}

/// What each partition of a topic answers, each code once.
async fn codes(asker: &mut Asker, name: &'static str, partitions: i32) -> Vec<i16> {
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        current_leader_epoch: -1,
        timestamp: -1,
        ..Default::default()
    };
    let topic = ListOffsetsTopic {
        name: name.into(),
        partitions: (0..partitions).map(partition).collect(),
    };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = asker.ask(7, &request).await;
    let body: ListOffsetsResponse = answer.decode();
    let mut codes: Vec<i16> =
        body.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// Whoever asks for the wide topics.
async fn create_wide(rt: Runtime, server: (IpAddr, u16), events: Events) {
    let mut asker = Asker::connect(&rt, server).await;
    create(&mut asker, "wide", PARTITIONS).await;
    events.borrow_mut().push("wide");
    assert_eq!(codes(&mut asker, "wide", PARTITIONS).await, [0]);
    create(&mut asker, "doomed", PARTITIONS).await;
    events.borrow_mut().push("doomed");
}

/// Somebody else.
async fn do_other_things(rt: Runtime, server: (IpAddr, u16), events: Events) {
    let mut asker = Asker::connect(&rt, server).await;
    create(&mut asker, "other", 1).await;
    see(&mut asker, "wide").await;
    alter(&mut asker, "other").await;
    alter(&mut asker, "wide").await;
    create(&mut asker, "small", 2).await;
    assert_eq!(codes(&mut asker, "small", 2).await, [0]);
    let told = codes(&mut asker, "wide", PARTITIONS).await;
    assert!(told.contains(&ErrorCode::NotLeaderOrFollower.code()), "some are not open: {told:?}");
    events.borrow_mut().push("small");
    see(&mut asker, "doomed").await;
    delete(&mut asker, "doomed").await;
    events.borrow_mut().push("deleted");
    create(&mut asker, "doomed", 3).await;
    assert_eq!(codes(&mut asker, "doomed", 3).await, [0]);
    assert_eq!(codes(&mut asker, "wide", PARTITIONS).await, [0]);
    events.borrow_mut().push("created again");
}

/// A topic of 10,000 partitions held the controller's turn until its last log was there, and no
/// other could be created or changed.
#[test]
fn others_do_not_wait_for_the_logs_of_a_wide_topic() {
    let mut sim = Simulation::new(3, SimOptions::default());
    let broker = sim.add_node("broker");
    let clients = sim.add_node("clients");
    let address = sim.address(broker);
    let log_dirs = vec!["/var/one".into(), "/var/two".into()];
    let mut config = BrokerConfig { shards: 2, log_dirs, ..BrokerConfig::default() };
    let protocol = config.listeners[0].clone();
    config.listeners = vec![Listener { host: address.to_string(), port: PORT, ..protocol }];
    config.advertised_listeners = config.listeners.clone();
    let node = SimulatedNode::default();
    let metrics = || NodeMetrics::new(BuildInfo { version: "sim" });
    node.boot(&mut sim, broker, config, metrics).expect("one address");
    let events = Events::default();
    let told = events.clone();
    sim.start(clients, 1, move |rt: Runtime, _: Mesh<()>| {
        let (events, server) = (told.clone(), (address, PORT));
        rt.clone().spawn(create_wide(rt.clone(), server, events.clone()));
        do_other_things(rt, server, events)
    });
    let ended = || events.borrow().contains(&"created again");
    assert!(sim.run_until(ended, PATIENCE), "{:?} {:?}", events, node.refused());
    let events: Vec<_> = events.take().into_iter().filter(|event| *event != "doomed").collect();
    assert_eq!(events, ["small", "wide", "deleted", "created again"]);
}
