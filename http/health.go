package http

import (
	"context"
	"strings"

	"varve/domain"
)

var _ = noun("health", (*Server).healthRoutes)

func (s *Server) healthRoutes() {
	probe := needs{Permission: "public", Resource: "service", Class: "none"}
	s.route("GET", "/v1/health", probe, handle(s.health))
	s.route("GET", "/v1/health/liveness", probe, handle(s.liveness))
	s.route("GET", "/v1/health/live", probe, handle(s.liveness))
	s.route("GET", "/v1/health/ready", probe, handle(s.readiness))
	s.route("GET", "/v1/health/deep", needs{Permission: "any", Resource: "service", Class: "none"}, handle(s.deepHealth))
	s.route("GET", "/v1/health/beat", probe, handle(s.beat))
}

type healthAnswer struct {
	Status       string                      `json:"status"` // OK, DEGRADED, NOT_READY; alive
	Version      string                      `json:"version,omitempty"`
	Time         wireTime                    `json:"timestamp"`
	Live         *bool                       `json:"live,omitempty"`
	Ready        *bool                       `json:"ready,omitempty"`
	Dependencies map[string]dependencyAnswer `json:"dependencies,omitempty"`
}

type dependencyAnswer struct {
	OK       bool     `json:"ok"`
	Required bool     `json:"required"` // without it the server is not ready
	Latency  float64  `json:"latency_ms"`
	Checked  wireTime `json:"checked_at"`
	Reason   string   `json:"reason,omitempty"`
}

// state asks every dependency, and says which required ones are missing.
func (s *Server) state(ctx context.Context, requestID string) (a healthAnswer, missing []string) {
	yes, ready := true, true
	a = healthAnswer{Status: "OK", Version: s.Version, Time: wireTime(s.Now()), Live: &yes, Ready: &ready}
	if len(s.probes) > 0 {
		a.Dependencies = make(map[string]dependencyAnswer, len(s.probes))
	}
	for i, o := range askAll(ctx, s.probes, probeAge) {
		p := s.probes[i]
		a.Dependencies[p.Name] = dependencyAnswer{OK: o.err == nil, Required: !p.Optional, Latency: float64(o.took.Microseconds()) / 1000, Checked: wireTime(o.at), Reason: reason(o.err)}
		if p.news(o.err) {
			s.Log.Warn("health of a part changed", "part", p.Name, "healthy", o.err == nil, "error", o.err, "request_id", requestID)
		}
		switch {
		case o.err == nil:
		case p.Optional:
			if a.Status == "OK" {
				a.Status = "DEGRADED"
			}
		default:
			a.Status, ready = "NOT_READY", false
			missing = append(missing, p.Name+" "+reason(o.err))
		}
	}
	if s.stopped.Load() {
		ready = false
	}
	return a, missing
}

// health says how the server is: 503 only while it stops. Whether requests
// should be sent here, readiness says.
func (s *Server) health(ctx context.Context, r *Request[None]) (any, error) {
	if s.stopped.Load() {
		return nil, stopping(nil)
	}
	a, _ := s.state(ctx, r.RequestID)
	return a, nil
}

func stopping(dependencies map[string]dependencyAnswer) error {
	e := &domain.Error{Code: domain.CodeUnavailable, Reason: "stopping", Message: "the server is stopping", RetryAfter: 1}
	if dependencies != nil {
		e.Details = map[string]any{"ready": false, "dependencies": dependencies}
	}
	return e
}

// readiness says whether requests may be sent here: 503 while the server stops,
// while read models are being filled, and while a part is missing without which
// it cannot answer.
func (s *Server) readiness(ctx context.Context, r *Request[None]) (any, error) {
	a, missing := s.state(ctx, r.RequestID)
	if s.stopped.Load() {
		return nil, stopping(a.Dependencies)
	}
	if len(missing) > 0 {
		return nil, &domain.Error{Code: domain.CodeUnavailable, Reason: "not_ready", RetryAfter: 1, Message: "not ready: " + strings.Join(missing, "; "),
			Details: map[string]any{"ready": false, "dependencies": a.Dependencies}}
	}
	return a, nil
}

// liveness says that the process answers; it stays good while it stops.
func (s *Server) liveness(context.Context, *Request[None]) (any, error) {
	return healthAnswer{Status: "alive", Time: wireTime(s.Now())}, nil
}

// beat is of the reference's scheduler, which is part of the server here.
func (s *Server) beat(context.Context, *Request[None]) (any, error) {
	return healthAnswer{Status: "OK", Time: wireTime(s.Now())}, nil
}

// healthParts are the parts that the reference asks about. One that has no
// check of its own is part of the process and lives with it.
var healthParts = []string{"cache", "metadata", "vector_store", "object_storage", "task_queue", "inference"}

type deepHealthAnswer struct {
	Status string            `json:"status"` // OK, DEGRADED
	Data   map[string]bool   `json:"data"`
	Errors map[string]string `json:"errors,omitempty"`
}

// deepHealth asks every part, all at once, each for at most two seconds. What
// goes wrong is logged; the answer says only which part.
func (s *Server) deepHealth(ctx context.Context, r *Request[None]) (any, error) {
	if _, err := r.QueryBool("deep", false); err != nil {
		return nil, err
	}
	if _, err := r.QueryBool("metrics", false); err != nil {
		return nil, err
	}
	a := deepHealthAnswer{Status: "OK", Data: map[string]bool{}}
	var asked []*probe
	for _, part := range healthParts {
		a.Data[part] = true
		if p := s.parts[part]; p != nil {
			asked = append(asked, p)
		}
	}
	for i, o := range askAll(ctx, asked, 0) {
		if o.err == nil {
			continue
		}
		part := asked[i].Name
		s.Log.Warn("part is not healthy", "part", part, "error", o.err, "request_id", r.RequestID)
		if a.Errors == nil {
			a.Errors = map[string]string{}
		}
		a.Status, a.Data[part], a.Errors[part] = "DEGRADED", false, unclear
	}
	return a, nil
}

// Health says of each dependency what is wrong, "" where nothing is: for metrics.
// It asks no more often than the endpoints do.
func (s *Server) Health(ctx context.Context) map[string]string {
	out := make(map[string]string, len(s.probes))
	for i, o := range askAll(ctx, s.probes, probeAge) {
		out[s.probes[i].Name] = reason(o.err)
	}
	return out
}
