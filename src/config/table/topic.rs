//! The settings of topics.

use super::rows;

rows! {
    "check.records", Boolean, Some("false"), Any, Medium, Topic, Honoured,
        "Whether every record that is produced is unpacked and looked at. Without it a batch is \
         taken by its header, its checksum and the heads of its records; where these are \
         compressed they are unpacked where something depends on them, and the largest timestamp \
         that the header claims is believed if it is within ten minutes of now (and within a \
         tenth of `retention.ms`).";
    "cleanup.policy", List, Some("delete"), ListOf(&["compact", "delete"]), Medium, Topic, Honoured,
        "What happens to old records: `delete` removes old segments, `compact` keeps the last \
         record of each key, both do both, and an empty list keeps everything. With `compact`, \
         records without a key are refused.";
    "compression.gzip.level", Int, Some("-1"), GzipLevel, Medium, Topic, Honoured,
        "gzip's level, -1 for the codec's own default, where `compression.type` is `gzip`.";
    "compression.lz4.level", Int, Some("9"), Between(1, 17), Medium, Topic, Honoured,
        "LZ4's level where `compression.type` is `lz4`.";
    "compression.type", String, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Medium, Topic, Honoured,
        "How batches are kept: `producer` leaves them as they came, the other values name a \
         codec to convert to.";
    "compression.zstd.level", Int, Some("3"), Between(-131_072, 22), Medium, Topic, Honoured,
        "Zstandard's level where `compression.type` is `zstd`.";
    "delete.retention.ms", Long, Some("86400000"), AtLeast(0), Medium, Topic, Honoured,
        "How long tombstones stay after the first compaction that meets them, so that whoever \
         reads from the beginning hears of them.";
    "file.delete.delay.ms", Long, Some("60000"), AtLeast(0), Medium, Topic, Honoured,
        "How long the files of a deleted segment stay on disk under a `.deleted` name.";
    "flush", String, Some("sync"), OneOf(&["sync", "async"]), High, Topic, Honoured,
        "When a produce request is acknowledged: `sync` once its bytes are on disk, `async` \
         once the system has them, so that they survive the process but not a loss of power.";
    "flush.messages", Long, Some("9223372036854775807"), AtLeast(1), Medium, Topic, Honoured,
        "With `flush=async`, how many records may be written without being flushed.";
    "flush.ms", Long, Some("9223372036854775807"), AtLeast(0), Medium, Topic, Honoured,
        "With `flush=async`, how long a record may be written without being flushed.";
    "follower.replication.throttled.replicas", List, Some(""),
        ThrottledReplicas, Medium, Topic, Accepted,
        "Replicas whose following is throttled, as `partition:broker`, or `*` for all.";
    "index.interval.bytes", Int, Some("4096"), AtLeast(0), Medium, Topic, Honoured,
        "Bytes of log between two entries of its offset index.";
    "leader.replication.throttled.replicas", List, Some(""),
        ThrottledReplicas, Medium, Topic, Accepted,
        "Replicas whose leading is throttled, as `partition:broker`, or `*` for all.";
    "local.retention.bytes", Long, Some("-2"), AtLeast(-2), Medium, Topic, Accepted,
        "With tiered storage, the size kept on local disk; -2 means `retention.bytes`.";
    "local.retention.ms", Long, Some("-2"), AtLeast(-2), Medium, Topic, Accepted,
        "With tiered storage, how long segments stay on local disk; -2 means `retention.ms`.";
    "max.compaction.lag.ms", Long, Some("9223372036854775807"), AtLeast(1), Medium, Topic, Honoured,
        "The longest that a record may stay out of compaction's reach. A segment of a compacted \
         log is closed after as long at the latest.";
    "max.message.bytes", Int, Some("1048588"), AtLeast(0), Medium, Topic, Honoured,
        "Largest record batch that the topic takes, as it is sent.";
    "message.timestamp.after.max.ms", Long, Some("3600000"), AtLeast(0), Medium, Topic, Honoured,
        "How far in the future a record's timestamp may lie. Agents whose clocks run ahead by \
         more are refused: raise it for them.";
    "message.timestamp.before.max.ms", Long, Some("9223372036854775807"),
        AtLeast(0), Medium, Topic, Honoured,
        "How far in the past a record's timestamp may lie.";
    "message.timestamp.type", String, Some("CreateTime"),
        OneOf(&["CreateTime", "LogAppendTime"]), Medium, Topic, Honoured,
        "Whether records carry their producer's time (`CreateTime`) or the time of their append \
         (`LogAppendTime`).";
    "min.cleanable.dirty.ratio", Double, Some("0.5"), Between(0, 1), Medium, Topic, Honoured,
        "Share of a log that must be uncompacted before compaction begins.";
    "min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium, Topic, Honoured,
        "The shortest that a record stays out of compaction's reach.";
    "min.insync.replicas", Int, Some("1"), AtLeast(1), Medium, Topic, Honoured,
        "How many replicas must be in sync for a write with acks=all to be taken.";
    "preallocate", Boolean, Some("false"), Any, Medium, Topic, Accepted,
        "Whether Kafka allocates a segment's whole file at once. Ringlog always writes blocks \
         ahead of the log's end.";
    "remote.log.copy.disable", Boolean, Some("false"), Any, Medium, Topic, Accepted,
        "Whether a tiered topic stops copying to remote storage.";
    "remote.log.delete.on.disable", Boolean, Some("false"), Any, Medium, Topic, Accepted,
        "Whether remote data goes when tiering is turned off.";
    "remote.storage.enable", Boolean, Some("false"), Any, Medium, Topic, Accepted,
        "Whether the topic uses Kafka's tiered storage. Ringlog has none, so only `false` is \
         taken.";
    "retention.bytes", Long, Some("-1"), Any, Medium, Topic, Honoured,
        "Size that a partition may reach before its oldest segments are deleted; -1 sets no \
         limit.";
    "retention.ms", Long, Some("604800000"), AtLeast(-1), Medium, Topic, Honoured,
        "How long records are kept under the `delete` policy; -1 keeps them for ever.";
    "segment.bytes", Int, Some("1073741824"), AtLeast(1_048_576), Medium, Topic, Honoured,
        "Size at which a segment is closed and a new one begins.";
    "segment.index.bytes", Int, Some("10485760"), AtLeast(4), Medium, Topic, Honoured,
        "Largest size of an index file; a full index closes the segment.";
    "segment.jitter.ms", Long, Some("0"), AtLeast(0), Medium, Topic, Honoured,
        "Upper bound of the random time by which a segment closes earlier, so that not all \
         close at once.";
    "segment.ms", Long, Some("604800000"), AtLeast(1), Medium, Topic, Honoured,
        "Age at which a segment is closed although it is not full.";
    "stop.at.damage", Boolean, Some("false"), Any, Medium, Topic, Honoured,
        "Whether a consumer that comes to damaged records gets CORRUPT_MESSAGE for as long as it \
         asks for them. Else it goes on behind them, as over a gap that compaction leaves; both \
         are in the log and in the metrics.";
    "unclean.leader.election.enable", Boolean, Some("false"), Any, Medium, Topic, Accepted,
        "Whether a replica that is not in sync may lead when no other can, at the price of lost \
         records.";
}
