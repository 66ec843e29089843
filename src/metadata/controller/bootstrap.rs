//! The first records of a new cluster, and a record that says nothing.

use ringlog_wire::messages::abort_transaction_record::AbortTransactionRecord;
use ringlog_wire::messages::begin_transaction_record::BeginTransactionRecord;
use ringlog_wire::messages::end_transaction_record::EndTransactionRecord;
use ringlog_wire::messages::feature_level_record::FeatureLevelRecord;
use ringlog_wire::messages::no_op_record::NoOpRecord;

use super::{Controller, Decision};
use crate::features::{
    GROUP_VERSION, GROUP_VERSION_CONSUMER, METADATA_VERSION, METADATA_VERSION_LEVEL,
};
use crate::record::MetadataRecord;

/// The features of a new cluster.
const NEW_CLUSTER: &[(&str, i16)] =
    &[(METADATA_VERSION, METADATA_VERSION_LEVEL), (GROUP_VERSION, GROUP_VERSION_CONSUMER)];

impl Controller {
    /// The records that must be written before anything else: the end of a transaction that a crash
    /// left half written, and what a new log begins with. None for a log in good order.
    ///
    /// Only features that work here are finalized; clients use what they see.
    pub fn bootstrap(&self) -> Decision<()> {
        let mut records = self.abort_transaction();
        if self.image.settled().feature_level(METADATA_VERSION).is_none() {
            let name = Some("Bootstrap records".into());
            records.push(MetadataRecord::BeginTransaction(BeginTransactionRecord { name }));
            for (name, feature_level) in NEW_CLUSTER {
                let name = (*name).into();
                let feature_level = *feature_level;
                let level = FeatureLevelRecord { name, feature_level };
                records.push(MetadataRecord::FeatureLevel(level));
            }
            records.push(MetadataRecord::EndTransaction(EndTransactionRecord::default()));
        }
        Decision { response: (), records }
    }

    /// The end of a transaction of which not all could be written; empty when there is none.
    /// Nothing else may be written before it.
    pub fn abort_transaction(&self) -> Vec<MetadataRecord<'static>> {
        let reason = Some("the controller stopped inside this transaction".into());
        let abort = || MetadataRecord::AbortTransaction(AbortTransactionRecord { reason });
        self.image.in_transaction().then(abort).into_iter().collect()
    }

    /// A record that only moves the log's end, for whoever measures liveness by it.
    pub fn no_op(&self) -> Decision<()> {
        let record = MetadataRecord::NoOp(NoOpRecord::default());
        Decision { response: (), records: vec![record] }
    }
}
