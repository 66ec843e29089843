//! Consumer, share and streams groups, transactions, and their internal topics.

use super::rows;

rows! {
    "offset.metadata.max.bytes", Int, Some("4096"), Any, High, ReadOnly, Honoured,
        "Longest note that may be committed with an offset.";
    "offsets.commit.timeout.ms", Int, Some("5000"), AtLeast(1), High, ReadOnly, Accepted,
        "How long an offset commit may wait for its replicas.";
    "offsets.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly, Accepted,
        "Batch size in which committed offsets are loaded.";
    "offsets.retention.check.interval.ms", Long, Some("600000"),
        AtLeast(1), High, ReadOnly, Honoured,
        "How often expired offsets are looked for.";
    "offsets.retention.minutes", Int, Some("10080"), AtLeast(1), High, ReadOnly, Honoured,
        "How long the offsets of an empty group are kept.";
    "offsets.topic.compression.codec", Int, Some("0"), Any, High, ReadOnly, Accepted,
        "Codec number of `__consumer_offsets`.";
    "offsets.topic.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly, Honoured,
        "Partitions of `__consumer_offsets`.";
    "offsets.topic.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly, Honoured,
        "Replicas of `__consumer_offsets`.";
    "offsets.topic.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly, Honoured,
        "Segment size of `__consumer_offsets`.";
    "group.initial.rebalance.delay.ms", Int, Some("3000"), Any, Medium, ReadOnly, Honoured,
        "How long a new group waits for more members before its first rebalance.";
    "group.max.session.timeout.ms", Int, Some("1800000"), Any, Medium, ReadOnly, Honoured,
        "Longest session timeout that a member may ask for.";
    "group.min.session.timeout.ms", Int, Some("6000"), Any, Medium, ReadOnly, Honoured,
        "Shortest session timeout that a member may ask for.";
    "group.max.size", Int, Some("2147483647"), AtLeast(1), Medium, ReadOnly, Honoured,
        "Members that a classic group may have.";
    "group.coordinator.append.linger.ms", Int, Some("-1"), AtLeast(-1), Medium, ReadOnly, Accepted,
        "How long the coordinator gathers records into one write; -1 adapts.";
    "group.coordinator.background.threads", Int, Some("2"), AtLeast(1), High, ReadOnly, Accepted,
        "The coordinator's threads for background work.";
    "group.coordinator.cached.buffer.max.bytes", Int, Some("1048588"),
        AtLeast(524_288), Medium, ClusterWide, Accepted,
        "Largest write buffer that the coordinator keeps.";
    "group.coordinator.rebalance.protocols", List, Some("classic,consumer,streams"),
        ListOf(&["consumer", "classic", "share", "streams"]), Medium, ReadOnly, Honoured,
        "Kinds of groups that the coordinator serves.";
    "group.coordinator.threads", Int, Some("4"), AtLeast(1), High, ReadOnly, Accepted,
        "Kafka's coordinator threads.";
    "group.consumer.assignment.interval.ms", Int, Some("1000"),
        AtLeast(0), Medium, ClusterWide, Honoured,
        "Shortest time between two assignments of a consumer group.";
    "group.consumer.assignors", List, Some("uniform,range"), Any, Medium, ReadOnly, Honoured,
        "Server-side assignors of consumer groups, the default first.";
    "group.consumer.heartbeat.interval.ms", Int, Some("5000"),
        AtLeast(1), Medium, ReadOnly, Honoured,
        "How often members of a consumer group call.";
    "group.consumer.max.assignment.interval.ms", Int, Some("15000"),
        AtLeast(0), Medium, ReadOnly, Honoured,
        "Upper bound of a group's own assignment interval.";
    "group.consumer.max.heartbeat.interval.ms", Int, Some("15000"),
        AtLeast(1), Medium, ReadOnly, Honoured,
        "Upper bound of a group's own heartbeat interval.";
    "group.consumer.max.session.timeout.ms", Int, Some("60000"),
        AtLeast(1), Medium, ReadOnly, Honoured,
        "Upper bound of a group's own session timeout.";
    "group.consumer.max.size", Int, Some("2147483647"), AtLeast(1), Medium, ReadOnly, Honoured,
        "Members that a consumer group may have.";
    "group.consumer.migration.policy", String, Some("bidirectional"),
        OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]),
        Medium, ReadOnly, Honoured,
        "Between which protocols a group may change while it has members.";
    "group.consumer.min.assignment.interval.ms", Int, Some("0"),
        AtLeast(0), Medium, ReadOnly, Honoured,
        "Lower bound of a group's own assignment interval.";
    "group.consumer.min.heartbeat.interval.ms", Int, Some("5000"),
        AtLeast(1), Medium, ReadOnly, Honoured,
        "Lower bound of a group's own heartbeat interval.";
    "group.consumer.min.session.timeout.ms", Int, Some("45000"),
        AtLeast(1), Medium, ReadOnly, Honoured,
        "Lower bound of a group's own session timeout.";
    "group.consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, ReadOnly, Honoured,
        "How long a member of a consumer group may be silent.";
    "group.share.assignment.interval.ms", Int, Some("1000"),
        AtLeast(0), Medium, ClusterWide, Accepted,
        "Shortest time between two assignments of a share group.";
    "group.share.assignors", List, Some("simple"), Any, Medium, ReadOnly, Accepted,
        "Server-side assignors of share groups.";
    "group.share.delivery.count.limit", Int, Some("5"), Between(2, 10), Medium, ReadOnly, Accepted,
        "How often a record of a share group is delivered before it is given up.";
    "group.share.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium, ReadOnly, Accepted,
        "How often members of a share group call.";
    "group.share.max.assignment.interval.ms", Int, Some("15000"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own assignment interval.";
    "group.share.max.delivery.count.limit", Int, Some("10"),
        Between(5, 25), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own delivery limit.";
    "group.share.max.heartbeat.interval.ms", Int, Some("15000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own heartbeat interval.";
    "group.share.max.partition.max.record.locks", Int, Some("4000"),
        Between(2000, 10_000), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own number of locks.";
    "group.share.max.record.lock.duration.ms", Int, Some("60000"),
        Between(30_000, 3_600_000), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own lock duration.";
    "group.share.max.session.timeout.ms", Int, Some("60000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Upper bound of a share group's own session timeout.";
    "group.share.max.share.sessions", Int, Some("2000"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Share sessions that a broker remembers.";
    "group.share.max.size", Int, Some("200"), Between(1, 1000), Medium, ReadOnly, Accepted,
        "Members that a share group may have.";
    "group.share.min.assignment.interval.ms", Int, Some("0"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own assignment interval.";
    "group.share.min.delivery.count.limit", Int, Some("2"),
        Between(2, 5), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own delivery limit.";
    "group.share.min.heartbeat.interval.ms", Int, Some("5000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own heartbeat interval.";
    "group.share.min.partition.max.record.locks", Int, Some("100"),
        Between(100, 2000), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own number of locks.";
    "group.share.min.record.lock.duration.ms", Int, Some("15000"),
        Between(1000, 30_000), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own lock duration.";
    "group.share.min.session.timeout.ms", Int, Some("45000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Lower bound of a share group's own session timeout.";
    "group.share.partition.max.record.locks", Int, Some("2000"),
        Between(100, 10_000), Medium, ReadOnly, Accepted,
        "Records of a partition that a share group may hold locked.";
    "group.share.record.lock.duration.ms", Int, Some("30000"),
        Between(1000, 3_600_000), Medium, ReadOnly, Accepted,
        "How long a record delivered to a share group stays locked.";
    "group.share.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, ReadOnly, Accepted,
        "How long a member of a share group may be silent.";
    "group.streams.assignment.interval.ms", Int, Some("1000"),
        AtLeast(0), Medium, ClusterWide, Accepted,
        "Shortest time between two assignments of a streams group.";
    "group.streams.heartbeat.interval.ms", Int, Some("5000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "How often members of a streams group call.";
    "group.streams.initial.rebalance.delay.ms", Int, Some("3000"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "How long a new streams group waits for more members.";
    "group.streams.max.assignment.interval.ms", Int, Some("15000"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "Upper bound of a streams group's own assignment interval.";
    "group.streams.max.heartbeat.interval.ms", Int, Some("15000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Upper bound of a streams group's own heartbeat interval.";
    "group.streams.max.session.timeout.ms", Int, Some("60000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Upper bound of a streams group's own session timeout.";
    "group.streams.max.size", Int, Some("2147483647"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Members that a streams group may have.";
    "group.streams.max.standby.replicas", Int, Some("2"), AtLeast(0), Medium, ReadOnly, Accepted,
        "Upper bound of a streams group's own number of standbys.";
    "group.streams.min.assignment.interval.ms", Int, Some("0"),
        AtLeast(0), Medium, ReadOnly, Accepted,
        "Lower bound of a streams group's own assignment interval.";
    "group.streams.min.heartbeat.interval.ms", Int, Some("5000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Lower bound of a streams group's own heartbeat interval.";
    "group.streams.min.session.timeout.ms", Int, Some("45000"),
        AtLeast(1), Medium, ReadOnly, Accepted,
        "Lower bound of a streams group's own session timeout.";
    "group.streams.num.standby.replicas", Int, Some("0"), AtLeast(0), Medium, ReadOnly, Accepted,
        "Standby copies of each task's state in a streams group.";
    "group.streams.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, ReadOnly, Accepted,
        "How long a member of a streams group may be silent.";
    "share.coordinator.append.linger.ms", Int, Some("-1"), AtLeast(-1), Medium, ReadOnly, Accepted,
        "How long the share coordinator gathers records into one write; -1 adapts.";
    "share.coordinator.cached.buffer.max.bytes", Int, Some("1048588"),
        AtLeast(524_288), Medium, ClusterWide, Accepted,
        "Largest write buffer that the share coordinator keeps.";
    "share.coordinator.load.buffer.size", Int, Some("5242880"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Batch size in which share state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot", Int, Some("500"),
        Between(0, 500), Medium, ReadOnly, Accepted,
        "Updates of share state between two snapshots of it.";
    "share.coordinator.state.topic.compression.codec", Int, Some("0"),
        Any, High, ReadOnly, Accepted,
        "Codec number of `__share_group_state`.";
    "share.coordinator.state.topic.min.isr", Short, Some("2"), AtLeast(1), High, ReadOnly, Accepted,
        "In-sync replicas that `__share_group_state` needs.";
    "share.coordinator.state.topic.num.partitions", Int, Some("50"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Partitions of `__share_group_state`.";
    "share.coordinator.state.topic.replication.factor", Short, Some("3"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Replicas of `__share_group_state`.";
    "share.coordinator.state.topic.segment.bytes", Int, Some("104857600"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Segment size of `__share_group_state`.";
    "share.coordinator.threads", Int, Some("1"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Kafka's share coordinator threads.";
    "share.coordinator.write.timeout.ms", Int, Some("5000"), AtLeast(1), High, ReadOnly, Accepted,
        "How long a write of share state may wait for its replicas.";
    "add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), AtLeast(1), High, ReadOnly, Accepted,
        "Pause before adding a partition to a transaction is tried again.";
    "add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"),
        AtLeast(0), High, ReadOnly, Accepted,
        "How long adding a partition to a transaction is tried in all.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "How often transactions that take too long are looked for.";
    "transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High, ReadOnly, Accepted,
        "Longest transaction timeout that a producer may ask for.";
    "transaction.partition.verification.enable", Boolean, Some("true"),
        Any, Low, ClusterWide, Accepted,
        "Whether a transactional write is checked against the coordinator.";
    "transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"),
        AtLeast(1), Low, ReadOnly, Accepted,
        "How often expired transactional ids are looked for.";
    "transaction.state.log.load.buffer.size", Int, Some("5242880"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Batch size in which transaction state is loaded.";
    "transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), High, ReadOnly, Accepted,
        "In-sync replicas that `__transaction_state` needs.";
    "transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly, Accepted,
        "Partitions of `__transaction_state`.";
    "transaction.state.log.replication.factor", Short, Some("3"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Replicas of `__transaction_state`.";
    "transaction.state.log.segment.bytes", Int, Some("104857600"),
        AtLeast(1), High, ReadOnly, Accepted,
        "Segment size of `__transaction_state`.";
    "transaction.two.phase.commit.enable", Boolean, Some("false"), Any, Low, ReadOnly, Accepted,
        "Whether producers may take part in two-phase commits.";
    "transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High, ReadOnly, Accepted,
        "How long an unused transactional id is remembered.";
}
