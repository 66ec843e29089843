//! How a client behaves: addresses, timeouts, retries. Names and defaults are Kafka's where
//! Kafka has them.

use std::time::Duration;

/// The settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `bootstrap.servers`: `host:port` each; the first that answers is used.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`, which brokers show in their logs.
    pub client_id: String,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// `request.timeout.ms`: how long one request may wait for its answer.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: how long an operation may take with all its retries.
    pub operation_timeout: Duration,
    /// `retry.backoff.ms`: the pause before the first retry; it doubles with every one.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// `metadata.max.age.ms`.
    pub metadata_age_max: Duration,
    /// The longest answer that is taken, in bytes.
    pub response_bytes_max: usize,
}

impl ClientSettings {
    /// Whether a text can be one of [`ClientSettings::bootstrap_servers`].
    pub fn is_address(text: &str) -> bool {
        split_address(text).is_some()
    }

    /// Kafka's defaults, with these brokers to start from.
    pub fn new(bootstrap_servers: Vec<String>) -> ClientSettings {
        ClientSettings {
            bootstrap_servers,
            client_id: "ringlog".into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_age_max: Duration::from_secs(300),
            response_bytes_max: 256 << 20,
        }
    }
}

/// Host and port of `host:port`, `[v6]:port` or `PLAINTEXT://host:port`.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let address = address.strip_prefix("PLAINTEXT://").unwrap_or(address);
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("localhost:9092", Some(("localhost", 9092))),
            ("PLAINTEXT://h:1", Some(("h", 1))),
            ("[::1]:9092", Some(("::1", 9092))),
            ("localhost", None),
            (":9092", None),
            ("h:0", None),
            ("h:99999", None),
        ] {
            assert_eq!(split_address(text), expected, "{text}");
            assert_eq!(ClientSettings::is_address(text), expected.is_some(), "{text}");
        }
    }
}
