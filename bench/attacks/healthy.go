package main

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// healthyTopic is what the well-behaved clients use.
const healthyTopic = "healthy"

// prepare makes the topics that the healthy clients and most attacks use.
func prepare(address string) {
	create(address, healthyTopic, 1, nil)
}

func create(address, topic string, partitions int32, configs map[string]*string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	check(err)
	defer client.Close()
	ctx, cancel := background()
	defer cancel()
	_, err = kadm.NewClient(client).CreateTopic(ctx, partitions, 1, configs, topic)
	check(err)
}

// times are the latencies of one kind of window.
type times struct {
	lock               sync.Mutex
	produced, consumed *hdrhistogram.Histogram
	errors             atomic.Int64
}

func newTimes() *times {
	histogram := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	}
	return &times{produced: histogram(), consumed: histogram()}
}

func (t *times) note(histogram *hdrhistogram.Histogram, took time.Duration) {
	t.lock.Lock()
	defer t.lock.Unlock()
	_ = histogram.RecordValue(min(max(took.Microseconds(), 1), time.Minute.Microseconds()))
}

func (t *times) summary() (produced, consumed latencies) {
	t.lock.Lock()
	defer t.lock.Unlock()
	of := func(histogram *hdrhistogram.Histogram) latencies {
		return latencies{histogram.ValueAtQuantile(50), histogram.ValueAtQuantile(99),
			histogram.Max(), histogram.TotalCount(), t.errors.Load()}
	}
	return of(t.produced), of(t.consumed)
}

// healthy clients go on from start to end; what they see is counted where they are told to.
type healthy struct {
	window atomic.Pointer[times]
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// into has the latencies of what is sent from now on counted there, or nowhere.
func (h *healthy) into(window *times) { h.window.Store(window) }

func startHealthy(address string) *healthy {
	ctx, cancel := context.WithCancel(context.Background())
	started := &healthy{cancel: cancel}
	// What was sent in which window is told by the record, whenever it arrives.
	var windows sync.Map
	started.group.Go(func() { started.produce(ctx, address, &windows) })
	started.group.Go(func() { started.consume(ctx, address, &windows) })
	return started
}

func (h *healthy) stop() {
	h.cancel()
	h.group.Wait()
}

// produce sends records at a steady rate, each with acks=all; what is late counts from when it was
// due.
func (h *healthy) produce(ctx context.Context, address string, windows *sync.Map) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ProducerLinger(0),
		kgo.DefaultProduceTopic(healthyTopic))
	check(err)
	defer client.Close()
	interval := time.Second / time.Duration(*rate)
	due := time.Now()
	for sequence := uint64(0); ctx.Err() == nil; sequence++ {
		time.Sleep(time.Until(due))
		window, sent := h.window.Load(), due
		value := make([]byte, 1000)
		binary.BigEndian.PutUint64(value, sequence)
		binary.BigEndian.PutUint64(value[8:], uint64(sent.UnixNano()))
		if window != nil {
			windows.Store(sequence, window)
		}
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			switch {
			case window == nil || ctx.Err() != nil:
			case err != nil:
				window.errors.Add(1)
			default:
				window.note(window.produced, time.Since(sent))
			}
		})
		due = due.Add(interval)
	}
}

// consume reads what is produced as it comes; what counts is how old a record is by then.
func (h *healthy) consume(ctx context.Context, address string, windows *sync.Map) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(healthyTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	check(err)
	defer client.Close()
	for ctx.Err() == nil {
		fetched := client.PollFetches(ctx)
		now := time.Now()
		fetched.EachError(func(_ string, _ int32, err error) {
			if window := h.window.Load(); window != nil && ctx.Err() == nil {
				window.errors.Add(1)
			}
		})
		fetched.EachRecord(func(record *kgo.Record) {
			sequence := binary.BigEndian.Uint64(record.Value)
			sent := time.Unix(0, int64(binary.BigEndian.Uint64(record.Value[8:])))
			if window, isCounted := windows.LoadAndDelete(sequence); isCounted {
				window := window.(*times)
				window.note(window.consumed, now.Sub(sent))
			}
		})
	}
}
