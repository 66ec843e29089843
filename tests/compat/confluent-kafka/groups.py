"""A group that grows from one consumer to three and shrinks again while records are written: none
is missed or read twice. For both protocols of groups.

Each consumer commits what it has processed before it gives partitions back, as one that wants no
repeats has to.
"""

import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = sys.argv[1]
PARTITIONS = 6
PATIENCE_S = 90


def ok(what):
    print(f"  ok {what}", flush=True)


class Records:
    """Written at a steady rate until told to stop, and counted as they are read."""

    def __init__(self, topic):
        self.topic, self.sent, self.seen = topic, 0, {}
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self.write)
        self.thread.start()

    def write(self):
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5})
        while not self.stop.is_set():
            producer.produce(self.topic, str(self.sent).encode(), partition=self.sent % PARTITIONS)
            self.sent += 1
            producer.poll(0)
            time.sleep(0.002)
        assert producer.flush(30) == 0, "records were left over"

    def note(self, message):
        with self.lock:
            key = (message.partition(), message.offset())
            self.seen[key] = self.seen.get(key, 0) + 1

    def end(self):
        self.stop.set()
        self.thread.join()
        until(lambda: len(self.seen) >= self.sent, "all records to be read")


class Member(threading.Thread):
    def __init__(self, records, group, **settings):
        super().__init__()
        self.records, self.leaving = records, threading.Event()
        self.partitions, self.failed = [], None
        self.settings = {"bootstrap.servers": BOOTSTRAP, "group.id": group,
                         "auto.offset.reset": "earliest", "enable.auto.commit": False,
                         "enable.auto.offset.store": False} | settings
        self.start()

    def run(self):
        consumer = Consumer(self.settings)
        consumer.subscribe([self.records.topic], on_revoke=lambda c, _: commit(c))
        try:
            while not self.leaving.is_set():
                message = consumer.poll(0.1)
                if message is not None:
                    assert message.error() is None, message.error()
                    self.records.note(message)
                    consumer.store_offsets(message)
                self.partitions = [p.partition for p in consumer.assignment()]
            commit(consumer)
        except Exception as error:  # It is told to the main thread.
            self.failed = error
        consumer.close()

    def leave(self):
        self.leaving.set()
        self.join(PATIENCE_S)
        assert self.failed is None, self.failed


def commit(consumer):
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:
        # Nothing was read since the last commit.
        assert error.args[0].name() == "_NO_OFFSET", error


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def share(members):
    """Waits until the members own all, each a part of it."""
    def is_shared():
        for member in members:
            assert member.failed is None, member.failed
        parts = [member.partitions for member in members]
        return all(parts) and sorted(sum(parts, [])) == list(range(PARTITIONS))
    until(is_shared, f"{len(members)} members to share {PARTITIONS} partitions")
    time.sleep(1)


def scale(name, settings):
    topic = f"scale-{name}"
    for future in ADMIN.create_topics([NewTopic(topic, PARTITIONS)]).values():
        future.result(30)
    records = Records(topic)
    one = Member(records, topic, **settings)
    share([one])
    more = [Member(records, topic, **settings) for _ in range(2)]
    share([one] + more)
    for member in more:
        member.leave()
    share([one])
    records.end()
    one.leave()
    assert len(records.seen) == records.sent, (len(records.seen), records.sent)
    repeats = sum(count - 1 for count in records.seen.values())
    assert repeats == 0, f"{repeats} of {records.sent} were read twice"
    ok(f"{name}: from one to three and back, {records.sent} records once each")


CONSUMER = {"group.protocol": "consumer"}
CLASSIC = {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10000,
           "heartbeat.interval.ms": 500}
ADMIN = AdminClient({"bootstrap.servers": BOOTSTRAP})
scale("consumer", CONSUMER)
scale("classic", CLASSIC)
