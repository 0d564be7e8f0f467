package http

import (
	"context"
	"time"

	"varve/domain"
)

var _ = noun("health", (*Server).healthRoutes)

func (s *Server) healthRoutes() {
	probe := needs{Permission: "public", Resource: "service", Class: "none"}
	s.route("GET", "/v1/health", probe, handle(s.health))
	s.route("GET", "/v1/health/liveness", probe, handle(s.liveness))
	s.route("GET", "/v1/health/deep", needs{Permission: "any", Resource: "service", Class: "none"}, handle(s.deepHealth))
	s.route("GET", "/v1/health/beat", probe, handle(s.beat))
}

type healthAnswer struct {
	Status  string   `json:"status"`
	Version string   `json:"version,omitempty"`
	Time    wireTime `json:"timestamp"`
}

// health says whether requests may be sent here: 503 while the server stops.
func (s *Server) health(context.Context, *Request[None]) (any, error) {
	if s.stopped.Load() {
		return nil, &domain.Error{Code: domain.CodeUnavailable, Reason: "stopping", Message: "the server is stopping", RetryAfter: 1}
	}
	return healthAnswer{Status: "OK", Version: s.Version, Time: wireTime(s.Now())}, nil
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

// deepHealth asks every part, each for at most two seconds. What goes wrong is
// logged; the answer says only which part.
func (s *Server) deepHealth(ctx context.Context, r *Request[None]) (any, error) {
	if _, err := r.QueryBool("deep", false); err != nil {
		return nil, err
	}
	if _, err := r.QueryBool("metrics", false); err != nil {
		return nil, err
	}
	a := deepHealthAnswer{Status: "OK", Data: map[string]bool{}}
	for _, part := range healthParts {
		a.Data[part] = true
		check := s.Checks[part]
		if check == nil {
			continue
		}
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := check(within)
		cancel()
		if err == nil {
			continue
		}
		s.Log.Warn("part is not healthy", "part", part, "error", err, "request_id", r.RequestID)
		if a.Errors == nil {
			a.Errors = map[string]string{}
		}
		a.Status, a.Data[part], a.Errors[part] = "DEGRADED", false, "does not answer as it should; the server's log has more"
	}
	return a, nil
}
