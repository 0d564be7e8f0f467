package http

import (
	"context"
	"log/slog"
	nethttp "net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"varve/eventstore/tracing"
)

// trace begins the span of a request, below the caller's where it names one by
// W3C's traceparent. The function it gives ends it, and names it by its route.
// Probes have none.
func (s *Server) trace(ctx context.Context, req *nethttp.Request, tr *trail, w *watchedWriter) (context.Context, func()) {
	if s.Tracer == nil || strings.HasPrefix(req.URL.Path, "/v1/health") {
		return ctx, func() {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(req.Header))
	ctx, span := s.Tracer.Start(ctx, methodOf(req), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", methodOf(req)), attribute.String("url.path", req.URL.Path), attribute.String("varve.request_id", tr.id)))
	return ctx, func() {
		if _, route, ok := strings.Cut(tr.operation, " "); ok {
			span.SetName(tr.operation)
			span.SetAttributes(attribute.String("http.route", route))
		}
		if tr.organization != "" {
			span.SetAttributes(attribute.String("varve.organization_id", tr.organization), attribute.String("varve.key_id", tr.key))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", w.status), attribute.Int64("http.response.body.size", w.bytes))
		if w.status >= 500 {
			span.SetStatus(otelcodes.Error, nethttp.StatusText(w.status))
		}
		span.End()
	}
}

// traceID is what a log line says of a request's trace: nothing where there is none.
func traceID(ctx context.Context) slog.Attr {
	id := tracing.TraceID(ctx)
	if id == "" {
		return slog.Attr{}
	}
	return slog.String("trace_id", id)
}

// methodOf is a request's method, of few: what no standard knows is _OTHER.
func methodOf(req *nethttp.Request) string {
	switch m := req.Method; m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE":
		return m
	}
	return "_OTHER"
}
