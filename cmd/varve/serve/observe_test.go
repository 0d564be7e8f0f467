package serve_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/twmb/franz-go/pkg/kfake"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/eventstore"
	"varve/eventstore/servertest"
	"varve/eventstore/tracing"
)

// running is a server that answers on a free port.
type running struct {
	v        *serve.Varve
	url, key string
	log      eventstore.LogID // of the organization
}

// serving runs a server with an organization, until the test ends.
func serving(t *testing.T, change func(*serve.Config)) *running {
	t.Helper()
	c := serve.Config{Data: filepath.Join(t.TempDir(), "data"), LogLevel: "error", Workers: 1, RateLimit: -1, Drain: 5 * time.Second, MaxBody: 1 << 20, Version: "test"}
	change(&c)
	v, err := serve.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	made, err := v.Commands.CreateOrganization(t.Context(), commands.In{Origin: "test"}, commands.CreateOrganization{Name: "Test", Email: "test@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r := &running{v: v, url: "http://" + l.Addr().String(), key: made.APIKey}
	for record, err := range v.Store.Feed(t.Context(), 0, 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		r.log = record.Log
	}
	return r
}

// ask sends a request, with headers as name, value, name, value.
func (r *running) ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	if strings.HasPrefix(url, "/") {
		url = r.url + url
	}
	req, err := nethttp.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	answer, err := nethttp.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// namespace makes one.
func (r *running) namespace(t *testing.T, name string, headers ...string) {
	t.Helper()
	if status, body := r.ask(t, "POST", "/v1/namespaces", `{"namespace_name":"`+name+`","feature_extractors":[{"feature_extractor_name":"text_extractor","version":"v1"}]}`, headers...); status != 200 && status != 201 {
		t.Fatalf("make namespace: %d %s", status, body)
	}
}

// eventually asks until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func broker(t *testing.T) (*kfake.Cluster, string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, strings.Join(cluster.ListenAddrs(), ",")
}

// One request is one trace: in the spans of HTTP, command and append, in the
// record's metadata, in the message's headers, and in the spans of relay and
// read models.
func TestOneRequestIsOneTrace(t *testing.T) {
	_, address := broker(t)
	seen := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen))
	r := serving(t, func(c *serve.Config) { c.Bus, c.Tracing = "kafka://"+address, provider })
	const id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	r.namespace(t, "traced", "Traceparent", "00-"+id+"-"+caller+"-01")

	ofTrace := func(name string) (found []sdktrace.ReadOnlySpan) {
		for _, s := range seen.Ended() {
			if s.Name() == name && s.SpanContext().TraceID().String() == id {
				found = append(found, s)
			}
		}
		return found
	}
	for _, name := range []string{"POST /v1/namespaces", "command", "append", "publish varve.events", "apply directory"} {
		eventually(t, "a span "+name, func() bool { return len(ofTrace(name)) > 0 })
	}
	request, command, append := ofTrace("POST /v1/namespaces")[0], ofTrace("command")[0], ofTrace("append")[0]
	if request.Parent().SpanID().String() != caller || command.Parent().SpanID() != request.SpanContext().SpanID() || append.Parent().SpanID() != command.SpanContext().SpanID() {
		t.Errorf("the spans do not hang on each other: %v, %v, %v", request.Parent(), command.Parent(), append.Parent())
	}
	parent := tracing.Parent(append.SpanContext())
	traced := map[string]bool{}
	for record, err := range r.v.Store.Feed(t.Context(), 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch record.Meta.TraceParent {
		case parent:
			traced[hex.EncodeToString(record.ID[:])] = true
		case "":
		default:
			t.Errorf("record %d: trace parent %s", record.Feed, record.Meta.TraceParent)
		}
	}
	if len(traced) == 0 {
		t.Fatal("no record has the append's span")
	}
	for _, name := range []string{"publish varve.events", "apply directory"} {
		if links := ofTrace(name)[0].Links(); len(links) != 1 || links[0].SpanContext.SpanID() != append.SpanContext().SpanID() {
			t.Errorf("%s is linked to %v", name, links)
		}
	}
	head, err := r.v.Store.Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, headers := range headersOf(t, address, int(head)) {
		if headers["traceparent"] == "" {
			continue
		}
		messages++
		if headers["traceparent"] != parent || headers["ce_traceparent"] != parent {
			t.Errorf("message's traceparent %s, %s", headers["traceparent"], headers["ce_traceparent"])
		}
	}
	if messages != len(traced) {
		t.Errorf("%d records and %d messages of the trace", len(traced), messages)
	}
}

// A search is traced with its stages, and so is the record that is kept of it.
func TestSearchesAreTraced(t *testing.T) {
	seen := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen))
	w := newWorld(t, filepath.Join(t.TempDir(), "data"), func(c *serve.Config) { c.Tracing = provider })
	defer w.v.Close()
	chance := rand.New(rand.NewPCG(1, 1))
	if err := w.write(t.Context(), chance, 10); err != nil {
		t.Fatal(err)
	}
	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := w.query(ctx, chance); err != nil {
		t.Fatal(err)
	}
	request.End()
	names := map[string]bool{}
	for _, s := range seen.Ended() {
		if s.SpanContext().TraceID() == request.SpanContext().TraceID() {
			names[s.Name()] = true
		}
	}
	if !names["stage feature_search"] || !names["append"] {
		t.Errorf("spans %v", names)
	}
	for record, err := range w.v.Executed.Feed(t.Context(), 0, 0, 0) {
		if c, ok := tracing.ParseParent(record.Meta.TraceParent); err != nil || !ok || c.TraceID() != request.SpanContext().TraceID() {
			t.Errorf("execution record: trace parent %q, %v", record.Meta.TraceParent, err)
		}
	}
}

// headersOf waits for the topic's first messages.
func headersOf(t *testing.T, address string, n int) (all []map[string]string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(all) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages", len(all), n)
		}
		all = nil
		for _, m := range servertest.Messages(t, strings.Split(address, ","), nil, "varve.events", 0) {
			headers := map[string]string{}
			for _, h := range m.Headers {
				headers[string(h.Key)] = string(h.Value)
			}
			all = append(all, headers)
		}
	}
	return all
}

// Without tracing nothing of a caller's trace gets into the log, whose records are hashed.
func TestRecordsSayNothingOfTracesThatAreOff(t *testing.T) {
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, "")
	}
	r := serving(t, func(*serve.Config) {})
	r.namespace(t, "plain", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	for record, err := range r.v.Store.Feed(t.Context(), 0, 0, 0) {
		if err != nil || record.Meta.TraceParent != "" {
			t.Errorf("record %d: %q, %v", record.Feed, record.Meta.TraceParent, err)
		}
	}
}

// OpenTelemetry's own environment turns tracing on; what it asks for and is not
// there is refused, with the reason.
func TestTracingByEnvironment(t *testing.T) {
	got := make(chan string, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	collector := &nethttp.Server{Handler: nethttp.HandlerFunc(func(w nethttp.ResponseWriter, req *nethttp.Request) {
		b, _ := io.ReadAll(req.Body)
		got <- req.URL.Path + " " + req.Header.Get("Content-Type") + " " + string(b)
		w.WriteHeader(200)
	})}
	go func() { _ = collector.Serve(l) }()
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_SERVICE_NAME", "varve-test")
	t.Run("sent", func(t *testing.T) {
		r := serving(t, func(*serve.Config) {})
		r.namespace(t, "sent")
	})
	select {
	case m := <-got:
		if !strings.HasPrefix(m, "/v1/traces application/x-protobuf ") || !strings.Contains(m, "varve-test") || !strings.Contains(m, "/v1/namespaces") {
			t.Errorf("%q", m)
		}
	default:
		t.Error("no span was sent before the server had closed")
	}
	_ = collector.Close()
	t.Run("nobody listens", func(t *testing.T) { // stops without an error
		t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
		r := serving(t, func(c *serve.Config) { c.LogLevel = "error" })
		r.namespace(t, "lost")
	})
	for name, c := range map[string][2]string{
		"protocol": {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}, "exporter": {"OTEL_TRACES_EXPORTER", "zipkin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c[0], c[1])
			if v, err := serve.Open(t.Context(), serve.Config{Data: t.TempDir(), LogLevel: "error"}); err == nil || !strings.Contains(err.Error(), c[0]) {
				if v != nil {
					_ = v.Close()
				}
				t.Errorf("%v", err)
			}
		})
	}
}

// What is shown is what happened, in names that follow the conventions, and in no
// more series than there are kinds of things.
func TestMetricsOfAServer(t *testing.T) {
	_, address := broker(t)
	r := serving(t, func(c *serve.Config) { c.Bus = "kafka://" + address })
	r.namespace(t, "measured")
	for i := range 50 {
		r.ask(t, "GET", fmt.Sprintf("/v1/buckets/bkt_%d", i), "", "X-Namespace", "measured")
		r.ask(t, "GET", fmt.Sprintf("/unheard-of/%d", i), "")
	}
	var text string
	eventually(t, "everything is published and applied", func() bool {
		var status int
		if status, text = r.ask(t, "GET", "/metrics", ""); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		return strings.Contains(text, `varve_relay_lag_events{shard="0",store="log"} 0`) && strings.Contains(text, `varve_model_lag_events{model="directory",shard="0"} 0`)
	})
	head, err := r.v.Store.Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`varve_http_requests_total{method="GET",route="/v1/buckets/{bucket_identifier}",status="404"} 50`,
		`varve_http_requests_total{method="GET",route="unmatched",status="404"} 50`,
		`varve_appended_events_total{store="log",type="namespace.created"} 1`,
		fmt.Sprintf(`varve_feed_head{shard="0",store="log"} %d`, head),
		fmt.Sprintf(`varve_relay_published_total{store="log"} %d`, head),
		fmt.Sprintf(`varve_model_applied{model="documents",shard="0"} %d`, head),
		`varve_model_parked_streams{model="objects",shard="0"} 0`,
		`varve_batches_active 0`, `varve_dependency_up{dependency="bus"} 1`, `varve_dependency_up{dependency="store"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !regexp.MustCompile(`varve_build_info\{blobs="files",bus="kafka",goversion="go[^"]+",store="sqlite",version="test"\} 1\n`).MatchString(text) {
		t.Error("no build")
	}
	for _, name := range []string{"go_goroutines ", "process_resident_memory_bytes ", "varve_append_duration_seconds_bucket", "varve_collector_up"} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("no %s", name)
		}
	}
	if strings.Contains(text, "} 0\n") && strings.Contains(text, "varve_collector_up{") && regexp.MustCompile(`varve_collector_up\{[^}]*\} 0`).MatchString(text) {
		t.Error("a group could not be looked up")
	}
	if strings.Contains(text, "bkt_7") || strings.Contains(text, "unheard") {
		t.Error("a caller's path became a label")
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Metrics are open on a loopback address, for who is not behind a proxy; elsewhere
// only where the configuration says so.
func TestWhoSeesMetrics(t *testing.T) {
	elsewhere := serving(t, func(c *serve.Config) { c.MetricsListen = "127.0.0.1:0" })
	own := "http://" + elsewhere.v.MetricsAddr()
	for _, c := range []struct {
		mode    string
		headers []string
		want    int
	}{
		{"", nil, 200}, {"auto", nil, 200}, {"auto", []string{"X-Forwarded-For", "203.0.113.7"}, 404}, {"auto", []string{"Forwarded", "for=203.0.113.7"}, 404},
		{"on", []string{"X-Forwarded-For", "203.0.113.7"}, 200}, {"off", nil, 404},
	} {
		r := serving(t, func(cfg *serve.Config) { cfg.Metrics = c.mode })
		if status, _ := r.ask(t, "GET", "/metrics", "", c.headers...); status != c.want {
			t.Errorf("--metrics %q, %v: %d, want %d", c.mode, c.headers, status, c.want)
		}
	}
	for path, want := range map[string]int{"/metrics": 200, "/v1/health": 200, "/v1/health/ready": 200, "/v1/namespaces": 404, "/": 404} {
		if status, body := elsewhere.ask(t, "GET", own+path, ""); status != want {
			t.Errorf("%s on --metrics-listen: %d %s", path, status, body)
		}
	}
	if _, err := serve.Open(t.Context(), serve.Config{Data: t.TempDir(), LogLevel: "error", MetricsListen: strings.TrimPrefix(own, "http://")}); err == nil || !strings.Contains(err.Error(), "--metrics-listen") {
		t.Errorf("an address that is taken: %v", err)
	}
}

// Without Kafka a server is degraded and ready: records stay in the store.
func TestHealthWhileKafkaIsAway(t *testing.T) {
	cluster, address := broker(t)
	r := serving(t, func(c *serve.Config) { c.Bus = "kafka://" + address })
	var h struct {
		Status       string
		Ready, Live  bool
		Dependencies map[string]struct {
			OK, Required bool
			Latency      float64 `json:"latency_ms"`
			Reason       string
		}
	}
	look := func(path string) int {
		status, body := r.ask(t, "GET", path, "")
		if err := json.Unmarshal([]byte(body), &h); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return status
	}
	eventually(t, "ready", func() bool { return look("/v1/health/ready") == 200 })
	if h.Status != "OK" || !h.Ready || !h.Live {
		t.Fatalf("%+v", h)
	}
	var names []string
	for name, d := range h.Dependencies {
		names = append(names, name)
		if !d.OK || d.Reason != "" || d.Latency < 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "blobs bus executions feed index models store" {
		t.Errorf("dependencies %s", got)
	}
	cluster.Close()
	eventually(t, "degraded", func() bool { return look("/v1/health") == 200 && h.Status == "DEGRADED" })
	if d := h.Dependencies["bus"]; d.OK || d.Required || !strings.Contains(d.Reason, "no broker can be reached") {
		t.Errorf("bus %+v", d)
	}
	if status := look("/v1/health/ready"); status != 200 || !h.Ready {
		t.Errorf("%d %+v", status, h)
	}
	r.namespace(t, "appended") // appends go on
}

// A store that is gone makes a server unready, not dead, and is told of without its text.
func TestHealthWithoutTheStore(t *testing.T) {
	r := serving(t, func(*serve.Config) {})
	if err := r.v.Store.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "unready", func() bool {
		status, body := r.ask(t, "GET", "/v1/health/ready", "")
		return status == 503 && strings.Contains(body, `"not_ready"`) && strings.Contains(body, "store does not answer as it should")
	})
	if status, _ := r.ask(t, "GET", "/v1/health/live", ""); status != 200 {
		t.Errorf("alive: %d", status)
	}
}
