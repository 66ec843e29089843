//! AlterClientQuotas, with Kafka's words.

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};

use super::Node;
use crate::image::QuotaEntity;

type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn entry<'a>(
    parts: &[(&'a str, Option<&'a str>)],
    ops: &[(&'a str, Option<f64>)],
) -> EntryData<'a> {
    let entity = parts.iter().map(|(kind, name)| EntityData {
        entity_type: (*kind).into(),
        entity_name: name.map(Into::into),
    });
    let ops = ops.iter().map(|(key, value)| OpData {
        key: (*key).into(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
    });
    EntryData { entity: entity.collect(), ops: ops.collect() }
}

fn alter(node: &mut Node, entries: Vec<EntryData<'_>>, validate_only: bool) -> Vec<(i16, String)> {
    let request = AlterClientQuotasRequest { entries, validate_only };
    let decision = node.controller.alter_client_quotas(&request);
    let answered = node.commit(decision).entries.into_iter();
    answered
        .map(|entry| (entry.error_code, entry.error_message.unwrap_or_default().into_owned()))
        .collect()
}

fn values(node: &Node, parts: Parts<'_>) -> Vec<(String, f64)> {
    let entity = QuotaEntity::new(parts.iter().copied());
    let values = node.controller.image().client_quota(&entity);
    values.into_iter().flatten().map(|(key, value)| (key.clone(), *value)).collect()
}

#[test]
fn quotas_are_set_changed_and_removed() {
    let mut node = Node::start();
    let both: Parts<'_> = &[("user", Some("alice")), ("client-id", None)];
    let set =
        entry(both, &[("producer_byte_rate", Some(1000.0)), ("request_percentage", Some(0.5))]);
    assert_eq!(alter(&mut node, vec![set.clone()], true), [(0, String::new())]);
    assert_eq!(values(&node, both), []);
    assert_eq!(alter(&mut node, vec![set.clone()], false), [(0, String::new())]);
    let expected =
        [("producer_byte_rate".to_owned(), 1000.0), ("request_percentage".to_owned(), 0.5)];
    assert_eq!(values(&node, both), expected);
    // What is so already is not written again.
    let request = AlterClientQuotasRequest { entries: vec![set], validate_only: false };
    assert_eq!(node.controller.alter_client_quotas(&request).records.len(), 0);
    // The order of the parts does not matter; an unset key may be removed.
    let turned: Parts<'_> = &[("client-id", None), ("user", Some("alice"))];
    let remove = entry(turned, &[("request_percentage", None), ("consumer_byte_rate", None)]);
    assert_eq!(alter(&mut node, vec![remove], false), [(0, String::new())]);
    assert_eq!(values(&node, both), expected[..1]);
    let remove = entry(both, &[("producer_byte_rate", None)]);
    assert_eq!(alter(&mut node, vec![remove], false), [(0, String::new())]);
    assert_eq!(node.controller.image().client_quotas().count(), 0);
}

#[test]
fn what_is_wrong_is_refused_for_its_entity_alone() {
    let mut node = Node::start();
    let user: Parts<'_> = &[("user", Some("u"))];
    let ip = |ip| [("ip", ip)];
    let refused: [(EntryData<'_>, &str); 11] = [
        (entry(&[], &[]), "Invalid empty client quota entity"),
        (entry(&[("group", Some("g"))], &[]), "Unhandled client quota entity type: group"),
        (entry(&[("client-id", Some(""))], &[]), "Empty client-id not supported"),
        (
            entry(&[("user", Some("v")), ("ip", None)], &[]),
            "Invalid quota entity combination, IP entity shouldnot be combined with User or \
             ClientId",
        ),
        (entry(&ip(Some("a b")), &[]), "a b is not a valid IP or resolvable host."),
        (
            entry(&ip(Some("10.0.0.1")), &[("producer_byte_rate", Some(1.0))]),
            "Invalid configuration key producer_byte_rate",
        ),
        (
            entry(&ip(None), &[("connection_creation_rate", Some(3e9))]),
            "Proposed value for connection_creation_rate is too large for an INT.",
        ),
        (
            entry(&[("user", None)], &[("producer_byte_rate", Some(0.0))]),
            "Quota producer_byte_rate must be greater than 0",
        ),
        (
            entry(&[("user", Some("w"))], &[("producer_byte_rate", Some(1e19))]),
            "Proposed value for producer_byte_rate is too large for a LONG.",
        ),
        (
            entry(&[("user", Some("x"))], &[("consumer_byte_rate", Some(1.5))]),
            "consumer_byte_rate cannot be a fractional value.",
        ),
        (
            entry(
                &[("user", Some("y"))],
                &[("producer_byte_rate", Some(1.0)), ("producer_byte_rate", None)],
            ),
            "Ignoring duplicate entity ClientQuotaEntity(entries={user=y})",
        ),
    ];
    let good = entry(user, &[("controller_mutation_rate", Some(0.1))]);
    let mut entries: Vec<_> = refused.iter().map(|(entry, _)| entry.clone()).collect();
    entries.push(good.clone());
    let answers = alter(&mut node, entries, false);
    assert_eq!(answers.len(), 12);
    for ((_, message), answer) in refused.iter().zip(&answers) {
        assert_eq!(*answer, (ErrorCode::InvalidRequest.code(), (*message).to_owned()));
    }
    assert_eq!(answers[11], (0, String::new()));
    assert_eq!(node.controller.image().client_quotas().count(), 1);
    // Named twice: the first counts, and the answer says so.
    let twice = vec![entry(user, &[("producer_byte_rate", Some(5.0))]), good];
    let answers = alter(&mut node, twice, false);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.starts_with("Ignoring duplicate entity"), "{answers:?}");
    assert_eq!(values(&node, user).len(), 2);
}
