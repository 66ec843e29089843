// The checks of kafkajs: acks, gzip, idempotence, administration, and its Fetch request.
'use strict';

const { CompressionTypes, Kafka, logLevel, Partitioners } = require('kafkajs');
const assert = require('node:assert');

const bootstrap = process.argv[2];
const PARTITIONS = 2;
const COUNT = 300;
const kafka = new Kafka({
  clientId: 'compat',
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 10 },
});

const ok = (what) => console.log(`  ok ${what}`);
const value = (topic, partition, i) => `${topic}/${partition} record ${i}`;

async function produce(topic, acks, settings, compression) {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    ...settings,
  });
  await producer.connect();
  for (let from = 0; from < COUNT; from += 100) {
    const messages = [];
    for (let i = from; i < from + 100; i += 1) {
      for (let partition = 0; partition < PARTITIONS; partition += 1) {
        messages.push({
          key: `key-${i % 7}`,
          value: value(topic, partition, i),
          partition,
          headers: { n: `${i}` },
        });
      }
    }
    const reports = await producer.send({ topic, acks, compression, messages });
    for (const report of acks === 0 ? [] : reports) {
      assert.strictEqual(report.errorCode, 0);
      assert.strictEqual(report.baseOffset, `${from}`);
    }
  }
  await producer.disconnect();
}

// The client's consumer joins a group; its Fetch request alone does not.
async function fetch(topic, partition) {
  const cluster = new (require('kafkajs/src/cluster'))({
    logger: kafka.logger(),
    socketFactory: require('kafkajs/src/network/socketFactory')(),
    brokers: [bootstrap],
    clientId: 'compat',
    retry: { initialRetryTime: 50, retries: 10 },
    connectionTimeout: 5000,
    authenticationTimeout: 5000,
    reauthenticationThreshold: 10000,
    requestTimeout: 10000,
    enforceRequestTimeout: true,
    metadataMaxAge: 300000,
    offsets: new Map(),
  });
  await cluster.connect();
  await cluster.addTargetTopic(topic);
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  const broker = await cluster.findBroker({ nodeId });
  const records = [];
  for (let round = 0; round < 50 && records.length < COUNT; round += 1) {
    const answer = await broker.fetch({
      maxWaitTime: 500,
      minBytes: 1,
      maxBytes: 1 << 20,
      isolationLevel: 0,
      topics: [{
        topic,
        partitions: [{ partition, fetchOffset: `${records.length}`, maxBytes: 1 << 20 }],
      }],
    });
    const part = answer.responses[0].partitions[0];
    assert.strictEqual(part.errorCode, 0);
    records.push(...part.messages.filter((m) => Number(m.offset) >= records.length));
  }
  await cluster.disconnect();
  return records;
}

async function roundTrip(topic, acks, settings, compression) {
  await produce(topic, acks, settings, compression);
  for (let partition = 0; partition < PARTITIONS; partition += 1) {
    const records = await fetch(topic, partition);
    assert.strictEqual(records.length, COUNT);
    records.forEach((record, i) => {
      assert.strictEqual(record.offset, `${i}`);
      assert.strictEqual(record.value.toString(), value(topic, partition, i));
      assert.strictEqual(record.key.toString(), `key-${i % 7}`);
      assert.strictEqual(record.headers.n.toString(), `${i}`);
    });
  }
}

async function administration(admin) {
  const topic = 'kafkajs.admin';
  const entry = [{ name: 'retention.ms', value: '86400000' }];
  const created = { topic, numPartitions: 1, replicationFactor: 1, configEntries: entry };
  assert.strictEqual(await admin.createTopics({ topics: [created], waitForLeaders: true }), true);
  assert.strictEqual(await admin.createTopics({ topics: [created] }), false);
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.strictEqual(metadata.topics[0].partitions.length, 3);
  ok('create, create again, create partitions');

  const configs = await admin.describeConfigs({
    includeSynonyms: true,
    resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }],
  });
  assert.strictEqual(configs.resources[0].configEntries[0].configValue, '86400000');
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      { type: 2, name: topic, configEntries: [{ name: 'segment.ms', value: '3600000' }] },
    ],
  });
  ok('describe and alter configs');

  const offsets = await admin.fetchTopicOffsets('kafkajs.none.-1');
  offsets.sort((a, b) => a.partition - b.partition);
  assert.deepStrictEqual(offsets.map((o) => [o.low, o.high]), [['0', '300'], ['0', '300']]);
  await admin.deleteTopicRecords({
    topic: 'kafkajs.none.-1',
    partitions: [{ partition: 1, offset: '100' }],
  });
  const after = await admin.fetchTopicOffsets('kafkajs.none.-1');
  assert.strictEqual(after.find((o) => o.partition === 1).low, '100');
  ok('offsets, delete records');

  const cluster = await admin.describeCluster();
  assert.strictEqual(cluster.brokers.length, 1);
  assert.strictEqual(cluster.clusterId.length, 22);
  await admin.deleteTopics({ topics: [topic] });
  assert.ok(!(await admin.listTopics()).includes(topic));
  ok('describe cluster, delete');
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP };
  const topics = ['kafkajs.idempotent'];
  for (const codec of Object.keys(codecs)) {
    for (const acks of [0, 1, -1]) topics.push(`kafkajs.${codec}.${acks}`);
  }
  await admin.createTopics({
    topics: topics.map((topic) => ({ topic, numPartitions: PARTITIONS, replicationFactor: 1 })),
    waitForLeaders: true,
  });
  for (const codec of Object.keys(codecs)) {
    for (const acks of [0, 1, -1]) {
      await roundTrip(`kafkajs.${codec}.${acks}`, acks, {}, codecs[codec]);
      ok(`${PARTITIONS} × ${COUNT} records, ${codec}, acks=${acks}`);
    }
  }
  await roundTrip('kafkajs.idempotent', -1, { idempotent: true }, codecs.none);
  ok('idempotent producer');
  await administration(admin);
  await admin.disconnect();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
