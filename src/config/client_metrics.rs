//! Subscriptions to clients' metrics (resource type CLIENT_METRICS, KIP-714): which settings
//! Kafka takes, and in which words it refuses others (its `ClientMetricsConfigs`).

use regex::{Regex, RegexBuilder};

use crate::error::ConfigError;
use crate::layers::RawSettings;
use crate::setting::{Valid, Value, parse_list};
use crate::table::CLIENT_METRICS_SETTINGS;

/// What a pattern of `match` can be about.
const PROPERTIES: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Most memory (in bytes) that a pattern may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// One `property=pattern` of `match`.
#[derive(Debug, Clone)]
pub struct ClientPattern {
    /// One of Kafka's six properties of a client.
    pub property: String,
    /// What all of the property's value has to match. Rust's syntax, which lacks Java's look-around
    /// and back-references.
    pub pattern: Regex,
}

/// Checks all settings of a subscription.
///
/// # Errors
/// [`ConfigError::Request`] where Kafka finds the request invalid, others where it finds the
/// configuration invalid.
pub fn check_client_metrics(wanted: &RawSettings) -> Result<(), ConfigError> {
    let setting = |key: &str| CLIENT_METRICS_SETTINGS.iter().find(|setting| setting.name == key);
    if let Some(key) = wanted.keys().find(|key| setting(key).is_none()) {
        return Err(ConfigError::Request(format!("Unknown client metrics configuration: {key}")));
    }
    for (key, text) in wanted {
        let setting = setting(key).expect("all are known");
        if let Valid::Between(low, high) = setting.valid
            && let Ok(number) = text.trim().parse::<i32>()
            && !(low..=high).contains(&i64::from(number))
        {
            return Err(ConfigError::Request(format!(
                "Invalid value {number} for {key}, interval must be between {low} and {high} \
                 (1 hour)"
            )));
        }
        if let Value::List(items) = setting.parse(text)?
            && items.iter().any(String::is_empty)
        {
            let message = format!("Configuration '{key}' values must not be empty.");
            return Err(ConfigError::Conflict(message));
        }
    }
    client_patterns(wanted.get("match").map_or("", String::as_str)).map(drop)
}

/// Reads the value of `match`. A client is meant when it matches all patterns.
///
/// # Errors
/// A pattern that is none, in Kafka's words.
pub fn client_patterns(text: &str) -> Result<Vec<ClientPattern>, ConfigError> {
    parse_list(text).iter().map(|item| client_pattern(item)).collect()
}

fn client_pattern(item: &str) -> Result<ClientPattern, ConfigError> {
    let refuse = || ConfigError::Conflict(format!("Illegal client matching pattern: {item}"));
    // As Java splits: empty parts at the end do not count.
    let (property, pattern) = item.trim_end_matches('=').split_once('=').ok_or_else(refuse)?;
    let property = property.trim();
    if pattern.contains('=') || !PROPERTIES.contains(&property) {
        return Err(refuse());
    }
    let anchored = format!("^(?:{})$", pattern.trim());
    let pattern = RegexBuilder::new(&anchored).size_limit(PATTERN_BYTES_MAX).build();
    Ok(ClientPattern { property: property.to_owned(), pattern: pattern.map_err(|_| refuse())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str, expected: Result<(), &str>) {
        let wanted = RawSettings::from([(key.to_owned(), value.to_owned())]);
        let told = check_client_metrics(&wanted).map_err(|error| error.to_string());
        assert_eq!(told, expected.map_err(str::to_owned), "{key}={value}");
    }

    /// What Apache Kafka 4.3.1 answers.
    #[test]
    fn settings_are_taken_and_refused_as_kafka_does() {
        check("interval.ms", "100", Ok(()));
        let not_an_int =
            "Invalid value bbb for configuration interval.ms: Not a number of type INT";
        check("interval.ms", "bbb", Err(not_an_int));
        for value in ["5", "3600001"] {
            let message = format!(
                "Invalid value {value} for interval.ms, interval must be between 100 and 3600000 \
                 (1 hour)"
            );
            check("interval.ms", value, Err(&message));
        }
        check("nosuch", "1", Err("Unknown client metrics configuration: nosuch"));
        for value in ["", "client_id=a=", "client_id=abc.*, client_software_name=Java"] {
            check("match", value, Ok(()));
        }
        for value in ["xx=1", "client_id=a=b", "client_id", "client_id=[a", "client_id="] {
            let message = format!("Illegal client matching pattern: {value}");
            check("match", value, Err(&message));
        }
        let empty = "Configuration 'match' values must not be empty.";
        check("match", ",client_id=a", Err(empty));
    }

    #[test]
    fn a_pattern_is_about_all_of_a_value() {
        let patterns = client_patterns("client_id=a|bc.*").unwrap();
        let matches = |text| patterns[0].pattern.is_match(text);
        assert_eq!(
            (matches("a"), matches("bcd"), matches("ab"), matches("xa")),
            (true, true, false, false)
        );
        assert!(client_patterns(&format!("client_id={}", "(a{99}){99}".repeat(9))).is_err());
    }
}
