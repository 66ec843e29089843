//! Client quotas.

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use ringlog_wire::messages::alter_client_quotas_response::AlterClientQuotasResponse;
use ringlog_wire::messages::describe_client_quotas_request::{
    ComponentData, DescribeClientQuotasRequest,
};
use ringlog_wire::messages::describe_client_quotas_response::DescribeClientQuotasResponse;

use super::World;

type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn entry<'a>(parts: Parts<'a>, key: &'a str, value: f64) -> EntryData<'a> {
    let part = |(kind, name): &(&'a str, Option<&'a str>)| EntityData {
        entity_type: (*kind).into(),
        entity_name: name.map(Into::into),
    };
    let ops = vec![OpData { key: key.into(), value, remove: false }];
    EntryData { entity: parts.iter().map(part).collect(), ops }
}

fn alter(world: &mut World, version: i16, entries: Vec<EntryData<'_>>) -> Vec<(i16, String)> {
    let request = AlterClientQuotasRequest { entries, validate_only: false };
    let answer = world.wire.ask(version, &request);
    let body: AlterClientQuotasResponse = answer.decode();
    let told = body.entries.iter();
    told.map(|entry| (entry.error_code, entry.error_message.clone().unwrap_or_default().into()))
        .collect()
}

pub(super) fn alter_client_quotas(world: &mut World, version: i16) {
    let good: Parts<'_> = &[("user", Some("set")), ("client-id", None)];
    let entries = vec![
        entry(good, "producer_byte_rate", 1e9),
        entry(&[("host", Some("h"))], "producer_byte_rate", 1.0),
    ];
    let refused = "Unhandled client quota entity type: host".to_owned();
    assert_eq!(
        alter(world, version, entries),
        [(0, String::new()), (ErrorCode::InvalidRequest.code(), refused)]
    );
}

/// What a filter finds: entities with their parts, keys and values.
fn described(
    world: &mut World,
    version: i16,
    filter: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> Result<Vec<String>, (i16, String)> {
    let components = filter.iter().map(|(kind, match_type, name)| ComponentData {
        entity_type: (*kind).into(),
        match_type: *match_type,
        r#match: name.map(Into::into),
    });
    let components = components.collect();
    let answer = world.wire.ask(version, &DescribeClientQuotasRequest { components, strict });
    let body: DescribeClientQuotasResponse = answer.decode();
    let Some(entries) = body.entries else {
        return Err((body.error_code, body.error_message.unwrap_or_default().into_owned()));
    };
    let mut found: Vec<String> = entries
        .iter()
        .map(|entry| {
            let parts = entry.entity.iter();
            let parts: Vec<String> = parts
                .map(|part| {
                    let name = part.entity_name.as_deref().unwrap_or("<default>");
                    format!("{}={name}", part.entity_type)
                })
                .collect();
            let values = entry.values.iter().map(|value| format!(" {}={}", value.key, value.value));
            format!("{}:{}", parts.join(","), values.collect::<String>())
        })
        .collect();
    found.sort();
    Ok(found)
}

pub(super) fn describe_client_quotas(world: &mut World, version: i16) {
    let entries = vec![
        entry(&[("user", Some("ann"))], "producer_byte_rate", 1e9),
        entry(&[("user", Some("ann")), ("client-id", Some("c"))], "consumer_byte_rate", 2e9),
        entry(&[("user", None), ("client-id", Some("c"))], "request_percentage", 1000.5),
        entry(&[("ip", Some("192.0.2.1"))], "connection_creation_rate", 100.0),
    ];
    assert!(alter(world, version, entries).iter().all(|(error, _)| *error == 0));
    let ann = "user=ann: producer_byte_rate=1000000000".to_owned();
    let ann_c = "client-id=c,user=ann: consumer_byte_rate=2000000000".to_owned();
    let default_c = "client-id=c,user=<default>: request_percentage=1000.5".to_owned();
    let address = "ip=192.0.2.1: connection_creation_rate=100".to_owned();
    let mut ask =
        |filter: &[(&str, i8, Option<&str>)], strict| described(world, version, filter, strict);
    let of_ann = ("user", 0, Some("ann"));
    assert_eq!(ask(&[of_ann], false), Ok(vec![ann_c.clone(), ann.clone()]));
    assert_eq!(ask(&[of_ann], true), Ok(vec![ann]));
    assert_eq!(
        ask(&[("client-id", 0, Some("c")), ("user", 1, None)], true),
        Ok(vec![default_c.clone()])
    );
    assert_eq!(ask(&[("client-id", 0, Some("c"))], false), Ok(vec![default_c, ann_c]));
    assert_eq!(ask(&[("ip", 2, None)], true), Ok(vec![address]));
    assert_eq!(ask(&[], true), Ok(vec![]));
    assert!(ask(&[], false).unwrap().len() >= 4);
    let invalid = |message: &str| Err((ErrorCode::InvalidRequest.code(), message.to_owned()));
    assert_eq!(ask(&[("", 0, Some("x"))], false), invalid("Invalid empty entity type."));
    assert_eq!(ask(&[("user", 9, None)], false), invalid("Unknown match type 9"));
    let words = "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.";
    assert_eq!(ask(&[("user", 1, Some("x"))], false), invalid(words));
    let unsupported = ErrorCode::UnsupportedVersion.code();
    let words = "Unsupported entity type host".to_owned();
    assert_eq!(ask(&[("host", 2, None)], false), Err((unsupported, words)));
}
