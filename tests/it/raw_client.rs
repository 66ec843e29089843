//! Requests of any version, as they go over the wire, for what the client would never send.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use ringlog_record::BatchBuilder;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::{ApiKey, Message, Records, RequestHeader, frame};

use crate::node::{Node, PATIENCE};

/// A connection on which requests are sent one by one.
pub(crate) struct RawClient {
    stream: TcpStream,
    correlation_id: i32,
    pub(crate) client_id: Option<&'static str>,
}

/// A response frame, to be decoded.
pub(crate) struct Frame {
    api: ApiKey,
    version: i16,
    bytes: Vec<u8>,
}

impl RawClient {
    pub(crate) fn connect(node: &Node) -> RawClient {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        RawClient { stream, correlation_id: 0, client_id: None }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Frame {
        self.send(version, request).unwrap();
        self.receive::<M>(version).expect("the connection stays open")
    }

    /// Sends a request.
    pub(crate) fn send<'a, M: Message<'a>>(
        &mut self,
        version: i16,
        request: &M,
    ) -> std::io::Result<()> {
        let frame = self.encode(version, request);
        self.send_frame(&frame)
    }

    /// Sends a frame as it is.
    pub(crate) fn send_frame(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(frame)
    }

    /// The frame of a request, the next in turn.
    pub(crate) fn encode<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Vec<u8> {
        self.correlation_id += 1;
        let header = RequestHeader {
            api: ApiKey::from_number(M::API_KEY).unwrap(),
            version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.map(Into::into),
        };
        frame::concat(&frame::encode_request(&header, request).unwrap()).to_vec()
    }

    /// The next answer, which is one to a request `M`; nothing if the broker hangs up.
    pub(crate) fn receive<'a, M: Message<'a>>(&mut self, version: i16) -> Option<Frame> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(Frame { api: ApiKey::from_number(M::API_KEY).unwrap(), version, bytes })
    }
}

impl Frame {
    /// How long the answer is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn decode<'a, M: Message<'a>>(&'a self) -> M {
        frame::decode_response(&self.bytes, self.api, self.version).unwrap().1
    }
}

/// A batch of records with these values.
pub(crate) fn batch(values: &[String]) -> Bytes {
    let mut batch = BatchBuilder::new(0);
    values.iter().for_each(|value| batch.push(0, None, Some(value.as_bytes()), &[]));
    batch.build().unwrap().0.into()
}

/// A request to produce one batch.
pub(crate) fn produce(
    topic: &str,
    partition: i32,
    records: Bytes,
    timeout_ms: i32,
) -> ProduceRequest<'static> {
    let partition =
        PartitionProduceData { index: partition, records: Some(Records::Shared(vec![records])) };
    let topic = TopicProduceData {
        name: topic.to_owned().into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms, topic_data: vec![topic], ..Default::default() }
}

/// A request to fetch partitions of one topic, which waits for nothing.
pub(crate) fn fetch(topic: &str, partitions: &[FetchPartition]) -> FetchRequest<'static> {
    let topic = FetchTopic {
        topic: topic.to_owned().into(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    FetchRequest {
        replica_id: -1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// One partition of a fetch.
pub(crate) fn from_offset(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

/// How many bytes of records a fetch brought of each partition.
pub(crate) fn bytes_of_each(response: &FetchResponse<'_>) -> Vec<usize> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.records.as_ref().map_or(0, Records::len)).collect()
}
