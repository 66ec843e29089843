//! A metadata log, or a snapshot file, read into an image.
//!
//! Control batches (a new leader, a snapshot's header and footer) only move the image's place in
//! the log; those about the quorum's version and voters are kept for the next snapshot. What the
//! image already knows is skipped, so a snapshot and a log that begins before its end go together.

use ringlog_record::{
    BatchError, BatchIter, BatchView, ControlRecordType, RecordIter, decompressed_records,
};

use crate::error::MetadataError;
use crate::image::{Delta, Image};
use crate::record::MetadataRecord;
use crate::snapshot_file::{header_timestamp_ms, is_footer};

/// Most bytes one batch may unfold to. Kafka's controllers write batches of at most 8 MiB.
const BATCH_BYTES_MAX: usize = 64 << 20;

impl Image {
    /// Applies the whole batches of a metadata log that follow what this image knows. Storage
    /// has already cut off what a crash left at the end; whatever else is wrong is an error.
    pub fn replay(&mut self, log: &[u8], delta: &mut Delta) -> Result<(), MetadataError> {
        for batch in BatchIter::new(log) {
            let known = self.last_offset();
            let batch = batch.map_err(|error| at(known + 1, &error))?;
            if batch.last_offset() > known {
                self.replay_batch(&batch, known, delta)?;
            }
        }
        Ok(())
    }

    fn replay_batch(
        &mut self,
        batch: &BatchView<'_>,
        known: i64,
        delta: &mut Delta,
    ) -> Result<(), MetadataError> {
        let (base, epoch) = (batch.base_offset(), batch.leader_epoch());
        batch.verify_crc().map_err(|error| at(base, &error))?;
        if batch.attributes().is_control() {
            self.replay_control(batch)?;
        } else {
            let records =
                decompressed_records(batch, BATCH_BYTES_MAX).map_err(|error| at(base, &error))?;
            for record in RecordIter::new(batch, &records) {
                let record = record.map_err(|error| at(base, &error))?;
                if record.offset <= known {
                    continue;
                }
                let value = record.value.ok_or_else(|| MetadataError::Batch {
                    offset: record.offset,
                    reason: "a record without a value".to_owned(),
                })?;
                self.apply(&MetadataRecord::decode(value)?, record.offset, epoch, delta)?;
            }
        }
        self.passed(batch.last_offset(), epoch);
        Ok(())
    }

    fn replay_control(&mut self, batch: &BatchView<'_>) -> Result<(), MetadataError> {
        for record in RecordIter::new(batch, batch.records_bytes()) {
            let record = record.map_err(|error| at(batch.base_offset(), &error))?;
            let key = record.key.unwrap_or_default();
            if let Some(ControlRecordType::KRaftVersion | ControlRecordType::KRaftVoters) =
                ControlRecordType::from_key(key)
            {
                let kind = i16::from_be_bytes([key[2], key[3]]);
                self.keep_quorum(kind, record.value.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Reads a snapshot file, which holds all that the log said up to `end_offset`, exclusive.
    ///
    /// # Errors
    /// Anything that is not a whole snapshot from header to footer.
    pub fn from_snapshot(file: &[u8], end_offset: i64, epoch: i32) -> Result<Image, MetadataError> {
        let mut batches = BatchIter::new(file).map_while(Result::ok);
        let first = batches.next();
        if first.and_then(|first| header_timestamp_ms(&first)).is_none() {
            return Err(incomplete("the file does not begin with a snapshot's header"));
        }
        if !batches.last().is_some_and(|last| is_footer(&last)) {
            return Err(incomplete("the file does not end with a snapshot's footer"));
        }
        let mut image = Image::default();
        image.replay(file, &mut Delta::default())?;
        if image.in_transaction() {
            return Err(MetadataError::Transaction("a snapshot ends inside a transaction"));
        }
        image.passed(end_offset - 1, epoch);
        Ok(image)
    }
}

fn incomplete(reason: &str) -> MetadataError {
    MetadataError::Batch { offset: 0, reason: reason.to_owned() }
}

fn at(offset: i64, error: &BatchError) -> MetadataError {
    MetadataError::Batch { offset, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use ringlog_config::BrokerConfig;
    use ringlog_record::{BatchBuilder, patch};
    use ringlog_types::{BrokerId, Uuid};
    use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};

    use super::*;
    use crate::controller::{Controller, Decision, Registration, Unlimited};
    use crate::image::{BrokerEndpoint, ConfigResource};
    use crate::snapshot_file::{parse_snapshot_name, snapshot_timestamp_ms};

    /// The metadata log of an Apache Kafka 4.3.1 node: topics created, widened and deleted,
    /// settings, quotas, a SCRAM user, producer ids, a clean stop, another start, another stop.
    fn apache_log() -> Vec<u8> {
        let path = "../../tests/golden/metadata/apache-kafka-4.3.1.log";
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    fn replayed(log: &[u8]) -> Image {
        let mut image = Image::default();
        image.replay(log, &mut Delta::default()).unwrap();
        image
    }

    fn values(log: &[u8]) -> Vec<(i64, Vec<u8>)> {
        let mut values = Vec::new();
        for batch in BatchIter::new(log) {
            let batch = batch.unwrap();
            if !batch.attributes().is_control() {
                for record in RecordIter::new(&batch, batch.records_bytes()) {
                    let record = record.unwrap();
                    values.push((record.offset, record.value.unwrap().to_vec()));
                }
            }
        }
        values
    }

    #[test]
    fn an_apache_log_is_understood() {
        let image = replayed(&apache_log());
        assert_eq!((image.last_offset(), image.last_epoch()), (76, 2));
        assert_eq!(image.feature_level("metadata.version"), Some(30));
        assert_eq!(image.topic_count(), 1);
        let topic = image.topic("logs").unwrap();
        assert_eq!(topic.id.to_string(), "jUacABz1SgOeLfg-oxGm8g");
        assert_eq!(topic.partition_count(), 5);
        let partition = &topic.partitions[&4];
        assert_eq!(
            (partition.leader, partition.leader_epoch, partition.partition_epoch),
            (BrokerId::NONE, 3, 3)
        );
        assert_eq!(partition.eligible_leader_replicas, [BrokerId(1)]);
        let configs = image.configs(&ConfigResource::topic("logs"));
        assert_eq!((configs.len(), configs["retention.ms"].as_str()), (2, "5000"));
        assert_eq!(image.configs(&ConfigResource::broker(BrokerId(1)))["log.cleaner.threads"], "2");
        assert_eq!(image.next_producer_id(), 1000);
        let broker = image.broker(BrokerId(1)).unwrap();
        assert_eq!((broker.epoch, broker.fenced, broker.endpoints[0].port), (56, true, 19192));
        let unsupported: Vec<_> =
            image.unsupported_features().into_iter().map(|(name, _)| name).collect();
        assert!(unsupported.contains(&"transaction.version"));
        let offered: Vec<_> = image.offered_features().collect();
        assert_eq!(offered, [("metadata.version", 30), ("group.version", 1)]);
    }

    #[test]
    fn every_record_of_it_is_written_back_byte_for_byte() {
        let mut image = Image::default();
        let mut kinds = std::collections::BTreeSet::new();
        for (offset, value) in values(&apache_log()) {
            let record = MetadataRecord::decode(&value).unwrap();
            image.apply(&record, offset, 1, &mut Delta::default()).unwrap();
            assert_eq!(record.encode(&image).unwrap(), value, "{record:?}");
            kinds.insert(record.api_key());
        }
        assert!(kinds.len() >= 13, "{kinds:?}");
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_image() {
        let log = apache_log();
        let whole = replayed(&log);
        // Cut after every batch: the snapshot of what is before it, then all of the log again.
        let mut end = 0;
        for batch in BatchIter::new(&log) {
            end += batch.unwrap().size();
            let before = replayed(&log[..end]);
            let id = before.snapshot_id();
            let file = before.to_snapshot(1).unwrap();
            let mut image = Image::from_snapshot(&file, id.end_offset, id.epoch).unwrap();
            assert_eq!(image, before);
            image.replay(&log, &mut Delta::default()).unwrap();
            assert_eq!(image, whole);
            assert_eq!(image.snapshot_id(), whole.snapshot_id());
            assert_eq!(parse_snapshot_name(&id.file_name()), Some(id));
        }
        for name in ["bootstrap.checkpoint", "x-1.checkpoint", "00000000000000000208.snapshot"] {
            assert_eq!(parse_snapshot_name(name), None);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_an_error() {
        let image = replayed(&apache_log());
        let id = image.snapshot_id();
        let file = image.to_snapshot(7).unwrap();
        let read = |file: &[u8]| Image::from_snapshot(file, id.end_offset, id.epoch);
        assert_eq!(read(&file).unwrap(), image);
        assert_eq!(snapshot_timestamp_ms(&file), Some(7));
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
        let mut batch_start = 0;
        for batch in BatchIter::new(&file) {
            let size = batch.unwrap().size();
            for at in batch_start + 17..batch_start + size {
                let mut damaged = file.clone();
                damaged[at] ^= 0x10;
                assert!(read(&damaged).is_err(), "damage at {at}");
            }
            batch_start += size;
        }
    }

    #[test]
    fn a_snapshot_keeps_the_quorums_version_and_voters() {
        let mut log = apache_log();
        let mut image = replayed(&log);
        for (kind, value) in [
            (ControlRecordType::KRaftVersion, &[0, 0, 0, 1, 0][..]),
            (ControlRecordType::KRaftVoters, b"old voters"),
            (ControlRecordType::KRaftVoters, b"voters"),
        ] {
            let (mut batch, _) = ringlog_record::control_batch(kind, value, 5);
            patch::set_base_offset(&mut batch, replayed(&log).last_offset() + 1);
            patch::set_leader_epoch(&mut batch, 3);
            log.extend_from_slice(&batch);
        }
        assert_ne!(replayed(&log), image);
        image.replay(&log, &mut Delta::default()).unwrap();
        let file = image.to_snapshot(5).unwrap();
        let read = Image::from_snapshot(&file, image.last_offset() + 1, 3).unwrap();
        assert_eq!(read, image);
        let first = BatchIter::new(&file).next().unwrap().unwrap();
        let records: Vec<_> = RecordIter::new(&first, first.records_bytes())
            .map(|record| record.unwrap().value.unwrap().to_vec())
            .collect();
        assert_eq!(records[1..], [vec![0, 0, 0, 1, 0], b"voters".to_vec()]);
    }

    #[test]
    fn damage_is_an_error() {
        let log = apache_log();
        for at in (0..log.len()).step_by(7) {
            let mut damaged = log.clone();
            damaged[at] ^= 0x55;
            // Base offset and leader epoch lie outside the checksum.
            let _ = Image::default().replay(&damaged, &mut Delta::default());
        }
        let mut damaged = log.clone();
        damaged[91 + 70] ^= 1;
        let error = Image::default().replay(&damaged, &mut Delta::default()).unwrap_err();
        assert!(matches!(error, MetadataError::Batch { offset: 1, .. }), "{error}");
        assert!(Image::default().replay(&log[..log.len() - 1], &mut Delta::default()).is_err());
    }

    /// A node as the broker runs it, with its log in memory.
    struct Node {
        controller: Controller,
        log: Vec<u8>,
        next_offset: i64,
        epoch: i32,
    }

    impl Node {
        fn open(log: Vec<u8>) -> Node {
            let image = replayed(&log);
            let (next_offset, epoch) = (image.last_offset() + 1, image.last_epoch() + 1);
            let config = Arc::new(BrokerConfig::default());
            let controller = Controller::new(image, config);
            let mut node = Node { controller, log, next_offset, epoch };
            let bootstrap = node.controller.bootstrap();
            node.commit(&bootstrap);
            let registration = Registration {
                broker_id: BrokerId(1),
                incarnation_id: Uuid::from_u128(5),
                endpoints: vec![BrokerEndpoint {
                    name: "PLAINTEXT".into(),
                    host: "127.0.0.1".into(),
                    port: 9092,
                    security_protocol: 0,
                }],
                rack: None,
                log_dirs: vec![Uuid::from_u128(6)],
                stopped_cleanly: false,
            };
            let registered = node.controller.register_broker(registration, node.next_offset);
            node.commit(&registered);
            node
        }

        fn append(&mut self, records: &[MetadataRecord<'_>]) {
            let mut batch = BatchBuilder::new(1_795_000_000_000);
            for record in records {
                let value = record.encode(self.controller.image()).unwrap();
                batch.push(1_795_000_000_000, None, Some(&value), &[]);
            }
            let (mut bytes, _) = batch.build().unwrap();
            patch::set_base_offset(&mut bytes, self.next_offset);
            patch::set_leader_epoch(&mut bytes, self.epoch);
            self.log.extend_from_slice(&bytes);
            self.controller.commit(records, self.next_offset, self.epoch).unwrap();
            self.next_offset += records.len() as i64;
        }

        fn commit<R>(&mut self, decision: &Decision<R>) {
            for batch in decision.batches() {
                self.append(batch);
            }
        }

        fn create(&mut self, name: &str, partitions: i32) -> Decision<()> {
            let request = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: name.to_owned().into(),
                    num_partitions: partitions,
                    replication_factor: 1,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let decision =
                self.controller.create_topics(&request, self.next_offset as u128, &Unlimited);
            assert_eq!(decision.response.topics[0].error_code, 0);
            Decision { response: (), records: decision.records }
        }
    }

    #[test]
    fn our_own_log_is_understood_too() {
        let mut node = Node::open(Vec::new());
        for index in 0..50 {
            let decision = node.create(&format!("t{index}"), index % 5 + 1);
            node.commit(&decision);
        }
        assert_eq!(&replayed(&node.log), node.controller.image());
        let again = Node::open(node.log);
        assert_eq!(again.controller.image().topic("t7").unwrap().partitions[&0].leader_epoch, 1);
    }

    #[test]
    fn a_node_takes_an_apache_log_over() {
        let node = Node::open(apache_log());
        let topic = node.controller.image().topic("logs").unwrap();
        for partition in topic.partitions.values() {
            assert_eq!((partition.leader, &*partition.isr), (BrokerId(1), &[BrokerId(1)][..]));
            assert_eq!(partition.leader_epoch, 4);
            assert!(partition.eligible_leader_replicas.is_empty());
        }
        assert_eq!(&replayed(&node.log), node.controller.image());
    }

    #[test]
    fn half_a_transaction_is_undone_at_the_next_start() {
        let mut node = Node::open(Vec::new());
        let before = node.controller.image().clone();
        let decision = node.create("wide", 10_000);
        assert_eq!(decision.batches().count(), 2);
        node.append(decision.batches().next().unwrap());
        let torn = replayed(&node.log);
        assert!(torn.in_transaction());
        assert_eq!(torn.settled(), &before);
        let node = Node::open(node.log);
        assert!(!node.controller.image().in_transaction());
        assert_eq!(node.controller.image().topic_count(), 0);
    }

    /// Writes logs for Apache Kafka to read, when asked to: `tests/golden/metadata/README.md`.
    #[test]
    fn logs_for_apaches_own_reader() {
        let Some(directory) = std::env::var_os("RINGLOG_METADATA_OUT") else { return };
        for (name, log) in [("taken-over", apache_log()), ("new", Vec::new())] {
            let mut node = Node::open(log);
            let decision = node.create("by-ringlog", 3);
            node.commit(&decision);
            let directory = Path::new(&directory).join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("00000000000000000000.log"), &node.log).unwrap();
            let image = node.controller.image();
            let snapshot = image.to_snapshot(1_795_000_000_000).unwrap();
            std::fs::write(directory.join(image.snapshot_id().file_name()), snapshot).unwrap();
        }
    }
}
