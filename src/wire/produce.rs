//! A Produce request read where it stands: partition after partition in one pass, without a
//! struct for each and without allocating.
//!
//! Only the end of the pass tells that a request is well formed, so nothing may be done about
//! its partitions before that. The slow twin is `messages::produce_request::ProduceRequest`.

use ringlog_types::Uuid;

use crate::messages::produce_request::ProduceRequest;
use crate::{DecodeError, Message, Reader};

/// The first version with a transactional id, and with record batches of format 2.
const VERSION_TRANSACTIONAL_ID: i16 = 3;
/// The first flexible version.
const VERSION_FLEXIBLE: i16 = 9;
/// The first version that names topics by id.
const VERSION_TOPIC_ID: i16 = 13;

/// The least that a topic takes: a name's and an array's compact lengths.
const TOPIC_BYTES_MIN: usize = 2;
/// The least that a partition takes: an index and a compact length.
const PARTITION_BYTES_MIN: usize = 5;

/// A request that is being read.
#[derive(Debug, Clone)]
pub struct ProduceRequestReader<'a> {
    /// The id of the transaction's owner (versions 3+), see [`text`](crate::text).
    pub transactional_id: Option<&'a [u8]>,
    /// How many replicas must have the records before the answer: -1 for all in sync, 1 for the
    /// leader; 0 for no answer.
    pub acks: i16,
    /// How long the answer may wait for replicas.
    pub timeout_ms: i32,
    reader: Reader<'a>,
    version: i16,
    topics_left: usize,
    partitions_left: usize,
    topic: TopicView<'a>,
    /// Whether `topic` was begun and its tagged fields are still to come.
    in_topic: bool,
    finished: bool,
}

/// One topic of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicView<'a> {
    /// How many topics came before it.
    pub number: usize,
    /// Its name, see [`text`](crate::text); empty from version 13.
    pub name: &'a [u8],
    /// Its id; zero before version 13.
    pub id: Uuid,
}

/// One partition of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionView<'a> {
    /// Its topic.
    pub topic: TopicView<'a>,
    /// Its index in the topic.
    pub index: i32,
    /// Its records as received: a batch, or before version 3 a message set.
    pub records: Option<&'a [u8]>,
}

impl<'a> ProduceRequestReader<'a> {
    /// Reads what precedes the topics.
    pub fn begin(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        if !(ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION).contains(&version) {
            return Err(DecodeError::Version { message: ProduceRequest::NAME, version });
        }
        let mut reader = Reader::new(body);
        let flexible = version >= VERSION_FLEXIBLE;
        let transactional_id = match version {
            VERSION_TRANSACTIONAL_ID.. => reader.nullable_text(flexible)?,
            _ => None,
        };
        Ok(ProduceRequestReader {
            transactional_id,
            acks: reader.i16()?,
            timeout_ms: reader.i32()?,
            topics_left: reader.count(flexible, TOPIC_BYTES_MIN)?,
            reader,
            version,
            partitions_left: 0,
            topic: TopicView::default(),
            in_topic: false,
            finished: false,
        })
    }

    /// The next partition, in the request's order; topics without any are passed over. `None`
    /// tells that the whole request was well formed. What follows it is ignored, as in Kafka.
    #[inline]
    pub fn next_partition(&mut self) -> Result<Option<PartitionView<'a>>, DecodeError> {
        while self.partitions_left == 0 {
            if !self.next_topic()? {
                return Ok(None);
            }
        }
        self.partitions_left -= 1;
        let flexible = self.version >= VERSION_FLEXIBLE;
        let index = self.reader.i32()?;
        let records = self.reader.nullable_slice(flexible)?;
        if flexible {
            self.reader.skip_tagged_fields()?;
        }
        Ok(Some(PartitionView { topic: self.topic, index, records }))
    }

    /// Ends the topic at hand and begins the next, if there is one.
    fn next_topic(&mut self) -> Result<bool, DecodeError> {
        let flexible = self.version >= VERSION_FLEXIBLE;
        let number = self.topic.number + usize::from(self.in_topic);
        if flexible && std::mem::take(&mut self.in_topic) {
            self.reader.skip_tagged_fields()?;
        }
        if self.topics_left == 0 {
            if flexible && !std::mem::replace(&mut self.finished, true) {
                self.reader.skip_tagged_fields()?;
            }
            return Ok(false);
        }
        self.topics_left -= 1;
        let (name, id) = match self.version {
            VERSION_TOPIC_ID.. => (&[][..], self.reader.uuid()?),
            _ => {
                let name = self.reader.nullable_text(flexible)?;
                (name.ok_or(DecodeError::UnexpectedNull)?, Uuid::ZERO)
            }
        };
        self.topic = TopicView { number, name, id };
        self.in_topic = true;
        self.partitions_left = self.reader.count(flexible, PARTITION_BYTES_MIN)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::{Records, Writer, text};

    /// All that both ways of reading give: the head, and each partition with its topic.
    type Content = (Option<String>, i16, i32, Vec<(usize, String, Uuid, i32, Option<Vec<u8>>)>);

    fn fast(bytes: &[u8], version: i16) -> Result<Content, DecodeError> {
        let mut request = ProduceRequestReader::begin(bytes, version)?;
        let mut partitions = Vec::new();
        while let Some(PartitionView { topic, index, records }) = request.next_partition()? {
            let records = records.map(<[u8]>::to_vec);
            partitions.push((
                topic.number,
                text(topic.name).into_owned(),
                topic.id,
                index,
                records,
            ));
        }
        assert_eq!(request.next_partition(), Ok(None), "the end stays the end");
        let id = request.transactional_id.map(|id| text(id).into_owned());
        Ok((id, request.acks, request.timeout_ms, partitions))
    }

    fn slow(bytes: &[u8], version: i16) -> Result<Content, DecodeError> {
        let request = ProduceRequest::decode(&mut Reader::new(bytes), version)?;
        let mut partitions = Vec::new();
        for (number, topic) in request.topic_data.iter().enumerate() {
            for partition in &topic.partition_data {
                let records = partition.records.as_ref().and_then(Records::as_slice);
                partitions.push((
                    number,
                    topic.name.to_string(),
                    topic.topic_id,
                    partition.index,
                    records.map(<[u8]>::to_vec),
                ));
            }
        }
        let id = request.transactional_id.map(|id| id.into_owned());
        Ok((id, request.acks, request.timeout_ms, partitions))
    }

    fn sample(version: i16, records: &[u8]) -> ProduceRequest<'_> {
        let by_id = version >= VERSION_TOPIC_ID;
        let topic = |number: usize| TopicProduceData {
            name: if by_id { "".into() } else { format!("topic-{number}").into() },
            topic_id: if by_id { Uuid::from_u128(7 + number as u128) } else { Uuid::ZERO },
            partition_data: (0..number)
                .map(|index| PartitionProduceData {
                    index: index as i32,
                    records: (index != 1).then_some(Records::Borrowed(&records[..index * 70])),
                })
                .collect(),
        };
        ProduceRequest {
            transactional_id: (version >= VERSION_TRANSACTIONAL_ID).then_some("me".into()),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: (0..4).map(topic).collect(),
        }
    }

    fn encoded(message: &ProduceRequest<'_>, version: i16) -> Vec<u8> {
        let mut writer = Writer::new();
        message.encode(&mut writer, version).expect("the sample has this version");
        writer.into_bytes().to_vec()
    }

    #[test]
    fn agrees_with_generated_code_in_every_version() {
        let records = [0xab; 300];
        for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
            let message = sample(version, &records);
            let bytes = encoded(&message, version);
            let content = slow(&bytes, version).expect("well formed");
            assert_eq!(content.3.len(), 6);
            assert_eq!(fast(&bytes, version), Ok(content), "version {version}");
            for cut in 0..bytes.len() {
                let cut_short = &bytes[..cut];
                let refused =
                    slow(cut_short, version).is_err() && fast(cut_short, version).is_err();
                assert!(refused, "version {version} cut at {cut}");
            }
        }
    }

    #[test]
    fn agrees_with_generated_code_on_damaged_bytes() {
        let records = [0x55; 300];
        for version in ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION {
            let bytes = encoded(&sample(version, &records), version);
            for position in 0..bytes.len() {
                for damage in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[position] = damage;
                    let (slow, fast) = (slow(&damaged, version), fast(&damaged, version));
                    let at = format!("version {version}, byte {position} is {damage:#x}");
                    assert_eq!(fast.ok(), slow.ok(), "{at}");
                }
            }
        }
    }

    #[test]
    fn absurd_counts_and_unknown_versions_are_refused() {
        let bytes = [&[0, 1, 0, 0, 0, 1][..], &i32::MAX.to_be_bytes()].concat();
        assert_eq!(
            ProduceRequestReader::begin(&bytes, 0).err(),
            Some(DecodeError::Count { count: i32::MAX as usize, remaining: 0 })
        );
        for version in [-1, 14] {
            let error = DecodeError::Version { message: "ProduceRequest", version };
            assert_eq!(ProduceRequestReader::begin(&bytes, version).err(), Some(error));
        }
    }
}
