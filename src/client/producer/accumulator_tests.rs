//! The accumulator without a network: what is taken out when, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_record::BatchView;
use ringlog_types::{BrokerId, TopicPartition, Uuid};
use tokio::time::Instant;

use super::accumulator::Accumulator;
use super::batch::SealedBatch;
use super::sequence::Identity;
use super::{Delivery, ProducerRecord, ProducerSettings};
use crate::error::ClientError;
use crate::metadata::{Cluster, PartitionMetadata, TopicMetadata};

const IDENTITY: Identity = Identity { producer_id: 9, epoch: 0 };

fn accumulator(settings: ProducerSettings) -> Accumulator {
    let accumulator = Accumulator::new(settings);
    let partition = |partition| PartitionMetadata {
        partition,
        leader: BrokerId(1),
        leader_epoch: 0,
        replicas: vec![BrokerId(1)],
        isr: vec![BrokerId(1)],
        offline_replicas: vec![],
    };
    accumulator.learn(Arc::new(TopicMetadata {
        name: "t".into(),
        id: Uuid::ZERO,
        is_internal: false,
        partitions: vec![partition(0), partition(1)],
    }));
    accumulator
}

fn record(partition: i32, size: usize) -> ProducerRecord {
    ProducerRecord {
        topic: "t".into(),
        partition: Some(partition),
        value: Some(Bytes::from(vec![b'x'; size])),
        ..ProducerRecord::default()
    }
}

async fn send(accumulator: &Accumulator, record: ProducerRecord) -> Result<Delivery, ClientError> {
    let size = record.size();
    accumulator.reserve(size).await?;
    accumulator.append(record, size)
}

fn drain(accumulator: &Accumulator, now: Instant) -> Vec<SealedBatch> {
    accumulator.drain(Some(IDENTITY), now, |_| true).batches
}

fn sequence(batch: &SealedBatch) -> (i64, i32) {
    let view = BatchView::check(&batch.bytes).unwrap();
    (view.producer_id(), view.base_sequence())
}

#[tokio::test]
async fn a_batch_lingers_until_it_is_full_or_flushed() {
    let settings = ProducerSettings {
        linger: Duration::from_secs(1),
        batch_bytes: 1_000,
        ..Default::default()
    };
    let accumulator = accumulator(settings);
    let now = Instant::now();
    send(&accumulator, record(0, 100)).await.unwrap();
    let drained = accumulator.drain(Some(IDENTITY), now, |_| true);
    assert!(drained.batches.is_empty());
    assert!(drained.next.is_some_and(|next| next > now));
    assert_eq!(drain(&accumulator, now + Duration::from_secs(2)).len(), 1);
    // The second record does not fit beside the first one, which is then sent at once.
    send(&accumulator, record(1, 900)).await.unwrap();
    send(&accumulator, record(1, 100)).await.unwrap();
    let batches = drain(&accumulator, Instant::now());
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].partition.partition, batches[0].count), (1, 1));
    accumulator.close();
    assert_eq!(drain(&accumulator, Instant::now()).len(), 1);
    assert!(matches!(send(&accumulator, record(0, 1)).await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn a_repeated_batch_goes_first_and_alone_and_keeps_its_sequence() {
    let settings = ProducerSettings { linger: Duration::ZERO, ..Default::default() };
    let accumulator = accumulator(settings);
    let mut sent = Vec::new();
    for _ in 0..3 {
        send(&accumulator, record(0, 10)).await.unwrap();
        send(&accumulator, record(0, 10)).await.unwrap();
        sent.extend(drain(&accumulator, Instant::now()));
    }
    assert_eq!(sent.iter().map(sequence).collect::<Vec<_>>(), [(9, 0), (9, 2), (9, 4)]);
    let third = sent.pop().unwrap();
    let (second, first) = (sent.pop().unwrap(), sent.pop().unwrap());
    // The second one fails first; the first one is still on its way.
    let now = Instant::now();
    assert!(accumulator.has_earlier(&second.partition, second.order));
    accumulator.retry(second, now);
    accumulator.retry(first, now);
    send(&accumulator, record(0, 10)).await.unwrap();
    assert!(drain(&accumulator, now).is_empty(), "the third is still on its way");
    accumulator.complete(third, Ok(Some(4)));
    for expected in [0, 2, 6] {
        let mut batches = drain(&accumulator, Instant::now());
        let batch = batches.pop().unwrap();
        assert!(batches.is_empty());
        assert_eq!(sequence(&batch), (9, expected));
        accumulator.complete(batch, Ok(Some(i64::from(expected))));
    }
    assert!(accumulator.is_idle());
}

#[tokio::test]
async fn a_new_identity_renumbers_what_is_to_be_repeated() {
    let settings = ProducerSettings { linger: Duration::ZERO, ..Default::default() };
    let accumulator = accumulator(settings);
    for _ in 0..2 {
        send(&accumulator, record(0, 10)).await.unwrap();
        send(&accumulator, record(0, 10)).await.unwrap();
        let mut batches = drain(&accumulator, Instant::now());
        accumulator.retry(batches.pop().unwrap(), Instant::now());
        if accumulator.drain(None, Instant::now(), |_| false).next.is_none() {
            panic!("a blocked partition is looked at again");
        }
    }
    let renewed = Identity { producer_id: 10, epoch: 0 };
    accumulator.renew(&TopicPartition::new("t", 0));
    accumulator.renumber(renewed);
    let batch = accumulator.drain(Some(renewed), Instant::now(), |_| true).batches.pop().unwrap();
    assert_eq!(sequence(&batch), (10, 0));
}

/// Its repetitions would not be recognised under another identity.
#[tokio::test]
async fn a_partition_without_a_gap_keeps_its_identity() {
    let settings = ProducerSettings { linger: Duration::ZERO, ..Default::default() };
    let accumulator = accumulator(settings);
    for partition in [0, 1] {
        send(&accumulator, record(partition, 10)).await.unwrap();
    }
    for batch in drain(&accumulator, Instant::now()) {
        accumulator.retry(batch, Instant::now());
    }
    accumulator.renew(&TopicPartition::new("t", 1));
    let renewed = Identity { producer_id: 10, epoch: 0 };
    accumulator.renumber(renewed);
    for expected in [[(9, 0), (10, 0)], [(9, 1), (10, 1)]] {
        let batches = accumulator.drain(Some(renewed), Instant::now(), |_| true).batches;
        assert_eq!(batches.iter().map(sequence).collect::<Vec<_>>(), expected);
        for batch in batches {
            accumulator.complete(batch, Ok(None));
        }
        for partition in [0, 1] {
            send(&accumulator, record(partition, 10)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_what_is_abandoned() {
    let settings = ProducerSettings {
        linger: Duration::ZERO,
        batch_bytes: 1_000,
        buffer_bytes: 2_000,
        ..Default::default()
    };
    let accumulator = accumulator(settings);
    let taken_out = send(&accumulator, record(0, 900)).await.unwrap();
    let batches = drain(&accumulator, Instant::now());
    let waiting = send(&accumulator, record(0, 900)).await.unwrap();
    assert!(!taken_out.is_done() && !waiting.is_done());
    drop(batches);
    let (full, ()) = tokio::join!(accumulator.reserve(900), async { accumulator.abandon() });
    assert_eq!(full, Err(ClientError::Closed));
    accumulator.flush().await;
    for delivery in [taken_out, waiting] {
        assert_eq!(delivery.wait().await, Err(ClientError::Closed));
    }
}

#[tokio::test]
async fn more_partitions_are_used_when_they_are_learned() {
    let accumulator = accumulator(ProducerSettings::default());
    assert!(send(&accumulator, record(2, 10)).await.is_err());
    let mut cluster = Cluster::default();
    let partition = |partition| PartitionMetadata {
        partition,
        leader: BrokerId(1),
        leader_epoch: 0,
        replicas: vec![BrokerId(1)],
        isr: vec![BrokerId(1)],
        offline_replicas: vec![],
    };
    let topic = TopicMetadata {
        name: "t".into(),
        id: Uuid::ZERO,
        is_internal: false,
        partitions: (0..3).map(partition).collect(),
    };
    cluster.topics.insert("t".into(), Arc::new(topic));
    accumulator.learn_anew(&cluster);
    assert!(send(&accumulator, record(2, 10)).await.is_ok());
}

#[tokio::test]
async fn what_is_too_old_is_given_up_and_its_memory_comes_back() {
    let settings = ProducerSettings {
        linger: Duration::ZERO,
        batch_bytes: 1_000,
        buffer_bytes: 1_000,
        delivery_timeout: Duration::from_secs(5),
        ..Default::default()
    };
    let accumulator = accumulator(settings);
    let delivery = send(&accumulator, record(0, 900)).await.unwrap();
    let full = tokio::time::timeout(Duration::from_millis(20), accumulator.reserve(900)).await;
    assert!(full.is_err(), "there is no memory for a second record");
    let later = Instant::now() + Duration::from_secs(6);
    let drained = accumulator.drain(Some(IDENTITY), later, |_| false);
    assert!(drained.batches.is_empty() && !drained.has_gap);
    let error = delivery.wait().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    tokio::time::timeout(Duration::from_secs(60), accumulator.reserve(900)).await.unwrap().unwrap();
    assert!(accumulator.is_idle());
}

#[tokio::test]
async fn deliveries_know_their_offsets() {
    let accumulator = accumulator(ProducerSettings::default());
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(send(&accumulator, record(1, 10)).await.unwrap());
    }
    accumulator.close();
    let batch = drain(&accumulator, Instant::now()).pop().unwrap();
    accumulator.complete(batch, Ok(Some(100)));
    for (place, delivery) in deliveries.into_iter().enumerate() {
        let delivered = delivery.wait().await.unwrap();
        assert_eq!(delivered.partition, TopicPartition::new("t", 1));
        assert_eq!(delivered.offset, Some(100 + place as i64));
    }
    let wrong = send(&accumulator, record(7, 10)).await;
    assert!(wrong.is_err());
}
