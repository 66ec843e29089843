//! Every message in every version against the oracle, and against bytes that are none.

use std::path::Path;

use ringlog_wire::{ApiKey, EncodeError};

use super::oracle::{Style, random_message};
use super::table::{self, Entry};
use crate::generate::WIRE;
use crate::merge;
use crate::schema::{self, Message};

/// Random messages of each version.
const SEEDS: u64 = 12;

fn each_version(mut check: impl FnMut(&Entry, &Message, i16)) {
    let forms = schema::load(&Path::new(WIRE).join("schema")).expect("schemas");
    let schemas = merge::merge_all(forms).expect("schemas");
    let entries = table::all();
    assert_eq!(entries.len(), schemas.len());
    for (entry, message) in entries.iter().zip(&schemas) {
        assert_eq!(entry.name, message.name);
        let versions = message.valid_versions;
        assert_eq!((entry.min_version, entry.max_version), (versions.low, versions.high));
        for version in versions.low..=versions.high {
            check(entry, message, version);
        }
    }
}

#[test]
fn what_the_schemas_say_is_read_and_written_back() {
    each_version(|entry, message, version| {
        for seed in 0..SEEDS {
            let bytes = random_message(message, version, seed, Style::Canonical);
            let again = (entry.recode)(&bytes, version, version);
            let at = format!("{} {version}, seed {seed}", entry.name);
            assert_eq!(again, Ok(Ok(bytes)), "{at}");
        }
    });
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    each_version(|entry, message, version| {
        for seed in 0..SEEDS {
            let plain = random_message(message, version, seed, Style::Canonical);
            let tagged = random_message(message, version, seed, Style::UnknownTags);
            let at = format!("{} {version}, seed {seed}", entry.name);
            assert_eq!((entry.recode)(&tagged, version, version), Ok(Ok(plain)), "{at}");
        }
    });
}

#[test]
fn other_versions_hold_the_same_or_refuse_it() {
    each_version(|entry, message, version| {
        let bytes = random_message(message, version, 3, Style::Canonical);
        for other in entry.min_version..=entry.max_version {
            let at = format!("{} {version} as {other}", entry.name);
            match (entry.recode)(&bytes, version, other).expect("well formed") {
                Ok(again) => {
                    let twice = (entry.recode)(&again, other, other);
                    assert_eq!(twice, Ok(Ok(again)), "{at}");
                }
                Err(EncodeError::Absent { .. } | EncodeError::Null { .. }) => {
                    assert_ne!(version, other, "{at}");
                }
                Err(error) => panic!("{at}: {error}"),
            }
        }
    });
}

/// Answers that are kept, or whose last bytes are written before it is known how long their client
/// has to hold back, are told so afterwards.
#[test]
fn a_throttle_time_can_be_set_in_every_response_that_has_one() {
    let mut set = 0;
    each_version(|entry, message, version| {
        let api = message.api_key.and_then(ApiKey::from_number);
        let api = api.filter(|_| message.kind == "response");
        let expected = api.is_some_and(|api| api.has_throttle_time(version));
        let bytes = random_message(message, version, 2, Style::Canonical);
        let throttled = (entry.throttle)(&bytes, version, 123_456);
        let at = format!("{} {version}", entry.name);
        assert_eq!(throttled.is_some(), expected, "{at}");
        let Some(throttled) = throttled else { return };
        assert_eq!((entry.throttle_time_ms)(&throttled, version), Some(123_456), "{at}");
        let undone = (entry.throttle_time_ms)(&bytes, version)
            .and_then(|ms| (entry.throttle)(&throttled, version, ms));
        assert_eq!(undone, Some(bytes), "{at}: nothing else has changed");
        set += 1;
    });
    assert!(set > 100, "{set} versions of responses");
}

#[test]
fn every_truncation_is_refused() {
    each_version(|entry, message, version| {
        for seed in 0..3 {
            let bytes = random_message(message, version, seed, Style::UnknownTags);
            for cut in 0..bytes.len() {
                let recoded = (entry.recode)(&bytes[..cut], version, version);
                assert!(recoded.is_err(), "{} {version} cut at {cut}", entry.name);
            }
        }
    });
}

#[test]
fn damaged_bytes_do_not_panic() {
    each_version(|entry, message, version| {
        let bytes = random_message(message, version, 1, Style::Canonical);
        for position in 0..bytes.len() {
            for damage in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] = damage;
                // What is still well formed must also be writable.
                if let Ok(Err(error)) = (entry.recode)(&damaged, version, version) {
                    panic!("{} {version}, byte {position}: {error}", entry.name);
                }
            }
        }
    });
}

#[test]
fn absurd_counts_are_refused_at_once() {
    // Read as counts these claim billions of elements. If any were believed, memory would run
    // out here.
    let bodies: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0x7f; 64],
    ];
    each_version(|entry, _, version| {
        for body in bodies {
            // Most are refused; a body of plain numbers may be well formed.
            let _ = (entry.recode)(body, version, version);
        }
    });
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for entry in table::all() {
        for version in [i16::MIN, entry.min_version - 1, entry.max_version + 1, i16::MAX] {
            assert!((entry.recode)(&[0; 64], version, version).is_err(), "{}", entry.name);
        }
    }
}
