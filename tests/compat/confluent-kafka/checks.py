"""The checks of confluent-kafka: codecs, acks, idempotence, administration, manual assignment."""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource,
                                   NewPartitions, NewTopic, OffsetSpec, ResourceType)

BOOTSTRAP = sys.argv[1]
COMMON = {"bootstrap.servers": BOOTSTRAP, "topic.metadata.refresh.fast.interval.ms": 50}
PARTITIONS = 3
COUNT = 500


def ok(what):
    print(f"  ok {what}", flush=True)


def value(topic, partition, i):
    return f"{topic}/{partition} record {i:06d}, padded so that a codec finds something".encode()


def produce(topic, has_offsets, **settings):
    producer = Producer(COMMON | {"linger.ms": 2} | settings)
    reports = []
    for i in range(COUNT):
        for partition in range(PARTITIONS):
            producer.produce(topic, value(topic, partition, i), key=f"key-{i % 7}",
                             partition=partition, headers=[("n", str(i).encode())],
                             on_delivery=lambda error, message: reports.append((error, message)))
        producer.poll(0)
    assert producer.flush(20) == 0, "records were left over"
    assert len(reports) == COUNT * PARTITIONS, len(reports)
    next_offset = [0] * PARTITIONS
    for error, message in reports:
        assert error is None, error
        if has_offsets:
            assert message.offset() == next_offset[message.partition()], message.offset()
            next_offset[message.partition()] += 1


def consume(topic, count=COUNT, **settings):
    consumer = Consumer(COMMON | {"group.id": "unused", "enable.auto.commit": False,
                                  "enable.partition.eof": False} | settings)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    next_offset = [0] * PARTITIONS
    deadline = time.monotonic() + 20
    while sum(next_offset) < count * PARTITIONS:
        assert time.monotonic() < deadline, f"{topic}: only {next_offset} came"
        for message in consumer.consume(500, timeout=0.5):
            assert message.error() is None, message.error()
            partition, i = message.partition(), next_offset[message.partition()]
            assert message.offset() == i, f"offset {message.offset()}, expected {i}"
            assert message.value() == value(topic, partition, i), message.value()
            assert message.key() == f"key-{i % 7}".encode(), message.key()
            assert message.headers() == [("n", str(i).encode())], message.headers()
            next_offset[partition] += 1
    consumer.close()


def codecs_and_acks(admin):
    names = [f"confluent.{codec}.{acks}" for codec in ("none", "gzip", "snappy", "lz4", "zstd")
             for acks in ("0", "1", "all")]
    for future in admin.create_topics([NewTopic(n, PARTITIONS, 1) for n in names]).values():
        future.result(20)
    # With acks=0 nobody tells that a partition has no leader yet: wait until all have.
    asked = {TopicPartition(n, p): OffsetSpec.latest() for n in names for p in range(PARTITIONS)}
    for _ in range(100):
        answers = admin.list_offsets(asked).values()
        if all(f.exception(20) is None for f in answers):
            break
        time.sleep(0.1)
    for name in names:
        _, codec, acks = name.split(".")
        produce(name, acks != "0", **{"compression.type": codec, "acks": acks})
        consume(name)
        ok(f"{PARTITIONS} × {COUNT} records, {codec}, acks={acks}")


def idempotent(admin):
    admin.create_topics([NewTopic("confluent.idempotent", PARTITIONS, 1)])[
        "confluent.idempotent"].result(20)
    produce("confluent.idempotent", True, **{"enable.idempotence": True, "acks": "all"})
    consume("confluent.idempotent", **{"check.crcs": True})
    ok("idempotent producer, checksums checked by the consumer")


def administration(admin):
    topic = "confluent.admin"
    admin.create_topics([NewTopic(topic, 1, 1, config={"retention.ms": "86400000"})])[
        topic].result(20)
    error = admin.create_topics([NewTopic(topic, 1, 1)])[topic].exception(20)
    assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, error
    error = admin.create_topics([NewTopic("no/slash", 1, 1)])["no/slash"].exception(20)
    assert error.args[0].code() == KafkaError.TOPIC_EXCEPTION, error
    ok("create, create again, a bad name")

    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    for _ in range(100):
        partitions = admin.list_topics(topic).topics[topic].partitions
        if len(partitions) == 3 and all(p.leader == partitions[0].leader for p in
                                        partitions.values()):
            break
        time.sleep(0.05)
    assert len(partitions) == 3, partitions
    ok("two more partitions")

    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[
        ConfigEntry("segment.ms", "3600000", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE)])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20)
    configs = {}
    for _ in range(50):
        asked = ConfigResource(ResourceType.TOPIC, topic)
        configs = list(admin.describe_configs([asked]).values())[0].result(20)
        if configs["segment.ms"].value == "3600000":
            break
        time.sleep(0.05)
    assert configs["segment.ms"].value == "3600000", configs["segment.ms"].value
    assert configs["retention.ms"].value == "604800000", configs["retention.ms"].value
    ok("configs: set, reset to the default, described")

    produce(topic, True, acks="all")
    cut = TopicPartition(topic, 1, 200)
    low = list(admin.delete_records([cut]).values())[0].result(20).low_watermark
    assert low == 200, low
    consumer = Consumer(COMMON | {"group.id": "unused"})
    assert consumer.get_watermark_offsets(TopicPartition(topic, 1), 10) == (200, COUNT)
    at = consumer.offsets_for_times([TopicPartition(topic, 0, 1000)], timeout=10)[0]
    assert at.offset == 0, at
    consumer.close()
    ok("delete records, watermarks, offset of a time")

    cluster = admin.describe_cluster().result(20)
    assert len(cluster.nodes) == 1 and len(cluster.cluster_id) == 22, cluster
    admin.delete_topics([topic])[topic].result(20)
    for _ in range(100):
        if topic not in admin.list_topics().topics:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("a deleted topic stays")
    ok("describe cluster, delete")


def auto_created():
    """A consumer that starts before its topic exists."""
    consumer = Consumer(COMMON | {"group.id": "unused", "allow.auto.create.topics": True})
    consumer.assign([TopicPartition("confluent.later", 0, OFFSET_BEGINNING)])
    consumer.poll(0.5)
    producer = Producer(COMMON)
    producer.produce("confluent.later", b"first")
    assert producer.flush(20) == 0
    deadline = time.monotonic() + 20
    while True:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            break
        assert time.monotonic() < deadline, "nothing came"
    assert message.value() == b"first", message.value()
    consumer.close()
    ok("a consumer older than its topic")


def main():
    admin = AdminClient(COMMON)
    codecs_and_acks(admin)
    idempotent(admin)
    administration(admin)
    auto_created()


main()
