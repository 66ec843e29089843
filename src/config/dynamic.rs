//! What may be set of a broker while it runs: which settings, for one broker or for all, and by how
//! much (Kafka's `DynamicBrokerConfig`).

use crate::error::ConfigError;
use crate::layers::{Layers, RawSettings};
use crate::setting::{Setting, UpdateMode};
use crate::table::broker_setting;

/// Before the name of a listener and the setting that is meant for it alone.
const LISTENER_PREFIX: &str = "listener.name.";

/// Settings that Kafka changes for one listener only (`SslConfigs.RECONFIGURABLE_CONFIGS`).
const LISTENER_ONLY: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Settings of a listener that stand behind the name of a mechanism.
const OF_A_MECHANISM: &[&str] = &[
    "connections.max.reauth.ms",
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
];

/// Settings of a listener that can be changed for all brokers at once.
const OF_ALL_BROKERS: &[&str] =
    &["max.connection.creation.rate", "max.connections", "num.network.threads"];

/// Settings that may at most double or halve at a time, and Kafka's words before `=`.
const THREADS: &[&str] = &[
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// The setting that a key is about: itself, or the one behind the name of a listener.
pub(crate) fn base_key(key: &str) -> &str {
    let Some((_, base)) = key.strip_prefix(LISTENER_PREFIX).and_then(|rest| rest.split_once('.'))
    else {
        return key;
    };
    let of_mechanism = OF_A_MECHANISM.iter().find(|mechanism| base.ends_with(*mechanism));
    of_mechanism.unwrap_or(&base)
}

/// The row of the setting that a key is about.
pub(crate) fn base_setting(key: &str) -> Option<&'static Setting> {
    broker_setting(base_key(key))
}

/// Whether a broker setting may have this value while running: for one broker (`per_broker`) or for
/// all. Unknown keys pass, as in Kafka.
pub(crate) fn check_dynamic(key: &str, text: &str, per_broker: bool) -> Result<(), ConfigError> {
    let of_listener = key.starts_with(LISTENER_PREFIX);
    let Some(setting) = base_setting(key) else {
        return match of_listener && !per_broker {
            true => Err(ConfigError::PerBrokerOnly(key.to_owned())),
            false => Ok(()),
        };
    };
    if !of_listener && matches!(setting.update, UpdateMode::ReadOnly | UpdateMode::Topic) {
        return Err(ConfigError::NotDynamic(key.to_owned()));
    }
    if LISTENER_ONLY.contains(&key) {
        return Err(ConfigError::ListenerOnly(key.to_owned()));
    }
    setting.parse(text)?;
    let one_only = match of_listener {
        true => !OF_ALL_BROKERS.contains(&setting.name),
        false => setting.update == UpdateMode::PerBroker,
    };
    match one_only && !per_broker {
        true => Err(ConfigError::PerBrokerOnly(key.to_owned())),
        false => Ok(()),
    }
}

/// Checks all settings of a broker, or of all brokers, as they shall be. Kafka names all keys that
/// have one fault.
///
/// # Errors
/// The first fault in Kafka's order: keys that cannot change, keys without their listener, values,
/// keys of one broker.
pub fn check_all_dynamic(wanted: &RawSettings, per_broker: bool) -> Result<(), ConfigError> {
    let faults: Vec<ConfigError> = wanted
        .iter()
        .filter_map(|(key, text)| check_dynamic(key, text, per_broker).err())
        .collect();
    let keys = |named: fn(&ConfigError) -> Option<&str>| -> String {
        faults.iter().filter_map(named).collect::<Vec<_>>().join(", ")
    };
    let rank = |fault: &ConfigError| match fault {
        ConfigError::NotDynamic(_) => 0,
        ConfigError::ListenerOnly(_) => 1,
        ConfigError::PerBrokerOnly(_) => 3,
        _ => 2,
    };
    let Some(first) = faults.iter().min_by_key(|fault| rank(fault)) else { return Ok(()) };
    Err(match first {
        ConfigError::NotDynamic(_) => ConfigError::NotDynamic(keys(|fault| match fault {
            ConfigError::NotDynamic(key) => Some(key),
            _ => None,
        })),
        ConfigError::ListenerOnly(_) => ConfigError::ListenerOnly(keys(|fault| match fault {
            ConfigError::ListenerOnly(key) => Some(key),
            _ => None,
        })),
        ConfigError::PerBrokerOnly(_) => ConfigError::PerBrokerOnly(keys(|fault| match fault {
            ConfigError::PerBrokerOnly(key) => Some(key),
            _ => None,
        })),
        other => other.clone(),
    })
}

/// Whether a broker that runs as `current` may go over to `next`. This is asked when settings are
/// changed, not when changes of before are applied at a start.
///
/// # Errors
/// A number of threads that grows or shrinks too fast for Kafka.
pub fn check_step(current: &Layers, next: &Layers) -> Result<(), ConfigError> {
    for key in THREADS {
        let (old, new) = (current.int(key)?, next.int(key)?);
        let what = format!("Dynamic thread count update validation failed for {key}={new}, value");
        if new < old / 2 {
            return wrapped(format!("{what} should be at least half the current value {old}"));
        }
        if new > old.saturating_mul(2) {
            return wrapped(format!(
                "{what} should not be greater than double the current value {old}"
            ));
        }
    }
    let key = "log.cleaner.threads";
    let (old, new) = (current.int(key)?, next.int(key)?);
    let what = "Log cleaner threads";
    if new == old {
        Ok(())
    } else if new < 1 {
        wrapped(format!("{what} should be at least 1"))
    } else if new < old / 2 {
        wrapped(format!("{what} cannot be reduced to less than half the current value {old}"))
    } else if new > old.saturating_mul(2) {
        wrapped(format!("{what} cannot be increased to more than double the current value {old}"))
    } else {
        Ok(())
    }
}

/// Kafka shows one exception as the value in another.
fn wrapped(message: String) -> Result<(), ConfigError> {
    let value = format!("org.apache.kafka.common.config.ConfigException: {message}");
    Err(ConfigError::invalid("Invalid dynamic configuration", &value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_while_running_is_what_kafka_allows() {
        let check = |key, text, per_broker, expected: Result<(), &str>| {
            let told = check_dynamic(key, text, per_broker).map_err(|error| error.to_string());
            assert_eq!(told, expected.map_err(str::to_owned), "{key}={text}");
        };
        let not_dynamic = "Cannot update these configs dynamically: [num.partitions]";
        check("num.partitions", "4", true, Err(not_dynamic));
        let nothing_would_listen = "Cannot update these configs dynamically: [listeners]";
        check("listeners", "PLAINTEXT://:9", true, Err(nothing_would_listen));
        let one_broker = |key| {
            format!(
                "Cannot update these configs at default cluster level, broker id must be \
                 specified: [{key}]"
            )
        };
        let key = "listener.name.plaintext.ssl.truststore.type";
        for key in ["cordoned.log.dirs", key, "listener.name.plaintext.nosuch"] {
            check(key, "PKCS12", false, Err(&one_broker(key)));
            check(key, "PKCS12", true, Ok(()));
        }
        for key in LISTENER_ONLY {
            let message = format!(
                "These security configs can be dynamically updated only per-listener using the \
                 listener prefix: [{key}]"
            );
            check(key, "PKCS12", true, Err(&message));
            check(key, "PKCS12", false, Err(&message));
        }
        let connections = "listener.name.plaintext.max.connections";
        check(connections, "6", false, Ok(()));
        let not_an_int =
            "Invalid value x for configuration max.connections: Not a number of type INT";
        check(connections, "x", true, Err(not_an_int));
        let low = "Invalid value -4 for configuration message.max.bytes: Value must be at least 0";
        check("message.max.bytes", "-4", true, Err(low));
        check("nosuch.key", "1", true, Ok(()));
        let mechanism = "listener.name.sasl.scram-sha-512.sasl.jaas.config";
        assert_eq!(base_key(mechanism), "sasl.jaas.config");
    }

    #[test]
    fn all_keys_with_one_fault_are_named() {
        let check = |keys: &[&str], per_broker, expected: &str| {
            let wanted = keys.iter().map(|key| ((*key).to_owned(), "4".to_owned())).collect();
            let told = check_all_dynamic(&wanted, per_broker);
            let told = told.map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(told, expected, "{keys:?}");
        };
        check(&["log.retention.ms", "nosuch"], false, "");
        check(
            &["num.partitions", "ssl.key.password", "node.id", "cordoned.log.dirs"],
            false,
            "Cannot update these configs dynamically: [node.id, num.partitions]",
        );
        check(
            &["ssl.truststore.type", "ssl.key.password", "log.segment.bytes"],
            true,
            "These security configs can be dynamically updated only per-listener using the \
             listener prefix: [ssl.key.password, ssl.truststore.type]",
        );
        check(
            &["cordoned.log.dirs", "listener.name.a.ssl.protocol"],
            false,
            "Cannot update these configs at default cluster level, broker id must be specified: \
             [cordoned.log.dirs, listener.name.a.ssl.protocol]",
        );
    }

    /// What Apache Kafka 4.3.1 answers.
    #[test]
    fn threads_double_or_halve_at_most() {
        let broker = |key: &str, value: &str| {
            let file = RawSettings::from([(key.to_owned(), value.to_owned())]);
            Layers { file, ..Layers::default() }
        };
        let check = |key, old, new, expected: &str| {
            let told = check_step(&broker(key, old), &broker(key, new));
            let told = told.map_or_else(|error| error.to_string(), |()| String::new());
            let expected = match expected {
                "" => String::new(),
                said => format!(
                    "Invalid value org.apache.kafka.common.config.ConfigException: {said} for \
                     configuration Invalid dynamic configuration"
                ),
            };
            assert_eq!(told, expected, "{key} {old} {new}");
        };
        for key in THREADS {
            let said = format!("Dynamic thread count update validation failed for {key}=9, value ");
            let double = said.clone() + "should not be greater than double the current value 4";
            check(key, "4", "9", &double);
            check(key, "20", "9", &(said + "should be at least half the current value 20"));
            check(key, "4", "8", "");
            check(key, "4", "2", "");
        }
        let key = "log.cleaner.threads";
        let half = "Log cleaner threads cannot be reduced to less than half the current value 4";
        check(key, "4", "1", half);
        let double =
            "Log cleaner threads cannot be increased to more than double the current value 1";
        check(key, "1", "9", double);
        check(key, "2", "0", "Log cleaner threads should be at least 1");
        check(key, "0", "0", "");
    }
}
