// Record batches and message sets as Apache Kafka's own classes write them, and what its broker
// answers to broken ones. Lines of text with bytes in hex; `src/record/golden_tests.rs` reads them.
//
//   java -cp "<Kafka's libs>/*" RecordGolden.java batches  > kafka-4.3.1-batches.txt
//   java -cp "<Kafka's libs>/*" RecordGolden.java verdicts > kafka-4.3.1-verdicts.txt
//   java -cp "<Kafka's libs>/*" RecordGolden.java check FILE
//
// batches:  <name> <hex>
// verdicts: <name> <produce version> <rules> <hex> <error> <largest timestamp> <hex appended>
// check:    reads batches that Ringlog wrote, in the first form, and compares their records.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import java.util.function.Consumer;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.*;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;
import org.apache.kafka.storage.internals.log.RecordValidationException;

public class RecordGolden {
    private static final long BASE = 1_700_000_000_000L;
    private static final List<CompressionType> CODECS = List.of(CompressionType.NONE,
        CompressionType.GZIP, CompressionType.SNAPPY, CompressionType.LZ4, CompressionType.ZSTD);
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "batches" -> batches();
            case "verdicts" -> verdicts();
            case "check" -> check(Path.of(args[1]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** The records that every batch holds; `golden_tests.rs` has the same. */
    private static SimpleRecord small(int index) {
        byte[] key = index % 3 == 0 ? null : bytes("key-" + index);
        byte[] value = index % 5 == 4 ? null : bytes(("value-" + index + " ").repeat(8));
        Header[] headers = index % 4 != 2 ? new Header[0] : new Header[] {
            new RecordHeader("trace", bytes("t-" + index)),
            new RecordHeader("empty", (byte[]) null),
        };
        return new SimpleRecord(BASE + index * 7919L % 1000 - 500, key, value, headers);
    }

    /** Larger than a block of snappy's or LZ4's framing. */
    private static SimpleRecord large(int index) {
        byte[] value = new byte[70_000];
        for (int at = 0; at < value.length; at++) {
            value[at] = (byte) (at / 700 % 251);
        }
        return new SimpleRecord(BASE + index, null, value);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<SimpleRecord> smalls() {
        List<SimpleRecord> records = new ArrayList<>();
        for (int index = 0; index < 20; index++) {
            records.add(small(index));
        }
        return records;
    }

    private static List<SimpleRecord> larges() {
        return List.of(large(0), large(1));
    }

    private static MemoryRecords build(int magic, CompressionType codec, TimestampType type,
            long producer, boolean transactional, List<SimpleRecord> records) {
        boolean has = producer >= 0;
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20),
            (byte) magic, Compression.of(codec).build(), type, 0L, BASE + 12345, producer,
            (short) (has ? 3 : -1), has ? 41 : -1, transactional, -1);
        for (SimpleRecord record : records) {
            if (magic == 2) {
                builder.append(record);
            } else {
                builder.append(magic == 0 ? -1 : record.timestamp(), record.key(), record.value());
            }
        }
        return builder.build();
    }

    private static MemoryRecords plain(int magic, CompressionType codec,
            List<SimpleRecord> records) {
        return build(magic, codec, TimestampType.CREATE_TIME, -1, false, records);
    }

    private static void print(String name, MemoryRecords records) {
        System.out.println(name + " " + hex(records.buffer()));
    }

    private static String hex(ByteBuffer buffer) {
        return HEX.formatHex(Utils.toArray(buffer.duplicate()));
    }

    private static void batches() {
        for (CompressionType codec : CODECS) {
            print("v2-small-" + codec.name, plain(2, codec, smalls()));
            if (codec != CompressionType.NONE) {
                print("v2-large-" + codec.name, plain(2, codec, larges()));
            }
        }
        print("v2-idempotent", build(2, CompressionType.NONE, TimestampType.CREATE_TIME, 4711,
            false, smalls()));
        print("v2-transactional", build(2, CompressionType.NONE, TimestampType.CREATE_TIME, 4711,
            true, smalls()));
        print("v2-stamped", build(2, CompressionType.NONE, TimestampType.LOG_APPEND_TIME, -1,
            false, smalls()));
        for (int magic = 0; magic <= 1; magic++) {
            for (CompressionType codec : CODECS.subList(0, 4)) {
                print("v" + magic + "-small-" + codec.name, plain(magic, codec, smalls()));
                if (codec != CompressionType.NONE) {
                    print("v" + magic + "-large-" + codec.name, plain(magic, codec, larges()));
                }
            }
        }
        print("v1-stamped", build(1, CompressionType.GZIP, TimestampType.LOG_APPEND_TIME, -1,
            false, smalls()));
        controls();
    }

    private static void controls() {
        for (ControlRecordType type : List.of(ControlRecordType.ABORT, ControlRecordType.COMMIT)) {
            print("control-" + type.name(), MemoryRecords.withEndTransactionMarker(0, BASE, -1,
                4711, (short) 3, new EndTransactionMarker(type, 17)));
        }
        List<LeaderChangeMessage.Voter> voters =
            List.of(new LeaderChangeMessage.Voter().setVoterId(5));
        print("control-LEADER_CHANGE", MemoryRecords.withLeaderChangeMessage(0, BASE, 9,
            ByteBuffer.allocate(256), new LeaderChangeMessage().setVersion((short) 0)
                .setLeaderId(5).setVoters(voters).setGrantingVoters(voters)));
        print("control-SNAPSHOT_HEADER", MemoryRecords.withSnapshotHeaderRecord(0, BASE, 9,
            ByteBuffer.allocate(256), new SnapshotHeaderRecord().setVersion((short) 0)
                .setLastContainedLogTimestamp(BASE - 1)));
        print("control-SNAPSHOT_FOOTER", MemoryRecords.withSnapshotFooterRecord(0, BASE, 9,
            ByteBuffer.allocate(256), new SnapshotFooterRecord().setVersion((short) 0)));
    }

    // What a broker answers.

    private static void verdicts() throws Exception {
        for (CompressionType codec : List.of(CompressionType.NONE, CompressionType.GZIP)) {
            batchVerdicts(codec);
        }
        byte[] zstd = Utils.toArray(plain(2, CompressionType.ZSTD, smalls()).buffer());
        verdict("zstd-early", 6, "-", zstd);
        verdict("zstd", 7, "-", zstd);
        for (int magic = 0; magic <= 1; magic++) {
            for (CompressionType codec : CODECS.subList(0, 4)) {
                messageSetVerdicts(magic, codec);
            }
        }
        List<SimpleRecord> few = smalls().subList(0, 2);
        byte[] old = Utils.toArray(plain(1, CompressionType.NONE, few).buffer());
        byte[] older = Utils.toArray(plain(0, CompressionType.NONE, few).buffer());
        verdict("mixed-formats", 2, "-", join(old, older));
        verdict("old-format-in-new-version", 3, "-", old);
    }

    private static void batchVerdicts(CompressionType codec) throws Exception {
        String name = codec.name + "-";
        List<SimpleRecord> keyed = List.of(
            new SimpleRecord(BASE - 1000, bytes("a"), bytes("old")),
            new SimpleRecord(BASE + 5, bytes("b"), bytes("new")),
            new SimpleRecord(BASE, bytes("c"), null));
        byte[] good = Utils.toArray(plain(2, codec, keyed).buffer());
        for (String rules : List.of("-", "compact", "stamped", "before:1000", "before:999",
                "after:5", "after:4", "small:" + good.length, "small:" + (good.length - 1))) {
            verdict(name + "good", 9, rules, good);
        }
        byte[] keyless = Utils.toArray(plain(2, codec, smalls().subList(0, 3)).buffer());
        verdict(name + "keyless", 9, "-", keyless);
        verdict(name + "keyless", 9, "compact", keyless);
        verdict(name + "nothing", 9, "-", new byte[0]);
        verdict(name + "twice", 9, "-", join(good, good));
        verdict(name + "cut", 9, "-", Arrays.copyOf(good, good.length - 1));
        verdict(name + "cut-in-header", 9, "-", Arrays.copyOf(good, 30));
        verdict(name + "wrong-crc", 9, "-", flipped(good, good.length - 1));
        verdict(name + "base-offset", 9, "-", changed(good, b -> b.putLong(0, 3)));
        verdict(name + "leader-epoch", 9, "-", changed(good, b -> b.putInt(12, 3)));
        for (int length : new int[] {-1, 0, 13, 14, 48}) {
            verdict(name + "length" + length, 9, "-", changed(good, b -> b.putInt(8, length)));
        }
        for (int magic : new int[] {-1, 0, 1, 3}) {
            verdict(name + "magic" + magic, 9, "-", changed(good, b -> b.put(16, (byte) magic)));
        }
        short attributes = (short) codec.id;
        for (int bit : new int[] {0x10, 0x20, 0x40, 0x80, 0x4000}) {
            verdict(name + "attribute" + bit, 9, "-",
                changed(good, b -> b.putShort(21, (short) (attributes | bit))));
        }
        byte[] stamped = changed(good, b -> b.putShort(21, (short) (attributes | 0x08)));
        verdict(name + "claims-stamp", 9, "stamped", stamped);
        byte[] unset = changed(good, b -> b.putLong(35, -1));
        verdict(name + "max-timestamp-unset", 9, "-", unset);
        verdict(name + "max-timestamp-unset", 9, "after:4", unset);
        verdict(name + "max-timestamp-unset", 9, "stamped", unset);
        byte[] far = changed(good, b -> b.putLong(35, BASE * 2));
        verdict(name + "max-timestamp-far", 9, "-", far);
        for (int delta : new int[] {-1, 0, 1, 3, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
            verdict(name + "delta" + delta, 9, "-", changed(good, b -> b.putInt(23, delta)));
        }
        for (int count : new int[] {-1, 0, 2, 4}) {
            verdict(name + "count" + count, 9, "-", changed(good, b -> b.putInt(57, count)));
        }
        for (int count : new int[] {2, 4}) {
            byte[] both = changed(good, b -> b.putInt(57, count).putInt(23, count - 1));
            verdict(name + "count-and-delta" + count, 9, "strict", both);
        }
        verdict(name + "producer", 9, "-",
            changed(good, b -> b.putLong(43, 7).putShort(51, (short) 0).putInt(53, 0)));
        verdict(name + "no-sequence", 9, "-",
            changed(good, b -> b.putLong(43, 7).putShort(51, (short) 0).putInt(53, -1)));
        byte[] headerless = Utils.toArray(plain(2, codec, List.of(new SimpleRecord(-1,
            bytes("a"), bytes("no timestamp")))).buffer());
        verdict(name + "no-timestamp", 9, "before:0", headerless);
    }

    private static void messageSetVerdicts(int magic, CompressionType codec) throws Exception {
        String name = "v" + magic + "-" + codec.name + "-";
        byte[] good = Utils.toArray(plain(magic, codec, smalls().subList(0, 5)).buffer());
        for (String rules : List.of("-", "compact", "stamped", "before:499", "after:400")) {
            verdict(name + "good", 2, rules, good);
        }
        verdict(name + "wrong-crc", 2, "-", flipped(good, good.length - 1));
        for (int size : new int[] {-1, 0, 13}) {
            verdict(name + "size" + size, 2, "-",
                ByteBuffer.wrap(good.clone()).putInt(8, size).array());
        }
    }

    private static byte[] join(byte[] one, byte[] other) {
        byte[] both = Arrays.copyOf(one, one.length + other.length);
        System.arraycopy(other, 0, both, one.length, other.length);
        return both;
    }

    private static byte[] flipped(byte[] bytes, int at) {
        byte[] copy = bytes.clone();
        copy[at] ^= 0x40;
        return copy;
    }

    /** A changed header under a checksum that fits. */
    private static byte[] changed(byte[] batch, Consumer<ByteBuffer> change) {
        ByteBuffer copy = ByteBuffer.wrap(batch.clone());
        change.accept(copy);
        copy.putInt(17, (int) Crc32C.compute(copy.array(), 21, batch.length - 21));
        return copy.array();
    }

    private static void verdict(String name, int version, String rules, byte[] bytes) {
        String answer;
        try {
            LogValidator.ValidationResult result = append(version, rules, bytes.clone());
            answer = "NONE " + result.maxTimestampMs() + " "
                + hex(result.validatedRecords().buffer());
        } catch (Exception e) {
            Throwable cause = e instanceof RecordValidationException
                ? ((RecordValidationException) e).invalidException() : e;
            answer = Errors.forException(cause) + " 0 -";
        }
        System.out.println(name + " " + version + " " + rules + " "
            + (bytes.length == 0 ? "-" : HEX.formatHex(bytes)) + " " + answer);
    }

    /** What a broker does with the records of one partition, up to the log. */
    private static LogValidator.ValidationResult append(int version, String rules, byte[] bytes)
            throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
        if (version >= 3) {
            ProduceRequest.validateRecords((short) version, records);
        }
        CompressionType codec = analyze(rules, records);
        TimestampType type = rules.equals("stamped") ? TimestampType.LOG_APPEND_TIME
            : TimestampType.CREATE_TIME;
        Time time = new FixedTime();
        LogValidator validator = new LogValidator(records, new TopicPartition("t", 0), time, codec,
            Compression.of(codec).build(), rules.equals("compact"), (byte) 2, type,
            bound(rules, "before", Long.MAX_VALUE), bound(rules, "after", 3_600_000L), -1,
            AppendOrigin.CLIENT);
        return validator.validateMessagesAndAssignOffsets(PrimitiveRef.ofLong(0), new NoMetrics(),
            BufferSupplier.NO_CACHING);
    }

    /** The checks of UnifiedLog.analyzeAndValidateRecords, which is private. */
    private static CompressionType analyze(String rules, MemoryRecords records) {
        CompressionType codec = CompressionType.NONE;
        for (RecordBatch batch : records.batches()) {
            if (batch.magic() >= 2 && batch.baseOffset() != 0) {
                throw new InvalidRecordException("base offset");
            }
            if (batch.sizeInBytes() > bound(rules, "small", Integer.MAX_VALUE)) {
                throw new RecordTooLargeException();
            }
            if (!batch.isValid()) {
                throw new CorruptRecordException();
            }
            if (batch.compressionType() != CompressionType.NONE) {
                codec = batch.compressionType();
            }
        }
        return codec;
    }

    private static long bound(String rules, String name, long otherwise) {
        return rules.startsWith(name + ":")
            ? Long.parseLong(rules.substring(name.length() + 1)) : otherwise;
    }

    /** It is always BASE. */
    private static class FixedTime implements Time {
        public long milliseconds() { return BASE; }
        public long nanoseconds() { return 0; }
        public long hiResClockMs() { return 0; }
        public void sleep(long ms) { }
        public void waitObject(Object o, java.util.function.Supplier<Boolean> s, long d) { }
    }

    private static class NoMetrics implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() { }
        public void recordInvalidOffset() { }
        public void recordInvalidSequence() { }
        public void recordInvalidChecksums() { }
        public void recordNoKeyCompactedTopic() { }
    }

    // The other way round.

    private static void check(Path file) throws Exception {
        for (String line : Files.readAllLines(file)) {
            String[] words = line.split(" ");
            List<SimpleRecord> expected = words[0].contains("large") ? larges() : smalls();
            ByteBuffer buffer = ByteBuffer.wrap(HEX.parseHex(words[1]));
            int index = 0;
            for (RecordBatch batch : MemoryRecords.readableRecords(buffer).batches()) {
                batch.ensureValid();
                for (Record record : batch) {
                    SimpleRecord read = new SimpleRecord(record);
                    if (record.offset() != index || !read.equals(expected.get(index))) {
                        throw new AssertionError(words[0] + " " + index + ": " + record);
                    }
                    index++;
                }
            }
            if (index != expected.size()) {
                throw new AssertionError(words[0] + " has " + index + " records");
            }
            System.out.println("ok " + words[0]);
        }
    }
}
