//! Blocks of producer ids: a broker takes a thousand at a time and hands them out itself.

use ringlog_types::{BrokerId, ErrorCode, ProducerId};
use ringlog_wire::messages::producer_ids_record::ProducerIdsRecord;

use super::{Controller, Decision};
use crate::record::MetadataRecord;

/// `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
const BLOCK_SIZE: i64 = 1000;

/// Producer ids that belong to one broker from now on. What it does not hand out before it stops
/// is lost, which 63 bits can afford.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first id.
    pub first: ProducerId,
    /// How many there are.
    pub len: i64,
}

impl Controller {
    /// The next block, for a broker in its current epoch.
    pub fn allocate_producer_ids(
        &self,
        broker_id: BrokerId,
        broker_epoch: i64,
    ) -> Result<Decision<ProducerIdBlock>, ErrorCode> {
        match self.image.broker(broker_id) {
            None => return Err(ErrorCode::BrokerIdNotRegistered),
            Some(broker) if broker.epoch != broker_epoch => {
                return Err(ErrorCode::StaleBrokerEpoch);
            }
            Some(_) => {}
        }
        let first = self.image.next_producer_id();
        let next_producer_id =
            first.checked_add(BLOCK_SIZE).ok_or(ErrorCode::UnknownServerError)?;
        let record = ProducerIdsRecord { broker_id: broker_id.0, broker_epoch, next_producer_id };
        let block = ProducerIdBlock { first, len: BLOCK_SIZE };
        Ok(Decision::new(block, vec![MetadataRecord::ProducerIds(record)], "AllocateProducerIds"))
    }
}
