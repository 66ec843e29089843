//! Clients from before 2017: they write and read message sets, not batches.

use std::sync::Arc;

use ringlog_record::{BatchBuilder, Compression, crc32};
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::Node;
use crate::raw_client::RawClient;

/// A message of format 0 or 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) offset: i64,
    pub(crate) magic: u8,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Message {
    /// Bytes before key and value.
    fn fixed_bytes(&self) -> usize {
        if self.magic == 0 { 26 } else { 34 }
    }

    pub(crate) fn size(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        self.fixed_bytes() + of(&self.key) + of(&self.value)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.magic, 0];
        if self.magic == 1 {
            body.extend(self.timestamp.to_be_bytes());
        }
        for bytes in [&self.key, &self.value] {
            let length = bytes.as_ref().map_or(-1, |bytes| bytes.len() as i32);
            body.extend(length.to_be_bytes());
            body.extend(bytes.iter().flatten());
        }
        let size = body.len() as i32 + 4;
        [&self.offset.to_be_bytes()[..], &size.to_be_bytes(), &crc32(&body).to_be_bytes(), &body]
            .concat()
    }
}

/// The messages of a set, and how many bytes of a torn one follow them.
pub(crate) fn messages(mut set: &[u8]) -> (Vec<Message>, usize) {
    let mut found = Vec::new();
    while let Some((message, rest)) = message(set) {
        found.push(message);
        set = rest;
    }
    (found, set.len())
}

fn message(set: &[u8]) -> Option<(Message, &[u8])> {
    let (offset, rest) = set.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (body, after) = rest.split_at_checked(i32::from_be_bytes(*size) as usize)?;
    let (crc, body) = body.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*crc), crc32(body), "the checksum of a message");
    let (magic, mut fields) = (body[0], &body[2..]);
    let mut timestamp = -1;
    if magic == 1 {
        let (bytes, rest) = fields.split_first_chunk().unwrap();
        (timestamp, fields) = (i64::from_be_bytes(*bytes), rest);
    }
    let mut nullable = || {
        let (length, rest) = fields.split_first_chunk().unwrap();
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (bytes, rest) = rest.split_at(length.unwrap_or(0));
        fields = rest;
        length.map(|_| bytes.to_vec())
    };
    let (key, value) = (nullable(), nullable());
    assert!(fields.is_empty(), "bytes follow the value");
    Some((Message { offset: i64::from_be_bytes(*offset), magic, timestamp, key, value }, after))
}

/// Produces one batch or message set and returns the error and the first offset.
pub(crate) fn produce(
    wire: &mut RawClient,
    version: i16,
    topic: &str,
    partition: i32,
    records: &[u8],
) -> (i16, i64) {
    let data = PartitionProduceData { index: partition, records: Some(Records::Borrowed(records)) };
    let topic =
        TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 9000,
        topic_data: vec![topic],
        ..Default::default()
    };
    let answer = wire.ask(version, &request);
    let body: ProduceResponse = answer.decode();
    let partition = &body.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// What a fetch of one or more partitions of a topic gave: error, high watermark, records.
pub(crate) type Fetched = (i16, i64, Vec<u8>);

pub(crate) fn fetch(
    wire: &mut RawClient,
    version: i16,
    topic: &str,
    asked: &[(i32, i64, i32)],
) -> Vec<Fetched> {
    let partition = |&(partition, fetch_offset, partition_max_bytes): &(i32, i64, i32)| {
        FetchPartition { partition, fetch_offset, partition_max_bytes, ..Default::default() }
    };
    let topic = FetchTopic {
        topic: topic.into(),
        partitions: asked.iter().map(partition).collect(),
        ..Default::default()
    };
    let request = FetchRequest {
        replica_id: -1,
        min_bytes: 1,
        max_bytes: i32::MAX,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = wire.ask(version, &request);
    let body: FetchResponse = answer.decode();
    let fetched = body.responses[0].partitions.iter().map(|partition| {
        let records = partition.records.as_ref().and_then(Records::as_slice).unwrap_or_default();
        (partition.error_code, partition.high_watermark, records.to_vec())
    });
    fetched.collect()
}

/// A batch of values, each of one letter repeated.
fn batch(values: &[(u8, usize)], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1000).compression(codec, None);
    for (letter, size) in values {
        builder.push(1000, None, Some(&vec![*letter; *size]), &[]);
    }
    builder.build().unwrap().0
}

fn one(wire: &mut RawClient, version: i16, asked: (i32, i64, i32)) -> Fetched {
    fetch(wire, version, "old", &[asked]).remove(0)
}

#[tokio::test]
async fn limits_of_old_fetches_are_about_messages() {
    let node = Node::start();
    node.create("old", 2, &[]).await;
    let mut wire = RawClient::connect(&node);
    let large = batch(&[(b'a', 100), (b'b', 100), (b'c', 5000)], Compression::Gzip);
    assert_eq!(produce(&mut wire, 7, "old", 0, &large), (0, 0));
    assert_eq!(produce(&mut wire, 7, "old", 1, &large), (0, 0));
    let offsets = |fetched: &Fetched| -> Vec<i64> {
        messages(&fetched.2).0.iter().map(|message| message.offset).collect()
    };
    for version in 0..=3 {
        // The batch is larger than the limit, its first messages are not.
        assert_eq!(offsets(&one(&mut wire, version, (0, 0, 300))), [0, 1], "{version}");
        assert_eq!(offsets(&one(&mut wire, version, (0, 1, 300))), [1], "{version}");
        assert_eq!(offsets(&one(&mut wire, version, (0, 0, 1 << 20))), [0, 1, 2], "{version}");
        // One that is: up to version 2 its start comes, with its size.
        let (error, high_watermark, records) = one(&mut wire, version, (0, 2, 300));
        assert_eq!((error, high_watermark), (0, 3));
        if version < 3 {
            assert_eq!((messages(&records), records.len()), ((vec![], 300), 300), "{version}");
            let size = i32::from_be_bytes(records[8..12].try_into().unwrap());
            let fixed = if version < 2 { 26 } else { 34 };
            assert_eq!(size as usize, fixed + 5000 - 12);
        } else {
            assert_eq!(messages(&records).0[0].value, Some(vec![b'c'; 5000]));
        }
        // From version 3 the first partition's is sent whole, the others wait their turn.
        let both = fetch(&mut wire, version, "old", &[(0, 2, 300), (1, 2, 300)]);
        let whole: usize = both.iter().map(|fetched| messages(&fetched.2).0.len()).sum();
        assert!(if version < 3 { whole == 0 } else { (1..=2).contains(&whole) }, "{version}");
    }
}

/// Versions 0 to 2 do not know a limit for all partitions together: the broker's own could keep a
/// message from them for ever.
#[tokio::test]
async fn a_message_beyond_the_brokers_limit_reaches_old_clients() {
    let flags = ["--shards", "2", "--set", "fetch.max.bytes=1024"];
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags);
    node.create("old", 2, &[]).await;
    let mut wire = RawClient::connect(&node);
    for partition in 0..2 {
        let large = batch(&[(b'a', 3000), (b'b', 3000)], Compression::None);
        assert_eq!(produce(&mut wire, 7, "old", partition, &large).0, 0);
    }
    for version in 0..=3 {
        let both = fetch(&mut wire, version, "old", &[(0, 0, 4000), (1, 0, 4000)]);
        let found: usize = both.iter().map(|fetched| messages(&fetched.2).0.len()).sum();
        assert!((1..=2).contains(&found), "{version}: {found}");
    }
}

/// The same records, whether they are in memory, in the open segment or in a sealed one.
#[tokio::test]
async fn old_fetches_read_every_part_of_a_log() {
    let node = Node::start();
    node.create("old", 1, &[("segment.bytes", "1048576")]).await;
    let mut wire = RawClient::connect(&node);
    let codecs = [Compression::None, Compression::Lz4, Compression::Snappy];
    for round in 0..90u8 {
        let values: Vec<(u8, usize)> = (0..10).map(|_| (round, 4000)).collect();
        let codec = codecs[usize::from(round) % 3];
        let (error, offset) = produce(&mut wire, 7, "old", 0, &batch(&values, codec));
        assert_eq!((error, offset), (0, i64::from(round) * 10));
    }
    drop(wire);
    let data = node.stop();
    let node = Node::start_with(data, &["--shards", "2"]);
    let mut wire = RawClient::connect(&node);
    for version in 0..=3 {
        let mut next = 0;
        while next < 900 {
            let (error, _, records) = one(&mut wire, version, (0, next, 100_000));
            let (found, torn) = messages(&records);
            assert_eq!((error, torn), (0, 0), "version {version} at {next}");
            assert!(!found.is_empty() && records.len() <= 100_000);
            for message in found {
                assert_eq!(message.offset, next);
                assert_eq!(message.magic, if version < 2 { 0 } else { 1 });
                assert_eq!(message.value, Some(vec![(next / 10) as u8; 4000]));
                next += 1;
            }
        }
        let (error, high_watermark, records) = one(&mut wire, version, (0, 900, 100_000));
        assert_eq!((error, high_watermark, records.len()), (0, 900, 0));
        let beyond = one(&mut wire, version, (0, 901, 100_000));
        assert_eq!(beyond.0, ErrorCode::OffsetOutOfRange.code());
        // A lot at once is as much as is converted at once.
        let lot = one(&mut wire, version, (0, 0, 50 << 20)).2.len();
        assert!((500_000..=1 << 20).contains(&lot), "{lot}");
    }
}

#[tokio::test]
async fn zstd_is_kept_from_those_who_do_not_know_it() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "2"]);
    node.create("old", 1, &[]).await;
    node.create("packed", 1, &[("compression.type", "zstd")]).await;
    let mut wire = RawClient::connect(&node);
    let plain = batch(&[(b'a', 10)], Compression::None);
    let zstd = batch(&[(b'b', 10)], Compression::Zstd);
    for (topic, records) in [("old", &plain), ("old", &zstd), ("packed", &plain)] {
        assert_eq!(produce(&mut wire, 7, topic, 0, records).0, 0);
    }
    let refused = ErrorCode::UnsupportedCompressionType.code();
    for version in 0..=12 {
        let (error, _, records) = one(&mut wire, version, (0, 0, 1 << 20));
        assert_eq!(error, 0, "what comes before is sent");
        let (second, _, _) = one(&mut wire, version, (0, 1, 1 << 20));
        if version <= 3 {
            assert_eq!(messages(&records).0.len(), 1);
        }
        assert_eq!(second, if version <= 3 { refused } else { 0 }, "{version}");
        let (error, _, records) = fetch(&mut wire, version, "packed", &[(0, 0, 1 << 20)]).remove(0);
        assert_eq!(error, if version < 10 { refused } else { 0 }, "{version}");
        assert_eq!(records.is_empty(), version < 10);
    }
}

/// Many small messages: the set is larger than `max.message.bytes`, the batch that is stored is
/// not.
#[tokio::test]
async fn the_limit_of_a_topic_is_about_what_is_stored() {
    let node = Node::start();
    node.create("old", 1, &[("max.message.bytes", "10000")]).await;
    let mut wire = RawClient::connect(&node);
    let message = |value: usize| Message {
        offset: 0,
        magic: 0,
        timestamp: -1,
        key: None,
        value: Some(vec![b'x'; value]),
    };
    let many = message(20).encode().repeat(300);
    assert!(many.len() > 10_000);
    assert_eq!(produce(&mut wire, 2, "old", 0, &many), (0, 0));
    let large = message(10_000 - 40).encode();
    assert!(large.len() < 10_000);
    let (error, _) = produce(&mut wire, 2, "old", 0, &large);
    assert_eq!(error, ErrorCode::MessageTooLarge.code(), "its batch has the larger header");
    let fits = message(10_000 - 80);
    assert_eq!(produce(&mut wire, 2, "old", 0, &fits.encode()), (0, 300));
    let fetched = one(&mut wire, 1, (0, 300, fits.size() as i32));
    assert_eq!(messages(&fetched.2).0, [Message { offset: 300, ..fits }]);
}
