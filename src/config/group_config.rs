//! The settings of groups (resource type GROUP): what they fall back to, and within which bounds
//! of the broker they have to stay (Kafka's `GroupConfig`).

use crate::broker_config::BrokerConfig;
use crate::error::ConfigError;
use crate::layers::RawSettings;
use crate::setting::Value;
use crate::table::{GROUP_SETTINGS, broker_setting};

/// The broker's bounds for one setting of a group.
struct Bounds {
    key: &'static str,
    min: Option<&'static str>,
    max: &'static str,
    /// Kafka does not hold the broker's own value against these bounds.
    only_if_given: bool,
}

const fn between(key: &'static str, min: &'static str, max: &'static str) -> Bounds {
    Bounds { key, min: Some(min), max, only_if_given: false }
}

const fn if_given(bounds: Bounds) -> Bounds {
    Bounds { only_if_given: true, ..bounds }
}

/// In the order in which Kafka looks at them.
const BOUNDS: &[Bounds] = &[
    between(
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    between(
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    if_given(between(
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    )),
    between(
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    between(
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    between(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    between(
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    between(
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    if_given(between(
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    )),
    between(
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    between(
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
    Bounds {
        key: "streams.num.standby.replicas",
        min: None,
        max: "group.streams.max.standby.replicas",
        only_if_given: false,
    },
    if_given(between(
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    )),
];

/// Pairs of which the first must be the greater one.
const GREATER: &[(&str, &str)] = &[
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

/// The broker's setting behind a group's, if it has one.
pub(crate) fn broker_key(group_key: &str) -> Option<&'static str> {
    broker_setting(&format!("group.{group_key}")).map(|setting| setting.name)
}

/// Checks all settings of a group.
///
/// # Errors
/// What Kafka finds invalid, in its words.
pub fn check_group(broker: &BrokerConfig, wanted: &RawSettings) -> Result<(), ConfigError> {
    let known = |key: &str| GROUP_SETTINGS.iter().any(|setting| setting.name == key);
    if let Some(key) = wanted.keys().find(|key| !known(key)) {
        return Err(ConfigError::Conflict(format!("Unknown group config name: {key}")));
    }
    for setting in GROUP_SETTINGS {
        wanted.get(setting.name).map(|text| setting.parse(text)).transpose()?;
    }
    for bounds in BOUNDS {
        if !bounds.only_if_given || wanted.contains_key(bounds.key) {
            check_bounds(broker, wanted, bounds)?;
        }
    }
    for (greater, less) in GREATER {
        if value(broker, wanted, greater)? <= value(broker, wanted, less)? {
            return Err(ConfigError::Conflict(format!("{greater} must be greater than {less}")));
        }
    }
    Ok(())
}

fn check_bounds(
    broker: &BrokerConfig,
    wanted: &RawSettings,
    bounds: &Bounds,
) -> Result<(), ConfigError> {
    let Bounds { key, min, max, .. } = bounds;
    let value = value(broker, wanted, key)?;
    let (what, bound) = match min {
        Some(min) if value < broker.layers.int(min)? => ("greater", min),
        _ if value > broker.layers.int(max)? => ("less", max),
        _ => return Ok(()),
    };
    Err(ConfigError::Conflict(format!("{key} must be {what} than or equal to {bound}")))
}

/// The number that holds for a group with these settings.
fn value(broker: &BrokerConfig, wanted: &RawSettings, key: &str) -> Result<i32, ConfigError> {
    let setting = GROUP_SETTINGS.iter().find(|setting| setting.name == key);
    let setting = setting.unwrap_or_else(|| panic!("no group setting {key}"));
    match wanted.get(key).map(|text| setting.parse(text)).transpose()? {
        Some(Value::Int(value)) => Ok(value),
        Some(other) => panic!("{key} is {other:?}"),
        None => {
            let key = broker_key(key).unwrap_or_else(|| panic!("nothing is behind {key}"));
            broker.layers.int(key)
        }
    }
}

/// The times of a consumer group, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupTimes {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
}

/// The times that hold for a consumer group with settings of its own, or without. What is out of
/// the broker's bounds, which may have changed since it was set, is brought into them.
pub fn consumer_group_times(
    broker: &BrokerConfig,
    own: Option<&RawSettings>,
) -> ConsumerGroupTimes {
    let of = |key: &str| {
        let default = broker_key(key).and_then(|key| broker.layers.int(key).ok()).unwrap_or(0);
        let Some(wanted) = own.filter(|own| own.contains_key(key)) else { return default };
        let value = value(broker, wanted, key).unwrap_or(default);
        let bounds = BOUNDS.iter().find(|bounds| bounds.key == key);
        let min = bounds.and_then(|bounds| broker.layers.int(bounds.min?).ok()).unwrap_or(value);
        let max = bounds.and_then(|bounds| broker.layers.int(bounds.max).ok()).unwrap_or(value);
        value.min(max).max(min)
    };
    ConsumerGroupTimes {
        session_timeout_ms: of("consumer.session.timeout.ms"),
        heartbeat_interval_ms: of("consumer.heartbeat.interval.ms"),
        assignment_interval_ms: of("consumer.assignment.interval.ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> RawSettings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_groups_own_times_stay_within_the_brokers_bounds() {
        let broker = [
            ("group.consumer.session.timeout.ms", "50000"),
            ("group.consumer.max.session.timeout.ms", "55000"),
        ];
        let broker = BrokerConfig::from_settings(raw(&broker)).unwrap();
        let times = consumer_group_times(&broker, None);
        assert_eq!((times.session_timeout_ms, times.assignment_interval_ms), (50_000, 1_000));
        for (wanted, expected) in [("46000", 46_000), ("60000", 55_000), ("1000", 45_000)] {
            let own = raw(&[("consumer.session.timeout.ms", wanted)]);
            let times = consumer_group_times(&broker, Some(&own));
            assert_eq!((times.session_timeout_ms, times.heartbeat_interval_ms), (expected, 5_000));
        }
    }

    fn check(broker: &[(&str, &str)], group: &[(&str, &str)], expected: Result<(), &str>) {
        let broker = BrokerConfig::from_settings(raw(broker)).unwrap();
        let told = check_group(&broker, &raw(group)).map_err(|error| error.to_string());
        assert_eq!(told, expected.map_err(str::to_owned), "{group:?}");
    }

    /// What Apache Kafka 4.3.1 answers.
    #[test]
    fn groups_stay_within_the_brokers_bounds() {
        for bounds in BOUNDS {
            let key = bounds.key;
            let max = format!("{key} must be less than or equal to {}", bounds.max);
            check(&[], &[(key, "999999999")], Err(&max));
            if let Some(bound) = bounds.min.filter(|_| !bounds.only_if_given) {
                let min = format!("{key} must be greater than or equal to {bound}");
                let low = BrokerConfig::default().layers.int(bound).unwrap() - 1;
                // Where the bound is the least that the setting itself takes, that is told.
                if GROUP_SETTINGS.iter().any(|s| s.name == key && s.parse(&low.to_string()).is_ok())
                {
                    check(&[], &[(key, &low.to_string())], Err(&min));
                }
            }
        }
        let broker = [("group.consumer.max.heartbeat.interval.ms", "90000")];
        check(
            &broker,
            &[("consumer.heartbeat.interval.ms", "50000")],
            Err("consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"),
        );
        check(&broker, &[("consumer.heartbeat.interval.ms", "40000")], Ok(()));
        check(&[], &[("consumer.nosuch", "1")], Err("Unknown group config name: consumer.nosuch"));
        check(
            &[],
            &[("consumer.session.timeout.ms", "x")],
            Err("Invalid value x for configuration consumer.session.timeout.ms: \
                 Not a number of type INT"),
        );
        let delay = [("streams.initial.rebalance.delay.ms", "10000000")];
        check(&[], &delay, Ok(()));
    }

    #[test]
    fn every_bound_is_a_setting() {
        for bounds in BOUNDS {
            for key in bounds.min.iter().chain([&bounds.max]) {
                assert!(broker_setting(key).is_some(), "{key}");
            }
            assert!(broker_key(bounds.key).is_some(), "{}", bounds.key);
        }
        assert_eq!(broker_key("share.auto.offset.reset"), None);
    }
}
