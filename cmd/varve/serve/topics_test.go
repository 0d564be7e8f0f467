package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"varve/commands"
	"varve/eventstore/bus"
	"varve/eventstore/state"
)

// tenant is a server with a namespace, a bucket and a customer's topic on the server's bus.
type tenant struct {
	t       *testing.T
	v       *Varve
	key     string
	topic   string
	client  *kgo.Client
	brokers string
}

// newTenant opens a server on the bus that VARVE_TEST_KAFKA names, else on one in this process.
func newTenant(t *testing.T, bucket string, change ...func(*Config)) *tenant {
	t.Helper()
	address := os.Getenv("VARVE_TEST_KAFKA")
	if address == "" {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		address = c.ListenAddrs()[0]
	}
	name := rand.Text()
	config := Config{Data: t.TempDir(), Workers: 2, MaxBody: 1 << 20, RateLimit: -1, Drain: 5 * time.Second, LogLevel: "error",
		Bus: "kafka://" + address + "?topic=test." + name + ".events"}
	for _, f := range change {
		f(&config)
	}
	v, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	made, err := v.Commands.CreateOrganization(t.Context(), commands.In{Origin: "test"}, commands.CreateOrganization{Name: "a", Email: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := &tenant{t: t, v: v, key: made.APIKey, topic: "orders." + name, brokers: address}
	if s.client, err = kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	orders := bus.Kafka{Brokers: []string{address}, Topic: s.topic}
	if _, err := orders.Ensure(partitionsOfOrders); err != nil {
		t.Fatal(err)
	}
	s.do("POST", "/v1/namespaces", `{"namespace_name":"shop"}`)
	s.do("POST", "/v1/buckets", bucket)
	return s
}

// do sends a request and gives the answer's JSON; anything but 2xx ends the test.
func (s *tenant) do(method, path, body string) map[string]any {
	s.t.Helper()
	status, answer := s.ask(method, path, body)
	if status/100 != 2 {
		s.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

func (s *tenant) ask(method, path, body string) (int, map[string]any) {
	s.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", "application/json")
	if path != "/v1/namespaces" {
		req.Header.Set("X-Namespace", "shop")
	}
	w := httptest.NewRecorder()
	s.v.API.Handler().ServeHTTP(w, req)
	answer := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.UseNumber()
	if w.Code != nethttp.StatusNoContent {
		if err := d.Decode(&answer); err != nil {
			s.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	return w.Code, answer
}

// run reads topics until the returned function is called.
func (s *tenant) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.v.runTopics(ctx) })
	stop = func() { cancel(); running.Wait() }
	s.t.Cleanup(stop)
	return stop
}

// send writes values to the topic, value i to partition i mod partitions.
func (s *tenant) send(values ...string) {
	s.t.Helper()
	all := make([]*kgo.Record, len(values))
	for i, v := range values {
		all[i] = &kgo.Record{Topic: s.topic, Partition: int32(i % partitionsOfOrders), Key: fmt.Appendf(nil, "k%d", i), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "tenant", Value: []byte("acme")}}}
	}
	if err := s.client.ProduceSync(s.t.Context(), all...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

const partitionsOfOrders = 2

// until asks until the answer is as wanted.
func (s *tenant) until(what, method, path, body string, holds func(map[string]any) bool) map[string]any {
	s.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer := s.do(method, path, body)
		if holds(answer) {
			return answer
		}
		if time.Now().After(end) {
			s.t.Fatalf("it does not come about that %s: %v", what, answer)
		}
	}
}

func (s *tenant) objects(n int) []any {
	s.t.Helper()
	answer := s.until(fmt.Sprintf("there are %d objects", n), "POST", "/v1/buckets/orders/objects/list", `{"limit":1000}`, func(a map[string]any) bool { return len(a["results"].([]any)) >= n })
	all := answer["results"].([]any)
	if len(all) != n {
		s.t.Fatalf("%d objects, not %d", len(all), n)
	}
	return all
}

// TestCustomersTopic: what a customer writes to Kafka becomes objects, is searched as documents, and what cannot become an
// object is told of in Kafka; before and after a restart of what reads.
func TestCustomersTopic(t *testing.T) {
	s := newTenant(t, `{"bucket_name":"orders","bucket_schema":{"properties":{"text":{"type":"text","required":true},"n":{"type":"integer"}}}}`)
	s.do("POST", "/v1/collections", `{"collection_name":"texts","source":{"type":"bucket","bucket_ids":["orders"]},"feature_extractor":{"feature_extractor_name":"text_extractor","version":"v1","input_mappings":{"text":"text"}}}`)
	work, stopWork := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.v.Commands.RunBatches(work, 2) }()
	defer func() {
		stopWork()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	s.send(`{"body":{"text":"red shoes"},"n":1}`, `{"body":{"text":"blue hats"},"n":2}`, `no JSON`, `{"body":{"text":"green coats"},"n":"three"}`)
	stop := s.run()
	made := s.do("POST", "/v1/buckets/orders/topics", `{"topic":"`+s.topic+`","process":true,"mapping":{"fields":{"text":"body.text","n":"n"},"metadata":{"tenant":"@headers.tenant","key":"@key"}}}`)
	path := "/v1/buckets/orders/topics/" + made["topic_id"].(string)
	for _, o := range s.objects(2) {
		o := o.(map[string]any)
		if m := o["metadata"].(map[string]any); m["tenant"] != "acme" || m["key"] == nil {
			t.Errorf("object %v", o)
		}
	}
	s.until("the bad ones are dead letters", "GET", path, "", func(a map[string]any) bool {
		state := a["state"].(map[string]any)
		return fmt.Sprintf("%v %v %v %v %v", state["taken"], state["refused"], state["lag"], state["reading"], state["error"]) == "2 2 0 true <nil>"
	})
	s.until("they are documents", "POST", "/v1/collections/texts/documents/list", `{}`, func(a map[string]any) bool { return len(a["results"].([]any)) == 2 })
	stop()
	s.send(`{"body":{"text":"black gloves"},"n":4}`, `{"body":{"text":"white scarves"},"n":5}`)
	if state := s.do("GET", path, "")["state"].(map[string]any); fmt.Sprintf("%v %v", state["lag"], state["reading"]) != "2 false" {
		t.Errorf("while nobody reads: %v", state)
	}
	s.run()
	s.objects(4)
	s.until("those are documents too", "POST", "/v1/collections/texts/documents/list", `{}`, func(a map[string]any) bool { return len(a["results"].([]any)) == 4 })
	s.until("nothing is left", "GET", path, "", func(a map[string]any) bool { return fmt.Sprint(a["state"].(map[string]any)["lag"]) == "0" })

	dead, err := kgo.NewClient(kgo.SeedBrokers(s.brokers), kgo.ConsumeTopics(s.topic+".dead-letter"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	reasons := map[string]string{}
	for len(reasons) < 2 {
		fetched := dead.PollFetches(t.Context())
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetched.Records() {
			for _, h := range r.Headers {
				if h.Key == bus.DeadReason {
					reasons[string(r.Value)] = string(h.Value)
				}
			}
		}
	}
	if reasons[`no JSON`] != "bad_request" || reasons[`{"body":{"text":"green coats"},"n":"three"}`] != "invalid" {
		t.Errorf("dead letters: %v", reasons)
	}
	for _, own := range s.v.Commands.Topics.Reserved {
		if status, answer := s.ask("POST", "/v1/buckets/orders/topics", `{"topic":"`+own+`"}`); status != 422 {
			t.Errorf("the server's own topic %s: %d %v", own, status, answer)
		}
	}
}

// The server's own topics are nobody's to read, also where --bus names none.
func TestOwnTopicsAreReserved(t *testing.T) {
	for query, want := range map[string][]string{
		"":                     {"varve.events", "varve.executions"},
		"?topic=acme.events":   {"acme.events", "acme.executions"},
		"?topic=acme&source=x": {"acme", "acme.executions"},
	} {
		v := &Varve{Config: Config{Bus: "kafka://127.0.0.1:9092" + query}, State: state.OpenDirectory(t.TempDir()), Commands: &commands.Handler{}}
		about, err := v.topics(t.Context())
		if err != nil || !slices.Equal(v.Commands.Topics.Reserved, want) || about.Events != want[0] || about.Executions != want[1] {
			t.Errorf("%q: reserved %v, told %+v, %v", query, v.Commands.Topics.Reserved, about, err)
		}
	}
}
