//! Limits on connections by address: `max.connections.per.ip.overrides`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::error::ConfigError;
use crate::setting::parse_list;

/// Reads `address:count, …`, where an IPv6 address may stand in brackets. Kafka takes host names
/// too; to look them up takes a network, and who connects is known by address only.
pub(crate) fn parse_address_limits(
    key: &str,
    text: &str,
) -> Result<BTreeMap<IpAddr, i32>, ConfigError> {
    let mut limits = BTreeMap::new();
    for item in parse_list(text) {
        let parsed = parse(&item);
        let reason = "Expected address:count, for example 10.0.0.7:100";
        let (address, limit) = parsed.ok_or_else(|| ConfigError::invalid(key, &item, reason))?;
        limits.insert(address, limit);
    }
    Ok(limits)
}

fn parse(item: &str) -> Option<(IpAddr, i32)> {
    let (address, limit) = item.rsplit_once(':')?;
    let address = match address.trim().strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => address.trim(),
    };
    let address: IpAddr = address.parse().ok()?;
    let limit = limit.trim().parse().ok().filter(|limit| *limit >= 0)?;
    Some((address.to_canonical(), limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_address() {
        let parse = |text| parse_address_limits("k", text);
        let limits = parse("10.0.0.7:100, [::1]:5 ,fe80::1:7,::ffff:1.2.3.4:0").unwrap();
        let shown: Vec<_> = limits.iter().map(|(ip, limit)| format!("{ip} {limit}")).collect();
        assert_eq!(shown, ["1.2.3.4 0", "10.0.0.7 100", "::1 5", "fe80::1 7"]);
        assert!(parse("").unwrap().is_empty());
        for bad in ["10.0.0.7", "host:5", "10.0.0.7:-1", "10.0.0.7:x", "[::1:5", ":5"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("Expected address:count"), "{error}");
        }
    }
}
