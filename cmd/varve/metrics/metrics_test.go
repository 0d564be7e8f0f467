package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"varve/cmd/varve/metrics"
	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/memory"
	"varve/http"
	"varve/projections"
)

var update = flag.Bool("update", false, "write docs/operations/monitoring.md's table")

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func contains(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, "\n"+l+"\n") {
			t.Errorf("missing: %s", l)
		}
	}
}

// everything is a server's metrics with something in every family.
func everything(t *testing.T) *metrics.Metrics {
	m := metrics.New(metrics.Build{Version: "test", Store: "memory"})
	m.Request(http.Observation{Operation: "GET /v1/buckets/{bucket_identifier}", Method: "GET", Status: 200, Duration: 3 * time.Millisecond, Sent: 10, Received: 4})
	store, err := memory.Open(memory.Options{Options: eventstore.Options{Observe: m.Committed("log")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	counted := m.Store("log", store)
	event := []eventstore.Event{{Type: "bucket.saved", Data: []byte(`{}`)}, {Type: "made.up", Data: []byte(`{}`)}}
	for range 2 { // the second conflicts
		_, _ = counted.Append(t.Context(), eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: "s", Expect: eventstore.New(), Events: event}}})
	}
	for _, observe := range []follow.Observer{m.Pages(), m.Relay("log")} {
		for _, err := range []error{nil, errors.New("disk")} {
			_, end := observe(t.Context(), "documents", 0, make([]eventstore.Record, 3))
			end(err)
		}
	}
	many := metrics.Index{UsedBytes: 5, CacheBytes: 6}
	for i := range 60 {
		many.Namespaces = append(many.Namespaces, metrics.IndexedNamespace{Name: fmt.Sprintf("ns_%02d", i), Bytes: int64(i), Memory: 2, Rows: 1, Loaded: i%2 == 0, Loading: i == 1})
	}
	m.Watch(metrics.Sources{
		Stores: map[string]eventstore.Follower{"log": store},
		Models: func() []projections.ModelStatus {
			return []projections.ModelStatus{{Model: "documents", Shard: 2, Applied: 7, Head: 9, Lag: 2, LagSeconds: 1.5, Parked: make([]follow.Parked, 1), Err: "disk", Rebuilding: true, Built: 0.25}}
		},
		Relays: map[string][]*follow.Follower{"log": {{Store: store}}},
		Batches: func(context.Context) ([]projections.BatchRow, error) {
			return []projections.BatchRow{{Total: 10, Processed: 4, Failed: 1}, {Total: 5, Processed: 5}}, nil
		},
		Index:  func(context.Context) (metrics.Index, error) { return many, nil },
		Topics: func() metrics.Topics { return metrics.Topics{Reading: 1, Taken: 3, Refused: 1, Lag: 2} },
		Health: func(context.Context) map[string]string { return map[string]string{"store": "", "bus": "down"} },
	})
	return m
}

func TestEverythingIsCounted(t *testing.T) {
	text := scrape(t, everything(t))
	contains(t, text,
		`varve_http_requests_total{method="GET",route="/v1/buckets/{bucket_identifier}",status="200"} 1`,
		`varve_http_response_body_bytes_total{method="GET",route="/v1/buckets/{bucket_identifier}"} 10`,
		`varve_http_request_duration_seconds_count{method="GET",route="/v1/buckets/{bucket_identifier}"} 1`,
		`varve_appends_total{outcome="ok",store="log"} 1`, `varve_appends_total{outcome="conflict",store="log"} 1`,
		`varve_append_duration_seconds_count{store="log"} 1`,
		`varve_appended_events_total{store="log",type="bucket.saved"} 1`, `varve_appended_events_total{store="log",type="other"} 1`,
		`varve_commit_records_sum{store="log"} 2`, `varve_commit_appends_count{store="log"} 1`, `varve_feed_head{shard="0",store="log"} 2`,
		`varve_model_lag_events{model="documents",shard="2"} 2`, `varve_model_lag_seconds{model="documents",shard="2"} 1.5`,
		`varve_model_built_ratio{model="documents",shard="2"} 0.25`, `varve_model_rebuilding{model="documents",shard="2"} 1`,
		`varve_model_parked_streams{model="documents",shard="2"} 1`, `varve_model_failing{model="documents",shard="2"} 1`,
		`varve_follower_records_total{model="documents"} 3`, `varve_follower_errors_total{model="documents"} 1`,
		`varve_relay_published_total{store="log"} 3`, `varve_relay_retries_total{store="log"} 1`, `varve_relay_lag_events{shard="0",store="log"} 2`,
		`varve_batches_active 2`, `varve_batch_objects{state="pending"} 6`, `varve_batch_objects{state="done"} 8`, `varve_batch_objects{state="failed"} 1`,
		`varve_index_segment_bytes{namespace="ns_59"} 59`, `varve_index_segment_bytes{namespace="other"} 45`, `varve_index_rows{namespace="other"} 10`,
		`varve_index_memory_bytes{namespace="other"} 20`, `varve_index_used_bytes 5`, `varve_index_namespaces{state="loaded"} 30`, `varve_index_namespaces{state="not_loaded"} 29`,
		`varve_dependency_up{dependency="store"} 1`, `varve_dependency_up{dependency="bus"} 0`, `varve_collector_up{collector="models"} 1`)
	if n := strings.Count(text, "varve_index_rows{"); n != 51 {
		t.Errorf("%d namespaces are told apart", n)
	}
}

// Names, units and help texts follow Prometheus' conventions.
func TestNamesFollowTheConventions(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, everything(t)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "varve_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Every metric that is shown is documented, and every one that is documented is shown.
func TestDocumentation(t *testing.T) {
	var shown []string
	for line := range strings.Lines(scrape(t, everything(t))) {
		if rest, ok := strings.CutPrefix(line, "# TYPE varve_"); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(rest), " ")
			shown = append(shown, "| `varve_"+name+"` | "+kind+" |")
		}
	}
	table := metrics.Table()
	for _, start := range shown {
		if !strings.Contains(table, start) {
			t.Errorf("not in the table: %s", start)
		}
	}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `") && !slices.ContainsFunc(shown, func(start string) bool { return strings.HasPrefix(line, start) }) {
			t.Errorf("defined, and never shown: %s", line)
		}
	}
	name := filepath.Join("..", "..", "..", "docs", "operations", "monitoring.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- metrics: written by go test ./cmd/varve/metrics -update -->\n", "<!-- end of metrics -->\n"
	from, to := bytes.Index(text, []byte(begin)), bytes.Index(text, []byte(end))
	if from < 0 || to < from {
		t.Fatalf("%s has no place for the table", name)
	}
	want := slices.Concat(text[:from+len(begin)], []byte(table), text[to:])
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the metrics are: go test ./cmd/varve/metrics -update writes it", name)
	}
	if err := os.WriteFile(name, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A caller that makes up paths and methods makes no new series.
func TestCallersMakeNoSeries(t *testing.T) {
	m := metrics.New(metrics.Build{})
	for i := range 20_000 {
		m.Request(http.Observation{Operation: "", Method: "_OTHER", Status: 404 + i%2, Duration: time.Millisecond})
	}
	if n := strings.Count(scrape(t, m), "varve_http_requests_total{"); n != 2 {
		t.Errorf("%d series", n)
	}
	for i := range 20_000 { // not even where routes were none
		m.Request(http.Observation{Operation: fmt.Sprintf("GET /%d", i), Method: "GET", Status: 200})
	}
	if n := strings.Count(scrape(t, m), "varve_http_requests_total{"); n > 10_010 {
		t.Errorf("%d series", n)
	}
}

// A source that hangs, panics or fails takes no other group with it, holds a
// scrape no longer than two and a half seconds, and is not asked again while it hangs.
func TestSourcesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, release, begun := metrics.New(metrics.Build{}), make(chan struct{}), atomic.Int32{}
		m.Watch(metrics.Sources{
			Models:  func() []projections.ModelStatus { begun.Add(1); <-release; return nil },
			Batches: func(context.Context) ([]projections.BatchRow, error) { panic("secret") },
			Index:   func(context.Context) (metrics.Index, error) { return metrics.Index{}, errors.New("closed") },
			Health:  func(context.Context) map[string]string { return map[string]string{"store": ""} },
		})
		up := map[string]float64{}
		for range 3 {
			began := time.Now()
			families, err := m.Gatherer().Gather()
			if err != nil || time.Since(began) > 2500*time.Millisecond {
				t.Fatalf("%v after %s", err, time.Since(began))
			}
			for _, f := range families {
				for _, one := range f.GetMetric() {
					if f.GetName() == "varve_collector_up" {
						up[one.GetLabel()[0].GetValue()] = one.GetGauge().GetValue()
					}
				}
			}
		}
		if want := fmt.Sprint(map[string]float64{"models": 0, "batches": 0, "index": 0, "health": 1}); fmt.Sprint(up) != want {
			t.Errorf("%v, want %s", up, want)
		}
		if n := begun.Load(); n != 1 {
			t.Errorf("the source was asked %d times", n)
		}
		close(release)
		synctest.Wait()
	})
}

func TestRequestsInFlight(t *testing.T) {
	m := metrics.New(metrics.Build{})
	m.InFlight(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) {
		contains(t, scrape(t, m), "varve_http_requests_in_flight 1")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	contains(t, scrape(t, m), "varve_http_requests_in_flight 0")
}
