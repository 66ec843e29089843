"""The checks of kafka-python: codecs, acks, idempotence, administration, manual assignment."""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

BOOTSTRAP = sys.argv[1]
PARTITIONS = 2
COUNT = 400


def ok(what):
    print(f"  ok {what}", flush=True)


def value(topic, partition, i):
    return f"{topic}/{partition} record {i:06d}, padded so that a codec finds something".encode()


def produce(topic, acks, **settings):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks=acks, linger_ms=2,
                             retry_backoff_ms=50, **settings)
    futures = []
    for i in range(COUNT):
        for partition in range(PARTITIONS):
            futures.append((i, producer.send(
                topic, value(topic, partition, i), key=f"key-{i % 7}".encode(),
                partition=partition, headers=[("n", str(i).encode())])))
    producer.flush(20)
    for i, future in futures:
        metadata = future.get(20)
        assert acks == 0 or metadata.offset == i, f"offset {metadata.offset}, expected {i}"
    producer.close()


def consume(topic, **settings):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=15000, **settings)
    consumer.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
    next_offset = [0] * PARTITIONS
    for record in consumer:
        partition, i = record.partition, next_offset[record.partition]
        assert record.offset == i, f"offset {record.offset}, expected {i}"
        assert record.value == value(topic, partition, i), record.value
        assert record.key == f"key-{i % 7}".encode(), record.key
        assert list(record.headers) == [("n", str(i).encode())], record.headers
        next_offset[partition] += 1
        if sum(next_offset) == COUNT * PARTITIONS:
            break
    assert sum(next_offset) == COUNT * PARTITIONS, f"{topic}: only {next_offset} came"
    consumer.close()


def main():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    names = [f"kpy.{codec}.{acks}" for codec in ("none", "gzip", "snappy", "lz4", "zstd")
             for acks in (0, 1, "all")] + ["kpy.idempotent"]
    admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    try:
        admin.create_topics([NewTopic(names[0], PARTITIONS, 1)])
    except TopicAlreadyExistsError:
        ok("create, and create again is refused")
    else:
        raise AssertionError("a topic was created twice")
    listed = admin.list_topics()
    assert set(names) <= set(listed), listed
    # With acks=0 nobody tells that a partition has no leader yet: wait until all have.
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP)
    for _ in range(100):
        try:
            ends = consumer.end_offsets([TopicPartition(n, p) for n in names
                                         for p in range(PARTITIONS)])
            assert set(ends.values()) == {0}, ends
            break
        except KafkaError:
            time.sleep(0.1)
    for name in names[:-1]:
        _, codec, acks = name.split(".")
        acks = acks if acks == "all" else int(acks)
        produce(name, acks, compression_type=None if codec == "none" else codec,
                enable_idempotence=False)
        consume(name)
        ok(f"{PARTITIONS} × {COUNT} records, {codec}, acks={acks}")
    produce("kpy.idempotent", "all", enable_idempotence=True)
    consume("kpy.idempotent", check_crcs=True)
    ok("idempotent producer, checksums checked by the consumer")

    partition = TopicPartition("kpy.none.all", 0)
    assert consumer.end_offsets([partition]) == {partition: COUNT}
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    at = consumer.offsets_for_times({partition: int(time.time() * 1000) - 3600000})
    assert at[partition].offset == 0, at
    consumer.close()
    ok("offsets: start, end, of a time")

    admin.delete_topics(["kpy.none.0"])
    for _ in range(100):
        if "kpy.none.0" not in admin.list_topics():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("a deleted topic stays")
    ok("delete")
    admin.close()


main()
