//! Every message against Kafka's own encoder: lines of `tests/golden/wire/`, which the program
//! beside them made. Between them they hold every version that the schemas have.

use std::collections::BTreeSet;
use std::fs;

use super::table;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/golden/wire/");

fn lines(file: &str) -> Vec<(String, i16, Vec<u8>)> {
    let text = fs::read_to_string(format!("{FOLDER}{file}")).expect("a golden file");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words");
        let (name, version, hex) = (word().to_owned(), word(), word());
        let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hex");
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        (name, version.parse().expect("a version"), bytes)
    };
    text.lines().map(line).collect()
}

#[test]
fn kafkas_bytes_are_read_and_written_back() {
    let entries = table::all();
    let mut covered = BTreeSet::new();
    for (name, version, bytes) in [lines("kafka-4.3.1.txt"), lines("kafka-3.9.1.txt")].concat() {
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.unwrap_or_else(|| panic!("no message {name}"));
        let again = (entry.recode)(&bytes, version, version);
        assert_eq!(again, Ok(Ok(bytes)), "{name} {version}");
        covered.insert((entry.name, version));
    }
    for entry in &entries {
        for version in entry.min_version..=entry.max_version {
            assert!(covered.contains(&(entry.name, version)), "{} {version}", entry.name);
        }
    }
}

#[test]
fn defaults_are_kafkas() {
    let entries = table::all();
    let mut messages = BTreeSet::new();
    for (name, version, bytes) in lines("kafka-4.3.1-defaults.txt") {
        let entry = entries.iter().find(|entry| entry.name == name).expect("a message");
        assert_eq!((entry.default)(version), Ok(bytes), "{name} {version}");
        messages.insert(name);
    }
    assert_eq!(messages.len(), entries.len(), "a message without a line");
}
