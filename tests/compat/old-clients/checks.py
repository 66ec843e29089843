"""Message sets, there and back, with clients that know nothing else."""

import subprocess
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import RecordTooLargeError
from pykafka import KafkaClient

BOOTSTRAP = sys.argv[1]
COUNT = 300


def ok(what):
    print(f"  ok {what}", flush=True)


def value(i):
    return f"record {i:06d}, padded so that a codec finds something".encode()


def consumer(topic, version, **settings):
    reader = KafkaConsumer(bootstrap_servers=BOOTSTRAP, api_version=version, group_id=None,
                           auto_offset_reset="earliest", consumer_timeout_ms=15000, **settings)
    reader.assign([TopicPartition(topic, 0)])
    return reader


def check(topic, version, from_offset=0, **settings):
    """Everything from an offset on, once and in order."""
    reader = consumer(topic, version, **settings)
    reader.seek(TopicPartition(topic, 0), from_offset)
    for i in range(from_offset, COUNT):
        record = next(reader)
        assert (record.offset, record.value) == (i, value(i)), record
        assert record.key == (b"key" if i % 2 else None), record
    reader.close()


def kafka_python(version):
    name = ".".join(map(str, version))
    for codec in (None, "gzip", "snappy"):
        topic = f"old.{name}.{codec or 'none'}"
        producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, api_version=version, acks="all",
                                 compression_type=codec, linger_ms=5)
        sent = [producer.send(topic, value(i), key=b"key" if i % 2 else None, partition=0)
                for i in range(COUNT)]
        assert [future.get(20).offset for future in sent] == list(range(COUNT))
        producer.close()
        check(topic, version)
        # Less than one of the batches at a time, and from the middle of one.
        check(topic, version, from_offset=77, max_partition_fetch_bytes=500)
        ok(f"kafka-python 1.3.5 as of {name}: {COUNT} records, {codec or 'none'}, "
           "and from the middle")


def batches_of_today(version):
    """What kcat writes: batches, with headers."""
    name = ".".join(map(str, version))
    for codec in ("none", "gzip", "lz4", "snappy"):
        topic = f"new.{name}.{codec}"
        lines = b"".join((b"key" if i % 2 else b"") + b"\t" + value(i) + b"\n"
                         for i in range(COUNT))
        subprocess.run(["kcat", "-b", BOOTSTRAP, "-P", "-t", topic, "-p", "0", "-K", "\t", "-Z",
                        "-z", codec, "-H", "header=dropped"], input=lines, check=True, timeout=30)
        check(topic, version)
        check(topic, version, from_offset=COUNT - 3)
        ok(f"kafka-python 1.3.5 as of {name} reads batches, {codec}")


def too_large(version):
    """With a hard limit (Fetch 0 to 2), the client says that it cannot get on."""
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all", api_version=version)
    producer.send("large", b"x" * 5000, partition=0).get(20)
    producer.close()
    reader = consumer("large", version, max_partition_fetch_bytes=1000)
    try:
        # Its iterator keeps this error to itself.
        for _ in range(20):
            reader.poll(timeout_ms=500)
    except RecordTooLargeError:
        reader.close()
    else:
        raise AssertionError("nothing was said of a record larger than the limit")


def pykafka(version):
    client = KafkaClient(hosts=BOOTSTRAP, broker_version=version)
    topic = client.topics[f"py.{version}"]
    with topic.get_producer(linger_ms=5, min_queued_messages=50) as producer:
        for i in range(COUNT):
            producer.produce(value(i))
    reader = topic.get_simple_consumer(consumer_timeout_ms=15000, auto_commit_enable=False,
                                       fetch_message_max_bytes=2000)
    for i in range(COUNT):
        record = reader.consume()
        assert record is not None, f"nothing after {i} records"
        assert (record.offset, record.value) == (i, value(i)), (record.offset, record.value)
    reader.stop()
    ok(f"pykafka 2.8 as of {version}: {COUNT} records")


def main():
    for version in ((0, 8, 2), (0, 9), (0, 10), (0, 10, 1)):
        kafka_python(version)
        batches_of_today(version)
    for version in ((0, 9), (0, 10)):
        too_large(version)
    ok("kafka-python 1.3.5: a record beyond the limit is an error, not a silence")
    for version in ("0.8.2", "0.9.0", "0.10.2"):
        pykafka(version)


main()
