//! A Produce request read where it stands: no struct is built for a topic or a partition.
//!
//! [`ProduceRequestView::decode`] walks the whole body once and refuses what is not well formed,
//! so that nothing of a broken request is ever acted upon; walking it again cannot fail. Its
//! slow twin is `messages::produce_request::ProduceRequest`.

use std::borrow::Cow;

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

/// A well-formed request, in place. Copies are cheap: it only points into the received bytes.
#[derive(Debug, Clone)]
pub struct ProduceRequestView<'a> {
    /// The id of the transaction's owner (versions 3+).
    pub transactional_id: Option<&'a str>,
    /// How many replicas must have the records before the answer: -1 for all in sync, 1 for the
    /// leader; 0 for no answer.
    pub acks: i16,
    /// How long the answer may wait for replicas.
    pub timeout_ms: i32,
    topics: Topics<'a>,
}

impl<'a> ProduceRequestView<'a> {
    /// Checks a whole body. What follows it is ignored, as in Kafka.
    pub fn decode(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        if !(ProduceRequest::MIN_VERSION..=ProduceRequest::MAX_VERSION).contains(&version) {
            return Err(DecodeError::Version { message: ProduceRequest::NAME, version });
        }
        let mut reader = Reader::new(body);
        let flexible = version >= VERSION_FLEXIBLE;
        let transactional_id = match version {
            VERSION_TRANSACTIONAL_ID.. => reader.nullable_str(flexible)?,
            _ => None,
        };
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let left = reader.count(flexible, TOPIC_BYTES_MIN)?;
        let topics = Topics { reader, left, version };
        topics.clone().walk()?;
        Ok(ProduceRequestView { transactional_id, acks, timeout_ms, topics })
    }

    /// Its topics, in the request's order.
    pub fn topics(&self) -> Topics<'a> {
        self.topics.clone()
    }

    /// The same as generated code would have decoded it.
    pub fn to_message(&self) -> ProduceRequest<'a> {
        use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
        let partition = |partition: PartitionView<'a>| PartitionProduceData {
            index: partition.index,
            records: partition.records.map(crate::Records::Borrowed),
        };
        let topic = |topic: TopicView<'a>| TopicProduceData {
            name: Cow::Borrowed(topic.name),
            topic_id: topic.id,
            partition_data: topic.partitions().map(partition).collect(),
        };
        ProduceRequest {
            transactional_id: self.transactional_id.map(Cow::Borrowed),
            acks: self.acks,
            timeout_ms: self.timeout_ms,
            topic_data: self.topics().map(topic).collect(),
        }
    }
}

/// The topics of a request.
#[derive(Debug, Clone)]
pub struct Topics<'a> {
    reader: Reader<'a>,
    left: usize,
    version: i16,
}

impl<'a> Topics<'a> {
    fn read(&mut self) -> Result<TopicView<'a>, DecodeError> {
        let flexible = self.version >= VERSION_FLEXIBLE;
        let (name, id) = match self.version {
            VERSION_TOPIC_ID.. => ("", self.reader.uuid()?),
            _ => (self.reader.str(flexible)?, Uuid::ZERO),
        };
        let left = self.reader.count(flexible, PARTITION_BYTES_MIN)?;
        let partitions = Partitions { reader: self.reader.clone(), left, flexible };
        self.reader = partitions.clone().walk()?;
        if flexible {
            self.reader.skip_tagged_fields()?;
        }
        Ok(TopicView { name, id, partitions })
    }

    /// Reads everything, up to the request's end.
    fn walk(mut self) -> Result<(), DecodeError> {
        for _ in 0..self.left {
            self.read()?;
        }
        match self.version {
            VERSION_FLEXIBLE.. => self.reader.skip_tagged_fields(),
            _ => Ok(()),
        }
    }
}

impl<'a> Iterator for Topics<'a> {
    type Item = TopicView<'a>;

    fn next(&mut self) -> Option<TopicView<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().expect("the request was checked when it was decoded"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Topics<'_> {}

/// One topic of a request.
#[derive(Debug, Clone)]
pub struct TopicView<'a> {
    /// Its name; empty from version 13.
    pub name: &'a str,
    /// Its id; zero before version 13.
    pub id: Uuid,
    partitions: Partitions<'a>,
}

impl<'a> TopicView<'a> {
    /// Its partitions, in the request's order.
    pub fn partitions(&self) -> Partitions<'a> {
        self.partitions.clone()
    }
}

/// The partitions of a topic.
#[derive(Debug, Clone)]
pub struct Partitions<'a> {
    reader: Reader<'a>,
    left: usize,
    flexible: bool,
}

impl<'a> Partitions<'a> {
    fn read(&mut self) -> Result<PartitionView<'a>, DecodeError> {
        let index = self.reader.i32()?;
        let records = self.reader.nullable_slice(self.flexible)?;
        if self.flexible {
            self.reader.skip_tagged_fields()?;
        }
        Ok(PartitionView { index, records })
    }

    /// Reads everything, and gives the reader behind it.
    fn walk(mut self) -> Result<Reader<'a>, DecodeError> {
        for _ in 0..self.left {
            self.read()?;
        }
        Ok(self.reader)
    }
}

impl<'a> Iterator for Partitions<'a> {
    type Item = PartitionView<'a>;

    fn next(&mut self) -> Option<PartitionView<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().expect("the request was checked when it was decoded"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

/// One partition of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionView<'a> {
    /// Its index in the topic.
    pub index: i32,
    /// Its records as received: a batch, or before version 3 a message set.
    pub records: Option<&'a [u8]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use crate::{Records, Writer};

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
            let view = ProduceRequestView::decode(&bytes, version).expect("well formed");
            assert_eq!(view.to_message(), message, "version {version}");
            let topic = view.topics().nth(3).expect("four topics");
            assert_eq!((view.topics().len(), topic.partitions().len()), (4, 3));
            for cut in 0..bytes.len() {
                let slow = ProduceRequest::decode(&mut Reader::new(&bytes[..cut]), version);
                let fast = ProduceRequestView::decode(&bytes[..cut], version);
                assert!(slow.is_err() && fast.is_err(), "version {version} cut at {cut}");
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
                    let slow = ProduceRequest::decode(&mut Reader::new(&damaged), version);
                    let fast = ProduceRequestView::decode(&damaged, version);
                    let at = format!("version {version}, byte {position} is {damage:#x}");
                    match (slow, fast) {
                        (Ok(slow), Ok(fast)) => assert_eq!(fast.to_message(), slow, "{at}"),
                        (slow, fast) => assert!(slow.is_err() && fast.is_err(), "{at}"),
                    }
                }
            }
        }
    }

    #[test]
    fn absurd_counts_and_unknown_versions_are_refused() {
        let bytes = [&[0, 1, 0, 0, 0, 1][..], &i32::MAX.to_be_bytes()].concat();
        assert_eq!(
            ProduceRequestView::decode(&bytes, 0).err(),
            Some(DecodeError::Count { count: i32::MAX as usize, remaining: 0 })
        );
        for version in [-1, 14] {
            let error = DecodeError::Version { message: "ProduceRequest", version };
            assert_eq!(ProduceRequestView::decode(&bytes, version).err(), Some(error));
        }
    }
}
