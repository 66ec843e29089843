//! A Fetch response written as it comes, partition by partition, without a struct of it all.
//!
//! The counts stand before what they count, so they must be known when a level begins; the
//! writer holds its caller to them. Records go out as their [`Records`](crate::Records) say: by
//! reference or as a placeholder. The slow twin is `messages::fetch_response::FetchResponse`.

use ringlog_types::Uuid;

use crate::messages::fetch_response::{FetchResponse, NodeEndpoint, PartitionData};
use crate::{EncodeError, Message, Writer};

/// The first version with a throttle time.
const VERSION_THROTTLE_TIME: i16 = 1;
/// The first version with sessions (KIP-227).
const VERSION_SESSIONS: i16 = 7;
/// The first flexible version.
const VERSION_FLEXIBLE: i16 = 12;
/// The first version that names topics by id.
const VERSION_TOPIC_ID: i16 = 13;
/// The first version that tells where leaders listen.
const VERSION_NODE_ENDPOINTS: i16 = 16;

/// What precedes the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHead {
    /// How long the client was made to wait, from version 1.
    pub throttle_time_ms: i32,
    /// What is wrong with the session, from version 7.
    pub error_code: i16,
    /// The session, from version 7; 0 for none.
    pub session_id: i32,
    /// How many topics follow.
    pub topic_count: usize,
}

/// Writes one response body. Every announced topic and partition must come, then `finish`.
#[derive(Debug)]
pub struct ResponseWriter<'w> {
    writer: &'w mut Writer,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
    in_topic: bool,
}

impl<'w> ResponseWriter<'w> {
    /// Writes the head.
    pub fn begin(
        writer: &'w mut Writer,
        version: i16,
        head: ResponseHead,
    ) -> Result<ResponseWriter<'w>, EncodeError> {
        if !(FetchResponse::MIN_VERSION..=FetchResponse::MAX_VERSION).contains(&version) {
            return Err(EncodeError::Version { message: FetchResponse::NAME, version });
        }
        if version >= VERSION_THROTTLE_TIME {
            writer.throttle_time_ms(head.throttle_time_ms);
        }
        if version >= VERSION_SESSIONS {
            writer.i16(head.error_code);
            writer.i32(head.session_id);
        } else if head.session_id != 0 {
            return Err(EncodeError::absent("session_id", version));
        }
        writer.length(head.topic_count, version >= VERSION_FLEXIBLE)?;
        let topics_left = head.topic_count;
        Ok(ResponseWriter { writer, version, topics_left, partitions_left: 0, in_topic: false })
    }

    /// Begins a topic; its name is used before version 13, its id from there on.
    pub fn topic(
        &mut self,
        name: &str,
        id: Uuid,
        partition_count: usize,
    ) -> Result<(), EncodeError> {
        self.end_topic();
        assert!(self.topics_left > 0, "a topic more than announced");
        self.topics_left -= 1;
        let flexible = self.version >= VERSION_FLEXIBLE;
        match self.version {
            VERSION_TOPIC_ID.. => self.writer.uuid(id),
            _ => self.writer.string(name, flexible)?,
        }
        self.writer.length(partition_count, flexible)?;
        self.partitions_left = partition_count;
        self.in_topic = true;
        Ok(())
    }

    /// Writes a partition of the topic that was begun last.
    pub fn partition(&mut self, partition: &PartitionData<'_>) -> Result<(), EncodeError> {
        assert!(self.partitions_left > 0, "a partition more than announced");
        self.partitions_left -= 1;
        partition.write(self.writer, self.version)
    }

    /// Writes what follows the topics: where the leaders listen that partitions name (from
    /// version 16).
    pub fn finish(mut self, node_endpoints: &[NodeEndpoint<'_>]) -> Result<(), EncodeError> {
        self.end_topic();
        assert_eq!(self.topics_left, 0, "topics less than announced");
        let version = self.version;
        if version < VERSION_NODE_ENDPOINTS && !node_endpoints.is_empty() {
            return Err(EncodeError::absent("node_endpoints", version));
        }
        if version >= VERSION_FLEXIBLE {
            let tags = self.writer.begin_tags();
            if !node_endpoints.is_empty() {
                self.writer.tag(&tags, 0, |writer| {
                    writer.array(node_endpoints, true, |writer, node| node.write(writer, version))
                })?;
            }
        }
        Ok(())
    }

    fn end_topic(&mut self) {
        assert_eq!(self.partitions_left, 0, "partitions less than announced");
        if std::mem::take(&mut self.in_topic) && self.version >= VERSION_FLEXIBLE {
            self.writer.no_tags();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::messages::fetch_response::{
        AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch,
    };
    use crate::{Chunk, Reader, Records};

    fn sample(version: i16) -> FetchResponse<'static> {
        let mut first = PartitionData {
            partition_index: 3,
            high_watermark: 100,
            records: Some(Records::Shared(vec![
                Bytes::from(vec![1; 20]),
                Bytes::from(vec![2; 2000]),
                Bytes::from(vec![3; 300]),
            ])),
            ..Default::default()
        };
        if version >= 4 {
            first.aborted_transactions =
                Some(vec![AbortedTransaction { producer_id: 5, first_offset: 6 }]);
        }
        if version >= VERSION_FLEXIBLE {
            first.diverging_epoch = EpochEndOffset { epoch: 3, end_offset: 77 };
            first.current_leader = LeaderIdAndEpoch { leader_id: 1, leader_epoch: 9 };
        }
        let second = PartitionData {
            partition_index: 4,
            records: Some(Records::External { id: 9, len: 70_000 }),
            ..Default::default()
        };
        let third = PartitionData { error_code: 3, ..Default::default() };
        let by_id = version >= VERSION_TOPIC_ID;
        let topic = |number: u128, partitions| FetchableTopicResponse {
            topic: if by_id { "".into() } else { format!("topic-{number}").into() },
            topic_id: if by_id { Uuid::from_u128(number) } else { Uuid::ZERO },
            partitions,
        };
        FetchResponse {
            throttle_time_ms: if version >= VERSION_THROTTLE_TIME { 11 } else { 0 },
            error_code: 0,
            session_id: if version >= VERSION_SESSIONS { 12 } else { 0 },
            responses: vec![topic(1, vec![first, second]), topic(2, vec![]), topic(3, vec![third])],
            node_endpoints: match version {
                VERSION_NODE_ENDPOINTS.. => {
                    vec![NodeEndpoint { node_id: 1, host: "h".into(), port: 9, rack: None }]
                }
                _ => Vec::new(),
            },
        }
    }

    fn streamed(message: &FetchResponse<'_>, version: i16) -> Vec<Chunk> {
        let mut writer = Writer::new();
        let head = ResponseHead {
            throttle_time_ms: message.throttle_time_ms,
            error_code: message.error_code,
            session_id: message.session_id,
            topic_count: message.responses.len(),
        };
        let mut response = ResponseWriter::begin(&mut writer, version, head).expect("begins");
        for topic in &message.responses {
            response.topic(&topic.topic, topic.topic_id, topic.partitions.len()).expect("a topic");
            for partition in &topic.partitions {
                response.partition(partition).expect("a partition");
            }
        }
        response.finish(&message.node_endpoints).expect("finishes");
        writer.into_chunks()
    }

    #[test]
    fn agrees_with_generated_code_in_every_version() {
        for version in FetchResponse::MIN_VERSION..=FetchResponse::MAX_VERSION {
            let message = sample(version);
            let mut writer = Writer::new();
            message.encode(&mut writer, version).expect("the sample has this version");
            let chunks = writer.into_chunks();
            assert_eq!(streamed(&message, version), chunks, "version {version}");
            let external: Vec<_> =
                chunks.iter().filter(|chunk| matches!(chunk, Chunk::External { .. })).collect();
            assert_eq!(external, [&Chunk::External { id: 9, len: 70_000 }]);
            assert!(chunks.iter().any(|chunk| chunk.len() == 2000), "records were copied");
        }
    }

    #[test]
    fn what_is_gathered_can_be_read_again() {
        for version in FetchResponse::MIN_VERSION..=FetchResponse::MAX_VERSION {
            let message = sample(version);
            let mut bytes = Vec::new();
            for chunk in streamed(&message, version) {
                match chunk {
                    Chunk::Bytes(piece) => bytes.extend_from_slice(&piece),
                    Chunk::External { len, .. } => bytes.resize(bytes.len() + len, 4),
                }
            }
            let mut reader = Reader::new(&bytes);
            let read = FetchResponse::decode(&mut reader, version).expect("well formed");
            assert_eq!(reader.remaining(), 0);
            let records = |topic: usize, partition: usize| {
                let records = &read.responses[topic].partitions[partition].records;
                records.as_ref().and_then(Records::as_slice)
            };
            let shared = [&[1; 20][..], &[2; 2000], &[3; 300]].concat();
            assert_eq!(records(0, 0), Some(&shared[..]), "version {version}");
            assert_eq!(records(0, 1), Some(&[4; 70_000][..]));
            assert_eq!(records(2, 0), None);
        }
    }

    #[test]
    #[should_panic(expected = "less than announced")]
    fn a_missing_partition_is_our_own_mistake() {
        let mut writer = Writer::new();
        let head = ResponseHead { topic_count: 1, ..Default::default() };
        let mut response = ResponseWriter::begin(&mut writer, 12, head).expect("begins");
        response.topic("t", Uuid::ZERO, 1).expect("a topic");
        let _ = response.finish(&[]);
    }
}
