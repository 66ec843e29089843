//! The broker's defaults for topics' logs, and what keeps logs on disk in order.

use super::rows;

rows! {
    "log.dir", List, Some("./ringlog-data"), Any, High, ReadOnly, Honoured,
        "One directory for the logs, used when `log.dirs` is not set.";
    "log.dirs", List, None, Any, High, ReadOnly, Honoured,
        "The directories, on one disk each, that hold the partitions. A partition lives wholly \
         in one of them; one that fails goes offline with its partitions only.";
    "log.check.records", Boolean, Some("false"), Any, Medium, ClusterWide, Honoured,
        "Whether every record that is produced is unpacked and looked at. Topics may set their \
         own `check.records`.";
    "log.flush", String, Some("sync"), OneOf(&["sync", "async"]), High, ClusterWide, Honoured,
        "When a produce request is acknowledged: `sync` once its bytes are on disk, `async` \
         once the system has them, so that they survive the process but not a loss of power. \
         Topics may set their own `flush`.";
    "log.flush.interval.messages", Long, Some("9223372036854775807"),
        AtLeast(1), High, ClusterWide, Honoured,
        "With asynchronous flushing, how many records may be written without being flushed.";
    "log.flush.interval.ms", Long, None, Any, High, ClusterWide, Honoured,
        "With asynchronous flushing, how long a record may be written without being flushed. \
         Without it `log.flush.scheduler.interval.ms` holds.";
    "log.flush.scheduler.interval.ms", Long, Some("9223372036854775807"),
        Any, High, ReadOnly, Honoured,
        "The fallback of `log.flush.interval.ms`.";
    "log.flush.offset.checkpoint.interval.ms", Int, Some("60000"),
        AtLeast(0), High, ReadOnly, Honoured,
        "How often the offsets up to which logs need no recovery are written to \
         `recovery-point-offset-checkpoint` at the latest, and high watermarks with them. They \
         are also written within a second of when they move, see \
         `ringlog.recovery.checkpoint.bytes`.";
    "log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000"),
        AtLeast(0), High, ReadOnly, Honoured,
        "How often the first offsets of logs are written to `log-start-offset-checkpoint`.";
    "log.segment.bytes", Int, Some("1073741824"), AtLeast(1_048_576), High, ClusterWide, Honoured,
        "Size at which a segment is closed and a new one begins.";
    "log.segment.delete.delay.ms", Long, Some("60000"), AtLeast(0), High, ClusterWide, Honoured,
        "How long the files of a deleted segment stay on disk under a `.deleted` name.";
    "log.roll.ms", Long, None, Any, High, ClusterWide, Honoured,
        "Age at which a segment is closed although it is not full. Without it `log.roll.hours` \
         holds.";
    "log.roll.hours", Int, Some("168"), AtLeast(1), High, ReadOnly, Honoured,
        "As `log.roll.ms`, in hours.";
    "log.roll.jitter.ms", Long, None, Any, High, ClusterWide, Honoured,
        "Upper bound of the random time by which a segment closes earlier, so that not all \
         close at once. Without it `log.roll.jitter.hours` holds.";
    "log.roll.jitter.hours", Int, Some("0"), AtLeast(0), High, ReadOnly, Honoured,
        "As `log.roll.jitter.ms`, in hours.";
    "log.retention.ms", Long, None, Any, High, ClusterWide, Honoured,
        "How long records are kept under the `delete` policy; -1 keeps them for ever. Without \
         it `log.retention.minutes` holds.";
    "log.retention.minutes", Int, None, Any, High, ReadOnly, Honoured,
        "As `log.retention.ms`, in minutes. Without it `log.retention.hours` holds.";
    "log.retention.hours", Int, Some("168"), Any, High, ReadOnly, Honoured,
        "As `log.retention.ms`, in hours.";
    "log.retention.bytes", Long, Some("-1"), Any, High, ClusterWide, Honoured,
        "Size that a partition may reach before its oldest segments are deleted; -1 sets no \
         limit.";
    "log.retention.check.interval.ms", Long, Some("300000"), AtLeast(1), Medium, ReadOnly, Honoured,
        "How often logs are checked for segments to delete.";
    "log.cleanup.policy", List, Some("delete"),
        ListOf(&["compact", "delete"]), Medium, ClusterWide, Honoured,
        "What happens to old records: `delete` removes old segments, `compact` keeps the last \
         record of each key, both do both, and an empty list keeps everything.";
    "log.cleaner.enable", Boolean, Some("true"), Any, Medium, ReadOnly, Honoured,
        "Whether logs with the `compact` policy are compacted. `__consumer_offsets` needs it.";
    "log.cleaner.threads", Int, Some("1"), AtLeast(0), Medium, ClusterWide, Honoured,
        "How many logs are compacted at once, of all shards together.";
    "log.cleaner.backoff.ms", Long, Some("15000"), AtLeast(0), Medium, ClusterWide, Honoured,
        "How long compaction rests when there is nothing to compact.";
    "log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Any, Medium, ClusterWide, Honoured,
        "Memory for the tables of keys of all compactions together: 24 bytes for each key, as far \
         as `log.cleaner.io.buffer.load.factor` lets them fill up. A table is made for the log \
         that is compacted, and no larger than that needs.";
    "log.cleaner.delete.retention.ms", Long, Some("86400000"),
        AtLeast(0), Medium, ClusterWide, Honoured,
        "How long tombstones stay after the first compaction that meets them, so that whoever \
         reads from the beginning hears of them.";
    "log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Any, Medium, ClusterWide, Honoured,
        "How full the compaction's table of keys may become.";
    "log.cleaner.io.buffer.size", Int, Some("524288"), AtLeast(0), Medium, ClusterWide, Accepted,
        "Memory for the compactor's reads and writes.";
    "log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"),
        Any, Medium, ClusterWide, Honoured,
        "Limit of all compactions' reads and writes together.";
    "log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"),
        AtLeast(1), Medium, ClusterWide, Honoured,
        "The longest that a record may stay out of compaction's reach.";
    "log.cleaner.min.cleanable.ratio", Double, Some("0.5"),
        Between(0, 1), Medium, ClusterWide, Honoured,
        "Share of a log that must be uncompacted before compaction begins.";
    "log.cleaner.min.compaction.lag.ms", Long, Some("0"), AtLeast(0), Medium, ClusterWide, Honoured,
        "The shortest that a record stays out of compaction's reach.";
    "log.index.interval.bytes", Int, Some("4096"), AtLeast(0), Medium, ClusterWide, Honoured,
        "Bytes of log between two entries of its offset index.";
    "log.index.size.max.bytes", Int, Some("10485760"), AtLeast(4), Medium, ClusterWide, Honoured,
        "Largest size of an index file; a full index closes the segment.";
    "log.local.retention.bytes", Long, Some("-2"), AtLeast(-2), Medium, ClusterWide, Accepted,
        "With tiered storage, the size kept on local disk; -2 means `log.retention.bytes`.";
    "log.local.retention.ms", Long, Some("-2"), AtLeast(-2), Medium, ClusterWide, Accepted,
        "With tiered storage, how long segments stay on local disk; -2 means \
         `log.retention.ms`.";
    "log.message.timestamp.after.max.ms", Long, Some("3600000"),
        AtLeast(0), Medium, ClusterWide, Honoured,
        "How far in the future a record's timestamp may lie. Agents whose clocks run ahead by \
         more are refused: raise it for them.";
    "log.message.timestamp.before.max.ms", Long, Some("9223372036854775807"),
        AtLeast(0), Medium, ClusterWide, Honoured,
        "How far in the past a record's timestamp may lie.";
    "log.message.timestamp.type", String, Some("CreateTime"),
        OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, Honoured,
        "Whether records carry their producer's time (`CreateTime`) or the time of their append \
         (`LogAppendTime`).";
    "log.stop.at.damage", Boolean, Some("false"), Any, Medium, ClusterWide, Honoured,
        "Whether consumers stop at damaged records with CORRUPT_MESSAGE, where a topic has no \
         own `stop.at.damage`.";
    "log.preallocate", Boolean, Some("false"), Any, Medium, ClusterWide, Accepted,
        "Whether Kafka allocates a segment's whole file at once. Ringlog always writes blocks \
         ahead of the log's end.";
    "log.dir.failure.timeout.ms", Long, Some("30000"), AtLeast(1), Low, ReadOnly, Accepted,
        "How long a broker that cannot report a failed directory to the controller keeps \
         running.";
    "message.max.bytes", Int, Some("1048588"), AtLeast(0), High, ClusterWide, Honoured,
        "Largest record batch that a topic takes, as it is sent.";
    "compression.type", String, Some("producer"),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        High, ClusterWide, Honoured,
        "How batches are kept: `producer` leaves them as they came, the other values name a \
         codec to convert to.";
    "compression.gzip.level", Int, Some("-1"), GzipLevel, Medium, ClusterWide, Honoured,
        "gzip's level, -1 for the codec's own default, where `compression.type` is `gzip`.";
    "compression.lz4.level", Int, Some("9"), Between(1, 17), Medium, ClusterWide, Honoured,
        "LZ4's level where `compression.type` is `lz4`.";
    "compression.zstd.level", Int, Some("3"), Between(-131_072, 22), Medium, ClusterWide, Honoured,
        "Zstandard's level where `compression.type` is `zstd`.";
    "min.insync.replicas", Int, Some("1"), AtLeast(1), High, ClusterWide, Honoured,
        "How many replicas must be in sync for a write with acks=all to be taken.";
    "unclean.leader.election.enable", Boolean, Some("false"), Any, High, ClusterWide, Accepted,
        "Whether a replica that is not in sync may lead when no other can, at the price of lost \
         records.";
    "num.recovery.threads.per.data.dir", Int, Some("2"), AtLeast(1), High, ClusterWide, Accepted,
        "Kafka's threads per directory that load and recover logs. Ringlog recovers on every \
         shard.";
    "producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low, ClusterWide, Honoured,
        "How long an idempotent producer's state is remembered after its last write.";
    "cordoned.log.dirs", List, Some(""), Any, Medium, PerBroker, Accepted,
        "Directories that get no new partitions; `*` for all of them.";
}
