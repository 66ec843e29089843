//! What Kafka takes from its clients though it need not: none of it may cost them their records.

use ringlog_record::{BatchBuilder, BatchView, patch};
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, texts};
use crate::old_clients::Message;
use crate::raw_client::{RawClient, batch, fetch, from_offset, produce};

const TOPIC: &str = "lenient";

/// A topic with fewer replicas than `min.insync.replicas` took no write with `acks=all`.
#[tokio::test]
async fn min_insync_replicas_counts_up_to_the_replicas_there_are() {
    let node = Node::start();
    node.create(TOPIC, 1, &[("min.insync.replicas", "2")]).await;
    let mut client = RawClient::connect(&node);
    let frame = client.ask(9, &produce(TOPIC, 0, batch(&["one".to_owned()]), 30_000));
    let answer = frame.decode::<ProduceResponse<'_>>();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(texts(&node.consume(TOPIC, 0, 0).await), ["one"]);
}

/// At the refusal the Java client hung up.
#[test]
fn a_long_software_version_is_taken() {
    let node = Node::start();
    let mut client = RawClient::connect(&node);
    let asked = ApiVersionsRequest {
        client_software_name: "x".repeat(101).into(),
        client_software_version: "1".repeat(30_000).into(),
    };
    let frame = client.ask(3, &asked);
    let answer = frame.decode::<ApiVersionsResponse<'_>>();
    assert_eq!(answer.error_code, 0);
    assert!(!answer.api_keys.is_empty());
    let bad = ApiVersionsRequest { client_software_name: "-x".into(), ..asked };
    let frame = client.ask(3, &bad);
    let answer = frame.decode::<ApiVersionsResponse<'_>>();
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
}

/// A batch copied from a topic of LogAppendTime keeps its records' own timestamps.
#[tokio::test]
async fn the_stamp_of_another_broker_is_taken_off() {
    let node = Node::start();
    node.create(TOPIC, 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let mut builder = BatchBuilder::new(1000);
    builder.push(1000, None, Some(b"one"), &[]);
    builder.push(2000, None, Some(b"two"), &[]);
    let mut stamped = builder.build().unwrap().0;
    patch::set_log_append_time(&mut stamped, 9000);
    let frame = client.ask(9, &produce(TOPIC, 0, stamped.into(), 30_000));
    let answer = frame.decode::<ProduceResponse<'_>>();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let frame = client.ask(11, &fetch(TOPIC, &[from_offset(0, 0)]));
    let answer = frame.decode::<FetchResponse<'_>>();
    let records = answer.responses[0].partitions[0].records.as_ref();
    let stored = BatchView::check(records.and_then(Records::as_slice).unwrap()).unwrap();
    assert!(!stored.attributes().is_log_append_time());
    assert_eq!(stored.max_timestamp(), 2000);
}

/// Kafka 3.9 is the last that takes message sets, and this is what it does with them.
#[tokio::test]
async fn a_message_set_may_be_empty_or_end_in_a_message() {
    let node = Node::start();
    node.create(TOPIC, 1, &[]).await;
    let mut client = RawClient::connect(&node);
    for (magic, version) in [(0, 0), (0, 1), (1, 2)] {
        let message = |value: &str| {
            let value = Some(value.as_bytes().to_vec());
            Message { offset: 0, magic, timestamp: 1000, key: None, value }.encode()
        };
        let (whole, cut) = (message("whole"), message("cut"));
        for (set, base_offset) in [
            (vec![], -1),
            (cut[..5].to_vec(), -1),
            (cut[..cut.len() - 1].to_vec(), -1),
            ([&whole[..], &cut[..cut.len() - 1]].concat(), i64::from(version)),
        ] {
            let frame = client.ask(version, &produce(TOPIC, 0, set.into(), 30_000));
            let answer = frame.decode::<ProduceResponse<'_>>();
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, base_offset));
        }
    }
    assert_eq!(texts(&node.consume(TOPIC, 0, 0).await), ["whole"; 3]);
}
