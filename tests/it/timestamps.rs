//! The largest timestamp that a batch's header states is not believed: a header of 0 would make
//! retention remove what has just arrived, one that is off hides records from look-ups by time, and
//! one may hide a record of the future.

use std::time::{SystemTime, UNIX_EPOCH};

use ringlog_record::{BatchBuilder, BatchView, Compression, patch};
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::Node;
use crate::raw_client::{RawClient, fetch, from_offset, produce};

const TOPIC: &str = "timed";
/// What looks up the largest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn batch(timestamps: &[i64], codec: Compression, claim: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(timestamps[0]).compression(codec, None);
    for timestamp in timestamps {
        builder.push(*timestamp, None, Some(b"value"), &[]);
    }
    let mut batch = builder.build().unwrap().0;
    patch::set_max_timestamp(&mut batch, claim);
    batch
}

/// What a produce is answered: the code, the message, and the records with what is wrong with them.
type Told = (i16, Option<String>, Vec<(i32, String)>);

fn send(client: &mut RawClient, batch: Vec<u8>) -> Told {
    let frame = client.ask(9, &produce(TOPIC, 0, batch.into(), 30_000));
    let answer = frame.decode::<ProduceResponse<'_>>();
    let told = &answer.responses[0].partition_responses[0];
    let records = told.record_errors.iter().map(|record| {
        let message = record.batch_index_error_message.as_deref().unwrap_or_default();
        (record.batch_index, message.to_owned())
    });
    (told.error_code, told.error_message.as_deref().map(str::to_owned), records.collect())
}

/// The offset and the timestamp that a look-up gives.
fn look_up(client: &mut RawClient, timestamp: i64) -> (i64, i64) {
    let partition =
        ListOffsetsPartition { current_leader_epoch: -1, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition] };
    let asked = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let frame = client.ask(7, &asked);
    let answer = frame.decode::<ListOffsetsResponse<'_>>();
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0);
    (found.offset, found.timestamp)
}

#[tokio::test]
async fn records_are_found_whatever_their_batch_claims() {
    let now = now_ms();
    for codec in [Compression::None, Compression::Lz4] {
        for claim in [0, -1, now - 3_600_000, now + 3_000_000, i64::MAX] {
            let node = Node::start();
            node.create(TOPIC, 1, &[]).await;
            let mut client = RawClient::connect(&node);
            let told = send(&mut client, batch(&[now - 5, now, now - 9], codec, claim));
            assert_eq!(told, (0, None, Vec::new()), "{codec:?} {claim}");
            assert_eq!(look_up(&mut client, now - 2), (1, now), "{codec:?} {claim}");
            assert_eq!(look_up(&mut client, now + 1), (-1, -1), "{codec:?} {claim}");
            assert_eq!(look_up(&mut client, MAX_TIMESTAMP), (1, now), "{codec:?} {claim}");
            let frame = client.ask(11, &fetch(TOPIC, &[from_offset(0, 0)]));
            let answer = frame.decode::<FetchResponse<'_>>();
            let records = answer.responses[0].partitions[0].records.as_ref();
            let stored = records.and_then(Records::as_slice).unwrap();
            assert_eq!(BatchView::check(stored).unwrap().max_timestamp(), now);
        }
    }
}

#[tokio::test]
async fn a_record_of_the_future_is_refused_and_named() {
    let node = Node::start();
    node.create(TOPIC, 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let now = now_ms();
    for codec in [Compression::None, Compression::Zstd] {
        // What a compressed batch claims of just now is believed.
        let claim = if codec == Compression::None { now } else { now - 3_600_000 };
        let (code, message, records) =
            send(&mut client, batch(&[now, now + 7_200_000, now], codec, claim));
        assert_eq!(code, ErrorCode::InvalidTimestamp.code(), "{codec:?}");
        let expected = "One or more records have been rejected due to invalid timestamp";
        assert_eq!(message.as_deref(), Some(expected));
        let [(1, said)] = &records[..] else { panic!("{records:?}") };
        let far = now + 7_200_000;
        let expected = format!("Timestamp {far} of message with offset 1 is out of range.");
        assert!(said.starts_with(&expected), "{said}");
    }
    assert_eq!(look_up(&mut client, MAX_TIMESTAMP), (-1, -1));
}
