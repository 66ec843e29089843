// The compatibility checks of sarama, the client of Filebeat and Telegraf, at one configured
// protocol version: 1.0.0 sends no ApiVersions and Produce 3, 2.1.0 sends Produce 7.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
)

const (
	partitions = 2
	count      = 400
)

var (
	bootstrap = []string{os.Args[1]}
	version   sarama.KafkaVersion
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

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = version
	// What an agent of that age sends: 1.0.0 does not ask for the broker's versions.
	config.ApiVersionsRequest = version.IsAtLeast(sarama.V2_1_0_0)
	config.Metadata.Retry.Backoff = 50 * time.Millisecond
	config.Producer.Retry.Backoff = 50 * time.Millisecond
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Consumer.Return.Errors = true
	return config
}

func value(topic string, partition int32, i int) string {
	return fmt.Sprintf("%s/%d record %06d, padded so that a codec finds something",
		topic, partition, i)
}

func produce(topic string, hasOffsets bool, config *sarama.Config) {
	config.Producer.Flush.Frequency = 2 * time.Millisecond
	producer := must(sarama.NewAsyncProducer(bootstrap, config))
	go func() {
		for i := range count {
			for partition := range int32(partitions) {
				producer.Input() <- &sarama.ProducerMessage{
					Topic: topic, Partition: partition, Metadata: i,
					Key:     sarama.StringEncoder(fmt.Sprintf("key-%d", i%7)),
					Value:   sarama.StringEncoder(value(topic, partition, i)),
					Headers: []sarama.RecordHeader{{Key: []byte("n"), Value: fmt.Append(nil, i)}},
				}
			}
		}
		producer.AsyncClose()
	}()
	done := make(chan int)
	go func() {
		acknowledged := 0
		for message := range producer.Successes() {
			if hasOffsets && message.Offset != int64(message.Metadata.(int)) {
				fail("%s: offset %d, expected %d", topic, message.Offset, message.Metadata)
			}
			acknowledged++
		}
		done <- acknowledged
	}()
	for err := range producer.Errors() {
		fail("produce %s: %v", topic, err)
	}
	if acknowledged := <-done; acknowledged != partitions*count {
		fail("produce %s: %d acknowledged", topic, acknowledged)
	}
}

func consume(topic string) {
	consumer := must(sarama.NewConsumer(bootstrap, config()))
	defer consumer.Close()
	for partition := range int32(partitions) {
		part := must(consumer.ConsumePartition(topic, partition, sarama.OffsetOldest))
		late := time.After(20 * time.Second)
		for i := range count {
			select {
			case m := <-part.Messages():
				isSame := m.Offset == int64(i) && string(m.Value) == value(topic, partition, i) &&
					string(m.Key) == fmt.Sprintf("key-%d", i%7) && len(m.Headers) == 1 &&
					string(m.Headers[0].Value) == fmt.Sprint(i)
				if !isSame {
					fail("%s-%d: record %d came back as %d %q", topic, partition, i, m.Offset, m.Value)
				}
			case err := <-part.Errors():
				fail("fetch %s-%d: %v", topic, partition, err)
			case <-late:
				fail("fetch %s-%d: only %d records came", topic, partition, i)
			}
		}
		if err := part.Close(); err != nil {
			fail("close %s-%d: %v", topic, partition, err)
		}
	}
}

func codecsAndAcks(admin sarama.ClusterAdmin, client sarama.Client) {
	codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP,
		sarama.CompressionSnappy, sarama.CompressionLZ4}
	if version.IsAtLeast(sarama.V2_1_0_0) {
		codecs = append(codecs, sarama.CompressionZSTD)
	}
	acks := []sarama.RequiredAcks{sarama.NoResponse, sarama.WaitForLocal, sarama.WaitForAll}
	name := func(codec sarama.CompressionCodec, acks sarama.RequiredAcks) string {
		return fmt.Sprintf("sarama.%s.%s.%d", version, codec, acks)
	}
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}
	for _, codec := range codecs {
		for _, acks := range acks {
			if err := admin.CreateTopic(name(codec, acks), &detail, false); err != nil {
				fail("create %s: %v", name(codec, acks), err)
			}
		}
	}
	for _, codec := range codecs {
		for _, acks := range acks {
			topic := name(codec, acks)
			// With acks=0 nobody tells that a partition has no leader yet: wait until it has.
			for partition := range int32(partitions) {
				for range 100 {
					if _, err := client.GetOffset(topic, partition, sarama.OffsetNewest); err == nil {
						break
					}
					client.RefreshMetadata(topic)
					time.Sleep(20 * time.Millisecond)
				}
			}
			config := config()
			config.Producer.Compression = codec
			config.Producer.RequiredAcks = acks
			produce(topic, acks != sarama.NoResponse, config)
			consume(topic)
			ok("%d × %d records, %s, acks=%d", partitions, count, codec, acks)
		}
	}
}

func idempotent(admin sarama.ClusterAdmin) {
	topic := fmt.Sprintf("sarama.%s.idempotent", version)
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}
	if err := admin.CreateTopic(topic, &detail, false); err != nil {
		fail("create %s: %v", topic, err)
	}
	config := config()
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	produce(topic, true, config)
	consume(topic)
	ok("idempotent producer")
}

func offsetsAndTopics(admin sarama.ClusterAdmin, client sarama.Client) {
	topic := fmt.Sprintf("sarama.%s.none.-1", version)
	newest := must(client.GetOffset(topic, 0, sarama.OffsetNewest))
	oldest := must(client.GetOffset(topic, 0, sarama.OffsetOldest))
	past := must(client.GetOffset(topic, 0, time.Now().Add(-time.Hour).UnixMilli()))
	if newest != count || oldest != 0 || past != 0 {
		fail("offsets: %d to %d, an hour ago %d", oldest, newest, past)
	}
	ok("offsets: start, end, of a time")
	if err := admin.DeleteRecords(topic, map[int32]int64{1: 100}); err != nil {
		fail("delete records: %v", err)
	}
	if oldest = must(client.GetOffset(topic, 1, sarama.OffsetOldest)); oldest != 100 {
		fail("start after delete records: %d", oldest)
	}
	// At 1.0.0 sarama sends DescribeConfigs 0, which Kafka has not answered since 4.0.
	if version.IsAtLeast(sarama.V2_1_0_0) {
		resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic}
		if entries := must(admin.DescribeConfig(resource)); len(entries) < 20 {
			fail("%d configs of a topic", len(entries))
		}
	}
	if err := admin.DeleteTopic(topic); err != nil {
		fail("delete topic: %v", err)
	}
	ok("delete records, delete topic")
}

func main() {
	version = must(sarama.ParseKafkaVersion(os.Args[2]))
	client := must(sarama.NewClient(bootstrap, config()))
	admin := must(sarama.NewClusterAdminFromClient(client))
	codecsAndAcks(admin, client)
	if version.IsAtLeast(sarama.V2_1_0_0) {
		idempotent(admin)
	}
	offsetsAndTopics(admin, client)
}
