//! AlterClientQuotas (key 49): quotas of users, client ids and addresses (KIP-546).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntryData as Alteration,
};
use ringlog_wire::messages::alter_client_quotas_response::{
    AlterClientQuotasResponse, EntityData, EntryData,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::forwarded::{self, Forwarded, take_refused};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

struct AlterClientQuotas;

pub(crate) fn handle(shard: Rc<Shard>, request: Request) -> impl Future<Output = Answer> {
    forwarded::handle::<AlterClientQuotas>(shard, request)
}

impl Forwarded for AlterClientQuotas {
    type Request<'a> = AlterClientQuotasRequest<'a>;
    type Response<'a> = AlterClientQuotasResponse<'a>;
    type Outcome = EntryData<'static>;

    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut AlterClientQuotasRequest<'_>,
    ) -> Vec<Self::Outcome> {
        if request.authorize(shard.node.authorizer, Operation::AlterConfigs, Resource::Cluster) {
            return Vec::new();
        }
        take_refused(&mut asked.entries, |entry| {
            Some(outcome(entry, ErrorCode::ClusterAuthorizationFailed))
        })
    }

    fn failed(asked: &AlterClientQuotasRequest<'_>, error: ErrorCode) -> Vec<Self::Outcome> {
        asked.entries.iter().map(|entry| outcome(entry, error)).collect()
    }

    fn add(response: &mut AlterClientQuotasResponse<'_>, outcomes: Vec<Self::Outcome>) {
        response.entries.extend(outcomes);
    }
}

fn outcome(entry: &Alteration<'_>, error: ErrorCode) -> EntryData<'static> {
    let parts = entry.entity.iter().map(|part| EntityData {
        entity_type: part.entity_type.to_string().into(),
        entity_name: part.entity_name.as_ref().map(|name| name.to_string().into()),
    });
    EntryData { error_code: error.code(), error_message: None, entity: parts.collect() }
}
