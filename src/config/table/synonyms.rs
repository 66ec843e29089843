//! Which broker setting a topic's setting falls back to.
//!
//! The first in the list that has a value wins, whatever layer it comes from
//! (Kafka's `ServerTopicConfigSynonyms`).

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// A broker setting behind a topic's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker setting.
    pub name: &'static str,
    /// What its value is multiplied by to become the topic's.
    pub factor: i64,
}

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn scaled(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

/// Topic setting and its synonyms, the most specific first.
const SYNONYMS: &[(&str, &[Synonym])] = &[
    ("check.records", &[same("log.check.records")]),
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    ("delete.retention.ms", &[same("log.cleaner.delete.retention.ms")]),
    ("file.delete.delay.ms", &[same("log.segment.delete.delay.ms")]),
    ("flush", &[same("log.flush")]),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    ("flush.ms", &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    ("local.retention.bytes", &[same("log.local.retention.bytes")]),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    ("max.compaction.lag.ms", &[same("log.cleaner.max.compaction.lag.ms")]),
    ("max.message.bytes", &[same("message.max.bytes")]),
    ("message.timestamp.after.max.ms", &[same("log.message.timestamp.after.max.ms")]),
    ("message.timestamp.before.max.ms", &[same("log.message.timestamp.before.max.ms")]),
    ("message.timestamp.type", &[same("log.message.timestamp.type")]),
    ("min.cleanable.dirty.ratio", &[same("log.cleaner.min.cleanable.ratio")]),
    ("min.compaction.lag.ms", &[same("log.cleaner.min.compaction.lag.ms")]),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    (
        "retention.ms",
        &[
            same("log.retention.ms"),
            scaled("log.retention.minutes", MINUTE_MS),
            scaled("log.retention.hours", HOUR_MS),
        ],
    ),
    ("stop.at.damage", &[same("log.stop.at.damage")]),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    ("segment.jitter.ms", &[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", HOUR_MS)]),
    ("segment.ms", &[same("log.roll.ms"), scaled("log.roll.hours", HOUR_MS)]),
    ("unclean.leader.election.enable", &[same("unclean.leader.election.enable")]),
];

/// The synonyms of a topic's setting, the most specific first; none for most unknown ones.
pub fn topic_synonyms(topic_key: &str) -> &'static [Synonym] {
    SYNONYMS.iter().find(|(key, _)| *key == topic_key).map_or(&[], |(_, synonyms)| synonyms)
}

/// The synonyms of a *broker* setting: itself and the less specific spellings after it.
pub(crate) fn broker_synonyms(broker_key: &str) -> Vec<&'static str> {
    let group = SYNONYMS.iter().find(|(_, list)| list.iter().any(|s| s.name == broker_key));
    let names = group.map_or(&[][..], |(_, list)| list).iter().map(|synonym| synonym.name);
    names.skip_while(|name| *name != broker_key).collect()
}

/// The broker setting that stands for a topic's key in a broker's file, for suggestions.
pub(crate) fn broker_key_of_topic_key(topic_key: &str) -> Option<&'static str> {
    topic_synonyms(topic_key).first().map(|synonym| synonym.name)
}
