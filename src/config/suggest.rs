//! "Did you mean": the known key nearest to a mistyped one.

/// The name nearest to `key`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest(key: &str, names: impl Iterator<Item = &'static str>) -> Option<String> {
    // People bring the underscores and hyphens of other systems along.
    let plain = key.to_ascii_lowercase().replace(['_', '-'], ".");
    // A third of the letters may be wrong; and a very long key is not worth the comparison.
    if plain.len() > 200 {
        return None;
    }
    let limit = (plain.len() / 3).max(2);
    names
        .map(|name| (strsim::osa_distance(&plain, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = ["retention.ms", "retention.bytes", "segment.bytes"];
        let near = |key| nearest(key, names.into_iter());
        assert_eq!(near("retenton.ms").as_deref(), Some("retention.ms"));
        assert_eq!(near("RETENTION_BYTES").as_deref(), Some("retention.bytes"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(&"x".repeat(100_000)), None);
    }
}
