//! InitProducerId (key 22): ids for idempotent producers (KIP-98), from blocks that the
//! controller hands out, so that no id is given twice, whatever crashes.

use std::ops::Range;
use std::rc::Rc;

use ringlog_types::{ErrorCode, ProducerId};
use ringlog_wire::Message;
use ringlog_wire::messages::allocate_producer_ids_request::AllocateProducerIdsRequest;
use ringlog_wire::messages::allocate_producer_ids_response::AllocateProducerIdsResponse;
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::forwarded::{self, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<InitProducerIdRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let refused = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if let Some(transactional_id) = &asked.transactional_id {
        let transactional_id = Resource::TransactionalId(transactional_id);
        if !request.authorize(shard.node.authorizer, Operation::Write, transactional_id) {
            return request.respond(&refused(ErrorCode::TransactionalIdAuthorizationFailed));
        }
        // There are no transactions yet. This error is final for every client; one that tells it
        // to look for the coordinator again would keep it asking for ever.
        return request.respond(&refused(ErrorCode::UnsupportedVersion));
    }
    // Kafka asks for a topic of any name; there are no rules yet that could name one.
    let may_write =
        request.authorize(shard.node.authorizer, Operation::IdempotentWrite, Resource::Cluster)
            || request.authorize(shard.node.authorizer, Operation::Write, Resource::Topic(""));
    if !may_write {
        return request.respond(&refused(ErrorCode::ClusterAuthorizationFailed));
    }
    match next_producer_id(&shard).await {
        // Without a transactional id every call is a new producer, with epoch 0.
        Ok(producer_id) => request.respond(&InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..Default::default()
        }),
        Err(error) => request.respond(&refused(error)),
    }
}

/// The next id of this shard's block; takes a new block when it is used up.
async fn next_producer_id(shard: &Rc<Shard>) -> Result<ProducerId, ErrorCode> {
    loop {
        if let Some(id) = shard.next_producer_id() {
            return Ok(id);
        }
        // Another request may fetch one meanwhile: then that block is given up.
        shard.set_producer_ids(allocate_block(shard).await?);
    }
}

async fn allocate_block(shard: &Rc<Shard>) -> Result<Range<ProducerId>, ErrorCode> {
    let broker_id = shard.node.config.node_id;
    let broker_epoch = shard.image().broker(broker_id).map_or(-1, |broker| broker.epoch);
    let asked = AllocateProducerIdsRequest { broker_id: broker_id.0, broker_epoch };
    let answered = forwarded::ask(shard, &asked).await?;
    let version = AllocateProducerIdsRequest::MAX_VERSION;
    let block: AllocateProducerIdsResponse = said(&answered, version);
    match ErrorCode::from_code(block.error_code) {
        Some(ErrorCode::None) => {
            let (first, len) = (block.producer_id_start, i64::from(block.producer_id_len));
            Ok(first..first + len)
        }
        Some(error) => Err(error),
        None => Err(ErrorCode::UnknownServerError),
    }
}
