package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// openTracing makes what sends spans, where OpenTelemetry's environment asks for
// it: where an endpoint is named, or OTEL_TRACES_EXPORTER is otlp. Everything else
// (endpoint, headers, sampler, batches, resource) is read from there by the SDK.
func openTracing(ctx context.Context, version string, log *slog.Logger) (trace.TracerProvider, func(context.Context) error, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	asked := exporter == "otlp" || exporter == "" && (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "")
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"):
		return nil, nil, nil
	case exporter != "" && exporter != "otlp" && exporter != "none":
		return nil, nil, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: traces are sent with otlp, or with none not at all", exporter)
	case !asked:
		return nil, nil, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(name); protocol == "http/protobuf" {
			break // the more special one counts
		} else if protocol != "" {
			return nil, nil, fmt.Errorf("%s is %q: traces are sent with http/protobuf (port 4318 of a collector)", name, protocol)
		}
	}
	send, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "varve"), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are not sent", slog.Any("error", err)) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(send), sdktrace.WithResource(about))
	return provider, provider.Shutdown, nil
}
