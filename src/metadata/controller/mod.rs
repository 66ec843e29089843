//! The embedded controller: answers requests that change the metadata.
//!
//! Each call looks at the image and returns an answer with the records that make it true, in
//! the order in which Kafka's controller writes them. It changes nothing: the caller makes the
//! records durable, hands them to [`Controller::commit`], and only then sends the answer; it asks
//! nothing in between. Chance comes in as an argument, so that a simulation repeats itself.

mod api_error;
mod bootstrap;
mod brokers;
mod client_quotas;
mod config_operation;
mod configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod directories;
mod entropy;
mod mutation_quota;
mod names;
mod other_configs;
mod placement;
mod producer_ids;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ringlog_config::BrokerConfig;
use ringlog_wire::messages::begin_transaction_record::BeginTransactionRecord;
use ringlog_wire::messages::end_transaction_record::EndTransactionRecord;

pub use brokers::Registration;
pub use directories::{DirectoriesAtStart, DirectoryAssignment};
pub use mutation_quota::{MutationQuota, Unlimited};
pub use names::is_internal_topic;
pub use producer_ids::ProducerIdBlock;

use crate::error::MetadataError;
use crate::image::{ConfigResource, Delta, Image};
use crate::record::MetadataRecord;
use names::CollidingNames;

/// Most records in one batch of the metadata log (Kafka's `MAX_RECORDS_PER_USER_OP`).
pub(crate) const RECORDS_PER_BATCH_MAX: usize = 10_000;

/// Most partitions that one request may create (`MAX_PARTITIONS_PER_BATCH`).
const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

/// An answer, and the records that make it true.
#[derive(Debug, Clone)]
pub struct Decision<R> {
    /// The answer once the records are durable.
    pub response: R,
    /// The records to write; empty when nothing changes. They count together or not at all.
    pub records: Vec<MetadataRecord<'static>>,
}

impl<R> Decision<R> {
    /// Records beyond one batch stand in a transaction, so that a crash between two batches
    /// leaves no half of them.
    fn new(response: R, mut records: Vec<MetadataRecord<'static>>, name: &'static str) -> Self {
        if records.len() > RECORDS_PER_BATCH_MAX {
            let begin = BeginTransactionRecord { name: Some(name.into()) };
            records.insert(0, MetadataRecord::BeginTransaction(begin));
            records.push(MetadataRecord::EndTransaction(EndTransactionRecord::default()));
        }
        Decision { response, records }
    }

    /// The records, cut into batches to append one after the other.
    pub fn batches(&self) -> impl Iterator<Item = &[MetadataRecord<'static>]> {
        self.records.chunks(RECORDS_PER_BATCH_MAX)
    }
}

/// The decisions of a cluster of one node.
#[derive(Debug, Clone)]
pub struct Controller {
    image: Image,
    colliding: CollidingNames,
    /// As the node was started.
    started_with: Arc<BrokerConfig>,
    /// With what was set while running.
    config: Arc<BrokerConfig>,
}

impl Controller {
    /// A controller that knows `image`, on a node with these settings.
    pub fn new(image: Image, config: Arc<BrokerConfig>) -> Controller {
        let colliding = CollidingNames::of(&image);
        let mut controller = Controller { image, colliding, started_with: config.clone(), config };
        controller.refresh_config();
        controller
    }

    /// The image of the cluster.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The node's settings in force, with what was set while running. Serves for topics too.
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// Takes records that are durable, the first at `base_offset`, and tells what they touched.
    pub fn commit(
        &mut self,
        records: &[MetadataRecord<'_>],
        base_offset: i64,
        epoch: i32,
    ) -> Result<Delta, MetadataError> {
        let last = self.image.last_offset();
        assert!(base_offset > last, "records at {base_offset} come after one at {last}");
        let mut delta = Delta::default();
        for (offset, record) in (base_offset..).zip(records) {
            self.image.apply(record, offset, epoch, &mut delta)?;
        }
        // Changes that an abort undoes are in no delta.
        let aborts = records.iter().any(|r| matches!(r, MetadataRecord::AbortTransaction(_)));
        match aborts {
            true => self.colliding = CollidingNames::of(&self.image),
            false => self.colliding.update(&self.image, &delta),
        }
        let own = ConfigResource::broker(self.config.node_id);
        if aborts
            || delta.configs.contains(&ConfigResource::all_brokers())
            || delta.configs.contains(&own)
        {
            self.refresh_config();
        }
        Ok(delta)
    }

    /// What was refused when it was set is not in the log; what an older Kafka took and this
    /// node does not is left out.
    fn refresh_config(&mut self) {
        let all = self.image.configs(&ConfigResource::all_brokers());
        let own = self.image.configs(&ConfigResource::broker(self.started_with.node_id));
        self.config = match all.is_empty() && own.is_empty() {
            true => self.started_with.clone(),
            false => Arc::new(self.started_with.with_dynamic(&all, &own).0),
        };
    }
}
