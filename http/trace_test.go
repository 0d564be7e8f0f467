package http

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// Every request but a probe has one span, named by its route and below the
// caller's; the log's line has its trace and request.
func TestRequestsAreTraced(t *testing.T) {
	seen := tracetest.NewSpanRecorder()
	s := sampleServer(t)
	s.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen)).Tracer("test")
	var lines bytes.Buffer
	s.Log = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var observed []Observation
	s.Observe = func(o Observation) { observed = append(observed, o) }

	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ask(s, "GET", "/v1/samples/x?token=hidden", "", "Traceparent", caller, "X-Request-Id", "request-1", "Authorization", "Bearer hidden")
	ask(s, "GET", "/v1/health/live", "")
	ask(s, "GET", "/v1/panic", "", "Traceparent", "nonsense")
	ask(s, "BREW", "/v1/nothing/here", "")
	ask(s, "POST", "/v1/samples", `{"name":"abc"}`)

	spans := seen.Ended()
	if len(spans) != 4 {
		t.Fatalf("%d spans", len(spans))
	}
	for i, want := range []struct {
		name   string
		status int64
		failed bool
	}{{"GET /v1/samples/{sample_id}", 200, false}, {"GET /v1/panic", 500, true}, {"_OTHER", 405, false}, {"POST /v1/samples", 200, false}} {
		got, facts := spans[i], map[attribute.Key]attribute.Value{}
		for _, a := range spans[i].Attributes() {
			facts[a.Key] = a.Value
		}
		if status := facts["http.response.status_code"].AsInt64(); got.Name() != want.name || got.SpanKind() != trace.SpanKindServer || (got.Status().Code == otelcodes.Error) != want.failed ||
			status != want.status && want.name != "_OTHER" {
			t.Errorf("span %d: %s, status %v, %v", i, got.Name(), got.Status(), facts)
		}
	}
	if got := spans[0]; got.Parent().SpanID().String() != "b7ad6b7169203331" || got.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("not below the caller's span: %v", got.Parent())
	}
	if log := lines.String(); !strings.Contains(log, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`) || !strings.Contains(log, `"request_id":"request-1"`) || strings.Contains(log, "hidden") {
		t.Errorf("log %s", log)
	}
	if o := observed[4]; o.Method != "POST" || o.Operation != "POST /v1/samples" || o.Received != 14 || o.Sent == 0 || o.Status != 200 {
		t.Errorf("observed %+v", o)
	}
	if o := observed[3]; o.Method != "_OTHER" || o.Operation != "" {
		t.Errorf("observed %+v", o)
	}
}

func TestUntracedRequestsHaveNoSpan(t *testing.T) {
	s := bare(t, func(s *Server) {
		s.route("GET", "/v1/span", public, handle(func(ctx context.Context, _ *Request[None]) (any, error) {
			return map[string]bool{"valid": trace.SpanContextFromContext(ctx).IsValid()}, nil
		}))
	})
	if a := ask(s, "GET", "/v1/span", "", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"); a.Body.String() != "{\"valid\":false}\n" {
		t.Error(a.Body)
	}
}
