//! Who this node is, the topics it makes by itself, and its metadata log.

use super::rows;

rows! {
    "node.id", Int, Some("1"), AtLeast(0), High, ReadOnly, Honoured,
        "The node's number in its cluster.";
    "broker.id", Int, Some("-1"), Any, High, ReadOnly, Honoured,
        "The old name of `node.id`. Both may be set if they agree.";
    "broker.rack", String, None, Any, Medium, ReadOnly, Honoured,
        "The rack or zone the node stands in, told to clients.";
    "process.roles", List, Some("broker,controller"),
        ListOf(&["broker", "controller"]), High, ReadOnly, Accepted,
        "The roles of a Kafka node. Ringlog's embedded controller makes a node both; only one of \
         them is refused.";
    "auto.create.topics.enable", Boolean, Some("true"), Any, High, ReadOnly, Honoured,
        "Whether a topic is created when a client first asks for it.";
    "delete.topic.enable", Boolean, Some("true"), Any, High, ReadOnly, Honoured,
        "Whether topics can be deleted.";
    "num.partitions", Int, Some("1"), AtLeast(1), Medium, ReadOnly, Honoured,
        "Partitions of a topic whose creator names no number.";
    "default.replication.factor", Int, Some("1"), Any, Medium, ReadOnly, Honoured,
        "Replicas of a topic whose creator names no number.";
    "auto.leader.rebalance.enable", Boolean, Some("true"), Any, High, ReadOnly, Accepted,
        "Whether leadership returns to the preferred replicas by itself.";
    "leader.imbalance.check.interval.seconds", Long, Some("300"),
        AtLeast(1), High, ReadOnly, Accepted,
        "How often the controller looks for leaders to move back.";
    "alter.config.policy.class.name", Class, None, Any, Low, ReadOnly, Accepted,
        "A Java class that may veto changes of settings.";
    "create.topic.policy.class.name", Class, None, Any, Low, ReadOnly, Accepted,
        "A Java class that may veto new topics.";
    "background.threads", Int, Some("10"), AtLeast(1), High, ClusterWide, Accepted,
        "Kafka's threads for background work.";
    "broker.heartbeat.interval.ms", Int, Some("2000"), Any, Medium, ReadOnly, Accepted,
        "How often a broker tells the controller that it lives.";
    "broker.session.timeout.ms", Int, Some("9000"), Any, Medium, ReadOnly, Accepted,
        "How long the controller waits for a broker's heartbeat before fencing it.";
    "initial.broker.registration.timeout.ms", Int, Some("60000"), Any, Medium, ReadOnly, Accepted,
        "How long a starting broker tries to register with the controller.";
    "controlled.shutdown.enable", Boolean, Some("true"), Any, Medium, ReadOnly, Accepted,
        "Whether a stopping broker first hands over its leaderships.";
    "controller.listener.names", List, Some(""), Any, High, ReadOnly, Accepted,
        "Names of the listeners that belong to the controller. Ringlog's embedded controller \
         listens nowhere.";
    "controller.quorum.append.linger.ms", Int, Some("25"), AtLeast(0), Medium, ReadOnly, Accepted,
        "How long the controllers' leader gathers writes before it flushes them.";
    "controller.quorum.auto.join.enable", Boolean, Some("false"), Any, Low, ReadOnly, Accepted,
        "Whether a new controller joins the voters by itself.";
    "controller.quorum.bootstrap.servers", List, Some(""), Any, High, ReadOnly, Accepted,
        "Addresses where the controllers are found.";
    "controller.quorum.election.backoff.max.ms", Int, Some("1000"),
        AtLeast(0), High, ReadOnly, Accepted,
        "The longest that a controller waits before it tries again to be elected.";
    "controller.quorum.election.timeout.ms", Int, Some("1000"),
        AtLeast(0), High, ReadOnly, Accepted,
        "How long a candidate waits for votes.";
    "controller.quorum.fetch.max.bytes", Int, Some("1048576"), AtLeast(1), Low, ReadOnly, Accepted,
        "Largest answer to a fetch of the metadata log.";
    "controller.quorum.fetch.snapshot.max.bytes", Int, Some("1048576"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "Largest answer to a fetch of a metadata snapshot.";
    "controller.quorum.fetch.timeout.ms", Int, Some("2000"), AtLeast(0), High, ReadOnly, Accepted,
        "How long a controller does without its leader before it becomes a candidate.";
    "controller.quorum.request.timeout.ms", Int, Some("2000"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "How long a request between controllers may take.";
    "controller.quorum.retry.backoff.ms", Int, Some("20"), AtLeast(0), Low, ReadOnly, Accepted,
        "Pause before a request between controllers is repeated.";
    "controller.quorum.voters", List, Some(""), Any, High, ReadOnly, Accepted,
        "The controllers with their addresses, as `id@host:port`. Others than this node are \
         refused.";
    "controller.quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly, Honoured,
        "Number of samples kept for the quota of metadata changes.";
    "controller.quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly, Honoured,
        "Length of a sample of the quota of metadata changes.";
    "controller.socket.timeout.ms", Int, Some("30000"), Any, Medium, ReadOnly, Accepted,
        "How long a connection to the controller may be silent.";
    "metadata.log.dir", String, None, Any, High, ReadOnly, Honoured,
        "Which of `log.dirs` a new metadata log is made in; else it is the first. A directory \
         that is none of them is refused.";
    "metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"),
        AtLeast(1), High, ReadOnly, Honoured,
        "Bytes of metadata records after which a snapshot is written.";
    "metadata.log.max.snapshot.interval.ms", Long, Some("3600000"),
        AtLeast(0), High, ReadOnly, Honoured,
        "Longest time between two metadata snapshots; 0 for no limit.";
    "metadata.log.segment.bytes", Int, Some("1073741824"),
        AtLeast(8_388_608), High, ReadOnly, Honoured,
        "Size at which a segment of the metadata log is closed.";
    "metadata.log.segment.ms", Long, Some("604800000"), Any, High, ReadOnly, Honoured,
        "Age at which a segment of the metadata log is closed.";
    "metadata.max.idle.interval.ms", Int, Some("500"), AtLeast(0), Low, ReadOnly, Accepted,
        "How often an idle controller writes an empty record; 0 for never.";
    "metadata.max.retention.bytes", Long, Some("104857600"), Any, High, ReadOnly, Honoured,
        "Size of metadata log and snapshots beyond which old ones are deleted.";
    "metadata.max.retention.ms", Long, Some("604800000"), Any, High, ReadOnly, Honoured,
        "Age beyond which metadata segments and snapshots are deleted.";
    "ringlog.cluster.id", String, None, Any, Low, ReadOnly, Honoured,
        "The id, 22 characters of base64, that a new data directory gets; without it a random \
         one. A directory of another cluster is refused.";
    "ringlog.shards", Int, Some("0"), Between(0, 1024), High, ReadOnly, Honoured,
        "How many shards, one thread each, share the work; 0 for one per core. A data directory \
         opens with any number.";
    "ringlog.shards.pin", Boolean, Some("true"), Any, Low, ReadOnly, Honoured,
        "Whether each shard is bound to a core.";
    "ringlog.io", String, Some("auto"),
        OneOf(&["auto", "uring", "fallback"]), Medium, ReadOnly, Honoured,
        "How the node talks to disks and sockets: `uring`, `fallback` for where io_uring is \
         forbidden, or `auto` for the better of what the kernel allows.";
    "ringlog.disk.reserve.bytes", Long, Some("268435456"), AtLeast(0), Medium, ReadOnly, Honoured,
        "Free space below which the partitions of a directory take no more records. They resume \
         by themselves when there is space. Where it is not set, a small file system keeps a \
         twentieth of itself.";
    "ringlog.recovery.checkpoint.bytes", Long, Some("67108864"),
        AtLeast(1_048_576), Low, ReadOnly, Honoured,
        "Bytes written to a log after which its recovery point is moved on; bounds what is read \
         after a crash.";
    "ringlog.scrub.interval.ms", Long, Some("604800000"),
        AtLeast(60_000), Low, ReadOnly, Honoured,
        "How long after its last check a finished segment is checked again by the scrub.";
    "ringlog.scrub.megabytes.per.second", Int, Some("16"),
        Between(0, 100_000), Medium, ReadOnly, Honoured,
        "How much of each log directory the scrub reads a second, in the background, to find \
         damaged records before they are needed; 0 for no scrub. It checks each segment when it is \
         finished and again after `ringlog.scrub.interval.ms`, the longest unchecked first.";
    "ringlog.tail.cache.bytes", Long, Some("33554432"),
        AtLeast(1_048_576), Medium, ReadOnly, Honoured,
        "Memory in which the newest records are kept for consumers at the end of their logs, \
         for the whole node; half as much again serves to read ahead of those that catch up.";
    "ringlog.unflushed.bytes.max", Long, Some("16777216"),
        AtLeast(1_048_576), Medium, ReadOnly, Honoured,
        "Bytes of all partitions that may wait for the disk; producers wait beyond it.";
}
