// The compatibility checks of franz-go, which speaks the newest version of everything: produce with
// every codec and acks, read back in order, fetch sessions, administration by kadm.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap = os.Args[1]
	ctx       context.Context
)

func ok(format string, args ...any) { fmt.Printf("  ok "+format+"\n", args...) }

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "FAIL "+format+"\n", args...)
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func newClient(options ...kgo.Opt) *kgo.Client {
	options = append(options, kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(50*time.Millisecond))
	return must(kgo.NewClient(options...))
}

func value(topic string, partition int32, i int) []byte {
	return fmt.Appendf(nil, "%s/%d record %06d, padded so that a codec has something to do", topic,
		partition, i)
}

// produce sends count records to each partition and checks the offsets that come back.
func produce(topic string, partitions int32, count int, hasOffsets bool, options ...kgo.Opt) {
	client := newClient(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(2*time.Millisecond))...)
	defer client.Close()
	var failure error
	for i := range count {
		for partition := range partitions {
			want := int64(i)
			record := &kgo.Record{
				Partition: partition,
				Key:       fmt.Appendf(nil, "key-%d", i%7),
				Value:     value(topic, partition, i),
				Headers:   []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
			}
			client.Produce(ctx, record, func(r *kgo.Record, err error) {
				if err == nil && hasOffsets && r.Offset != want {
					err = fmt.Errorf("offset %d, expected %d", r.Offset, want)
				}
				if err != nil && failure == nil {
					failure = err
				}
			})
		}
	}
	if err := client.Flush(ctx); err != nil {
		fail("flush %s: %v", topic, err)
	}
	if failure != nil {
		fail("produce %s: %v", topic, failure)
	}
}

// consume reads each partition from its start and checks every byte, in order.
func consume(topic string, partitions int32, count int, options ...kgo.Opt) {
	from := map[int32]kgo.Offset{}
	for partition := range partitions {
		from[partition] = kgo.NewOffset().AtStart()
	}
	client := newClient(append(options,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	defer client.Close()
	next := make([]int, partitions)
	for left := count * int(partitions); left > 0; {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		fetches := client.PollFetches(limited)
		cancel()
		if err := fetches.Err(); err != nil {
			fail("fetch %s with %d records missing: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			i := next[r.Partition]
			isSame := r.Offset == int64(i) && bytes.Equal(r.Value, value(topic, r.Partition, i)) &&
				string(r.Key) == fmt.Sprintf("key-%d", i%7) && len(r.Headers) == 1 &&
				string(r.Headers[0].Value) == fmt.Sprint(i)
			if !isSame {
				fail("%s-%d: record %d came back as %d %q", topic, r.Partition, i, r.Offset, r.Value)
			}
			next[r.Partition]++
			left--
		})
	}
}

func codecsAndAcks(admin *kadm.Client) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string][]kgo.Opt{
		"0":   {kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()},
		"1":   {kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()},
		"all": {kgo.RequiredAcks(kgo.AllISRAcks())},
	}
	var topics []string
	for codec := range codecs {
		for name := range acks {
			topics = append(topics, "franz."+codec+"."+name)
		}
	}
	must(admin.CreateTopics(ctx, 3, 1, nil, topics...))
	// With acks=0 nobody tells that a partition has no leader yet: wait until all have.
	for must(admin.ListEndOffsets(ctx, topics...)).Error() != nil {
		time.Sleep(50 * time.Millisecond)
	}
	for codec, compression := range codecs {
		for name, options := range acks {
			topic := "franz." + codec + "." + name
			options = append([]kgo.Opt{kgo.ProducerBatchCompression(compression)}, options...)
			produce(topic, 3, 700, name != "0", options...)
			consume(topic, 3, 700)
			ok("3 × 700 records, %s, acks=%s", codec, name)
		}
	}
}

func fetchModes(admin *kadm.Client) {
	const topic = "franz.none.all"
	consume(topic, 3, 700, kgo.DisableFetchSessions())
	ok("fetch without sessions")
	consume(topic, 3, 700, kgo.FetchMaxBytes(4096), kgo.FetchMaxPartitionBytes(512))
	ok("fetch in answers of 4 KiB, through sessions")

	ends := must(admin.ListEndOffsets(ctx, topic))
	starts := must(admin.ListStartOffsets(ctx, topic))
	for partition := range int32(3) {
		start, _ := starts.Lookup(topic, partition)
		end, _ := ends.Lookup(topic, partition)
		if start.Offset != 0 || end.Offset != 700 || start.Err != nil || end.Err != nil {
			fail("offsets of %s-%d: %v to %v", topic, partition, start, end)
		}
	}
	after := must(admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-time.Hour).UnixMilli(), topic))
	if first, _ := after.Lookup(topic, 1); first.Offset != 0 {
		fail("offset of an hour ago: %v", first)
	}
	ok("offsets: start, end, of a time")

	// A range that ended answers OFFSET_OUT_OF_RANGE, and the reset policy takes over.
	client := newClient(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().At(5000)}}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	fetches := client.PollFetches(limited)
	if records := fetches.Records(); len(records) == 0 || records[0].Offset != 0 {
		fail("an offset beyond the end was not reset: %v", fetches.Err())
	}
	ok("an offset beyond the end is refused, then reset")
}

func wake(admin *kadm.Client) {
	const topic = "franz.wake"
	must(admin.CreateTopic(ctx, 1, 1, nil, topic))
	client := newClient(kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.FetchMaxWait(5*time.Second),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	defer client.Close()
	for i := range 20 {
		time.Sleep(20 * time.Millisecond)
		begin := time.Now()
		want := fmt.Append(nil, i)
		if err := client.ProduceSync(ctx, &kgo.Record{Value: want}).FirstErr(); err != nil {
			fail("produce %s: %v", topic, err)
		}
		records := client.PollFetches(ctx).Records()
		if len(records) != 1 || !bytes.Equal(records[0].Value, want) {
			fail("%s: %d records at once", topic, len(records))
		}
		if took := time.Since(begin); took > 3*time.Second {
			fail("a waiting fetch was woken only after %v", took)
		}
	}
	ok("a waiting fetch is woken by each of 20 records")
}

func administration(admin *kadm.Client) {
	const topic = "franz.admin"
	days := "86400000"
	created := must(admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &days}, topic))
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		fail("a topic created twice: %v", err)
	}
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, "../up"); !errors.Is(err,
		kerr.InvalidTopicException) {
		fail("a topic named ../up: %v", err)
	}
	detail := must(admin.ListTopics(ctx, topic))[topic]
	if detail.ID != created.ID || len(detail.Partitions) != 2 {
		fail("the topic's id or partitions: %v, created %v", detail, created)
	}
	ok("create, create again, a bad name, the topic's id")

	if r := must(admin.CreatePartitions(ctx, 3, topic)); r.Error() != nil || detail.Err != nil {
		fail("create partitions: %v", r.Error())
	}
	if detail = must(admin.ListTopics(ctx, topic))[topic]; len(detail.Partitions) != 5 {
		fail("%d partitions, expected 5", len(detail.Partitions))
	}
	ok("three more partitions")

	hour := "3600000"
	altered := must(admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "segment.ms", Value: &hour},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
	}, topic))
	if altered[0].Err != nil {
		fail("alter configs: %v", altered[0].Err)
	}
	described := must(must(admin.DescribeTopicConfigs(ctx, topic)).On(topic, nil))
	seen := map[string]string{}
	for _, config := range described.Configs {
		seen[config.Key] = config.MaybeValue()
	}
	if seen["segment.ms"] != hour || seen["retention.ms"] != "604800000" {
		fail("configs: segment.ms=%s retention.ms=%s", seen["segment.ms"], seen["retention.ms"])
	}
	ok("configs: set, reset to the default, described")

	produce(topic, 5, 100, true)
	var cut kadm.Offsets
	cut.Add(kadm.Offset{Topic: topic, Partition: 2, At: 40, LeaderEpoch: -1})
	deleted := must(admin.DeleteRecords(ctx, cut))
	if answer, _ := deleted.Lookup(topic, 2); answer.Err != nil || answer.LowWatermark != 40 {
		fail("delete records: %v", answer)
	}
	starts := must(admin.ListStartOffsets(ctx, topic))
	if start, _ := starts.Lookup(topic, 2); start.Offset != 40 {
		fail("start after delete records: %d", start.Offset)
	}
	ok("delete records up to 40")

	partitions := kadm.TopicsSet{topic: {0: {}, 1: {}, 2: {}, 3: {}, 4: {}}}
	dirs := must(admin.DescribeAllLogDirs(ctx, partitions))
	sizes := 0
	dirs.Each(func(dir kadm.DescribedLogDir) {
		dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Size > 0 {
				sizes++
			}
		})
	})
	if sizes != 5 {
		fail("log dirs tell %d sizes, expected 5", sizes)
	}
	metadata := must(admin.BrokerMetadata(ctx))
	if len(metadata.Brokers) != 1 || metadata.Cluster == "" {
		fail("metadata: %v", metadata)
	}
	ok("log dirs, cluster id, brokers")

	if r := must(admin.DeleteTopics(ctx, topic)); r[topic].Err != nil {
		fail("delete topic: %v", r[topic].Err)
	}
	for range 100 {
		detail = must(admin.ListTopics(ctx, topic))[topic]
		if errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
			ok("delete")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	fail("a deleted topic stays: %v", detail)
}

func main() {
	var cancel context.CancelFunc
	ctx, cancel = context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	client := newClient()
	defer client.Close()
	admin := kadm.NewClient(client)
	codecsAndAcks(admin)
	fetchModes(admin)
	wake(admin)
	administration(admin)
}
