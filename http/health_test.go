package http

import (
	"context"
	"errors"
	"testing"

	. "varve/http/scenario"
)

func TestHealthScenario(t *testing.T) {
	var broken error
	st := newStack(t, func(d *Deps) {
		d.Checks = map[string]func(context.Context) error{"metadata": func(context.Context) error { return broken }}
	})
	st.Play(t,
		Step{Do: "GET /v1/health", As: "nobody", Check: map[string]any{"status": "OK", "version": "test"}},
		Step{Do: "GET /v1/health/liveness", As: "nobody"},
		Step{Do: "GET /v1/health/live", As: "nobody", Check: map[string]any{"status": "alive"}},
		Step{Do: "GET /v1/health/ready", As: "nobody", Check: map[string]any{"status": "OK", "ready": true, "live": true}},
		Step{Do: "GET /v1/health/beat"},
		Step{Do: "GET /v1/health/deep?deep=true", Check: map[string]any{"status": "OK", "data.metadata": true, "data.inference": true}},
		Step{Name: "deep needs a key", Do: "GET /v1/health/deep", As: "nobody", Status: 401},
		Step{Name: "document", Do: "GET /openapi.json", As: "nobody", Check: map[string]any{"openapi": "3.1.0", "info.version": "test"}},
	)
	broken = errors.New("disk at /secret/place")
	st.Play(t, Step{Name: "degraded", Do: "GET /v1/health/deep", Check: map[string]any{"status": "DEGRADED", "data.metadata": false, "errors.metadata": Match("^does not answer")}})
	st.server.Stop()
	st.Play(t,
		Step{Name: "stopping", Do: "GET /v1/health", As: "nobody", Status: 503, Check: map[string]any{"error.details.retryable": true}},
		Step{Name: "not ready", Do: "GET /v1/health/ready", As: "nobody", Status: 503, Check: map[string]any{"error.code": "stopping"}},
		Step{Name: "alive while it stops", Do: "GET /v1/health/liveness", As: "nobody"},
	)
}
