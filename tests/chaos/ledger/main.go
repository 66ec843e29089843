// The ledger of acknowledged records, kept outside the broker.
//
//	ledger write  -b HOST:PORT -t TOPIC -p PARTITIONS -file LEDGER
//	ledger verify -b HOST:PORT -t TOPIC -p PARTITIONS -file LEDGER
//
// write sends records until SIGTERM, however often the broker dies, and adds a line to the ledger
// for each one acknowledged: partition, offset, producer, sequence, size. A record's bytes follow
// from producer and sequence, so verify can tell a changed one. verify reads every partition and
// counts what is lost, moved, changed, repeated or missing between; one line of JSON.
//
// Most producers are idempotent with acks=all: each of their records is there once. The plain ones
// have acks=1 and no sequence numbers: what a producer sends again, because the answer died with
// the broker, may be there twice, and what was acknowledged is at its offset all the same.
//
// SIGUSR1 lifts the limit of the rate, and sets it again the next time.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	flags      = flag.NewFlagSet("ledger", flag.ExitOnError)
	bootstrap  = flags.String("b", "127.0.0.1:9092", "the broker")
	topic      = flags.String("t", "ledger", "the topic; write creates it")
	partitions = flags.Int("p", 4, "its partitions")
	file       = flags.String("file", "ledger.txt", "the ledger")
	producers  = flags.Int("producers", 2, "idempotent producers, with acks=all")
	plain      = flags.Int("plain", 1, "producers with acks=1 that are not idempotent")
	rate       = flags.Int("rate", 6000, "write: records a second of each producer")
	segment    = flags.String("segment", "1048576", "write: segment.bytes of the topic")
)

// Offsets and sequences beyond it are nobody's: it bounds the tables that they index.
const numbersMax = 1 << 30

// isPlain tells the producers that may repeat themselves: those after the idempotent ones.
func isPlain(producer int) bool { return producer >= *producers }

// payload gives the bytes of a record: its name, then noise that only its name decides.
func payload(producer, sequence int) []byte {
	rand := rand.New(rand.NewPCG(uint64(producer), uint64(sequence)))
	record := fmt.Appendf(nil, "%d %d ", producer, sequence)
	for size := len(record) + rand.IntN(600); len(record) < size; {
		record = append(record, byte('a'+rand.IntN(26)))
	}
	return record
}

// name reads producer and sequence out of a record.
func name(value []byte) (producer, sequence int, ok bool) {
	fields := strings.SplitN(string(value), " ", 3)
	if len(fields) != 3 {
		return 0, 0, false
	}
	producer, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0, 0, false
	}
	sequence, err = strconv.Atoi(fields[1])
	isOurs := producer >= 0 && producer < *producers+*plain && sequence >= 0 && sequence < numbersMax
	return producer, sequence, err == nil && isOurs
}

func write() {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	var counts tally
	toggle := make(chan os.Signal, 1)
	signal.Notify(toggle, syscall.SIGUSR1)
	go func() {
		for range toggle {
			counts.isUnlimited.Store(!counts.isUnlimited.Load())
		}
	}()
	create()
	out, err := os.Create(*file)
	check(err)
	lines := make(chan string, 100000)
	written := make(chan struct{})
	go func() {
		buffered := bufio.NewWriterSize(out, 1<<20)
		for line := range lines {
			_, err := buffered.WriteString(line)
			check(err)
		}
		check(buffered.Flush())
		check(out.Close())
		close(written)
	}()
	var group sync.WaitGroup
	for producer := range *producers + *plain {
		group.Go(func() { writeAs(stop, producer, lines, &counts) })
	}
	group.Wait()
	close(lines)
	<-written
	report(map[string]int64{
		"sent": counts.sent.Load(), "acknowledged": counts.acknowledged.Load(),
		"acknowledged_plain": counts.acknowledgedPlain.Load(), "failed": counts.failed.Load(),
	})
}

// tally is shared by the producers of one run.
type tally struct {
	sent, acknowledged, acknowledgedPlain, failed atomic.Int64
	isUnlimited                                   atomic.Bool
}

func create() {
	client, err := kgo.NewClient(kgo.SeedBrokers(*bootstrap))
	check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	configs := map[string]*string{"segment.bytes": segment}
	_, err = kadm.NewClient(client).CreateTopic(ctx, int32(*partitions), 1, configs, *topic)
	check(err)
}

func writeAs(stop context.Context, producer int, lines chan<- string, counts *tally) {
	options := []kgo.Opt{kgo.SeedBrokers(*bootstrap), kgo.DefaultProduceTopic(*topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2 * time.Millisecond), kgo.MaxBufferedRecords(20000),
		kgo.ProducerBatchMaxBytes(64 << 10), kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.ProduceRequestTimeout(5 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond })}
	if isPlain(producer) {
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	} else {
		options = append(options, kgo.RequiredAcks(kgo.AllISRAcks()))
	}
	client, err := kgo.NewClient(options...)
	check(err)
	due := time.Now()
	for sequence := 0; stop.Err() == nil && sequence < numbersMax; sequence++ {
		if counts.isUnlimited.Load() {
			due = time.Now()
		} else if wait := time.Until(due); wait > time.Millisecond {
			time.Sleep(wait)
		}
		due = due.Add(time.Second / time.Duration(*rate))
		record := &kgo.Record{
			Partition: int32((producer + sequence) % *partitions),
			Value:     payload(producer, sequence),
		}
		counts.sent.Add(1)
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				log.Printf("record %d of producer %d: %v", sequence, producer, err)
				counts.failed.Add(1)
				return
			}
			counts.acknowledged.Add(1)
			if isPlain(producer) {
				counts.acknowledgedPlain.Add(1)
			}
			lines <- fmt.Sprintf("%d %d %d %d %d\n",
				r.Partition, r.Offset, producer, sequence, len(r.Value))
		})
	}
	last, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.Flush(last); err != nil {
		log.Printf("producer %d: the last records were not acknowledged: %v", producer, err)
	}
	client.Close()
}

// entry is a line of the ledger; a size of 0 is no line, for a record is never empty.
type entry struct{ producer, sequence, size int32 }

// ledger is what was acknowledged, by partition and offset, and what became of it. Offsets and
// sequences have few gaps, so plain tables hold tens of millions of them.
type ledger struct {
	entries [][]entry
	// By producer and sequence, plus one (0: never): where it was acknowledged, where it was read.
	// Its partition follows from both.
	wanted, seen [][]int32
	acknowledged int
}

// verdict is what verify found. Acknowledged, Read and Unacknowledged are counts of what may be, as
// is Resent (records of plain producers that are there again); the others must be 0.
type verdict struct {
	Acknowledged   int      `json:"acknowledged"`
	Read           int      `json:"read"`
	Lost           int      `json:"lost"`
	Moved          int      `json:"moved"`
	Changed        int      `json:"changed"`
	Repeated       int      `json:"repeated"`
	Gaps           int      `json:"gaps"`
	Resent         int      `json:"resent"`
	Unacknowledged int      `json:"unacknowledged"`
	Examples       []string `json:"examples,omitempty"`
}

func (v *verdict) add(count *int, format string, args ...any) {
	*count++
	if len(v.Examples) < 10 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// at gives the place of a table for an index, and makes the table long enough.
func at[T any](table *[]T, index int64) *T {
	if index < 0 || index >= numbersMax {
		log.Fatalf("%d is no possible offset or sequence", index)
	}
	if missing := int(index) + 1 - len(*table); missing > 0 {
		*table = append(*table, make([]T, missing)...)
	}
	return &(*table)[index]
}

func readLedger() *ledger {
	in, err := os.Open(*file)
	check(err)
	defer in.Close()
	all := *producers + *plain
	l := &ledger{make([][]entry, *partitions), make([][]int32, all), make([][]int32, all), 0}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var numbers [5]int64
		fields := strings.Fields(lines.Text())
		if len(fields) != len(numbers) {
			log.Fatalf("not a line of a ledger: %q", lines.Text())
		}
		for i, field := range fields {
			numbers[i], err = strconv.ParseInt(field, 10, 64)
			check(err)
		}
		partition, offset := numbers[0], numbers[1]
		e := entry{int32(numbers[2]), int32(numbers[3]), int32(numbers[4])}
		line := at(&l.entries[partition], offset)
		if line.size != 0 {
			log.Fatalf("offset %d of partition %d was acknowledged twice: %v, %v",
				offset, partition, *line, e)
		}
		*line = e
		*at(&l.wanted[e.producer], int64(e.sequence)) = int32(offset) + 1
		l.acknowledged++
	}
	check(lines.Err())
	return l
}

// settle compares one record of the log with the ledger, and strikes its line out.
func (l *ledger) settle(found *verdict, r *kgo.Record) {
	found.Read++
	line := at(&l.entries[r.Partition], r.Offset)
	producer, sequence, ok := name(r.Value)
	if !ok || !bytes.Equal(r.Value, payload(producer, sequence)) {
		found.add(&found.Changed, "%d of partition %d holds %.40q", r.Offset, r.Partition, r.Value)
		line.size = 0
		return
	}
	seen := at(&l.seen[producer], int64(sequence))
	wanted := *at(&l.wanted[producer], int64(sequence))
	place := int32(r.Offset) + 1
	isWanted := *line == entry{int32(producer), int32(sequence), int32(len(r.Value))}
	switch {
	case *seen != 0 && isPlain(producer):
		found.Resent++
	case *seen != 0:
		found.add(&found.Repeated, "record %d/%d at %d and %d", producer, sequence, *seen-1, r.Offset)
	case wanted == 0:
		found.Unacknowledged++
	case wanted != place && !isPlain(producer):
		found.add(&found.Moved, "record %d/%d of %d is at %d",
			producer, sequence, wanted-1, r.Offset)
		at(&l.entries[r.Partition], int64(wanted)-1).size = 0
	}
	if isWanted {
		line.size = 0
	}
	*seen = place
}

func verify() {
	l := readLedger()
	found := verdict{Acknowledged: l.acknowledged}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	readAll(ctx, &found, func(r *kgo.Record) { l.settle(&found, r) })
	for partition, entries := range l.entries {
		for offset, e := range entries {
			if e.size != 0 {
				found.add(&found.Lost, "record %d/%d of %d in partition %d",
					e.producer, e.sequence, offset, partition)
			}
		}
	}
	report(found)
	if found.Lost+found.Moved+found.Changed+found.Repeated+found.Gaps > 0 || found.Acknowledged == 0 {
		os.Exit(1)
	}
}

// readAll reads every partition from its start to its present end.
func readAll(ctx context.Context, found *verdict, each func(*kgo.Record)) {
	from := map[int32]kgo.Offset{}
	for partition := range int32(*partitions) {
		from[partition] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(*bootstrap), kgo.FetchMaxPartitionBytes(4<<20),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{*topic: from}))
	check(err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, *topic)
	check(err)
	check(ends.Error())
	next := make([]int64, *partitions)
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) { left += end.Offset })
	for left > 0 {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		fetches := client.PollFetches(limited)
		cancel()
		if err := fetches.Err(); err != nil {
			log.Fatalf("fetch, with %d records missing: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				found.add(&found.Gaps, "partition %d: offset %d after %d", r.Partition, r.Offset,
					next[r.Partition]-1)
				left -= r.Offset - next[r.Partition]
			}
			next[r.Partition] = r.Offset + 1
			left--
			each(r)
		})
	}
}

func report(value any) {
	line, err := json.Marshal(value)
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) < 2 {
		log.Fatal("ledger write|verify FLAGS")
	}
	check(flags.Parse(os.Args[2:]))
	switch os.Args[1] {
	case "write":
		write()
	case "verify":
		verify()
	default:
		log.Fatalf("ledger %s: write or verify", os.Args[1])
	}
}
