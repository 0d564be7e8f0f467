package bus

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"varve/eventstore"
)

const benchRecords = 50_000

func benchStore(b *testing.B) eventstore.Owner {
	b.Helper()
	s := store(b, 1)
	events := make([]eventstore.Event, 500)
	for i := range events {
		events[i] = eventstore.Event{Type: "document.changed", Data: []byte(`{"document":"doc_0123456789","fields":{"title":"a title of some length","rank":12}}`)}
	}
	for range benchRecords / len(events) {
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "bench", Stream: "s", Events: events}}}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkRelay publishes a store's feed with its place kept durably; compare
// with BenchmarkBareProducer, which sends the same number of messages of the
// same size and headers, made beforehand, with the same settings.
func BenchmarkRelay(b *testing.B) {
	k := broker(b)
	s := benchStore(b)
	topic(b, k, 1)
	p := publisher(b, k)
	for b.Loop() {
		r := &Relay{Store: s, Publisher: p, State: directory(b), Logger: quiet}
		stop := running(b, r.Run)
		published(b, s, r)
		stop()
	}
	b.ReportMetric(float64(b.N)*benchRecords/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkBareProducer is sarama's asynchronous producer alone.
func BenchmarkBareProducer(b *testing.B) {
	k := broker(b)
	all := feed(b, benchStore(b), 0)
	topic(b, k, 1)
	c, err := k.config()
	if err != nil {
		b.Fatal(err)
	}
	c.Net.MaxOpenRequests, c.Producer.Idempotent, c.Producer.RequiredAcks = 1, true, sarama.WaitForAll
	c.Producer.Return.Successes, c.Producer.Partitioner = true, sarama.NewManualPartitioner
	producer, err := sarama.NewAsyncProducer(k.Brokers, c)
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	for b.Loop() {
		b.StopTimer()
		messages := make([]*sarama.ProducerMessage, len(all))
		for i := range all {
			headers, value := encode(&all[i], "varve", defaultMaxBytes)
			messages[i] = &sarama.ProducerMessage{Topic: k.topic(), Key: sarama.StringEncoder(all[i].Log), Value: sarama.ByteEncoder(value), Headers: headers}
		}
		b.StartTimer()
		go func() {
			for _, m := range messages {
				producer.Input() <- m
			}
		}()
		for range messages {
			<-producer.Successes()
		}
	}
	b.ReportMetric(float64(b.N)*benchRecords/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkLatency is from an append to a consumer behind Kafka, one at a time.
func BenchmarkLatency(b *testing.B) {
	k := broker(b)
	s := store(b, 1)
	topic(b, k, 1)
	x, l := tail(b, s, k), &ledger{}
	x.patience = time.Minute
	defer running(b, x.Run)()
	live(b, x)
	defer running(b, relay(b, s, k, directory(b)).Run)()
	reach, stop := followed(b, x, []*ledger{l})
	defer stop()
	put(b, s, 0, "a", 1)
	reach()
	arrived(b, x, 0, 1)
	for b.Loop() {
		put(b, s, 0, "a", 1)
		reach()
	}
}
