//! Settings on their way in: files and flags, collected with the places they came from.
//!
//! Later ones win over earlier ones, so a caller reads the file first and the flags after it.

use std::collections::BTreeMap;

use crate::broker_config::{BrokerConfig, is_broker_key};
use crate::error::ConfigError;
use crate::layers::RawSettings;
use crate::properties::{self, Entry};
use crate::suggest::nearest;
use crate::table::{broker_key_of_topic_key, broker_setting, broker_settings};
use crate::toml_file;

/// Settings and where each was given.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    given: BTreeMap<String, Given>,
}

/// Settings that have two names in Kafka: the present one and the old one.
const RENAMED: &[(&str, &str)] = &[("log.dirs", "log.dir"), ("node.id", "broker.id")];

#[derive(Debug, Clone)]
struct Given {
    value: String,
    place: String,
}

impl Settings {
    /// No settings.
    pub fn new() -> Settings {
        Settings::default()
    }

    /// Reads a file's text: TOML where the name ends in `.toml`, Java properties where it ends in
    /// `.properties`, else whichever the text turns out to be.
    pub fn read_file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let entries = if name.ends_with(".toml") {
            toml_file::parse(text)
        } else if name.ends_with(".properties") {
            properties::parse(text)
        } else {
            toml_file::parse(text).or_else(|_| properties::parse(text))
        };
        for Entry { key, value, line } in entries.map_err(|error| error.at(name))? {
            self.put(&key, value, format!("{name}, line {line}"));
        }
        Ok(())
    }

    /// Takes a flag's `key=value`.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = assignment.split_once('=') else {
            let error = ConfigError::Syntax(format!("expected key=value, not {assignment:?}"));
            return Err(error.at("--set"));
        };
        self.insert(key.trim(), value, "--set");
        Ok(())
    }

    /// Takes one setting from a flag; `place` is shown in errors, for example `--listen`. It wins
    /// over the file's, under whichever of a setting's two names that stands there.
    pub fn insert(&mut self, key: &str, value: impl Into<String>, place: &str) {
        for (new, old) in RENAMED {
            match key {
                _ if key == *new => drop(self.given.remove(*old)),
                _ if key == *old => drop(self.given.remove(*new)),
                _ => {}
            }
        }
        self.put(key, value.into(), place.to_owned());
    }

    fn put(&mut self, key: &str, value: String, place: String) {
        self.given.insert(key.to_owned(), Given { value, place });
    }

    /// Checks every name and value, and returns the node's settings or all that is wrong.
    pub fn resolve(&self) -> Result<BrokerConfig, Vec<ConfigError>> {
        let mut errors = Vec::new();
        for (key, given) in &self.given {
            if let Err(error) = check(key, &given.value) {
                errors.push(error.at(&given.place));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let raw: RawSettings =
            self.given.iter().map(|(key, given)| (key.clone(), given.value.clone())).collect();
        BrokerConfig::from_settings(raw).map_err(|error| vec![self.placed(error)])
    }

    /// The error with the place of the setting it is about.
    fn placed(&self, error: ConfigError) -> ConfigError {
        let ConfigError::InvalidValue { key, .. } = &error else { return error };
        match self.given.get(key) {
            Some(given) => error.clone().at(&given.place),
            None => error,
        }
    }
}

fn check(key: &str, value: &str) -> Result<(), ConfigError> {
    if let Some(setting) = broker_setting(key) {
        return setting.parse(value).map(drop);
    }
    if is_broker_key(key) {
        return Ok(());
    }
    let suggestion = broker_key_of_topic_key(key)
        .map(str::to_owned)
        .or_else(|| nearest(key, broker_settings().map(|setting| setting.name)));
    Err(ConfigError::UnknownKey { key: key.to_owned(), suggestion })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(name: &str, text: &str, sets: &[&str]) -> Vec<String> {
        let mut settings = Settings::new();
        let read = settings.read_file(name, text);
        let sets = sets.iter().try_for_each(|set| settings.set(set));
        match read.and(sets) {
            Ok(()) => match settings.resolve() {
                Ok(_) => Vec::new(),
                Err(errors) => errors.iter().map(ToString::to_string).collect(),
            },
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let mut settings = Settings::new();
        settings.read_file("a.properties", "num.partitions=3\nnode.id=4").unwrap();
        settings.set("num.partitions=5").unwrap();
        settings.insert("listeners", "PLAINTEXT://h:1", "--listen");
        let config = settings.resolve().unwrap();
        assert_eq!((config.num_partitions, config.node_id.0), (5, 4));
        assert_eq!(config.listeners[0].port, 1);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        assert_eq!(
            errors("s.properties", "\nnum.partition=3\nlog.segment.bytes=5", &["retention.ms=1"]),
            [
                "s.properties, line 3: Invalid value 5 for configuration log.segment.bytes: \
                 Value must be at least 1048576",
                "s.properties, line 2: unknown setting \"num.partition\"; \
                 did you mean \"num.partitions\"?",
                "--set: unknown setting \"retention.ms\"; did you mean \"log.retention.ms\"?",
            ]
        );
        assert_eq!(errors("x", "", &["abc"]), ["--set: expected key=value, not \"abc\""]);
        assert_eq!(
            errors("s.toml", "[listeners]\n", &["listeners=SSL://h:1"]),
            ["--set: Invalid value SSL://h:1 for configuration listeners: \
              Ringlog serves PLAINTEXT only, not yet SSL"]
        );
        assert!(errors("s.toml", "a = ", &[])[0].starts_with("s.toml: line 1: "));
    }

    #[test]
    fn the_kind_of_a_file_is_found_out() {
        for (name, text) in [
            ("server", "num.partitions=3"),
            ("server", "num.partitions = 3"),
            ("server", "# x\nnum.partitions: 3"),
            ("server", "[num]\npartitions = 3"),
        ] {
            let mut settings = Settings::new();
            settings.read_file(name, text).unwrap();
            assert_eq!(settings.resolve().unwrap().num_partitions, 3, "{text}");
        }
    }

    #[test]
    fn kafkas_other_keys_are_taken() {
        let text = "zookeeper.connect=localhost:2181\nlistener.name.plaintext.x=1\n\
                    inter.broker.protocol.version=3.9\nlog.cleaner.threads=2\n\
                    ssl.keystore.password=x\n";
        assert_eq!(errors("s.properties", text, &[]), [""; 0]);
    }
}
