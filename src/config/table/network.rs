//! Listeners, connections, requests and the limits on them.

use super::rows;

rows! {
    "listeners", List, Some("PLAINTEXT://127.0.0.1:9092"), Any, High, ReadOnly, Honoured,
        "Where clients connect, as `NAME://host:port`, separated by commas. An empty host means \
         every interface, IPv6 and IPv4; a name with addresses of both is its IPv4 one; port 0 \
         means any free port.";
    "advertised.listeners", List, None, Any, High, ReadOnly, Honoured,
        "The addresses told to clients, where they differ from `listeners`.";
    "listener.security.protocol.map", String,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        Any, Low, ReadOnly, Honoured,
        "Which security protocol each listener's name stands for.";
    "inter.broker.listener.name", String, None, Any, Medium, ReadOnly, Accepted,
        "The listener by which brokers talk to each other.";
    "security.inter.broker.protocol", String, Some("PLAINTEXT"),
        OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly, Accepted,
        "The security protocol by which brokers talk to each other, where no listener is named \
         for it.";
    "early.start.listeners", List, None, Any, High, ReadOnly, Accepted,
        "Listeners that open before the broker is ready.";
    "ringlog.admin.listener", String, Some("127.0.0.1:9644"), Any, Medium, ReadOnly, Honoured,
        "Address of the HTTP server for metrics and health, as `host:port`, read as those of \
         `listeners`; empty for none.";
    "ringlog.request.memory.bytes", Long, Some("134217728"),
        AtLeast(1_048_576), Medium, ReadOnly, Honoured,
        "Memory for requests being received or served, and for answers until they are sent, for \
         the whole node. Connections wait, unread, beyond it, and a peer that keeps others \
         waiting and hardly moves for 1 s (3 s if it moved in good time before) is hung up on. A \
         request that brings no records has 2 MiB at most.";
    "socket.listen.backlog.size", Int, Some("50"), AtLeast(1), Medium, ReadOnly, Accepted,
        "Connections that may wait to be accepted.";
    "socket.receive.buffer.bytes", Int, Some("102400"), Any, High, ReadOnly, Accepted,
        "Size of a socket's receive buffer; -1 leaves it to the system. Ringlog always leaves \
         it to the system.";
    "socket.send.buffer.bytes", Int, Some("524288"), Any, High, ReadOnly, Honoured,
        "What the system holds of a connection's answers until the client has them, at most \
         `net.core.wmem_max`; a consumer gets this much in a round trip, or twice as much. -1 \
         leaves it to the system, which lets it grow for consumers far away.";
    "socket.request.max.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly, Honoured,
        "Largest request. The connection of a larger one is closed.";
    "socket.connection.setup.timeout.ms", Long, Some("10000"), Any, Medium, ReadOnly, Accepted,
        "How long a broker waits for its own connection to another to be set up.";
    "socket.connection.setup.timeout.max.ms", Long, Some("30000"), Any, Medium, ReadOnly, Accepted,
        "The longest wait for a connection after repeated failures.";
    "connections.max.idle.ms", Long, Some("600000"), Any, Medium, ReadOnly, Honoured,
        "How long a connection may be silent before it is closed; -1 for any time.";
    "connections.max.reauth.ms", Long, Some("0"), Any, Medium, ReadOnly, Accepted,
        "How long a SASL session lasts before the client must authenticate again; 0 for ever.";
    "connection.failed.authentication.delay.ms", Int, Some("100"),
        AtLeast(0), Low, ReadOnly, Accepted,
        "Pause before a connection that failed to authenticate is closed.";
    "max.connections", Int, Some("2147483647"), AtLeast(0), Medium, ClusterWide, Honoured,
        "Connections that the node holds at most. More wait, accepted but not read from, until \
         others close.";
    "max.connections.per.ip", Int, Some("2147483647"), AtLeast(0), Medium, ClusterWide, Honoured,
        "Connections held at most from one address; more are closed at once.";
    "max.connections.per.ip.overrides", String, Some(""), Any, Medium, ClusterWide, Honoured,
        "Other limits than `max.connections.per.ip` for some addresses, as `address:count`, \
         separated by commas. Addresses only, no names.";
    "max.connection.creation.rate", Int, Some("2147483647"),
        AtLeast(0), Medium, ClusterWide, Accepted,
        "New connections a second that the node accepts.";
    "num.network.threads", Int, Some("3"), AtLeast(1), High, ClusterWide, Accepted,
        "Kafka's network threads per listener. Ringlog has `ringlog.shards` instead.";
    "num.io.threads", Int, Some("8"), AtLeast(1), High, ClusterWide, Accepted,
        "Kafka's threads that serve requests. Ringlog has `ringlog.shards` instead.";
    "queued.max.requests", Int, Some("500"), AtLeast(1), High, ReadOnly, Accepted,
        "Requests that may wait for a thread. Ringlog bounds their memory instead.";
    "queued.max.request.bytes", Long, Some("-1"), Any, Medium, ReadOnly, Accepted,
        "Bytes of requests that may wait; -1 for no limit. See `ringlog.request.memory.bytes`.";
    "request.timeout.ms", Int, Some("30000"), Any, High, ReadOnly, Accepted,
        "How long a broker waits for an answer to its own requests.";
    "fetch.max.bytes", Int, Some("57671680"), AtLeast(1024), Medium, ReadOnly, Honoured,
        "Largest answer to a fetch, whatever the client asks for. A first batch that is larger \
         is sent whole.";
    "max.incremental.fetch.session.cache.slots", Int, Some("1000"),
        AtLeast(0), Medium, ReadOnly, Honoured,
        "Incremental fetch sessions remembered at once; 0 turns them off.";
    "max.request.partition.size.limit", Int, Some("2000"), AtLeast(1), Medium, ReadOnly, Honoured,
        "Partitions in one answer to DescribeTopicPartitions; the client asks again for the \
         rest.";
    "fetch.purgatory.purge.interval.requests", Int, Some("1000"), Any, Medium, ReadOnly, Accepted,
        "Finished fetches after which Kafka tidies its waiting list.";
    "producer.purgatory.purge.interval.requests", Int, Some("1000"),
        Any, Medium, ReadOnly, Accepted,
        "Finished produce requests after which Kafka tidies its waiting list.";
    "delete.records.purgatory.purge.interval.requests", Int, Some("1"),
        Any, Medium, ReadOnly, Accepted,
        "Finished DeleteRecords requests after which Kafka tidies its waiting list.";
    "share.fetch.purgatory.purge.interval.requests", Int, Some("1000"),
        Any, Medium, ReadOnly, Accepted,
        "Finished share fetches after which Kafka tidies its waiting list.";
    "client.quota.callback.class", Class, None, Any, Low, ReadOnly, Accepted,
        "A Java class that decides on quotas.";
    "quota.window.num", Int, Some("11"), AtLeast(1), Low, ReadOnly, Honoured,
        "Number of samples kept for client quotas.";
    "quota.window.size.seconds", Int, Some("1"), AtLeast(1), Low, ReadOnly, Honoured,
        "Length of a sample of client quotas.";
    "kafka.metrics.polling.interval.secs", Int, Some("10"), AtLeast(1), Low, ReadOnly, Accepted,
        "How often Kafka's metrics reporters are asked.";
    "kafka.metrics.reporters", List, Some(""), Any, Low, ReadOnly, Accepted,
        "Java classes that report Yammer metrics. Ringlog serves Prometheus text instead.";
    "metric.reporters", List, Some("org.apache.kafka.common.metrics.JmxReporter"),
        Any, Low, ClusterWide, Accepted,
        "Java classes that report metrics. Ringlog serves Prometheus text instead.";
    "metrics.num.samples", Int, Some("2"), AtLeast(1), Low, ReadOnly, Accepted,
        "Samples kept for a metric.";
    "metrics.recording.level", String, Some("INFO"), Any, Low, ReadOnly, Accepted,
        "The finest level of metrics that is recorded.";
    "metrics.sample.window.ms", Long, Some("30000"), AtLeast(1), Low, ReadOnly, Accepted,
        "Length of a metric's sample.";
    "telemetry.max.bytes", Int, Some("1048576"), AtLeast(1), Low, ReadOnly, Accepted,
        "Largest message of metrics that a client may push.";
    "config.providers", List, Some(""), Any, Low, ClusterWide, Accepted,
        "Names of Java classes from which values of settings are taken.";
}
