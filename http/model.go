package http

import (
	"context"
	"io"
	"slices"
	"strconv"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

var _ = noun("model", (*Server).modelRoutes)

func (s *Server) modelRoutes() {
	change := needs{Permission: "admin", Resource: "service", Class: "compute"}
	s.route("GET", "/v1/models", needs{Permission: "admin", Resource: "service"}, handle(s.listModels))
	s.route("POST", "/v1/models/{model}/rebuild", change, handle(s.rebuildModel))
	s.route("POST", "/v1/models/{model}/parked/retry", change, handle(s.retryParked))
	s.route("POST", "/v1/models/{model}/parked/skip", change, handle(s.skipParked))
}

type modelWire struct {
	Model      string       `json:"model"`
	Shard      int          `json:"shard"`
	Applied    uint64       `json:"applied"`
	Head       uint64       `json:"head"`
	Lag        uint64       `json:"lag"`
	LagSeconds float64      `json:"lag_seconds"`
	Parked     int          `json:"parked"`         // of all organizations
	Streams    []parkedWire `json:"parked_streams"` // of the caller's
	Error      string       `json:"error,omitempty"`
}

// listModels tells where every read model is. Of what is parked it counts all and
// shows what is the caller's.
func (s *Server) listModels(ctx context.Context, r *Request[None]) (any, error) {
	own := s.ownLogs(r.Call)
	models := []modelWire{}
	for _, m := range append(s.Models.Status(), s.Executions.Status()...) {
		w := modelWire{m.Model, m.Shard, m.Applied, m.Head, m.Lag, m.LagSeconds, len(m.Parked), []parkedWire{}, m.Err}
		for _, p := range m.Parked {
			if namespace, mine, err := own(ctx, p.Log); err != nil {
				return nil, err
			} else if mine {
				w.Streams = append(w.Streams, parkedOut(p, namespace))
			}
		}
		models = append(models, w)
	}
	return map[string]any{"models": models}, nil
}

// ownLogs says of logs whether they are the caller's organization's, one of its
// namespaces', those that were deleted included, or one of executions there, and
// names the namespace.
func (s *Server) ownLogs(c *Call) func(context.Context, eventstore.LogID) (namespace string, own bool, err error) {
	names := map[eventstore.LogID]string{c.Log: ""}
	for _, n := range c.Organization.Namespaces {
		names[eventstore.LogID(n.Log)] = n.Name
	}
	complete := false
	return func(ctx context.Context, log eventstore.LogID) (string, bool, error) {
		log = projections.NamespaceLog(log)
		if _, own := names[log]; !own && !complete {
			deleted, err := s.Directory.DeletedNamespaces(ctx, c.Log)
			if err != nil {
				return "", false, err
			}
			for _, n := range deleted {
				names[n.Log] = n.Name
			}
			complete = true
		}
		name, own := names[log]
		return name, own, nil
	}
}

// runner finds the runner of a read model, and where the model is on each shard.
func (s *Server) runner(name string) (*projections.Runner, []projections.ModelStatus, error) {
	for _, runner := range []*projections.Runner{s.Models, s.Executions} {
		shards := slices.DeleteFunc(runner.Status(), func(m projections.ModelStatus) bool { return m.Model != name })
		if len(shards) > 0 {
			return runner, shards, nil
		}
	}
	return nil, nil, domain.NotFound("model", name)
}

// rebuildModel builds a read model anew beside the one that serves, and answers
// with a line of progress at a time.
func (s *Server) rebuildModel(ctx context.Context, r *Request[None]) (any, error) {
	name := r.Path("model")
	runner, _, err := s.runner(name)
	if err != nil {
		return nil, err
	}
	return &Response{ContentType: "application/x-ndjson", Stream: func(w io.Writer, flush func()) error {
		line := func(v map[string]any) error {
			b, err := encodeJSON(v)
			if err == nil {
				_, err = w.Write(b)
			}
			flush()
			return err
		}
		err := runner.Rebuild(ctx, name, func(done, total uint64, rate float64) {
			_ = line(map[string]any{"model": name, "done": done, "total": total, "rate": rate})
		})
		if err != nil {
			return line(map[string]any{"model": name, "error": clientError(err).Message})
		}
		return line(map[string]any{"model": name, "finished": true, "applied": strconv.FormatUint(applied(runner, name), 10)})
	}}, nil
}

func applied(r *projections.Runner, name string) uint64 {
	for _, m := range r.Status() {
		if m.Model == name {
			return m.Applied
		}
	}
	return 0
}
