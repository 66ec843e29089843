//! Records applied, and read back out of the image.

use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages as m;

use super::{ConfigResource, Delta, Image};
use crate::error::MetadataError;
use crate::record::MetadataRecord as R;

fn topic(name: &'static str, id: u128) -> R<'static> {
    R::Topic(m::topic_record::TopicRecord { name: name.into(), topic_id: Uuid::from_u128(id) })
}

fn partition(id: u128, index: i32) -> R<'static> {
    R::Partition(m::partition_record::PartitionRecord {
        partition_id: index,
        topic_id: Uuid::from_u128(id),
        replicas: vec![1, 2],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid::from_u128(9), Uuid::ZERO],
        eligible_leader_replicas: Some(vec![2]),
        ..Default::default()
    })
}

fn config(
    kind: i8,
    resource: &'static str,
    key: &'static str,
    value: Option<&'static str>,
) -> R<'static> {
    R::Config(m::config_record::ConfigRecord {
        resource_type: kind,
        resource_name: resource.into(),
        name: key.into(),
        value: value.map(Into::into),
    })
}

fn feature(name: &'static str, level: i16) -> R<'static> {
    R::FeatureLevel(m::feature_level_record::FeatureLevelRecord {
        name: name.into(),
        feature_level: level,
    })
}

fn broker(id: i32, epoch: i64) -> R<'static> {
    R::RegisterBroker(m::register_broker_record::RegisterBrokerRecord {
        broker_id: id,
        broker_epoch: epoch,
        incarnation_id: Uuid::from_u128(3),
        end_points: vec![m::register_broker_record::BrokerEndpoint {
            name: "PLAINTEXT".into(),
            host: "h".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: Some("r".into()),
        log_dirs: vec![Uuid::from_u128(9)],
        cordoned_log_dirs: Some(vec![]),
        ..Default::default()
    })
}

fn quota(client: Option<&'static str>, value: f64, remove: bool) -> R<'static> {
    R::ClientQuota(m::client_quota_record::ClientQuotaRecord {
        entity: vec![m::client_quota_record::EntityData {
            entity_type: "client-id".into(),
            entity_name: client.map(Into::into),
        }],
        key: "producer_byte_rate".into(),
        value,
        remove,
    })
}

fn scram(name: &'static str) -> R<'static> {
    R::UserScramCredential(m::user_scram_credential_record::UserScramCredentialRecord {
        name: name.into(),
        mechanism: 1,
        salt: vec![1].into(),
        stored_key: vec![2].into(),
        server_key: vec![3].into(),
        iterations: 4096,
    })
}

fn begin() -> R<'static> {
    R::BeginTransaction(Default::default())
}

fn apply(image: &mut Image, records: &[R<'_>]) -> Result<Delta, MetadataError> {
    let mut delta = Delta::default();
    for record in records {
        image.apply(record, image.last_offset() + 1, 1, &mut delta)?;
    }
    Ok(delta)
}

fn image(records: &[R<'_>]) -> Image {
    let mut image = Image::default();
    apply(&mut image, records).unwrap();
    image
}

fn everything() -> Vec<R<'static>> {
    vec![
        feature("metadata.version", 30),
        feature("aaa.version", 1),
        broker(1, 3),
        broker(2, 4),
        R::UnfenceBroker(m::unfence_broker_record::UnfenceBrokerRecord { id: 1, epoch: 3 }),
        topic("logs", 100),
        partition(100, 0),
        partition(100, 1),
        topic("empty", 50),
        config(2, "logs", "retention.ms", Some("5")),
        config(4, "", "log.retention.ms", Some("6")),
        config(77, "newer", "x", Some("y")),
        R::ProducerIds(m::producer_ids_record::ProducerIdsRecord {
            broker_id: 1,
            broker_epoch: 3,
            next_producer_id: 3000,
        }),
        quota(Some("c1"), 1.0, false),
        quota(None, 2.0, false),
        quota(Some(""), 3.0, false),
        scram("alice"),
        scram("bob"),
    ]
}

fn records_of(image: &Image) -> Vec<R<'_>> {
    image.records().collect::<Result<_, _>>().unwrap()
}

/// The image's records, through their bytes, in an empty image.
fn through_snapshot(image: &Image) -> Image {
    let records = records_of(image);
    let frames: Vec<_> = records.iter().map(|record| record.encode(image).unwrap()).collect();
    let read: Vec<_> = frames.iter().map(|frame| R::decode(frame).unwrap()).collect();
    assert_eq!(read, records);
    self::image(&read)
}

#[test]
fn a_snapshot_equals_its_image() {
    let full = image(&everything());
    assert_eq!(through_snapshot(&full), full);
    assert_eq!(through_snapshot(&Image::default()), Image::default());
    let mut less = full.clone();
    apply(
        &mut less,
        &[
            R::RemoveTopic(m::remove_topic_record::RemoveTopicRecord {
                topic_id: Uuid::from_u128(100),
            }),
            quota(None, 0.0, true),
            feature("aaa.version", 0),
            R::RemoveUserScramCredential(
                m::remove_user_scram_credential_record::RemoveUserScramCredentialRecord {
                    name: "bob".into(),
                    mechanism: 1,
                },
            ),
            R::UnregisterBroker(m::unregister_broker_record::UnregisterBrokerRecord {
                broker_id: 2,
                broker_epoch: 4,
            }),
        ],
    )
    .unwrap();
    assert_ne!(less, full);
    assert_eq!(through_snapshot(&less), less);
    let records = records_of(&less);
    assert!(matches!(&records[0], R::FeatureLevel(level) if level.name == "metadata.version"));
    assert_eq!(records.iter().filter(|record| record.api_key() == 14).count(), 2);
    assert_eq!(records.iter().filter(|record| record.api_key() == 11).count(), 1);
}

#[test]
fn a_change_of_a_partition_keeps_what_it_does_not_name() {
    use m::partition_change_record::PartitionChangeRecord;
    let mut image = image(&everything());
    let change = |change: PartitionChangeRecord| {
        R::PartitionChange(PartitionChangeRecord { topic_id: Uuid::from_u128(100), ..change })
    };
    let same = PartitionChangeRecord { partition_id: 1, ..Default::default() };
    let delta = apply(
        &mut image,
        &[change(PartitionChangeRecord { isr: Some(vec![1, 2]), ..same.clone() })],
    );
    assert_eq!(delta.unwrap().topics.len(), 1);
    let of = |image: &Image| image.topic("logs").unwrap().partitions[&1].clone();
    let partition = of(&image);
    assert_eq!(partition.leader, BrokerId(1));
    assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 1));
    let both = [BrokerId(1), BrokerId(2)];
    assert_eq!((&*partition.isr, &*partition.replicas), (&both[..], &both[..]));
    assert_eq!(partition.eligible_leader_replicas, [BrokerId(2)]);
    apply(&mut image, &[change(PartitionChangeRecord { leader: 1, ..same.clone() })]).unwrap();
    assert_eq!(of(&image).leader_epoch, 1, "naming the same leader is a new leadership too");
    apply(&mut image, &[change(PartitionChangeRecord { leader: -1, ..same })]).unwrap();
    assert_eq!(
        (of(&image).leader, of(&image).leader_epoch, of(&image).partition_epoch),
        (BrokerId::NONE, 2, 3)
    );
    let clear = m::clear_elr_record::ClearElrRecord { topic_name: "".into() };
    apply(&mut image, &[R::ClearElr(clear)]).unwrap();
    assert!(of(&image).eligible_leader_replicas.is_empty());
}

#[test]
fn deleting_a_topic_takes_its_settings_along() {
    let mut image = image(&everything());
    let remove = m::remove_topic_record::RemoveTopicRecord { topic_id: Uuid::from_u128(100) };
    let delta = apply(&mut image, &[R::RemoveTopic(remove)]).unwrap();
    assert_eq!(delta.removed_topics, [("logs".into(), Uuid::from_u128(100))]);
    assert!(image.topic("logs").is_none());
    assert!(image.configs(&ConfigResource::topic("logs")).is_empty());
    assert_eq!(image.topics_from("e").count(), 1);
    assert_eq!(image.topics_from("f").count(), 0);
}

#[test]
fn a_transaction_counts_as_a_whole() {
    let mut transacting = image(&[topic("a", 1), begin(), topic("b", 2)]);
    assert!(transacting.in_transaction());
    let mut aborted = transacting.clone();
    apply(&mut aborted, &[R::AbortTransaction(Default::default())]).unwrap();
    assert_eq!(aborted, image(&[topic("a", 1)]));
    assert_eq!(aborted.last_offset(), 3);
    apply(&mut transacting, &[R::EndTransaction(Default::default())]).unwrap();
    assert_eq!(transacting, image(&[topic("a", 1), topic("b", 2)]));
    assert!(!transacting.in_transaction());
    assert!(apply(&mut transacting, &[R::EndTransaction(Default::default())]).is_err());
    assert!(apply(&mut transacting, &[begin(), begin()]).is_err());
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let cases = [
        (topic("a", 1), "DuplicateTopic"),
        (topic("b", 100), "DuplicateTopic"),
        (topic("../etc", 3), "IllegalTopicName"),
        (partition(7, 0), "UnknownTopic"),
        (
            R::PartitionChange(m::partition_change_record::PartitionChangeRecord {
                partition_id: 5,
                topic_id: Uuid::from_u128(100),
                ..Default::default()
            }),
            "UnknownPartition",
        ),
        (
            R::FenceBroker(m::fence_broker_record::FenceBrokerRecord { id: 1, epoch: 99 }),
            "UnknownBroker",
        ),
    ];
    let mut records = everything();
    records.push(topic("a", 1));
    let good = image(&records);
    for (record, expected) in cases {
        let mut image = good.clone();
        let error = apply(&mut image, &[record]).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        assert_eq!(image, good);
    }
}

#[test]
fn broken_bytes_are_errors() {
    let image = image(&everything());
    for record in records_of(&image) {
        let bytes = record.encode(&image).unwrap();
        for end in 0..bytes.len() {
            assert!(R::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut long = bytes.to_vec();
        long.push(0);
        assert!(R::decode(&long).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0xff;
            let _ = R::decode(&changed);
        }
    }
    for unknown in [&[1, 127, 0][..], &[1, 2, 9], &[2, 2, 0], &[1, 0x80], &[0xff; 6]] {
        assert!(R::decode(unknown).is_err());
    }
    assert_eq!(R::decode(&[1, 2, 9]), Err(MetadataError::Unknown { api_key: 2, version: 9 }));
}
