package http

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/projections"
)

// parkedWire is a stream of which a read model leaves events out, from Position on.
type parkedWire struct {
	Log       string   `json:"log"`
	Namespace string   `json:"namespace,omitempty"` // whose log it is; absent: the organization's
	Stream    string   `json:"stream"`              // empty: the whole log
	Position  uint64   `json:"position"`            // of the log, of the first event that is left out
	Type      string   `json:"type"`                // its type
	Error     string   `json:"error"`
	Since     wireTime `json:"since"`
	Tries     int      `json:"tries"`
}

func parkedOut(p follow.Parked, namespace string) parkedWire {
	return parkedWire{string(p.Log), namespace, p.Stream, p.Position, p.Type, p.Error, wireTime(p.Since), p.Tries}
}

// parkedBody names a parked stream as GET /v1/models does. A log is in one shard:
// without Shard it is the one in which the stream is parked. Without Position it may
// stand anywhere.
type parkedBody struct {
	Shard    *int   `json:"shard" validate:"omitempty,min=0"`
	Log      string `json:"log" validate:"required"`
	Stream   string `json:"stream"`
	Position uint64 `json:"position"`
}

// resumedWire is what came of a retry or a skip.
type resumedWire struct {
	Model  string      `json:"model"`
	Shard  int         `json:"shard"`
	Log    string      `json:"log"`
	Stream string      `json:"stream"`
	Parked *parkedWire `json:"parked"` // as it is now; null: all of it is applied
	Warned
}

// acceptParked is how long a retry or skip waits for a read model to take it up.
const acceptParked = 10 * time.Second

// retryParked applies a parked stream again, from the event that failed on.
func (s *Server) retryParked(ctx context.Context, r *Request[parkedBody]) (any, error) {
	return s.resumeParked(ctx, r, (*projections.Runner).Retry)
}

// skipParked leaves out the event that parked a stream, and applies what follows it.
func (s *Server) skipParked(ctx context.Context, r *Request[parkedBody]) (any, error) {
	answer, err := s.resumeParked(ctx, r, (*projections.Runner).Skip)
	if err == nil {
		s.Log.Warn("an event was left out of a read model", "model", r.Path("model"), "log", r.Body.Log, "stream", r.Body.Stream, "key", r.Key.KeyID, "request_id", r.RequestID)
	}
	return answer, err
}

// resumeParked answers 200 also where an event fails again: the answer shows where
// the stream stands then.
func (s *Server) resumeParked(ctx context.Context, r *Request[parkedBody], resume func(*projections.Runner, context.Context, string, int, follow.Key, uint64) error) (*resumedWire, error) {
	name, key := r.Path("model"), follow.Key{Log: eventstore.LogID(r.Body.Log), Stream: r.Body.Stream}
	runner, shards, err := s.runner(name)
	if err != nil {
		return nil, err
	}
	shard, namespace, err := s.findParked(ctx, r, name, key, shards)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, acceptParked)
	defer cancel()
	answer := &resumedWire{Model: name, Shard: shard, Log: r.Body.Log, Stream: r.Body.Stream}
	err = resume(runner, waiting, name, shard, key, r.Body.Position)
	var still *follow.StillParkedError
	if errors.As(err, &still) {
		p := parkedOut(still.Parked, namespace)
		answer.Parked = &p
		return answer, nil
	}
	if err != nil {
		return nil, parkedError(name, shard, err)
	}
	return answer, nil
}

// findParked finds a parked stream of the caller's; NotFound, which tells what of
// the caller's is parked, where it is not there.
func (s *Server) findParked(ctx context.Context, r *Request[parkedBody], model string, k follow.Key, shards []projections.ModelStatus) (shard int, namespace string, err error) {
	own := s.ownLogs(r.Call)
	var there []string
	for _, m := range shards {
		for _, p := range m.Parked {
			name, mine, err := own(ctx, p.Log)
			if err != nil {
				return 0, "", err
			}
			if !mine {
				continue
			}
			if p.Key() == k && (r.Body.Shard == nil || *r.Body.Shard == m.Shard) && (r.Body.Position == 0 || r.Body.Position == p.Position) {
				return m.Shard, name, nil
			}
			there = append(there, fmt.Sprintf("%s in shard %d, from position %d on", parkedName(p.Key()), m.Shard, p.Position))
		}
	}
	e := &domain.Error{Code: domain.CodeNotFound, Reason: "not_parked", Message: fmt.Sprintf("%s has not parked %s", model, parkedName(k))}
	if r.Body.Shard != nil {
		e.Message += fmt.Sprintf(" in shard %d", *r.Body.Shard)
	}
	if r.Body.Position > 0 {
		e.Message += fmt.Sprintf(" from position %d on", r.Body.Position)
	}
	switch {
	case len(there) == 0:
		e.Message += "; of your organization it has parked nothing"
	case len(there) > 10:
		e.Message += fmt.Sprintf("; parked are %s and %d more, which GET /v1/models lists", strings.Join(there[:10], "; "), len(there)-10)
	default:
		e.Message += "; parked are " + strings.Join(there, "; ")
	}
	return 0, "", e
}

// parkedName names a parked stream, or a whole log.
func parkedName(k follow.Key) string {
	if k.Stream == "" {
		return "log " + string(k.Log) + " as a whole"
	}
	return "stream " + k.Stream + " of log " + string(k.Log)
}

// parkedError says why nothing was retried or skipped, and what to do.
func parkedError(model string, shard int, err error) error {
	refuse := func(code domain.Code, reason string, again float64, format string, args ...any) error {
		return &domain.Error{Code: code, Reason: reason, Message: fmt.Sprintf("shard %d of %s ", shard, model) + fmt.Sprintf(format, args...), RetryAfter: again, Err: err}
	}
	switch {
	case errors.Is(err, follow.ErrNotParked):
		return refuse(domain.CodeNotFound, "not_parked", 0, "has not parked that any more; GET /v1/models lists what is")
	case errors.Is(err, follow.ErrStandby):
		return refuse(domain.CodeUnavailable, "applied_elsewhere", 0, "is applied by another process, which has its lease; nothing was changed. Ask that process, if it has the role api, too; "+
			"to try the parked events again, POST /v1/models/%s/rebuild does in any process", model)
	case errors.Is(err, follow.ErrStopped):
		return refuse(domain.CodeUnavailable, "not_running", 1, "does not run at the moment; nothing was changed. GET /v1/models says why, if it stays so")
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(domain.CodeUnavailable, "busy", 5, "did not take it up within %s: it is busy, or being built; try again", acceptParked)
	case errors.Is(err, follow.ErrMoved), follow.IsUnavailable(err):
		return refuse(domain.CodeUnavailable, "interrupted", 1, "was interrupted; GET /v1/models says where the stream stands now")
	}
	return fmt.Errorf("resume a parked stream of %s: %w", model, err)
}
