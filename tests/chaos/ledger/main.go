// The ledger of acknowledged records, kept outside the broker.
//
//	ledger write  -b HOST:PORT -t TOPIC -p PARTITIONS -file LEDGER
//	ledger verify -b HOST:PORT -t TOPIC -p PARTITIONS -file LEDGER
//
// write sends idempotent records until SIGTERM, however often the broker dies, and adds a line to
// the ledger for each one acknowledged: partition, offset, producer, sequence, size. A record's
// bytes follow from producer and sequence, so verify can tell a changed one. verify reads every
// partition and counts what is lost, moved, changed, repeated or missing between; one line of JSON.
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
	producers  = flags.Int("producers", 2, "write: how many producers")
	rate       = flags.Int("rate", 6000, "write: records a second of each producer")
	segment    = flags.String("segment", "1048576", "write: segment.bytes of the topic")
)

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
	return producer, sequence, err == nil
}

func write() {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
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
	var sent, acknowledged, failed atomic.Int64
	var group sync.WaitGroup
	for producer := range *producers {
		group.Go(func() {
			writeAs(stop, producer, lines, &sent, &acknowledged, &failed)
		})
	}
	group.Wait()
	close(lines)
	<-written
	report(map[string]any{"sent": sent.Load(), "acknowledged": acknowledged.Load(), "failed": failed.Load()})
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

func writeAs(stop context.Context, producer int, lines chan<- string,
	sent, acknowledged, failed *atomic.Int64) {
	client, err := kgo.NewClient(kgo.SeedBrokers(*bootstrap), kgo.DefaultProduceTopic(*topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.MaxBufferedRecords(20000),
		kgo.ProducerBatchMaxBytes(64<<10), kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.ProduceRequestTimeout(5*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	check(err)
	begin := time.Now()
	for sequence := 0; stop.Err() == nil; sequence++ {
		due := begin.Add(time.Duration(sequence) * time.Second / time.Duration(*rate))
		if wait := time.Until(due); wait > time.Millisecond {
			time.Sleep(wait)
		}
		record := &kgo.Record{
			Partition: int32((producer + sequence) % *partitions),
			Value:     payload(producer, sequence),
		}
		sent.Add(1)
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				log.Printf("record %d of producer %d: %v", sequence, producer, err)
				failed.Add(1)
				return
			}
			acknowledged.Add(1)
			lines <- fmt.Sprintf("%d %d %d %d %d\n", r.Partition, r.Offset, producer, sequence, len(r.Value))
		})
	}
	last, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.Flush(last); err != nil {
		log.Printf("producer %d: the last records were not acknowledged: %v", producer, err)
	}
	client.Close()
}

type place struct {
	partition int32
	offset    int64
}

type entry struct{ producer, sequence, size int }

// verdict is what verify found; each count but Acknowledged, Read and Unacknowledged must be 0.
type verdict struct {
	Acknowledged   int      `json:"acknowledged"`
	Read           int      `json:"read"`
	Lost           int      `json:"lost"`
	Moved          int      `json:"moved"`
	Changed        int      `json:"changed"`
	Repeated       int      `json:"repeated"`
	Gaps           int      `json:"gaps"`
	Unacknowledged int      `json:"unacknowledged"`
	Examples       []string `json:"examples,omitempty"`
}

func (v *verdict) add(count *int, format string, args ...any) {
	*count++
	if len(v.Examples) < 10 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

func readLedger() map[place]entry {
	in, err := os.Open(*file)
	check(err)
	defer in.Close()
	ledger := map[place]entry{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var at place
		var e entry
		_, err := fmt.Sscan(lines.Text(), &at.partition, &at.offset, &e.producer, &e.sequence, &e.size)
		check(err)
		if old, isTaken := ledger[at]; isTaken {
			log.Fatalf("offset %v was acknowledged twice: %v, %v", at, old, e)
		}
		ledger[at] = e
	}
	return ledger
}

func verify() {
	ledger := readLedger()
	found := verdict{Acknowledged: len(ledger)}
	wanted := map[entry]place{}
	for at, e := range ledger {
		wanted[e] = at
	}
	seen := map[[2]int]place{}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	readAll(ctx, &found, func(r *kgo.Record) {
		at := place{r.Partition, r.Offset}
		found.Read++
		producer, sequence, ok := name(r.Value)
		if !ok || !bytes.Equal(r.Value, payload(producer, sequence)) {
			found.add(&found.Changed, "%v holds %.40q", at, r.Value)
			delete(ledger, at)
			return
		}
		if first, isThere := seen[[2]int{producer, sequence}]; isThere {
			found.add(&found.Repeated, "record %d/%d at %v and %v", producer, sequence, first, at)
		}
		seen[[2]int{producer, sequence}] = at
		e := entry{producer, sequence, len(r.Value)}
		switch expected, isWanted := wanted[e]; {
		case !isWanted:
			found.Unacknowledged++
		case expected != at:
			found.add(&found.Moved, "record %d/%d of %v is at %v", producer, sequence, expected, at)
			delete(ledger, expected)
		default:
			delete(ledger, at)
		}
	})
	for at, e := range ledger {
		found.add(&found.Lost, "record %d/%d of %v", e.producer, e.sequence, at)
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
