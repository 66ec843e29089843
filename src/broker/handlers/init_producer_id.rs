//! InitProducerId (key 22): ids for idempotent producers (KIP-98), from blocks that the
//! controller hands out, so that no id is given twice, whatever crashes.

use std::rc::Rc;

use ringlog_metadata::Decision;
use ringlog_types::{ErrorCode, ProducerId};
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher;
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
        if let Some(id) = shard.producer_ids.borrow_mut().next() {
            return Ok(id);
        }
        let node_id = shard.node.config.node_id;
        let block = publisher::change(shard, move |decisions, _| {
            let broker_epoch = decisions.image().broker(node_id).map_or(-1, |broker| broker.epoch);
            match decisions.allocate_producer_ids(node_id, broker_epoch) {
                Ok(Decision { response, records }) => Decision { response: Ok(response), records },
                Err(error) => Decision { response: Err(error), records: Vec::new() },
            }
        });
        let block = block.await??;
        // Another request may have fetched one meanwhile: then that block is given up.
        *shard.producer_ids.borrow_mut() = block.first..block.first + block.len;
    }
}
