//! Keys that are taken although they have no row: Kafka's internal ones, those of its plug-ins,
//! and those that older Kafkas had. They are stored and told as they came.

/// Settings Kafka 4.3 has but does not document, and the rates of throttled replication.
const INTERNAL: &[&str] = &[
    "controller.performance.always.log.threshold.ms",
    "controller.performance.sample.period.ms",
    "follower.replication.throttled.rate",
    "group.consumer.regex.refresh.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.persister.class.name",
    "internal.metadata.delete.delay.millis",
    "internal.metadata.log.segment.bytes",
    "internal.metadata.max.batch.size.in.bytes",
    "leader.replication.throttled.rate",
    "log.initial.task.delay.ms",
    "producer.id.expiration.check.interval.ms",
    "remote.log.index.file.cache.ttl.ms",
    "remote.log.manager.task.retry.backoff.max.ms",
    "remote.log.manager.task.retry.backoff.ms",
    "remote.log.manager.task.retry.jitter",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "server.max.startup.time.ms",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.state.topic.prune.interval.ms",
    "unclean.leader.election.interval.ms",
    "unstable.api.versions.enable",
    "unstable.feature.versions.enable",
];

/// Settings of Kafka 3.9 that 4.x dropped: files that moved along with a cluster still have them.
const RETIRED: &[&str] = &[
    "broker.id.generation.enable",
    "control.plane.listener.name",
    "eligible.leader.replicas.enable",
    "group.coordinator.new.enable",
    "inter.broker.protocol.version",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "password.encoder.cipher.algorithm",
    "password.encoder.iterations",
    "password.encoder.key.length",
    "password.encoder.keyfactory.algorithm",
    "password.encoder.old.secret",
    "password.encoder.secret",
    "reserved.broker.max.id",
    "zookeeper.clientCnxnSocket",
    "zookeeper.connect",
    "zookeeper.connection.timeout.ms",
    "zookeeper.max.in.flight.requests",
    "zookeeper.metadata.migration.enable",
    "zookeeper.metadata.migration.min.batch.size",
    "zookeeper.session.timeout.ms",
    "zookeeper.set.acl",
];

/// Settings of Kafka's StandardAuthorizer.
const AUTHORIZER: &[&str] = &["allow.everyone.if.no.acl.found", "super.users"];

/// Prefixes under which listeners, plug-ins and providers have settings of their own.
const PREFIXES: &[&str] = &[
    "config.providers.",
    "controller.quorum.sasl.",
    "listener.name.",
    "rlmm.config.",
    "rsm.config.",
    "zookeeper.ssl.",
];

/// Topic settings that Kafka has or had beside those of the table.
const TOPIC: &[&str] = &[
    "errors.deadletterqueue.group.enable",
    "internal.segment.bytes",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.difference.max.ms",
    "remote.copy.lag.bytes",
    "remote.copy.lag.ms",
];

/// Whether a broker key without a row is taken all the same.
pub(crate) fn is_known_broker_key(key: &str) -> bool {
    INTERNAL.contains(&key)
        || RETIRED.contains(&key)
        || AUTHORIZER.contains(&key)
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a broker key says who may connect, how, and what they may do.
pub(crate) fn is_about_security(key: &str) -> bool {
    super::security::ROWS.iter().any(|row| row.name == key)
        || AUTHORIZER.contains(&key)
        || key.starts_with("listener.name.")
}

/// Whether a topic key without a row is taken all the same.
pub(crate) fn is_known_topic_key(key: &str) -> bool {
    TOPIC.contains(&key)
}
