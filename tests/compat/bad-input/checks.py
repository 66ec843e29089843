"""Malformed requests, byte by byte: checks.py HOST:PORT ringlog|kafka BROKER_PID.

Standard library only. Where Ringlog is stricter than Apache Kafka the check says so."""

import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

HOST, PORT = sys.argv[1].rsplit(":", 1)
IS_RINGLOG = sys.argv[2] == "ringlog"
PID = int(sys.argv[3])
TOPIC = "bad-input"

PRODUCE, FETCH, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 3, 18, 19
CORRUPT_MESSAGE, INVALID_TOPIC, INVALID_RECORD = 2, 17, 87
UNKNOWN_TOPIC, MESSAGE_TOO_LARGE = 3, 10
UNSUPPORTED_VERSION, UNSUPPORTED_COMPRESSION = 35, 76
# A batch may unpack to 128 MiB, and those who share its shard wait for that.
BOMB_PEAK_KB, BOMB_PAUSE_S = 200 * 1024, 2
CLOSED = None


def ok(what):
    print(f"  ok {what}", flush=True)


def crc32c_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 31)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def record(delta, value):
    body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(count=3, *, attributes=0, magic=2, last_delta=None, records=None, crc=None, length=None,
          header_count=None, max_timestamp=None):
    """A record batch, right unless told otherwise."""
    if records is None:
        records = b"".join(record(delta, b"value %d" % delta) for delta in range(count))
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", attributes, count - 1 if last_delta is None else last_delta,
                       now, now if max_timestamp is None else max_timestamp, -1, -1, -1,
                       count if header_count is None else header_count)
    tail += records
    head = struct.pack(">ibI", -1, magic, crc32c(tail) if crc is None else crc)
    size = len(head) + len(tail) if length is None else length
    return struct.pack(">qi", 0, size) + head + tail


def request(api, version, body, correlation=7):
    return struct.pack(">hhi", api, version, correlation) + string("bad-input") + body


def produce_body(records, topic=TOPIC, acks=1):
    """Produce 3 to 8."""
    return (struct.pack(">hhii", -1, acks, 5000, 1) + string(topic) + struct.pack(">ii", 1, 0)
            + struct.pack(">i", len(records)) + records)


class Closed(Exception):
    """The broker closed the connection without an answer."""


class Connection:
    def __init__(self, timeout=10):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout)

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, payload):
        self.raw(struct.pack(">i", len(payload)) + payload)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise Closed from error
            if not more:
                raise Closed
            data += more
        return data

    def answer(self):
        return self.exactly(struct.unpack(">i", self.exactly(4))[0])

    def ask(self, payload):
        self.send(payload)
        return self.answer()

    def close(self):
        self.socket.close()


def is_closed_by(data, what):
    """The broker answers these bytes by closing, in time."""
    connection = Connection()
    try:
        connection.raw(data)
        rest = connection.socket.recv(4096)
    except ConnectionError:
        rest = b""
    except TimeoutError:
        raise AssertionError(f"{what}: the connection stays open") from None
    assert rest == b"", f"{what}: answered {rest[:40]!r}"
    connection.close()
    ok(f"{what}: closed")


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def produce_error(records, version=7, **settings):
    """The error code of one partition's answer."""
    connection = Connection()
    answer = connection.ask(request(PRODUCE, version, produce_body(records, **settings)))
    connection.close()
    # correlation id, array, topic, array, partition, error code
    at = 4 + 4 + 2 + struct.unpack(">h", answer[8:10])[0] + 4 + 4
    return struct.unpack(">h", answer[at:at + 2])[0]


def refused(records, what, *codes, **settings):
    """One of the codes, or a closed connection where CLOSED is among them; of Ringlog the first."""
    codes = codes[:1] if IS_RINGLOG else codes
    try:
        code = produce_error(records, **settings)
    except Closed:
        code = CLOSED
    assert code in codes, f"{what}: error {code}, expected {codes}"
    ok(f"{what}: {'closed' if code is CLOSED else f'error {code}'}")


def end_offset():
    """ListOffsets 1 of the latest offset."""
    connection = Connection()
    body = struct.pack(">ii", -1, 1) + string(TOPIC) + struct.pack(">iiq", 1, 0, -1)
    answer = connection.ask(request(2, 1, body))
    connection.close()
    return struct.unpack(">q", answer[-8:])[0]


def resident_kb(which="VmRSS"):
    with open(f"/proc/{PID}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(which):
                return int(line.split()[1])
    return 0


def make_topic():
    connection = Connection()
    body = struct.pack(">i", 1) + string(TOPIC) + struct.pack(">ihiii", 1, 1, 0, 0, 5000)
    connection.ask(request(CREATE_TOPICS, 2, body + b"\0"))
    connection.close()
    for _ in range(100):
        try:
            if produce_error(batch(1)) == 0:
                break
        except Closed:
            pass
        time.sleep(0.1)
    else:
        raise AssertionError("a right batch is refused")
    ok("a right batch is taken")


def frames():
    is_closed_by(struct.pack(">i", 0x7FFFFFFF) + b"x" * 64, "a frame of 2 GiB")
    is_closed_by(struct.pack(">i", 104857601) + b"x" * 64, "a frame one byte over 100 MiB")
    is_closed_by(struct.pack(">i", -1), "a negative frame length")
    is_closed_by(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", "an HTTP request")
    is_closed_by(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), "a TLS hello")
    is_closed_by(frame(b"\0"), "a frame shorter than its header")


def headers():
    is_closed_by(frame(request(999, 0, b"")), "an unknown API")
    is_closed_by(frame(request(-1, 0, b"")), "a negative API")
    is_closed_by(frame(request(METADATA, 99, b"")), "an unknown version of Metadata")
    is_closed_by(frame(request(FETCH, -1, b"")), "a negative version of Fetch")
    is_closed_by(frame(struct.pack(">hhih", METADATA, 1, 1, 30000) + b"x"),
                 "a client id beyond its frame")

    connection = Connection()
    # From version 3 on the header ends with its tagged fields.
    answer = connection.ask(request(API_VERSIONS, 99, b"\0 a body of the future"))
    correlation, error, count = struct.unpack(">ihi", answer[:10])
    ranges = {struct.unpack(">hhh", answer[10 + 6 * i:16 + 6 * i])[0]:
              struct.unpack(">hh", answer[12 + 6 * i:16 + 6 * i]) for i in range(count)}
    assert (correlation, error) == (7, UNSUPPORTED_VERSION), answer[:10]
    assert len(answer) == 10 + 6 * count and API_VERSIONS in ranges, ranges
    # The same connection goes on with a version that was offered.
    again = connection.ask(request(API_VERSIONS, 0, b"", correlation=8))
    assert struct.unpack(">ih", again[:6]) == (8, 0), again[:6]
    connection.close()
    ok("ApiVersions 99: a version 0 body with error 35, then business as usual")


def counts():
    is_closed_by(frame(request(METADATA, 1, struct.pack(">i", 0x7FFFFFFF))),
                 "Metadata with 2,147,483,647 topics in 4 bytes")
    if IS_RINGLOG:
        # Kafka takes every negative count for null.
        is_closed_by(frame(request(METADATA, 1, struct.pack(">i", -2))), "a count of -2")
    is_closed_by(frame(request(METADATA, 1, struct.pack(">ih", 1, 1000) + b"abc")),
                 "a string beyond its frame")
    body = struct.pack(">hhii", -1, 1, 5000, 0x10000000)
    is_closed_by(frame(request(PRODUCE, 7, body)), "Produce with 268,435,456 topics")
    body = struct.pack(">hhii", -1, 1, 5000, 1) + string(TOPIC) + struct.pack(">iii", 1, 0, 1 << 30)
    is_closed_by(frame(request(PRODUCE, 7, body + b"x" * 100)), "records beyond their frame")
    # Flexible: a header with tagged fields that never end, a compact array of 2^31 elements.
    flexible = struct.pack(">hhi", METADATA, 12, 7) + string("x") + b"\0"
    is_closed_by(frame(flexible + b"\xff\xff\xff\xff\x0f"), "a compact count beyond its frame")
    is_closed_by(frame(flexible + b"\xff\xff\xff\xff\xff\xff\xff"), "a varint of seven bytes")


def batches():
    before = end_offset()
    right = batch()
    refused(batch(crc=12345), "a wrong CRC", CORRUPT_MESSAGE)
    flipped = bytearray(right)
    flipped[-3] ^= 1
    refused(bytes(flipped), "one bit of a value", CORRUPT_MESSAGE)
    refused(batch(magic=3), "magic 3", CORRUPT_MESSAGE, INVALID_RECORD)
    refused(batch(magic=-1), "magic -1", CORRUPT_MESSAGE, INVALID_RECORD)
    refused(batch(attributes=7), "codec 7", UNSUPPORTED_COMPRESSION, CORRUPT_MESSAGE,
            INVALID_RECORD, -1, CLOSED)
    refused(batch(attributes=0x20), "a control batch of a client", INVALID_RECORD)
    refused(batch(last_delta=9), "a last offset delta that is not count − 1", INVALID_RECORD)
    refused(batch(header_count=0, records=b"", last_delta=0), "a batch without records",
            INVALID_RECORD)
    refused(batch(header_count=-5), "a negative record count", INVALID_RECORD)
    refused(batch(header_count=1000000, last_delta=999999), "a million records in 60 bytes",
            INVALID_RECORD, CORRUPT_MESSAGE)
    refused(batch(length=10), "a batch length below the header", CORRUPT_MESSAGE, INVALID_RECORD)
    refused(batch(length=100000), "a batch length beyond the records", INVALID_RECORD,
            CORRUPT_MESSAGE)
    refused(right + right, "two batches", INVALID_RECORD)
    refused(right[:40], "a part of a batch header", INVALID_RECORD, CORRUPT_MESSAGE)
    refused(b"", "no batch", INVALID_RECORD, CORRUPT_MESSAGE, CLOSED)
    assert end_offset() == before, "a refused batch left records"
    ok("nothing of them is in the log")


def acks_zero():
    """Nobody reads an answer: the connection is closed instead."""
    is_closed_by(frame(request(PRODUCE, 7, produce_body(batch(crc=1), acks=0))),
                 "a wrong CRC with acks=0")


def topic_names():
    for name in ("../../etc/passwd", "a/b", "..", ".", "", "x" * 250, "nul\0byte", "sp ace"):
        connection = Connection()
        body = struct.pack(">i", 1) + string(name) + struct.pack(">ihiii", 1, 1, 0, 0, 5000)
        answer = connection.ask(request(CREATE_TOPICS, 2, body + b"\0"))
        # correlation id, throttle time, array, name, error code
        at = 4 + 4 + 4 + 2 + len(name)
        code = struct.unpack(">h", answer[at:at + 2])[0]
        assert code == INVALID_TOPIC, f"create {name!r}: error {code}"
        connection.close()
    ok("topic names that are paths, empty, too long or not Kafka's: error 17")
    refused(batch(), "Produce to ../up", UNKNOWN_TOPIC, INVALID_TOPIC, topic="../up")
    connection = Connection()
    answer = connection.ask(request(METADATA, 4, struct.pack(">i", 1) + string("../up") + b"\1"))
    assert struct.pack(">h", INVALID_TOPIC) + string("../up") in answer, answer
    connection.close()
    ok("Metadata of ../up: refused, and nothing is made")


class Ping:
    """Six other connections that ask all the time; at least one is on the shard that works."""

    def __init__(self):
        self.slowest, self.stopped = 0.0, threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(6)]

    def ask(self):
        connection = Connection(30)
        while not self.stopped.is_set():
            began = time.monotonic()
            connection.ask(request(API_VERSIONS, 0, b""))
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.005)
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def peak_of(work):
    """What the work gave, by how much the broker's memory peaked over what it had, in KiB, and
    how long others waited at most, in seconds."""
    before = resident_kb()
    with open(f"/proc/{PID}/clear_refs", "w", encoding="ascii") as refs:
        refs.write("5")
    with Ping() as ping:
        result = work()
    return result, resident_kb("VmHWM") - before, ping.slowest


def gzip_zeros(head, mebibytes):
    """A record's start and zeros, in gzip."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    packed = squeezer.compress(head)
    packed += b"".join(squeezer.compress(zeros) for _ in range(mebibytes))
    return packed + squeezer.flush()


def bombs():
    """Small batches that unpack to a lot, and have to be unpacked: their maximal timestamp is not
    set, so it has to be found."""
    if not IS_RINGLOG:
        return
    def begun(value):
        """The start of a record with a value of so many bytes."""
        body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(value)
        return varint(len(body) + value + 1) + body

    # Within the cap, and a right record but for its last byte, which is not there.
    large = gzip_zeros(begun(120 << 20), 120)
    # What is wrong is said before the cap is met: of this one nothing is, up to there.
    beyond = gzip_zeros(begun(1000 << 20), 1000)[:1000000]
    cases = [
        ("1 GiB in gzip", beyond, 1, (MESSAGE_TOO_LARGE,)),
        ("1 GiB of zeros in gzip", gzip_zeros(b"", 1000), 1, (INVALID_RECORD,)),
        ("120 MiB in gzip, cut in its record", large, 1, (INVALID_RECORD,)),
        ("a record and 8 MiB of zeros", gzip_zeros(record(0, b"x"), 8), 1, (INVALID_RECORD,)),
        *((f"garbage of codec {codec}", b"\xff" * 1000, codec, (CORRUPT_MESSAGE,))
          for codec in (1, 2, 3, 4)),
    ]
    for what, records, codec, expected in cases:
        bad = batch(1, attributes=codec, records=records, max_timestamp=-1)
        code, peak, slowest = peak_of(lambda: produce_error(bad))
        assert code in expected, f"{what}: error {code}, expected {expected}"
        assert peak < BOMB_PEAK_KB, f"{what}: {peak} KiB more at the peak"
        assert slowest < BOMB_PAUSE_S, f"{what}: another client waited {slowest:.1f} s"
        ok(f"{what}: error {code}, {peak // 1024} MiB more at the peak, "
           f"others waited {slowest * 1000:.0f} ms at most")


def legacy_bomb():
    """A wrapped message set has to be unpacked to be converted, so it meets the cap."""
    if not IS_RINGLOG:
        return
    squeezed = gzip_zeros(b"", 900)
    body = struct.pack(">bbqi", 1, 1, 0, -1) + struct.pack(">i", len(squeezed)) + squeezed
    message = struct.pack(">I", zlib.crc32(body)) + body
    messages = struct.pack(">qi", 0, len(message)) + message
    payload = (struct.pack(">hii", 1, 5000, 1) + string(TOPIC)
               + struct.pack(">iii", 1, 0, len(messages)) + messages)

    def produce():
        connection = Connection(30)
        answer = connection.ask(request(PRODUCE, 2, payload))
        connection.close()
        at = 4 + 4 + 2 + len(TOPIC) + 4 + 4
        return struct.unpack(">h", answer[at:at + 2])[0]

    code, peak, slowest = peak_of(produce)
    assert code == MESSAGE_TOO_LARGE, f"900 MiB: error {code}"
    assert peak < BOMB_PEAK_KB, f"{peak} KiB more at the peak"
    assert slowest < BOMB_PAUSE_S, f"another client waited {slowest:.1f} s"
    ok(f"a message set that unpacks to 900 MiB: error {code}, {peak // 1024} MiB more at the peak")


def half_frames():
    """200 clients that announce 90 MiB, send a little and stop."""
    before = resident_kb()
    idle = []
    for _ in range(200):
        connection = Connection()
        connection.raw(struct.pack(">i", 90 << 20) + request(PRODUCE, 7, b"")[:8] + b"x" * 1000)
        idle.append(connection)
    time.sleep(0.5)
    grown = resident_kb() - before
    if IS_RINGLOG:
        assert grown < 100 * 1024, f"{grown} KiB more"
    well_behaved("while 200 clients stopped in mid-frame")
    for connection in idle:
        connection.close()
    ok(f"200 half frames of 90 MiB: {grown // 1024} MiB more")


def byte_by_byte():
    connection = Connection()
    for byte in frame(request(API_VERSIONS, 0, b"")):
        connection.raw(bytes([byte]))
        time.sleep(0.002)
    assert struct.unpack(">ih", connection.answer()[:6]) == (7, 0)
    connection.close()
    ok("a request sent byte by byte is answered")


def pipelined():
    """100 requests at once come back in order, and a bad one after them only then closes."""
    connection = Connection()
    connection.raw(b"".join(frame(request(API_VERSIONS, i % 3, b"", correlation=i))
                            for i in range(100)) + frame(request(999, 0, b"")))
    for i in range(100):
        assert struct.unpack(">i", connection.answer()[:4])[0] == i
    try:
        connection.answer()
        raise AssertionError("an unknown API was answered")
    except Closed:
        ok("100 pipelined requests are answered in order before the bad one closes")


def noise():
    """Right requests with one byte changed, from a fixed seed: any answer but a broken broker."""
    import random
    rand = random.Random(3)
    bodies = [request(PRODUCE, 7, produce_body(batch())),
              request(METADATA, 4, struct.pack(">i", 1) + string(TOPIC) + b"\1"),
              request(FETCH, 4, struct.pack(">iiiibi", -1, 0, 1, 1 << 20, 0, 1) + string(TOPIC)
                      + struct.pack(">iiqi", 1, 0, 0, 1 << 20)),
              request(CREATE_TOPICS, 2, struct.pack(">i", 1) + string(TOPIC)
                      + struct.pack(">ihiii", 1, 1, 0, 0, 5000) + b"\0")]
    for i in range(600):
        body = bytearray(bodies[i % len(bodies)])
        # Not the first bytes: another API's request would be a right one.
        body[rand.randrange(8, len(body))] = rand.randrange(256)
        connection = Connection(1)
        connection.send(bytes(body))
        if i % 8 == 0:
            try:
                connection.answer()
            except (Closed, TimeoutError):
                pass
        connection.close()
    ok("600 requests with one byte changed")


def well_behaved(when):
    kcat = ["kcat", "-b", f"{HOST}:{PORT}", "-t", "well-behaved", "-p", "0"]
    said = f"hello {when} {time.time()}\n".encode()
    subprocess.run([*kcat, "-P"], input=said, check=True, timeout=20)
    heard = subprocess.run([*kcat, "-C", "-q", "-e", "-o", "-1"], check=True, timeout=20,
                           capture_output=True).stdout
    assert heard == said, (heard, said)


def main():
    make_topic()
    well_behaved("before")
    start = resident_kb() if PID else 0
    for check in (frames, headers, counts, batches, acks_zero, topic_names, byte_by_byte,
                  pipelined):
        check()
        well_behaved(f"after {check.__name__}")
    if PID:
        for check in (bombs, legacy_bomb, half_frames):
            check()
            well_behaved(f"after {check.__name__}")
    noise()
    well_behaved("after noise")
    ok("a well-behaved client is served after each of them")
    if PID:
        end = resident_kb()
        assert not IS_RINGLOG or end < 200 * 1024, f"{end} KiB resident"
        ok(f"resident memory: {start // 1024} MiB before, {end // 1024} MiB after")


main()
