//! Transactions, which this node does not have: what is part of one is refused, or it would be
//! open for ever.

use ringlog_record::BatchBuilder;
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::Node;
use crate::old_clients::produce;
use crate::raw_client::RawClient;

/// A batch that claims to belong to a transaction used to be appended, and its producer could
/// never write without one again.
#[tokio::test]
async fn a_transactional_batch_without_a_transactional_id_refuses_the_request() {
    let node = Node::start();
    node.create("t", 2, &[]).await;
    let mut wire = RawClient::connect(&node);
    let builder = |producer_id| {
        let mut builder = BatchBuilder::new(1000).producer(producer_id, 0, 0);
        builder.push(1000, None, Some(b"value"), &[]);
        builder
    };
    let plain = builder(77).build().unwrap().0;
    let in_transaction = builder(77).transactional().build().unwrap().0;
    for version in 3..=12 {
        let data = [&plain, &in_transaction].into_iter().zip(0..);
        let data = data.map(|(records, index)| PartitionProduceData {
            index,
            records: Some(Records::Borrowed(records)),
        });
        let topic = TopicProduceData {
            name: "t".into(),
            partition_data: data.collect(),
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 9000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let answer = wire.ask(version, &request);
        let body: ProduceResponse = answer.decode();
        for partition in &body.responses[0].partition_responses {
            let refused = ErrorCode::TransactionalIdAuthorizationFailed.code();
            assert_eq!((partition.error_code, partition.base_offset), (refused, -1), "{version}");
        }
    }
    for partition in 0..2 {
        assert_eq!(produce(&mut wire, 9, "t", partition, &plain), (0, 0), "nothing was appended");
    }
}
