//! What can be wrong with a setting. The texts are shown to people as they are.

/// Why a setting, or a file of settings, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that its setting does not take. The wording is what Kafka's tools print.
    #[error("Invalid value {value} for configuration {key}{}", Detail(.reason))]
    InvalidValue {
        /// The setting.
        key: String,
        /// The value as given; `null` for a missing one.
        value: String,
        /// What the setting takes; may be empty.
        reason: String,
    },
    /// A key that neither Kafka nor Ringlog has.
    #[error("unknown setting {key:?}{}", Suggested(.suggestion))]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The known key it most resembles.
        suggestion: Option<String>,
    },
    /// A topic setting that neither Kafka nor Ringlog has, in Kafka's words.
    #[error("Unknown topic config name: {key}{}", Suggested(.suggestion))]
    UnknownTopicKey {
        /// The key as given.
        key: String,
        /// The known key it most resembles.
        suggestion: Option<String>,
    },
    /// Settings that only the file or a flag can set, at start.
    #[error("Cannot update these configs dynamically: [{0}]")]
    NotDynamic(String),
    /// Settings that can be changed for one broker only, not for all at once.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{0}]"
    )]
    PerBrokerOnly(String),
    /// Settings of a store of keys or certificates that Kafka changes for one listener only.
    #[error(
        "These security configs can be dynamically updated only per-listener using the listener \
         prefix: [{0}]"
    )]
    ListenerOnly(String),
    /// Settings that contradict each other or the node.
    #[error("{0}")]
    Conflict(String),
    /// A setting that Kafka finds no fault of the configuration in, but of the request.
    #[error("{0}")]
    Request(String),
    /// A file, line or `key=value` that cannot be read.
    #[error("{0}")]
    Syntax(String),
    /// An error and where it was found, such as `server.properties, line 3`.
    #[error("{place}: {error}")]
    At {
        /// The file and line, or the flag.
        place: String,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
}

impl ConfigError {
    /// This error, found at `place`.
    pub fn at(self, place: impl Into<String>) -> ConfigError {
        ConfigError::At { place: place.into(), error: Box::new(self) }
    }

    pub(crate) fn invalid(key: &str, value: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::InvalidValue { key: key.into(), value: value.into(), reason: reason.into() }
    }
}

struct Detail<'a>(&'a str);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

struct Suggested<'a>(&'a Option<String>);

impl std::fmt::Display for Suggested<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(key) => write!(f, "; did you mean {key:?}?"),
            None => Ok(()),
        }
    }
}
