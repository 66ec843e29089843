//! What clients are told where an authorizer lets nobody do anything: every API that the node
//! offers, against what Apache Kafka answers (`KafkaApis`, `ControllerApis`, `AclApis`).
//!
//! A topic is made while everybody may do everything. Then the node starts again, and each API is
//! asked about that topic and about one that is nowhere: whoever may not see topics must not learn
//! which of them exist.
//!
//! All of them are told to hold back besides, which is set in one place for all APIs.

mod cluster;
mod groups;
mod records;
mod topics;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringlog_broker::SimulatedNode;
use ringlog_config::{BrokerConfig, Listener};
use ringlog_metrics::{BuildInfo, NodeMetrics};
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::ApiKey;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;
use ringlog_wire::messages::metadata_request::MetadataRequest;
use ringlog_wire::messages::metadata_response::MetadataResponse;

use super::asker::{Asker, PATIENCE};

const PORT: u16 = 9092;

/// How long everybody is told to hold back, in every answer that has a place for it.
const THROTTLE_TIME_MS: i32 = 1234;

/// The topic that exists, and one that does not.
const TOPIC: &str = "secret";
const NOWHERE: &str = "nowhere";

/// An API and what is told, an item for each part of the answer.
const EXPECTED: &[(ApiKey, &str)] = &[
    (ApiKey::Produce, "29 29 | by id 29 100 | transactional 53 53"),
    (ApiKey::Fetch, "0: 29 29 | by id 0: 29 100 | as a broker 0: 29 29"),
    (ApiKey::ListOffsets, "29 29"),
    (ApiKey::OffsetForLeaderEpoch, "29 29"),
    (ApiKey::DeleteRecords, "29 29"),
    (ApiKey::InitProducerId, "31 | transactional 53"),
    (
        ApiKey::Metadata,
        "secret 29 no id, nowhere 29 no id | by id - 29 its id, - 100 its id | all | cluster 0",
    ),
    (ApiKey::ApiVersions, "0"),
    (ApiKey::CreateTopics, "new 29 Authorization failed., twice 42 Duplicate topic name."),
    (ApiKey::DeleteTopics, "secret 29, nowhere 29, - 29, - 100"),
    (ApiKey::CreatePartitions, "secret 29, nowhere 29"),
    (ApiKey::DescribeTopicPartitions, "nowhere 29, secret 29 | all"),
    (ApiKey::DescribeProducers, "29 29"),
    (ApiKey::DescribeConfigs, "topic 29, broker 31, logger 31, metrics 31, group 30"),
    (ApiKey::AlterConfigs, "topic 29, broker 31, metrics 31, group 30"),
    (ApiKey::IncrementalAlterConfigs, "topic 29, broker 31, logger 31, metrics 31, group 30"),
    (ApiKey::FindCoordinator, "30 | transactional 53"),
    (ApiKey::JoinGroup, "30"),
    (ApiKey::SyncGroup, "30"),
    (ApiKey::Heartbeat, "30"),
    (ApiKey::LeaveGroup, "30"),
    (ApiKey::ConsumerGroupHeartbeat, "30"),
    (ApiKey::ConsumerGroupDescribe, "30"),
    // Those that may not be described are left out.
    (ApiKey::ListGroups, "0, 0 groups"),
    (ApiKey::DescribeGroups, "30"),
    (ApiKey::DeleteGroups, "30"),
    (ApiKey::OffsetCommit, "30"),
    (ApiKey::OffsetFetch, "30"),
    (ApiKey::OffsetDelete, "30"),
    (ApiKey::DescribeLogDirs, "31"),
    (ApiKey::DescribeCluster, "0, may do 0"),
    (ApiKey::ListConfigResources, "31"),
    (ApiKey::AlterClientQuotas, "31"),
    (ApiKey::DescribeClientQuotas, "31"),
    (ApiKey::ListPartitionReassignments, "31"),
    (ApiKey::DescribeQuorum, "31"),
    (ApiKey::DescribeAcls, "31"),
    (ApiKey::CreateAcls, "31"),
    (ApiKey::DeleteAcls, "31"),
    // Nobody is asked: there are no tokens.
    (ApiKey::CreateDelegationToken, "61"),
    (ApiKey::RenewDelegationToken, "61"),
    (ApiKey::ExpireDelegationToken, "61"),
    (ApiKey::DescribeDelegationToken, "61"),
];

fn listed(items: impl IntoIterator<Item = String>, between: &str) -> String {
    items.into_iter().collect::<Vec<_>>().join(between)
}

fn codes(codes: impl IntoIterator<Item = i16>) -> String {
    listed(codes.into_iter().map(|code| code.to_string()), " ")
}

#[derive(Default)]
struct Progress {
    topic_id: Option<Uuid>,
    told: Option<Vec<(ApiKey, String)>>,
}

/// Answers that are kept say how long to hold back as well.
async fn told_again(asker: &mut Asker) {
    let of_all = MetadataRequest { topics: None, ..Default::default() };
    for _ in 0..2 {
        let answer = asker.ask(4, &ApiVersionsRequest::default()).await;
        answer.decode::<ApiVersionsResponse<'_>>();
        let answer = asker.ask(12, &of_all).await;
        assert_eq!(answer.decode::<MetadataResponse<'_>>().topics.len(), 1);
    }
}

async fn run_client(rt: Runtime, server: (std::net::IpAddr, u16), progress: Rc<RefCell<Progress>>) {
    let mut asker = Asker::connect(&rt, server).await;
    asker.throttle_time_ms = Some(THROTTLE_TIME_MS);
    let known = progress.borrow().topic_id;
    let Some(topic_id) = known else {
        let id = topics::create(&mut asker).await;
        told_again(&mut asker).await;
        progress.borrow_mut().topic_id = Some(id);
        return;
    };
    asker.topic_id = topic_id;
    let answer = asker.ask(0, &ApiVersionsRequest::default()).await;
    let offered: ApiVersionsResponse = answer.decode();
    let mut told = Vec::new();
    for row in &offered.api_keys {
        let api = ApiKey::from_number(row.api_key).expect("offered");
        let one = match records::told(&mut asker, api).await {
            Some(one) => one,
            None => match topics::told(&mut asker, api).await {
                Some(one) => one,
                None => match groups::told(&mut asker, api).await {
                    Some(one) => one,
                    None => cluster::told(&mut asker, api).await,
                },
            },
        };
        told.push((api, one));
    }
    progress.borrow_mut().told = Some(told);
}

#[test]
fn nobody_learns_or_does_anything() {
    let mut sim = Simulation::new(1, SimOptions::default());
    let broker = sim.add_node("broker");
    let clients = sim.add_node("clients");
    let address = sim.address(broker);
    let mut config =
        BrokerConfig { shards: 2, log_dirs: vec!["/var/disk".into()], ..BrokerConfig::default() };
    let protocol = config.listeners[0].clone();
    config.listeners = vec![Listener { host: address.to_string(), port: PORT, ..protocol }];
    config.advertised_listeners = config.listeners.clone();
    let node = SimulatedNode::default();
    node.throttle_all(Duration::from_millis(THROTTLE_TIME_MS as u64));
    let metrics = || NodeMetrics::new(BuildInfo { version: "sim" });
    node.boot(&mut sim, broker, config, metrics).expect("one address");
    let progress: Rc<RefCell<Progress>> = Rc::default();
    let for_client = progress.clone();
    sim.start(clients, 1, move |rt: Runtime, _: Mesh<()>| {
        run_client(rt, (address, PORT), for_client.clone())
    });
    assert!(
        sim.run_until(|| progress.borrow().topic_id.is_some(), PATIENCE),
        "{:?}",
        node.refused()
    );
    node.deny_all();
    sim.kill(broker);
    sim.kill(clients);
    sim.restart(broker);
    sim.restart(clients);
    assert!(sim.run_until(|| progress.borrow().told.is_some(), PATIENCE), "{:?}", node.refused());
    let told = progress.borrow_mut().told.take().expect("just seen");
    for (api, one) in &told {
        let expected = EXPECTED.iter().find(|(expected, _)| expected == api);
        let (_, expected) = expected.unwrap_or_else(|| panic!("{api:?} has no row"));
        assert_eq!(one, expected, "{api:?}");
    }
    assert_eq!(told.len(), EXPECTED.len(), "what is expected is offered");
    assert_eq!(ErrorCode::TopicAuthorizationFailed.code(), 29);
}
