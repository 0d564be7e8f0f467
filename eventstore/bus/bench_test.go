package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/jackc/pgx/v5"

	"varve/eventstore"
	"varve/eventstore/postgres"
	"varve/eventstore/storetest"
)

const benchRounds = 5

// benchDatabase is a new database in the PostgreSQL that VARVE_TEST_POSTGRES names.
func benchDatabase(b *testing.B) string {
	b.Helper()
	dsn := os.Getenv("VARVE_TEST_POSTGRES")
	if dsn == "" {
		b.Skip("VARVE_TEST_POSTGRES is not set: `make up` starts a server and says how it is reached")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		b.Fatal(err)
	}
	name := "varve_bus_" + strings.ToLower(rand.Text())
	run := func(sql string) {
		c, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(context.Background(), sql); err != nil {
			b.Fatal(err)
		}
	}
	run("CREATE DATABASE " + name)
	b.Cleanup(func() { run("DROP DATABASE " + name + " WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

func openPostgres(b *testing.B, dsn string) eventstore.Owner {
	b.Helper()
	s, err := postgres.Open(context.Background(), dsn, postgres.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

// BenchmarkRelay publishes a store's feed with its place kept durably, beside
// sarama's asynchronous producer alone, which sends the same messages, made
// beforehand, with the same settings; both in turns.
func BenchmarkRelay(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchRelay(b, store(b, 1)) })
	b.Run("postgres", func(b *testing.B) { benchRelay(b, openPostgres(b, benchDatabase(b))) })
}

func benchRelay(b *testing.B, s eventstore.Owner) {
	k := broker(b)
	if err := storetest.Preload(s); err != nil {
		b.Fatal(err)
	}
	all := feed(b, s, 0)
	topic(b, k, 1)
	p, producer := publisher(b, k), bareProducer(b, k)
	var ours, theirs time.Duration
	var ratios []float64
	for round := range benchRounds + 1 {
		r := &Relay{Store: s, Publisher: p, State: directory(b), Logger: quiet}
		began := time.Now()
		stop := running(b, r.Run)
		published(b, s, r)
		stop()
		mine := time.Since(began)
		other := sendAll(b, k, producer, all)
		if round == 0 { // warming up
			continue
		}
		ours, theirs = ours+mine, theirs+other
		ratios = append(ratios, other.Seconds()/mine.Seconds())
	}
	n := float64(benchRounds * len(all))
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n/ours.Seconds(), "events/s")
	b.ReportMetric(50_000, "events/s>=")
	b.ReportMetric(n/theirs.Seconds(), "bare/s")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}

func bareProducer(b *testing.B, k Kafka) sarama.AsyncProducer {
	c, err := k.config()
	if err != nil {
		b.Fatal(err)
	}
	c.Net.MaxOpenRequests, c.Producer.Idempotent, c.Producer.RequiredAcks = 1, true, sarama.WaitForAll
	c.Producer.Return.Successes, c.Producer.Return.Errors, c.Producer.Partitioner = true, true, sarama.NewManualPartitioner
	producer, err := sarama.NewAsyncProducer(k.Brokers, c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = producer.Close() })
	return producer
}

// sendAll sends what it made beforehand, and waits for what became of it.
func sendAll(b *testing.B, k Kafka, producer sarama.AsyncProducer, all []eventstore.Record) time.Duration {
	messages := make([]*sarama.ProducerMessage, len(all))
	for i := range all {
		headers, value := encode(&all[i], "varve", defaultMaxBytes)
		messages[i] = &sarama.ProducerMessage{Topic: k.TopicName(), Key: sarama.StringEncoder(all[i].Log), Value: sarama.ByteEncoder(value), Headers: headers}
	}
	began := time.Now()
	go func() {
		for _, m := range messages {
			producer.Input() <- m
		}
	}()
	var errs []error
	for range messages {
		select {
		case <-producer.Successes():
		case e := <-producer.Errors():
			errs = append(errs, e)
		}
	}
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
