//! Quotas at work: who uses too much is told to hold back, and held back.

use std::sync::Arc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use ringlog_wire::messages::alter_client_quotas_response::AlterClientQuotasResponse;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::list_groups_request::ListGroupsRequest;
use ringlog_wire::messages::list_groups_response::ListGroupsResponse;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::Node;
use crate::raw_client::{self, RawClient};

/// A burst is what the quota brings in this many seconds.
const WINDOW_SECONDS: &str = "1";

async fn node() -> Node {
    let flags = [
        "--shards",
        "2",
        "--set",
        &format!("quota.window.num={WINDOW_SECONDS}"),
        "--set",
        &format!("controller.quota.window.num={WINDOW_SECONDS}"),
    ];
    Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags)
}

fn set(wire: &mut RawClient, kind: &str, name: Option<&str>, key: &str, value: f64) {
    let entity = vec![EntityData {
        entity_type: kind.to_owned().into(),
        entity_name: name.map(|name| name.to_owned().into()),
    }];
    let ops = vec![OpData { key: key.to_owned().into(), value, remove: false }];
    let entries = vec![EntryData { entity, ops }];
    let answer = wire.ask(1, &AlterClientQuotasRequest { entries, validate_only: false });
    let body: AlterClientQuotasResponse = answer.decode();
    assert_eq!(body.entries[0].error_code, 0, "{:?}", body.entries[0].error_message);
}

fn throttle_ms(wire: &mut RawClient) -> i32 {
    let answer = wire.ask(1, &ListGroupsRequest::default());
    let body: ListGroupsResponse = answer.decode();
    body.throttle_time_ms
}

/// The share of the shards' time: so small that the first request is beyond a burst.
#[tokio::test]
async fn who_uses_too_much_time_is_muted_and_others_are_not() {
    let node = node().await;
    let mut wire = RawClient::connect(&node);
    assert_eq!(throttle_ms(&mut wire), 0);
    set(&mut wire, "client-id", Some("greedy"), "request_percentage", 1e-7);
    let mut greedy = RawClient::connect(&node);
    greedy.set_client_id("greedy");
    let told = throttle_ms(&mut greedy);
    assert!((1..=1000).contains(&told), "{told} ms");
    assert!(throttle_ms(&mut greedy) > 0);
    assert_eq!(throttle_ms(&mut wire), 0);
}

fn create(wire: &mut RawClient, version: i16, name: &str, partitions: i32) -> (i16, i32) {
    let topic = CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
    let answer = wire.ask(version, &request);
    let body: CreateTopicsResponse = answer.decode();
    (body.topics[0].error_code, body.throttle_time_ms)
}

#[tokio::test]
async fn who_changes_too_much_is_refused_where_there_is_a_word_for_it() {
    let node = node().await;
    let mut wire = RawClient::connect(&node);
    set(&mut wire, "user", Some("ANONYMOUS"), "controller_mutation_rate", 0.01);
    // A burst is a hundredth of a partition: the first is taken, and leaves a debt.
    let (error, throttle) = create(&mut wire, 7, "first", 1);
    assert_eq!(error, 0);
    assert!(throttle > 50_000, "{throttle} ms");
    // Its next request is not taken up for as long.
    wire.send(1, &ListGroupsRequest::default()).unwrap();
    let mut other = RawClient::connect(&node);
    let (error, throttle) = create(&mut other, 7, "second", 1);
    assert_eq!(error, ErrorCode::ThrottlingQuotaExceeded.code());
    assert!(throttle > 0);
    // Older clients are only told to wait.
    let mut old = RawClient::connect(&node);
    assert_eq!(create(&mut old, 5, "third", 1).0, 0);
    assert!(wire.is_silent(), "who is muted is answered nothing");
    // A node with muted connections stops at once: as the end of this test shows.
}

#[tokio::test]
async fn an_address_opens_connections_no_faster_than_its_quota() {
    let node = node().await;
    let mut wire = RawClient::connect(&node);
    throttle_ms(&mut wire);
    set(&mut wire, "ip", Some("127.0.0.1"), "connection_creation_rate", 1.0);
    let mut refused = 0;
    for _ in 0..20 {
        let mut late = RawClient::connect(&node);
        // It may be closed before or after it has asked.
        let sent = late.send(1, &ListGroupsRequest::default());
        if sent.is_err() || late.receive::<ListGroupsResponse<'_>>(1).is_none() {
            refused += 1;
        }
    }
    assert!(refused > 0, "twenty connections in a burst of one");
    // Who is connected stays so.
    assert_eq!(throttle_ms(&mut wire), 0);
}

/// Of bytes, a second's worth is free; the rest is waited for, and all of it is acknowledged.
#[tokio::test]
async fn bytes_beyond_a_burst_are_waited_for() {
    let node = node().await;
    node.create("t", 1, &[]).await;
    let mut wire = RawClient::connect(&node);
    for key in ["producer_byte_rate", "consumer_byte_rate"] {
        set(&mut wire, "client-id", None, key, 1000.0);
    }
    let mut producer = RawClient::connect(&node);
    producer.set_client_id("p");
    let records = raw_client::batch(&["x".repeat(4900)]);
    let answer = producer.ask(9, &raw_client::produce("t", 0, records, 60_000));
    let body: ProduceResponse = answer.decode();
    assert_eq!(body.responses[0].partition_responses[0].error_code, 0);
    assert!((3900..60_000).contains(&body.throttle_time_ms), "{} ms", body.throttle_time_ms);
    // Another client has its own quota, and so has what is fetched.
    let mut consumer = RawClient::connect(&node);
    consumer.set_client_id("c");
    let answer = consumer.ask(12, &raw_client::fetch("t", &[raw_client::from_offset(0, 0)]));
    let body: FetchResponse = answer.decode();
    assert!((3900..60_000).contains(&body.throttle_time_ms), "{} ms", body.throttle_time_ms);
    assert!(body.responses[0].partitions[0].records.as_ref().is_some());
}
