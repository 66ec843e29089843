//! AlterClientQuotas: quotas of users, client ids and addresses.
//!
//! Refused as Kafka's `ClientQuotaControlManager` does.
//! An address is given as such: names of hosts, which Kafka resolves once, are refused.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntryData as Alteration,
};
use ringlog_wire::messages::alter_client_quotas_response::{
    AlterClientQuotasResponse, EntityData as AlteredEntity, EntryData as Altered,
};
use ringlog_wire::messages::client_quota_record::{ClientQuotaRecord, EntityData};

use super::api_error::{ApiError, code_and_message};
use super::{Controller, Decision};
use crate::image::QuotaEntity;
use crate::record::MetadataRecord;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// Of which kind the value of a quota has to be.
enum ValueKind {
    Long,
    Double,
    Int,
}

/// What a key may be set to, for users and client ids.
const USER_AND_CLIENT_KEYS: &[(&str, ValueKind)] = &[
    ("producer_byte_rate", ValueKind::Long),
    ("consumer_byte_rate", ValueKind::Long),
    ("request_percentage", ValueKind::Double),
    ("controller_mutation_rate", ValueKind::Double),
];

const IP_KEYS: &[(&str, ValueKind)] = &[("connection_creation_rate", ValueKind::Int)];

type Records = Vec<MetadataRecord<'static>>;

impl Controller {
    /// Answers AlterClientQuotas: one entry for each entity, in the order in which they are named
    /// first.
    pub fn alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest<'_>,
    ) -> Decision<AlterClientQuotasResponse<'static>> {
        let mut places: HashMap<QuotaEntity, usize> = HashMap::new();
        let mut entries: Vec<Altered<'static>> = Vec::new();
        let mut records = Vec::new();
        for alteration in &request.entries {
            let entity = entity_of(alteration);
            let is_repeated = places.contains_key(&entity) || names_a_key_twice(alteration);
            let outcome = match is_repeated {
                true => Err(invalid(format!("Ignoring duplicate entity {entity}"))),
                false => self.alteration(alteration, &entity),
            };
            let (error_code, error_message) = code_and_message(outcome.map(|changes: Records| {
                records.extend(changes);
            }));
            let place = *places.entry(entity.clone()).or_insert_with(|| {
                let answered = entity.parts().map(|(kind, name)| AlteredEntity {
                    entity_type: kind.to_owned().into(),
                    entity_name: name.map(|name| Cow::Owned(name.to_owned())),
                });
                entries.push(Altered { entity: answered.collect(), ..Default::default() });
                entries.len() - 1
            });
            entries[place].error_code = error_code;
            entries[place].error_message = error_message;
        }
        if request.validate_only {
            records.clear();
        }
        let response = AlterClientQuotasResponse { entries, ..Default::default() };
        Decision::new(response, records, "AlterClientQuotas")
    }

    fn alteration(
        &self,
        alteration: &Alteration<'_>,
        entity: &QuotaEntity,
    ) -> Result<Records, ApiError> {
        check_parts(alteration)?;
        let keys = keys_for(entity)?;
        let current = self.image().client_quota(entity);
        let mut records = Vec::new();
        for op in &alteration.ops {
            let value = current.and_then(|values| values.get(&*op.key)).copied();
            if !op.remove {
                check_value(keys, &op.key, op.value)?;
            }
            let is_news = if op.remove { value.is_some() } else { value != Some(op.value) };
            if is_news {
                records.push(MetadataRecord::ClientQuota(ClientQuotaRecord {
                    entity: entity.parts().map(record_part).collect(),
                    key: op.key.clone().into_owned().into(),
                    value: if op.remove { 0.0 } else { op.value },
                    remove: op.remove,
                }));
            }
        }
        Ok(records)
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

fn record_part((kind, name): (&str, Option<&str>)) -> EntityData<'static> {
    EntityData {
        entity_type: kind.to_owned().into(),
        entity_name: name.map(|name| Cow::Owned(name.to_owned())),
    }
}

fn entity_of(alteration: &Alteration<'_>) -> QuotaEntity {
    let parts = alteration.entity.iter();
    QuotaEntity::new(parts.map(|part| (&*part.entity_type, part.entity_name.as_deref())))
}

fn names_a_key_twice(alteration: &Alteration<'_>) -> bool {
    let mut seen = BTreeMap::new();
    alteration.ops.iter().any(|op| seen.insert(&*op.key, ()).is_some())
}

fn check_parts(alteration: &Alteration<'_>) -> Result<(), ApiError> {
    if alteration.entity.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    for part in &alteration.entity {
        let kind = &*part.entity_type;
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err(invalid(format!("Unhandled client quota entity type: {kind}")));
        }
        if part.entity_name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {kind} not supported")));
        }
    }
    Ok(())
}

/// Which keys may be set for an entity of known kinds.
fn keys_for(entity: &QuotaEntity) -> Result<&'static [(&'static str, ValueKind)], ApiError> {
    let Some(ip) = entity.part(IP) else { return Ok(USER_AND_CLIENT_KEYS) };
    if entity.parts().len() > 1 {
        // Two words run into each other in Kafka too.
        return Err(invalid(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or \
             ClientId",
        ));
    }
    match ip {
        Some(ip) if ip.parse::<IpAddr>().is_err() => {
            Err(invalid(format!("{ip} is not a valid IP or resolvable host.")))
        }
        _ => Ok(IP_KEYS),
    }
}

fn check_value(keys: &[(&str, ValueKind)], key: &str, value: f64) -> Result<(), ApiError> {
    let Some((_, kind)) = keys.iter().find(|(known, _)| *known == key) else {
        return Err(invalid(format!("Invalid configuration key {key}")));
    };
    // No number is not above zero either.
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let (most, name) = match kind {
        ValueKind::Double => return Ok(()),
        ValueKind::Int => (f64::from(i32::MAX), "an INT"),
        ValueKind::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > most {
        return Err(invalid(format!("Proposed value for {key} is too large for {name}.")));
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(invalid(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}
