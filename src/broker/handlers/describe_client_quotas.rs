//! DescribeClientQuotas (key 48): the quotas that a filter matches (KIP-546).
//!
//! Matched as Kafka's `ClientQuotasImage` does: every part that the filter names has to be there,
//! by name, as the default, or at all; with `strict` there may be no other part.

use std::collections::BTreeMap;
use std::rc::Rc;

use ringlog_metadata::{QuotaEntity, QuotaValues};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_client_quotas_request::{
    ComponentData, DescribeClientQuotasRequest,
};
use ringlog_wire::messages::describe_client_quotas_response::{
    DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// So many entities are looked at before others have their turn.
const ENTITIES_PER_TURN: usize = 1000;

/// About what an entity takes in memory and as an answer, in bytes.
const ENTITY_BYTES: usize = 256;

/// What a part of an entity has to be.
enum Match<'a> {
    Exactly(&'a str),
    Default,
    Any,
}

type Filter<'a> = BTreeMap<&'a str, Match<'a>>;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeClientQuotasRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let failed = |error: ErrorCode, message: Option<String>| {
        request.respond(&DescribeClientQuotasResponse {
            error_code: error.code(),
            error_message: message.map(Into::into),
            entries: None,
            ..Default::default()
        })
    };
    if !request.authorize(shard.node.authorizer, Operation::DescribeConfigs, Resource::Cluster) {
        return failed(ErrorCode::ClusterAuthorizationFailed, None);
    }
    let filter = match filter_of(&asked.components) {
        Ok(filter) => filter,
        Err((error, message)) => return failed(error, Some(message)),
    };
    let image = shard.image().clone();
    let mut matching = Vec::new();
    for (place, (entity, values)) in image.client_quotas().enumerate() {
        if matches(&filter, asked.strict, entity) {
            matching.push((entity, values));
        }
        if place % ENTITIES_PER_TURN == ENTITIES_PER_TURN - 1 {
            shard.rt.yield_now().await;
        }
    }
    request.held.claim_answer(&shard.network.memory, matching.len() * ENTITY_BYTES).await;
    let entries = matching.into_iter().map(|(entity, values)| described(entity, values)).collect();
    request.respond(&DescribeClientQuotasResponse { entries: Some(entries), ..Default::default() })
}

fn filter_of<'a>(components: &'a [ComponentData<'_>]) -> Result<Filter<'a>, (ErrorCode, String)> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut filter = Filter::new();
    for ComponentData { entity_type, match_type, r#match } in components {
        let kind = &**entity_type;
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if filter.contains_key(kind) {
            let again = "cannot appear more than once in the filter.";
            return invalid(format!("Entity type {kind} {again}"));
        }
        if !["ip", "user", "client-id"].contains(&kind) {
            let message = format!("Unsupported entity type {kind}");
            return Err((ErrorCode::UnsupportedVersion, message));
        }
        let wanted = match (match_type, r#match) {
            (0, Some(name)) => Match::Exactly(name),
            (0, None) => {
                let message = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
                return invalid(message.to_owned());
            }
            (1, None) => Match::Default,
            (2, None) => Match::Any,
            (1 | 2, Some(_)) => {
                let name = if *match_type == 1 { "DEFAULT" } else { "SPECIFIED" };
                let also = "but also specified a match string.";
                return invalid(format!("Request specified MATCH_TYPE_{name}, {also}"));
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key("ip") && filter.len() > 1 {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used \
             with user or clientId filter component."
                .to_owned(),
        );
    }
    Ok(filter)
}

fn matches(filter: &Filter<'_>, strict: bool, entity: &QuotaEntity) -> bool {
    let is_there = |(kind, wanted): (&&str, &Match<'_>)| match (entity.part(kind), wanted) {
        (Some(Some(name)), Match::Exactly(wanted)) => name == *wanted,
        (Some(None), Match::Default) => true,
        (Some(_), Match::Any) => true,
        _ => false,
    };
    filter.iter().all(is_there) && (!strict || entity.parts().len() == filter.len())
}

fn described<'a>(entity: &'a QuotaEntity, values: &'a QuotaValues) -> EntryData<'a> {
    let parts = entity.parts().map(|(kind, name)| EntityData {
        entity_type: kind.into(),
        entity_name: name.map(Into::into),
    });
    let values = values.iter().map(|(key, value)| ValueData { key: key.into(), value: *value });
    EntryData { entity: parts.collect(), values: values.collect() }
}
