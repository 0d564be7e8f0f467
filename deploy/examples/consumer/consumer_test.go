package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"varve/eventstore"
	"varve/eventstore/bus"
	"varve/eventstore/memory"
)

const shards = 2

// published is a topic that a store's records are sent to.
type published struct {
	kafka   bus.Kafka
	records [shards][]eventstore.Record
	sender  *bus.Publisher
}

// publish makes a store with n records a shard, and their topic.
func publish(t *testing.T, brokers string, n int) *published {
	t.Helper()
	p := &published{kafka: bus.Kafka{Brokers: strings.Split(brokers, ","), Topic: "varve.test." + rand.Text()}}
	store, err := memory.Open(memory.Options{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for shard := range shards {
		for i := range n {
			if _, err := store.Append(t.Context(), eventstore.Append{Shard: shard, Batches: []eventstore.Batch{{
				Log: eventstore.LogID(fmt.Sprint("log-", shard)), Stream: fmt.Sprint("object-", i%7), Expect: eventstore.Any(),
				Events: []eventstore.Event{{Type: "object.saved", Data: fmt.Appendf(nil, `{"object_id":"obj_%d","fields":{"text":"það"}}`, i)}},
			}}}); err != nil {
				t.Fatal(err)
			}
		}
		for r, err := range store.Feed(t.Context(), shard, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			p.records[shard] = append(p.records[shard], r)
		}
	}
	most, err := p.kafka.Ensure(shards)
	if err != nil {
		t.Fatal(err)
	}
	if p.sender, err = p.kafka.NewPublisher(most); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.sender.Close() })
	return p
}

// send publishes records of every shard, from and to as slices have it.
func (p *published) send(t *testing.T, from, to int) {
	t.Helper()
	for shard := range shards {
		if _, err := p.sender.Send(t.Context(), p.records[shard][from:to]); err != nil {
			t.Fatal(err)
		}
	}
}

// noise puts messages into the topic that are none of Varve's, one of which looks as if it were.
func (p *published) noise(t *testing.T) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	alike := []kgo.RecordHeader{}
	for _, name := range []string{"ce_log", "ce_position", "ce_type", "ce_subject", "ce_time"} {
		alike = append(alike, kgo.RecordHeader{Key: name, Value: []byte("noise")})
	}
	alike = append(alike, kgo.RecordHeader{Key: "ce_specversion", Value: []byte("1.0")}, kgo.RecordHeader{Key: "ce_shard", Value: []byte("0")}, kgo.RecordHeader{Key: "ce_feedposition", Value: []byte("41")})
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: p.kafka.Topic, Value: []byte("noise")}, &kgo.Record{Topic: p.kafka.Topic, Headers: alike}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consumer runs an example once, until nothing comes any more, and gives what it printed.
type consumer func(t *testing.T, p *published, places string) (out, notes string)

// everyEventOnce holds a consumer to what docs/events.md says: repeats, noise, a restart, a lost
// offset and a gap change nothing of what it printed, and the gap is told.
func everyEventOnce(t *testing.T, brokers string, run consumer) {
	t.Helper()
	p, places := publish(t, brokers, 60), filepath.Join(t.TempDir(), "places.json")
	p.send(t, 0, 30)
	p.send(t, 10, 40) // some of it again, as after a relay was killed
	p.noise(t)
	out, notes := run(t, p, places)
	expect(t, p, out, 0, 40)
	if !strings.Contains(notes, "no CloudEvent") || strings.Contains(notes, "gap") {
		t.Errorf("notes: %s", notes)
	}
	p.send(t, 35, 50)
	out, _ = run(t, p, places)
	expect(t, p, out, 40, 50)
	p.send(t, 55, 60)
	out, notes = run(t, p, places)
	expect(t, p, out, 55, 60)
	if !strings.Contains(notes, "shard 1: 51 to 55") {
		t.Errorf("the gap is not told: %s", notes)
	}
}

func expect(t *testing.T, p *published, out string, from, to int) {
	t.Helper()
	var got [shards][]event
	for line := range strings.Lines(out) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		shard := int(e.Shard[0] - '0')
		got[shard] = append(got[shard], e)
	}
	for shard := range shards {
		if len(got[shard]) != to-from {
			t.Fatalf("shard %d: %d events, want %d", shard, len(got[shard]), to-from)
		}
		for i, e := range got[shard] {
			r := p.records[shard][from+i]
			var data bytes.Buffer
			if err := json.Compact(&data, e.Data); err != nil {
				t.Fatal(err)
			}
			if e.Feed != r.Feed || e.Type != r.Type || e.Log != string(r.Log) || e.Subject != r.Stream || e.Position != fmt.Sprint(r.Position) || data.String() != string(r.Data) {
				t.Fatalf("shard %d: event %+v of record %+v", shard, e, r)
			}
		}
	}
}

func inGo(t *testing.T, p *published, places string) (string, string) {
	t.Helper()
	var out, notes bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := consume(ctx, settings{strings.Join(p.kafka.Brokers, ","), p.kafka.Topic, "group-" + p.kafka.Topic, places, 3 * time.Second}, &out, &notes); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	return out.String(), notes.String()
}

func inPython(t *testing.T, p *published, places string) (string, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Getenv("VARVE_CLIENT_PYTHON"), "consumer.py", "--brokers", strings.Join(p.kafka.Brokers, ","),
		"--topic", p.kafka.Topic, "--group", "group-"+p.kafka.Topic, "--places", places, "--idle", "4")
	var out, notes bytes.Buffer
	c.Stdout, c.Stderr = &out, &notes
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, notes.String())
	}
	return out.String(), notes.String()
}

func TestConsumer(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	everyEventOnce(t, c.ListenAddrs()[0], inGo)
}

// TestConsumersOnKafka runs both examples against a real server.
func TestConsumersOnKafka(t *testing.T) {
	brokers := os.Getenv("VARVE_TEST_KAFKA")
	if brokers == "" || os.Getenv("VARVE_CLIENT_PYTHON") == "" {
		t.Skip("VARVE_TEST_KAFKA (host:port) and VARVE_CLIENT_PYTHON (a python with requirements.txt) are not both set; make test sets them")
	}
	t.Run("Go", func(t *testing.T) { t.Parallel(); everyEventOnce(t, brokers, inGo) })
	t.Run("Python", func(t *testing.T) { t.Parallel(); everyEventOnce(t, brokers, inPython) })
}
