//! The first records of a new cluster, and a record that says nothing.

use ringlog_wire::messages::begin_transaction_record::BeginTransactionRecord;
use ringlog_wire::messages::end_transaction_record::EndTransactionRecord;
use ringlog_wire::messages::feature_level_record::FeatureLevelRecord;
use ringlog_wire::messages::no_op_record::NoOpRecord;

use super::{Controller, Decision};
use crate::features::{METADATA_VERSION, METADATA_VERSION_LEVEL};
use crate::record::MetadataRecord;

impl Controller {
    /// What a metadata log without a `metadata.version` begins with: none for one that has it.
    /// Only features that work here are finalized; clients use what they see.
    pub fn bootstrap(&self) -> Decision<()> {
        if self.image.feature_level(METADATA_VERSION).is_some() {
            return Decision { response: (), records: Vec::new() };
        }
        let name = Some("Bootstrap records".into());
        let feature = FeatureLevelRecord {
            name: METADATA_VERSION.into(),
            feature_level: METADATA_VERSION_LEVEL,
        };
        let records = vec![
            MetadataRecord::BeginTransaction(BeginTransactionRecord { name }),
            MetadataRecord::FeatureLevel(feature),
            MetadataRecord::EndTransaction(EndTransactionRecord::default()),
        ];
        Decision { response: (), records }
    }

    /// A record that only moves the log's end, for whoever measures liveness by it.
    pub fn no_op(&self) -> Decision<()> {
        let record = MetadataRecord::NoOp(NoOpRecord::default());
        Decision { response: (), records: vec![record] }
    }
}
