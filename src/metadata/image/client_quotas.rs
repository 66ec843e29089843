//! Client quotas: for whom, and what.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringlog_wire::messages::client_quota_record::{ClientQuotaRecord, EntityData};

use super::{Delta, Image};
use crate::record::MetadataRecord;

/// Whom a quota is for: a name for each kind of entity (`user`, `client-id`, `ip`), or `None` for
/// the default of the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaEntity(BTreeMap<Arc<str>, Option<Arc<str>>>);

impl QuotaEntity {
    /// An entity of these parts; of two of one kind the last counts.
    pub fn new<'a>(parts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> QuotaEntity {
        let owned = |(kind, name): (&str, Option<&str>)| (Arc::from(kind), name.map(Arc::from));
        QuotaEntity(parts.into_iter().map(owned).collect())
    }

    /// The parts: kind, and name or `None` for the default.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (&**kind, name.as_deref()))
    }

    /// The part of a kind: `None` if it has none, `Some(None)` for the default.
    pub fn part(&self, kind: &str) -> Option<Option<&str>> {
        self.0.get(kind).map(|name| name.as_deref())
    }
}

impl std::fmt::Display for QuotaEntity {
    /// As Kafka prints it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part =
            |(kind, name): (&str, Option<&str>)| format!("{kind}={}", name.unwrap_or("null"));
        let parts: Vec<String> = self.parts().map(part).collect();
        write!(f, "ClientQuotaEntity(entries={{{}}})", parts.join(", "))
    }
}

/// The quotas of one entity, by key.
pub type QuotaValues = BTreeMap<String, f64>;

impl Image {
    /// What was set for an entity.
    pub fn client_quota(&self, entity: &QuotaEntity) -> Option<&QuotaValues> {
        self.client_quotas.get(entity).map(|values| &**values)
    }

    /// Every entity for which something was set.
    pub fn client_quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.client_quotas.iter().map(|(entity, values)| (entity, &**values))
    }

    /// Whether nothing was set or removed between two images of one log.
    pub fn has_the_client_quotas_of(&self, other: &Image) -> bool {
        self.client_quotas.ptr_eq(&other.client_quotas)
    }

    pub(super) fn apply_client_quota(&mut self, record: &ClientQuotaRecord<'_>, delta: &mut Delta) {
        let parts = record.entity.iter();
        let entity =
            QuotaEntity::new(parts.map(|part| (&*part.entity_type, part.entity_name.as_deref())));
        let mut values =
            self.client_quotas.get(&entity).map(|values| (**values).clone()).unwrap_or_default();
        match record.remove {
            true => drop(values.remove(&*record.key)),
            false => drop(values.insert(record.key.to_string(), record.value)),
        }
        match values.is_empty() {
            true => drop(self.client_quotas.remove(&entity)),
            false => drop(self.client_quotas.insert(entity, Arc::new(values))),
        }
        delta.client_quotas = true;
    }

    pub(super) fn client_quota_records(&self) -> impl Iterator<Item = MetadataRecord<'_>> {
        self.client_quotas().flat_map(|(entity, values)| {
            values.iter().map(|(key, value)| {
                MetadataRecord::ClientQuota(ClientQuotaRecord {
                    entity: record_entity(entity),
                    key: key.into(),
                    value: *value,
                    remove: false,
                })
            })
        })
    }
}

/// An entity as records carry it.
fn record_entity(entity: &QuotaEntity) -> Vec<EntityData<'_>> {
    let part = |(kind, name): (&'_ str, Option<&'_ str>)| EntityData {
        entity_type: kind.to_owned().into(),
        entity_name: name.map(|name| name.to_owned().into()),
    };
    entity.parts().map(part).collect()
}
