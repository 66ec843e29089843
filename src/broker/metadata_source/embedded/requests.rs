//! The requests that the embedded controller answers: decoded, decided on, encoded.

use ringlog_metadata::{Controller, Decision};
use ringlog_types::{BrokerId, ErrorCode};
use ringlog_wire::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use ringlog_wire::messages::allocate_producer_ids_response::AllocateProducerIdsResponse;
use ringlog_wire::messages::alter_client_quotas_request::AlterClientQuotasRequest;
use ringlog_wire::messages::alter_configs_request::AlterConfigsRequest;
use ringlog_wire::messages::create_partitions_request::CreatePartitionsRequest;
use ringlog_wire::messages::create_topics_request::CreateTopicsRequest;
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use ringlog_wire::{ApiKey, Body, EncodeError, Message, Reader, Writer};

use crate::metadata_source::Asked;

/// The source's answer: the body of a response in the version of the request.
pub(crate) type Answered = Result<Body, EncodeError>;

/// Decides on a request.
pub(crate) fn decide(decisions: &Controller, random: u128, asked: &Asked) -> Decision<Answered> {
    let version = asked.version;
    match asked.api {
        ApiKey::CreateTopics => answer(asked, |request: &CreateTopicsRequest<'_>| {
            decisions.create_topics(request, random, asked)
        }),
        ApiKey::DeleteTopics => answer(asked, |request: &DeleteTopicsRequest<'_>| {
            decisions.delete_topics(request, version, asked)
        }),
        ApiKey::CreatePartitions => answer(asked, |request: &CreatePartitionsRequest<'_>| {
            decisions.create_partitions(request, random, asked)
        }),
        ApiKey::AlterConfigs => {
            answer(asked, |request: &AlterConfigsRequest<'_>| decisions.alter_configs(request))
        }
        ApiKey::IncrementalAlterConfigs => {
            answer(asked, |request: &IncrementalAlterConfigsRequest<'_>| {
                decisions.incremental_alter_configs(request)
            })
        }
        ApiKey::AlterClientQuotas => answer(asked, |request: &AlterClientQuotasRequest<'_>| {
            decisions.alter_client_quotas(request)
        }),
        ApiKey::AllocateProducerIds => answer(asked, |request: &AllocateProducerIdsRequest| {
            allocate_producer_ids(decisions, request)
        }),
        api => panic!("nobody asks the metadata source for {api:?}"),
    }
}

fn allocate_producer_ids(
    decisions: &Controller,
    asked: &AllocateProducerIdsRequest,
) -> Decision<AllocateProducerIdsResponse> {
    match decisions.allocate_producer_ids(BrokerId(asked.broker_id), asked.broker_epoch) {
        Ok(Decision { response: block, records }) => {
            let response = AllocateProducerIdsResponse {
                producer_id_start: block.first,
                producer_id_len: i32::try_from(block.len).expect("a block is of 1000 ids"),
                ..Default::default()
            };
            Decision { response, records }
        }
        Err(error) => {
            let error: ErrorCode = error;
            let error_code = error.code();
            let response = AllocateProducerIdsResponse { error_code, ..Default::default() };
            Decision { response, records: Vec::new() }
        }
    }
}

fn answer<'a, Q: Message<'a>, R: Message<'a>>(
    asked: &'a Asked,
    decide: impl FnOnce(&Q) -> Decision<R>,
) -> Decision<Answered> {
    let request = Q::decode(&mut Reader::new(&asked.body), asked.version);
    let request = request.expect("whoever asks has decoded it, or encoded it");
    let Decision { response, records } = decide(&request);
    let mut writer = Writer::new();
    let encoded = response.encode(&mut writer, asked.version);
    Decision { response: encoded.map(|()| writer.into_body()), records }
}
