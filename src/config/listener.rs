//! Addresses in settings: `NAME://host:port`, `host:port`, and the security protocols of names.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::ConfigError;
use crate::setting::parse_list;

/// A `NAME://host:port` of `listeners` or `advertised.listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, upper case, such as `PLAINTEXT`.
    pub name: String,
    /// Host name or address without brackets; empty means every interface.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.name, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.name, self.host, self.port),
        }
    }
}

/// Reads the values of `listeners` and `advertised.listeners`.
pub(crate) fn parse_listeners(key: &str, items: &[String]) -> Result<Vec<Listener>, ConfigError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items {
        let listener = parse_listener(key, item)?;
        let same_name = |other: &Listener| {
            // One IPv4 and one IPv6 address may share name and port, as in Kafka.
            other.name == listener.name && other.host.contains(':') == listener.host.contains(':')
        };
        if listeners.iter().any(same_name) {
            let reason = "Each listener must have a different name";
            return Err(ConfigError::invalid(key, &items.join(","), reason));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn parse_listener(key: &str, item: &str) -> Result<Listener, ConfigError> {
    let reason = "Expected NAME://host:port, for example PLAINTEXT://127.0.0.1:9092";
    let refuse = || ConfigError::invalid(key, item, reason);
    let (name, address) = item.split_once("://").ok_or_else(refuse)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(refuse());
    }
    let (host, port) = split_address(address).ok_or_else(refuse)?;
    Ok(Listener { name: name.to_ascii_uppercase(), host, port })
}

/// Reads `host:port`, `[v6]:port` or `:port`.
pub(crate) fn split_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%');
    if !host.bytes().all(legal) {
        return None;
    }
    Some((host.to_owned(), port))
}

/// Reads `listener.security.protocol.map`.
pub(crate) fn parse_protocol_map(text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let key = "listener.security.protocol.map";
    let mut map = BTreeMap::new();
    for item in parse_list(text) {
        let (name, protocol) = item
            .split_once(':')
            .ok_or_else(|| ConfigError::invalid(key, text, "Expected NAME:PROTOCOL,…"))?;
        map.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Listener>, ConfigError> {
        parse_listeners("listeners", &parse_list(text))
    }

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["PLAINTEXT://127.0.0.1:9092", "A://:0,B://[::1]:9093", "A://h:1,A://[::]:1"] {
            let shown: Vec<_> = parse(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(","), text);
        }
        let bad = [
            "localhost:9092",
            "A://h",
            "A://h:99999",
            "://h:1",
            "A://::1:9092",
            "A b://h:1",
            "A://h:1,a://g:2",
            "A://h/x:1",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
