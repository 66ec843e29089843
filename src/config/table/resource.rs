//! The settings of groups and of subscriptions to clients' metrics.

/// Groups (resource type GROUP).
pub(super) mod group {
    use crate::table::rows;

    rows! {
        "consumer.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium, Topic, Honoured,
            "Shortest time between two assignments of this consumer group.";
        "consumer.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium, Topic, Honoured,
            "How often members of this consumer group call.";
        "consumer.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, Topic, Honoured,
            "How long a member of this consumer group may be silent.";
        "share.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium, Topic, Accepted,
            "Shortest time between two assignments of this share group.";
        "share.auto.offset.reset", String, Some("latest"),
            ShareOffsetReset, Medium, Topic, Accepted,
            "Where this share group begins in a partition: `earliest`, `latest` or `by_duration:`.";
        "share.delivery.count.limit", Int, Some("5"), AtLeast(2), Medium, Topic, Accepted,
            "How often a record is delivered before this share group gives it up.";
        "share.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium, Topic, Accepted,
            "How often members of this share group call.";
        "share.isolation.level", String, Some("read_uncommitted"),
            OneOf(&["read_committed", "read_uncommitted"]), Medium, Topic, Accepted,
            "Whether this share group sees records of open and aborted transactions.";
        "share.partition.max.record.locks", Int, Some("2000"),
            AtLeast(100), Medium, Topic, Accepted,
            "Records of a partition that this share group may hold locked.";
        "share.record.lock.duration.ms", Int, Some("30000"),
            AtLeast(1000), Medium, Topic, Accepted,
            "How long a record delivered to this share group stays locked.";
        "share.renew.acknowledge.enable", Boolean, Some("true"), Any, Medium, Topic, Accepted,
            "Whether members of this share group may prolong their locks.";
        "share.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, Topic, Accepted,
            "How long a member of this share group may be silent.";
        "streams.assignment.interval.ms", Int, Some("1000"), AtLeast(0), Medium, Topic, Accepted,
            "Shortest time between two assignments of this streams group.";
        "streams.heartbeat.interval.ms", Int, Some("5000"), AtLeast(1), Medium, Topic, Accepted,
            "How often members of this streams group call.";
        "streams.initial.rebalance.delay.ms", Int, Some("3000"),
            AtLeast(0), Medium, Topic, Accepted,
            "How long this streams group waits for more members when it begins.";
        "streams.num.standby.replicas", Int, Some("0"), AtLeast(0), Medium, Topic, Accepted,
            "Standby copies of each task's state in this streams group.";
        "streams.session.timeout.ms", Int, Some("45000"), AtLeast(1), Medium, Topic, Accepted,
            "How long a member of this streams group may be silent.";
    }
}

/// Subscriptions to clients' metrics (resource type CLIENT_METRICS, KIP-714).
pub(super) mod client_metrics {
    use crate::table::rows;

    rows! {
        "interval.ms", Int, Some("300000"), Between(100, 3_600_000), Medium, Topic, Accepted,
            "How often clients push the metrics of this subscription.";
        "match", List, Some(""), Any, Medium, Topic, Accepted,
            "Which clients this subscription is for, as `property=pattern`.";
        "metrics", List, Some(""), Any, Medium, Topic, Accepted,
            "Prefixes of the metrics' names; empty for none.";
    }
}
