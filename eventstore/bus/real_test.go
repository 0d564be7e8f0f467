package bus

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"varve/eventstore/follow"
	"varve/eventstore/servertest"
)

// realKafka is the Kafka whose address stands in an environment variable, which
// `make up` sets; the topic is the test's own.
func realKafka(t testing.TB, variable string) Kafka {
	t.Helper()
	address := os.Getenv(variable)
	if address == "" {
		t.Skipf("%s is not set: `make up` starts a Kafka and says how it is reached", variable)
	}
	if !strings.Contains(address, "://") {
		address = "kafka://" + address
	}
	k, err := ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	k.Topic = "varve.test." + rand.Text()
	return k
}

// removed deletes a topic after the test.
func removed(t testing.TB, k Kafka) {
	t.Helper()
	t.Cleanup(func() {
		admin := administrator(t, k)
		defer admin.Close()
		_ = admin.DeleteTopic(k.TopicName())
	})
}

// ownBroker starts a broker that a test may do anything to, by the script that
// starts the others too; run does a word of that script.
func ownBroker(t *testing.T) (k Kafka, run func(word string)) {
	t.Helper()
	realKafka(t, "VARVE_TEST_KAFKA")
	told, do := servertest.Start(t, "kafka")
	return Kafka{Brokers: []string{told["VARVE_TEST_KAFKA"]}}, do
}

// Every way in that a Kafka offers carries a store's feed there and back, and a
// wrong password, a certificate that nobody knows and plain text are refused in
// one line, without the password, before the time-outs of the network.
func TestRealSASLAndTLS(t *testing.T) {
	for _, of := range []struct{ name, variable, sasl string }{
		{"PLAIN", "VARVE_TEST_KAFKA_PLAIN", "plain"},
		{"SCRAM-SHA-512", "VARVE_TEST_KAFKA_SCRAM", "scram-sha-512"},
		{"SCRAM-SHA-256", "VARVE_TEST_KAFKA_SCRAM", "scram-sha-256"},
		{"TLS", "VARVE_TEST_KAFKA_TLS", ""},
		{"SCRAM-SHA-512 over TLS", "VARVE_TEST_KAFKA_SCRAM_TLS", "scram-sha-512"},
	} {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			k := realKafka(t, of.variable)
			k.SASL = of.sasl
			removed(t, k)
			s := store(t, 2)
			topic(t, k, 2)
			r, x := relay(t, s, k, directory(t)), tail(t, s, k)
			x.patience = time.Minute // it would take the store's word for what Kafka has not brought yet
			defer running(t, x.Run)()
			live(t, x)
			defer running(t, r.Run)()
			ledgers := []*ledger{{}, {}}
			reach, stop := followed(t, x, ledgers)
			for range 2 { // the first time the store may be quicker
				put(t, s, 0, "a", 10)
				put(t, s, 1, "b", 10)
				reach()
				published(t, s, r)
				arrived(t, x, 0, 10)
				arrived(t, x, 1, 10)
			}
			published(t, s, r)
			stop()
			for shard, l := range ledgers {
				l.expect(t, s, shard)
			}
			deliveredOnce(t, s, k)
			if got := x.Stats(); got.Kafka < 20 || got.Refused > 0 {
				t.Errorf("where records came from: %+v", got)
			}
			wrong := map[string]Kafka{}
			if k.SASL != "" {
				other, none := k, k
				other.Password = "hunter2hunter2"
				none.SASL, none.User, none.Password = "", "", ""
				wrong["a wrong password"], wrong["no password"] = other, none
			}
			if k.TLS != nil {
				other, plain := k, k
				other.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
				plain.TLS = nil
				wrong["an unknown certificate"], wrong["plain text"] = other, plain
			}
			for name, w := range wrong {
				start := time.Now()
				_, err := w.Ensure(2)
				if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") || time.Since(start) > 40*time.Second {
					t.Errorf("%s, after %v: %v", name, time.Since(start), err)
				}
				t.Logf("%s, after %v: %v", name, time.Since(start).Round(time.Millisecond), err)
			}
		})
	}
}

// A topic with another number of partitions is refused, and left as it is.
func TestRealPartitions(t *testing.T) {
	k := realKafka(t, "VARVE_TEST_KAFKA")
	removed(t, k)
	topic(t, k, 3)
	var refused *PartitionsError
	if _, err := k.Ensure(5); !errors.As(err, &refused) || refused.Partitions != 3 || refused.Shards != 5 || refused.Topic != k.TopicName() {
		t.Errorf("another number of partitions: %v", err)
	}
	if _, err := k.Ensure(3); err != nil {
		t.Errorf("the same number after that: %v", err)
	}
}

// A topic deleted and made anew under relay and tail: consumers miss nothing,
// and what is published afterwards is in the new one.
func TestRealTopicMadeAnew(t *testing.T) {
	k := realKafka(t, "VARVE_TEST_KAFKA")
	removed(t, k)
	s := store(t, 1)
	topic(t, k, 1)
	x, l := tail(t, s, k), &ledger{}
	defer running(t, x.Run)()
	live(t, x)
	r := relay(t, s, k, directory(t))
	defer running(t, r.Run)()
	reach, stop := followed(t, x, []*ledger{l})
	defer stop()
	put(t, s, 0, "a", 50)
	reach()
	published(t, s, r)
	admin := administrator(t, k)
	defer admin.Close()
	if err := admin.DeleteTopic(k.TopicName()); err != nil {
		t.Fatal(err)
	}
	put(t, s, 0, "a", 50)
	reach()                 // by the store: there is no topic
	again(t, func() error { // Kafka needs a moment to forget the old one
		_, err := k.Ensure(1)
		return err
	})
	put(t, s, 0, "a", 50)
	reach()
	published(t, s, r)
	l.expect(t, s, 0)
	byKafkaAgain(t, s, r, x, 150)
	all := messages(t, k, 0)
	d, err := decode(all[len(all)-1].Headers, all[len(all)-1].Value, 0, k.source())
	if head, _ := s.Head(t.Context(), 0); err != nil || d.Feed != head {
		t.Errorf("the new topic ends at %d, the store at %d: %v", d.Feed, head, err)
	}
	reach()
	stop()
	l.expect(t, s, 0)
	t.Logf("report: topic deleted and made anew: %d records followed, none missed or doubled", len(l.taken))
}

// again does something until it succeeds.
func again(t testing.TB, do func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A consumer that retention overtook: the topic begins behind its place, and the
// rest comes from the store.
func TestRealRetentionOvertakesAConsumer(t *testing.T) {
	k := realKafka(t, "VARVE_TEST_KAFKA")
	removed(t, k)
	s := store(t, 1)
	topic(t, k, 1)
	r := relay(t, s, k, directory(t))
	defer running(t, r.Run)()
	put(t, s, 0, "a", 40)
	l := &ledger{}
	first := tail(t, s, k)
	stopTail := running(t, first.Run)
	reach, stop := followed(t, first, []*ledger{l})
	reach()
	stop()
	stopTail()
	put(t, s, 0, "a", 400) // while nobody reads
	published(t, s, r)
	admin := administrator(t, k)
	defer admin.Close()
	short := "1"
	if err := admin.IncrementalAlterConfig(sarama.TopicResource, k.TopicName(), map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &short}}, false); err != nil {
		t.Fatal(err)
	}
	c, err := k.config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := sarama.NewClient(k.Brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	oldest := int64(0)
	for deadline := time.Now().Add(60 * time.Second); oldest < 440; {
		if oldest, err = client.GetOffset(k.TopicName(), 0, sarama.OffsetOldest); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("retention removed %d of 440 messages in a minute", oldest)
		}
	}
	second := tail(t, s, k)
	defer running(t, second.Run)()
	live(t, second)
	reach, stop = followed(t, second, []*ledger{l})
	defer stop()
	put(t, s, 0, "a", 50)
	reach()
	stop()
	l.expect(t, s, 0)
	if got := second.Stats(); got.Store < 400 {
		t.Errorf("where records came from: %+v", got)
	}
	t.Logf("report: retention removed %d messages before a consumer read them: %d records followed, none missed or doubled", oldest, len(l.taken))
}

// kept is the place of a relay in a shard.
func kept(t testing.TB, s State, shard int) follow.State {
	t.Helper()
	at, err := s.Load(context.Background(), shard)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
