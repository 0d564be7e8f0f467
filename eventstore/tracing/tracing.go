// Package tracing carries OpenTelemetry traces along the way of an event: from a
// request to its append, in the record's metadata from there to whoever follows
// the feed. Nothing here is global, and where nobody began a span that is
// recorded, everything here does nothing and no record says anything of a trace.
package tracing

import (
	"context"
	"encoding/hex"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Scope is the name under which all spans of this program are made.
const Scope = "varve"

// Start begins a span below the context's, of the same provider. Where that one is
// not recorded the span does nothing and the context is the one given.
func Start(ctx context.Context, name string) (context.Context, trace.Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, noop.Span{}
	}
	return above.TracerProvider().Tracer(Scope).Start(ctx, name)
}

// End ends a span, as failed where there is an error.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// TraceID is the id of the context's trace for logs; "" where none is recorded.
func TraceID(ctx context.Context) string {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		return c.TraceID().String()
	}
	return ""
}

// Parent writes a span as W3C's traceparent; "" where it is not recorded.
func Parent(c trace.SpanContext) string {
	if !c.IsValid() || !c.IsSampled() {
		return ""
	}
	b := make([]byte, 0, 55)
	id, span := c.TraceID(), c.SpanID()
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	return string(append(b, "-01"...))
}

// ParseParent reads W3C's traceparent; false where it is none. Versions after 00
// are read by what they share with it, as the standard wants.
func ParseParent(text string) (trace.SpanContext, bool) {
	if len(text) < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
		text[:2] == "ff" || len(text) > 55 && (text[:2] == "00" || text[55] != '-') || !lowerHex(text[:2]) || !lowerHex(text[53:55]) {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(text[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(text[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	flags, _ := hex.DecodeString(text[53:55])
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, Remote: true}), true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Store gives every append of a traced request a span, and every record of it
// that span as its trace parent, unless the record has one. Everything else is
// the store's own.
func Store(o eventstore.Owner) eventstore.Owner { return store{o} }

type store struct{ eventstore.Owner }

// Append appends within a span.
func (s store) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	ctx, span := Start(ctx, "append")
	if !span.IsRecording() {
		return s.Owner.Append(ctx, a)
	}
	parent := Parent(span.SpanContext())
	a.Batches = slices.Clone(a.Batches)
	for i := range a.Batches {
		if a.Batches[i].Meta.TraceParent == "" {
			a.Batches[i].Meta.TraceParent = parent
		}
	}
	done, err := s.Owner.Append(ctx, a)
	span.SetAttributes(attribute.Int("varve.shard", a.Shard), attribute.Int("varve.records", len(done.Records)))
	if done.Feed > 0 {
		span.SetAttributes(attribute.Int64("varve.feed", int64(done.Feed)))
	}
	if done.Replayed {
		span.SetAttributes(attribute.Bool("varve.replayed", true))
	}
	End(span, err)
	return done, err
}

// MaxLinks bounds how many appends a page's span is linked to.
const MaxLinks = 64

// Pages gives every page that has records of traced appends a span that is linked
// to them, at most MaxLinks; where all are of one trace, the span is in it too.
// Name makes the span's name of the consumer's.
func Pages(provider trace.TracerProvider, kind trace.SpanKind, name func(consumer string) string) follow.Observer {
	tracer := provider.Tracer(Scope)
	return func(ctx context.Context, consumer string, shard int, page []eventstore.Record) (context.Context, func(error)) {
		links, more, one := linksOf(page)
		if len(links) == 0 {
			return ctx, nil
		}
		if one {
			ctx = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext)
		}
		ctx, span := tracer.Start(ctx, name(consumer), trace.WithSpanKind(kind), trace.WithLinks(links...), trace.WithAttributes(
			attribute.Int("varve.shard", shard), attribute.Int("varve.records", len(page)),
			attribute.Int64("varve.feed.first", int64(page[0].Feed)), attribute.Int64("varve.feed.last", int64(page[len(page)-1].Feed))))
		if more > 0 {
			span.SetAttributes(attribute.Int("varve.links.dropped", more))
		}
		return ctx, func(err error) { End(span, err) }
	}
}

// linksOf gives a page's appends, how many more there are, and whether all are of one trace.
func linksOf(page []eventstore.Record) (links []trace.Link, more int, one bool) {
	one = true
	last := ""
	var seen map[string]bool
	for i := range page {
		text := page[i].Meta.TraceParent
		if text == "" || text == last || seen[text] {
			continue
		}
		last = text
		if len(links) >= MaxLinks {
			more++ // counted by neighbours only: no more is remembered than is linked
			continue
		}
		c, ok := ParseParent(text)
		if !ok || !c.IsSampled() {
			continue
		}
		if seen == nil {
			seen = map[string]bool{}
		}
		seen[text] = true
		links = append(links, trace.Link{SpanContext: c})
		one = one && c.TraceID() == links[0].SpanContext.TraceID()
	}
	return links, more, one && more == 0
}
