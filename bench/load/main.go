// load drives a broker with franz-go and prints one line of JSON: the same program for every broker
// that is compared.
//
//	load -mode produce   records as fast as they go, or at a rate; latency from Produce to its
//	                     acknowledgement
//	load -mode consume   reads the topic from its start until -n records came
//	load -mode e2e       each client sends one record, waits until it has read it back, and repeats
//
// Percentiles are of an HDR histogram with three digits. With -rate the latency counts from when a
// record was due, so a stall is not hidden by the records that it held up.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap  = flag.String("b", "127.0.0.1:9092", "the broker")
	topic      = flag.String("t", "load", "the topic, created if it is missing")
	partitions = flag.Int("p", 4, "its partitions")
	mode       = flag.String("mode", "produce", "produce, consume or e2e")
	records    = flag.Int("n", 1000000, "records of all clients together")
	size       = flag.Int("size", 1024, "bytes of a record")
	batch      = flag.Int("batch", 1000000, "bytes of a batch at most")
	linger     = flag.Duration("linger", 5*time.Millisecond, "how long a batch waits to fill")
	acks       = flag.String("acks", "all", "0, 1 or all")
	clients    = flag.Int("clients", 1, "clients")
	rate       = flag.Int("rate", 0, "produce: records a second of all clients (0: no limit)")
	limit      = flag.Duration("limit", time.Minute, "give up after")
)

// result is what one run found; latencies are in microseconds.
type result struct {
	Mode          string  `json:"mode"`
	Records       int64   `json:"records"`
	Errors        int64   `json:"errors"`
	Seconds       float64 `json:"seconds"`
	RecordsPerSec float64 `json:"records_per_second"`
	MBPerSec      float64 `json:"mb_per_second"`
	P50us         int64   `json:"p50_us"`
	P99us         int64   `json:"p99_us"`
	P999us        int64   `json:"p999_us"`
	MaxUs         int64   `json:"max_us"`
}

// tally is shared by the clients; each has its own histogram and merges it at its end.
type tally struct {
	done, failed atomic.Int64
	lock         sync.Mutex
	latency      *hdrhistogram.Histogram
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

func (t *tally) merge(one *hdrhistogram.Histogram) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.latency.Merge(one)
}

func options(more ...kgo.Opt) []kgo.Opt {
	all := []kgo.Opt{kgo.SeedBrokers(*bootstrap), kgo.DefaultProduceTopic(*topic),
		kgo.ProducerBatchMaxBytes(int32(*batch)), kgo.ProducerLinger(*linger),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200000),
		kgo.MetadataMinAge(100 * time.Millisecond)}
	switch *acks {
	case "0":
		all = append(all, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		all = append(all, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "all":
		all = append(all, kgo.RequiredAcks(kgo.AllISRAcks()))
	default:
		log.Fatalf("-acks %s: 0, 1 or all", *acks)
	}
	return append(all, more...)
}

func newClient(more ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(options(more...)...)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

func create(ctx context.Context) {
	client := newClient()
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, int32(*partitions), 1, nil, *topic); err != nil {
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			log.Fatalf("creating %s: %v", *topic, err)
		}
		return
	}
	for ctx.Err() == nil {
		if ends, err := admin.ListEndOffsets(ctx, *topic); err == nil && ends.Error() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func noise() []byte {
	payload := make([]byte, *size)
	rand := rand.NewChaCha8([32]byte{})
	rand.Read(payload)
	return payload
}

func produce(ctx context.Context, share int, all *tally) {
	client := newClient()
	defer client.Close()
	payload, latency := noise(), newHistogram()
	var lock sync.Mutex
	begin := time.Now()
	for i := 0; i < share && ctx.Err() == nil; i++ {
		// Unlimited, the clock of every record would cost more than the record.
		isSampled, from := *rate > 0 || i%16 == 0, time.Time{}
		if *rate > 0 {
			from = begin.Add(time.Duration(float64(i) * float64(*clients) / float64(*rate) * 1e9))
			time.Sleep(time.Until(from))
		} else if isSampled {
			from = time.Now()
		}
		client.Produce(ctx, &kgo.Record{Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				if all.failed.Add(1) == 1 {
					log.Printf("the first error: %v", err)
				}
				return
			}
			all.done.Add(1)
			if isSampled {
				lock.Lock()
				latency.RecordValue(max(1, time.Since(from).Microseconds()))
				lock.Unlock()
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		log.Print(err)
	}
	lock.Lock()
	defer lock.Unlock()
	all.merge(latency)
}

func consume(ctx context.Context, share int, all *tally) {
	client := newClient(kgo.ConsumeTopics(*topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(8<<20))
	defer client.Close()
	for got := 0; got < share && ctx.Err() == nil; {
		fetches := client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			if ctx.Err() == nil {
				log.Print(failure.Err)
				all.failed.Add(1)
			}
		}
		got += fetches.NumRecords()
		all.done.Add(int64(fetches.NumRecords()))
	}
}

func endToEnd(ctx context.Context, index, share int, all *tally) {
	partition := int32(index % *partitions)
	at := map[string]map[int32]kgo.Offset{*topic: {partition: kgo.NewOffset().AtEnd()}}
	client := newClient(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ConsumePartitions(at), kgo.FetchMaxWait(500*time.Millisecond))
	defer client.Close()
	payload, latency := noise(), newHistogram()
	copy(payload, fmt.Sprintf("client %02d", index))
	arrived := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			// A closed client answers at once, over and over.
			if fetches.IsClientClosed() {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				// Another client may share the partition.
				if len(r.Value) == len(payload) && string(r.Value[:9]) == string(payload[:9]) {
					arrived <- struct{}{}
				}
			})
		}
	}()
	const warmup = 20
	for i := range share + warmup {
		// The consumer's place at the end is known only once its first fetch waits there.
		if i == 0 {
			time.Sleep(500 * time.Millisecond)
		}
		from := time.Now()
		record := &kgo.Record{Partition: partition, Value: payload}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			all.failed.Add(1)
			continue
		}
		select {
		case <-arrived:
			if i >= warmup {
				latency.RecordValue(max(1, time.Since(from).Microseconds()))
				all.done.Add(1)
			}
		case <-ctx.Done():
			all.failed.Add(1)
			return
		}
	}
	all.merge(latency)
}

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	if *mode == "e2e" {
		// With 3 MB alive the collector would run ten times a second, for a percent of the time in
		// all: the 99th percentile would be its own, whatever the broker.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(512 << 20)
	}
	create(ctx)
	all := &tally{latency: newHistogram()}
	share := *records / *clients
	begin := time.Now()
	var group sync.WaitGroup
	for index := range *clients {
		group.Go(func() {
			switch *mode {
			case "produce":
				produce(ctx, share, all)
			case "consume":
				consume(ctx, share, all)
			case "e2e":
				endToEnd(ctx, index, share, all)
			default:
				log.Fatalf("-mode %s: produce, consume or e2e", *mode)
			}
		})
	}
	group.Wait()
	seconds := time.Since(begin).Seconds()
	perSecond := float64(all.done.Load()) / seconds
	line, err := json.Marshal(result{
		Mode: *mode, Records: all.done.Load(), Errors: all.failed.Load(), Seconds: seconds,
		RecordsPerSec: perSecond, MBPerSec: perSecond * float64(*size) / 1e6,
		P50us: all.latency.ValueAtQuantile(50), P99us: all.latency.ValueAtQuantile(99),
		P999us: all.latency.ValueAtQuantile(99.9), MaxUs: all.latency.Max(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
