package tracing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"varve/eventstore"
	"varve/eventstore/memory"
	"varve/eventstore/tracing"
)

func recorder(t *testing.T) (*tracetest.SpanRecorder, *sdktrace.TracerProvider) {
	t.Helper()
	seen := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return seen, provider
}

func open(t *testing.T) eventstore.Owner {
	t.Helper()
	s, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func something(streams ...string) eventstore.Append {
	var a eventstore.Append
	for _, s := range streams {
		a.Batches = append(a.Batches, eventstore.Batch{Log: "log", Stream: s, Events: []eventstore.Event{{Type: "thing.happened", Data: json.RawMessage(`{}`)}}})
	}
	return a
}

func TestAppendsOfTracedRequestsCarryTheirSpan(t *testing.T) {
	seen, provider := recorder(t)
	store := tracing.Store(open(t))
	a := something("a", "b")
	a.Batches[1].Meta.TraceParent = "00-11111111111111111111111111111111-2222222222222222-01"

	ctx, request := provider.Tracer("test").Start(context.Background(), "request")
	done, err := store.Append(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	request.End()
	if a.Batches[0].Meta.TraceParent != "" {
		t.Error("the caller's batches were changed")
	}
	spans := seen.Ended()
	if len(spans) != 2 || spans[0].Name() != "append" || spans[0].Parent().SpanID() != request.SpanContext().SpanID() {
		t.Fatalf("spans %v", spans)
	}
	if got, want := done.Records[0].Meta.TraceParent, tracing.Parent(spans[0].SpanContext()); got != want || want == "" {
		t.Errorf("trace parent %q, want the append's span %q", got, want)
	}
	if got := done.Records[1].Meta.TraceParent; got != a.Batches[1].Meta.TraceParent {
		t.Errorf("a trace parent that was given became %q", got)
	}
}

func TestNothingIsSaidWhereNothingIsTraced(t *testing.T) {
	seen := tracetest.NewSpanRecorder()
	never := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(seen), sdktrace.WithSampler(sdktrace.NeverSample()))
	unsampled, span := never.Tracer("test").Start(context.Background(), "request")
	defer span.End()
	remote, _ := tracing.ParseParent("00-11111111111111111111111111111111-2222222222222222-01")
	for name, ctx := range map[string]context.Context{
		"no span": context.Background(), "not sampled": unsampled, "only the caller's": trace.ContextWithRemoteSpanContext(context.Background(), remote),
	} {
		plain, err := open(t).Append(ctx, something("a"))
		if err != nil {
			t.Fatal(err)
		}
		done, err := tracing.Store(open(t)).Append(ctx, something("a"))
		if err != nil {
			t.Fatal(err)
		}
		if done.Records[0].Meta != plain.Records[0].Meta || done.Records[0].Meta.TraceParent != "" {
			t.Errorf("%s: metadata %+v", name, done.Records[0].Meta)
		}
	}
	observe := tracing.Pages(never, trace.SpanKindConsumer, func(c string) string { return c })
	if _, end := observe(context.Background(), "documents", 0, []eventstore.Record{{Feed: 1}}); end != nil {
		t.Error("a page of untraced records got a span")
	}
	if len(seen.Ended()) != 0 {
		t.Errorf("spans %v", seen.Ended())
	}
}

func TestPagesAreLinkedToTheAppendsOfTheirRecords(t *testing.T) {
	parent := func(traceID, span int) string { return fmt.Sprintf("00-%032x-%016x-01", traceID, span) }
	page := func(parents ...string) (p []eventstore.Record) {
		for i, text := range parents {
			p = append(p, eventstore.Record{Feed: uint64(i + 1), Meta: eventstore.Metadata{TraceParent: text}})
		}
		return p
	}
	many := make([]string, 3*tracing.MaxLinks)
	for i := range many {
		many[i] = parent(i+1, i+1)
	}
	for _, c := range []struct {
		name   string
		page   []eventstore.Record
		links  int
		inside bool // the span is of the records' trace
	}{
		{"one append", page(parent(7, 1), parent(7, 1), ""), 1, true},
		{"two appends of one trace", page(parent(7, 1), "", parent(7, 2), parent(7, 1)), 2, true},
		{"two traces", page(parent(7, 1), parent(8, 1)), 2, false},
		{"not a trace parent", page("00-zz", parent(7, 1)), 1, true},
		{"many", page(many...), tracing.MaxLinks, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen, provider := recorder(t)
			observe := tracing.Pages(provider, trace.SpanKindConsumer, func(c string) string { return "apply " + c })
			ctx, end := observe(context.Background(), "documents", 3, c.page)
			if trace.SpanContextFromContext(ctx).SpanID() == (trace.SpanID{}) {
				t.Fatal("the consumer's context has no span")
			}
			end(errors.New("disk"))
			spans := seen.Ended()
			if len(spans) != 1 || spans[0].Name() != "apply documents" || len(spans[0].Links()) != c.links || spans[0].Status().Description != "disk" {
				t.Fatalf("spans %+v", spans)
			}
			if inside := spans[0].SpanContext().TraceID() == spans[0].Links()[0].SpanContext.TraceID(); inside != c.inside {
				t.Errorf("inside the records' trace: %v", inside)
			}
		})
	}
}

func TestParentsAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id trace.TraceID
		var span trace.SpanID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace"))
		copy(span[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "span"))
		c := trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled, Remote: true})
		text := tracing.Parent(c)
		got, ok := tracing.ParseParent(text)
		if c.IsValid() != ok || ok && !got.Equal(c) {
			t.Fatalf("%q gave %v, %v", text, got, ok)
		}
	})
}

func FuzzParseParent(f *testing.F) {
	for _, s := range []string{"", "00-11111111111111111111111111111111-2222222222222222-01", "cc-11111111111111111111111111111111-2222222222222222-01-what",
		"00-11111111111111111111111111111111-2222222222222222-01-what", "ff-11111111111111111111111111111111-2222222222222222-01",
		"00-11111111111111111111111111111111-2222222222222222-0G", "00-00000000000000000000000000000000-2222222222222222-01", "00-1111111111111111111111111111111A-2222222222222222-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := tracing.ParseParent(s)
		if ok != c.IsValid() {
			t.Fatalf("%q: %v, valid %v", s, ok, c.IsValid())
		}
		if again, same := tracing.ParseParent(tracing.Parent(c)); ok && c.IsSampled() && (!same || !again.Equal(c)) {
			t.Fatalf("%q: read again as %v", s, again)
		}
	})
}
