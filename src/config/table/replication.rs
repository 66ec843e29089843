//! Following and being followed, reassignment, and remote storage.

use super::rows;

rows! {
    "replica.lag.time.max.ms", Long, Some("30000"), Any, High, ReadOnly, Accepted,
        "How long a follower may be behind before it leaves the in-sync set.";
    "replica.fetch.backoff.ms", Int, Some("1000"), AtLeast(0), Medium, ReadOnly, Accepted,
        "Pause after a failed fetch from a leader.";
    "replica.fetch.max.bytes", Int, Some("1048576"), AtLeast(0), Medium, ReadOnly, Accepted,
        "Bytes of each partition that a follower fetches at a time.";
    "replica.fetch.min.bytes", Int, Some("1"), Any, High, ReadOnly, Accepted,
        "Bytes that a follower's fetch waits for.";
    "replica.fetch.response.max.bytes", Int, Some("10485760"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "Largest answer to a follower's fetch.";
    "replica.fetch.wait.max.ms", Int, Some("500"), Any, High, ReadOnly, Accepted,
        "How long a follower's fetch waits for `replica.fetch.min.bytes`.";
    "replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"),
        Any, High, ReadOnly, Accepted,
        "How often high watermarks are written to `replication-offset-checkpoint`. Ringlog writes \
         them with the recovery points.";
    "replica.selector.class", String, None, Any, Medium, ReadOnly, Accepted,
        "A Java class that chooses the replica a consumer reads from.";
    "replica.socket.receive.buffer.bytes", Int, Some("65536"), Any, High, ReadOnly, Accepted,
        "Receive buffer of a follower's connection.";
    "replica.socket.timeout.ms", Int, Some("30000"), Any, High, ReadOnly, Accepted,
        "How long a follower's connection may be silent.";
    "num.replica.fetchers", Int, Some("1"), AtLeast(1), High, ClusterWide, Accepted,
        "Kafka's fetching threads per leader.";
    "num.replica.alter.log.dirs.threads", Int, None, Any, High, ReadOnly, Accepted,
        "Kafka's threads that move replicas between directories.";
    "replication.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly, Accepted,
        "Number of samples kept for replication quotas.";
    "replication.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly, Accepted,
        "Length of a sample of replication quotas.";
    "alter.log.dirs.replication.quota.window.num", Int, Some("11"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "Number of samples kept for the quota of moves between directories.";
    "alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "Length of a sample of the quota of moves between directories.";
    "follower.fetch.last.tiered.offset.enable", Boolean, Some("false"),
        Any, Medium, ClusterWide, Accepted,
        "Whether a new follower begins at what is not yet in remote storage.";
    "remote.log.storage.system.enable", Boolean, Some("false"), Any, Medium, ReadOnly, Accepted,
        "Whether Kafka's tiered storage is on. Ringlog has none.";
    "remote.fetch.max.wait.ms", Int, Some("500"), AtLeast(1), Medium, ClusterWide, Accepted,
        "How long a fetch waits for remote storage.";
    "remote.list.offsets.request.timeout.ms", Long, Some("30000"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "How long ListOffsets waits for remote storage.";
    "remote.log.index.file.cache.total.size.bytes", Long, Some("1073741824"),
        AtLeast(1), Low, ClusterWide, Accepted,
        "Disk space for indexes of remote segments.";
    "remote.log.manager.copier.thread.pool.size", Int, Some("10"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "Threads that copy segments to remote storage.";
    "remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "Limit of copying to remote storage.";
    "remote.log.manager.copy.quota.window.num", Int, Some("11"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Number of samples kept for the copying limit.";
    "remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Length of a sample of the copying limit.";
    "remote.log.manager.expiration.thread.pool.size", Int, Some("10"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "Threads that delete segments in remote storage.";
    "remote.log.manager.fetch.max.bytes.per.second", Long, Some("9223372036854775807"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "Limit of reading from remote storage.";
    "remote.log.manager.fetch.quota.window.num", Int, Some("11"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Number of samples kept for the reading limit.";
    "remote.log.manager.fetch.quota.window.size.seconds", Int, Some("1"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Length of a sample of the reading limit.";
    "remote.log.manager.follower.thread.pool.size", Int, Some("2"),
        AtLeast(1), Medium, ClusterWide, Accepted,
        "Threads that look after followers' part of remote storage.";
    "remote.log.manager.task.interval.ms", Long, Some("30000"), AtLeast(1), Low, ReadOnly, Accepted,
        "How often the tasks of remote storage run.";
    "remote.log.manager.thread.pool.size", Int, Some("2"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Threads that schedule the tasks of remote storage.";
    "remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"),
        AtLeast(0), Low, ReadOnly, Accepted,
        "Largest note that a storage plug-in may keep for a segment.";
    "remote.log.metadata.manager.class.name", String,
        Some("org.apache.kafka.server.log.remote.metadata.storage.\
         TopicBasedRemoteLogMetadataManager"),
        NonEmpty, Medium, ReadOnly, Accepted,
        "A Java class that keeps the list of remote segments.";
    "remote.log.metadata.manager.class.path", String, None, Any, Medium, ReadOnly, Accepted,
        "Where that Java class is found.";
    "remote.log.metadata.manager.impl.prefix", String, Some("rlmm.config."),
        NonEmpty, Medium, ReadOnly, Accepted,
        "Prefix of the settings given to that Java class.";
    "remote.log.metadata.manager.listener.name", String, None, NonEmpty, Medium, ReadOnly, Accepted,
        "Listener by which that Java class reaches the broker.";
    "remote.log.reader.max.pending.tasks", Int, Some("100"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Reads of remote storage that may wait.";
    "remote.log.reader.threads", Int, Some("10"), AtLeast(1), Medium, ClusterWide, Accepted,
        "Threads that read remote storage.";
    "remote.log.storage.manager.class.name", String, None, NonEmpty, Medium, ReadOnly, Accepted,
        "A Java class that stores segments remotely.";
    "remote.log.storage.manager.class.path", String, None, Any, Medium, ReadOnly, Accepted,
        "Where the storage class is found.";
    "remote.log.storage.manager.impl.prefix", String, Some("rsm.config."),
        NonEmpty, Medium, ReadOnly, Accepted,
        "Prefix of the settings given to the storage class.";
}
