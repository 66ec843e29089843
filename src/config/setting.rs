//! One row of the table, and how a value is read by it.
//!
//! Reading follows Kafka's `ConfigDef`: values are trimmed, booleans ignore case, and the errors
//! are worded as Kafka's tools print them.

use std::fmt;

use crate::duration::is_duration;
use crate::error::ConfigError;

/// The type of a setting's value; the numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// A key without a row.
    Unknown = 0,
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// A secret, never told.
    Password = 9,
}

impl ConfigType {
    /// The number in DescribeConfigs.
    pub fn code(self) -> i8 {
        self as i8
    }

    /// Kafka's name, such as `LONG`.
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Unknown => "UNKNOWN",
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        }
    }
}

/// What a setting takes beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Valid {
    /// Everything.
    Any,
    /// Numbers from this one.
    AtLeast(i64),
    /// Numbers from the first to the second.
    Between(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these texts, in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// A list of some of these texts.
    ListOf(&'static [&'static str]),
    /// 1 to 9, or -1.
    GzipLevel,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// Text that is not empty.
    NonEmpty,
    /// Where a share group begins: `earliest`, `latest`, or `by_duration:` and a duration.
    ShareOffsetReset,
}

/// How much a setting matters to most people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kafka's own three words")]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// How a setting may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only in the file or by a flag, at start.
    ReadOnly,
    /// Also while running, for one broker.
    PerBroker,
    /// Also while running, for one broker or for all.
    ClusterWide,
    /// While running, for each topic.
    Topic,
}

impl UpdateMode {
    /// Kafka's words for it.
    pub fn name(self) -> &'static str {
        match self {
            UpdateMode::ReadOnly => "read-only",
            UpdateMode::PerBroker => "per-broker",
            UpdateMode::ClusterWide => "cluster-wide",
            UpdateMode::Topic => "topic",
        }
    }
}

/// Whether a setting has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what it says.
    Honoured,
    /// It is a setting of Kafka that means nothing here: taken, kept and told.
    Accepted,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, as Kafka spells it.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// The default as text; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// What it takes.
    pub valid: Valid,
    /// How much it matters.
    pub importance: Importance,
    /// How it may be changed.
    pub update: UpdateMode,
    /// Whether it has an effect.
    pub status: Status,
    /// What it means.
    pub doc: &'static str,
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "named as the types of settings")]
pub enum Value {
    Boolean(bool),
    Int(i32),
    Short(i16),
    Long(i64),
    Double(f64),
    /// String, class or password.
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// As Kafka's `ConfigDef.convertToString`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Short(value) => write!(f, "{value}"),
            Value::Long(value) => write!(f, "{value}"),
            // Java writes 2.0 and 1.0E10 where Rust writes 2.0 and 1e10.
            Value::Double(value) => f.write_str(&java_double(*value)),
            Value::Text(value) => f.write_str(value),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

fn java_double(value: f64) -> String {
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!("{mantissa}E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => text,
    }
}

impl Setting {
    /// Whether its value is a secret.
    pub fn is_sensitive(&self) -> bool {
        self.kind == ConfigType::Password
    }

    /// The unit of its value, as its name says it.
    pub fn unit(&self) -> &'static str {
        let name = self.name;
        if !matches!(self.kind, ConfigType::Int | ConfigType::Long | ConfigType::Short) {
            ""
        } else if name.contains(".bytes") || name.ends_with("buffer.size") {
            "bytes"
        } else if name.ends_with(".ms") || name == "sasl.kerberos.min.time.before.relogin" {
            "ms"
        } else if name.ends_with(".hours") {
            "hours"
        } else if name.ends_with(".minutes") {
            "minutes"
        } else if name.ends_with(".seconds") || name.ends_with(".secs") {
            "seconds"
        } else {
            ""
        }
    }

    /// Reads and checks a value.
    pub fn parse(&self, raw: &str) -> Result<Value, ConfigError> {
        let value = self.parse_type(raw)?;
        self.check(&value).map_err(|reason| {
            ConfigError::invalid(self.name, &self.shown_in_error(&value), reason)
        })?;
        Ok(value)
    }

    fn parse_type(&self, raw: &str) -> Result<Value, ConfigError> {
        let text = raw.trim();
        let not_a_number = |_| {
            let reason = format!("Not a number of type {}", self.kind.name());
            ConfigError::invalid(self.name, raw, reason)
        };
        Ok(match self.kind {
            ConfigType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
            ConfigType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
            ConfigType::Boolean => {
                let reason = "Expected value to be either true or false";
                return Err(ConfigError::invalid(self.name, raw, reason));
            }
            ConfigType::Int => Value::Int(text.parse().map_err(not_a_number)?),
            ConfigType::Short => Value::Short(text.parse().map_err(not_a_number)?),
            ConfigType::Long => Value::Long(text.parse().map_err(not_a_number)?),
            ConfigType::Double => Value::Double(match text.parse::<f64>() {
                Ok(number) if number.is_finite() => number,
                _ => {
                    let reason = "Not a number of type DOUBLE";
                    return Err(ConfigError::invalid(self.name, raw, reason));
                }
            }),
            ConfigType::List => Value::List(parse_list(text)),
            // Kafka keeps a password's blanks and trims everything else.
            ConfigType::Password => Value::Text(raw.to_owned()),
            ConfigType::String | ConfigType::Class | ConfigType::Unknown => {
                Value::Text(text.to_owned())
            }
        })
    }

    /// The value as Kafka shows it in "Invalid value …".
    fn shown_in_error(&self, value: &Value) -> String {
        match value {
            Value::List(items) => match self.valid {
                Valid::ListOf(allowed) => items
                    .iter()
                    .find(|item| !allowed.contains(&item.as_str()))
                    .cloned()
                    .unwrap_or_default(),
                _ => format!("[{}]", items.join(", ")),
            },
            Value::Text(_) if self.is_sensitive() => "[hidden]".to_owned(),
            _ => value.to_string(),
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self.valid, value) {
            (Valid::Any, _) => Ok(()),
            (Valid::AtLeast(low), _) => check_range(value, low, i64::MAX),
            (Valid::Between(low, high), _) => check_range(value, low, high),
            (Valid::OneOf(allowed), Value::Text(text)) => {
                check_one_of(allowed.contains(&text.as_str()), "String must be one of", allowed)
            }
            (Valid::OneOfIgnoringCase(allowed), Value::Text(text)) => {
                let known = allowed.iter().any(|item| item.eq_ignore_ascii_case(text));
                check_one_of(known, "String must be one of (case insensitive)", allowed)
            }
            (Valid::ListOf(allowed), Value::List(items)) => {
                let known = items.iter().all(|item| allowed.contains(&item.as_str()));
                check_one_of(known, "String must be one of", allowed)
            }
            (Valid::GzipLevel, Value::Int(level)) => match level {
                -1 | 1..=9 => Ok(()),
                _ => Err("Value must be between 1 and 9 or equal to -1".to_owned()),
            },
            (Valid::ThrottledReplicas, Value::List(items)) => {
                if items.iter().all(|item| item == "*") || items.iter().all(|item| is_replica(item))
                {
                    return Ok(());
                }
                Err(format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                ))
            }
            (Valid::ShareOffsetReset, Value::Text(text)) => {
                let duration = text.strip_prefix("by_duration:");
                if matches!(text.as_str(), "earliest" | "latest")
                    || duration.is_some_and(is_duration)
                {
                    return Ok(());
                }
                Err(format!(
                    "Invalid value `{text}` for configuration {}. The value must be either \
                     'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'.",
                    self.name
                ))
            }
            (Valid::NonEmpty, Value::Text(text)) if !text.is_empty() => Ok(()),
            (Valid::NonEmpty, _) => Err("String must be non-empty".to_owned()),
            (valid, value) => panic!("{}: {valid:?} does not go with {value:?}", self.name),
        }
    }
}

fn is_replica(item: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| number(partition) && number(broker))
}

fn check_one_of(known: bool, words: &str, allowed: &[&str]) -> Result<(), String> {
    if known { Ok(()) } else { Err(format!("{words}: {}", allowed.join(", "))) }
}

fn check_range(value: &Value, low: i64, high: i64) -> Result<(), String> {
    // The table's bounds of doubles are 0 and 1, which both types hold exactly.
    let (too_low, too_high) = match *value {
        Value::Int(number) => (i64::from(number) < low, i64::from(number) > high),
        Value::Short(number) => (i64::from(number) < low, i64::from(number) > high),
        Value::Long(number) => (number < low, number > high),
        Value::Double(number) => (number < low as f64, number > high as f64),
        _ => return Ok(()),
    };
    if too_low {
        Err(format!("Value must be at least {low}"))
    } else if too_high {
        Err(format!("Value must be no more than {high}"))
    } else {
        Ok(())
    }
}

/// Splits at commas as Kafka does: blanks around items go, an empty text is an empty list.
pub(crate) fn parse_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use crate::table::{broker_setting, topic_setting};

    /// What Kafka 4.3.1 answers to CreateTopics with these settings.
    #[test]
    fn refusals_are_worded_as_kafkas() {
        let cases = [
            ("retention.ms", "x", "Not a number of type LONG"),
            ("retention.ms", "-5", "Value must be at least -1"),
            ("cleanup.policy", "foo", "String must be one of: compact, delete"),
            ("segment.bytes", "5", "Value must be at least 1048576"),
            ("preallocate", "maybe", "Expected value to be either true or false"),
            ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
            ("compression.lz4.level", "99", "Value must be no more than 17"),
            ("message.timestamp.type", "foo", "String must be one of: CreateTime, LogAppendTime"),
            ("segment.bytes", "99999999999", "Not a number of type INT"),
            ("segment.bytes", "", "Not a number of type INT"),
            ("min.insync.replicas", "0", "Value must be at least 1"),
        ];
        for (key, value, reason) in cases {
            let error = topic_setting(key).unwrap().parse(value).unwrap_err();
            let expected = format!("Invalid value {value} for configuration {key}: {reason}");
            assert_eq!(error.to_string(), expected);
        }
        let ratio = topic_setting("min.cleanable.dirty.ratio").unwrap();
        assert_eq!(
            ratio.parse("2").unwrap_err().to_string(),
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: \
             Value must be no more than 1"
        );
        let throttled = topic_setting("leader.replication.throttled.replicas").unwrap();
        assert!(throttled.parse("foo").unwrap_err().to_string().starts_with("Invalid value [foo]"));
        assert!(throttled.parse("0:1, 1:2").is_ok());
        assert!(throttled.parse("*").is_ok());
    }

    #[test]
    fn values_are_shown_as_kafka_shows_them() {
        let cases = [
            ("retention.ms", " 77 ", "77"),
            ("cleanup.policy", "compact, delete", "compact,delete"),
            ("cleanup.policy", "", ""),
            ("preallocate", "TRUE", "true"),
            ("min.cleanable.dirty.ratio", "1", "1.0"),
        ];
        for (key, raw, shown) in cases {
            assert_eq!(topic_setting(key).unwrap().parse(raw).unwrap().to_string(), shown);
        }
        let limit = broker_setting("log.cleaner.io.max.bytes.per.second").unwrap();
        assert_eq!(
            limit.parse(limit.default.unwrap()).unwrap().to_string(),
            "1.7976931348623157E308"
        );
    }
}
