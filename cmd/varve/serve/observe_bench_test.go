package serve_test

import (
	"context"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"varve/cmd/varve/serve"
	"varve/commands"
	"varve/eventstore/tracing"
)

// nowhere takes spans and forgets them.
type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// What it costs a request that it is counted, and that it is traced: one that
// reads the organization, without the network.
func BenchmarkObserving(b *testing.B) {
	v, err := serve.Open(b.Context(), serve.Config{Data: b.TempDir(), LogLevel: "error", Workers: 1, RateLimit: -1, MaxBody: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	made, err := v.Commands.CreateOrganization(b.Context(), commands.In{}, commands.CreateOrganization{Name: "bench", Email: "bench@example.com"})
	if err != nil {
		b.Fatal(err)
	}
	traced := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}))
	defer func() { _ = traced.Shutdown(context.Background()) }()
	rarely := sdktrace.NewTracerProvider(sdktrace.WithBatcher(nowhere{}), sdktrace.WithSampler(sdktrace.NeverSample()))
	count, plain := v.API.Observe, v.Commands.Store
	h := v.API.Handler()
	ask := func(b *testing.B, method, body string, want int) {
		b.Helper()
		req := httptest.NewRequest(method, "/v1/organizations", strings.NewReader(body))
		if body == "" {
			req.Body = nethttp.NoBody
		}
		req.Header.Set("Authorization", "Bearer "+made.APIKey)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != want {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	for _, mode := range []struct {
		name string
		set  func()
	}{
		{"nothing", func() { v.API.Observe, v.API.Tracer, v.Commands.Store = nil, nil, plain }},
		{"counted", func() { v.API.Observe, v.API.Tracer, v.Commands.Store = count, nil, plain }},
		{"counted, traces not sampled", func() { v.API.Tracer, v.Commands.Store = rarely.Tracer("bench"), tracing.Store(v.Store) }},
		{"counted and traced", func() { v.API.Tracer, v.Commands.Store = traced.Tracer("bench"), tracing.Store(v.Store) }},
	} {
		b.Run(mode.name, func(b *testing.B) {
			mode.set()
			b.ReportAllocs()
			for b.Loop() {
				ask(b, "GET", "", 200)
			}
		})
	}
}
