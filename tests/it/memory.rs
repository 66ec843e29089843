//! What one peer can make the node hold or do is bounded, and others do not notice it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ringlog_client::ProducerSettings;
use ringlog_record::{BatchBuilder, Compression, patch};
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::DescribeConfigsResponse;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, PATIENCE, texts, values};
use crate::raw_client::RawClient;
use crate::timestamps::now_ms;

/// How many small requests of others are answered while a large one waits for its own answer. Each
/// comes to one of two shards by chance: that all of so many meet the one that is not at work on
/// the large one does not happen.
const MEANWHILE: usize = 12;

/// A node whose requests may take 32 MiB, on two shards.
fn start() -> Node {
    let flags = ["--shards", "2", "--set", "ringlog.request.memory.bytes=33554432"];
    Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags)
}

/// Asks for something small on new connections, one after the other; both shards get some of them.
fn ask_for_little(node: &Node, times: usize) {
    for _ in 0..times {
        RawClient::connect(node).ask(0, &ApiVersionsRequest::default());
    }
}

/// Others are answered while the answers to large requests are still awaited. What holds a shard
/// up lets none of them pass before it is done.
fn assert_others_go_on(node: &Node, large: &[RawClient]) {
    ask_for_little(node, MEANWHILE);
    let is_awaited = large.iter().any(RawClient::is_silent);
    assert!(is_awaited, "{MEANWHILE} small requests waited for a large one");
}

fn produce_request<'a>(topic: &'a str, batches: &'a [(i32, Vec<u8>)]) -> ProduceRequest<'a> {
    let partition = |(index, batch): &'a (i32, Vec<u8>)| PartitionProduceData {
        index: *index,
        records: Some(Records::Borrowed(batch)),
    };
    let partition_data = batches.iter().map(partition).collect();
    let topic_data =
        vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..Default::default() }
}

/// Error and base offset of each partition, in the next answer.
fn produced(client: &mut RawClient, version: i16) -> Vec<(ErrorCode, i64)> {
    let answer = client.receive::<ProduceRequest<'_>>(version).expect("an answer");
    let response: ProduceResponse<'_> = answer.decode();
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|p| (ErrorCode::from_code(p.error_code).unwrap(), p.base_offset)).collect()
}

#[tokio::test]
async fn frames_that_are_not_whole_take_no_more_than_the_budget() {
    let node = start();
    node.create("calm", 2, &[]).await;
    let begun = [&24_000_000i32.to_be_bytes()[..], &[0, 0, 0, 9]].concat();
    let mut stalled = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(&begun).unwrap();
        // Those that have no memory yet are not read from.
        drop(stream.write_all(&vec![0; 20_000_000]));
        stalled.push(stream);
    }
    ask_for_little(&node, 8);
    let sent = values(10, 10);
    node.produce("calm", 0, &sent, ProducerSettings::default()).await;
    assert_eq!(texts(&node.consume("calm", 0, 0).await), sent);
    // One frame of each shard may be larger than the budget.
    assert!(node.peak_memory_mb() < 200, "{} MB", node.peak_memory_mb());
}

/// Groups have settings whether they exist or not: 2 MiB of names were answered with 300 MB.
#[tokio::test]
async fn an_answer_to_many_names_is_bounded() {
    let node = start();
    let resource = |index| DescribeConfigsResource {
        resource_type: 32,
        resource_name: format!("{index:x}").into(),
        configuration_keys: None,
    };
    let request_of = |count| DescribeConfigsRequest {
        resources: (0..count).map(resource).collect(),
        include_synonyms: true,
        include_documentation: true,
    };
    let asking = (0..4).map(|_| {
        let mut client = RawClient::connect(&node);
        client.send(4, &request_of(200_000)).unwrap();
        client
    });
    let asking: Vec<RawClient> = asking.collect();
    assert_others_go_on(&node, &asking);
    // All at once: whoever does not take its answer while memory is short gives way.
    let receive = |mut client: RawClient| {
        let answer = client.receive::<DescribeConfigsRequest<'_>>(4);
        answer.expect("an answer")
    };
    let receiving: Vec<_> =
        asking.into_iter().map(|client| std::thread::spawn(move || receive(client))).collect();
    for answer in receiving {
        let answer = answer.join().expect("it was answered");
        assert!(answer.len() < 90 << 20, "{} bytes", answer.len());
        let response: DescribeConfigsResponse<'_> = answer.decode();
        let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
        let described = codes.iter().take_while(|code| **code == 0).count();
        assert!((10_000..200_000).contains(&described), "{described}");
        assert_eq!(codes.len(), 200_000);
        let refused = ErrorCode::PolicyViolation.code();
        assert!(codes[described..].iter().all(|code| *code == refused));
    }
    let answer = RawClient::connect(&node).ask(4, &request_of(1000));
    let response: DescribeConfigsResponse<'_> = answer.decode();
    assert!(response.results.iter().all(|result| result.error_code == 0));
    assert!(node.peak_memory_mb() < 500, "{} MB", node.peak_memory_mb());
}

#[tokio::test]
async fn a_frame_that_stalls_gives_way_to_others() {
    let node = start();
    node.create("calm", 2, &[]).await;
    // Many have only said that they will send much, and four have begun to.
    let sent_of_each = (0..40).map(|i| if i % 10 == 0 { 100_000 } else { 100 });
    let stalled: Vec<TcpStream> = sent_of_each
        .map(|sent| {
            let mut stream = TcpStream::connect(node.address()).unwrap();
            stream.write_all(&60_000_000i32.to_be_bytes()).unwrap();
            stream.write_all(&[&[0, 0, 0, 9][..], &vec![0; sent]].concat()).unwrap();
            stream
        })
        .collect();
    // A large one of somebody else.
    let large = ["x".repeat(900_000)];
    let produced = node.produce("calm", 0, &large, ProducerSettings::default());
    tokio::time::timeout(PATIENCE, produced).await.expect("the stalled ones give way");
    drop(stalled);
}

#[tokio::test]
async fn answers_that_nobody_reads_take_no_more_than_the_budget() {
    const PARTITIONS: i32 = 16;
    let node = start();
    node.create("t", PARTITIONS, &[]).await;
    let value = "x".repeat(100_000);
    let sent: Vec<String> = (0..40).map(|_| value.clone()).collect();
    for partition in 0..PARTITIONS {
        node.produce("t", partition, &sent, ProducerSettings::default()).await;
    }
    let partitions = (0..PARTITIONS)
        .map(|partition| FetchPartition {
            partition,
            partition_max_bytes: 4 << 20,
            ..Default::default()
        })
        .collect();
    let fetch = FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic { topic: "t".into(), partitions, ..Default::default() }],
        ..Default::default()
    };
    let greedy: Vec<RawClient> = (0..40)
        .map(|_| {
            let mut client = RawClient::connect(&node);
            (0..20).for_each(|_| client.send(11, &fetch).unwrap());
            client
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    ask_for_little(&node, 8);
    for partition in 0..PARTITIONS {
        assert_eq!(texts(&node.consume("t", partition, 0).await), sent);
    }
    assert!(node.peak_memory_mb() < 300, "{} MB", node.peak_memory_mb());
    drop(greedy);
}

#[test]
fn what_brings_no_records_is_never_large() {
    let node = start();
    // A million empty names: 2 MB are allowed.
    let names = |count: usize| MetadataRequest {
        topics: Some(vec![
            MetadataRequestTopic { name: Some("".into()), ..Default::default() };
            count
        ]),
        ..Default::default()
    };
    let answer = RawClient::connect(&node).ask(4, &names(1_000_000));
    assert!(answer.len() < 100 << 20, "{} bytes", answer.len());
    let mut client = RawClient::connect(&node);
    drop(client.send(4, &names(1 << 20)));
    assert!(client.receive::<MetadataRequest<'_>>(4).is_none());
    assert!(node.peak_memory_mb() < 400, "{} MB", node.peak_memory_mb());
}

/// A batch of a few KiB that unfolds to 100 MiB, and has to be unfolded.
fn bomb() -> Vec<u8> {
    let mut builder = BatchBuilder::new(0).compression(Compression::Zstd, None);
    builder.push(0, None, Some(&vec![0; 100 << 20]), &[]);
    let mut batch = builder.build().unwrap().0;
    patch::set_max_timestamp(&mut batch, -1);
    batch
}

#[tokio::test]
async fn batches_that_unfold_to_very_much_hold_nobody_up() {
    const PARTITIONS: i32 = 12;
    let node = start();
    node.create("t", PARTITIONS, &[]).await;
    let bomb = bomb();
    assert!(bomb.len() < 20_000);
    let bombs: Vec<_> = (0..PARTITIONS).map(|partition| (partition, bomb.clone())).collect();
    let mut small = BatchBuilder::new(0);
    small.push(0, None, Some(b"after"), &[]);
    let after = [(0, small.build().unwrap().0)];
    let mut client = RawClient::connect(&node);
    client.send(7, &produce_request("t", &bombs)).unwrap();
    client.send(7, &produce_request("t", &after)).unwrap();
    assert_others_go_on(&node, std::slice::from_ref(&client));
    let all_taken = [(ErrorCode::None, 0); PARTITIONS as usize];
    assert_eq!(produced(&mut client, 7), all_taken);
    // It came later on the same connection, so it stands behind.
    assert_eq!(produced(&mut client, 7), [(ErrorCode::None, 1)]);
    assert!(node.peak_memory_mb() < 250, "{} MB", node.peak_memory_mb());
}

/// A batch of a few KiB whose records are unfolded by nobody until somebody looks for a time: the
/// header's claim is believed, as it is of now.
fn believed_bomb(now_ms: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(now_ms).compression(Compression::Zstd, None);
    builder.push(now_ms, None, Some(&vec![0; 100 << 20]), &[]);
    let mut batch = builder.build().unwrap().0;
    // A record of this time is looked for in vain.
    patch::set_max_timestamp(&mut batch, now_ms + 1000);
    batch
}

/// 20 partitions of batches of 8 KiB that unfold to 100 MiB were unfolded on the shard's own
/// thread: nobody was answered for 2.7 s, and beside five such requests for 18 s.
#[tokio::test]
async fn who_looks_for_a_time_in_very_much_holds_nobody_up() {
    const PARTITIONS: i32 = 12;
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "1"]);
    node.create("t", PARTITIONS, &[]).await;
    let now_ms = now_ms();
    let bombs: Vec<_> = (0..PARTITIONS).map(|index| (index, believed_bomb(now_ms))).collect();
    let mut client = RawClient::connect(&node);
    client.send(7, &produce_request("t", &bombs)).unwrap();
    assert_eq!(produced(&mut client, 7), [(ErrorCode::None, 0); PARTITIONS as usize]);
    let before = node.peak_memory_mb();
    let partitions = (0..PARTITIONS).map(|partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: now_ms + 1000,
        ..Default::default()
    });
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: partitions.collect() }];
    let list = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let mut asking: Vec<RawClient> = (0..5)
        .map(|_| {
            let mut client = RawClient::connect(&node);
            client.send(1, &list).unwrap();
            client
        })
        .collect();
    assert_others_go_on(&node, &asking);
    for client in &mut asking {
        let answer = client.receive::<ListOffsetsRequest<'_>>(1).expect("an answer");
        let listed: ListOffsetsResponse<'_> = answer.decode();
        assert!(listed.topics[0].partitions.iter().all(|partition| partition.offset == -1));
    }
    let grown = node.peak_memory_mb() - before;
    assert!(grown < 40, "{grown} MB more");
}

/// A loop of such requests kept a producer waiting for 2.6 s: all was decided on the shard's own
/// thread.
#[test]
fn who_validates_many_topics_holds_nobody_up() {
    const TOPICS: usize = 3000;
    /// So many are created: more than are decided on in passing.
    const CREATED: usize = 300;
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "1"]);
    let topic = |index| CreatableTopic {
        name: format!("topic-{index}").into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: (0..TOPICS).map(topic).collect(),
        timeout_ms: 60_000,
        validate_only: true,
    };
    let mut asking: Vec<RawClient> = (0..3)
        .map(|_| {
            let mut client = RawClient::connect(&node);
            client.send(5, &request).unwrap();
            client
        })
        .collect();
    assert_others_go_on(&node, &asking);
    for client in &mut asking {
        let answer = client.receive::<CreateTopicsRequest<'_>>(5).expect("an answer");
        let response: CreateTopicsResponse<'_> = answer.decode();
        assert_eq!(response.topics.len(), TOPICS);
        let is_valid = |topic: &CreatableTopicResult<'_>| {
            topic.error_code == 0 && topic.configs.as_ref().is_some_and(|all| !all.is_empty())
        };
        assert!(response.topics.iter().all(is_valid));
    }
    // Nothing was created, and what is asked for in earnest is.
    let topics = request.topics.into_iter().take(CREATED).collect();
    let request = CreateTopicsRequest { topics, validate_only: false, ..request };
    let answer = RawClient::connect(&node).ask(5, &request);
    let response: CreateTopicsResponse<'_> = answer.decode();
    assert_eq!(response.topics.len(), CREATED);
    assert!(response.topics.iter().all(|topic| topic.error_code == 0));
}

#[tokio::test]
async fn a_partition_is_named_once() {
    let node = start();
    node.create("t", 40, &[]).await;
    let batch = |value: &[u8]| {
        let mut builder = BatchBuilder::new(0);
        builder.push(0, None, Some(value), &[]);
        builder.build().unwrap().0
    };
    let mut batches: Vec<_> = (0..40).map(|partition| (partition, batch(b"first"))).collect();
    batches.extend([(3, batch(b"second")), (39, batch(b"second"))]);
    let mut client = RawClient::connect(&node);
    client.send(9, &produce_request("t", &batches)).unwrap();
    let mut answers = produced(&mut client, 9);
    assert_eq!(answers.split_off(40), [(ErrorCode::InvalidRequest, -1); 2]);
    assert_eq!(answers, [(ErrorCode::None, 0); 40]);
    assert_eq!(texts(&node.consume("t", 3, 0).await), ["first"]);
}

#[tokio::test]
async fn a_request_sees_what_was_written_before_it_on_its_connection() {
    let node = start();
    node.create("t", 1, &[]).await;
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(b"value"), &[]);
    let batch = [(0, builder.build().unwrap().0)];
    let produce = produce_request("t", &batch);
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }];
    let list = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let mut client = RawClient::connect(&node);
    for round in 1..=50i64 {
        let both = [client.encode(7, &produce), client.encode(1, &list)].concat();
        client.send_frame(&both).unwrap();
        assert_eq!(produced(&mut client, 7), [(ErrorCode::None, round - 1)]);
        let answer = client.receive::<ListOffsetsRequest<'_>>(1).expect("an answer");
        let listed: ListOffsetsResponse<'_> = answer.decode();
        assert_eq!(listed.topics[0].partitions[0].offset, round);
    }
}
